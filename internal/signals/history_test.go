package signals

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// recorded is an answer that a real Prometheus gave.
func recorded(tb testing.TB, name string) string {
	tb.Helper()
	answer, err := os.ReadFile("testdata/prometheus-2.42-" + name + ".json")
	if err != nil {
		tb.Fatal(err)
	}
	return string(answer)
}

// answering is a server that always answers the same.
func answering(t *testing.T, status int, answer string) History {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return History{URL: server.URL}
}

var (
	recordedFrom  = time.Date(2026, 5, 6, 1, 50, 0, 0, time.UTC)
	recordedUntil = time.Date(2026, 5, 6, 3, 10, 0, 0, time.UTC)
)

func TestGapsOfARecordedAnswerStayGaps(t *testing.T) {
	got, err := answering(t, http.StatusOK, recorded(t, "series")).Range(t.Context(), "q", recordedFrom, recordedUntil, 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	at := func(hour, minute int) time.Time { return time.Date(2026, 5, 6, hour, minute, 0, 0, time.UTC) }
	want := []Point{
		{at(1, 50), 13.616666666666667},
		{at(1, 55), 13.770000000000001},
		{at(2, 0), 13.908333333333333},
		{at(3, 5), 15.716666666666669},
		{at(3, 10), 15.840000000000002},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestErrorsOfAPrometheusSayWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		status       int
		answer, want string
	}{
		"nothing":                  {200, recorded(t, "none"), "no data for up between 2026-05-06T01:50:00Z and 2026-05-06T03:10:00Z: check the names and labels in it, that Prometheus was there and kept data for so long, and that a range such as [5m0s] holds at least two scrapes"},
		"no number":                {200, recorded(t, "nan"), "no data for up between"},
		"several series":           {200, recorded(t, "two-series"), `up gives 2 series, such as vllm:request_success_total{finished_reason="stop", model_name="org/chat"} and vllm:request_success_total{finished_reason="stop", model_name="org/other"}: sum them into one, such as sum(up)`},
		"a query that is none":     {400, recorded(t, "refused"), "it refuses up: 1:5: parse error: unclosed left parenthesis"},
		"a query that fails":       {422, recorded(t, "not-executed"), "it refuses up: found duplicate series for the match group"},
		"a query that takes long":  {503, `{"status":"error","errorType":"timeout","error":"query timed out"}`, "it takes too long over up, or is busy (status 503): take a longer step or a shorter time"},
		"a query that is given up": {422, `{"status":"error","errorType":"timeout","error":"query timed out"}`, "it takes too long over up, or is busy (status 422): take a longer step or a shorter time"},
		"a histogram":              {200, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"histograms":[[1778032200,{"count":"2","sum":"3","buckets":[]}]]}]}}`, "up gives a histogram, where numbers are wanted"},
		"a text":                   {200, `{"status":"success","data":{"resultType":"string","result":[1778032200,"x"]}}`, "this is no Prometheus (status 200)"},
		"one instant":              {200, `{"status":"success","data":{"resultType":"vector","result":[]}}`, "up gives no series of numbers over time"},
		"warnings":                 {200, `{"status":"success","warnings":["a store did not answer"],"data":{"resultType":"matrix","result":[]}}`, "the answer to up may not be whole: a store did not answer"},
		"no token":                 {401, "Unauthorized", "it wants to know who asks (status 401): give a token that may read it"},
		"a token of another":       {403, "Forbidden", "it wants to know who asks (status 403): give a token that may read it"},
		"another page":             {404, "<html>404</html>", "this is no Prometheus (status 404): give the URL under which /api/v1/query_range answers"},
		"a login page":             {200, "<html>Log in</html>", "this is no Prometheus (status 200): give the URL under which /api/v1/query_range answers"},
		"half an answer":           {200, recorded(t, "series")[:80], "this is no Prometheus (status 200)"},
		"a fault of its own":       {500, "oh", `it fails: server_error: server error: 500: "oh"`},
		"too much":                 {200, strings.Repeat(" ", maxAnswer+1), "the answer exceeds 4194304 bytes, more than one series can have: sum the series into one, such as sum(up)"},
	} {
		t.Run(name, func(t *testing.T) {
			h := answering(t, c.status, c.answer)
			_, err := h.Range(t.Context(), "up", recordedFrom, recordedUntil, 5*time.Minute)
			if err == nil || !strings.HasPrefix(err.Error(), "query Prometheus at "+h.URL+": "+c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestQuestionsThatCanNotBeMeantAreNotAsked(t *testing.T) {
	for name, c := range map[string]struct {
		url        string
		start, end time.Time
		step       time.Duration
		want       string
	}{
		"no URL":            {"localhost:9090", recordedFrom, recordedUntil, time.Minute, "this is no URL of a Prometheus: write it like http://localhost:9090"},
		"another protocol":  {"ftp://localhost", recordedFrom, recordedUntil, time.Minute, "this is no URL of a Prometheus"},
		"no URL at all":     {"http://a b", recordedFrom, recordedUntil, time.Minute, "query Prometheus at a URL that can not be read: this is no URL"},
		"no step":           {"http://localhost", recordedFrom, recordedUntil, 0, "a step of 0s is no whole number of milliseconds"},
		"a step too fine":   {"http://localhost", recordedFrom, recordedUntil, 1500 * time.Microsecond, "a step of 1.5ms is no whole number of milliseconds"},
		"an end before":     {"http://localhost", recordedUntil, recordedFrom, time.Minute, "the end 2026-05-06T01:50:00Z is before the start 2026-05-06T03:10:00Z"},
		"too many points":   {"http://localhost", recordedFrom, recordedFrom.Add(24 * time.Hour), time.Millisecond, "are more than 4194304 points: take a longer step"},
		"nobody is there":   {"http://127.0.0.1:1", recordedFrom, recordedUntil, time.Minute, "it can not be reached: is it running there? "},
		"a hidden password": {"http://me:secret@127.0.0.1:1", recordedFrom, recordedUntil, time.Minute, "query Prometheus at http://me:xxxxx@127.0.0.1:1: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := History{URL: c.url}.Range(t.Context(), "up", c.start, c.end, c.step)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestCancelledQuestionEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(asked)
		<-r.Context().Done()
	}))
	defer server.Close()
	go func() {
		<-asked
		cancel()
	}()
	if _, err := (History{URL: server.URL}).Range(ctx, "up", recordedFrom, recordedUntil, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// counting answers with one value at each step, whose number is that of the
// step since recordedFrom.
func counting(t *testing.T, metric func(chunk int) string, seen func(r *http.Request)) *httptest.Server {
	t.Helper()
	chunk := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen(r)
		number := func(key string) float64 {
			value, err := strconv.ParseFloat(r.FormValue(key), 64)
			if err != nil {
				t.Errorf("%s is %q", key, r.FormValue(key))
			}
			return value
		}
		start, end, step := number("start"), number("end"), number("step")
		if n := (end - start) / step; n > 11_000-1 {
			t.Errorf("asked for %v steps at a time", n)
		}
		var values []string
		for at := start; at <= end; at += step {
			values = append(values, fmt.Sprintf(`[%v,"%v"]`, strconv.FormatFloat(at, 'f', -1, 64), math.Round((at-float64(recordedFrom.Unix()))/step)))
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":%s,"values":[%s]}]}}`, metric(chunk), strings.Join(values, ","))
		chunk++
	}))
	t.Cleanup(server.Close)
	return server
}

