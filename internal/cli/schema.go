package cli

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/penstock/penstock/internal/config"
)

type schemaCmd struct {
	JSON bool `help:"Print it on one line."`
}

func (schemaCmd) Help() string {
	return `The schema describes each object of the file, so that an editor can complete and check it.

Example:
  penstock schema > penstock.schema.json
  # and as the first line of penstock.yaml, for editors with yaml-language-server:
  # yaml-language-server: $schema=penstock.schema.json`
}

func (c *schemaCmd) Run(std Streams) error {
	schema := config.Schema()
	if c.JSON {
		var line bytes.Buffer
		if err := json.Compact(&line, schema); err != nil {
			return fmt.Errorf("print schema: %w", err)
		}
		schema = append(line.Bytes(), '\n')
	}
	if _, err := std.Out.Write(schema); err != nil {
		return fmt.Errorf("print schema: %w", err)
	}
	return nil
}
