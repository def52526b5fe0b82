package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Defaults of a workload.
const (
	defaultBootSigma = 0.25
	defaultBootFails = 0.01
	defaultNotice    = 30 * time.Second
)

// workloadsReader turns a workloads.yaml into values.
type workloadsReader struct {
	*object
	found     FaultsError
	dir       string
	catalogue Builtin
	written   workloadsForm
	files     map[string]traceFile // by absolute path
	measured  map[string]map[measuredKey][]scale.LinearPoint
}

// bounded is what a number may be.
type bounded struct {
	otherwise   float64 // where it is not written
	least, most float64
	open        bool // least itself is refused
}

// aboveZero is for amounts, which are never nothing.
func aboveZero(otherwise float64) bounded {
	return bounded{otherwise: otherwise, open: true, most: 1e9}
}

// number returns a written number or its default, and refuses one out of
// bounds. One that is taken from another workload is checked there.
func (r *workloadsReader) number(path string, written *float64, b bounded) float64 {
	if written == nil {
		return b.otherwise
	}
	value := *written
	switch {
	case !r.has(path) || r.faulted(path):
	case b.open && value <= b.least:
		r.fault(path, "is %v. Set it above %v.", value, b.least)
	case value < b.least:
		r.fault(path, "is %v. Set it to %v or more.", value, b.least)
	case value > b.most:
		r.fault(path, "is %v. Set it to %v or less.", value, b.most)
	}
	return value
}

// count returns a written count or its default, and refuses one below 1.
func (r *workloadsReader) count(path string, written *int, otherwise int) int {
	return int(r.number(path, floating(written), bounded{otherwise: float64(otherwise), least: 1, most: 1e9}))
}

// faulted says whether something wrong was noted at a path or below it.
func (o *object) faulted(path string) bool {
	return slices.ContainsFunc(*o.faults, func(f Fault) bool { return below(f.Path, path) })
}

