package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Effect is what a Reason did to the count.
type Effect string

// The effects.
const (
	Because  Effect = "because"   // it made the count what it is
	CouldNot Effect = "could_not" // it kept the count from being higher
	DidNot   Effect = "did_not"   // it kept a change from being made now
)

// EffectOf returns what reasons of the code do.
func EffectOf(code scale.ReasonCode) Effect {
	switch code {
	case scale.ReasonMax, scale.ReasonUpRate, scale.ReasonFleetUpRate, scale.ReasonCostCap, scale.ReasonFleetCostCap,
		scale.ReasonNoSlot, scale.ReasonInfeasible, scale.ReasonShortage, scale.ReasonBootFailures:
		return CouldNot
	case scale.ReasonIdle, scale.ReasonDownRate, scale.ReasonFleetDownRate, scale.ReasonStabilisation,
		scale.ReasonMissingSignals, scale.ReasonStaleSignals, scale.ReasonOverload, scale.ReasonPaused,
		scale.ReasonAdvise, scale.ReasonMakeBeforeBreak:
		return DidNot
	case scale.ReasonDemand, scale.ReasonHeadRoom, scale.ReasonBacklog, scale.ReasonWakeFromZero, scale.ReasonScaleToZero, scale.ReasonMin,
		scale.ReasonWarmFloor, scale.ReasonSchedule, scale.ReasonSignal, scale.ReasonInterruption, scale.ReasonTakingSlot, scale.ReasonGivingSlot,
		scale.ReasonCheaper, scale.ReasonOverdue, scale.ReasonSteady:
		return Because
	}
	return Because
}

// ReasonView is one Reason.
type ReasonView struct {
	Code   string `json:"code"` // documented in docs/reference/reasons.md
	Effect Effect `json:"effect"`
	Text   string `json:"text"`
}

func (r ReasonView) is(codes ...scale.ReasonCode) bool {
	return slices.ContainsFunc(codes, func(c scale.ReasonCode) bool { return c.String() == r.Code })
}

// ChangeView is what was decided for one target.
type ChangeView struct {
	Variant  string       `json:"variant"`
	Capacity string       `json:"capacity"`
	From     int          `json:"from"`
	Want     int          `json:"want"`
	To       int          `json:"to"`
	Start    int          `json:"start"`
	Drain    []string     `json:"drain"`
	DryRun   bool         `json:"dry_run"`
	Reasons  []ReasonView `json:"reasons"`
}

// DecisionView is what one Decision means for one model.
type DecisionView struct {
	At       time.Time    `json:"at"`
	Model    string       `json:"model"`
	Headline string       `json:"headline"` // e.g. "5 to 8 on a100"
	Changes  []ChangeView `json:"changes"`
	Reasons  []ReasonView `json:"reasons"` // of the plan
}

// reasons returns those of the plan and of every change, each text once.
func (d DecisionView) reasons() []ReasonView {
	all := slices.Clone(d.Reasons)
	for _, c := range d.Changes {
		all = append(all, c.Reasons...)
	}
	seen := map[ReasonView]bool{}
	return slices.DeleteFunc(all, func(r ReasonView) bool {
		again := seen[r]
		seen[r] = true
		return again
	})
}

// view returns the part of a Decision that concerns one model.
func view(d scale.Decision, model string) DecisionView {
	v := DecisionView{At: d.At, Model: model, Changes: []ChangeView{}, Reasons: []ReasonView{}}
	for _, p := range d.Plans {
		if p.Model == model {
			v.Reasons = append(v.Reasons, reasonViews(p.Reasons)...)
		}
	}
	for _, c := range d.Changes {
		if c.Target.Model != model {
			continue
		}
		change := ChangeView{
			Variant: c.Target.Variant, Capacity: c.Target.Capacity.String(), From: c.From, Want: c.Want, To: c.To,
			Start: c.Start(), Drain: []string{}, DryRun: c.DryRun, Reasons: reasonViews(c.Reasons),
		}
		for _, id := range c.Drain {
			change.Drain = append(change.Drain, string(id))
		}
		v.Changes = append(v.Changes, change)
	}
	v.Headline = headline(v.Changes)
	return v
}

func reasonViews(reasons []scale.Reason) []ReasonView {
	views := make([]ReasonView, 0, len(reasons))
	for _, r := range reasons {
		views = append(views, ReasonView{Code: r.Code.String(), Effect: EffectOf(r.Code), Text: r.Text})
	}
	return views
}

