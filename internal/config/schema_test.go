package config

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// check holds a value against a schema: the keywords that Schema uses. It
// returns what does not fit.
func check(root, schema map[string]any, value any, path string) []string {
	if ref, found := schema["$ref"].(string); found {
		definition := root["definitions"].(map[string]any)[strings.TrimPrefix(ref, "#/definitions/")].(map[string]any)
		return check(root, definition, value, path)
	}
	var wrong []string
	fail := func(format string, args ...any) { wrong = append(wrong, path+" "+fmt.Sprintf(format, args...)) }
	for _, all := range list(schema["allOf"]) {
		wrong = append(wrong, check(root, all.(map[string]any), value, path)...)
	}
	if choices := list(schema["oneOf"]); choices != nil {
		fits := 0
		for _, choice := range choices {
			if len(check(root, choice.(map[string]any), value, path)) == 0 {
				fits++
			}
		}
		if fits != 1 {
			fail("fits %d of %d choices", fits, len(choices))
		}
	}
	if want, found := schema["const"]; found && want != value {
		fail("is %v, not %v", value, want)
	}
	if enum := list(schema["enum"]); enum != nil && !slices.Contains(enum, value) {
		fail("is none of %v", enum)
	}
	switch value := value.(type) {
	case map[string]any:
		if kind := schema["type"]; kind != nil && kind != "object" {
			fail("is an object, not %v", kind)
		}
		properties, _ := schema["properties"].(map[string]any)
		for key, inner := range value {
			if property, found := properties[key].(map[string]any); found {
				wrong = append(wrong, check(root, property, inner, join(path, key))...)
			} else if schema["additionalProperties"] == false {
				fail("has no key %s", key)
			}
		}
		for _, key := range list(schema["required"]) {
			if _, found := value[key.(string)]; !found {
				fail("lacks %v", key)
			}
		}
	case []any:
		if kind := schema["type"]; kind != nil && kind != "array" {
			fail("is a list, not %v", kind)
		}
		for i, item := range value {
			if items, found := schema["items"].(map[string]any); found {
				wrong = append(wrong, check(root, items, item, fmt.Sprintf("%s[%d]", path, i))...)
			}
		}
	case string:
		if kind := schema["type"]; kind != nil && kind != "string" {
			fail("is text, not %v", kind)
		}
		if pattern, found := schema["pattern"].(string); found && !regexp.MustCompile(pattern).MatchString(value) {
			fail("is %q, not %s", value, pattern)
		}
	case bool:
		if kind := schema["type"]; kind != nil && kind != "boolean" {
			fail("is %t, not %v", value, kind)
		}
	default:
		if kind := schema["type"]; kind != nil && kind != "integer" && kind != "number" {
			fail("is %v, not %v", value, kind)
		}
	}
	return wrong
}

func list(value any) []any {
	items, _ := value.([]any)
	return items
}

// plain is a node without lines, as JSON has it.
func plain(n node) any {
	switch n.kind {
	case mapping:
		object := map[string]any{}
		for _, f := range n.fields {
			object[f.key.name] = plain(f.value)
		}
		return object
	case sequence:
		items := make([]any, len(n.items))
		for i, item := range n.items {
			items[i] = plain(item)
		}
		return items
	case absent, scalar:
	}
	return n.value
}

func schemaOf(t *testing.T) map[string]any {
	t.Helper()
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestSchemaAcceptsTheExamples(t *testing.T) {
	schema := schemaOf(t)
	for _, file := range examples(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		documents, _ := readDocuments(file, data)
		for i, document := range documents {
			for _, wrong := range check(schema, schema, plain(document), "") {
				kind, _ := document.get("kind").value.(string)
				t.Errorf("%s document %d:%s: %v", file, i, wrong, check(schema, map[string]any{"$ref": "#/definitions/" + kind}, plain(document), ""))
			}
		}
	}
}

func TestSchemaRefusesWhatLoadRefuses(t *testing.T) {
	schema := schemaOf(t)
	for name, c := range map[string]struct{ replace, by string }{
		"an unknown key":           {"ttft: 2s", "tttf: 2s"},
		"an unknown kind":          {"kind: InferenceAutoscaler", "kind: Autoscaler"},
		"a number for text":        {"org/chat", "8"},
		"text for a number":        {"model: org/chat", "model: org/chat\n  priority: high"},
		"a duration without unit":  {"ttft: 2s", "ttft: \"2\""},
		"an unknown mode":          {"model: org/chat", "model: org/chat\n  mode: advice"},
		"a missing model":          {"  model: org/chat\n", ""},
		"a list for a mapping":     {"accelerator: {type: nvidia-a100-80gb}", "accelerator: [nvidia-a100-80gb]"},
		"a variant name in majors": {"name: a100", "name: A100"},
	} {
		t.Run(name, func(t *testing.T) {
			file := strings.Replace(minimal, c.replace, c.by, 1)
			documents, _ := readDocuments("p.yaml", []byte(file))
			if len(check(schema, schema, plain(documents[0]), "")) == 0 {
				t.Error("the schema accepts it")
			}
			if _, err := Parse("p.yaml", []byte(file)); err == nil {
				t.Error("Parse accepts it")
			}
		})
	}
}
