package config

import (
	"bytes"
	_ "embed"
)

//go:generate env UPDATE=1 go test -count=1 -run ^TestReference .

// schemaJSON is the JSON Schema of the file, generated from the types.
//
//go:embed schema.json
var schemaJSON []byte

// Schema returns the JSON Schema (draft 7) that each object of a file conforms
// to, for editors. What spans several fields only Load checks.
func Schema() []byte { return bytes.Clone(schemaJSON) }