func TestLongTimesAreAskedForInParts(t *testing.T) {
	for steps, parts := range map[int]int{0: 1, 10_999: 1, 11_000: 2, 30_000: 3} {
		asked := 0
		server := counting(t, func(int) string { return `{"a":"b"}` }, func(r *http.Request) {
			asked++
			if got := r.FormValue("query"); got != "sum(up)" || r.URL.Path != "/behind/api/v1/query_range" {
				t.Errorf("asked %s for %q", r.URL.Path, got)
			}
		})
		points, err := History{URL: server.URL + "/behind/"}.Range(t.Context(), "sum(up)", recordedFrom, recordedFrom.Add(time.Duration(steps)*15*time.Second), 15*time.Second)
		if err != nil || len(points) != steps+1 || asked != parts {
			t.Fatalf("%d steps: %d points in %d parts, %v", steps, len(points), asked, err)
		}
		for i, p := range points {
			if p.Value != float64(i) || !p.At.Equal(recordedFrom.Add(time.Duration(i)*15*time.Second)) {
				t.Fatalf("%d steps: point %d is %v at %s", steps, i, p.Value, p.At)
			}
		}
	}
}

func TestSeriesThatChangesBetweenPartsIsNotOne(t *testing.T) {
	server := counting(t, func(chunk int) string { return fmt.Sprintf(`{"pod":"%d"}`, chunk) }, func(*http.Request) {})
	_, err := History{URL: server.URL}.Range(t.Context(), "up", recordedFrom, recordedFrom.Add(12_000*time.Second), time.Second)
	if err == nil || !strings.Contains(err.Error(), `up gives more than one series over time, such as {pod="0"} and {pod="1"}: sum them into one, such as sum(up)`) {
		t.Errorf("got %v", err)
	}
}

func TestTokenIsShownToNobodyElse(t *testing.T) {
	var shown []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { shown = append(shown, r.Header.Get("Authorization")) }))
	defer other.Close()
	server := counting(t, func(int) string { return "{}" }, func(r *http.Request) { shown = append(shown, r.Header.Get("Authorization")) })
	if _, err := (History{URL: server.URL, Token: "secret", Client: server.Client()}).Range(t.Context(), "up", recordedFrom, recordedUntil, time.Minute); err != nil {
		t.Fatal(err)
	}
	moved := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer moved.Close()
	_, err := History{URL: moved.URL, Token: "secret"}.Range(t.Context(), "up", recordedFrom, recordedUntil, time.Minute)
	if err == nil || !strings.Contains(err.Error(), "it sends elsewhere (status 307): give the URL to which it leads") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{"Bearer secret"}, shown); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProxyThatRefusesPOSTIsAskedByGET(t *testing.T) {
	answer := recorded(t, "series")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	points, err := History{URL: server.URL}.Range(t.Context(), "up", recordedFrom, recordedUntil, 5*time.Minute)
	if err != nil || len(points) != 5 {
		t.Errorf("%d points, %v", len(points), err)
	}
}