// below says whether a path is another one or leads on from it.
func below(path, other string) bool {
	rest, found := strings.CutPrefix(path, other)
	return found && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// valueOf is what the decoder takes.
func valueOf[T any](into *T) reflect.Value { return reflect.ValueOf(into).Elem() }

// inWords is words for people.
func inWords(words []string) string { return strings.Join(words, ", ") }

// workloads checks everything and turns it into values. What it returns is
// meaningless once there are faults.
func (r *workloadsReader) workloads() Workloads {
	w := Workloads{Dir: r.dir}
	variants := r.checkProfiles()
	boots := r.checkColdStarts()
	if len(r.written.Workloads) == 0 && r.has("workloads") && !r.faulted("workloads") {
		r.fault("workloads", "is empty: there is nothing to judge.")
	}
	r.checkWorkloadNames()
	for i := range r.written.Workloads {
		form, ok := r.resolve(i, nil)
		if !ok {
			continue
		}
		c := workloadCheck{workloadsReader: r, at: fmt.Sprintf("workloads[%d]", i), form: form, variants: variants, boots: boots}
		w.Workloads = append(w.Workloads, c.workload())
	}
	for _, name := range slices.Sorted(maps.Keys(r.written.Profiles)) {
		w.Profiles = append(w.Profiles, variants[name])
	}
	w.Files = slices.Sorted(maps.Keys(r.files))
	r.forget()
	return w
}

// forget drops faults in what a workload took from another one that has faults
// itself: they are told there.
func (r *workloadsReader) forget() {
	broken := map[string]bool{}
	for i, w := range r.written.Workloads {
		broken[w.Name] = r.faulted(fmt.Sprintf("workloads[%d]", i))
	}
	r.found = slices.DeleteFunc(r.found, func(f Fault) bool {
		return slices.ContainsFunc(r.written.Workloads, func(w workloadForm) bool {
			at := fmt.Sprintf("workloads[%d]", slices.IndexFunc(r.written.Workloads, func(o workloadForm) bool { return o.Name == w.Name }))
			return broken[w.Like] && below(f.Path, at) && f.Path != at && !r.has(f.Path)
		})
	})
}

// checkWorkloadNames refuses names that are empty, odd or taken.
func (r *workloadsReader) checkWorkloadNames() {
	first := map[string]int{}
	for i, w := range r.written.Workloads {
		at := fmt.Sprintf("workloads[%d].name", i)
		switch before, taken := first[w.Name]; {
		case !r.has(at) || r.faulted(at):
		case w.Name == "" || strings.ContainsFunc(w.Name, func(c rune) bool { return c <= ' ' || c == 0x7f || c == ',' || c == '/' }):
			r.fault(at, "is %q. Use a name without blanks, commas and slashes.", w.Name)
		case taken:
			r.fault(at, "is %q again, as workloads[%d].", w.Name, before)
		default:
			first[w.Name] = i
		}
	}
}

// checkColdStarts turns the file's cold starts into values by name.
func (r *workloadsReader) checkColdStarts() map[string]ColdStart {
	all := map[string]ColdStart{}
	for name, form := range r.written.ColdStarts {
		at := join("cold_starts", name)
		c := ColdStart{Name: name, Fails: defaultBootFails}
		sigma := bounded{otherwise: defaultBootSigma, most: 3}
		switch {
		case form.Mean != nil && form.Mixture != nil:
			r.fault(join(at, "mixture"), "stands beside mean. Leave one of them out.")
		case form.Mixture != nil:
			total := 0.0
			for i, m := range form.Mixture {
				part := fmt.Sprintf("%s.mixture[%d]", at, i)
				total += r.number(join(part, "share"), &m.Share, bounded{open: true, most: 1})
				r.bootMean(join(part, "mean"), m.Mean)
				c.Mixture = append(c.Mixture, ColdStartMode{Share: m.Share, Mean: time.Duration(m.Mean), Sigma: r.number(join(part, "sigma"), m.Sigma, sigma)})
			}
			if total < 1-1e-9 || total > 1+1e-9 {
				r.fault(join(at, "mixture"), "has shares that add up to %.6g. They must add up to 1.", total)
			}
			if r.has(join(at, "sigma")) {
				r.fault(join(at, "sigma"), "has no effect beside mixture, whose parts have their own.")
			}
		case form.Mean != nil:
			r.bootMean(join(at, "mean"), *form.Mean)
			c.Mixture = []ColdStartMode{{Share: 1, Mean: time.Duration(*form.Mean), Sigma: r.number(join(at, "sigma"), form.Sigma, sigma)}}
		default:
			r.fault(at, "gives neither mean nor mixture.")
		}
		all[name] = c
	}
	return all
}

// bootMean refuses a boot that takes no time.
func (r *workloadsReader) bootMean(path string, mean span) {
	if mean == 0 && r.has(path) && !r.faulted(path) {
		r.fault(path, "is 0, where a time is wanted.")
	}
}

// resolve returns a workload's form with all that it takes from the one it is
// like. It is false where that one can not be told, and then a fault says why.
// Taken are values as a whole, but of slo key by key; and who names a source
// of its own takes nothing of the other's.
func (r *workloadsReader) resolve(i int, behind []int) (workloadForm, bool) {
	form := r.written.Workloads[i]
	at := fmt.Sprintf("workloads[%d].like", i)
	if !r.has(at) || r.faulted(at) {
		return form, !r.faulted(at)
	}
	var known []string
	liked := -1
	for j, w := range r.written.Workloads {
		if w.Name == form.Like && liked < 0 {
			liked = j
		}
		if j != i && w.Name != "" {
			known = append(known, w.Name)
		}
	}
	switch {
	case liked == i:
		r.fault(at, "is %q, the workload itself.", form.Like)
		return form, false
	case liked < 0:
		r.fault(at, "is %q, which is no workload. %s", form.Like, didYouMean(form.Like, known))
		return form, false
	case slices.Contains(behind, liked):
		r.fault(at, "is %q, which is like this one in turn.", form.Like)
		return form, false
	}
	other, ok := r.resolve(liked, append(behind, i))
	if !ok {
		return form, false
	}
	own := len(form.sources()) > 0
	fill(valueOf(&form), valueOf(&other), func(field reflect.StructField) bool { return own && field.Name == "sourceForm" })
	return form, true
}

// fill copies what is zero from another struct of the same type, structs
// inside field by field.
func fill(into, from reflect.Value, skip func(reflect.StructField) bool) {
	for i := range into.NumField() {
		field := into.Type().Field(i)
		switch {
		case skip != nil && skip(field):
		case into.Field(i).Kind() == reflect.Struct:
			fill(into.Field(i), from.Field(i), nil)
		case into.Field(i).IsZero():
			into.Field(i).Set(from.Field(i))
		}
	}
}

// sources returns the keys of the sources that are written.
func (s sourceForm) sources() []string {
	var all []string
	for _, kind := range sourceKinds() {
		if kind.written(s) {
			all = append(all, kind.key)
		}
	}
	return all
}

// sourceKey is a key that says where requests come from.
type sourceKey struct {
	key     string
	kind    SourceKind
	takes   []string // the other keys that have an effect with it
	written func(sourceForm) bool
}

func sourceKinds() []sourceKey {
	return []sourceKey{
		{"requests", FromRequests, []string{"from_day", "days"}, func(s sourceForm) bool { return s.Requests != "" }},
		{"counts", FromCounts, []string{"column", "scale", "cv", "from_day", "days", "tokens"}, func(s sourceForm) bool { return s.Counts != "" }},
		{"curve", FromCurve, []string{"cv", "from_day", "days", "tokens"}, func(s sourceForm) bool { return s.Curve != nil }},
		{"clients", FromClients, []string{"scale", "from_day", "days", "tokens_by_window"}, func(s sourceForm) bool { return s.Clients != "" }},
		{"generate", FromShape, []string{"cv", "days", "tokens"}, func(s sourceForm) bool { return s.Generate != nil }},
	}
}

// workloadCheck is the making of one workload.
type workloadCheck struct {
	*workloadsReader
	at       string // path of the workload
	form     workloadForm
	variants map[string]WorkloadVariant
	boots    map[string]ColdStart
}

func (c workloadCheck) path(key string) string { return join(c.at, key) }

func (c workloadCheck) workload() Workload {
	w := Workload{
		Name: c.form.Name, What: c.form.What,
		Source: c.checkSource(), ColdStart: c.checkColdStart(), Capacity: c.checkCapacity(),
		GPUs: c.count(c.path("gpus"), c.form.GPUs, 0),
	}
	if c.form.Min != nil {
		w.Min = *c.form.Min
		if w.Min < 0 && c.has(c.path("min")) {
			c.fault(c.path("min"), "is %d. Set it to 0 or more.", w.Min)
		}
	}
	w.Variants = c.checkVariants(w)
	w.SLO = c.checkSLO(w)
	w.Spot, w.Notice = c.checkSpot(w)
	w.Faults = c.checkFaults(&w)
	return w
}

// checkColdStart finds the cold start by its name.
func (c workloadCheck) checkColdStart() ColdStart {
	at := c.path("cold_start")
	boot, found := c.boots[c.form.ColdStart]
	switch {
	case found || c.faulted(at):
	case c.form.ColdStart == "":
		c.fault(at, "is missing. %s", didYouMean("", sorted(slices.Collect(maps.Keys(c.boots)))))
	case !found:
		c.fault(at, "is %q, which cold_starts does not hold. %s", c.form.ColdStart, didYouMean(c.form.ColdStart, sorted(slices.Collect(maps.Keys(c.boots)))))
	}
	return boot
}

// checkCapacity turns the words for capacity types into values.
func (c workloadCheck) checkCapacity() []scale.CapacityType {
	words := map[string]scale.CapacityType{"on_demand": scale.OnDemand, "spot": scale.Spot}
	if c.form.Capacity == nil {
		return []scale.CapacityType{scale.OnDemand}
	}
	var all []scale.CapacityType
	for i, word := range c.form.Capacity {
		at := fmt.Sprintf("%s[%d]", c.path("capacity"), i)
		switch kind, found := words[word]; {
		case c.faulted(at):
		case !found:
			c.fault(at, "is %q. %s", word, didYouMean(word, sorted(slices.Collect(maps.Keys(words)))))
		case slices.Contains(all, kind):
			c.fault(at, "is %s again.", word)
		default:
			all = append(all, kind)
		}
	}
	if len(c.form.Capacity) == 0 {
		c.fault(c.path("capacity"), "is empty.")
	}
	slices.Sort(all)
	return all
}

// checkVariants finds the profiles by their names.
func (c workloadCheck) checkVariants(w Workload) []WorkloadVariant {
	if len(c.form.Variants) == 0 && !c.faulted(c.path("variants")) {
		c.fault(c.path("variants"), "is missing: name at least one profile. %s", didYouMean("", sorted(slices.Collect(maps.Keys(c.variants)))))
	}
	var all []WorkloadVariant
	for i, name := range c.form.Variants {
		at := fmt.Sprintf("%s[%d]", c.path("variants"), i)
		v, found := c.variants[name]
		switch {
		case c.faulted(at):
		case !found:
			c.fault(at, "is %q, which is no profile of this file or of the catalogue. %s", name, didYouMean(name, sorted(slices.Collect(maps.Keys(c.variants)))))
		case slices.ContainsFunc(all, func(o WorkloadVariant) bool { return o.Name == name }):
			c.fault(at, "is %s again.", name)
		case slices.Contains(w.Capacity, scale.Spot) && v.Spot <= 0:
			c.fault(at, "is %s, which has no spot price: add price_per_hour.spot to the profile, or leave spot out of capacity.", name)
		case w.GPUs > 0 && v.Accelerator.Count > w.GPUs:
			c.fault(at, "is %s, a replica of which takes %d accelerators, and gpus is %d: none could ever start.", name, v.Accelerator.Count, w.GPUs)
		default:
			all = append(all, v)
		}
	}
	return all
}

// checkSLO turns the SLO into a value with an InferenceAutoscaler's defaults.
func (c workloadCheck) checkSLO(w Workload) scale.SLO {
	form, at := c.form.SLO, c.path("slo")
	read := func(key string, s *span, otherwise time.Duration) time.Duration {
		if s == nil {
			return otherwise
		}
		if *s == 0 && c.has(join(at, key)) && !c.faulted(join(at, key)) {
			c.fault(join(at, key), "is 0, where a time is wanted.")
		}
		return time.Duration(*s)
	}
	objective := bounded{otherwise: defaultObjective, open: true, most: 1}
	slo := scale.SLO{
		TTFT: read("ttft", form.TTFT, 0), TPOT: read("tpot", form.TPOT, 0), Latency: read("latency", form.Latency, 0),
		Objective: defaultObjective,
		Window:    read("window", form.Window, defaultWindow),
		MaxHold:   read("max_hold", form.MaxHold, max(defaultMinHold, 2*w.ColdStart.Mean())),
	}
	if form.Objective != nil {
		c.number(join(at, "objective"), form.Objective, objective)
		slo.Objective = *form.Objective
		if slo.Objective == 1 {
			c.fault(join(at, "objective"), "is 1. Set it below 1, such as 0.99: what is left is the error budget.")
		}
	}
	if slo.Window > longestWindow {
		c.fault(join(at, "window"), "is %s, and requests are counted for 31d. Set it to 31d or less.", *form.Window)
	}
	switch {
	case form.Latency != nil && (form.TTFT != nil || form.TPOT != nil):
		c.fault(join(at, "latency"), "stands beside ttft or tpot. Set ttft and tpot for a model that streams tokens, or latency for one without.")
	case form.Latency == nil && (form.TTFT == nil || form.TPOT == nil) && !c.faulted(at):
		c.fault(at, "is not complete. Set both ttft and tpot, or latency for a model without tokens.")
	default:
		c.checkReach(slo, w)
	}
	return slo
}

// checkReach refuses an SLO that no request could meet.
func (c workloadCheck) checkReach(slo scale.SLO, w Workload) {
	at := c.path("slo")
	for i, v := range w.Variants {
		p := v.Profile
		switch {
		case len(p.Linear) == 0 && p.Service.Mean == 0: // a fault said why
		case slo.Tokens() != p.Tokens():
			kind := map[bool]string{true: "ttft and tpot, which a model without tokens has not: set latency instead", false: "latency, which is for models without tokens: set ttft and tpot instead"}
			c.fault(fmt.Sprintf("%s[%d]", c.path("variants"), i), "is %s, but slo sets %s.", v.Name, kind[slo.Tokens()])
		case !p.Tokens() && p.Service.Mean > slo.Latency:
			c.fault(join(at, "latency"), "is %s, but %s takes %s for a lone request on average.", span(slo.Latency), v.Name, span(p.Service.Mean))
		case p.Tokens() && p.IterationTime(1, typicalPrompt) > slo.TPOT.Seconds():
			c.fault(join(at, "tpot"), "is %s, but %s takes %s per token even for a lone request.", span(slo.TPOT), v.Name, seconds(p.IterationTime(1, typicalPrompt)))
		case p.Tokens() && loneTTFT(p, 1) > slo.TTFT.Seconds():
			c.fault(join(at, "ttft"), "is %s, but %s takes %s for a lone prompt of one token.", span(slo.TTFT), v.Name, seconds(loneTTFT(p, 1)))
		}
	}
	if mean := w.ColdStart.Mean(); w.Min == 0 && mean >= slo.MaxHold && mean > 0 {
		c.fault(join(at, "max_hold"), "is %s, but a cold start takes %s: a request that wakes a model from zero would expire. Raise it, or set min to 1 or more.", span(slo.MaxHold), span(mean))
	}
}

// Default is a file of the folder as a workload that has no entry: W1's
// variants, cold start, SLO and tokens.
func (w Workloads) Default(file string) (Workload, error) {
	path := within(w.Dir, file)
	rows, err := openRows(path)
	if err != nil {
		return Workload{}, fmt.Errorf("read trace: %w", err)
	}
	if err := rows.close(); err != nil {
		return Workload{}, fmt.Errorf("read trace: %w", err)
	}
	source, ok := sourceOf(path, rows.header)
	if !ok {
		return Workload{}, fmt.Errorf("read trace %s:1: the columns are %s, where t_ms,in_tokens,out_tokens or t_s,requests is wanted; an entry in %s can name another column", path, inWords(rows.header), filepath.Join(w.Dir, WorkloadsFile))
	}
	d, found := w.Workload("W1")
	if !found {
		d, err = w.likeW1()
		if err != nil {
			return Workload{}, err
		}
	}
	if source.Kind == FromCounts {
		source.CV, source.Tokens = d.Source.CV, d.Source.Tokens
	}
	d.Name, d.What, d.Source = traceName(file), "a trace without an entry", source
	return d, nil
}

// traceName is a file's name without folder and endings.
func traceName(file string) string {
	return strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".gz"), ".csv")
}

// likeW1 is W1 as the benchmark has it, for folders that do not say it
// otherwise. Tokens are the same published conversations, where they are
// there.
func (w Workloads) likeW1() (Workload, error) {
	d, found := GeneratedWorkloads().Workload("enterprise-day")
	if !found {
		return Workload{}, fmt.Errorf("the built-in workloads hold no enterprise-day")
	}
	d.Source.CV = 1.1
	const conversations = "azure_2023_conv.csv.gz"
	if slices.Contains(traceFiles(w.Dir), conversations) {
		d.Source.Tokens = filepath.Join(w.Dir, conversations)
	}
	return d, nil
}
