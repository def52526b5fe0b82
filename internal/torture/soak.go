package torture

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/internal/load"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/trace"
)

//go:embed soak.yaml
var soakConfig string

const (
	soakModel   = "soak"
	soakMaxHold = 30 * time.Second // as soak.yaml says
	wave        = 40 * time.Second // of the load, so that the fleet grows and shrinks
	settleFor   = 150 * time.Second
	leak        = 5 // goroutines, or files, that may be more than before
)

// run is a Soak under way.
type run struct {
	*Soak
	console  string
	gateways []*gateway
	crowd    *crowd
	done     Faults
	frozen   sync.WaitGroup
	samples  []sample
}

// Run makes the run and returns its report. The error is what went wrong with
// the run itself; broken promises are in the report.
func (s *Soak) Run(ctx context.Context) (report Report, err error) {
	if err := s.check(); err != nil {
		return report, err
	}
	r := &run{Soak: s}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.open(); err != nil {
		return report, err
	}
	for _, g := range r.gateways {
		if err := g.start(ctx); err != nil {
			return report, err
		}
	}
	client := load.NewClient()
	hosts := &balance{base: client.Transport}
	for _, g := range r.gateways {
		hosts.hosts = append(hosts.hosts, g.address)
	}
	r.crowd = newCrowd(s, hosts, soakMaxHold)
	before, err := r.settle(ctx, sample{})
	if err != nil {
		return report, err
	}
	loaded, err := r.abuse(ctx, &http.Client{Transport: hosts, CheckRedirect: client.CheckRedirect})
	client.CloseIdleConnections()
	if err != nil {
		return report, err
	}
	r.say("the load is over: waiting for the fleet to be as before")
	after, err := r.settle(ctx, before)
	if err != nil {
		return report, err
	}
	saw, err := gather(r.seenDir())
	if err != nil {
		return report, err
	}
	return r.report(loaded, before, after, saw), nil
}

// abuse is the load and what happens meanwhile.
func (r *run) abuse(ctx context.Context, client *http.Client) (load.Report, error) {
	faults, calm := context.WithCancel(ctx)
	defer calm()
	group, faults := errgroup.WithContext(faults)
	group.Go(func() error { return r.mistreat(faults) })
	group.Go(func() error { return r.restart(faults) })
	group.Go(func() error { return r.sampling(faults) })
	var loaded load.Report
	group.Go(func() (err error) {
		defer calm()
		g := &load.Generator{
			Target: "http://" + r.gateways[0].address, Client: client, Seed: r.Seed,
			Models:   []load.Model{{Name: soakModel, SLO: scale.SLO{TTFT: 2 * time.Second, TPOT: 200 * time.Millisecond, MaxHold: soakMaxHold}, Emulated: true}},
			Requests: r.series(), Start: trace.Epoch(), Total: int(r.Rate * r.For.Seconds()), Span: r.For,
			Grace: time.Second, Stall: 2*time.Minute + soakMaxHold,
			Manners: r.crowd.manners, Ended: r.crowd.ended, Progress: r.progress,
		}
		loaded, err = g.Run(ctx)
		return err
	})
	err := group.Wait()
	r.frozen.Wait()
	return loaded, cmp.Or(context.Cause(ctx), err)
}

// series is the load: waves between a third and five thirds of the rate.
func (r *run) series() iter.Seq2[scale.Request, error] {
	return func(yield func(scale.Request, error) bool) {
		random := rand.New(rand.NewPCG(r.Seed, 2))
		at := 0.0
		for id := scale.RequestID(1); ; id++ {
			rate := r.Rate * (1 + 2./3*math.Sin(2*math.Pi*at/wave.Seconds()))
			at += random.ExpFloat64() / rate
			if at > r.For.Seconds() {
				return
			}
			request := scale.Request{
				ID: id, At: trace.Epoch().Add(time.Duration(at * float64(time.Second))), Model: soakModel,
				PromptTokens: 20 + random.IntN(80), OutputTokens: 4 + random.IntN(21),
			}
			if !yield(request, nil) {
				return
			}
		}
	}
}

func (r *run) progress(p load.Progress) {
	r.say("%s of %s  %d sent, %d in flight, %d ok, %d interrupted, %d lost, %d corrupted", p.Elapsed.Round(time.Second), r.For,
		p.Started, p.Started-p.Ended, p.Outcomes[scale.OK], p.Outcomes[scale.Interrupted], p.Outcomes[scale.Lost], p.Outcomes[scale.Corrupted])
}

// settle waits until nothing is in flight and penstock serve has no more
// goroutines and files than before, and returns what it has then. Connections
// to replicas that nobody uses are kept for a minute and a half.
func (r *run) settle(ctx context.Context, before sample) (sample, error) {
	deadline := time.Now().Add(settleFor)
	if before.pid == 0 {
		deadline = time.Now().Add(10 * time.Second)
	}
	for {
		s, err := r.look(ctx)
		same := before.pid != 0 && s.goroutines <= before.goroutines+leak && s.files <= before.files+leak
		if err == nil && s.inFlight == 0 && s.held == 0 && same || time.Now().After(deadline) {
			return s, err
		}
		if !pause(ctx, time.Second) {
			return s, context.Cause(ctx)
		}
	}
}

// close ends every process. Replicas end with penstock serve.
func (r *run) close() error {
	var err error
	for _, g := range slices.Backward(r.gateways) {
		err = errors.Join(err, g.end(syscall.SIGTERM), g.log.Close())
	}
	if err != nil {
		return fmt.Errorf("end the run: %w", err)
	}
	return nil
}
