package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/api/v1alpha1"
)

const guide = "../../docs/guide/configuration.md"

// TestReferenceIsUpToDate holds the JSON Schema and the guide against the
// types. UPDATE=1 writes them anew.
func TestReferenceIsUpToDate(t *testing.T) {
	source := parseTypes(t, "../../api/v1alpha1", ".")
	for path, want := range map[string][]byte{
		"schema.json": source.schema(t),
		guide:         source.guide(t),
	} {
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is out of date, run make generate (-want +got):\n%s", path, diff)
		}
	}
}

// source is what the Go source says of the schema's types.
type source map[string]typeDoc

type typeDoc struct {
	doc     string
	markers map[string]string
	fields  []fieldDoc // of a struct
}

type fieldDoc struct {
	name     string // JSON name; "" for an inlined struct
	typ      ast.Expr
	doc      string
	markers  map[string]string
	required bool
}

// parseTypes reads the types of the packages in the given directories.
func parseTypes(t *testing.T, dirs ...string) source {
	t.Helper()
	s := source{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), dir+"/"+e.Name(), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			s.add(f)
		}
	}
	return s
}

func (s source) add(f *ast.File) {
	for _, decl := range f.Decls {
		general, ok := decl.(*ast.GenDecl)
		if !ok || general.Tok != token.TYPE {
			continue
		}
		for _, spec := range general.Specs {
			spec := spec.(*ast.TypeSpec)
			var d typeDoc
			d.doc, d.markers = comment(general.Doc)
			if structure, ok := spec.Type.(*ast.StructType); ok {
				for _, field := range structure.Fields.List {
					if field.Tag == nil {
						continue
					}
					tag, _ := strconv.Unquote(field.Tag.Value)
					name, options, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
					fd := fieldDoc{name: name, typ: field.Type, required: options == ""}
					fd.doc, fd.markers = comment(field.Doc)
					d.fields = append(d.fields, fd)
				}
			}
			if _, found := s[spec.Name.Name]; !found { // the schema's types come first
				s[spec.Name.Name] = d
			}
		}
	}
}

// comment splits a doc comment into prose, on one line, and markers.
func comment(group *ast.CommentGroup) (doc string, markers map[string]string) {
	markers = map[string]string{}
	var prose []string
	for line := range strings.Lines(group.Text()) {
		line = strings.TrimSpace(line)
		if marker, ok := strings.CutPrefix(line, "+"); ok {
			name, value, _ := strings.Cut(marker, "=")
			name = strings.TrimPrefix(strings.TrimPrefix(name, "kubebuilder:"), "validation:")
			markers[name] = strings.Trim(value, "`")
			continue
		}
		prose = append(prose, line)
	}
	return strings.TrimSpace(strings.Join(prose, " ")), markers
}

// typeName returns the name of a type without its package.
func typeName(expr ast.Expr) string {
	switch expr := expr.(type) {
	case *ast.Ident:
		return expr.Name
	case *ast.SelectorExpr:
		return expr.Sel.Name
	case *ast.StarExpr:
		return typeName(expr.X)
	default:
		return ""
	}
}

// kindNames lists the kinds in the order of the guide.
func kindNames() []string {
	return []string{v1alpha1.KindInferenceAutoscaler, KindServerConfig, v1alpha1.KindFleetPolicy, v1alpha1.KindPriceList}
}

