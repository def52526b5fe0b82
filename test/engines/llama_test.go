package engines_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const chat = "tiny-chat"

// llamaCases are what must hold with llama.cpp's server.
func llamaCases() []engineCase {
	return []engineCase{
		{"llama boots from zero on the first request and answers it", llamaBoots},
		{"llama streams chat, completions and responses whole, each token checked", llamaStreams},
		{"llama batches the streams of one replica", llamaBatches},
		{"llama closes idle and worn connections, and no request notices", llamaConnections},
		{"llama scales from 0 to 3 and back to 0 under load, none lost", llamaScales},
		{"llama killed in the middle of a stream ends it with an error event", llamaKilled},
		{"llama drains on a notice: the stream ends whole, new ones go elsewhere", llamaDrains},
		{"llama streams end whole when serve is told to stop", llamaStops},
		{"llama frees the slot of a client that went away", llamaAborts},
		{"llama's own errors pass through as they are", llamaErrors},
		{"llama that cannot load its model is explained, with cause and log", llamaBroken},
		{"llama metrics are read as its dialect", llamaMetrics},
		{"llama embeddings, as a second model of the machine", llamaEmbeddings},
		{"llama with the official Python client", llamaPython},
		{"llama with the official JavaScript client", llamaJavaScript},
	}
}

func llamaBoots(on stage) {
	t, in := on.t, on.installation
	s := serve(t, in)
	if got := s.engines(); len(got) != 0 {
		t.Fatalf("%v run before anything was asked", got)
	}
	asked := ask{prompt: prompt(20), tokens: 16}
	a := stream(s.gateway, asked, nil)
	a.whole(t, asked)
	if a.header.Get("X-Penstock-Woke") != "true" || a.header.Get("X-Penstock-Held-Ms") == "" {
		t.Errorf("the reply does not say that it woke the model: %v", a.header)
	}
	if got := s.engines(); len(got) != 1 {
		t.Errorf("%v run after one request", got)
	}
}

func llamaStreams(on stage) {
	t, in := on.t, on.installation
	s := serve(t, in)
	for _, path := range []string{"/v1/chat/completions", "/v1/completions"} {
		for _, size := range []struct{ prompt, tokens int }{{1, 1}, {3, 2}, {300, 40}, {40, 600}} {
			asked := ask{path: path, prompt: prompt(size.prompt), tokens: size.tokens}
			a := stream(s.gateway, asked, nil)
			a.whole(t, asked)
			if kind := a.header.Get("Content-Type"); kind != "text/event-stream" {
				t.Errorf("Content-Type %q", kind)
			}
			if a.pieces != size.tokens {
				t.Errorf("%d pieces for %d tokens", a.pieces, size.tokens)
			}
		}
	}
	said := prompt(5)
	status, text := exchange(t, http.MethodPost, s.gateway+"/v1/responses",
		fmt.Sprintf(`{"model":"tiny-chat","stream":true,"max_output_tokens":20,"input":%q}`, said))
	if status != http.StatusOK || !strings.Contains(text, "event: response.completed\n") || !strings.Contains(text, fmt.Sprintf(`"text":%q`, reply(said, 20))) {
		t.Errorf("/v1/responses: %d\n%s", status, text)
	}
}

func llamaBatches(on stage) {
	t, in := on.t, on.installation
	s := serve(t, in, change{"replicas: {min: 0, max: 3}", "replicas: {min: 0, max: 1}"})
	many(t, s, 8, ask{tokens: 200})
	metrics := get(t, "http://"+s.one().address+"/metrics")
	if busy, ok := value(metrics, "llamacpp:n_busy_slots_per_decode"); !ok || busy < 1.5 {
		t.Errorf("%v slots were busy at a time, for eight streams at once:\n%s", busy, metrics)
	}
}

// llamaConnections asks one after the other: the engine closes a connection
// after a hundred requests, and one that was idle for five seconds, just when
// the next may be on its way.
func llamaConnections(on stage) {
	t, in := on.t, on.installation
	s := serve(t, in, change{"replicas: {min: 0, max: 3}", "replicas: {min: 1, max: 1}"})
	for i := range 250 {
		asked := ask{prompt: prompt(3), tokens: 1 + i%3}
		a := stream(s.gateway, asked, nil)
		a.whole(t, asked)
	}
	for i := range 3 {
		time.Sleep(5*time.Second + time.Duration(i-1)*4*time.Millisecond) // about when the engine closes
		many(t, s, 4, ask{tokens: 2})
	}
}

