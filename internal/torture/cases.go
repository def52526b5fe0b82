package torture

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/internal/load"
	"github.com/penstock/penstock/internal/local"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/trace"
)

//go:embed cases.yaml
var caseConfig string

//go:embed case-model.yaml
var caseModel string

// Cases are short stories of one fault each, told with the processes of a Soak.
// Names lists them.
type Cases struct {
	Self     string
	Dir      string
	Held     int // requests of the cases that hold
	Seed     uint64
	Progress func(say string)
}

// Names returns the cases in their order.
func Names() []string { return []string{"held-at-zero", "told-at-the-end", "overload", "one-sick"} }

// Run tells one case.
func (c *Cases) Run(ctx context.Context, name string) ([]Check, error) {
	switch name {
	case "held-at-zero":
		return c.heldAtZero(ctx)
	case "told-at-the-end":
		return c.toldAtTheEnd(ctx)
	case "overload":
		return c.overload(ctx)
	case "one-sick":
		return c.oneSick(ctx)
	default:
		return nil, fmt.Errorf("there is no case %q: they are %v", name, Names())
	}
}

// stage is penstock serve with some models.
type stage struct {
	*run
	models []string
}

// served is a model of a stage.
type served struct {
	name     string
	batch    int
	min, max int
	load     time.Duration // that a replica takes
}

