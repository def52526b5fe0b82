package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func TestWorkloadsPageNamesEveryKey(t *testing.T) {
	page := workloadsPage(t)
	for _, key := range keysOf(reflect.TypeFor[workloadsForm]()) {
		if !regexp.MustCompile("[`{ \n]" + key + "[`:,]").MatchString(page) {
			t.Errorf("the page says nothing of %s", key)
		}
	}
	for _, shape := range Shapes() {
		if !strings.Contains(page, "| `"+shape+"` |") {
			t.Errorf("the page says nothing of the shape %s", shape)
		}
	}
}

func TestWorkloadsPagesExampleIsRead(t *testing.T) {
	_, example, _ := strings.Cut(workloadsPage(t), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	dir := folder(t, example)
	for name, text := range map[string]string{
		"ops.csv.gz":  "model,gpu,tp,tokens_in_iteration,linear_ops_ms\nMeta-Llama-3-8B,a100,1,1,9.6\n",
		"minutes.csv": "t_s,requests\n0,1\n60,2\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w, err := LoadWorkloads(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(w.Names(), " "); got != "chat chat-on-spot chat-with-faults jobs" {
		t.Errorf("got %s", got)
	}
}

func workloadsPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/reference/workloads.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// keysOf lists the keys of a form and of the forms in it.
func keysOf(form reflect.Type) []string {
	if kind := form.Kind(); kind == reflect.Pointer || kind == reflect.Slice || kind == reflect.Map {
		return keysOf(form.Elem())
	}
	if form == reflect.TypeFor[nodesForm]() {
		form = reflect.TypeFor[changesForm]()
	}
	if form.Kind() != reflect.Struct {
		return nil
	}
	var all []string
	for field := range form.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			all = append(all, name)
		}
		all = append(all, keysOf(field.Type)...)
	}
	return all
}
