package emulator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/emulator"
	"github.com/penstock/penstock/internal/engine"
	"github.com/penstock/penstock/internal/scale"
)

func TestStreamsAreWhatVLLMSends(t *testing.T) {
	s := start(t, &emulator.Server{Profile: quick(), Aliases: []string{"lora"}})
	for name, c := range map[string]struct {
		path, body string
		prompt     string
		tokens     int
		roles      int
		finish     string
		object     string
		usage      *usage
	}{
		"a chat": {
			"/v1/chat/completions", `{"model":"org/m","stream":true,"max_tokens":5,"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"abc def ghi"}]}`,
			"be brief\nabc def ghi", 5, 1, "length", "chat.completion.chunk", nil,
		},
		"a chat with text parts, usage and the newer limit": {
			"/v1/chat/completions", `{"model":"lora","stream":true,"stream_options":{"include_usage":true},"max_tokens":9,"max_completion_tokens":1,"messages":[{"role":"user","content":[{"type":"text","text":"abc"},{"type":"text","text":" def"}]}]}`,
			"abc def", 1, 1, "length", "chat.completion.chunk", &usage{2, 1, 3},
		},
		"a chat without a limit": {
			"/v1/chat/completions", `{"model":"org/m","stream":true,"messages":[{"role":"assistant","content":null},{"role":"user","content":"ü\n\"q\""}]}`,
			"\nü\n\"q\"", 128, 1, "stop", "chat.completion.chunk", nil,
		},
		"a completion": {
			"/v1/completions", `{"model":"org/m","stream":true,"max_tokens":3,"prompt":"abc def","stream_options":{"include_usage":true}}`,
			"abc def", 3, 0, "length", "text_completion", &usage{2, 3, 5},
		},
		"a completion with an empty prompt in a list": {
			"/v1/completions", `{"model":"org/m","stream":true,"max_tokens":3,"prompt":[""],"stream_options":{"include_usage":true}}`,
			"", 3, 0, "length", "text_completion", &usage{1, 3, 4},
		},
	} {
		t.Run(name, func(t *testing.T) {
			res := s.post(c.path, c.body)
			if res.status != http.StatusOK || res.header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
				t.Fatalf("status %d, headers %v: %s", res.status, res.header, res.body)
			}
			heard, err := listen(strings.NewReader(res.body))
			if err != nil || !heard.done {
				t.Fatalf("heard %+v: %v", heard, err)
			}
			if err := verify(heard.tokens, c.prompt, c.tokens); err != nil {
				t.Error(err)
			}
			if heard.roles != c.roles || heard.finish != c.finish {
				t.Errorf("%d roles and finish_reason %q", heard.roles, heard.finish)
			}
			if diff := cmp.Diff(c.usage, heard.usage); diff != "" {
				t.Error(diff)
			}
			if len(heard.ids) != 1 || !strings.HasSuffix(fmt.Sprint(heard.ids), c.object+":true]") {
				t.Errorf("ids and objects of the events: %v", heard.ids)
			}
		})
	}
}

