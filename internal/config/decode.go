package config

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/penstock/penstock/api/v1alpha1"
)

// object is one document of a file: where each of its values stands, and what
// is wrong with it.
type object struct {
	file   string
	line   int
	lines  map[string]int // by path
	faults *FaultsError
}

// fault notes something wrong with the value at a path. A path that is not in
// the file stands on the line of what would hold it.
func (o *object) fault(path, format string, args ...any) {
	line := o.line
	for at := path; at != ""; at = parent(at) {
		if n, found := o.lines[at]; found {
			line = n
			break
		}
	}
	*o.faults = append(*o.faults, Fault{File: o.file, Line: line, Path: path, Text: fmt.Sprintf(format, args...)})
}

// has says whether the value at a path is written in the file.
func (o *object) has(path string) bool {
	_, found := o.lines[path]
	return found
}

// parent drops the last element of a path.
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// join adds a key to a path.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// decoded is implemented by types that read YAML in a way of their own.
type decoded interface {
	decode(o *object, n node, path string)
}

// metadata is what a file may say in metadata; the rest is a cluster's to
// write.
type metadata struct {
	// Name of the object: lower-case letters, digits, dashes and dots. It counts
	// as an alias of a model.
	Name string `json:"name"`

	// Namespace of the object in a cluster; without effect on one machine.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Labels of the object in a cluster; without effect on one machine.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations of the object in a cluster; without effect on one machine.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// decode reads a value into a field and notes what does not fit. What is
// absent stays zero.
func (o *object) decode(n node, into reflect.Value, path string) {
	if n.kind == absent {
		return
	}
	switch target := into.Addr().Interface().(type) {
	case decoded:
		target.decode(o, n, path)
		return
	case *v1alpha1.ObjectMeta:
		var m metadata
		o.decode(n, reflect.ValueOf(&m).Elem(), path)
		target.Name, target.Namespace, target.Labels, target.Annotations = m.Name, m.Namespace, m.Labels, m.Annotations
		return
	case encoding.TextUnmarshaler:
		o.decodeText(n, target, path)
		return
	}
	switch kind := into.Kind(); {
	case kind == reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		o.decode(n, into.Elem(), path)
	case kind == reflect.Struct:
		o.decodeStruct(n, into, path)
	case kind == reflect.Slice:
		o.decodeSlice(n, into, path)
	case kind == reflect.Map:
		o.decodeMap(n, into, path)
	default:
		o.decodeScalar(n, into, path)
	}
}

func (o *object) decodeText(n node, into encoding.TextUnmarshaler, path string) {
	if n.kind != scalar {
		o.fault(path, "is %s, where one value is wanted.", n.what())
		return
	}
	if err := into.UnmarshalText([]byte(fmt.Sprint(n.value))); err != nil {
		o.fault(path, "is wrong: %v.", err)
	}
}

func (o *object) decodeStruct(n node, into reflect.Value, path string) {
	if n.kind != mapping {
		o.fault(path, "is %s, where a mapping is wanted.", n.what())
		return
	}
	members := membersOf(into)
	seen := map[string]int{}
	for _, f := range n.fields {
		name, at := f.key.name, join(path, f.key.name)
		if first, twice := seen[name]; twice {
			o.fault(at, "is set twice, on lines %d and %d.", first, f.key.line)
			continue
		}
		seen[name] = f.key.line
		o.lines[at] = f.key.line
		i := slices.IndexFunc(members, func(m member) bool { return m.name == name })
		if i < 0 {
			o.fault(at, "is no known key. %s", didYouMean(name, names(members)))
			continue
		}
		if f.value.kind == absent {
			delete(o.lines, at)
		}
		o.decode(f.value, members[i].value, at)
	}
	for _, m := range members {
		if m.required && n.get(m.name).kind == absent {
			o.fault(join(path, m.name), "is missing.")
		}
	}
}

func (o *object) decodeSlice(n node, into reflect.Value, path string) {
	if n.kind != sequence {
		what := n.what()
		if into.Type().Elem() == reflect.TypeFor[v1alpha1.KeyReference]() {
			what = "no list" // and what it is instead may be a key
		}
		o.fault(path, "is %s, where a list is wanted.", what)
		return
	}
	into.Set(reflect.MakeSlice(into.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		at := fmt.Sprintf("%s[%d]", path, i)
		if item.kind == absent {
			o.fault(at, "is empty.")
			continue
		}
		o.lines[at] = item.line
		o.decode(item, into.Index(i), at)
	}
}

func (o *object) decodeMap(n node, into reflect.Value, path string) {
	if n.kind != mapping {
		o.fault(path, "is %s, where a mapping is wanted.", n.what())
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for _, f := range n.fields {
		at := join(path, f.key.name)
		if o.has(at) {
			o.fault(at, "is set twice, on lines %d and %d.", o.lines[at], f.key.line)
			continue
		}
		o.lines[at] = f.key.line
		value := reflect.New(into.Type().Elem()).Elem()
		o.decode(f.value, value, at)
		into.SetMapIndex(reflect.ValueOf(f.key.name).Convert(into.Type().Key()), value)
	}
}

// decodeScalar reads text, numbers and truth values. Nothing is converted
// silently: a number where text is wanted is a fault, as it is in a cluster.
func (o *object) decodeScalar(n node, into reflect.Value, path string) {
	if n.kind != scalar {
		o.fault(path, "is %s, where one value is wanted.", n.what())
		return
	}
	read, wanted := false, ""
	switch {
	case into.Kind() == reflect.String:
		wanted = "text is wanted: write it in quotes"
		var written string
		if written, read = n.value.(string); read {
			into.SetString(written)
		}
	case into.Kind() == reflect.Bool:
		wanted = "true or false is wanted"
		var truth bool
		if truth, read = n.value.(bool); read {
			into.SetBool(truth)
		}
	case into.CanInt():
		wanted = "a whole number is wanted"
		var whole int
		if whole, read = n.value.(int); read {
			read = !into.OverflowInt(int64(whole))
			into.SetInt(int64(whole))
		}
	case into.CanFloat():
		wanted = "a number is wanted"
		var number float64
		if number, read = numberOf(n.value); read {
			into.SetFloat(number)
		}
	}
	if !read {
		o.fault(path, "is %s, where %s.", n.what(), wanted)
	}
}

// numberOf reads a number that is finite.
func numberOf(value any) (float64, bool) {
	switch number := value.(type) {
	case int:
		return float64(number), true
	case float64:
		return number, !math.IsInf(number, 0) && !math.IsNaN(number)
	default:
		return 0, false
	}
}

// member is one key that a struct takes.
type member struct {
	name     string
	required bool // neither omitempty nor omitzero
	value    reflect.Value
}

// membersOf lists the keys of a struct, those of inlined structs included.
func membersOf(v reflect.Value) []member {
	var members []member
	for i := range v.NumField() {
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		switch {
		case options == "inline":
			members = append(members, membersOf(v.Field(i))...)
		case name != "":
			members = append(members, member{name: name, required: options == "", value: v.Field(i)})
		}
	}
	return members
}

func names(members []member) []string {
	all := make([]string, len(members))
	for i, m := range members {
		all[i] = m.name
	}
	return all
}
