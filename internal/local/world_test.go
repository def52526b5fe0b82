package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/spot"
)

func TestReplicaFromStartToReady(t *testing.T) {
	t.Parallel()
	run := testRun()
	run.Env = map[string]string{"MODEL": "{{model}} on {{gpus}}", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}
	run.Without = []string{"PATH"} // of all variables the one that is certainly set
	r := start(t, run)
	r.apply(t, grow("chat", 0, 1))
	first := r.observe(t).Models[0]
	if len(first.Replicas) != 1 || first.Replicas[0].Created.IsZero() {
		t.Fatalf("right after the start: %+v", first.Replicas)
	}
	boots := first.ColdStarts // on a machine that was busy elsewhere meanwhile
	select {
	case <-r.Poked():
	case <-time.After(patience):
		t.Fatal("not poked when the replica became ready")
	}
	s := r.until(t, "a cold start", func(s scale.Snapshot) bool {
		boots = append(boots, s.Models[0].ColdStarts...)
		return len(boots) > 0
	})
	replica := s.Models[0].Replicas[0]
	want := []scale.ColdStart{{Target: testTarget("chat"), Took: replica.Since.Sub(replica.Created)}}
	if diff := cmp.Diff(want, boots); replica.Phase != scale.Ready || diff != "" {
		t.Errorf("replica %+v, cold starts (-want +got):\n%s", replica, diff)
	}
	if again := r.observe(t).Models[0].ColdStarts; len(again) > 0 {
		t.Errorf("the cold start was told twice: %+v", again)
	}

	env := environ(t, replica)
	for _, want := range []string{"PENSTOCK_REPLICA=" + string(replica.ID), "CUDA_VISIBLE_DEVICES=0", "MODEL=chat on 0"} {
		if !slices.Contains(env, want) {
			t.Errorf("the replica's environment lacks %s", want)
		}
	}
	if slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, "PATH=") }) || valueOf(env, "PENSTOCK_REPLICA") == "" {
		t.Errorf("the replica inherited what it should not: %q", env)
	}
	wantRoutes := []scale.Route{{Replica: replica, BatchLimit: 8, KVTokens: 1000}}
	wantRoutes[0].Replica.Load = scale.Load{}
	got := r.gateway.routed("chat")
	for i := range got {
		got[i].Replica.Load = scale.Load{}
	}
	if diff := cmp.Diff(wantRoutes, got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]scale.Phase{scale.Starting, scale.Ready}, r.gateway.phasesOf(replica.ID)); diff != "" {
		t.Errorf("phases routed (-want +got):\n%s", diff)
	}
	eventually(t, "output in the log", func() bool {
		text, err := os.ReadFile(LogFile(r.StateDir, replica.ID))
		return err == nil && strings.Contains(string(text), "serving on")
	})
	if ids, err := Replicas(r.StateDir); err != nil || len(ids) != 1 || ids[0] != replica.ID {
		t.Errorf("on record: %v, %v", ids, err)
	}
}

func TestSnapshotMergesGatewayAndEngine(t *testing.T) {
	t.Parallel()
	r := start(t, testRun())
	r.apply(t, grow("chat", 0, 1))
	id := r.phase(t, 1, scale.Ready)[0].ID
	at := time.Now()
	demand := scale.Demand{Arrivals: scale.Observe(7, at)}
	r.gateway.setTraffic("chat", scale.Traffic{Demand: demand, Loads: map[scale.ReplicaID]scale.Load{id: {InFlight: scale.Observe(5, at)}}})
	s := r.until(t, "metrics read", func(s scale.Snapshot) bool { return s.Models[0].Replicas[0].Load.Running.Known() })
	load := s.Models[0].Replicas[0].Load
	if load.InFlight != scale.Observe(5, at) || load.Running.Value != 3 || load.Waiting.Value != 2 || load.KVCacheUsage.Value != 0.25 {
		t.Errorf("load %+v", load)
	}
	if !load.Running.Fresh(time.Now(), patience) {
		t.Errorf("running is from %v", load.Running.At)
	}
	if s.Models[0].Demand != demand {
		t.Errorf("demand %+v", s.Models[0].Demand)
	}
	want := []scale.Offering{{Accelerator: "gpu", Capacity: scale.OnDemand, PricePerHour: 2.5, Limited: true, Slots: 2, Pool: "this machine"}}
	if diff := cmp.Diff(want, s.Offerings); diff != "" {
		t.Errorf("offerings (-want +got):\n%s", diff)
	}
	eventually(t, "busy time", func() bool { r.observe(t); return r.Lifetimes()[0].Busy > 0 })
}

