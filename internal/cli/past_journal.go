package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/store"
)

const (
	// journalStep is how often of what Penstock journals is read.
	journalStep = 30 * time.Second
	// journalGap is how far two records may be apart and still tell what was in
	// between. Penstock did not run where they are farther.
	journalGap = 4 * journalStep
)

// journalled is a journal that is being read.
type journalled struct {
	past    *past
	covered []time.Duration    // of each step, by records
	models  []scale.Model      // as configured
	before  map[string]counted // by model as the journal calls it
	unknown []string           // models that are in the journal alone
	damaged int                // records
}

// counted is how many requests of a model had ended, and when.
type counted struct {
	at    time.Time
	total float64
}

// readJournal reads the demand out of a journal of Penstock's own. Requests are
// counted as they ended, for that count misses none, while the rate of arrivals
// is journalled for a second now and then.
func readJournal(ctx context.Context, where config.Store, p *past, models []scale.Model) (*journalled, error) {
	r, err := readStore(ctx, where)
	if err != nil {
		return nil, err
	}
	j := &journalled{past: p, covered: make([]time.Duration, len(p.known)), models: models, before: map[string]counted{}}
	for record, err := range r.Sample(ctx, p.from, p.from.Add(time.Duration(len(p.known))*p.step), journalStep) {
		if errors.As(err, new(*store.DamagedError)) {
			j.damaged++
			continue
		}
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		j.take(record.Snapshot)
	}
	for i, covered := range j.covered {
		p.known[i] = covered >= p.step/2
	}
	return j, r.Close()
}

// take takes in what one record says.
func (j *journalled) take(s scale.Snapshot) {
	longest := time.Duration(0)
	for i := range s.Models {
		longest = max(longest, j.model(s.Now, &s.Models[i]))
	}
	if longest > 0 {
		j.spread(s.Now.Add(-longest), s.Now, func(step int, share float64) {
			j.covered[step] += time.Duration(share * float64(longest))
		})
	}
}

// model counts the requests of a model since its record before, and returns how
// long ago that was; 0 where that tells nothing.
func (j *journalled) model(now time.Time, m *scale.ModelState) time.Duration {
	d := m.Demand
	if !d.Good.Known() && !d.Bad.Known() {
		return 0
	}
	configured, served := servedAs(j.models, m.Model.Name)
	if !served {
		if !slices.Contains(j.unknown, m.Model.Name) {
			j.unknown = append(j.unknown, m.Model.Name)
		}
		return 0
	}
	before, known := j.before[m.Model.Name]
	ended := counted{at: now, total: d.Good.Value + d.Bad.Value}
	j.before[m.Model.Name] = ended
	apart := now.Sub(before.at)
	if !known || apart <= 0 || apart > journalGap {
		return 0
	}
	n := ended.total - before.total
	if n < 0 { // Penstock began anew, and counted from nothing
		n = ended.total
	}
	into := j.past.model(configured)
	j.spread(before.at, now, func(step int, share float64) {
		before, more := into.requests[step], share*n
		into.requests[step] += more
		into.prompt[step] = mean(into.prompt[step], before, d.PromptTokens.Value, more)
		into.output[step] = mean(into.output[step], before, d.OutputTokens.Value, more)
	})
	return apart
}

// servedAs is the model that goes by a name.
func servedAs(models []scale.Model, name string) (scale.Model, bool) {
	i := slices.IndexFunc(models, func(m scale.Model) bool { return m.Name == name || slices.Contains(m.Aliases, name) })
	if i < 0 {
		return scale.Model{}, false
	}
	return models[i], true
}

// spread shares out a span of time over the steps.
func (j *journalled) spread(from, to time.Time, put func(step int, share float64)) {
	span := to.Sub(from)
	for at := from; at.Before(to); {
		since := at.Sub(j.past.from)
		step := int(since / j.past.step)
		end := j.past.from.Add(time.Duration(step+1) * j.past.step)
		if end.After(to) {
			end = to
		}
		if since >= 0 && step < len(j.past.known) {
			put(step, end.Sub(at).Seconds()/span.Seconds())
		}
		at = end
	}
}

// mean is that of what was there and what comes to it. What is unknown, 0, does
// not count.
func mean(a, weightA, b, weightB float64) float64 {
	switch {
	case b == 0 || weightB == 0:
		return a
	case a == 0 || weightA == 0:
		return b
	}
	return (a*weightA + b*weightB) / (weightA + weightB)
}

// note is what the reader of the result has to know of the journal.
func (j *journalled) note() string {
	var b strings.Builder
	if len(j.unknown) > 0 {
		slices.Sort(j.unknown)
		fmt.Fprintf(&b, "Left out, for the configuration does not serve them: %s.\n", strings.Join(j.unknown, ", "))
	}
	if j.damaged > 0 {
		fmt.Fprintf(&b, "%d records of the journal are damaged and were passed over.\n", j.damaged)
	}
	return b.String()
}
