package autoscaler

import (
	"bufio"
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// TestScenarios replays each story in testdata. Lines starting with "->" are
// the decisions; everything else is the story. UPDATE=1 rewrites the former.
//
// A story declares models, variants and slots, then says at which instant what
// is measured. Between two instants the world ticks once a second with what was
// last said; replicas that a Decision starts are Ready after the variant's
// boot, and those that it drains are gone after five seconds. A decision is
// printed when it acts, and when what holds it back changes.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.scenario")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".scenario"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("decisions differ\n--- got\n%s\n--- want\n%s", got, want)
			}
		})
	}
}

// reached collects the reason codes that stories reach.
func reached(t *testing.T) map[string]bool {
	t.Helper()
	codes := map[string]bool{}
	files, _ := filepath.Glob("testdata/*.scenario")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(strings.NewReader(string(text))); lines.Scan(); {
			if after, ok := strings.CutPrefix(lines.Text(), "->"); ok {
				_, list, _ := strings.Cut(after, ", ")
				for code := range strings.SplitSeq(list, " ") {
					codes[strings.Trim(code, ",")] = true
				}
			}
		}
	}
	return codes
}

// TestEveryReasonHasAScenario: a code that no story reaches is dead or untested.
func TestEveryReasonHasAScenario(t *testing.T) {
	codes := reached(t)
	for _, code := range scale.ReasonCodes() {
		if code != scale.ReasonSteady && !codes[code.String()] {
			t.Errorf("no scenario shows %q", code)
		}
	}
}

// world is the story's world.
type world struct {
	t        *testing.T
	out      strings.Builder
	snapshot scale.Snapshot
	memory   Memory
	start    time.Time
	next     map[scale.ScaleTarget]int
	silent   map[string]bool      // models whose traffic is not measured
	gone     map[string]time.Time // replica → when a draining one is gone
	said     map[scale.ScaleTarget]string
	load     map[scale.ReplicaID]scale.Load
}

