package console

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// condition judges one model by everything else in its status, and says why in
// a clause.
func condition(s ModelStatus, d scale.Decision) (Condition, string) {
	running := s.Replicas.Ready + s.Replicas.Starting
	for _, r := range s.Decision.reasons() {
		switch {
		case r.is(scale.ReasonMissingSignals, scale.ReasonStaleSignals) && running > 0:
			return NoData, r.Text
		case r.is(scale.ReasonInfeasible) && !s.feasible():
			return Missing, r.Text
		case r.is(scale.ReasonBootFailures) && s.Replicas.Ready == 0:
			return Missing, r.Text
		}
	}
	held := held(s.Demand)
	switch {
	case s.Demand.Arrivals == nil && running > 0:
		return NoData, "its traffic was never measured"
	case held > 0 && running == 0 && s.Replicas.Want > 0 && s.Replicas.Allowed == 0:
		return Missing, starved(s, held)
	case s.Replicas.Ready == 0 && (running > 0 || s.Replicas.Want > 0 || held > 0):
		return Loading, loading(s, held)
	case s.Replicas.Ready == 0:
		return Asleep, "nothing runs and nobody asks"
	}
	if why := misses(s, d); why != "" {
		return Missing, why
	}
	if a := s.SLO.Attainment; a != nil {
		return Meeting, fmt.Sprintf("%s of requests were good, the objective is %s", percent(*a), percent(s.SLO.Objective))
	}
	return Meeting, "no request has ended yet"
}

// feasible says whether any target meets the SLO.
func (s ModelStatus) feasible() bool {
	return slices.ContainsFunc(s.Targets, func(t TargetStatus) bool { return t.BatchLimit > 0 && !t.Infeasible })
}

func held(d Demand) int { return int(orElse(d.Held, Value{}).Value) }

// starved tells that requests wait for a replica that may not start.
func starved(s ModelStatus, held int) string {
	text := fmt.Sprintf("%s %s and no replica may start", count(held, "request"), verb(held, "waits", "wait"))
	for _, r := range s.Decision.reasons() {
		if r.Effect == CouldNot {
			return text + ": " + r.Text
		}
	}
	return text
}

func loading(s ModelStatus, held int) string {
	what := "a replica is to start"
	if n := s.Replicas.Starting; n > 0 {
		what = fmt.Sprintf("%s %s", count(n, "replica"), verb(n, "loads", "load"))
	}
	if held > 0 {
		what += fmt.Sprintf(", %s %s", count(held, "request"), verb(held, "waits", "wait"))
	}
	return what
}

// misses says what of the SLO is missed: now, by an alert, or over all.
func misses(s ModelStatus, d scale.Decision) string {
	for _, m := range []struct {
		name string
		of   *Measure
	}{{"TTFT", s.TTFT}, {"TPOT", s.TPOT}, {"latency", s.Latency}} {
		if m.of != nil && m.of.Median != nil && *m.of.Median > m.of.Limit {
			return fmt.Sprintf("%s %s, over its limit of %s", m.name, length(*m.of.Median), length(m.of.Limit))
		}
	}
	limit := s.TTFT
	if limit == nil {
		limit = s.Latency
	}
	if waited := orElse(s.Demand.HeldFor, Value{}).Value; limit != nil && held(s.Demand) > 0 && waited > limit.Limit {
		return fmt.Sprintf("a request has waited %s, over its limit of %s", length(waited), length(limit.Limit))
	}
	for _, a := range d.Alerts {
		if a.Model == s.Name {
			return burning(a)
		}
	}
	if left := s.SLO.BudgetLeft; left != nil && *left < 0 {
		return fmt.Sprintf("%s of requests were good, the objective is %s", percent(*s.SLO.Attainment), percent(s.SLO.Objective))
	}
	return ""
}

// burning is an alert as a clause. The model's name is said before it.
func burning(a scale.Alert) string {
	if a.BurnRate > 0 && a.Over > 0 {
		return fmt.Sprintf("burns its error budget %.1f times too fast (over %s)", a.BurnRate, span(a.Over))
	}
	return strings.TrimPrefix(a.Text, a.Model+" ")
}

// sentence is the whole in words: first who is hurt, then what is unknown,
// then the rest.
func sentence(models []ModelStatus, at time.Time) string {
	by := map[Condition][]ModelStatus{}
	for _, m := range models {
		by[m.Condition] = append(by[m.Condition], m)
	}
	if len(models) == 0 {
		return "No model is configured."
	}
	var parts []string
	if hurt := by[Missing]; len(hurt) > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s %s objective. %s: %s%s.", len(hurt), count(len(models), "model"),
			verb(len(hurt), "misses its", "miss their"), hurt[0].Name, strings.TrimSuffix(hurt[0].Why, "."), hurt[0].lasting(at)))
	}
	for _, c := range []struct {
		condition Condition
		one, many string
	}{
		{NoData, "has no fresh data and is kept as it is", "have no fresh data and are kept as they are"},
		{Loading, "is loading", "are loading"},
		{Meeting, "meets its objective", "meet their objective"},
		{Asleep, "is asleep", "are asleep"},
	} {
		switch n := len(by[c.condition]); {
		case n == len(models) && n > 1:
			parts = append(parts, fmt.Sprintf("All %d models %s.", n, c.many))
		case n == 1:
			parts = append(parts, fmt.Sprintf("%s %s.", by[c.condition][0].Name, c.one))
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s.", n, c.many))
		}
	}
	return strings.Join(parts, " ")
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// percent is a share for people: 99 %, 98.31 %; never rounded up to 100.
func percent(share float64) string {
	switch hundredths := int(share*10000 + 1e-6); {
	case hundredths%100 == 0:
		return fmt.Sprintf("%d %%", hundredths/100)
	default:
		return fmt.Sprintf("%.2f %%", float64(hundredths)/100)
	}
}

// length is so many seconds for people.
func length(s float64) string { return span(time.Duration(s * float64(time.Second))) }

// lasting says for how long the condition has held, and what is coming.
func (s ModelStatus) lasting(at time.Time) string {
	text := ""
	if s.Since != nil && at.Sub(*s.Since) >= time.Second {
		text = ", for " + span(at.Sub(*s.Since))
		if s.AtLeast {
			text = ", for at least " + span(at.Sub(*s.Since))
		}
	}
	if n := s.Replicas.Starting; n > 0 {
		text += fmt.Sprintf("; %s %s", count(n, "replica"), verb(n, "loads", "load"))
	}
	return text
}
