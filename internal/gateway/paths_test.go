package gateway

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const (
	otherName  = "detector"
	otherHost1 = "detect.example.com"
)

// twoModels are a chat model and one without tokens, which has paths and a host.
func twoModels(g *Gateway) {
	g.Models = append(g.Models, scale.Model{
		Name: otherName, Paths: []string{"/detect", "/detect/fast/lane"}, Hosts: []string{otherHost1},
		SLO: scale.SLO{Latency: time.Second, Objective: 0.99, MaxHold: 30 * time.Second},
	}, scale.Model{
		Name: "lane", Paths: []string{"/detect/fast"},
		SLO: scale.SLO{Latency: time.Second, Objective: 0.99, MaxHold: 30 * time.Second},
	})
}

// witness is a replica that notes what reaches it.
type witness struct {
	address string
	mu      sync.Mutex
	saw     []string // METHOD TARGET BODY
}

// newWitness starts one; its replies begin with its name.
func newWitness(t *testing.T, name string) *witness {
	t.Helper()
	w := &witness{}
	w.address = upstream(t, func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.mu.Lock()
		w.saw = append(w.saw, fmt.Sprintf("%s %s %s", r.Method, r.RequestURI, body))
		w.mu.Unlock()
		fmt.Fprintf(rw, "%s served %s", name, r.URL.Path)
	})
	return w
}

func (w *witness) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	saw := w.saw
	w.saw = nil
	return saw
}

// do sends a request of any kind and returns status and body.
func (r *rig) do(t *testing.T, method, target, body string, header http.Header) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, r.url+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(request.Header, header)
	if host := header.Get("Host"); host != "" {
		request.Host = host
	}
	reply, err := r.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply.StatusCode, string(text)
}