// open starts penstock serve for a case.
func (c *Cases) open(ctx context.Context, name string, maxHeld int, models ...served) (*stage, error) {
	dir := filepath.Join(c.Dir, name)
	s := &stage{run: &run{Soak: &Soak{Self: c.Self, Dir: dir, Gateways: 1, Seed: c.Seed, Progress: c.Progress}}}
	addresses, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	s.console = addresses[1]
	text := fmt.Appendf(nil, caseConfig, addresses[0], addresses[1], dir, maxHeld)
	for _, m := range models {
		text = fmt.Appendf(text, caseModel, m.name, m.batch, m.min, m.max, m.load, dir)
		s.models = append(s.models, m.name)
	}
	file := filepath.Join(dir, "penstock.yaml")
	if err := errors.Join(os.MkdirAll(s.seenDir(), 0o700), os.WriteFile(file, text, 0o600)); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	g := &gateway{name: "gateway-1", address: addresses[0], self: c.Self, args: []string{"serve", "-f", file}}
	if g.log, err = os.Create(filepath.Join(dir, "gateway-1.log")); err != nil {
		return nil, fmt.Errorf("open a log: %w", err)
	}
	s.gateways = []*gateway{g}
	s.crowd = newCrowd(s.Soak, &balance{}, time.Minute)
	if err := g.start(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// ask sends requests evenly for a while and returns how each ended.
func (s *stage) ask(ctx context.Context, rate float64, long time.Duration, manners func(scale.Request) load.Manners) (load.Report, []load.Ended, error) {
	client := load.NewClient()
	defer client.CloseIdleConnections()
	var ends []load.Ended
	g := &load.Generator{
		Target: "http://" + s.gateways[0].address, Client: client, Seed: s.Seed, Start: trace.Epoch(), Grace: time.Second, Stall: 3 * time.Minute,
		Total: int(rate * long.Seconds()), Span: long, Manners: manners, Ended: func(e load.Ended) { ends = append(ends, e) }, Progress: s.progress,
	}
	for _, name := range s.models {
		g.Models = append(g.Models, load.Model{Name: name, SLO: scale.SLO{TTFT: 2 * time.Second, TPOT: 200 * time.Millisecond, MaxHold: time.Minute}, Emulated: true})
	}
	g.Requests = func(yield func(scale.Request, error) bool) {
		random := rand.New(rand.NewPCG(s.Seed, 3))
		for i := range g.Total {
			request := scale.Request{
				ID: scale.RequestID(i + 1), At: trace.Epoch().Add(time.Duration(float64(i) / rate * float64(time.Second))),
				Model: s.models[i%len(s.models)], PromptTokens: 20 + random.IntN(40), OutputTokens: 8 + random.IntN(5),
			}
			if !yield(request, nil) {
				return
			}
		}
	}
	report, err := g.Run(ctx)
	return report, ends, err
}

// heldAtZero holds requests of which a tenth give up until the first replica
// has loaded, and serves the rest.
func (c *Cases) heldAtZero(ctx context.Context) (_ []Check, err error) {
	s, err := c.open(ctx, "held-at-zero", 2*c.Held, served{name: "sleeper", batch: 64, max: 4, load: 12 * time.Second})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r, ends, err := s.ask(ctx, float64(c.Held)/8, 8*time.Second, func(request scale.Request) load.Manners {
		if request.ID%10 == 0 {
			return load.Manners{Await: time.Second}
		}
		return load.Manners{}
	})
	if err != nil {
		return nil, err
	}
	var longest time.Duration
	for _, e := range ends {
		longest = max(longest, e.Held)
	}
	after, err := s.look(ctx)
	return []Check{
		atMost("held at zero: neither served nor given up", 0, float64(r.Requests-r.Outcomes[scale.OK]-r.Outcomes[scale.Cancelled]), r.Requests),
		atMost("held at zero: longest hold past its deadline, ms", 100, millis(max(0, longest-time.Minute)), r.Requests),
		atMost("held at zero: left in flight or held", 0, float64(after.inFlight+after.held), 1),
	}, err
}

// toldAtTheEnd ends the gateway while it holds requests: each must be told.
func (c *Cases) toldAtTheEnd(ctx context.Context) (_ []Check, err error) {
	n := max(1, c.Held/5)
	s, err := c.open(ctx, "told-at-the-end", 2*n, served{name: "sleeper", batch: 64, max: 4, load: 50 * time.Second})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	group, asking := errgroup.WithContext(ctx)
	var r load.Report
	group.Go(func() (err error) {
		r, _, err = s.ask(asking, float64(n)/2, 2*time.Second, nil)
		return err
	})
	for held := 0; held < n; {
		now, err := s.look(asking)
		if err != nil || !pause(asking, askAgain) {
			return nil, errors.Join(err, group.Wait(), ctx.Err())
		}
		held = now.held
	}
	err = s.gateways[0].end(syscall.SIGTERM)
	return []Check{
		atMost("SIGTERM while requests are held: not told 503", 0, float64(n-r.Outcomes[scale.Refused]), n),
	}, errors.Join(err, group.Wait())
}

// overload asks for what a fleet can do and then for five times that.
func (c *Cases) overload(ctx context.Context) (_ []Check, err error) {
	const (
		capacity = 36 // two replicas of four at once, ten tokens of 20 ms and the prompt's iteration each
		maxHeld  = 100
	)
	s, err := c.open(ctx, "overload", maxHeld, served{name: "busy", batch: 4, min: 2, max: 2, load: 100 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if !pause(ctx, 3*time.Second) {
		return nil, ctx.Err()
	}
	goodput := func(rate float64, long time.Duration) (float64, []load.Ended, load.Report, error) {
		r, ends, err := s.ask(ctx, rate, long, nil)
		return float64(r.Good) / long.Seconds(), ends, r, err
	}
	peak, _, _, err := goodput(capacity, 10*time.Second)
	if err != nil {
		return nil, err
	}
	over, ends, r, err := goodput(5*capacity, 15*time.Second)
	if err != nil {
		return nil, err
	}
	var refusals []time.Duration
	for _, e := range ends {
		if e.Outcome == scale.Refused {
			refusals = append(refusals, e.Took)
		}
	}
	slices.Sort(refusals)
	return []Check{
		timed(r, atMost("overload ×5: goodput lost of its peak, %", 10, 100*(1-over/peak), r.Requests)),
		timed(r, atMost("overload ×5: refusal, p99, ms", 5, millis(at(refusals, 0.99)), len(refusals))),
		atMost("overload ×5: lost or corrupted", 0, float64(r.Outcomes[scale.Lost]+r.Outcomes[scale.Corrupted]), r.Requests),
	}, nil
}

// oneSick stops the only replica of one model of many, by turns, and compares
// the others with themselves.
func (c *Cases) oneSick(ctx context.Context) (_ []Check, err error) {
	const models, turns = 12, 6
	var all []served
	for i := range models {
		all = append(all, served{name: fmt.Sprintf("m%02d", i), batch: 16, min: 1, max: 1, load: 100 * time.Millisecond})
	}
	s, err := c.open(ctx, "one-sick", 1000, all...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if !pause(ctx, 8*time.Second) {
		return nil, ctx.Err()
	}
	pid, err := s.replicaOf("m00")
	if err != nil {
		return nil, err
	}
	others := *s
	others.models = s.models[1:]
	sick := *s
	sick.models = s.models[:1]
	var times [2][]time.Duration
	var last load.Report
	for turn := range turns {
		stopped := turn%2 == 1
		if stopped {
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				return nil, fmt.Errorf("stop a replica: %w", err)
			}
		}
		group, asking := errgroup.WithContext(ctx)
		group.Go(func() error {
			_, _, err := sick.ask(asking, 10, 3*time.Second, nil)
			return err
		})
		r, ends, err := others.ask(asking, 60, 4*time.Second, nil)
		_ = syscall.Kill(pid, syscall.SIGCONT)
		if err := errors.Join(err, group.Wait()); err != nil {
			return nil, err
		}
		last = r
		for _, e := range ends {
			times[turn%2] = append(times[turn%2], e.Took)
		}
	}
	slices.Sort(times[0])
	slices.Sort(times[1])
	return []Check{
		timed(last, atMost("one model of 12 black-holed: the others' p99, ratio", 1.1, float64(at(times[1], 0.99))/float64(max(1, at(times[0], 0.99))), len(times[1]))),
	}, nil
}

// replicaOf returns the process of a model's replica.
func (s *stage) replicaOf(model string) (int, error) {
	ids, err := local.Replicas(s.stateDir())
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		if pid, err := pidOf(s.seenDir(), string(id)); err == nil && isReplica(pid, id) && len(id) > len(model) && string(id[:len(model)]) == model {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no replica of %s serves", model)
}
