package gateway

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock/penstock/internal/scale"
)

// What a client sees at the gateway is what Traffic tells of.
func TestTraffic(t *testing.T) {
	r := newRig(t, nil)
	r.Route(modelName, []scale.Route{route("a", upstream(t, echoTokens(2*time.Millisecond)), 4)})
	r.Traffic(modelName, time.Now())
	prompt := strings.Repeat("abc ", 100)
	for range 12 {
		if _, _, err := r.ask("/v1/chat/completions", echoBody(prompt, 20)); err != nil {
			t.Fatal(err)
		}
	}
	r.wantOutcome(scale.OK, 12)
	now := time.Now().Add(time.Second) // a span of at least that
	traffic := r.Traffic(modelName, now)
	d, l := traffic.Demand, traffic.Loads["a"]
	if d.Arrivals.Value <= 0 || d.Arrivals.Value > 12 || d.Good.Value != 12 || d.Bad.Value != 0 {
		t.Errorf("demand %+v", d)
	}
	if d.OutputTokens.Value < 18 || d.OutputTokens.Value > 21 || d.PromptTokens.Value < 100 || d.PromptTokens.Value > 120 || d.LongPrompt.Value != d.PromptTokens.Value {
		t.Errorf("tokens: prompt %v, long %v, output %v", d.PromptTokens.Value, d.LongPrompt.Value, d.OutputTokens.Value)
	}
	y := l.Latency
	if y.Requests != 12 || y.Concurrency < 0.99 || y.Concurrency > 1.01 || y.TTFT <= 0 || y.TPOT < 2*time.Millisecond || y.Service < 40*time.Millisecond ||
		math.Abs(y.OutputTokens-d.OutputTokens.Value) > 0.5 || d.OutputLimit.Value != 20 || y.PromptTokens != d.PromptTokens.Value {
		t.Errorf("latency %+v", y)
	}
	if again := r.Traffic(modelName, now.Add(time.Second)); again.Demand.Arrivals.Value != 0 || !again.Demand.Arrivals.Known() || again.Loads["a"].Latency.Requests != 0 {
		t.Errorf("a second span repeats the first: %+v", again)
	}
	if unknown := r.Traffic("no such", now); unknown.Demand.Arrivals.Known() {
		t.Errorf("traffic of an unknown model: %+v", unknown)
	}
}

