package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/cli"
	"github.com/penstock/penstock/internal/engine"
)

// loadServer answers chats as an emulated engine does, after spoil.
func loadServer(t *testing.T, models string, spoil func(n int64, text string) string) *httptest.Server {
	t.Helper()
	var count atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, models) })
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			MaxTokens int `json:"max_tokens"`
			Messages  []struct{ Content string }
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			t.Error(err)
			return
		}
		var b strings.Builder
		seed := engine.Seed(asked.Messages[0].Content)
		for i := range asked.MaxTokens {
			fmt.Fprintf(&b, "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"finish_reason\":null}]}\n\n", engine.Token(seed, i))
		}
		b.WriteString("data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n")
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, spoil(count.Add(1), b.String()))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func whole(_ int64, text string) string { return text }

func traceFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace.csv")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	promising = `{"id":"chat","owned_by":"penstock-emulator","penstock":{"slo":{"ttft_ms":20000,"tpot_ms":20000,"objective":0.99,"max_hold_ms":120000}}}`
	silent    = `{"id":"other","owned_by":"vllm"}`
	fourRows  = "t_ms,in_tokens,out_tokens\n0,5,9\n100,50,3\n200,1,1\n300,7,2\n"
)

func list(models ...string) string { return `{"data":[` + strings.Join(models, ",") + `]}` }

func runLoad(t *testing.T, args ...string) (code int, out, talk string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code = cli.Main(ctx, append([]string{"load"}, args...), cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	return code, stdout.String(), stderr.String()
}

func TestLoadPrintsJSONForScripts(t *testing.T) {
	server := loadServer(t, list(promising), whole)
	code, out, talk := runLoad(t, "--trace", traceFile(t, fourRows), "--target", server.URL+"/v1/", "--speed", "10", "--json")
	if code != 0 {
		t.Fatalf("code %d: %s", code, talk)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var got struct {
		Requests   int            `json:"requests"`
		Outcomes   map[string]int `json:"outcomes"`
		Attainment float64        `json:"attainment"`
		Verified   int            `json:"verified"`
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
		t.Fatal(err)
	}
	if got.Requests != 4 || got.Outcomes["ok"] != 4 || len(got.Outcomes) != 8 || got.Attainment != 1 || got.Verified != 4 {
		t.Errorf("got %+v", got)
	}
}

func TestLoadPrintsTablesForPeople(t *testing.T) {
	server := loadServer(t, list(promising), whole)
	code, out, talk := runLoad(t, "--trace", traceFile(t, fourRows), "--target", server.URL, "--limit", "3")
	if code != 0 {
		t.Fatalf("code %d: %s", code, talk)
	}
	for _, want := range []string{
		"3 requests to http://127.0.0.1", "ok                  3  100.00 %\n", "corrupted           0    0.00 %\n",
		"within the SLO  100.00 %  3 of 3 not cancelled\n", "chat promises    99.00 %  first token in 20s, 20s for each after it\n",
		"time to first token", "requests/s", "Every token of every ok reply was checked.\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

func TestLoadFailsWhenAReplyIsLostOrCorrupted(t *testing.T) {
	server := loadServer(t, list(promising), func(n int64, text string) string {
		switch n {
		case 2:
			return text[:len(text)/2]
		case 3:
			return strings.Replace(text, `content":" `, `content":" x`, 1)
		default:
			return text
		}
	})
	code, out, talk := runLoad(t, "--trace", traceFile(t, fourRows), "--target", server.URL)
	if code != 1 || !strings.Contains(talk, "2 of 4 replies were lost or corrupted") {
		t.Errorf("code %d: %s", code, talk)
	}
	if !strings.Contains(out, "lost at 0 s: ") || !strings.Contains(out, "corrupted at 0 s: token 0 is") {
		t.Errorf("the examples are missing in\n%s", out)
	}
}

func TestLoadAsksForWhatItLacks(t *testing.T) {
	path := traceFile(t, fourRows)
	named := traceFile(t, "t_ms,in_tokens,out_tokens,model\n0,5,9,chat\n1,5,9,other\n2,5,9,chat\n")
	for what, tc := range map[string]struct {
		models string
		args   []string
		code   int
		want   string
	}{
		"one model, promised":             {list(promising), []string{"--trace", path}, 0, ""},
		"several models":                  {list(promising, silent), []string{"--trace", path}, 2, "serves chat, other; say which with --model"},
		"several models, one chosen":      {list(promising, silent), []string{"--trace", path, "--model", "chat"}, 0, ""},
		"an unknown model":                {list(promising), []string{"--trace", path, "--model", "chap"}, 2, `does not serve "chap"; it serves chat`},
		"no model":                        {list(), []string{"--trace", path}, 2, "serves no model"},
		"nothing promised":                {list(silent), []string{"--trace", path}, 2, "does not say what it promises for other: give --ttft and --tpot"},
		"half a promise":                  {list(silent), []string{"--trace", path, "--ttft", "1s"}, 2, "give --ttft and --tpot"},
		"a promise by flags":              {list(silent), []string{"--trace", path, "--ttft", "1s", "--tpot", "50ms"}, 0, ""},
		"models by the file":              {list(promising, silent), []string{"--trace", named, "--ttft", "9s", "--tpot", "9s"}, 0, ""},
		"a model of the file not served":  {list(promising), []string{"--trace", named}, 2, `does not serve "other"`},
		"a fault in the file's last line": {list(promising), []string{"--trace", traceFile(t, fourRows+"1,1,1\n")}, 2, "trace.csv:6: t_ms: 1 is earlier"},
		"no such file":                    {list(promising), []string{"--trace", "/nowhere.csv"}, 2, "no such file"},
		"no file":                         {list(promising), nil, 2, "--trace"},
		"a speed of nothing":              {list(promising), []string{"--trace", path, "--speed", "0"}, 2, "--speed is 0"},
		"an empty window":                 {list(promising), []string{"--trace", traceFile(t, "t_ms,in_tokens,out_tokens\n9000,1,1\n"), "--duration", "1s"}, 2, "nothing arrives"},
	} {
		t.Run(what, func(t *testing.T) {
			server := loadServer(t, tc.models, whole)
			code, _, talk := runLoad(t, append(tc.args, "--target", server.URL)...)
			if code != tc.code || !strings.Contains(talk, tc.want) {
				t.Errorf("code %d: %s; want %d with %q", code, talk, tc.code, tc.want)
			}
		})
	}
	for _, target := range []string{"127.0.0.1:8080", "ftp://x", "http://", "http://x?y=1"} {
		if code, _, talk := runLoad(t, "--trace", path, "--target", target); code != 2 {
			t.Errorf("target %q: code %d, %s", target, code, talk)
		}
	}
	if code, _, talk := runLoad(t, "--trace", path, "--target", "http://127.0.0.1:1"); code != 1 || !strings.Contains(talk, "ask http://127.0.0.1:1 for its models") {
		t.Errorf("nobody there: code %d, %s", code, talk)
	}
}