func play(t *testing.T, story string) string {
	t.Helper()
	start := time.Date(2026, 3, 2, 7, 0, 0, 0, time.UTC) // a Monday
	w := &world{
		t: t, start: start, next: map[scale.ScaleTarget]int{}, silent: map[string]bool{},
		gone: map[string]time.Time{}, said: map[scale.ScaleTarget]string{}, load: map[scale.ReplicaID]scale.Load{},
	}
	w.snapshot.Now, w.snapshot.Tick = start, time.Second
	for line := range strings.Lines(story) {
		if strings.HasPrefix(line, "->") {
			continue
		}
		f := strings.Fields(line)
		if len(f) > 0 && f[0] == "at" {
			w.until(w.duration(f[1]))
		}
		w.out.WriteString(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		w.declare(f)
	}
	return w.out.String()
}

// declare takes in one line of the story.
func (w *world) declare(f []string) {
	kv := options(f)
	switch f[0] {
	case "model":
		w.snapshot.Models = append(w.snapshot.Models, scale.ModelState{Model: w.model(f[1], kv)})
		slices.SortFunc(w.snapshot.Models, func(a, b scale.ModelState) int { return cmp.Compare(a.Model.Name, b.Model.Name) })
	case "variant":
		w.variant(f[1], kv)
	case "schedule":
		hour := w.number(kv["hour"])
		m := w.state(f[1])
		m.Model.Schedules = append(m.Model.Schedules, scale.Schedule{
			Name: f[2], Duration: w.duration(kv["for"]), Location: time.UTC, Min: int(w.number(cmp.Or(kv["min"], "0"))),
			Start: scale.CronFields{Minute: 1, Hour: 1 << int(hour), DayOfMonth: ^uint64(0), Month: ^uint64(0), DayOfWeek: ^uint64(0), AnyDayOfMonth: true, AnyDayOfWeek: true},
		})
	case "signal":
		m := w.state(f[1])
		m.Model.Signals = append(m.Model.Signals, scale.BusinessSignal{
			Name: f[2], PerReplica: w.number(kv["per"]), FreshFor: w.duration(cmp.Or(kv["fresh-for"], "1m")),
		})
	case "slots":
		for i := range w.snapshot.Offerings {
			if o := &w.snapshot.Offerings[i]; o.Accelerator == f[1] {
				o.Limited, o.Slots = true, int(w.number(f[2]))
			}
		}
	case "fleet":
		w.snapshot.Fleet.Limits = w.limits(kv)
	case "at":
		switch {
		case len(f) > 2 && f[2] == "clock": // it is set, and the story goes on as before
			w.snapshot.Now, w.start = w.snapshot.Now.Add(w.duration(f[3])), w.start.Add(w.duration(f[3]))
		case len(f) > 2:
			w.measure(f[2:])
		}
	default:
		w.t.Fatalf("what is %q?", f)
	}
}

func (w *world) model(name string, kv map[string]string) scale.Model {
	get := func(key, otherwise string) string { return cmp.Or(kv[key], otherwise) }
	m := scale.Model{
		Name: name, Priority: int(w.number(get("priority", "0"))),
		SLO: scale.SLO{
			TTFT: w.duration(get("ttft", "1s")), TPOT: w.duration(get("tpot", "50ms")), Objective: 0.99,
			Window: 28 * 24 * time.Hour, MaxHold: w.duration(get("max-hold", "2m")),
		},
		Replicas:        scale.Range{Min: int(w.number(get("min", "0"))), Max: int(w.number(get("max", "100")))},
		ScaleToZero:     scale.ScaleToZero{After: w.duration(get("sleep-after", "1m")), Disabled: get("sleep-after", "1m") == "0s"},
		ScaleDownWindow: w.duration(get("window", "1s")),
		Limits:          w.limits(kv),
		Mode:            scale.Auto,
	}
	if kv["floor"] != "" {
		m.WarmFloor = scale.WarmFloor{Replicas: int(w.number(kv["floor"])), Capacity: scale.OnDemand, During: kv["during"]}
	}
	if err := m.Mode.UnmarshalText([]byte(get("mode", "auto"))); err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *world) limits(kv map[string]string) scale.Limits {
	return scale.Limits{
		UpPerMinute:   int(w.number(cmp.Or(kv["up"], "0"))),
		DownPerMinute: int(w.number(cmp.Or(kv["down"], "0"))),
		CostPerHour:   w.number(cmp.Or(kv["cost"], "0")),
	}
}

// variant declares model/name: an A100, slower or faster by factor speed, to be
// had as spot, too, where that has a price.
func (w *world) variant(name string, kv map[string]string) {
	model, variant, _ := strings.Cut(name, "/")
	profile := llama8bA100()
	speed := w.number(cmp.Or(kv["speed"], "1"))
	for i, p := range profile.Linear {
		profile.Linear[i].Time = time.Duration(float64(p.Time) / speed)
	}
	v := scale.Variant{
		Name: variant, Profile: profile, Capacities: []scale.CapacityType{scale.OnDemand},
		Accelerator: scale.Accelerator{Type: cmp.Or(kv["gpu"], variant), Count: 1},
		Max:         int(w.number(cmp.Or(kv["max"], "100"))), ColdStart: w.duration(cmp.Or(kv["boot"], "20s")),
	}
	if kv["spot"] != "" {
		v.Capacities = append(v.Capacities, scale.Spot)
		w.snapshot.Offerings = append(w.snapshot.Offerings, scale.Offering{
			Accelerator: v.Accelerator.Type, Capacity: scale.Spot, PricePerHour: w.number(kv["spot"]),
		})
	}
	m := w.state(model)
	m.Model.Variants = append(m.Model.Variants, v)
	if !slices.ContainsFunc(w.snapshot.Offerings, func(o scale.Offering) bool {
		return o.Accelerator == v.Accelerator.Type && o.Capacity == scale.OnDemand
	}) {
		w.snapshot.Offerings = append(w.snapshot.Offerings, scale.Offering{
			Accelerator: v.Accelerator.Type, Capacity: scale.OnDemand, PricePerHour: w.number(cmp.Or(kv["price"], "2")),
		})
	}
}

// measure takes in what is measured from now on: of a model, or of a replica
// named model/variant#n.
func (w *world) measure(f []string) {
	kv := options(f)
	if strings.Contains(f[0], "#") {
		w.replica(scale.ReplicaID(f[0]), f[1], kv)
		return
	}
	m := w.state(f[0])
	now := w.snapshot.Now
	set := func(o *scale.Observation, key string) {
		if kv[key] != "" {
			*o = scale.Observe(w.number(kv[key]), now)
		}
	}
	d := &m.Demand
	set(&d.Arrivals, "rate")
	set(&d.Held, "held")
	set(&d.HeldFor, "held-for")
	set(&d.PromptTokens, "in")
	set(&d.LongPrompt, "in")
	set(&d.OutputTokens, "out")
	set(&d.InFlight, "in-flight")
	for _, word := range f[1:] {
		switch word {
		case "silent": // measured no more
			w.silent[f[0]] = true
		case "unknown": // never measured
			m.Demand, w.silent[f[0]] = scale.Demand{}, true
		}
	}
	for _, s := range m.Model.Signals {
		if kv[s.Name] == "" {
			continue
		}
		m.Signals = slices.DeleteFunc(slices.Clone(m.Signals), func(f scale.Figure) bool { return f.Name == s.Name })
		if kv[s.Name] != "silent" {
			m.Signals = append(m.Signals, scale.Figure{Name: s.Name, Observation: scale.Observe(w.number(kv[s.Name]), now)})
		}
	}
	if kv["failures"] != "" {
		m.Failures = int(w.number(kv["failures"]))
	}
	if kv["mode"] != "" {
		if err := m.Model.Mode.UnmarshalText([]byte(kv["mode"])); err != nil {
			w.t.Fatal(err)
		}
	}
	if kv["price"] != "" {
		variant, price, _ := strings.Cut(kv["price"], ":")
		for i := range w.snapshot.Offerings {
			if w.snapshot.Offerings[i].Accelerator == variant && w.snapshot.Offerings[i].Capacity == scale.OnDemand {
				w.snapshot.Offerings[i].PricePerHour = w.number(price)
			}
		}
	}
}

func (w *world) replica(id scale.ReplicaID, what string, kv map[string]string) {
	now := w.snapshot.Now
	switch what {
	case "taken":
		w.snapshot.Interruptions = append(w.snapshot.Interruptions, scale.Interruption{Replica: id, Noticed: now, Deadline: now.Add(w.duration(kv["in"])), Source: "story"})
	case "hangs":
		w.gone[string(id)] = time.Time{} // never Ready
	default:
		load := w.load[id]
		if kv["kv"] != "" {
			load.KVCacheUsage = scale.Observe(w.number(kv["kv"]), now)
		}
		if kv["in-flight"] != "" {
			load.InFlight = scale.Observe(w.number(kv["in-flight"]), now)
		}
		if kv["running"] != "" {
			load.Running = scale.Observe(w.number(kv["running"]), now)
		}
		w.load[id] = load
	}
}

// until ticks once a second up to an instant of the story.
func (w *world) until(at time.Duration) {
	for end := w.start.Add(at); w.snapshot.Now.Before(end); {
		w.tick()
		w.snapshot.Now = w.snapshot.Now.Add(time.Second)
		w.refresh()
	}
}

// refresh dates what goes on being measured, and moves replicas along.
func (w *world) refresh() {
	now := w.snapshot.Now
	for i := range w.snapshot.Models {
		m := &w.snapshot.Models[i]
		m.ColdStarts = nil
		if !w.silent[m.Model.Name] {
			for _, o := range []*scale.Observation{&m.Demand.Arrivals, &m.Demand.Held, &m.Demand.HeldFor, &m.Demand.InFlight} {
				if o.Known() {
					o.At = now
				}
			}
			if m.Demand.Arrivals.Value > 0 {
				m.Demand.LastArrival = scale.Observe(float64(now.Unix()), now)
			}
		}
		m.Replicas = slices.DeleteFunc(m.Replicas, func(r scale.Replica) bool {
			gone, ok := w.gone[string(r.ID)]
			return ok && r.Phase == scale.Draining && !now.Before(gone)
		})
		for j := range m.Replicas {
			w.age(m, &m.Replicas[j])
		}
	}
}

func (w *world) age(m *scale.ModelState, r *scale.Replica) {
	now := w.snapshot.Now
	r.Load = w.load[r.ID]
	if r.Load.InFlight.Known() {
		r.Load.InFlight.At = now
	} else {
		r.Load.InFlight = scale.Observe(0, now)
	}
	for _, o := range []*scale.Observation{&r.Load.KVCacheUsage, &r.Load.Running} {
		if o.Known() {
			o.At = now
		}
	}
	v, _ := m.Model.Variant(r.Target.Variant)
	_, hangs := w.gone[string(r.ID)]
	if r.Phase == scale.Starting && !hangs && now.Sub(r.Created) >= v.ColdStart {
		r.Phase, r.Since = scale.Ready, now
		m.ColdStarts = append(m.ColdStarts, scale.ColdStart{Target: r.Target, Took: now.Sub(r.Created)})
	}
}

// tick decides once and makes the Decision true.
func (w *world) tick() {
	decision, memory := Step(w.snapshot, w.memory)
	w.memory = memory
	for _, c := range decision.Changes {
		w.say(c)
		if !c.Acts() {
			continue
		}
		m := w.state(c.Target.Model)
		for i := range m.Replicas {
			if r := &m.Replicas[i]; slices.Contains(c.Drain, r.ID) {
				r.Phase, r.Since = scale.Draining, w.snapshot.Now
				w.gone[string(r.ID)] = w.snapshot.Now.Add(5 * time.Second)
			}
		}
		for range c.Start() {
			w.next[c.Target]++
			m.Replicas = append(m.Replicas, scale.Replica{
				ID: scale.ReplicaID(fmt.Sprintf("%s#%d", c.Target, w.next[c.Target])), Target: c.Target,
				Phase: scale.Starting, Created: w.snapshot.Now, Since: w.snapshot.Now,
			})
		}
	}
}

// say prints a change that acts, or whose reasons to hold back have changed.
func (w *world) say(c scale.Change) {
	codes := map[string]bool{}
	for _, r := range c.Reasons {
		codes[r.Code.String()] = true
	}
	line := strings.Join(slices.Sorted(maps.Keys(codes)), " ")
	if len(c.Drain) > 0 {
		line = fmt.Sprintf("drains %v, %s", c.Drain, line)
	} else {
		line = ", " + line
	}
	if !c.Acts() && w.said[c.Target] == fmt.Sprint(c.To, line) {
		return
	}
	w.said[c.Target] = fmt.Sprint(c.To, line)
	verb := "to"
	if c.DryRun {
		verb = "would go to"
	}
	text := fmt.Sprintf("-> %v %v %d %s %d %s\n", w.snapshot.Now.Sub(w.start), c.Target, c.From, verb, c.To, line)
	w.out.WriteString(strings.ReplaceAll(text, " ,", ","))
}

func (w *world) state(model string) *scale.ModelState {
	for i := range w.snapshot.Models {
		if w.snapshot.Models[i].Model.Name == model {
			return &w.snapshot.Models[i]
		}
	}
	w.t.Fatalf("no model %q", model)
	return nil
}

func (w *world) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) number(s string) float64 {
	x, err := strconv.ParseFloat(s, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

// options reads the key=value words of a line.
func options(f []string) map[string]string {
	kv := map[string]string{}
	for _, word := range f {
		if k, v, ok := strings.Cut(word, "="); ok {
			kv[k] = v
		}
	}
	return kv
}
