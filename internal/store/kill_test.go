package store

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/autoscaler"
	"github.com/penstock/penstock/internal/ledger"
	"github.com/penstock/penstock/internal/scale"
)

// victimPath and victimURL name the journal that a re-executed test binary
// writes until it is killed.
const (
	victimPath = "PENSTOCK_TEST_STORE_VICTIM"
	victimURL  = "PENSTOCK_TEST_STORE_VICTIM_URL"
)

func TestMain(m *testing.M) {
	p := site{path: os.Getenv(victimPath), url: os.Getenv(victimURL)}
	if p.path != "" || p.url != "" {
		if err := decideForEver(p); err != nil {
			fmt.Fprintln(os.Stderr, err) // a complaint fails the test that started this
		}
		return
	}
	code := m.Run()
	cluster.remove()
	os.Exit(code)
}

// lifeOf is the life of the n-th replica: an hour, at a price of its own.
func lifeOf(n int) scale.Lifetime {
	at := start.Add(time.Duration(n) * time.Second)
	return scale.Lifetime{
		Replica: scale.ReplicaID(strconv.Itoa(n)), Target: scale.ScaleTarget{Model: "model-0", Variant: "a100", Capacity: scale.OnDemand},
		PricePerHour: 0.37 + float64(n%100)/100, Created: at, Ready: at.Add(time.Minute), Drained: at.Add(50 * time.Minute), Ended: at.Add(time.Hour),
	}
}

// seenAt is what is seen in the n-th second of a world whose demand comes and
// goes.
func seenAt(tb testing.TB, n int) scale.Snapshot {
	tb.Helper()
	at := start.Add(time.Duration(n) * time.Second)
	s := tick(tb, at, 1, 2, 1).Snapshot
	d := &s.Models[0].Demand
	d.Arrivals = scale.Observe(float64(20+n*7%31), at)
	d.ArrivalsOver = time.Second
	d.Good, d.Bad = scale.Observe(float64(20*n), at), scale.Observe(float64(n), at)
	return s.Kept()
}

// decide decides the n-th tick.
func decide(tb testing.TB, n int, m autoscaler.Memory) (scale.Record, autoscaler.Memory, []byte, error) {
	tb.Helper()
	r := scale.Record{Snapshot: seenAt(tb, n)}
	r.At = r.Snapshot.Now
	before, err := m.Encode()
	if err != nil {
		return r, m, nil, err
	}
	r.Memory = before
	r.Decision, m = autoscaler.Step(r.Snapshot, m)
	after, err := m.Encode()
	return r, m, after, err
}

// decideForEver goes on from where the journal ends: it decides ticks, keeps
// each with a life, and says on standard output which, once they are
// acknowledged.
func decideForEver(p site) error {
	ctx := context.Background()
	s, err := p.open(ctx)
	if err != nil {
		return err
	}
	text, at, err := s.Memory(ctx)
	if err != nil {
		return err
	}
	m, err := autoscaler.DecodeMemory(text)
	if err != nil {
		return err
	}
	n := 0
	if text != nil {
		n = int(at.Sub(start) / time.Second)
	}
	for {
		n++
		r, next, after, err := decide(new(testing.T), n, m)
		if err != nil {
			return err
		}
		m = next
		if err := s.Append(ctx, r, after); err != nil {
			return err
		}
		if err := s.SaveLifetimes(ctx, []scale.Lifetime{lifeOf(n)}); err != nil {
			return err
		}
		decided, err := Text(r.Decision)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stdout, "%d %x\n", n, sha256.Sum256(decided))
	}
}