func (s source) schema(t *testing.T) []byte {
	t.Helper()
	definitions, kinds := map[string]any{}, []any{}
	for _, kind := range kindNames() {
		kinds = append(kinds, map[string]any{"$ref": "#/definitions/" + kind})
		s.define(t, kind, definitions)
		object := definitions[kind].(map[string]any)
		properties := object["properties"].(map[string]any)
		properties["apiVersion"] = map[string]any{"const": v1alpha1.APIVersion}
		properties["kind"] = map[string]any{"const": kind}
		object["required"] = append([]string{"apiVersion", "kind"}, object["required"].([]string)...)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(map[string]any{
		"$schema": "http://json-schema.org/draft-07/schema#", "title": "Penstock configuration, " + v1alpha1.APIVersion,
		"oneOf": kinds, "definitions": definitions,
	}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// define adds the schema of a struct, and of all that it refers to.
func (s source) define(t *testing.T, name string, definitions map[string]any) {
	t.Helper()
	if _, done := definitions[name]; done {
		return
	}
	properties, required := map[string]any{}, []string{}
	object := map[string]any{"type": "object", "additionalProperties": false, "description": s[name].doc}
	definitions[name] = object
	for _, f := range s[name].fields {
		if f.name == "" {
			continue
		}
		property := s.property(t, f.typ, definitions)
		for marker, key := range map[string]string{"default": "default", "Minimum": "minimum", "MinLength": "minLength", "MinItems": "minItems"} {
			if value, found := f.markers[marker]; found {
				property[key] = scalarOf(value)
			}
		}
		if pattern, found := f.markers["Pattern"]; found {
			property["pattern"] = pattern
		}
		if enum, found := f.markers["Enum"]; found {
			property["enum"] = strings.Split(enum, ";")
		}
		if ref, found := property["$ref"]; found { // in draft 7 nothing beside a $ref counts
			property = map[string]any{"allOf": []any{map[string]any{"$ref": ref}}}
		}
		property["description"] = f.doc
		properties[f.name] = property
		if f.required {
			required = append(required, f.name)
		}
	}
	object["properties"], object["required"] = properties, required
}

// property is the schema of a type.
func (s source) property(t *testing.T, expr ast.Expr, definitions map[string]any) map[string]any {
	t.Helper()
	switch expr := expr.(type) {
	case *ast.StarExpr:
		return s.property(t, expr.X, definitions)
	case *ast.ArrayType:
		return map[string]any{"type": "array", "items": s.property(t, expr.Elt, definitions)}
	case *ast.MapType:
		return map[string]any{"type": "object", "additionalProperties": s.property(t, expr.Value, definitions)}
	}
	switch name := typeName(expr); name {
	case "string":
		return map[string]any{"type": "string"}
	case "bool":
		return map[string]any{"type": "boolean"}
	case "int32", "int64":
		return map[string]any{"type": "integer"}
	case "float64":
		return map[string]any{"type": "number"}
	case "Duration", "Percent", "Bytes", "KeyReference":
		return map[string]any{"type": s[name].markers["Type"], "pattern": s[name].markers["Pattern"]}
	case "GPUs":
		s.define(t, "gpuSlot", definitions)
		return map[string]any{"oneOf": []any{
			map[string]any{"const": "auto"},
			map[string]any{"type": "array", "minItems": 1, "items": map[string]any{"$ref": "#/definitions/gpuSlot"}},
		}}
	case "ObjectMeta":
		s.define(t, "metadata", definitions)
		return map[string]any{"$ref": "#/definitions/metadata"}
	default:
		if len(s[name].fields) == 0 {
			t.Fatalf("no schema for type %q", name)
		}
		s.define(t, name, definitions)
		return map[string]any{"$ref": "#/definitions/" + name}
	}
}

// scalarOf reads the value of a marker.
func scalarOf(text string) any {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return text
	}
	return value
}

const guideIntroduction = `<!-- Generated from the schema's types by make generate. Do not edit. -->
# Configuration

` + "`penstock serve -f penstock.yaml`" + ` reads one file. It holds one or more objects, separated by ` + "`---`" + `:
an ` + "`InferenceAutoscaler`" + ` for each model, and at most one ` + "`ServerConfig`" + ` and ` + "`FleetPolicy`" + `. A ` + "`PriceList`" + ` says what
accelerators cost. A model, one variant and an SLO are enough:

` + "```yaml" + `
apiVersion: penstock.dev/v1alpha1
kind: InferenceAutoscaler
metadata: {name: chat}
spec:
  model: meta-llama/Llama-3.1-8B-Instruct
  slo: {ttft: 2s, tpot: 100ms}
  variants:
  - name: l4
    accelerator: {type: nvidia-l4}
    run: {command: [vllm, serve, "{{model}}", "--host=127.0.0.1", "--port={{port}}"]}
` + "```" + `

` + "`penstock validate -f penstock.yaml`" + ` checks a file and shows what it comes to; ` + "`penstock schema`" + ` prints a JSON Schema for
editors. More examples are in [examples](../../examples).

**Names.** ` + "`spec.model`" + ` is the name that requests carry, that engines are told and that people see. ` + "`metadata.name`" + `
and ` + "`spec.aliases`" + ` are other names that requests may carry, where the engine knows them too: requests are passed on as
they are. A name belongs to one model.

**Values.** Durations are written like ` + "`800ms`, `90s`, `15m`, `10h`, `28d`" + `; shares like ` + "`99%`" + `; memory like ` + "`16GB`" + ` (10⁹ bytes
each) or ` + "`32MiB`" + ` (2²⁰ bytes each). Money is in US dollars. YAML is read as Kubernetes reads it.

**Strictness.** An unknown key, a value of another type, a key set twice, and whatever could never work (a model that does not
fit into memory, a promise that even a lone request would break, a hold shorter than the cold start) are faults. All are
told at once, each with its line, and nothing starts.

**Environment.** ` + "`XDG_STATE_HOME`" + ` and ` + "`HOME`" + ` decide where the journal goes by default; a file is not expanded otherwise.
Replicas inherit Penstock's environment, but for variables that ` + "`env:NAME`" + ` in a tenant's ` + "`keys`" + ` names.

**API keys.** ` + "`penstock key new`" + ` makes a key and prints it once, with the line for ` + "`keys`" + `:

` + "```yaml" + `
apiVersion: penstock.dev/v1alpha1
kind: InferenceAutoscaler
metadata: {name: chat}
spec:
  model: meta-llama/Llama-3.1-8B-Instruct
  slo: {ttft: 2s, tpot: 100ms}
  variants:
  - name: l4
    accelerator: {type: nvidia-l4}
    run: {command: [vllm, serve, "{{model}}", "--host=127.0.0.1", "--port={{port}}"]}
---
apiVersion: penstock.dev/v1alpha1
kind: FleetPolicy
metadata: {name: default}
spec:
  tenants:
  - name: acme
    businessUnit: sales
    keys: ["sha256:a0c2fdcbc3fbbeb7a3a3c7a72ff38d8d1e31ed1de08e4afe7c5a8a3c8a4d1c2b"]  # pk_…4WZK
    limits: {requestsPerSecond: 20, tokensPerMinute: 200000, maxInFlight: 64}
` + "```" + `

The file holds only the digest of a key, or a reference to where it is. A key can not be read back, and is replaced by adding a second one,
changing the clients, and removing the first; keys are read when Penstock starts. A listener that other machines can reach needs keys, and
should have TLS: without it keys and prompts cross the network in clear, which is warned about.
`

func (s source) guide(t *testing.T) []byte {
	t.Helper()
	var b strings.Builder
	b.WriteString(guideIntroduction)
	for _, kind := range kindNames() {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", kind, s[kind].doc)
		for _, f := range s[kind].fields {
			if f.name == "metadata" {
				b.WriteString("\n`metadata` holds `name`, and may hold `namespace`, `labels` and `annotations`, which only a cluster heeds.\n")
				if !f.required {
					b.WriteString("It may be left out.\n")
				}
			}
			if f.name == "spec" {
				s.section(t, &b, "spec", typeName(f.typ))
			}
		}
	}
	catalogueTables(&b)
	return []byte(b.String())
}

// section writes the table of one struct, then those of the structs in it.
func (s source) section(t *testing.T, b *strings.Builder, path, name string) {
	t.Helper()
	fmt.Fprintf(b, "\n### %s\n\n%s\n\n| key | value | default | meaning |\n|---|---|---|---|\n", path, s[name].doc)
	type nested struct{ path, name string }
	var below []nested
	for _, f := range s[name].fields {
		value, inner, list := s.describe(f.typ)
		if inner != "" {
			at := path + "." + f.name
			if list {
				at += "[]"
			}
			below = append(below, nested{at, inner})
		}
		if enum, found := f.markers["Enum"]; found {
			value = "`" + strings.ReplaceAll(enum, ";", "`, `") + "`"
		}
		otherwise := ""
		if marker, found := f.markers["default"]; found {
			otherwise = fmt.Sprintf("`%v`", scalarOf(marker))
		}
		if f.required {
			otherwise = "required"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.name, value, otherwise, f.doc)
	}
	for _, n := range below {
		s.section(t, b, n.path, n.name)
	}
}

// describe names a type for people, and the struct in it, if any.
func (s source) describe(expr ast.Expr) (value, inner string, list bool) {
	switch expr := expr.(type) {
	case *ast.StarExpr:
		return s.describe(expr.X)
	case *ast.ArrayType:
		value, inner, _ = s.describe(expr.Elt)
		return "list of " + value, inner, true
	case *ast.MapType:
		return "mapping of text", "", false
	}
	switch name := typeName(expr); name {
	case "string":
		return "text", "", false
	case "bool":
		return "`true`, `false`", "", false
	case "int32", "int64":
		return "whole number", "", false
	case "float64":
		return "number", "", false
	case "Duration", "Percent", "Bytes":
		return map[string]string{"Duration": "duration", "Percent": "share", "Bytes": "memory"}[name], "", false
	case "KeyReference":
		return "`sha256:…`, `file:…` or `env:…`", "", false
	case "GPUs":
		return "`auto`, or list of `{type, count}`", "", false
	default:
		return "object", name, false
	}
}

// catalogueTables writes what the built-in catalogue holds.
func catalogueTables(b *strings.Builder) {
	c := Catalogue()
	b.WriteString("\n## The catalogue\n\nAccelerators that are known without being told. Prices are list prices in US dollars per accelerator and hour, a place\nto begin: say what yours cost in a `PriceList`.\n\n| type | memory GB | GB/s | TFLOPS | on demand | spot | price from |\n|---|---|---|---|---|---|---|\n")
	for _, a := range c.Accelerators {
		spot := "–"
		if a.Spot > 0 {
			spot = fmt.Sprintf("%.2f", a.Spot)
		}
		fmt.Fprintf(b, "| `%s` | %.0f | %.0f | %.0f | %.2f | %s | %s |\n", a.Type, a.MemoryBytes/1e9, a.Bandwidth/1e9, a.FLOPS/1e12, a.OnDemand, spot, a.PricesSource)
	}
	b.WriteString("\nProfiles, for `profile.name`. Their sources stand in internal/config/catalogue.yaml.\n\n| name | for | KV cache |\n|---|---|---|\n")
	for _, e := range c.Entries {
		on, memory := "any accelerator, models without tokens", "–"
		if e.Profile.Tokens() {
			on, memory = fmt.Sprintf("%d × `%s`", e.Accelerator.Count, e.Accelerator.Type), e.Profile.MemoryArithmetic()
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", e.Profile.Name, on, memory)
	}
	b.WriteString("\nModels whose size is known by name (the last element, without `-instruct` and the like), so that `profile` may be left out:\n")
	for i, size := range c.Sizes {
		separator := ", "
		if i == 0 {
			separator = ""
		}
		fmt.Fprintf(b, "%s`%s`", separator, size.Names[0])
	}
	b.WriteString(".\n")
}