func TestApplyTwiceStartsOnce(t *testing.T) {
	t.Parallel()
	r := start(t, testRun())
	for range 3 {
		r.apply(t, grow("chat", 0, 1))
	}
	r.phase(t, 1, scale.Ready)
	dry := grow("chat", 1, 2)
	dry.Changes[0].DryRun = true
	r.apply(t, dry)
	if n := len(r.observe(t).Models[0].Replicas); n != 1 {
		t.Errorf("%d replicas, want 1", n)
	}
	if err := r.Apply(t.Context(), grow("unheard-of", 0, 1)); err == nil {
		t.Error("an unknown model was started")
	}
}

func TestDrainWaitsForRequestsThenStops(t *testing.T) {
	t.Parallel()
	told := filepath.Join(t.TempDir(), "told")
	r := start(t, testRun("-terminated", told))
	r.apply(t, grow("chat", 0, 2))
	replicas := r.phase(t, 2, scale.Ready)
	victim, other := replicas[1].ID, replicas[0].ID
	r.gateway.setInFlight(victim, 1)
	r.apply(t, shrink("chat", 2, victim))
	if got := r.gateway.phasesOf(victim); got[len(got)-1] != scale.Draining {
		t.Fatalf("phases routed when Apply has returned: %v", got)
	}
	for range 5 * drainQuiet { // longer than an empty one would take
		<-time.After(drainLook)
		if _, err := os.Stat(told); !errors.Is(err, os.ErrNotExist) {
			t.Fatal("told to stop with a request in flight")
		}
	}
	r.apply(t, shrink("chat", 2, victim)) // as the next tick may: harmless
	r.gateway.setInFlight(victim, 0)
	left := r.phase(t, 1, scale.Ready)
	if left[0].ID != other {
		t.Errorf("left: %+v", left)
	}
	if _, err := os.Stat(told); err != nil {
		t.Errorf("it was not told by SIGTERM: %v", err)
	}
	if diff := cmp.Diff([]scale.Phase{scale.Starting, scale.Ready, scale.Draining}, r.gateway.phasesOf(victim)); diff != "" {
		t.Errorf("phases routed (-want +got):\n%s", diff)
	}
	ended := r.TakeEnded()
	if len(ended) != 1 || ended[0].Replica != victim || ended[0].PricePerHour != 2.5 ||
		ended[0].Created.After(ended[0].Ready) || ended[0].Ready.After(ended[0].Drained) || ended[0].Drained.After(ended[0].Ended) {
		t.Errorf("ended lifetimes: %+v", ended)
	}
	if again := r.TakeEnded(); len(again) > 0 {
		t.Errorf("taken twice: %+v", again)
	}
}

func TestDrainTimeoutEndsTheWait(t *testing.T) {
	t.Parallel()
	run := testRun()
	run.DrainTimeout = 300 * time.Millisecond
	r := start(t, run)
	r.apply(t, grow("chat", 0, 1))
	id := r.phase(t, 1, scale.Ready)[0].ID
	r.gateway.setInFlight(id, 1) // for ever
	r.apply(t, shrink("chat", 1, id))
	life := r.none(t)[0]
	if waited := life.Ended.Sub(life.Drained); waited < 300*time.Millisecond {
		t.Errorf("waited %s only", waited)
	}
}

func TestStubbornReplicaIsKilled(t *testing.T) {
	t.Parallel()
	run := testRun("-stubborn")
	run.Grace = 200 * time.Millisecond
	r := start(t, run)
	r.apply(t, grow("chat", 0, 1))
	replica := r.phase(t, 1, scale.Ready)[0]
	r.apply(t, shrink("chat", 1, replica.ID))
	r.none(t)
	if r.log.count("replica killed") != 1 || r.log.count("ended by SIGKILL") != 1 {
		t.Error("not killed")
	}
	if n := leftovers(t, map[string]bool{setting(replica.ID): true}, nil); n > 0 {
		t.Errorf("%d processes left", n)
	}
}