func headline(changes []ChangeView) string {
	if len(changes) == 0 {
		return "nothing runs, nothing is wanted"
	}
	var parts []string
	for _, c := range changes {
		where := c.Variant
		if c.Capacity == scale.Spot.String() {
			where += "@spot"
		}
		var part string
		switch {
		case c.From == c.To && c.DryRun && c.Want != c.To:
			part = fmt.Sprintf("kept %d on %s, would want %d", c.From, where, c.Want)
		case c.From == c.To && len(c.Drain) > 0:
			part = fmt.Sprintf("%d on %s, %d of them replaced", c.From, where, len(c.Drain))
		case c.From == c.To && c.Want != c.To:
			part = fmt.Sprintf("kept %d on %s, wanted %d", c.From, where, c.Want)
		case c.From == c.To:
			part = fmt.Sprintf("kept %d on %s", c.From, where)
		case c.DryRun:
			part = fmt.Sprintf("would go %d to %d on %s", c.From, c.To, where)
		case c.Want != c.To:
			part = fmt.Sprintf("%d to %d on %s, wanted %d", c.From, c.To, where, c.Want)
		default:
			part = fmt.Sprintf("%d to %d on %s", c.From, c.To, where)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

// Explanation is why one model stood as it did: the Decision and what it was
// made from.
type Explanation struct {
	DecisionView
	Asked     time.Time  `json:"asked"` // the moment asked for
	Age       float64    `json:"age_seconds"`
	Condition Condition  `json:"condition"`
	Replicas  Replicas   `json:"replicas"` // Ready and so on as they were seen
	Plan      []PlanView `json:"plan"`
	Required  float64    `json:"required"` // requests at replicas at once that the plan is made for
	Forecast  *Forecast  `json:"forecast"`
	Alerts    []string   `json:"alerts"`
	Seen      []Seen     `json:"seen"`
	// LastChange is the newest decision that started or drained replicas; of the
	// present only, and null where there was none within a day.
	LastChange *DecisionView `json:"last_change,omitempty"`
	// Again is what making the Decision again came to; of the past only.
	Again *AgainView `json:"again,omitempty"`
}

// AgainView is what making a past Decision again came to.
type AgainView struct {
	Verdict string `json:"verdict"` // same, otherwise or not-possible
	Text    string `json:"text"`
}

// Explain tells what a record of the journal says of a model, which may be
// called by an alias, as the answer for a past moment does.
func Explain(r scale.Record, name string, asked time.Time) (Explanation, error) {
	model, err := named(r.Snapshot, name)
	if err != nil {
		return Explanation{}, err
	}
	return explanation(r, model, asked)
}

// PlanView is the wanted count of one target.
type PlanView struct {
	Variant     string  `json:"variant"`
	Capacity    string  `json:"capacity"`
	Replicas    int     `json:"replicas"`
	BatchLimit  int     `json:"batch_limit"`
	PerReplica  float64 `json:"per_replica_per_second"`
	CostPerHour float64 `json:"cost_per_hour"`
}

// Forecast is the demand that was planned for.
type Forecast struct {
	Horizon      float64 `json:"horizon_seconds"`
	Mean         float64 `json:"mean_per_second"`
	Upper        float64 `json:"upper_per_second"`
	Quantile     float64 `json:"quantile"`
	PromptTokens float64 `json:"prompt_tokens"`
	OutputTokens float64 `json:"output_tokens"`
}

// Seen is one input of a Decision. Absent ones were never measured, and were
// not used.
type Seen struct {
	Signal string   `json:"signal"`
	Of     string   `json:"of"` // a replica, or "gateway"
	Unit   string   `json:"unit"`
	Value  *float64 `json:"value"`       // null when absent
	Age    *float64 `json:"age_seconds"` // when the Decision was made
}

func (c *Console) explain(r *http.Request) (any, error) {
	query := r.URL.Query()
	now := time.Now()
	asked, err := moment(query.Get("at"), now)
	if err != nil {
		return nil, refusal{http.StatusBadRequest, "bad_time", "at: " + err.Error()}
	}
	snapshot, decision, err := c.now()
	if err != nil {
		return nil, err
	}
	model, unknown := named(snapshot, query.Get("model"))
	if asked.IsZero() {
		if unknown != nil {
			return nil, unknown
		}
		e, err := explanation(scale.Record{At: snapshot.Now, Snapshot: snapshot, Decision: decision}, model, now)
		if err == nil {
			e.LastChange = c.lastChange(r.Context(), model, now)
		}
		return e, err
	}
	if c.History == nil {
		return nil, refusal{http.StatusNotFound, "no_journal", "This penstock keeps no journal: only the present can be explained."}
	}
	if unknown != nil { // now; the journal may know it from before
		model = query.Get("model")
	}
	record, found, err := c.History.DecisionAt(r.Context(), model, asked)
	switch {
	case err != nil:
		return nil, told(err)
	case found:
		return explanation(record, model, asked)
	case unknown != nil:
		return nil, unknown
	}
	return nil, refusal{
		http.StatusNotFound, "nothing_then",
		fmt.Sprintf("The journal holds nothing of %s at or before %s.", model, asked.Format(time.RFC3339)),
	}
}

// lastChange finds the newest decision that did something.
func (c *Console) lastChange(ctx context.Context, model string, now time.Time) *DecisionView {
	c.remember(ctx, now)
	if found := c.acts.of(model, now.Add(-actsSince), 1); len(found) > 0 {
		return &found[0]
	}
	return nil
}

// told is an error of the journal as the asker is told it: which row it was
// may be known, and helps.
func told(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return refusal{http.StatusInternalServerError, "journal", err.Error()}
}

// named returns the configured model that a name or an alias means.
func named(s scale.Snapshot, name string) (string, error) {
	var names []string
	for _, m := range s.Models {
		if m.Model.Name == name || slices.Contains(m.Model.Aliases, name) {
			return m.Model.Name, nil
		}
		names = append(append(names, m.Model.Name), m.Model.Aliases...)
	}
	if name == "" {
		return "", refusal{http.StatusBadRequest, "no_model", "Say which model: ?model=NAME. There are: " + strings.Join(first(names, 10), ", ") + "."}
	}
	message := fmt.Sprintf("There is no model %.100q.", name)
	if near := nearest(name, names, 3); len(near) > 0 {
		message += " Nearest: " + strings.Join(near, ", ") + "."
	}
	return "", refusal{http.StatusNotFound, "model_not_found", message}
}

func first(all []string, n int) []string { return all[:min(n, len(all))] }

// Decisions is the answer to what was decided.
type Decisions struct {
	Decisions []DecisionView `json:"decisions"` // newest first
	Faults    []string       `json:"faults"`    // rows of the journal that could not be read
}

func (c *Console) decisions(r *http.Request) (any, error) {
	if c.History == nil {
		return nil, refusal{http.StatusNotFound, "no_journal", "This penstock keeps no journal."}
	}
	query := r.URL.Query()
	since, err := moment(query.Get("since"), time.Now())
	if err != nil {
		return nil, refusal{http.StatusBadRequest, "bad_time", "since: " + err.Error()}
	}
	limit := defaultLimit
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxDecisions {
			return nil, refusal{http.StatusBadRequest, "bad_limit", fmt.Sprintf("limit: %.20q is not a number from 1 to %d.", text, maxDecisions)}
		}
	}
	name := query.Get("model")
	if name != "" {
		snapshot, _, _ := c.Fleet.Snapshot()
		if name, err = named(snapshot, name); err != nil {
			return nil, err
		}
	}
	if query.Get("acted") == "true" {
		c.remember(r.Context(), time.Now())
		return Decisions{Decisions: c.acts.of(name, since, limit), Faults: []string{}}, nil
	}
	found, err := c.History.Decisions(r.Context(), name, since, limit)
	if err != nil && len(found) == 0 {
		return nil, told(err)
	}
	answer := Decisions{Decisions: []DecisionView{}, Faults: []string{}}
	if err != nil {
		answer.Faults = strings.Split(err.Error(), "\n")
	}
	for _, d := range found {
		answer.Decisions = append(answer.Decisions, view(d, concerns(d)))
	}
	return answer, nil
}

// concerns returns the model that a Decision cut down to one speaks of.
func concerns(d scale.Decision) string {
	switch {
	case len(d.Plans) > 0:
		return d.Plans[0].Model
	case len(d.Changes) > 0:
		return d.Changes[0].Target.Model
	case len(d.Alerts) > 0:
		return d.Alerts[0].Model
	default:
		return ""
	}
}

// moment reads a TIME of the API. An empty one is zero.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return at, nil
	}
	back, err := time.ParseDuration(text)
	if err != nil || back > 0 {
		return time.Time{}, fmt.Errorf("%.50q is no time: write 2026-03-02T09:46:00Z, or -5m for five minutes ago", text)
	}
	return now.Add(back), nil
}

