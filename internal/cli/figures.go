package cli

import (
	"fmt"
	"log/slog"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/signals"
)

// openFigures makes ready what reads the models' business signals.
func openFigures(c config.Config, logger *slog.Logger) (*signals.Figures, error) {
	var sources []signals.Source
	for _, f := range c.Figures {
		e := f.Endpoint
		if e.TokenEnv != "" && e.Token == "" {
			return nil, fmt.Errorf("signal %s of %s: the environment variable %s, which holds its token, is not set", f.Name, f.Model, e.TokenEnv)
		}
		sources = append(sources, signals.Source{
			Model: f.Model, Name: f.Name, PromQL: f.PromQL, Path: f.Path, Every: f.Every, FreshFor: f.FreshFor,
			Endpoint: signals.Endpoint{URL: e.URL, CAFile: e.CAFile, TokenFile: e.TokenFile, Token: e.Token},
		})
	}
	return signals.OpenFigures(sources, logger)
}

// unfigured says, of what is simulated, that no figure comes from outside; ""
// where none would.
func unfigured(models []scale.Model) string {
	for _, m := range models {
		if len(m.Signals) > 0 {
			return "Business signals are not played: nobody says what they read. What they would have called for is missing here.\n"
		}
	}
	return ""
}