func TestReplicaThatDiesIsGone(t *testing.T) {
	t.Parallel()
	r := start(t, testRun())
	r.apply(t, grow("chat", 0, 1))
	first := r.phase(t, 1, scale.Ready)[0]
	crash(first)
	r.none(t)
	if r.log.count("replica died") != 1 || r.log.count("exit status 4") != 1 {
		t.Error("its death was not told")
	}
	if failures := r.observe(t).Models[0].Failures; failures != 0 {
		t.Errorf("%d failures: it had booted", failures)
	}
	r.apply(t, grow("chat", 0, 1)) // the first death is not held against it
	second := r.phase(t, 1, scale.Ready)[0]
	if second.ID == first.ID {
		t.Error("an ID was used twice")
	}
	crash(second)
	r.none(t)
	lives := r.livesUntil(t, 3) // the second in a row is
	if waited := lives[2].Created.Sub(lives[1].Ended); waited < firstDelay {
		t.Errorf("waited %s only after the second death", waited)
	}
}

func TestBootThatFailsBacksOff(t *testing.T) {
	t.Parallel()
	r := start(t, testRun("-crash"))
	r.apply(t, grow("chat", 0, 1))
	s := r.until(t, "a failed boot", func(s scale.Snapshot) bool { return s.Models[0].Failures == 1 })
	if len(s.Models[0].Replicas) != 0 {
		t.Errorf("replicas: %+v", s.Models[0].Replicas)
	}
	if r.log.count("replica failed to start") != 1 || r.log.count("out of memory, says the engine") != 1 {
		t.Error("the log does not say why")
	}
	lives := r.livesUntil(t, 2)
	r.until(t, "a second failure", func(s scale.Snapshot) bool { return s.Models[0].Failures == 2 })
	if waited := lives[1].Created.Sub(lives[0].Ended); waited < firstDelay || !lives[0].Ready.IsZero() {
		t.Errorf("waited %s only; lifetimes: %+v", waited, lives)
	}
	if r.log.count("start withheld") > 1 {
		t.Error("that it is withheld is to be told once")
	}
}

func TestCommandThatDoesNotExist(t *testing.T) {
	t.Parallel()
	run := testRun()
	run.Command = []string{"no-such-program-anywhere", "{{port}}"}
	r := start(t, run)
	r.apply(t, grow("chat", 0, 1))
	r.until(t, "a failed boot", func(s scale.Snapshot) bool { return s.Models[0].Failures == 1 })
	if r.log.count("the command could not be started: guard: find command") != 1 {
		t.Error("the log does not say why")
	}
}

func TestReplicaThatIsNeverReady(t *testing.T) {
	t.Parallel()
	run := testRun("-never")
	run.ReadyTimeout = 500 * time.Millisecond
	r := start(t, run)
	r.apply(t, grow("chat", 0, 1))
	r.until(t, "a failed boot", func(s scale.Snapshot) bool { return s.Models[0].Failures == 1 })
	if r.log.count("not ready within 500ms") != 1 {
		t.Error("the log does not say why")
	}
	if lives := r.Lifetimes(); len(lives) != 1 || lives[0].Ended.IsZero() {
		t.Errorf("lifetimes: %+v", lives)
	}
}

func TestStopDuringStart(t *testing.T) {
	t.Parallel()
	r := start(t, testRun("-delay", "1h"))
	r.apply(t, grow("chat", 0, 2))
	replicas := r.phase(t, 2, scale.Starting)
	eventually(t, "both processes", func() bool { return r.log.count("replica starting") == 2 })
	r.apply(t, shrink("chat", 2, replicas[0].ID))
	left := r.phase(t, 1, scale.Starting)
	if left[0].ID != replicas[1].ID || r.observe(t).Models[0].Failures != 0 {
		t.Errorf("left: %+v", left)
	}
	r.apply(t, grow("chat", 1, 2)) // its GPU is free again
	r.phase(t, 2, scale.Starting)
	if r.log.count("start withheld") > 0 {
		t.Error("the slot was not given back")
	}
	r.stop() // during the start of both
	for _, life := range r.Lifetimes() {
		if life.Ended.IsZero() {
			t.Errorf("%s lives when Run has returned", life.Replica)
		}
	}
}

