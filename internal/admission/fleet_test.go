package admission

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
)

// A large fleet is searched as a tree, a small one is scanned. Both find the
// same replica, at any size and after any changes.
func TestTheTreeFindsWhatAScanFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFleet()
		routes := make([]scale.Route, rapid.IntRange(0, 40).Draw(t, "replicas"))
		for i := range routes {
			routes[i] = ready(scale.ReplicaID(fmt.Sprint(i)), rapid.IntRange(1, 4).Draw(t, "batch"), rapid.IntRange(0, 3).Draw(t, "kv")*50)
			routes[i].PrefillTokens = rapid.IntRange(0, 2).Draw(t, "prefill") * 40
		}
		f.route(routes)
		f.flat = false
		var sent []*entry
		for range rapid.IntRange(1, 60).Draw(t, "changes") {
			need := rapid.IntRange(0, 160).Draw(t, "need")
			var not *replica
			if len(f.order) > 0 && rapid.Bool().Draw(t, "avoids") {
				not = f.order[rapid.IntRange(0, len(f.order)-1).Draw(t, "not")]
			}
			got, open := f.find(need, not), f.open()
			f.flat = true
			want, wantOpen := f.find(need, not), f.open()
			f.flat = false
			if got != want || open != wantOpen {
				t.Fatalf("for %d tokens the tree finds %+v (open %v), a scan %+v (open %v)", need, got, open, want, wantOpen)
			}
			if got != nil && rapid.IntRange(0, 3).Draw(t, "send") > 0 {
				e := &entry{replica: got, request: request{PromptTokens: need / 2, OutputTokens: need - need/2}}
				f.add(got, e)
				sent = append(sent, e)
			} else if len(sent) > 0 {
				i := rapid.IntRange(0, len(sent)-1).Draw(t, "end")
				f.remove(sent[i].replica, sent[i])
				sent = append(sent[:i], sent[i+1:]...)
			}
		}
	})
}
