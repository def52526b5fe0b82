package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	yaml "sigs.k8s.io/yaml/goyaml.v2"
)

// The decoder's errors, of which the line is wanted.
var (
	typeErrorPattern   = regexp.MustCompile(`line (\d+): cannot unmarshal (\S+)`)
	syntaxErrorPattern = regexp.MustCompile(`^line (\d+): (.*)$`)
)

// node is one value of a YAML file with the line on which it stands. YAML is
// read as Kubernetes reads it (version 1.1), so that a file means the same
// here and in a cluster.
type node struct {
	kind   nodeKind
	line   int
	value  any     // of a scalar: string, bool, int, int64, uint64, float64 or another type that no field takes
	fields []field // of a mapping, in the order of the file
	items  []node  // of a sequence
}

type nodeKind int

const (
	absent nodeKind = iota // null, or nothing written
	scalar
	mapping
	sequence
)

// field is one entry of a mapping.
type field struct {
	key   key
	value node
}

// key is a mapping's key with its line. Comparable, so that the decoder can
// collect entries in a map, and each its own, so that a name that is set twice
// stays visible, on one line too.
type key struct {
	name string
	line int
	self *byte
}

// UnmarshalYAML reads a value of any kind.
func (n *node) UnmarshalYAML(unmarshal func(any) error) error {
	line, tag := position(unmarshal)
	n.line = line
	switch tag {
	case "!!map":
		n.kind = mapping
		entries := map[key]node{}
		if err := unmarshal(&entries); err != nil {
			return err
		}
		n.fields = inOrder(entries)
		return nil
	case "!!seq":
		n.kind = sequence
		return unmarshal(&n.items)
	default:
		n.kind = scalar
		return unmarshal(&n.value)
	}
}

// UnmarshalYAML reads a key. One that is no text keeps its written form.
func (k *key) UnmarshalYAML(unmarshal func(any) error) error {
	line, tag := position(unmarshal)
	k.line, k.self = line, new(byte)
	if tag == "!!map" || tag == "!!seq" {
		return fmt.Errorf("yaml: line %d: a key must be text", line)
	}
	var value any
	if err := unmarshal(&value); err != nil {
		return err
	}
	k.name = fmt.Sprint(value)
	return nil
}

// position returns the line and the tag of the value that unmarshal reads. The
// decoder tells them only in the error for a type that fits nothing.
func position(unmarshal func(any) error) (line int, tag string) {
	err := unmarshal(new(chan struct{}))
	if err == nil {
		return 0, ""
	}
	match := typeErrorPattern.FindStringSubmatch(err.Error())
	if match == nil {
		return 0, ""
	}
	line, err = strconv.Atoi(match[1])
	if err != nil {
		return 0, ""
	}
	return line, match[2]
}

// inOrder returns the entries of a mapping in the order of the file.
func inOrder(entries map[key]node) []field {
	fields := make([]field, 0, len(entries))
	for k, value := range entries {
		if value.line == 0 { // null: the decoder does not tell where
			value.line = k.line
		}
		fields = append(fields, field{key: k, value: value})
	}
	slices.SortFunc(fields, func(a, b field) int {
		return cmp.Or(cmp.Compare(a.key.line, b.key.line), cmp.Compare(a.key.name, b.key.name))
	})
	return fields
}

// get returns the value of a mapping's key, or an absent one.
func (n node) get(name string) node {
	for _, f := range n.fields {
		if f.key.name == name {
			return f.value
		}
	}
	return node{}
}

// what describes a value for people, as it was found.
func (n node) what() string {
	switch n.kind {
	case absent:
		return "empty"
	case mapping:
		return "a mapping"
	case sequence:
		return "a list"
	case scalar:
	}
	switch value := n.value.(type) {
	case string:
		return fmt.Sprintf("the text %q", value)
	case bool:
		return fmt.Sprintf("the truth value %t", value)
	default:
		return fmt.Sprintf("the number %v", value)
	}
}

// readDocuments splits a file into its documents, empty ones left out. A
// syntax error ends the reading: what follows it can not be told.
func readDocuments(file string, data []byte) ([]node, FaultsError) {
	var documents []node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n node
		err := decoder.Decode(&n)
		switch {
		case errors.Is(err, io.EOF):
			return documents, nil
		case err != nil:
			return documents, FaultsError{syntaxFault(file, err)}
		case n.kind != absent:
			documents = append(documents, n)
		}
	}
}

// syntaxFault takes the line out of a YAML error.
func syntaxFault(file string, err error) Fault {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if match := syntaxErrorPattern.FindStringSubmatch(text); match != nil {
		if n, err := strconv.Atoi(match[1]); err == nil {
			line, text = n, match[2]
		}
	}
	return Fault{File: file, Line: line, Text: "is no YAML: " + text}
}