// explanation tells what the record says of the model.
func explanation(r scale.Record, model string, asked time.Time) (Explanation, error) {
	i := slices.IndexFunc(r.Snapshot.Models, func(m scale.ModelState) bool { return m.Model.Name == model })
	if i < 0 {
		return Explanation{}, refusal{http.StatusNotFound, "nothing_then", fmt.Sprintf("The decision of %s does not speak of %s.", r.At.Format(time.RFC3339), model)}
	}
	state := r.Snapshot.Models[i]
	status := modelStatus(state, r.Decision, r.Snapshot.Now)
	e := Explanation{
		DecisionView: status.Decision, Asked: asked, Age: seconds(asked.Sub(r.At)), Condition: status.Condition,
		Replicas: status.Replicas, Plan: []PlanView{}, Alerts: []string{}, Seen: seen(state, r.Snapshot.Now),
	}
	for _, p := range r.Decision.Plans {
		if p.Model != model {
			continue
		}
		e.Required = orElse(finite(p.Required), 0)
		for _, a := range p.Allocations {
			e.Plan = append(e.Plan, PlanView{
				Variant: a.Target.Variant, Capacity: a.Target.Capacity.String(), Replicas: a.Replicas, BatchLimit: a.BatchLimit,
				PerReplica: orElse(finite(a.PerReplica), 0), CostPerHour: orElse(finite(a.CostPerHour), 0),
			})
		}
	}
	for _, f := range r.Decision.Forecasts {
		if f.Model == model {
			e.Forecast = &Forecast{
				Horizon: seconds(f.Horizon), Mean: orElse(finite(f.Mean), 0), Upper: orElse(finite(f.Upper), 0), Quantile: f.Quantile,
				PromptTokens: f.PromptTokens, OutputTokens: f.OutputTokens,
			}
		}
	}
	for _, a := range r.Decision.Alerts {
		if a.Model == model {
			e.Alerts = append(e.Alerts, a.Text)
		}
	}
	if a := r.Again; a.Verdict != 0 {
		e.Again = &AgainView{Verdict: a.Verdict.String(), Text: a.Text}
	}
	return e, nil
}