// many sends so many requests like one at once, each with a prompt of its own.
func many(t *testing.T, s *server, n int, like ask) {
	t.Helper()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			asked := like
			asked.prompt = prompt(20 + i)
			a := stream(s.gateway, asked, nil)
			a.whole(t, asked)
		})
	}
	all.Wait()
}

// one returns the only engine.
func (s *server) one() engine {
	s.t.Helper()
	all := s.engines()
	if len(all) != 1 {
		s.t.Fatalf("%v run, one was expected", all)
	}
	return all[0]
}

// llamaScales loads the fleet with `penstock load` and, beside it, with streams
// of which each token is checked.
func llamaScales(on stage) {
	t, in := on.t, on.installation
	s := serve(t, in)
	trace := filepath.Join(t.TempDir(), "burst.csv")
	if err := os.WriteFile(trace, burst(200, 12*time.Millisecond), 0o600); err != nil {
		t.Fatal(err)
	}
	var most atomic.Int64
	var beside, watch sync.WaitGroup
	done := make(chan struct{})
	watch.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
				most.Store(max(most.Load(), int64(len(s.engines()))))
			}
		}
	})
	for range 4 {
		beside.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				asked := ask{prompt: prompt(10 + i%90), tokens: 30 + i%50}
				a := stream(s.gateway, asked, nil)
				a.whole(t, asked)
			}
		})
	}
	text, err := command(t, in.penstock, "load", "--trace", trace, "--target", s.gateway, "--model", chat, "--json")
	ready, _ := s.replicas(chat)
	close(done)
	beside.Wait()
	watch.Wait()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var report struct {
		Requests int            `json:"requests"`
		Outcomes map[string]int `json:"outcomes"`
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if report.Requests != 200 || report.Outcomes["ok"] != 200 {
		t.Errorf("of 200 requests: %s", text)
	}
	if most.Load() != 3 || ready == 0 {
		t.Errorf("at most %d replicas ran, 3 were expected; %d ready at the end", most.Load(), ready)
	}
	until(t, "back to zero", 40*time.Second, func() bool { return len(s.engines()) == 0 })
	until(t, "status says so", 5*time.Second, func() bool {
		_, all := s.replicas(chat)
		return all == 0
	})
}

// burst is a trace of so many requests, one each interval.
func burst(n int, every time.Duration) []byte {
	var b bytes.Buffer
	b.WriteString("t_ms,in_tokens,out_tokens\n")
	for i := range n {
		fmt.Fprintf(&b, "%d,%d,%d\n", (time.Duration(i) * every).Milliseconds(), 20+i*7%120, 60+i*11%160)
	}
	return b.Bytes()
}

func llamaKilled(on stage) {
	t, in := on.t, on.installation
	s := serve(t, in, change{"replicas: {min: 0, max: 3}", "replicas: {min: 0, max: 1}"})
	began := make(chan struct{})
	killed := ask{prompt: prompt(5), tokens: 3000}
	ended := make(chan answer, 1)
	go func() { ended <- stream(s.gateway, killed, func() { close(began) }) }()
	<-began
	pid := s.one().pid
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	a := <-ended
	if a.failed != "replica_lost" || a.done || a.err == nil {
		t.Errorf("error event %q, [DONE] %v, end %v: should be replica_lost and an aborted connection", a.failed, a.done, a.err)
	}
	if want := reply(killed.prompt, killed.tokens); a.pieces == 0 || !strings.HasPrefix(want, a.text) {
		t.Errorf("%d pieces came before, not the beginning of the reply: %.80q", a.pieces, a.text)
	}
	next := ask{prompt: prompt(5), tokens: 10}
	b := stream(s.gateway, next, nil)
	b.whole(t, next)
	if again := s.one().pid; again == pid {
		t.Errorf("%d was killed, and runs", pid)
	}
}

