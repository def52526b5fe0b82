package load_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/load"
	"github.com/penstock/penstock/internal/scale"
)

func TestAClientMayGoAwayInTheMiddle(t *testing.T) {
	leaves(t, load.Manners{Leave: 10, Pause: time.Millisecond})
}

func TestAClientMayGoAwayBeforeItsReply(t *testing.T) {
	leaves(t, load.Manners{Await: 20 * time.Millisecond})
}

// leaves has a client leave a server that answers with one event, or with none
// where the client awaits the first.
func leaves(t *testing.T, manners load.Manners) {
	t.Helper()
	gone := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // before that its client's leaving is not seen
		if manners.Await > 0 {
			<-r.Context().Done()
			gone <- r.Header.Get(load.HeaderRequest)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: {\"id\":\"a\",\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		gone <- r.Header.Get(load.HeaderRequest)
	}))
	defer server.Close()
	var ended []load.Ended
	g := load.Generator{
		Target: server.URL, Models: []load.Model{{Name: "m"}}, Client: load.NewClient(), Stall: time.Minute,
		Requests: func(yield func(scale.Request, error) bool) {
			yield(scale.Request{ID: 7, Model: "m", PromptTokens: 4, OutputTokens: 4}, nil)
		},
		Manners: func(scale.Request) load.Manners { return manners },
		Ended:   func(e load.Ended) { ended = append(ended, e) },
	}
	if _, err := g.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if id := <-gone; id != "7" {
		t.Errorf("the server saw request %q leave", id)
	}
	if len(ended) != 1 || ended[0].ID != 7 || ended[0].Outcome != scale.Cancelled || ended[0].Left.IsZero() {
		t.Errorf("%+v", ended)
	}
}
