package console

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// logs is what replicas printed.
type logs map[scale.ReplicaID]string

func (l logs) Tail(id scale.ReplicaID, limit int) ([]byte, bool, error) {
	text, kept := l[id]
	if text == "fault" {
		return nil, false, errors.New("the disk is gone")
	}
	return []byte(text[max(0, len(text)-limit):]), kept, nil
}

func TestReplicasWithTheirLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := busyFleet(time.Now())
		f.lifetimes = append(f.lifetimes,
			scale.Lifetime{Replica: "chat-0", Target: target("chat"), PricePerHour: 2.1, Created: time.Now().Add(-2 * time.Hour), Ready: time.Now().Add(-119 * time.Minute), Ended: time.Now().Add(-30 * time.Minute)},
			scale.Lifetime{Replica: "chat-old", Target: target("chat"), Created: time.Now().Add(-9 * time.Hour), Ended: time.Now().Add(-3 * time.Hour)},
		)
		f.snapshot.Interruptions = []scale.Interruption{{Replica: "chat-2", Deadline: time.Now().Add(20 * time.Second)}}
		_, body := ask(of(f), "/api/v1/replicas?model=chat")
		var list ReplicaList
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatal(err)
		}
		seen := map[string]ReplicaView{}
		for _, r := range list.Replicas {
			seen[r.Replica] = r
		}
		one, taken, loading, gone := seen["chat-1"], seen["chat-2"], seen["chat-3"], seen["chat-0"]
		switch {
		case len(seen) != 5:
			t.Errorf("%d replicas: %s", len(seen), body)
		case *one.PricePerHour != 2.1 || one.BatchLimit != 32 || one.KVCache.Value != 0.61 || one.Accelerator != "1 × nvidia-a100-80gb" || one.Logged:
			t.Errorf("%+v", one)
		case taken.TakenIn != 20 || loading.KVCache != nil || loading.Phase != "starting":
			t.Errorf("%+v %+v", taken, loading)
		case gone.Phase != "gone" || gone.Ended == nil || gone.Ready == nil || gone.Drained != nil:
			t.Errorf("%+v", gone)
		}
		if code, body := ask(of(f), "/api/v1/replicas?model=chta"); code != http.StatusNotFound {
			t.Errorf("%d %s", code, body)
		}
	})
}

func TestALogIsOfAReplicaThatIsKnown(t *testing.T) {
	f := busyFleet(time.Now())
	f.lifetimes = append(f.lifetimes, scale.Lifetime{Replica: "chat-0", Target: target("chat"), Ended: time.Now()})
	c := of(f)
	long := strings.Repeat("0123456789abcde\n", 5000)
	c.Logs = logs{"chat-1": "one\ntwo\nthr\xffee\n", "chat-0": long, "chat-2": "fault", "secret": "secret", "../secret": "secret"}
	read := func(query string) (int, Log, string) {
		var l Log
		code, body := ask(c, "/api/v1/log?"+query)
		_ = json.Unmarshal([]byte(body), &l)
		return code, l, body
	}
	if code, l, body := read("replica=chat-1"); code != http.StatusOK || strings.Join(l.Lines, "|") != "one|two|thr�ee" || l.Cut {
		t.Errorf("%d %s", code, body)
	}
	if _, l, body := read("replica=chat-1&lines=2"); len(l.Lines) != 2 || l.Lines[0] != "two" || !l.Cut {
		t.Error(body)
	}
	// Of one that ended, and of a file that is longer than is read.
	if _, l, _ := read("replica=chat-0&lines=1000"); len(l.Lines) != 1000 || !l.Cut || l.Lines[0] != "0123456789abcde" {
		t.Errorf("%d lines, cut %v, first %q", len(l.Lines), l.Cut, l.Lines[0])
	}
	for query, want := range map[string]int{
		"replica=secret": 404, "replica=..%2fsecret": 404, "": 404, "replica=chat-3": 404,
		"replica=chat-1&lines=0": 400, "replica=chat-1&lines=x": 400, "replica=chat-1&lines=100000": 400, "replica=chat-2": 500,
	} {
		if code, _, body := read(query); code != want || strings.Contains(body, `secret"`) {
			t.Errorf("%s: %d %s", query, code, body)
		}
	}
	c.Logs = nil
	if code, _, body := read("replica=chat-1"); code != http.StatusNotFound || !strings.Contains(body, "keeps no logs") {
		t.Errorf("%d %s", code, body)
	}
}