func llamaDrains(on stage) {
	t, in := on.t, on.installation
	s := serve(t, in)
	began := make(chan struct{})
	long := ask{prompt: prompt(5), tokens: 2000}
	ended := make(chan answer, 1)
	go func() { ended <- stream(s.gateway, long, func() { close(began) }) }()
	<-began
	first := s.one()
	if text, err := command(t, in.penstock, "notice", first.replica, "--in", "60s", "--state", s.state); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	until(t, "another replica takes its place", 20*time.Second, func() bool { return len(s.engines()) > 1 })
	next := ask{prompt: prompt(5), tokens: 10}
	b := stream(s.gateway, next, nil)
	b.whole(t, next)
	a := <-ended
	a.whole(t, long)
	until(t, "the drained replica ends", 20*time.Second, func() bool {
		return !slices.ContainsFunc(s.engines(), func(e engine) bool { return e.pid == first.pid })
	})
	if strings.Contains(s.log.String(), "replica killed") {
		t.Errorf("a replica was killed, SIGTERM should do")
	}
}

func llamaStops(on stage) {
	t, in := on.t, on.installation
	s := serve(t, in)
	began := make(chan struct{})
	long := ask{prompt: prompt(5), tokens: 1500}
	ended := make(chan answer, 1)
	go func() { ended <- stream(s.gateway, long, func() { close(began) }) }()
	<-began
	s.stop()
	a := <-ended
	a.whole(t, long)
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("serve ended with %d", code)
	}
	if strings.Contains(s.log.String(), "replica killed") {
		t.Errorf("a replica was killed, SIGTERM should do")
	}
}

// llamaAborts looks at the engine's own view of its slots.
func llamaAborts(on stage) {
	t, in := on.t, on.installation
	s := serve(t, in, change{"replicas: {min: 0, max: 3}", "replicas: {min: 0, max: 1}"})
	body := ask{prompt: prompt(5), tokens: 3900}.body(chat)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.gateway+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: time.Minute}
	r, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	address := s.one().address
	if busy, _ := slots(t, address); busy != 1 {
		t.Fatalf("%d slots are busy with one stream", busy)
	}
	_ = r.Body.Close() // before its end: the client goes away
	until(t, "no slot is busy", 2*time.Second, func() bool {
		busy, _ := slots(t, address)
		return busy == 0
	})
	if _, decoded := slots(t, address); decoded >= 3900 {
		t.Errorf("the stream was decoded to its end: %d tokens", decoded)
	}
	if processing, ok := value(get(t, "http://"+address+"/metrics"), "llamacpp:requests_processing"); !ok || processing != 0 {
		t.Errorf("metrics tell of %v requests", processing)
	}
}

// slots returns how many slots are busy, and the tokens decoded in the newest
// requests of all.
func slots(t *testing.T, address string) (busy, decoded int) {
	t.Helper()
	var all []struct {
		Processing bool `json:"is_processing"`
		Next       []struct {
			Decoded int `json:"n_decoded"`
		} `json:"next_token"`
	}
	if err := json.Unmarshal([]byte(get(t, "http://"+address+"/slots")), &all); err != nil {
		t.Fatal(err)
	}
	for _, slot := range all {
		if slot.Processing {
			busy++
		}
		for _, next := range slot.Next {
			decoded += next.Decoded
		}
	}
	return busy, decoded
}

// llamaErrors asks the engine and the gateway the same.
func llamaErrors(on stage) {
	t, in := on.t, on.installation
	s := serve(t, in)
	warm := ask{prompt: prompt(5), tokens: 2}
	a := stream(s.gateway, warm, nil)
	a.whole(t, warm)
	direct := "http://" + s.one().address
	for name, body := range map[string]string{
		"messages that are no array": `{"model":"tiny-chat","messages":"x"}`,
		"no messages":                `{"model":"tiny-chat"}`,
		"a prompt beyond the context": fmt.Sprintf(
			`{"model":"tiny-chat","messages":[{"role":"user","content":%q}]}`, prompt(5000)),
		"the same, streamed": fmt.Sprintf(
			`{"model":"tiny-chat","stream":true,"messages":[{"role":"user","content":%q}]}`, prompt(5000)),
		"a role that is none": `{"model":"tiny-chat","max_tokens":2,"messages":[{"role":7,"content":"abc"}]}`,
	} {
		wantStatus, want := post(t, direct, body)
		status, text := post(t, s.gateway, body)
		if status != wantStatus || text != want {
			t.Errorf("%s: %d %s\nshould be %d %s", name, status, text, wantStatus, want)
		}
		if wantStatus < 400 {
			t.Errorf("%s: the engine itself answers %d", name, wantStatus)
		}
	}
}

