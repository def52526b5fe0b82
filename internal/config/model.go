package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/api/v1alpha1"
	"github.com/penstock/penstock/internal/scale"
)

// Defaults of an InferenceAutoscaler.
const (
	defaultColdStart   = 60 * time.Second
	defaultObjective   = 0.99
	defaultWindow      = 28 * 24 * time.Hour
	longestWindow      = 31 * 24 * time.Hour // for which package slo counts
	defaultMinHold     = 60 * time.Second
	defaultScaleToZero = 15 * time.Minute
	defaultVariantMax  = 8 // where the GPUs are not declared
)

// checkNames refuses a name that two models claim, or one twice.
func (f *file) checkNames() {
	claimed := map[string]string{} // name → metadata.name of the model
	for _, m := range f.models {
		paths := map[string]string{}
		claim := func(path, name string) {
			if name == "" {
				return
			}
			if other, taken := claimed[name]; taken {
				m.fault(path, "is %q, which is a name of %s already. A name belongs to one model.", name, other)
			}
			paths[name] = path
		}
		claim("spec.model", m.Spec.Model)
		for i, alias := range m.Spec.Aliases {
			at := fmt.Sprintf("spec.aliases[%d]", i)
			m.checkServedName(at, alias)
			if before, twice := paths[alias]; twice && alias != "" {
				m.fault(at, "is %q again, as %s.", alias, before)
				continue
			}
			claim(at, alias)
		}
		if _, own := paths[m.Name]; !own {
			claim("metadata.name", m.Name)
		}
		for name := range paths {
			if _, taken := claimed[name]; !taken {
				claimed[name] = m.Name
			}
		}
	}
}

// checkModel turns an InferenceAutoscaler into a Model and the Runs of its
// variants.
func (f *file) checkModel(m modelObject, server Server) (scale.Model, map[string]Run) {
	spec := m.Spec
	m.checkName(m.Name)
	m.checkServedName("spec.model", spec.Model)
	model := scale.Model{
		Name: spec.Model, Aliases: m.aliases(), Paths: spec.Paths, Hosts: spec.Hosts, Priority: int(spec.Priority), Heartbeats: spec.Heartbeats,
		Owner:           scale.Owner{BusinessUnit: spec.Owner.BusinessUnit},
		Schedules:       m.checkSchedules(),
		Signals:         f.checkSignals(m, server.Prometheus),
		Limits:          m.checkLimits(spec.Limits),
		ScaleDownWindow: m.positive("spec.scaleDownWindow", spec.ScaleDownWindow, 0),
		Mode:            oneOf(m.object, "spec.mode", spec.Mode, modes(), "auto"),
	}
	runs := map[string]Run{}
	if len(spec.Variants) == 0 && m.has("spec.variants") {
		m.fault("spec.variants", "is empty: a model needs at least one variant.")
	}
	for i, v := range spec.Variants {
		at := fmt.Sprintf("spec.variants[%d]", i)
		if _, twice := model.Variant(v.Name); twice {
			m.fault(join(at, "name"), "is %q again: each variant needs a name of its own.", v.Name)
		}
		model.Variants = append(model.Variants, f.checkVariant(m, v, at, server))
		if v.Run == nil {
			m.fault(join(at, "run"), "is missing: it says how a replica is started, such as run: {command: [vllm, serve, %q, --port, \"{{port}}\"]}.", spec.Model)
			continue
		}
		runs[v.Name] = m.checkRun(*v.Run, join(at, "run"), filepath.Dir(f.absolute))
	}
	model.SLO = m.checkSLO(model.Variants)
	model.Replicas = m.checkReplicas(model, server)
	model.WarmFloor = m.checkWarmFloor(model)
	model.ScaleToZero = m.checkScaleToZero()
	m.checkWakes(model)
	f.checkCostCap(m, model)
	return model, runs
}