// Whatever was acknowledged before kill -9 is there after it, once; the Memory
// resumes, and every Decision is the one that it would have been without.
// PENSTOCK_CRASHES is how many kills; make test-crash does 200.
func TestNothingIsLostToKill(t *testing.T) {
	kills := 10
	if text := os.Getenv("PENSTOCK_CRASHES"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	everywhere(t, func(t *testing.T, p site) {
		t.Helper()
		random := rand.New(rand.NewPCG(1, 0))
		var acknowledged []string
		empty := 0
		for range kills {
			// From the first moments, opening included, to some dozen ticks.
			said := killOne(t, p, waits(random))
			if len(said) == 0 {
				empty++
			}
			acknowledged = append(acknowledged, said...)
		}
		if len(acknowledged) < kills {
			t.Fatalf("only %d ticks in all: the test proves nothing", len(acknowledged))
		}
		kept := survived(t, p, acknowledged)
		t.Logf("%d kills, %d of them before a tick was acknowledged: %d ticks acknowledged, %d kept, 0 lost, 0 twice, 0 decided otherwise", kills, empty, len(acknowledged), kept)
	})
}

// survived compares a journal with the same ticks without kills, and returns
// how many there are.
func survived(t *testing.T, p site, acknowledged []string) int {
	t.Helper()
	s := openAt(t, p)
	ctx := t.Context()
	var m autoscaler.Memory
	var after []byte
	kept := 0
	said := map[string]bool{}
	for r, err := range s.Records(ctx, time.Time{}, start.AddDate(50, 0, 0)) {
		if err != nil {
			t.Fatal(err)
		}
		kept++
		want, next, remembered, err := decide(t, kept, m)
		if err != nil {
			t.Fatal(err)
		}
		wanted, err := Text(want.Decision)
		if err != nil {
			t.Fatal(err)
		}
		found, err := Text(r.Decision)
		if err != nil || string(found) != string(wanted) {
			t.Fatalf("tick %d, of %v:\n%s\nwant\n%s (%v)", kept, r.At, found, wanted, err)
		}
		m, after = next, remembered
		said[fmt.Sprintf("%d %x", kept, sha256.Sum256(found))] = true
	}
	for _, line := range acknowledged {
		if !said[line] {
			t.Errorf("%s was acknowledged and is not there", line)
		}
	}
	if memory, _, err := s.Memory(ctx); err != nil || string(memory) != string(after) {
		t.Errorf("the Memory is another than without kills, %v", err)
	}
	billed(t, s, len(acknowledged))
	if p.path != "" {
		var verdict string
		if err := s.base.write.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
			t.Errorf("integrity: %s, %v", verdict, err)
		}
	}
	return kept
}

// billed holds the ledger's bill against a sum of its own making.
func billed(t *testing.T, s *Store, least int) {
	t.Helper()
	lives, err := s.Lifetimes(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if len(lives) < least {
		t.Errorf("%d lives of %d that were acknowledged", len(lives), least)
	}
	end, sum := start.AddDate(1, 0, 0), 0.0
	for _, l := range lives {
		n, err := strconv.Atoi(string(l.Replica))
		if err != nil || !l.Ended.Equal(lifeOf(n).Ended) {
			t.Fatalf("life %+v, %v", l, err)
		}
		sum += 0.37 + float64(n%100)/100 // an hour of each
	}
	charges := ledger.Bill(ledger.Account{Lifetimes: lives, Span: ledger.Span{Until: end}, Now: end})
	total, _ := ledger.Total(charges, func(scale.Charge) bool { return true })
	if got := total.Dollars(); fmt.Sprintf("%.2f", got) != fmt.Sprintf("%.2f", sum) {
		t.Errorf("the ledger bills $%.6f, the lives cost $%.6f", got, sum)
	}
}

// waits is how long a victim lives after its first word: 25 ms on average. One in
// eight is not let come to a word.
func waits(random *rand.Rand) time.Duration {
	if random.IntN(8) == 0 {
		return -time.Duration(random.IntN(30)) * time.Millisecond
	}
	return time.Duration(1 + random.ExpFloat64()*float64(25*time.Millisecond))
}

// killOne runs a victim, kills it so long after its first word (or, where that is
// negative, after its start) and returns what it acknowledged.
func killOne(t *testing.T, p site, after time.Duration) []string {
	t.Helper()
	victim := exec.CommandContext(t.Context(), os.Args[0])
	victim.Env = append(os.Environ(), victimPath+"="+p.path, victimURL+"="+p.url)
	var complaint strings.Builder
	victim.Stderr = &complaint
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var said []string
	if after > 0 && lines.Scan() {
		said = append(said, lines.Text())
	}
	kill := time.AfterFunc(max(after, -after), func() { _ = victim.Process.Kill() })
	defer kill.Stop()
	for lines.Scan() {
		said = append(said, lines.Text())
	}
	_ = victim.Wait() // killed
	if complaint.Len() > 0 {
		t.Fatal(complaint.String())
	}
	return said
}