// A reply that is not streamed shows its tokens in usage, and neither a first
// token nor a pace.
func TestUsageOfAWholeReply(t *testing.T) {
	r := newRig(t, nil)
	r.Route(modelName, []scale.Route{route("a", upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"choices":[{"message":{"content":"%s \"completion_tokens\": 9"}}],"usage":{"prompt_tokens":3,"completion_tokens": 42,"total_tokens":45}}`, strings.Repeat("x", 5000))
	}), 4)})
	if _, _, err := r.ask("/v1/chat/completions", chatBody("")); err != nil {
		t.Fatal(err)
	}
	r.wantOutcome(scale.OK, 1)
	traffic := r.Traffic(modelName, time.Now())
	if y := traffic.Loads["a"].Latency; y.OutputTokens != 42 || y.TTFT != 0 || y.TPOT != 0 || y.Service <= 0 {
		t.Errorf("latency %+v", y)
	}
}

// The length of a reply is expected by what came of earlier limits.
func TestExpectedOutput(t *testing.T) {
	var s stats
	expect := func(limit int) int {
		c := &call{limit: limit}
		s.arrived(c)
		return c.request.OutputTokens
	}
	if got := expect(1000); got != 1000 {
		t.Errorf("nothing known: expected %d of 1000", got)
	}
	for range 10 {
		s.finished(&call{limit: 4000, served: scale.Served{OutputTokens: 100}}, time.Time{})
	}
	s.outputs.take(10 * 100)
	if got := expect(4000); got != 100 {
		t.Errorf("clients that use a fortieth: expected %d of 4000", got)
	}
	if got := expect(0); got != 100 {
		t.Errorf("no limit: expected %d, want the mean", got)
	}
}

// The first replies to end after a wake are the shortest: the estimate must not
// follow them. Here 400 replies of exponential length begin at once, a token
// each a step, and as many more follow as end.
func TestOutputLengthIsNotThatOfTheFirstToEnd(t *testing.T) {
	const longest, running = 200.0, 400
	random := rand.New(rand.NewPCG(1, 2))
	var l lengths
	var total int64
	left := make([]int, running)
	for i := range left {
		left[i] = 1 + int(random.ExpFloat64()*longest)
	}
	for step := range 2000 {
		for i := range left {
			total++
			if left[i]--; left[i] == 0 {
				l.ended++
				left[i] = 1 + int(random.ExpFloat64()*longest)
			}
		}
		if step%20 != 0 {
			continue
		}
		l.take(total)
		if got, known := l.mean(); known && (got < 0.7*longest || got > 1.4*longest) {
			t.Fatalf("after %d steps the mean is %.0f, not near %.0f", step, got, longest)
		}
	}
}

// Concurrency is the mean over the time that a request ran, not a sample.
func TestConcurrencyIsAMeanOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gateway{Models: []scale.Model{{Name: "m", SLO: scale.SLO{TTFT: time.Second, TPOT: time.Second, MaxHold: time.Minute}}}}
		g.prepare()
		o := g.owners[0]
		o.timer = time.NewTimer(time.Hour)
		send := func(id scale.RequestID) *call {
			c := &call{request: scale.Request{ID: id, At: time.Now(), Deadline: time.Now().Add(time.Minute)}, dispatch: make(chan dispatch, 1)}
			o.handle(event{kind: arrived, call: c}, time.Now())
			<-c.dispatch
			return c
		}
		finish := func(c *call) {
			c.end = time.Now()
			c.served = scale.Served{Outcome: scale.OK}
			o.handle(event{kind: ended, call: c}, time.Now())
		}
		o.handle(event{kind: routed, routes: []scale.Route{route("a", "", 8)}}, time.Now())
		long := send(1)
		time.Sleep(time.Second)
		short := send(2)
		time.Sleep(time.Second)
		finish(short) // 2 for all of its second
		time.Sleep(2 * time.Second)
		finish(long) // 2 for one second of four
		y := o.traffic(time.Now()).Loads["a"].Latency
		if want := (2.0 + 1.25) / 2; y.Concurrency != want || y.Service != 4*time.Second && y.Service != time.Second {
			t.Errorf("%+v, want a concurrency of %v", y, want)
		}
		o.timer.Stop()
	})
}

func TestQuantile(t *testing.T) {
	values := make([]int, 200)
	for i := range values {
		values[i] = (i * 77) % 200
	}
	if got := quantile(values, 0.95); got != 189 {
		t.Errorf("0.95 quantile of 0…199 is %d", got)
	}
	if got := median(nil); got != 0 {
		t.Errorf("median of nothing is %v", got)
	}
}

// An emulated engine is seen to be one through the gateway, and stays so while
// the model sleeps.
func TestModelsTellTheirOwner(t *testing.T) {
	r := newRig(t, nil)
	owner := func(path string) (string, float64) {
		reply, err := r.client.Get(r.url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Body.Close()
		body, _ := io.ReadAll(reply.Body)
		var list modelList
		var card modelCard
		if err := json.Unmarshal(body, &list); err == nil && len(list.Data) == 2 {
			card = list.Data[1]
			if list.Data[0].ID != modelName || list.Object != "list" || card.Parent == nil {
				t.Errorf("%s", body)
			}
		} else if err := json.Unmarshal(body, &card); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		return card.OwnedBy, card.Penstock.SLO.TTFT
	}
	if got, ttft := owner("/v1/models"); got != "penstock" || ttft != 5000 {
		t.Errorf("before any replica: owned by %q, ttft %v ms", got, ttft)
	}
	r.routes(upstream(t, echoTokens(0)))
	eventually(t, "the owner is known", func() bool { got, _ := owner("/v1/models"); return got == "penstock-emulator" })
	r.Route(modelName, nil)
	if got, _ := owner("/v1/models/" + modelName); got != "penstock-emulator" {
		t.Errorf("asleep: owned by %q", got)
	}
}

// An alias is forwarded as it came.
func TestAlias(t *testing.T) {
	r := newRig(t, nil)
	body := `{"model":"legal","prompt":"x"}`
	r.routes(upstream(t, func(w http.ResponseWriter, up *http.Request) {
		if b, _ := io.ReadAll(up.Body); string(b) == body {
			io.WriteString(w, "{}")
		}
	}))
	if _, got, err := r.ask("/v1/completions", body); err != nil || got != "{}" {
		t.Fatalf("%q %v", got, err)
	}
}

// The names and labels of the metrics are a promise to dashboards.
func TestMetricNames(t *testing.T) {
	r := newRig(t, nil)
	r.routes(upstream(t, echoTokens(0)))
	r.ask("/v1/chat/completions", echoBody("p", 3))
	r.ask("/v1/chat/completions", "{}")
	r.wantOutcome(scale.OK, 1)
	families, err := r.Registerer.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		line := f.GetName()
		for _, l := range f.GetMetric()[0].GetLabel() {
			line += " " + l.GetName()
		}
		got = append(got, line)
	}
	want := []string{
		"penstock_held_requests model", "penstock_hold_seconds model",
		"penstock_inflight_requests model", "penstock_rejected_requests_total code", "penstock_requests_total model outcome",
		"penstock_retries_total model", "penstock_tpot_seconds model", "penstock_ttft_seconds model",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	second := &Gateway{Models: r.Models, Registerer: r.Registerer, Logger: r.Logger}
	if err := second.Run(t.Context()); err == nil {
		t.Error("metrics registered twice without an error")
	}
}
