package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCmd struct {
	JSON bool `help:"Print JSON."`
}

// version is what this binary says of itself.
type version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
}

func (versionCmd) Help() string {
	return `Example:
  penstock version --json`
}

func (c *versionCmd) Run(std Streams) error {
	v := version{Version: "devel", Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" && info.Main.Version != "(devel)" {
			v.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
	}
	if c.JSON {
		return json.NewEncoder(std.Out).Encode(v)
	}
	_, err := fmt.Fprintf(std.Out, "penstock %s (%s)\n", v.Version, v.Go)
	return err
}