func TestWholeRepliesAreWhatVLLMSends(t *testing.T) {
	s := start(t, &emulator.Server{Profile: quick()})
	header := http.Header{"X-Request-Id": {"mine-1"}}
	res := s.do(http.MethodPost, "/v1/chat/completions", `{"model":"org/m","max_tokens":2,"messages":[{"role":"user","content":"abc def"}]}`, header)
	seed := engine.Seed("abc def")
	var got map[string]any
	if err := json.Unmarshal([]byte(res.body), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "created")
	want := map[string]any{
		"id": "chatcmpl-mine-1", "object": "chat.completion", "model": "org/m",
		"choices": []any{map[string]any{
			"index": 0.0, "message": map[string]any{"role": "assistant", "content": engine.Token(seed, 0) + engine.Token(seed, 1)},
			"logprobs": nil, "finish_reason": "length", "stop_reason": nil,
		}},
		"usage": map[string]any{"prompt_tokens": 2.0, "completion_tokens": 2.0, "total_tokens": 4.0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if res.header.Get("X-Request-Id") != "mine-1" || res.header.Get("X-Penstock-Emulated") != "true" {
		t.Errorf("headers %v", res.header)
	}
	res = s.post("/v1/completions", `{"model":"org/m","max_tokens":1,"prompt":"abc def"}`)
	if !strings.Contains(res.body, `"choices":[{"index":0,"text":"`+engine.Token(seed, 0)+`","logprobs":null,"finish_reason":"length"`) ||
		!strings.HasPrefix(res.body, `{"id":"cmpl-`) || !json.Valid([]byte(res.body)) {
		t.Errorf("completion %s", res.body)
	}
	res = s.do(http.MethodPost, "/v1/completions", `{"model":"org/m","max_tokens":1,"prompt":"abc def"}`, http.Header{"X-Request-Id": {`a"b`}})
	if res.header.Get("X-Request-Id") != `a"b` || !json.Valid([]byte(res.body)) {
		t.Errorf("with an odd request id: %v %s", res.header, res.body)
	}
}

func TestFaultsAreReportedInTheAPIsForm(t *testing.T) {
	s := start(t, &emulator.Server{Profile: quick()})
	const chat, completion = "/v1/chat/completions", "/v1/completions"
	message := `"messages":[{"role":"user","content":"abc"}]`
	for name, c := range map[string]struct {
		path, body string
		status     int
		want       string
	}{
		"no JSON":                  {chat, `{"model"`, 400, "not a request"},
		"another model":            {chat, `{"model":"gpt",` + message + `}`, 404, "The model `gpt` does not exist."},
		"no model":                 {chat, `{` + message + `}`, 404, "The model `` does not exist."},
		"no messages":              {chat, `{"model":"org/m"}`, 400, "messages is empty"},
		"an image":                 {chat, `{"model":"org/m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, 400, "messages[0].content"},
		"content that is a number": {chat, `{"model":"org/m","messages":[{"role":"user","content":7}]}`, 400, "messages[0].content"},
		"no tokens":                {chat, `{"model":"org/m","max_tokens":0,` + message + `}`, 400, "max_tokens must be at least 1"},
		"negative tokens":          {chat, `{"model":"org/m","max_completion_tokens":-1,` + message + `}`, 400, "max_completion_tokens must be"},
		"tokens that are a text":   {chat, `{"model":"org/m","max_tokens":"x",` + message + `}`, 400, "not a request"},
		"more than the cache":      {chat, `{"model":"org/m","max_tokens":100001,` + message + `}`, 400, "do not fit into 100000 tokens"},
		"two choices":              {chat, `{"model":"org/m","n":2,` + message + `}`, 400, "n is 2"},
		"options of no stream":     {chat, `{"model":"org/m","stream_options":{},` + message + `}`, 400, "stream is true"},
		"no prompt":                {completion, `{"model":"org/m"}`, 400, "prompt is neither"},
		"token numbers":            {completion, `{"model":"org/m","prompt":[1,2]}`, 400, "prompt is neither"},
		"two prompts":              {completion, `{"model":"org/m","prompt":["a","b"]}`, 400, "prompt is neither"},
		"a huge body":              {chat, strings.Repeat(" ", 16<<20+1), 413, "larger than 16777216 bytes"},
		"another path":             {"/v1/embeddings", `{}`, 404, "Not Found: POST /v1/embeddings"},
	} {
		t.Run(name, func(t *testing.T) {
			res := s.post(c.path, c.body)
			var got struct {
				Error struct {
					Message, Type string
					Code          int
				}
			}
			if err := json.Unmarshal([]byte(res.body), &got); err != nil {
				t.Fatalf("%s: %v", res.body, err)
			}
			if res.status != c.status || got.Error.Code != c.status || got.Error.Type == "" || !strings.Contains(got.Error.Message, c.want) {
				t.Errorf("status %d, body %s", res.status, res.body)
			}
			if res.header.Get("X-Penstock-Emulated") != "true" {
				t.Error("the error does not say that it is emulated")
			}
		})
	}
	if got := s.gauge(`vllm:num_requests_running{engine="0",model_name="org/m"}`); got != "0" {
		t.Errorf("%s requests run", got)
	}
}

func TestItSaysThatItIsEmulated(t *testing.T) {
	s := start(t, &emulator.Server{Profile: quick(), Aliases: []string{"lora"}})
	models := s.get("/v1/models")
	for _, want := range []string{
		`"id":"org/m"`, `"id":"lora"`, `"owned_by":"penstock-emulator"`, `"root":"org/m","parent":null`, `"parent":"org/m"`, `"max_model_len":100000`,
	} {
		if !strings.Contains(models.body, want) {
			t.Errorf("/v1/models lacks %s: %s", want, models.body)
		}
	}
	if got := s.get("/version").body; got != `{"version":"penstock-emulator"}`+"\n" {
		t.Errorf("/version %s", got)
	}
	if !strings.Contains(s.log.String(), "emulated engine: no model is loaded") {
		t.Errorf("the log does not say it: %s", s.log)
	}
}

func TestAServerWithoutTokensServesToo(t *testing.T) {
	s := start(t, &emulator.Server{Profile: scale.Profile{Service: scale.ServiceTime{Mean: 20 * time.Millisecond, Concurrency: 8}}})
	res := s.post("/v1/completions", `{"model":"org/m","max_tokens":4,"prompt":"abc def","stream":true}`)
	heard, err := listen(strings.NewReader(res.body))
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(heard.tokens, "abc def", 4); err != nil {
		t.Error(err)
	}
}

// stream sends a chat and reads all of the stream.
func (s *started) stream(ctx context.Context, prompt string, tokens int) (told, error) {
	body := fmt.Sprintf(`{"model":"org/m","stream":true,"max_tokens":%d,"messages":[{"role":"user","content":%q}]}`, tokens, prompt)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return told{}, err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return told{}, err
	}
	defer res.Body.Close()
	return listen(res.Body)
}

func TestAbortedClientsLeaveNoTrace(t *testing.T) {
	s := start(t, &emulator.Server{Profile: quick()})
	var group sync.WaitGroup
	for i := range 200 {
		group.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			body := fmt.Sprintf(`{"model":"org/m","stream":true,"max_tokens":90000,"messages":[{"role":"user","content":"abort %d"}]}`, i)
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/chat/completions", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			res, err := s.client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if i%2 == 0 {
				return // away before the first token, perhaps before it runs
			}
			// Away in the middle of some event.
			if _, err := io.ReadFull(res.Body, make([]byte, 1+i*7)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	s.until("empty", func() bool {
		return s.gauge(`vllm:num_requests_running{engine="0",model_name="org/m"}`) == "0" &&
			s.gauge(`vllm:num_requests_waiting{engine="0",model_name="org/m"}`) == "0"
	})
	if got := s.gauge(`vllm:kv_cache_usage_perc{engine="0",model_name="org/m"}`); got != "0" {
		t.Errorf("%s of the cache is held by nobody", got)
	}
	if got := s.gauge(`vllm:request_success_total{engine="0",finished_reason="abort",model_name="org/m"}`); got != "200" {
		t.Errorf("%s aborts counted", got)
	}
	for i := range 300 {
		group.Go(func() {
			prompt := fmt.Sprintf("clean %d", i)
			heard, err := s.stream(t.Context(), prompt, 1+i%50)
			if err == nil {
				err = verify(heard.tokens, prompt, 1+i%50)
			}
			if err != nil || !heard.done || heard.finish != "length" {
				t.Errorf("request %d: %v, done %v", i, err, heard.done)
			}
		})
	}
	group.Wait()
	if got := s.gauge(`vllm:request_success_total{engine="0",finished_reason="length",model_name="org/m"}`); got != "300" {
		t.Errorf("%s ends counted", got)
	}
}
