package sim_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/admission"
	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

// counter is four engines behind admission. Blind, it tells admission nothing of
// tokens, so that requests are only counted.
type counter struct {
	queue   *admission.Queue
	engines map[scale.ReplicaID]*engine.Stepper
	works   map[uint32]engine.Work
	at      map[uint32]scale.ReplicaID
	arrived map[uint32]time.Duration
	ttft    map[uint32]time.Duration
	blind   bool
	now     time.Duration
}

func newCounter(replicas []scale.ReplicaID, blind bool) *counter {
	c := &counter{
		queue:   admission.New(admission.Limits{MaxHeld: 1000, MaxHeldBytes: 1 << 20, SLO: scale.SLO{TTFT: time.Second, MaxHold: time.Minute}}),
		engines: map[scale.ReplicaID]*engine.Stepper{}, works: map[uint32]engine.Work{}, at: map[uint32]scale.ReplicaID{},
		arrived: map[uint32]time.Duration{}, ttft: map[uint32]time.Duration{}, blind: blind,
	}
	var routes []scale.Route
	for _, id := range replicas {
		c.engines[id] = engine.NewStepper(a100())
		routes = append(routes, scale.Route{Replica: scale.Replica{ID: id, Phase: scale.Ready}, BatchLimit: 64})
	}
	c.queue.Route(routes, c.clock())
	return c
}

func (c *counter) clock() time.Time { return time.Unix(0, 0).Add(c.now) }

func (c *counter) act(t *testing.T, effects []admission.Effect) {
	t.Helper()
	for _, e := range effects {
		if e.Kind != admission.Send {
			t.Fatalf("%+v: there is room for all", e)
		}
		key := uint32(e.Request)
		c.at[key] = e.Replica
		if err := c.engines[e.Replica].Add(c.works[key], c.now); err != nil {
			t.Fatal(err)
		}
	}
}

// arrive lets time pass until then, and a request come.
func (c *counter) arrive(t *testing.T, at time.Duration, w engine.Work) {
	t.Helper()
	for {
		first, next := scale.ReplicaID(""), at
		for id, e := range c.engines {
			if n := e.Next(); n < next || n == next && id < first {
				first, next = id, n
			}
		}
		c.now = next
		if first == "" {
			break
		}
		for _, e := range slices.Clone(c.engines[first].Advance(next)) {
			if e.Kind == engine.FirstToken {
				c.ttft[e.Key] = next - c.arrived[e.Key]
				c.act(t, c.queue.Begun(scale.RequestID(e.Key), c.clock()))
			} else {
				c.act(t, c.queue.Finish(scale.RequestID(e.Key), c.clock()))
			}
		}
	}
	c.works[w.Key], c.arrived[w.Key] = w, at
	r := scale.Request{ID: scale.RequestID(w.Key), At: c.clock(), PromptTokens: w.PromptTokens, OutputTokens: w.OutputTokens}
	if c.blind {
		r.PromptTokens, r.OutputTokens = 0, 0
	}
	c.act(t, c.queue.Arrive(r, c.clock()))
}

// Every ten seconds a prompt of 30,000 tokens comes among short ones, and keeps
// its replica's prefill busy for two seconds. Who only counts requests has one in
// fourteen short ones wait behind it; admission weighs what is before a replica,
// so they go elsewhere.
func TestShortRequestsDoNotWaitBehindALongPrompt(t *testing.T) {
	const (
		length = 10 * time.Minute
		every  = 10 * time.Second
		short  = time.Second / 20 // between short ones, on average
	)
	behind := func(blind bool) (p50, p99 time.Duration, late, n int) {
		c := newCounter([]scale.ReplicaID{"a", "b", "c", "d"}, blind)
		r := rand.New(rand.NewPCG(4, 30_000))
		key, long, longs := uint32(1), every, map[uint32]bool{}
		for at := time.Duration(0); at < length; at += time.Duration(r.ExpFloat64() * float64(short)) {
			for ; long <= at; long += every {
				c.arrive(t, long, engine.Work{Key: key, PromptTokens: 30_000, OutputTokens: 100})
				longs[key] = true
				key++
			}
			c.arrive(t, at, engine.Work{Key: key, PromptTokens: 100 + r.IntN(200), OutputTokens: 50 + r.IntN(100)})
			key++
		}
		var waits []time.Duration
		for k, d := range c.ttft {
			if beside := c.arrived[k] % every; !longs[k] && c.arrived[k] > every && beside < 2*time.Second {
				waits = append(waits, d)
				if d > 500*time.Millisecond {
					late++
				}
			}
		}
		slices.Sort(waits)
		return waits[len(waits)/2], waits[len(waits)*99/100], late, len(waits)
	}
	p50, p99, late, n := behind(false)
	blind50, blind99, blindLate, _ := behind(true)
	t.Logf("TTFT of %d short requests within 2 s of a long prompt: weighed p50 %v p99 %v, %d above 500ms; counted p50 %v p99 %v, %d above 500ms",
		n, p50.Round(time.Millisecond), p99.Round(time.Millisecond), late, blind50.Round(time.Millisecond), blind99.Round(time.Millisecond), blindLate)
	if p99 > 200*time.Millisecond || late*100 > n {
		t.Errorf("weighed: p99 %v, %d of %d above 500ms", p99, late, n)
	}
	if blindLate*100 < 5*n || blind99 < 4*p99 {
		t.Errorf("counted, p99 is %v and %d of %d above 500ms: the long prompt is no burden, and this shows nothing", blind99, blindLate, n)
	}
}
