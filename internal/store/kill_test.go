package store

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// victimPath names the journal that a re-executed test binary appends to until
// it is killed.
const victimPath = "PENSTOCK_TEST_STORE_VICTIM"

func TestMain(m *testing.M) {
	if path := os.Getenv(victimPath); path != "" {
		if err := appendForEver(path); err != nil {
			fmt.Fprintln(os.Stderr, err) // a complaint fails the test that started this
		}
		return
	}
	code := m.Run()
	cluster.remove()
	os.Exit(code)
}

// appendForEver appends ticks, each with the next number as its Required and
// in its Memory, and says so on standard output once it is acknowledged.
func appendForEver(path string) error {
	ctx := context.Background()
	s, err := Open(ctx, path)
	if err != nil {
		return err
	}
	next := 0
	if memory, _, err := s.Memory(ctx); err != nil {
		return err
	} else if memory != nil {
		if next, err = strconv.Atoi(string(memory)); err != nil {
			return err
		}
	}
	target := scale.ScaleTarget{Model: "chat", Variant: "a100", Capacity: scale.OnDemand}
	for {
		next++
		at := start.Add(time.Duration(next) * time.Second)
		r := scale.Record{At: at, Memory: noise(3000, next), Snapshot: scale.Snapshot{
			Now: at, Models: []scale.ModelState{{Model: scale.Model{Name: "chat"}}},
		}, Decision: scale.Decision{At: at, Plans: []scale.Plan{{
			Model: "chat", Required: float64(next), Allocations: []scale.Allocation{{Target: target, Replicas: next}},
		}}}}
		if err := s.Append(ctx, r, []byte(strconv.Itoa(next))); err != nil {
			return err
		}
		if err := s.SaveLifetimes(ctx, []scale.Lifetime{{Replica: scale.ReplicaID(strconv.Itoa(next)), Target: target, Created: at}}); err != nil {
			return err
		}
		fmt.Fprintln(os.Stdout, next)
	}
}

// Whatever was acknowledged before kill -9 is there after it.
func TestNothingAcknowledgedIsLostToKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	var acknowledged []int
	for round := range 24 {
		// From the first moments, Open included, to some dozen appends.
		acknowledged = append(acknowledged, killOne(t, path, time.Duration(round*round%17)*9*time.Millisecond)...)
	}
	if len(acknowledged) < 24 {
		t.Fatalf("only %d appends in all: the test proves nothing", len(acknowledged))
	}

	s := open(t, path)
	ctx := context.Background()
	kept := 0
	for _, r := range records(t, s) {
		if got := int(r.Decision.Plans[0].Required); got != kept+1 {
			t.Fatalf("record %d follows %d", got, kept)
		}
		kept++
	}
	memory, _, err := s.Memory(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if last := acknowledged[len(acknowledged)-1]; kept < last || string(memory) != strconv.Itoa(kept) {
		t.Errorf("acknowledged up to %d; kept %d records and memory %s", last, kept, memory)
	}
	lifetimes, err := s.Lifetimes(ctx, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	lives := map[scale.ReplicaID]bool{}
	for _, l := range lifetimes {
		lives[l.Replica] = true
	}
	for _, n := range acknowledged {
		if !lives[scale.ReplicaID(strconv.Itoa(n))] {
			t.Errorf("lifetime %d was acknowledged and is gone", n)
		}
	}
	var verdict string
	if err := s.base.write.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity: %s, %v", verdict, err)
	}
	t.Logf("24 kills, %d acknowledged, %d kept", len(acknowledged), kept)
}

// killOne runs a victim, kills it so long after its first word, and returns
// the numbers that it acknowledged. The victims of a zero wait are killed
// while they open the journal.
func killOne(t *testing.T, path string, after time.Duration) []int {
	t.Helper()
	victim := exec.CommandContext(t.Context(), os.Args[0])
	victim.Env = append(os.Environ(), victimPath+"="+path)
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
	var acknowledged []int
	read := func() bool {
		if !lines.Scan() {
			return false
		}
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Errorf("the victim said %q", lines.Text())
		}
		acknowledged = append(acknowledged, n)
		return true
	}
	if after > 0 {
		read()
	}
	kill := time.AfterFunc(after, func() { _ = victim.Process.Kill() })
	defer kill.Stop()
	for read() {
	}
	_ = victim.Wait() // killed
	if complaint.Len() > 0 {
		t.Fatal(complaint.String())
	}
	return acknowledged
}
