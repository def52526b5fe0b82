package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/penstock/penstock/api/v1alpha1"
	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
)

type validateCmd struct {
	File string `short:"f" required:"" placeholder:"FILE" help:"Configuration file."`
	JSON bool   `help:"Print JSON."`
}

func (validateCmd) Help() string {
	return `Prints every fault with its line, or, where there is none, what each model promises, what its replicas cost and how GPU memory is divided. Exits with 2 on faults.

Example:
  penstock validate -f penstock.yaml`
}

// validation is what validate prints as JSON.
type validation struct {
	File   string           `json:"file"`
	Valid  bool             `json:"valid"`
	Faults []config.Fault   `json:"faults"`
	Models []validatedModel `json:"models"`
}

type validatedModel struct {
	Model    string             `json:"model"`
	Aliases  []string           `json:"aliases"`
	Promise  string             `json:"promise"`
	Min      int                `json:"min"`
	Max      int                `json:"max"`
	Variants []validatedVariant `json:"variants"`
}

type validatedVariant struct {
	Variant      string             `json:"variant"`
	Accelerator  string             `json:"accelerator"`
	Count        int                `json:"count"`
	Capacity     scale.CapacityType `json:"capacity"`
	PricePerHour float64            `json:"price_per_hour"` // US dollars for one replica
	Profile      string             `json:"profile"`
	Memory       string             `json:"memory,omitempty"`    // the arithmetic; models with tokens only
	KVTokens     int                `json:"kv_tokens,omitempty"` // tokens of KV cache at one replica
}

func (c *validateCmd) Run(std Streams) error {
	loaded, err := config.Load(c.File)
	faults := config.FaultsOf(err)
	if err != nil && faults == nil {
		return usageError{err}
	}
	v := validation{File: c.File, Valid: err == nil, Faults: faults, Models: []validatedModel{}}
	if v.Faults == nil {
		v.Faults = []config.Fault{}
	}
	for _, m := range loaded.Models {
		v.Models = append(v.Models, validated(m, loaded.Offerings))
	}
	if c.JSON {
		encoder := json.NewEncoder(std.Out)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(v); err != nil {
			return fmt.Errorf("print validation: %w", err)
		}
	} else if err := v.print(std.Out); err != nil {
		return fmt.Errorf("print validation: %w", err)
	}
	switch len(faults) {
	case 0:
		return nil
	case 1:
		return usageError{fmt.Errorf("%s has a fault", c.File)}
	default:
		return usageError{fmt.Errorf("%s has %d faults", c.File, len(faults))}
	}
}

// print writes the faults, or a line for each model and one for each variant.
func (v validation) print(w io.Writer) error {
	var b strings.Builder
	for _, fault := range v.Faults {
		fmt.Fprintf(&b, "%s\n", fault)
	}
	for _, m := range v.Models {
		fmt.Fprintf(&b, "%s: %s; %d to %d replicas\n", m.Model, m.Promise, m.Min, m.Max)
		for _, variant := range m.Variants {
			fmt.Fprintf(&b, "  %s: %d × %s %s at $%.2f/h a replica; profile %s\n",
				variant.Variant, variant.Count, variant.Accelerator, variant.Capacity, variant.PricePerHour, variant.Profile)
			if variant.Memory != "" {
				fmt.Fprintf(&b, "  %*s  memory %s\n", len(variant.Variant), "", variant.Memory)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// validated describes one model.
func validated(m scale.Model, offerings []scale.Offering) validatedModel {
	v := validatedModel{
		Model: m.Name, Aliases: m.Aliases, Promise: promise(m.SLO),
		Min: m.Replicas.Min, Max: m.Replicas.Max,
	}
	for _, variant := range m.Variants {
		described := validatedVariant{
			Variant: variant.Name, Accelerator: variant.Accelerator.Type, Count: variant.Accelerator.Count,
			Capacity: variant.Capacities[0], Profile: variant.Profile.Name,
		}
		for _, o := range offerings {
			if o.Accelerator == variant.Accelerator.Type && o.Capacity == described.Capacity {
				described.PricePerHour = o.PricePerHour * float64(variant.Accelerator.Count)
			}
		}
		if variant.Profile.Tokens() {
			described.Memory, described.KVTokens = variant.Profile.MemoryArithmetic(), variant.Profile.KVCapacity()
		}
		v.Variants = append(v.Variants, described)
	}
	return v
}

// promise is an SLO in words.
func promise(slo scale.SLO) string {
	span := func(d time.Duration) string {
		text, err := v1alpha1.Duration(d).MarshalText()
		if err != nil {
			return d.String()
		}
		return string(text)
	}
	good := fmt.Sprintf("ttft %s, tpot %s", span(slo.TTFT), span(slo.TPOT))
	if !slo.Tokens() {
		good = "latency " + span(slo.Latency)
	}
	return fmt.Sprintf("%s for %.4g%% of requests over %s, held for up to %s", good, slo.Objective*100, span(slo.Window), span(slo.MaxHold))
}
