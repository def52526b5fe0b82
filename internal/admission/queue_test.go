package admission

import (
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

func ready(id scale.ReplicaID, batch, kv int) scale.Route {
	return scale.Route{Replica: scale.Replica{ID: id, Phase: scale.Ready}, BatchLimit: batch, KVTokens: kv}
}

func chat(at time.Time, id scale.RequestID, prompt int) scale.Request {
	return scale.Request{ID: id, At: at, PromptTokens: prompt, OutputTokens: 50, Bytes: 4 * prompt}
}

func newQueue() *Queue {
	return New(Limits{MaxHeld: 1000, MaxHeldBytes: 1 << 20, SLO: scale.SLO{TTFT: time.Second, TPOT: 50 * time.Millisecond, MaxHold: time.Minute}})
}

// sends returns which requests were sent, in order.
func sends(effects []Effect) []scale.RequestID {
	var ids []scale.RequestID
	for _, e := range effects {
		if e.Kind == Send {
			ids = append(ids, e.Request)
		}
	}
	return ids
}

func expectSends(t *testing.T, effects []Effect, want ...scale.RequestID) {
	t.Helper()
	got := sends(effects)
	if len(got) != len(want) {
		t.Fatalf("sent %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("sent %v, want %v", got, want)
		}
	}
}

// A request at zero is held, asks for a replica, and goes when one is Ready.
func TestWakeFromZero(t *testing.T) {
	q := newQueue()
	effects := q.Arrive(chat(epoch, 1, 100), epoch)
	if len(effects) != 2 || effects[0].Kind != Hold || effects[1].Kind != Wake {
		t.Fatalf("arrival at zero gave %+v, want Hold and Wake", effects)
	}
	starting := scale.Route{Replica: scale.Replica{ID: "a", Phase: scale.Starting}, BatchLimit: 4}
	expectSends(t, q.Route([]scale.Route{starting}, epoch.Add(time.Second)))
	effects = q.Route([]scale.Route{ready("a", 4, 0)}, epoch.Add(20*time.Second))
	expectSends(t, effects, 1)
	if effects[0].Held != 20*time.Second || !effects[0].Woke {
		t.Fatalf("sent with %+v, want 20s held and woke", effects[0])
	}
}

// A burst is shed from the end: what came first stays.
func TestFullHoldRefusesTheNewest(t *testing.T) {
	q := New(Limits{MaxHeld: 2, MaxHeldBytes: 1000, SLO: scale.SLO{TTFT: time.Second, MaxHold: time.Minute}})
	q.Arrive(chat(epoch, 1, 10), epoch)
	if got := q.Arrive(chat(epoch, 2, 400), epoch); len(got) != 1 || got[0].Why != TooManyBytes {
		t.Fatalf("a body above the bound gave %+v", got)
	}
	q.Arrive(chat(epoch, 3, 10), epoch)
	if got := q.Arrive(chat(epoch, 4, 10), epoch); len(got) != 1 || got[0].Why != TooManyHeld {
		t.Fatalf("the third held request gave %+v", got)
	}
	expectSends(t, q.Route([]scale.Route{ready("a", 8, 0)}, epoch), 1, 3)
}

// One 30,000-token prompt does not stall the short requests that come after
// it: they go to the other replicas until its prefill is done.
func TestLongPromptDoesNotStallShortOnes(t *testing.T) {
	q := newQueue()
	q.Route([]scale.Route{ready("a", 64, 0), ready("b", 64, 0)}, epoch)
	q.Arrive(chat(epoch, 1, 30_000), epoch)
	for id := range scale.RequestID(60) {
		q.Arrive(chat(epoch, id+2, 200), epoch)
	}
	if a, b := q.ReplicaInFlight("a"), q.ReplicaInFlight("b"); a != 1 || b != 60 {
		t.Fatalf("%d requests beside the long prompt and %d elsewhere, want 1 and 60", a, b)
	}
	q.Begun(1, epoch.Add(3*time.Second))
	for id := range scale.RequestID(10) {
		q.Arrive(chat(epoch, id+100, 200), epoch.Add(3*time.Second))
	}
	if a := q.ReplicaInFlight("a"); a != 11 {
		t.Fatalf("%d requests at the replica whose long prefill is done, want 11", a)
	}
}

// A held prompt that fits nowhere is overtaken, but not for ever: a replica is
// kept free for it in the end.
func TestLongPromptIsNotStarved(t *testing.T) {
	q := newQueue()
	q.Route([]scale.Route{ready("a", 8, 1000), ready("b", 8, 1000)}, epoch)
	next := scale.RequestID(2)
	var running []scale.RequestID
	for ; next < 10; next++ {
		running = append(running, sends(q.Arrive(chat(epoch, next, 200), epoch))...)
	}
	q.Arrive(chat(epoch, 1, 900), epoch) // needs 950 of 1000
	for range 200 {
		running = append(running, sends(q.Arrive(chat(epoch, next, 200), epoch))...)
		next++
		oldest := running[0]
		running = running[1:]
		for _, id := range sends(q.Finish(oldest, epoch)) {
			if id == 1 {
				return
			}
			running = append(running, id)
		}
	}
	t.Fatal("the long prompt still waits after 200 short ones went by")
}

// A request larger than the whole KV budget is served alone.
func TestOversizedRequestGoesAloneToAnEmptyReplica(t *testing.T) {
	q := newQueue()
	q.Route([]scale.Route{ready("a", 8, 1000)}, epoch)
	expectSends(t, q.Arrive(chat(epoch, 1, 100), epoch), 1)
	expectSends(t, q.Arrive(chat(epoch, 2, 5000), epoch))
	expectSends(t, q.Finish(1, epoch), 2)
	expectSends(t, q.Arrive(chat(epoch, 3, 10), epoch))
	expectSends(t, q.Finish(2, epoch), 3)
}

// Fresh requests go before late ones, which get one release in eight.
func TestFreshFirstWithAShareForTheLate(t *testing.T) {
	q := newQueue()
	q.Route([]scale.Route{ready("a", 1, 0)}, epoch)
	expectSends(t, q.Arrive(chat(epoch, 1, 10), epoch), 1)
	for id := range scale.RequestID(5) {
		q.Arrive(chat(epoch, 10+id, 10), epoch)
	}
	now := epoch.Add(2 * time.Second) // those are late now
	for id := range scale.RequestID(12) {
		q.Arrive(chat(now, 100+id, 10), now)
	}
	var order []scale.RequestID
	for running := scale.RequestID(1); running != 0; {
		sent := sends(q.Finish(running, now))
		running = 0
		if len(sent) > 0 {
			running = sent[0]
			order = append(order, running)
		}
	}
	want := []scale.RequestID{100, 101, 102, 103, 104, 105, 106, 10, 107, 108, 109, 110, 111, 11, 12, 13, 14}
	if len(order) != len(want) {
		t.Fatalf("released %v, want %v", order, want)
	}
	for i := range want {
		if order[i] != want[i] {
			t.Fatalf("released %v, want %v", order, want)
		}
	}
}

// What waited for a wake is judged by the longest hold, so fresh requests may
// go before it.
func TestWokenRequestsYieldToFreshOnes(t *testing.T) {
	q := newQueue()
	for id := range scale.RequestID(3) {
		q.Arrive(chat(epoch, 1+id, 10), epoch)
	}
	now := epoch.Add(30 * time.Second)
	expectSends(t, q.Route([]scale.Route{ready("a", 1, 0)}, now), 1)
	q.Arrive(chat(now, 9, 10), now)
	expectSends(t, q.Finish(1, now), 9)
	expectSends(t, q.Finish(9, now), 2)
}

// A retried request goes to another replica, or waits for one; a fleet of one
// is tried again after a while.
func TestRetryAvoidsTheReplicaThatFailed(t *testing.T) {
	q := newQueue()
	q.Route([]scale.Route{ready("a", 4, 0), ready("b", 4, 0)}, epoch)
	expectSends(t, q.Arrive(chat(epoch, 1, 10), epoch), 1)
	got := q.Retry(1, epoch)
	if len(got) != 1 || got[0].Kind != Send || got[0].Replica != "b" {
		t.Fatalf("retry gave %+v, want a send to b", got)
	}
	q.Route([]scale.Route{ready("b", 4, 0)}, epoch)
	if got := q.Retry(1, epoch); len(got) != 1 || got[0].Kind != Hold {
		t.Fatalf("retry without another replica gave %+v, want Hold", got)
	}
	at, ok := q.NextDeadline()
	if !ok || at != epoch.Add(avoidFor) {
		t.Fatalf("next deadline %v, want the end of the avoidance", at)
	}
	expectSends(t, q.Expire(at), 1)
}

func TestDrainRefusesTheHeldAndTheNew(t *testing.T) {
	q := newQueue()
	q.Route([]scale.Route{ready("a", 1, 0)}, epoch)
	q.Arrive(chat(epoch, 1, 10), epoch)
	q.Arrive(chat(epoch, 2, 10), epoch)
	if got := q.Drain(epoch); len(got) != 1 || got[0].Kind != Refuse || got[0].Request != 2 || got[0].Why != GoingDown {
		t.Fatalf("drain gave %+v, want request 2 refused", got)
	}
	if got := q.Arrive(chat(epoch, 3, 10), epoch); len(got) != 1 || got[0].Why != GoingDown {
		t.Fatalf("arrival after drain gave %+v", got)
	}
	if q.InFlight() != 1 || q.Ready() != 1 {
		t.Fatalf("drain touched what was sent: %d in flight", q.InFlight())
	}
}

// A large variant is given more than a small one, in proportion.
func TestLoadIsRelativeToSize(t *testing.T) {
	q := newQueue()
	q.Route([]scale.Route{ready("large", 60, 0), ready("small", 20, 0)}, epoch)
	for id := range scale.RequestID(40) {
		q.Arrive(chat(epoch, id+1, 100), epoch)
	}
	if l, s := q.ReplicaInFlight("large"), q.ReplicaInFlight("small"); l != 30 || s != 10 {
		t.Fatalf("%d at the large and %d at the small replica, want 30 and 10", l, s)
	}
}
