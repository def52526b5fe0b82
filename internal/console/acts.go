package console

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// acts are the newest decisions that started or drained replicas. Most ticks
// keep what is there, and bury in a journal those that somebody asks about. The
// zero value is ready for use; it is safe for concurrent use.
type acts struct {
	mu     sync.Mutex
	kept   []DecisionView // newest first
	looked time.Time      // how far History was read; zero: not yet
}

const (
	keptActs  = 1000
	actsSince = 24 * time.Hour
	// readActs is how often History is asked for what a look at every quarter of a
	// second may have missed.
	readActs = 2 * time.Second
)

// take keeps what of a Decision acts.
func (a *acts) take(decisions ...scale.Decision) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range decisions {
		var models []string
		for _, c := range d.Changes {
			if c.Acts() && !slices.Contains(models, c.Target.Model) {
				models = append(models, c.Target.Model)
			}
		}
		for _, model := range models {
			v := view(d, model)
			at, known := slices.BinarySearchFunc(a.kept, v, newer)
			if !known {
				a.kept = slices.Insert(a.kept, at, v)
			}
		}
	}
	if len(a.kept) > keptActs {
		a.kept = slices.Clip(a.kept[:keptActs])
	}
}

// newer sorts the newest first, and those of one tick by model.
func newer(a, b DecisionView) int {
	if order := b.At.Compare(a.At); order != 0 {
		return order
	}
	return strings.Compare(a.Model, b.Model)
}

// of returns the newest of a model, or of all where it is "".
func (a *acts) of(model string, since time.Time, limit int) []DecisionView {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := []DecisionView{}
	for _, v := range a.kept {
		if v.At.Before(since) || len(found) == limit {
			break
		}
		if model == "" || v.Model == model {
			found = append(found, v)
		}
	}
	return found
}

// remember reads from History what acted before this process began, and since
// then what was missed.
func (c *Console) remember(ctx context.Context, now time.Time) {
	c.acts.mu.Lock()
	since := c.acts.looked
	due := c.History != nil && now.Sub(since) >= readActs
	if due {
		c.acts.looked = now
	}
	c.acts.mu.Unlock()
	if !due {
		return
	}
	if since.IsZero() {
		since = now.Add(-actsSince)
	}
	found, err := c.History.Decisions(ctx, "", since.Add(-readActs), maxDecisions)
	if err != nil && ctx.Err() == nil {
		c.Logger.DebugContext(ctx, "console could not read decisions", "error", err)
	}
	c.acts.take(found...) // what could be read is good enough
}
