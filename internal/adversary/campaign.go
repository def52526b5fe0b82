package adversary

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Campaign plays many seeds.
type Campaign struct {
	Kept     []uint64 // seeds that are played first
	First    uint64
	Seeds    int // from First on
	Workers  int // at once; 0 for one a core
	Cut      Cut
	Shrink   int               // how many violations are made smaller
	Progress func(Progress)    // may be nil; called after each seed, one call at a time
	adjust   func(c Case) Case // of tests; nil for none
}

// Progress is how far a Campaign is.
type Progress struct {
	Done, Total int
	Violations  int
	Simulated   time.Duration
	Took        time.Duration
}

// Left estimates how long the rest takes; false before the first seed.
func (p Progress) Left() (time.Duration, bool) {
	if p.Done == 0 {
		return 0, false
	}
	return time.Duration(float64(p.Took) / float64(p.Done) * float64(p.Total-p.Done)), true
}

// Summary is what a Campaign found.
type Summary struct {
	Seeds     int            `json:"seeds"`
	Hours     float64        `json:"simulatedHours"`
	Requests  int            `json:"requests"`
	Events    int            `json:"admissionEvents"`
	Ticks     int            `json:"ticks"`
	Found     []Found        `json:"violations"` // by seed
	Reached   map[string]int `json:"reached"`    // what, and in how many seeds
	Unreached []string       `json:"unreached"`  // of all that there is to reach
	Seconds   float64        `json:"wallSeconds"`
	Cut       bool           `json:"cut"` // worlds were made smaller
}

// Found is a violation and what repeats it.
type Found struct {
	Seed    uint64 `json:"seed"`
	Law     Law    `json:"law"`
	What    string `json:"what"`
	Words   string `json:"case"`    // the smallest Case that was found, for people
	Command string `json:"command"` // what repeats that
	Shrunk  bool   `json:"shrunk"`  // whether a smaller Case was sought
}

// enoughSeeds reach all that there is to reach.
const enoughSeeds = 1000

// Incomplete says whether so many seeds should have reached more.
func (s Summary) Incomplete() bool { return s.Seeds >= enoughSeeds && !s.Cut && len(s.Unreached) > 0 }

// Run plays the seeds.
func (p Campaign) Run(ctx context.Context) (Summary, error) {
	seeds := slices.Clone(p.Kept)
	for i := range p.Seeds {
		seeds = append(seeds, p.First+uint64(i))
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	begun := time.Now()
	next := make(chan uint64)
	t := tally{campaign: p, total: len(seeds), begun: begun, summary: Summary{Reached: map[string]int{}, Found: []Found{}}}
	var workers sync.WaitGroup
	for range cmp.Or(p.Workers, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for seed := range next {
				if err := t.play(ctx, seed); err != nil {
					stop(err)
				}
			}
		})
	}
	for _, seed := range seeds {
		select {
		case next <- seed:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	workers.Wait()
	if ctx.Err() != nil {
		return Summary{}, fmt.Errorf("play %d seeds: %w", len(seeds), context.Cause(ctx))
	}
	return t.sum(ctx)
}

// tally adds up what seeds come to.
type tally struct {
	campaign Campaign
	total    int
	begun    time.Time

	mu      sync.Mutex // guards what follows
	summary Summary
	spans   time.Duration
	broken  []broken
}

// broken is a Case and the law that it breaks.
type broken struct {
	c Case
	v Violation
}

func (t *tally) play(ctx context.Context, seed uint64) error {
	c, err := Draw(seed).Apply(t.campaign.Cut)
	if err != nil {
		return err
	}
	if t.campaign.adjust != nil {
		c = t.campaign.adjust(c)
	}
	r, err := c.Run(ctx)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.summary
	s.Seeds++
	t.spans += r.Span
	s.Requests, s.Events, s.Ticks = s.Requests+r.Requests, s.Events+r.Events, s.Ticks+r.Ticks
	for what := range r.Reached {
		s.Reached[what]++
	}
	if r.Violation != nil {
		t.broken = append(t.broken, broken{c, *r.Violation})
	}
	if t.campaign.Progress != nil {
		t.campaign.Progress(Progress{
			Done: s.Seeds, Total: t.total, Violations: len(t.broken), Simulated: t.spans, Took: time.Since(t.begun),
		})
	}
	return nil
}

// sum makes what broke smaller, and says what nothing reached.
func (t *tally) sum(ctx context.Context) (Summary, error) {
	s := &t.summary
	slices.SortFunc(t.broken, func(a, b broken) int { return cmp.Compare(a.c.Seed, b.c.Seed) })
	for i, b := range t.broken {
		if i < t.campaign.Shrink {
			var err error
			if b.c, b.v, err = Shrink(ctx, b.c, b.v); err != nil {
				return Summary{}, err
			}
		}
		s.Found = append(s.Found, Found{
			Seed: b.c.Seed, Law: b.v.Law, What: b.v.String(), Words: b.c.Words(), Command: b.c.Command(), Shrunk: i < t.campaign.Shrink,
		})
	}
	for _, what := range Reachable() {
		if s.Reached[what] == 0 {
			s.Unreached = append(s.Unreached, what)
		}
	}
	s.Cut = !t.campaign.Cut.None()
	s.Hours, s.Seconds = t.spans.Hours(), time.Since(t.begun).Seconds()
	return *s, nil
}

// Reachable returns all that a large set of seeds must reach: every reason but
// that of business signals, which the simulator does not play, every fault, and
// what else must not be left untried.
func Reachable() []string {
	out := slices.Clone(branches())
	for _, k := range Kinds() {
		out = append(out, "fault "+k.String())
	}
	for _, r := range scale.ReasonCodes() {
		if r != scale.ReasonSignal {
			out = append(out, "reason "+r.String())
		}
	}
	return out
}