// canned is a transport without a network.
type canned []byte

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(c)), Request: r}, nil
}

// Whatever answers: no panic, and what comes back are numbers.
func FuzzHistory(f *testing.F) {
	for _, name := range []string{"series", "nan", "none", "two-series", "refused", "not-executed"} {
		f.Add([]byte(recorded(f, name)))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		h := History{URL: "http://prometheus", Client: &http.Client{Transport: canned(answer)}}
		points, err := h.Range(t.Context(), "up", recordedFrom, recordedUntil, 5*time.Minute)
		if (err == nil) != (len(points) > 0) {
			t.Errorf("%d points and %v", len(points), err)
		}
		for _, p := range points {
			if math.IsNaN(p.Value) || math.IsInf(p.Value, 0) {
				t.Errorf("%v is no number", p.Value)
			}
		}
	})
}

func TestQueriesNameWhatEnginesCount(t *testing.T) {
	for name, c := range map[string]struct {
		engine, model, selector string
		want                    Queries
	}{
		"vLLM": {"vllm", "org/chat", "", Queries{
			Requests:     `sum(rate(vllm:request_success_total{model_name="org/chat"}[1m]))`,
			PromptTokens: `sum(rate(vllm:prompt_tokens_total{model_name="org/chat"}[1m])) / sum(rate(vllm:request_success_total{model_name="org/chat"}[1m]))`,
			OutputTokens: `sum(rate(vllm:generation_tokens_total{model_name="org/chat"}[1m])) / sum(rate(vllm:request_success_total{model_name="org/chat"}[1m]))`,
		}},
		"SGLang, with a selector and a name that needs quotes": {"sglang", `a"b\`, `namespace="x"`, Queries{
			Requests:     `sum(rate(sglang:num_requests_total{model_name="a\"b\\",namespace="x"}[1m]))`,
			PromptTokens: `sum(rate(sglang:prompt_tokens_total{model_name="a\"b\\",namespace="x"}[1m])) / sum(rate(sglang:num_requests_total{model_name="a\"b\\",namespace="x"}[1m]))`,
			OutputTokens: `sum(rate(sglang:generation_tokens_total{model_name="a\"b\\",namespace="x"}[1m])) / sum(rate(sglang:num_requests_total{model_name="a\"b\\",namespace="x"}[1m]))`,
		}},
		"TGI, every model": {"tgi", "", "", Queries{
			Requests:     `sum(rate(tgi_request_success{}[1m]))`,
			PromptTokens: `sum(rate(tgi_request_input_length_sum{}[1m])) / sum(rate(tgi_request_input_length_count{}[1m]))`,
			OutputTokens: `sum(rate(tgi_request_generated_tokens_sum{}[1m])) / sum(rate(tgi_request_generated_tokens_count{}[1m]))`,
		}},
		"Triton, which counts no tokens": {"triton", "resnet", "", Queries{Requests: `sum(rate(nv_inference_request_success{model="resnet"}[1m]))`}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := QueriesOf(c.engine, c.model, c.selector, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for want, ask := range map[string][2]string{
		`engine "ollama" is none whose past can be asked for: known are sglang, tgi, triton, vllm; give a query of your own`:       {"ollama", ""},
		`the metrics of tgi name no model: leave "org/chat" out, and say by a selector which servers serve it, such as job="chat"`: {"tgi", "org/chat"},
	} {
		if _, err := QueriesOf(ask[0], ask[1], "", time.Minute); err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	if _, err := QueriesOf("vllm", "", "", 0); err == nil {
		t.Error("accepted a step of nothing")
	}
}

// A newer Prometheus leaves out what is older than asked for; 2.42 does not heed
// it, and shows data for five minutes, or until a scrape of its target fails.
func TestAFigureMayNotBeOlderThanAskedFor(t *testing.T) {
	asked := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.FormValue("query") + " " + r.FormValue("time") + " " + r.FormValue("lookback_delta") + " " + r.Header.Get("Authorization")
		_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"scalar","result":[1778036400,"42"]}}`)
	}))
	t.Cleanup(server.Close)
	got, err := History{URL: server.URL, Token: "t"}.Instant(t.Context(), "q", time.Unix(1778036400, 0), time.Minute)
	if err != nil || got != 42 {
		t.Errorf("got %v, %v", got, err)
	}
	if diff := cmp.Diff("q 1778036400 1m0s Bearer t", <-asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestAFigureOfAnAnswerThatMayLackAPartIsNone(t *testing.T) {
	h := answering(t, http.StatusOK, `{"status":"success","warnings":["one store did not answer"],"data":{"resultType":"scalar","result":[1,"42"]}}`)
	if got, err := h.Instant(t.Context(), "q", time.Unix(1, 0), time.Minute); err == nil || !strings.Contains(err.Error(), "may not be whole: one store did not answer") {
		t.Errorf("got %v, %v", got, err)
	}
}