func post(t *testing.T, url, body string) (status int, text string) {
	t.Helper()
	return exchange(t, http.MethodPost, url+"/v1/chat/completions", body)
}

func llamaBroken(on stage) {
	t, in := on.t, on.installation
	broken := filepath.Join(t.TempDir(), "broken.gguf")
	whole, err := os.ReadFile(filepath.Join(in.folder, "tiny.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, in,
		change{"      ready: /health\n", "      ready: /health\n      env: {TINY_MODEL: \"" + broken + "\"}\n"},
		change{"maxHold: 60s", "maxHold: 5s"})
	a := stream(s.gateway, ask{prompt: prompt(5), tokens: 2}, nil)
	if a.err == nil || !strings.Contains(a.err.Error(), "status 504") || !strings.Contains(a.err.Error(), "hold_deadline") {
		t.Errorf("the request ended with %v, should be 504 hold_deadline", a.err)
	}
	text, err := command(t, in.penstock, "explain", chat, "--server", s.console)
	if err != nil {
		t.Fatal(err)
	}
	flat := strings.Join(strings.Fields(text), " ")
	for _, want := range []string{"tensor 'output.weight' data is not within the file bounds", filepath.Join(s.state, "logs")} {
		if !strings.Contains(flat, want) {
			t.Errorf("explain does not say %q:\n%s", want, text)
		}
	}
}

func llamaMetrics(on stage) {
	t, in := on.t, on.installation
	s := serve(t, in)
	many(t, s, 4, ask{tokens: 300})
	text := get(t, "http://"+s.engines()[0].address+"/metrics")
	for _, name := range []string{"requests_processing", "requests_deferred", "tokens_predicted_total", "prompt_tokens_total"} {
		if _, ok := value(text, "llamacpp:"+name); !ok {
			t.Errorf("no llamacpp:%s in\n%s", name, text)
		}
	}
	until(t, "the metrics are understood", 10*time.Second, func() bool {
		return strings.Contains(s.log.String(), "engine=llama")
	})
}

func llamaEmbeddings(on stage) {
	t, in := on.t, on.installation
	s := serve(t, in)
	embed := func(input string) []float64 {
		t.Helper()
		status, text := exchange(t, http.MethodPost, s.gateway+"/v1/embeddings", fmt.Sprintf(`{"model":"tiny-embed","input":%q}`, input))
		var reply struct {
			Data []struct {
				Embedding []float64 `json:"embedding"`
			} `json:"data"`
		}
		if err := json.Unmarshal([]byte(text), &reply); err != nil || status != http.StatusOK || len(reply.Data) != 1 {
			t.Fatalf("%d %v %s", status, err, text)
		}
		return reply.Data[0].Embedding
	}
	one, again, other := embed("abc def"), embed("abc def"), embed("xyz uvw")
	if len(one) != 64 || !slices.Equal(one, again) || slices.Equal(one, other) {
		t.Errorf("embeddings of %d numbers; the same text gives %v and %v", len(one), one[:3], again[:3])
	}
	warm := ask{prompt: prompt(5), tokens: 2}
	a := stream(s.gateway, warm, nil)
	a.whole(t, warm)
	if got := s.engines(); len(got) != 2 {
		t.Errorf("%v run, one for each model was expected", got)
	}
}

func llamaPython(on stage) {
	t, in := on.t, on.installation
	client(t, in, filepath.Join(in.folder, "clients", "bin", "python"), "openai_client.py")
}

func llamaJavaScript(on stage) {
	t, in := on.t, on.installation
	client(t, in, "node", filepath.Join(in.folder, "node", "openai_client.mjs"))
}

// client runs a program that uses an official client and says what is wrong.
func client(t *testing.T, in installation, program, script string) {
	t.Helper()
	s := serve(t, in)
	if !filepath.IsAbs(script) {
		script = filepath.Join("clients", script)
	}
	if _, err := os.Stat(script); err != nil {
		t.Skipf("install.sh did not install it: %v", err)
	}
	words := prompt(6)
	text, err := command(t, program, script, s.gateway+"/v1", words, reply(words, 12))
	t.Log(text)
	if err != nil {
		t.Error(err)
	}
}