// Each request reaches the model that its body, path or host names, as it
// came, or none.
func TestEachPathFindsItsModel(t *testing.T) {
	r := newRig(t, twoModels)
	chats, others, lanes := newWitness(t, "chat"), newWitness(t, "other"), newWitness(t, "lane")
	r.routes(chats.address)
	r.Route(otherName, []scale.Route{route("o", others.address, 4)})
	r.Route("lane", []scale.Route{route("l", lanes.address, 4)})
	onHost := http.Header{"Host": {"Detect.Example.com:8080"}}
	const get, post, put = http.MethodGet, http.MethodPost, http.MethodPut
	for name, c := range map[string]struct {
		method, target, body string
		header               http.Header
		status               int
		at                   *witness // nil for none
		reply                string   // a part of it
	}{
		"embeddings":                      {method: post, target: "/v1/embeddings", body: `{"model":"legal","input":"x"}`, status: 200, at: chats},
		"rerank":                          {method: post, target: "/v1/rerank", body: `{"model":"detector","query":"x"}`, status: 200, at: others},
		"speech":                          {method: post, target: "/v1/audio/speech", body: `{"model":"detector","input":"x"}`, status: 200, at: others},
		"a query that names the same":     {method: post, target: "/v1/rerank?model=detector", body: `{"model":"detector"}`, status: 200, at: others},
		"a query that nobody can read":    {method: post, target: "/v1/rerank?a=1;model=legal", body: `{"model":"detector"}`, status: 400, reply: "query_unreadable"},
		"infer":                           {method: post, target: "/v2/models/detector/infer", body: `{"inputs":[],"inputs":[]}`, status: 200, at: others},
		"infer of a version":              {method: post, target: "/v2/models/detector/versions/3/infer", body: "\x00binary", status: 200, at: others},
		"generate of a name with a slash": {method: post, target: "/v2/models/meta/chat-8b/generate", body: `{"text_input":"x"}`, status: 200, at: chats},
		"generate_stream":                 {method: post, target: "/v2/models/legal/generate_stream?x=1", body: "{}", status: 200, at: chats},
		"metadata":                        {method: get, target: "/v2/models/detector", status: 200, at: others},
		"metadata of a version":           {method: get, target: "/v2/models/detector/versions/1", status: 200, at: others},
		"config":                          {method: get, target: "/v2/models/detector/config", status: 200, at: others},
		"GET of infer":                    {method: get, target: "/v2/models/detector/infer", status: 405, reply: `"error":"This path takes POST."`},
		"a compressed infer":              {method: post, target: "/v2/models/detector/infer", body: "zip", header: http.Header{"Content-Encoding": {"gzip"}}, status: 200, at: others},
		"ready":                           {method: get, target: "/v2/models/meta/chat-8b/ready", status: 200},
		"ready of a version":              {method: get, target: "/v2/models/detector/versions/7/ready", status: 200},
		"ready of another":                {method: get, target: "/v2/models/nobody/ready", status: 404, reply: `"code":"model_not_found"`},
		"the server":                      {method: get, target: "/v2", status: 200, reply: `"name":"penstock"`},
		"the server lives":                {method: get, target: "/v2/health/live", status: 200},
		"the server is ready":             {method: get, target: "/v2/health/ready", status: 200},
		"load is no business of clients":  {method: post, target: "/v2/repository/models/detector/load", status: 404, reply: `"code":"not_found"`},
		"unload by a verb":                {method: post, target: "/v2/models/detector/unload", body: "{}", status: 404, reply: "model_not_found"},
		"a path":                          {method: put, target: "/detect/a/b?c=d", body: "anything", status: 200, at: others},
		"the path itself":                 {method: get, target: "/detect", status: 200, at: others},
		"a path that only begins so":      {method: get, target: "/detective", status: 404, reply: "not_found"},
		"the longer path":                 {method: post, target: "/detect/fast/x", body: "{", status: 200, at: lanes},
		"the longest path":                {method: post, target: "/detect/fast/lane", body: "{", status: 200, at: others},
		"a method that changes the proxy": {method: "PURGE", target: "/detect", status: 405, reply: "method_not_allowed"},
		"a GET with a body":               {method: get, target: "/detect", body: "GET / HTTP/1.1\r\n\r\n", status: 400, reply: "body_unexpected"},
		"any path of a host":              {method: post, target: "/anything/at/all", body: "x", header: onHost, status: 200, at: others},
		"another model on a host":         {method: post, target: "/v1/embeddings", body: `{"model":"legal"}`, header: onHost, status: 400, reply: "model_ambiguous"},
		"another path's model on a host":  {method: post, target: "/v2/models/legal/infer", body: "{}", header: onHost, status: 400, reply: `"code":"model_ambiguous"`},
		"the host's own model":            {method: post, target: "/v1/embeddings", body: `{"model":"detector"}`, header: onHost, status: 200, at: others},
	} {
		t.Run(name, func(t *testing.T) {
			status, reply := r.do(t, c.method, c.target, c.body, c.header)
			if status != c.status || !strings.Contains(reply, c.reply) {
				t.Errorf("%d %s", status, reply)
			}
			for _, w := range []*witness{chats, others, lanes} {
				want := 0
				if w == c.at {
					want = 1
				}
				saw := w.take()
				if len(saw) != want || want == 1 && saw[0] != fmt.Sprintf("%s %s %s", c.method, c.target, c.body) {
					t.Errorf("saw %q", saw)
				}
			}
		})
	}
}

// What the Open Inference Protocol asks is held, woken for and measured like
// the rest, by end-to-end time where the model has no tokens.
func TestInferIsHeldAndMeasured(t *testing.T) {
	r := newRig(t, twoModels)
	address := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond)
		io.WriteString(w, `{"outputs":[]}`)
	})
	done := make(chan int, 1)
	go func() {
		status, _ := r.do(t, http.MethodPost, "/v2/models/detector/infer", "{}", nil)
		done <- status
	}()
	eventually(t, "a wake", func() bool { return r.woken.Load() > 0 })
	if held := r.Traffic(otherName, time.Now()).Demand.Held; held.Value != 1 {
		t.Errorf("held %v", held)
	}
	r.Route(otherName, []scale.Route{route("o", address, 1)})
	if status := <-done; status != http.StatusOK {
		t.Fatalf("%d", status)
	}
	eventually(t, "it is measured", func() bool {
		l := r.Traffic(otherName, time.Now()).Loads["o"].Latency
		return l.Requests == 1 && l.Service >= 20*time.Millisecond && l.TTFT == 0
	})
}

