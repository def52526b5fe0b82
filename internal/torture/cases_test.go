package torture

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/penstock/penstock/internal/config"
)

func TestTheConfigurationsAreRight(t *testing.T) {
	dir := t.TempDir()
	texts := map[string][]byte{
		"the soak": fmt.Appendf(nil, soakConfig, "127.0.0.1:1", "127.0.0.1:2", dir, 6, 16, "127.0.0.1:3"),
		"the cases": fmt.Appendf(fmt.Appendf(nil, caseConfig, "127.0.0.1:1", "127.0.0.1:2", dir, 100),
			caseModel, "m", 16, 0, 4, "12s", dir),
	}
	for name, text := range texts {
		c, err := config.Parse(filepath.Join(dir, "penstock.yaml"), text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.Models[0].SLO.MaxHold < soakMaxHold {
			t.Errorf("%s: holds for %s", name, c.Models[0].SLO.MaxHold)
		}
	}
}

func TestACaseThatIsNoneIsRefused(t *testing.T) {
	if _, err := (&Cases{}).Run(t.Context(), "held-at-one"); err == nil {
		t.Error("there is such a case")
	}
}

func TestARunThatMakesNoSenseIsRefused(t *testing.T) {
	good := Soak{For: 1, Rate: 1, Faults: 1, Gateways: 1, Replicas: 2, Batch: 1}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Soak){
		"no time":       func(s *Soak) { s.For = 0 },
		"no gateway":    func(s *Soak) { s.Gateways = 0 },
		"one replica":   func(s *Soak) { s.Replicas = 1 },
		"all and more":  func(s *Soak) { s.Abort, s.Slow = 0.6, 0.6 },
		"below nothing": func(s *Soak) { s.Abort = -0.1 },
	} {
		bad := good
		change(&bad)
		if bad.check() == nil {
			t.Errorf("%s makes sense", name)
		}
	}
}