// seen lists the inputs of a model: the gateway's, then those of each replica.
func seen(m scale.ModelState, now time.Time) []Seen {
	var all []Seen
	add := func(of, signal, unit string, o scale.Observation) {
		s := Seen{Signal: signal, Of: of, Unit: unit}
		if v := value(o, now); v != nil {
			s.Value, s.Age = &v.Value, &v.Age
		}
		all = append(all, s)
	}
	d := m.Demand
	add("gateway", "arrivals", "requests/s", d.Arrivals)
	add("gateway", "mean prompt", "tokens", d.PromptTokens)
	add("gateway", "long prompt (0.95 quantile)", "tokens", d.LongPrompt)
	add("gateway", "mean output", "tokens", d.OutputTokens)
	add("gateway", "held", "requests", d.Held)
	add("gateway", "held prompts", "tokens", d.HeldTokens)
	add("gateway", "oldest held for", "s", d.HeldFor)
	add("gateway", "in flight", "requests", d.InFlight)
	add("gateway", "good", "requests since it began", d.Good)
	add("gateway", "bad", "requests since it began", d.Bad)
	for _, s := range m.Model.Signals {
		add("business signal", s.Name, "", m.Signal(s.Name))
	}
	replicas := slices.Clone(m.Replicas)
	slices.SortFunc(replicas, func(a, b scale.Replica) int { return cmp.Compare(a.ID, b.ID) })
	for _, r := range replicas {
		if r.Phase == scale.Starting {
			continue // it serves nothing that could be measured
		}
		of := string(r.ID)
		add(of, "in flight", "requests", r.Load.InFlight)
		add(of, "running", "requests", r.Load.Running)
		add(of, "waiting", "requests", r.Load.Waiting)
		add(of, "KV cache", "share", r.Load.KVCacheUsage)
		for _, timing := range []struct {
			signal string
			scale.Timing
		}{{"TTFT by the engine (mean)", r.Load.Engine.TTFT}, {"TPOT by the engine (mean)", r.Load.Engine.TPOT}, {"end to end by the engine (mean)", r.Load.Engine.EndToEnd}} {
			if timing.Known() { // many engines do not tell it
				add(of, timing.signal, "s", mean(timing.Timing))
			}
		}
	}
	return all
}