// A POST to a path of which nothing is known goes to no second replica once a
// first may have taken it in; a GET does, and so does what reached nobody.
func TestWhatMayHaveActedIsNotRepeated(t *testing.T) {
	r := newRig(t, twoModels)
	whole := newWitness(t, "whole")
	for name, c := range map[string]struct {
		method, first string
		status        int
		retry         bool
	}{
		"a POST that broke off":       {http.MethodPost, rawUpstream(t, func(int, net.Conn) {}), http.StatusBadGateway, false},
		"a GET that broke off":        {http.MethodGet, rawUpstream(t, func(int, net.Conn) {}), http.StatusOK, true},
		"a POST that nobody received": {http.MethodPost, "127.0.0.1:1", http.StatusOK, true},
	} {
		t.Run(name, func(t *testing.T) {
			r.Route(otherName, []scale.Route{route("a", c.first, 4), route("b", whole.address, 4)})
			status, reply := r.do(t, c.method, "/detect", "", nil)
			if status != c.status || (len(whole.take()) == 1) != c.retry {
				t.Errorf("%d %s", status, reply)
			}
		})
	}
}

// form is a multipart form of fields and files, in their order.
func form(t *testing.T, fields ...[2]string) (string, string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	file, err := w.CreateFormFile("file", "speech.wav")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(file, "RIFF\r\n--\x00")
	for _, f := range fields {
		if err := w.WriteField(f[0], f[1]); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return w.FormDataContentType(), b.String()
}

func TestAudioUploadNamesItsModel(t *testing.T) {
	r := newRig(t, twoModels)
	others := newWitness(t, "other")
	r.Route(otherName, []scale.Route{route("o", others.address, 4)})
	kind, body := form(t, [2]string{"model", otherName}, [2]string{"response_format", "json"}, [2]string{"g[]", "a"}, [2]string{"g[]", "b"})
	boundary := strings.TrimPrefix(kind, "multipart/form-data; boundary=")
	_, twice := form(t, [2]string{"model", otherName}, [2]string{"model", "legal"})
	twice = "--" + boundary + twice[strings.Index(twice, "\r\n"):]
	field := "\r\nContent-Disposition: form-data; name=\"model\""
	for name, c := range map[string]struct {
		kind, body string
		status     int
		code       string
	}{
		"a form":                          {kind, body, 200, ""},
		"a form without a last line end":  {kind, strings.TrimSuffix(body, "\r\n"), 200, ""},
		"no boundary":                     {"multipart/form-data", body, 400, "body_not_form"},
		"two boundaries":                  {kind + "; boundary=x", body, 400, "body_not_form"},
		"another boundary":                {"multipart/form-data; boundary=x", body, 400, "body_not_form"},
		"JSON":                            {"application/json", `{"model":"detector"}`, 400, "body_not_form"},
		"a preamble":                      {kind, "\r\n" + body, 400, "body_not_form"},
		"an epilogue":                     {kind, body + "--" + boundary, 400, "body_not_form"},
		"no end":                          {kind, body[:len(body)-8], 400, "body_not_form"},
		"a delimiter after a bare LF":     {kind, strings.Replace(body, "json", "json\n--"+boundary+"\r\n", 1), 400, "body_not_form"},
		"two models":                      {kind, twice, 400, "body_not_form"},
		"the same name twice":             {kind, strings.Replace(body, "response_format", "model", 1), 400, "duplicate_key"},
		"a name escaped":                  {kind, strings.Replace(body, `name="model"`, `name="mod%65l"`, 1), 400, "body_not_form"},
		"two names in one part":           {kind, strings.Replace(body, `name="model"`, `name="x"; name="model"`, 1), 400, "body_not_form"},
		"two dispositions in one part":    {kind, strings.Replace(body, field, field+field, 1), 400, "body_not_form"},
		"a header that is folded":         {kind, strings.Replace(body, field, field+"\r\n x: y", 1), 400, "body_not_form"},
		"a model in base64":               {kind, strings.Replace(body, field, field+"\r\nContent-Transfer-Encoding: base64", 1), 400, "body_not_form"},
		"a model that is a file":          {kind, strings.Replace(body, field, field+`; filename="m"`, 1), 400, "body_not_form"},
		"no model":                        {kind, strings.Replace(body, field, strings.Replace(field, "model", "m", 1), 1), 400, "model_missing"},
		"a model that is not served here": {kind, strings.Replace(body, otherName, "nobody", 1), 404, "model_not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			status, reply := r.do(t, http.MethodPost, "/v1/audio/transcriptions", c.body, http.Header{"Content-Type": {c.kind}})
			if status != c.status || !strings.Contains(reply, c.code) {
				t.Errorf("%d %s, want %d %s", status, reply, c.status, c.code)
			}
			want := 0
			if c.status == http.StatusOK {
				want = 1
			}
			if saw := others.take(); len(saw) != want || want == 1 && !strings.HasSuffix(saw[0], c.body) {
				t.Errorf("saw %q", saw)
			}
		})
	}
}

