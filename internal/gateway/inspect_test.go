package gateway

import (
	stdjson "encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// inspect has read another body before, which broke off: nothing of that may be
// left.
func inspect(body []byte) (hints, error) {
	i := new(inspector)
	_, _ = i.inspect([]byte(`{"model":"other","stream":true,"max_tokens":7,"messages":[{"model":"another","role":"us`))
	return i.inspect(body)
}

func TestInspect(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want hints
	}{
		"a chat":             {`{"model":"m","messages":[{"role":"user","content":"abcd"}],"stream":true,"max_tokens":7}`, hints{"m", true, 7, 8, 0}},
		"a prompt last":      {` {"stream" : false , "max_completion_tokens": 9, "prompt":"abcdefgh", "model":"m"} `, hints{"m", false, 9, 2, 0}},
		"the larger limit":   {`{"model":"m","max_tokens":3,"max_completion_tokens":5}`, hints{"m", false, 5, 0, 0}},
		"a limit of null":    {`{"model":"m","max_tokens":null,"stream":null}`, hints{"m", false, 0, 0, 0}},
		"a limit beyond all": {`{"model":"m","max_tokens":99999999999}`, hints{"m", false, maxTokens, 0, 0}},
		"a limit in letters": {`{"model":"m","max_tokens":"7"}`, hints{"m", false, 0, 0, 0}},
		"escaped names":      {`{"m\u006fdel":"\u006d","\u0073tream":true}`, hints{"m", true, 0, 0, 0}},
		"models inside":      {`{"metadata":{"model":"x","stream":true},"model":"m","tools":[{"model":"y"}]}`, hints{"m", false, 0, 0, 0}},
		"a lone surrogate":   {`{"model":"m","user":"\ud83d"}`, hints{"m", false, 0, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := inspect([]byte(c.body))
			if err != nil || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
		})
	}
	for name, body := range map[string]string{
		"deep":               strings.Repeat(`{"a":`, 20_000),
		"a byte order mark":  "\xef\xbb\xbf" + `{"model":"m"}`,
		"UTF-16":             "{\x00\"\x00m\x00",
		"a comma at the end": `{"model":"m",}`,
		"nested duplicates":  `{"model":"m","a":{"b":1,"b":2}}`,
		"single quotes":      `{'model':'m'}`,
		"a number like 1e":   `{"model":"m","x":1e}`,
	} {
		if got, err := inspect([]byte(body)); err == nil {
			t.Errorf("%s: understood as %+v", name, got)
		}
	}
}

// Prompts that begin alike have one prefix, whatever follows; what is too short
// to save anything has none.
func TestPrefixTellsHowAPromptBegins(t *testing.T) {
	of := func(body string) uint64 {
		t.Helper()
		h, err := inspect([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return h.prefix
	}
	system := strings.Repeat("You are a helpful clerk. ", 100)
	chat := `{"model":"m","messages":[{"role":"system","content":"` + system + `"},{"role":"user","content":"%s"}]}`
	first := of(fmt.Sprintf(chat, "one"))
	if first == 0 || first != of(fmt.Sprintf(chat, "another and longer")) || first != of(`{"stream":true,`+fmt.Sprintf(chat, "x")[1:]) {
		t.Error("chats with one system prompt have different prefixes, or none")
	}
	if other := of(strings.Replace(fmt.Sprintf(chat, "one"), "helpful", "gruff", 1)); other == 0 || other == first {
		t.Errorf("another system prompt has the prefix %x, beside %x", other, first)
	}
	if short := of(`{"model":"m","messages":[{"role":"user","content":"hello"}]}`); short != 0 {
		t.Errorf("a short prompt has the prefix %x", short)
	}
}

// FuzzInspect holds the model and the stream flag against encoding/json, which
// takes the last of two equal keys: what we accept has one reading.
func FuzzInspect(f *testing.F) {
	for _, seed := range []string{
		chatBody(`,"stream":true,"max_tokens":3`), `{"model":"a","model":"b"}`, `{"Model":"a"}`, `{"model":"\ud800"}`, `{}`, `[]`,
		`{"model":"m","x":[[[]]],"stream":true}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := inspect(body)
		if err != nil {
			return
		}
		var want map[string]stdjson.RawMessage
		if err := stdjson.Unmarshal(body, &want); err != nil {
			t.Fatalf("accepted what is no JSON: %q", body)
		}
		var model string
		if err := stdjson.Unmarshal(want["model"], &model); err != nil || model != got.model {
			t.Fatalf("model %q, encoding/json reads %q (%v)", got.model, model, err)
		}
		if stream := string(want["stream"]) == "true"; stream != got.stream {
			t.Fatalf("stream %v, encoding/json reads %s", got.stream, want["stream"])
		}
	})
}

func sse() *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}}
}

// FuzzMeter splits a stream anyhow: the meter counts the same.
func FuzzMeter(f *testing.F) {
	f.Add([]byte("data: {}\n\ndata: [DONE]\n\n"), uint8(3))
	f.Add([]byte("data:1\r\n\r\n: c\n\ndata: [DONE]\r\n"), uint8(1))
	f.Add([]byte("data: [DONE] \n\ndata: [DONE]x\n"), uint8(2))
	f.Fuzz(func(t *testing.T, stream []byte, step uint8) {
		whole, split := newMeter(completion, sse(), new(buffer)), newMeter(completion, sse(), new(buffer))
		whole.see(stream)
		for rest := stream; len(rest) > 0; {
			n := min(len(rest), 1+int(step)%7)
			split.see(rest[:n])
			rest = rest[n:]
		}
		if whole.done != split.done || whole.count != split.count || string(whole.gap()) != string(split.gap()) || string(whole.tail) != string(split.tail) {
			t.Fatalf("%q in steps of %d: %+v and %+v", stream, 1+step%7, whole, split)
		}
		count, done := 0, false
		lines := strings.Split(string(stream), "\n")
		for _, line := range lines[:len(lines)-1] {
			data, ok := strings.CutPrefix(strings.TrimSuffix(line, "\r"), "data:")
			switch {
			case !ok:
			case data == "[DONE]" || data == " [DONE]":
				done = true
			default:
				count++
			}
		}
		if count != whole.count || done != whole.done {
			t.Fatalf("%q: %d events and done %v, want %d and %v", stream, whole.count, whole.done, count, done)
		}
		if end := append(slices.Clip(stream), whole.gap()...); len(end) > 0 && !strings.HasSuffix(string(end), "\n\n") && !strings.HasSuffix(string(end), "\n\r\n") && string(end) != "\n" && string(end) != "\r\n" {
			t.Fatalf("after %q an event of ours would not stand alone", end)
		}
	})
}

func BenchmarkInspect(b *testing.B) {
	for _, size := range []int{2 << 10, 64 << 10, 512 << 10} {
		b.Run(fmt.Sprintf("%d KiB", size>>10), func(b *testing.B) {
			body := []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat("some words, ", size/12) + `"}],"temperature":0.7,"stream":true,"max_tokens":100,"model":"` + modelName + `"}`)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			i := new(inspector)
			for b.Loop() {
				if _, err := i.inspect(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