// aliases returns the names that requests may carry besides the model's own:
// the object's name first, where it differs.
func (m modelObject) aliases() []string {
	var all []string
	for _, name := range append([]string{m.Name}, m.Spec.Aliases...) {
		if name != "" && name != m.Spec.Model && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// checkVariant turns a variant into a value.
func (f *file) checkVariant(m modelObject, v v1alpha1.Variant, at string, server Server) scale.Variant {
	if v.Name != "" && !variantNamePattern.MatchString(v.Name) {
		m.fault(join(at, "name"), "is %q. Use at most 63 lower-case letters, digits and dashes.", v.Name)
	}
	if v.Name == "" && m.has(join(at, "name")) {
		m.fault(join(at, "name"), "is empty.")
	}
	capacity := oneOf(m.object, join(at, "capacity"), v.Capacity, capacityTypes(), "onDemand")
	f.checkAccelerator(m, v.Accelerator, join(at, "accelerator"), capacity)
	variant := scale.Variant{
		Name: v.Name, Accelerator: f.hardwareOf(v.Accelerator).Accelerator,
		Capacities: []scale.CapacityType{capacity},
		Max:        m.checkVariantMax(v, at, server),
		ColdStart:  m.positive(join(at, "coldStart"), v.ColdStart, defaultColdStart),
	}
	profile, ok := f.checkProfile(m, v, at)
	if ok {
		variant.Profile = profile
		m.checkMemory(variant, at)
		m.checkReach(variant, at)
	}
	return variant
}

// checkAccelerator refuses an accelerator that has no price, or a size that is
// none.
func (f *file) checkAccelerator(m modelObject, a v1alpha1.Accelerator, at string, capacity scale.CapacityType) {
	for name, value := range map[string]float64{
		"count": float64(a.Count), "memory": float64(a.Memory), "bandwidth": float64(a.Bandwidth), "tflops": a.TFLOPS,
	} {
		if value <= 0 && m.has(join(at, name)) {
			m.fault(join(at, name), "is %v. Set it above 0, or leave it out.", value)
		}
	}
	if a.Type == "" {
		if m.has(join(at, "type")) {
			m.fault(join(at, "type"), "is empty.")
		}
		return
	}
	known, found := f.prices[a.Type]
	switch {
	case !found:
		m.fault(join(at, "type"), "is %q, which neither the catalogue nor a PriceList knows. %s Any other type needs a price: a PriceList with prices: [{accelerator: %s, onDemand: 1.00}].",
			a.Type, didYouMean(a.Type, f.catalogue.AcceleratorTypes()), a.Type)
	case capacity == scale.Spot && known.spot <= 0:
		m.fault(join(parent(at), "capacity"), "is spot, but no spot price of %s is known. Give one in a PriceList, or set it to onDemand.", a.Type)
	}
}

// checkVariantMax bounds a variant by the GPUs that are declared.
func (m modelObject) checkVariantMax(v v1alpha1.Variant, at string, server Server) int {
	most := m.atLeastOne(join(at, "replicas.max"), int(v.Replicas.Max), 0)
	count := max(1, int(v.Accelerator.Count))
	if server.GPUs.Auto() {
		if kind := v.Accelerator.Type; kind != "" && !strings.HasPrefix(kind, "nvidia-") {
			m.fault(join(at, "accelerator.type"), "is %s, which nvidia-smi does not find. Declare how many there are: a %s with spec: {gpus: [{type: %s, count: 1}]}.", kind, KindServerConfig, kind)
		}
		return orDefault(most, defaultVariantMax)
	}
	slots := server.GPUs.Count(v.Accelerator.Type)
	if slots < count && v.Accelerator.Type != "" {
		m.fault(join(at, "accelerator"), "is %d × %s, and %s spec.gpus declares %d of them: no replica can ever start.",
			count, v.Accelerator.Type, KindServerConfig, slots)
	}
	return orDefault(most, max(1, slots/count))
}

// checkMemory refuses a variant whose weights leave no room for the KV cache of
// one ordinary request.
func (m modelObject) checkMemory(v scale.Variant, at string) {
	if !v.Profile.Tokens() || v.Profile.KVCapacity() >= typicalTokens {
		return
	}
	m.fault(join(at, "accelerator"), "has too little memory: %s, and one request of ordinary size needs %d. Raise count, take an accelerator with more memory, or smaller (quantised) weights.",
		v.Profile.MemoryArithmetic(), typicalTokens)
}

// checkReach refuses an SLO that a lone request on this variant already
// misses.
func (m modelObject) checkReach(v scale.Variant, at string) {
	slo, p := m.Spec.SLO, v.Profile
	if slo.Latency > 0 && p.Tokens() {
		m.fault(join(at, "profile"), "is of a model with tokens, but spec.slo.latency is for models without. Set spec.slo.ttft and tpot, or give profile.service.")
		return
	}
	if !p.Tokens() {
		if slo.Latency == 0 && (slo.TTFT > 0 || slo.TPOT > 0) {
			m.fault(join(at, "profile"), "is of a model without tokens. Set spec.slo.latency instead of ttft and tpot.")
		} else if mean := v1alpha1.Duration(p.Service.Mean); slo.Latency > 0 && mean > slo.Latency {
			m.fault("spec.slo.latency", "is %s, but variant %s takes %s for a lone request on average. Raise it, or take a faster accelerator.", text(slo.Latency), v.Name, text(mean))
		}
		return
	}
	if tpot := p.IterationTime(1, typicalPrompt); slo.TPOT > 0 && tpot > time.Duration(slo.TPOT).Seconds() {
		m.fault("spec.slo.tpot", "is %s, but variant %s takes %s per token even for a lone request. Raise it, or take a faster accelerator.", text(slo.TPOT), v.Name, seconds(tpot))
	}
	if ttft := loneTTFT(p, typicalPrompt); slo.TTFT > 0 && ttft > time.Duration(slo.TTFT).Seconds() {
		m.fault("spec.slo.ttft", "is %s, but variant %s takes %s for a lone prompt of %d tokens. Raise it, or take a faster accelerator.", text(slo.TTFT), v.Name, seconds(ttft), typicalPrompt)
	}
}

// checkSLO turns the SLO into a value.
func (m modelObject) checkSLO(variants []scale.Variant) scale.SLO {
	slo := m.Spec.SLO
	for path, value := range map[string]v1alpha1.Duration{"spec.slo.ttft": slo.TTFT, "spec.slo.tpot": slo.TPOT, "spec.slo.latency": slo.Latency} {
		if value == 0 && m.has(path) {
			m.fault(path, "is 0, where a time is wanted.")
		}
	}
	switch {
	case slo.Latency > 0 && (slo.TTFT > 0 || slo.TPOT > 0):
		m.fault("spec.slo.latency", "stands beside ttft or tpot. Set ttft and tpot for a model that streams tokens, or latency for one without.")
	case slo.Latency == 0 && (slo.TTFT == 0 || slo.TPOT == 0) && m.has("spec.slo"):
		m.fault("spec.slo", "is not complete. Set both ttft and tpot (such as ttft: 1s, tpot: 50ms), or latency for a model without tokens.")
	}
	if slo.Objective >= 1 || slo.Objective == 0 && m.has("spec.slo.objective") {
		m.fault("spec.slo.objective", "is %s. Set it above 0%% and below 100%%, such as 99%%: what is left is the error budget.", text(slo.Objective))
	}
	if window := time.Duration(slo.Window); window > longestWindow {
		m.fault("spec.slo.window", "is %s, and requests are counted for 31d. Set it to 31d or less.", text(slo.Window))
	}
	longest := time.Duration(0)
	for _, v := range variants {
		longest = max(longest, v.ColdStart)
	}
	return scale.SLO{
		TTFT: time.Duration(slo.TTFT), TPOT: time.Duration(slo.TPOT), Latency: time.Duration(slo.Latency),
		Objective: orDefault(float64(slo.Objective), defaultObjective),
		Window:    m.positive("spec.slo.window", slo.Window, defaultWindow),
		MaxHold:   m.positive("spec.slo.maxHold", slo.MaxHold, max(defaultMinHold, 2*longest)),
	}
}