// A stream of responses has no [DONE]: it is whole when an event said how it
// went, and ends with one of ours when it broke off before.
func TestResponsesStreamEndsWithAnEvent(t *testing.T) {
	const begun = "event: response.created\ndata: {\"type\":\"response.created\"}\n\nevent: response.output_text.delta\ndata: {\"delta\":\"a\"}\n\n"
	for name, c := range map[string]struct {
		stream  string
		whole   bool
		outcome scale.Outcome
	}{
		"completed":                        {begun + "event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n", true, scale.OK},
		"completed, with CRLF":             {strings.ReplaceAll(begun+"event:response.completed\ndata: {}\n\n", "\n", "\r\n"), true, scale.OK},
		"incomplete":                       {begun + "event: response.incomplete\ndata: {}\n\n", true, scale.OK},
		"failed, as the engine says":       {begun + "event: response.failed\ndata: {}\n\n", true, scale.Failed},
		"no event has a name":              {"data: {}\n\n", true, scale.OK},
		"broken off":                       {begun, false, scale.Interrupted},
		"broken off in the last event":     {begun + "event: response.completed\ndata: {\"ty", false, scale.Interrupted},
		"broken off after a name":          {begun + "event: response.completed", false, scale.Interrupted},
		"an end that only begins like one": {begun + "event: response.completed.not\ndata: {}\n\n", false, scale.Interrupted},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.routes(upstream(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				io.WriteString(w, c.stream)
			}))
			_, body, err := r.ask("/v1/responses", `{"model":"legal","input":"x","stream":true}`)
			if c.whole != (err == nil) || !strings.HasPrefix(body, c.stream) || c.whole != (body == c.stream) {
				t.Fatalf("%q, %v", body, err)
			}
			if !c.whole && !strings.Contains(body, "\n\nevent: response.failed\ndata: {\"type\":\"response.failed\"") {
				t.Errorf("ends with %q", body[len(c.stream):])
			}
			r.wantOutcome(c.outcome, 1)
		})
	}
}

// A stream that came with a length is judged like one without: the error event
// and the abort must not lie beyond what the client reads.
func TestStreamWithALengthIsJudged(t *testing.T) {
	r := newRig(t, nil)
	r.routes(upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Content-Length", "9")
		io.WriteString(w, "data: 1\n\n")
	}))
	if _, body, err := r.ask("/v1/chat/completions", echoBody("x", 1)); err == nil || !strings.Contains(body, "replica_lost") {
		t.Fatalf("%q, %v", body, err)
	}
}

// Triton's generate_stream has no event that ends it.
func TestGenerateStreamEndsAsItDoes(t *testing.T) {
	r := newRig(t, nil)
	r.routes(upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: {\"text_output\":\"a\"}\n\n")
	}))
	if _, body, err := r.ask("/v2/models/legal/generate_stream", `{"text_input":"x"}`); err != nil || body != "data: {\"text_output\":\"a\"}\n\n" {
		t.Fatalf("%q, %v", body, err)
	}
	r.wantOutcome(scale.OK, 1)
}
