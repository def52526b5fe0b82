// Package judge measures policies: every workload under every policy in
// virtual time, beside the fleet of one who knows the future.
package judge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/internal/report"
)

// Trial is a comparison: Questions, and who is asked them.
type Trial struct {
	Questions []Question
	Policies  []string // names; none for all of Policies
	Seeds     int      // of Penstock; a rival has the first only
	RivalSeed int      // how many seeds a rival has; 0 is 1
	Workers   int      // runs at once; 0 is one a core
	// Series keeps what the charts of a report show.
	Series bool
	// Title and Command are carried into the result.
	Title, Command string

	// Progress, where it is set, is told how far the Trial is, now and then and
	// from several goroutines.
	Progress func(Progress)
}

// Progress is how far a Trial is.
type Progress struct {
	Doing       string // in words
	Done, Total int64  // requests that were simulated, and that are to be; Total 0 while it is not known
	Took        time.Duration
}

// Left is about how long the rest takes; false while nobody can tell.
func (p Progress) Left() (time.Duration, bool) {
	if p.Total == 0 || p.Done == 0 {
		return 0, false
	}
	return time.Duration(float64(p.Took) * float64(p.Total-p.Done) / float64(p.Done)), true
}

// Verdict is what a Trial found.
type Verdict struct {
	report.Scaling
	Series []report.Series // one for each workload, where Trial.Series asks for them
	Unread error           // the first SeriesError, where there was one
}

// Run runs the Trial. A run that fails is in the result; only what makes the
// whole pointless, such as the end of ctx or a name that nothing has, is an
// error.
func (t Trial) Run(ctx context.Context) (Verdict, error) {
	policies, err := choose(t.Policies)
	if err != nil {
		return Verdict{}, err
	}
	began := time.Now()
	v := Verdict{Scaling: report.Scaling{Title: t.Title, Command: t.Command, Seeds: max(1, t.Seeds)}}
	clock := &clock{began: began, report: t.Progress}
	for _, q := range t.Questions {
		c := contest{trial: t, question: q, clock: clock}
		for _, p := range policies {
			if p.asks(q) {
				c.policies = append(c.policies, p)
			}
		}
		w, s, failures, err := c.run(ctx)
		if err != nil {
			return Verdict{}, err
		}
		v.Failures = append(v.Failures, failures...)
		if v.Unread == nil {
			v.Unread = c.unread
		}
		if len(w.Policies) > 0 {
			v.Workloads = append(v.Workloads, w)
		}
		if t.Series && len(w.Policies) > 0 {
			v.Series = append(v.Series, s)
		}
	}
	v.Wall = report.Number(time.Since(began).Seconds())
	v.Targets = targets(v.Workloads)
	return v, nil
}

// clock counts what is done, for Progress.
type clock struct {
	began  time.Time
	done   atomic.Int64
	total  atomic.Int64
	report func(Progress)
}

func (c *clock) tell(format string, args ...any) {
	if c.report != nil {
		c.report(Progress{Doing: fmt.Sprintf(format, args...), Done: c.done.Load(), Total: c.total.Load(), Took: time.Since(c.began)})
	}
}

// contest is one Question under all policies that it concerns.
type contest struct {
	trial    Trial
	question Question
	policies []policy
	clock    *clock

	mu    sync.Mutex
	draws map[uint64]*drawn
	runs  []outcome
	fails []report.Failure
	// unread is why the series can not be read, where it can not.
	unread error
}

// cell is one run.
type cell struct {
	policy policy
	seed   uint64
}

func (c *contest) run(ctx context.Context) (report.Workload, report.Series, []report.Failure, error) {
	var none report.Workload
	seeds := c.seeds()
	c.draws = make(map[uint64]*drawn, len(seeds))
	c.each(ctx, len(seeds), func(i int) { c.draw(ctx, seeds[i]) })
	if err := ctx.Err(); err != nil {
		return none, report.Series{}, nil, fmt.Errorf("compare policies: %w", err)
	}
	cells := c.cells(seeds)
	for _, cell := range cells {
		c.clock.total.Add(int64(c.draws[cell.seed].survey.requests))
	}
	c.each(ctx, len(cells), func(i int) { c.play(ctx, cells[i]) })
	if err := ctx.Err(); err != nil {
		return none, report.Series{}, nil, fmt.Errorf("compare policies: %w", err)
	}
	slices.SortFunc(c.fails, func(a, b report.Failure) int {
		return cmp.Or(cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Seed, b.Seed))
	})
	if len(c.runs) == 0 {
		return none, report.Series{}, c.fails, nil
	}
	w, s := c.result()
	return w, s, c.fails, nil
}

// seeds are those that any policy runs with.
func (c *contest) seeds() []uint64 {
	most := max(1, c.trial.RivalSeed)
	if slices.ContainsFunc(c.policies, func(p policy) bool { return p.own }) {
		most = max(most, c.trial.Seeds)
	}
	all := make([]uint64, most)
	for i := range all {
		all[i] = uint64(i + 1)
	}
	return all
}

// cells lists the runs, those of the product first: they take longest.
func (c *contest) cells(seeds []uint64) []cell {
	var all []cell
	for _, p := range c.policies {
		mine := seeds
		if !p.own {
			mine = seeds[:min(len(seeds), max(1, c.trial.RivalSeed))]
		}
		for _, seed := range mine {
			if c.draws[seed] != nil {
				all = append(all, cell{p, seed})
			}
		}
	}
	return all
}

// each runs n jobs, some at once, until ctx ends.
func (c *contest) each(ctx context.Context, n int, job func(i int)) {
	workers := c.trial.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var next atomic.Int64
	var wait sync.WaitGroup
	for range min(workers, n) {
		wait.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || ctx.Err() != nil {
					return
				}
				job(i)
			}
		})
	}
	wait.Wait()
}

// draw fixes the Question for a seed.
func (c *contest) draw(ctx context.Context, seed uint64) {
	c.clock.tell("%s: what each minute needs, seed %d", c.question.Name, seed)
	d, err := c.question.draw(ctx, seed)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.fails = append(c.fails, report.Failure{Workload: c.question.Name, Seed: seed, Error: err.Error()})
		if errors.As(err, new(SeriesError)) {
			c.unread = err
		}
		return
	}
	c.draws[seed] = d
}