func TestPortThatIsTakenIsRetried(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var taken []net.Listener
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if len(taken) < 2 {
			listener, err := net.Listen("tcp", "127.0.0.1:"+req.FormValue("port"))
			if err != nil {
				t.Errorf("take port: %v", err)
				return
			}
			taken = append(taken, listener)
		}
	}))
	t.Cleanup(func() {
		thief.Close()
		for _, listener := range taken {
			listener.Close()
		}
	})
	r := start(t, testRun("-ask", thief.URL))
	r.apply(t, grow("chat", 0, 1))
	replica := r.phase(t, 1, scale.Ready)[0]
	if r.log.count("replica port taken") != 2 || r.observe(t).Models[0].Failures != 0 {
		t.Error("want two retries and no failure")
	}
	if pid := valueOf(environ(t, replica), "PID"); pid == "" {
		t.Error("its address is not its own")
	}
}

func TestThreeModelsOnOneSlot(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c"}
	gpu := filepath.Join(t.TempDir(), "gpu")
	r := start(t, testRun(), func(w *World) {
		w.GPUs = []GPU{{0, "gpu"}}
		w.Models = nil
		for i, name := range names {
			w.Models = append(w.Models, testModel(name, i)) // c matters most
			w.Runs[config.RunKey{Model: name, Variant: "v"}] = testRun("-occupies", gpu)
		}
	})
	living := func(s scale.Snapshot) (model string, replicas []scale.Replica) {
		for _, m := range s.Models {
			if len(m.Replicas) > 0 {
				model = m.Model.Name
			}
			replicas = append(replicas, m.Replicas...)
		}
		if len(replicas) > 1 {
			t.Fatalf("two replicas on one slot: %+v", replicas)
		}
		return model, replicas
	}
	all := scale.Decision{}
	for _, name := range names {
		all.Changes = append(all.Changes, grow(name, 0, 1).Changes...)
	}
	r.apply(t, all)
	holder, replicas := living(r.observe(t))
	if holder != "c" {
		t.Fatalf("the slot went to %q, want c, which has the highest priority", holder)
	}
	// Every model follows every other, as a scheduler may ask for.
	for _, next := range []string{"a", "b", "a", "c", "b", "c"} {
		r.until(t, holder+" ready", func(s scale.Snapshot) bool {
			_, replicas = living(s)
			return replicas[0].Phase == scale.Ready
		})
		swap := shrink(holder, 1, replicas[0].ID)
		swap.Changes = append(swap.Changes, grow(next, 0, 1).Changes...)
		r.apply(t, swap)
		r.until(t, next+" on the slot", func(s scale.Snapshot) bool {
			model, _ := living(s)
			if model == "" || model == next {
				r.apply(t, grow(next, 0, 1)) // as each tick does
			}
			return model == next
		})
		holder = next
	}
	if r.log.count("replica failed to start") > 0 || r.log.count("the GPU is taken") > 0 {
		t.Error("a replica started before the one before it was gone")
	}
}

