package config

import (
	"slices"
	"time"
)

// family is a shape with what it takes and the defaults of that.
type family struct {
	shape string
	takes []string
	Generate
}

// generateFamilies lists the shapes with package trace's defaults.
func generateFamilies() []family {
	return []family{
		{"enterprise", []string{"ratio", "weekend"}, Generate{Ratio: 3.5, Weekend: 0.6}},
		{"enterprise-peaky", []string{"ratio", "weekend"}, Generate{Ratio: 30, Weekend: 0.3}},
		{"api", nil, Generate{}},
		{"steps", []string{"ratio"}, Generate{Ratio: 12}},
		{"flash-crowd", []string{"ratio", "peak", "every"}, Generate{Ratio: 3, Peak: 20, Every: 24 * time.Hour}},
		{"sparse-fleet", []string{"models", "zipf", "active_share", "diurnal"}, Generate{Zipf: 1.1, ActiveShare: 0.25}},
		{"flat", nil, Generate{}},
	}
}

// Shapes are the families that Generate.Shape may name.
func Shapes() []string {
	families := generateFamilies()
	all := make([]string, len(families))
	for i, f := range families {
		all[i] = f.shape
	}
	return all
}

// checkGenerate turns a family of shapes and its parameters into values.
func (c workloadCheck) checkGenerate(f generateForm) Generate {
	at := c.path("generate")
	path := func(key string) string { return join(at, key) }
	shape := f.Shape
	if shape == "" && f.Models != nil {
		shape = "sparse-fleet"
	}
	i := slices.IndexFunc(generateFamilies(), func(f family) bool { return f.shape == shape })
	switch {
	case i >= 0:
	case c.faulted(path("shape")):
		return Generate{}
	case shape == "":
		c.fault(path("shape"), "is missing. %s", didYouMean("", Shapes()))
		return Generate{}
	default:
		c.fault(path("shape"), "is %q. %s", shape, didYouMean(shape, Shapes()))
		return Generate{}
	}
	is := generateFamilies()[i]
	for _, key := range []string{"ratio", "weekend", "peak", "every", "models", "zipf", "active_share", "diurnal"} {
		if c.has(path(key)) && !slices.Contains(is.takes, key) {
			c.fault(path(key), "has no effect on shape %s. It takes %s.", shape, inWords(append([]string{"days", "mean_rps", "outlier"}, is.takes...)))
		}
	}
	if shape == "sparse-fleet" && f.Models == nil {
		c.fault(path("models"), "is missing: a sparse fleet needs a number of models.")
	}
	g := Generate{
		Shape:       shape,
		Days:        c.number(path("days"), &f.Days, bounded{open: true, most: 366}),
		MeanRPS:     c.number(path("mean_rps"), &f.MeanRPS, aboveZero(0)),
		Ratio:       c.number(path("ratio"), f.Ratio, bounded{otherwise: is.Ratio, least: 1, most: 1e4}),
		Weekend:     c.number(path("weekend"), f.Weekend, bounded{otherwise: is.Weekend, most: 1}),
		Peak:        c.number(path("peak"), f.Peak, bounded{otherwise: is.Peak, least: 1, most: 1e4}),
		Every:       is.Every,
		Models:      int(c.number(path("models"), floating(f.Models), bounded{least: 1, most: 10_000})),
		Zipf:        c.number(path("zipf"), f.Zipf, bounded{otherwise: is.Zipf, most: 10}),
		ActiveShare: c.number(path("active_share"), f.ActiveShare, bounded{otherwise: is.ActiveShare, open: true, most: 1}),
	}
	if f.Every != nil {
		g.Every = time.Duration(*f.Every)
		if g.Every == 0 && c.has(path("every")) && !c.faulted(path("every")) {
			c.fault(path("every"), "is 0, where a time is wanted.")
		}
	}
	if f.Diurnal != nil {
		g.Diurnal = *f.Diurnal
	}
	if f.Outlier != nil {
		g.Outlier = Outlier{
			Share:    c.number(path("outlier.share"), &f.Outlier.Share, bounded{open: true, most: 1}),
			InTokens: c.count(path("outlier.in_tokens"), &f.Outlier.InTokens, 0),
		}
	}
	return g
}

// floating is a whole number as number takes it.
func floating(written *int) *float64 {
	if written == nil {
		return nil
	}
	return new(float64(*written))
}
