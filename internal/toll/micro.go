package toll

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/admission"
	"github.com/penstock/penstock/internal/scale"
)

const (
	routeReplicas = 1000
	routeEach     = 30 // requests at each of them
	routeBatch    = 64
	batchOps      = 1000 // between two looks at the clock
)

// micro measures what needs no process.
func (f *field) micro(ctx context.Context, result *Result) error {
	f.say("routing and inspection")
	result.Routing = f.routing(ctx)
	for _, b := range bodies() {
		i, err := f.inspection(ctx, b.Body)
		if err != nil {
			return err
		}
		result.Inspection = append(result.Inspection, i)
	}
	return ctx.Err()
}

// routing times a routing decision at a thousand loaded replicas: one request
// ends, the next arrives and is sent.
func (f *field) routing(ctx context.Context) Routing {
	at := time.Unix(1_700_000_000, 0)
	q := admission.New(admission.Limits{MaxHeld: 1000, MaxHeldBytes: 1 << 30, SLO: scale.SLO{TTFT: time.Second, TPOT: time.Second, MaxHold: time.Minute}})
	routes := make([]scale.Route, routeReplicas)
	for i := range routes {
		routes[i] = scale.Route{
			Replica:    scale.Replica{ID: scale.ReplicaID(fmt.Sprintf("r%04d", i)), Target: scale.ScaleTarget{Model: Model}, Phase: scale.Ready},
			BatchLimit: routeBatch,
		}
	}
	q.Route(routes, at)
	arrive := func(id int) {
		q.Arrive(scale.Request{ID: scale.RequestID(id), At: at, Model: Model, PromptTokens: 100 + id*7919%3000, OutputTokens: 100, Bytes: 2000}, at)
	}
	next := 1
	for range routeReplicas * routeEach {
		arrive(next)
		next++
	}
	oldest := 1
	ns, allocs, _ := measure(ctx, f.Plan.Micro, func() error {
		q.Finish(scale.RequestID(oldest), at)
		arrive(next)
		oldest, next = oldest+1, next+1
		return nil
	})
	return Routing{Replicas: routeReplicas, Nanoseconds: ns, Allocs: allocs}
}

// inspection times how long the gateway looks for the model in a body whose
// last key it is.
func (f *field) inspection(ctx context.Context, size int) (Inspection, error) {
	g := newGate().gateway
	body := []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat("some words, ", size/12) + `"}],"stream":true,"max_tokens":100,"model":"` + Model + `"}`)
	ns, allocs, err := measure(ctx, f.Plan.Micro, func() error {
		name, err := g.ModelOf(body)
		if err == nil && name != Model {
			err = fmt.Errorf("the model is %q", name)
		}
		return err
	})
	if err != nil {
		return Inspection{}, fmt.Errorf("inspect a body of %d bytes: %w", size, err)
	}
	return Inspection{Body: size, Micros: ns / 1000, Allocs: allocs}, nil
}

// measure repeats an operation for a while, and returns the time of one and its
// allocations: the median over batches, so that what else the machine does in
// some of them does not count.
func measure(ctx context.Context, long time.Duration, once func() error) (ns, allocs float64, err error) {
	batch := 1
	var times []float64
	ops := 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for began := time.Now(); time.Since(began) < long && ctx.Err() == nil; {
		from := time.Now()
		for range batch {
			if err := once(); err != nil {
				return 0, 0, err
			}
		}
		took := time.Since(from)
		times = append(times, float64(took.Nanoseconds())/float64(batch))
		ops += batch
		if took < time.Millisecond && batch < batchOps {
			batch *= 2
		}
	}
	runtime.ReadMemStats(&after)
	// What the runtime allocates meanwhile is a thousandth of an allocation.
	allocs = float64(int64(float64(after.Mallocs-before.Mallocs)/float64(max(1, ops))*10)) / 10
	return quantile(times, 0.5), allocs, nil
}