func TestNoticeDrainsAtOnce(t *testing.T) {
	t.Parallel()
	r := start(t, testRun())
	r.apply(t, grow("chat", 0, 2))
	replicas := r.phase(t, 2, scale.Ready)
	victim := replicas[0].ID
	r.gateway.setInFlight(victim, 1)
	for drained := false; !drained; { // what was poked so far
		select {
		case <-r.Poked():
		default:
			drained = true
		}
	}
	if err := spot.Write(NoticeDir(r.StateDir), "nobody-001", time.Second); err != nil {
		t.Fatal(err)
	}
	if err := spot.Write(NoticeDir(r.StateDir), victim, time.Hour); err != nil {
		t.Fatal(err)
	}
	select {
	case <-r.Poked():
	case <-time.After(patience):
		t.Fatal("not poked")
	}
	if got := r.gateway.phasesOf(victim); got[len(got)-1] != scale.Draining {
		t.Errorf("phases routed before any tick: %v", got)
	}
	s := r.observe(t)
	notice, found := s.Interrupted(victim)
	if !found || len(s.Interruptions) != 1 || notice.Source != "notice file" ||
		notice.Deadline.Before(time.Now().Add(50*time.Minute)) {
		t.Errorf("interruptions %+v", s.Interruptions)
	}
	// A second notice hurries it: it ends by the deadline, whatever is in flight.
	if err := spot.Write(NoticeDir(r.StateDir), victim, 2*time.Second); err != nil {
		t.Fatal(err)
	}
	left := r.phase(t, 1, scale.Ready)
	if left[0].ID != replicas[1].ID {
		t.Errorf("left: %+v", left)
	}
	eventually(t, "its notice to be removed", func() bool {
		_, err := os.Stat(filepath.Join(NoticeDir(r.StateDir), string(victim)))
		return errors.Is(err, os.ErrNotExist)
	})
	if got := r.observe(t).Interruptions; len(got) > 0 {
		t.Errorf("interruptions afterwards: %+v", got)
	}
}

func TestRunStopsAllAndReturns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := testRun("-terminated", filepath.Join(dir, "{{replica}}"))
	r := start(t, run)
	r.apply(t, grow("chat", 0, 2))
	replicas := r.phase(t, 2, scale.Ready)
	r.gateway.setInFlight(replicas[0].ID, 1) // draining the gateway is the caller's part
	r.stop()
	for _, replica := range replicas {
		if _, err := os.Stat(filepath.Join(dir, string(replica.ID))); err != nil {
			t.Errorf("not told by SIGTERM: %v", err)
		}
		if n := leftovers(t, map[string]bool{setting(replica.ID): true}, nil); n > 0 {
			t.Errorf("%d processes of %s left", n, replica.ID)
		}
	}
	if lives := r.TakeEnded(); len(lives) != 2 {
		t.Errorf("lifetimes: %+v", lives)
	}
	if ids, err := Replicas(r.StateDir); err != nil || len(ids) > 0 {
		t.Errorf("on record: %v, %v", ids, err)
	}
	if _, err := r.Observe(t.Context(), time.Now()); !errors.Is(err, errNotRunning) {
		t.Errorf("Observe afterwards: %v", err)
	}
	if err := r.Apply(t.Context(), grow("chat", 0, 1)); !errors.Is(err, errNotRunning) {
		t.Errorf("Apply afterwards: %v", err)
	}
}

func TestOneWorldPerStateDirectory(t *testing.T) {
	t.Parallel()
	r := start(t, testRun())
	r.observe(t) // it runs
	second := &World{StateDir: r.StateDir, Gateway: r.gateway, Logger: r.Logger}
	if err := second.Run(t.Context()); !errors.Is(err, errInUse) {
		t.Errorf("Run = %v, want %v", err, errInUse)
	}
}

func TestObserveDoesNotWaitForRun(t *testing.T) {
	t.Parallel()
	world := &World{Gateway: &fakeGateway{}}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := fmt.Errorf("given up")
	cancel(cause)
	if _, err := world.Observe(ctx, time.Now()); !errors.Is(err, cause) {
		t.Errorf("Observe = %v, want %v", err, cause)
	}
	if lives := world.Lifetimes(); len(lives) > 0 {
		t.Errorf("lifetimes: %+v", lives)
	}
}

func TestIDsAreFitForFiles(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"meta-llama/Llama-3.1-8B-Instruct": "llama-3-1-8b-instruct",
		"l4":                               "l4",
		"..":                               "replica",
		"a/":                               "replica",
		"Größe":                            "gr--e",
		strings.Repeat("long", 20):         strings.Repeat("long", 6),
	} {
		if got := slug(name); got != want {
			t.Errorf("slug(%q) = %q, want %q", name, got, want)
		}
	}
	names := map[string]bool{}
	for range 1000 {
		names[runName()] = true
	}
	if len(names) < 1000 {
		t.Errorf("%d names for 1000 runs", len(names))
	}
}
