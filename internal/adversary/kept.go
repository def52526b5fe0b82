package adversary

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
)

//go:embed testdata/seeds.txt
var keptSeeds string

// Kept returns the seeds that once broke a law, in the order of the file that
// says what each found.
func Kept() ([]uint64, error) {
	var out []uint64
	for i, line := range strings.Split(keptSeeds, "\n") {
		text, _, _ := strings.Cut(line, "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read the kept seeds, line %d: %w", i+1, err)
		}
		out = append(out, seed)
	}
	return out, nil
}
