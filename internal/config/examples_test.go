package config

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// examples returns every YAML file under examples/.
func examples(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir("../../examples", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".yaml") {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 4 {
		t.Fatalf("found %d examples: %v", len(files), err)
	}
	return files
}

func TestEveryExampleLoads(t *testing.T) {
	for _, file := range examples(t) {
		t.Run(strings.TrimPrefix(file, "../../"), func(t *testing.T) {
			c, err := Load(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range c.Models {
				for _, v := range m.Variants {
					if _, found := c.Runs[RunKey{Model: m.Name, Variant: v.Name}]; !found {
						t.Errorf("%s/%s has no run", m.Name, v.Name)
					}
				}
			}
		})
	}
}
