package trace_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
	"github.com/penstock/penstock/internal/trace"
)

func at(d time.Duration) time.Time { return trace.Epoch().Add(d) }

func readAll(t *testing.T, name, text string) ([]scale.Request, error) {
	t.Helper()
	r, err := trace.NewReader(name, strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	return collect(r.All())
}

func collect(series trace.Series) ([]scale.Request, error) {
	var got []scale.Request
	for r, err := range series {
		if err != nil {
			return got, err
		}
		got = append(got, r)
	}
	return got, nil
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRead(t *testing.T) {
	plain := "t_ms,in_tokens,out_tokens\n0,374,44\n4315.25,396,109\n4542,879,55\n"
	three := []scale.Request{
		{ID: 1, At: at(0), PromptTokens: 374, OutputTokens: 44},
		{ID: 2, At: at(4315250 * time.Microsecond), PromptTokens: 396, OutputTokens: 109},
		{ID: 3, At: at(4542 * time.Millisecond), PromptTokens: 879, OutputTokens: 55},
	}
	for what, tc := range map[string]struct {
		text string
		want []scale.Request
	}{
		"as published":                                 {plain, three},
		"compressed, whatever its name":                {zipped(t, plain), three},
		"with line ends and a mark from a spreadsheet": {"\ufeff" + strings.ReplaceAll(plain, "\n", "\r\n"), three},
		"no line end after the last row":               {strings.TrimSuffix(plain, "\n"), three},
		"columns in another order, with unknown ones": {
			"prefix_hit_tokens,out_tokens,tenant,in_tokens,t_ms,model\n512,5,acme,7,0,chat\n0,6,,8,0,\"a,b\"\n",
			[]scale.Request{
				{ID: 1, At: at(0), Model: "chat", Tenant: "acme", PromptTokens: 7, OutputTokens: 5},
				{ID: 2, At: at(0), Model: "a,b", PromptTokens: 8, OutputTokens: 6},
			},
		},
	} {
		t.Run(what, func(t *testing.T) {
			got, err := readAll(t, "x.csv", tc.text)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestReadSaysWhereAFaultIs(t *testing.T) {
	head := "t_ms,in_tokens,out_tokens\n"
	long := head + strings.Repeat("0,1,1\n", 3000)
	for what, tc := range map[string]struct{ text, want string }{
		"empty file":           {"", "read trace x.csv:1: the file is empty"},
		"nothing but a header": {head, "read trace x.csv:2: there is no request after the header"},
		"a column missing":     {"t_ms,in_tokens\n0,1\n", "x.csv:1: column out_tokens is missing; found t_ms,in_tokens"},
		"a file of counts":     {"t_s,requests\n0,1\n", "x.csv:1: column t_ms, in_tokens, out_tokens is missing; found t_s,requests"},
		"negative time":        {head + "0,1,1\n-1,1,1\n", "x.csv:3: t_ms: -1 is negative"},
		"not sorted":           {head + "5,1,1\n\n4,1,1\n", "x.csv:4: t_ms: 4 is earlier than the 5 ms of the request before"},
		"NaN":                  {head + "NaN,1,1\n", `x.csv:2: t_ms: "NaN" is no number of milliseconds`},
		"infinite":             {head + "inf,1,1\n", `x.csv:2: t_ms: "inf" is no number of milliseconds`},
		"far future":           {head + "1e300,1,1\n", "x.csv:2: t_ms: 1e300 is above 1000000000000"},
		"negative tokens":      {head + "0,-3,1\n", "x.csv:2: in_tokens: -3 is negative"},
		"fractional tokens":    {head + "0,1,1.5\n", `x.csv:2: out_tokens: "1.5" is no whole number of tokens`},
		"too many tokens":      {head + "0,1,99999999\n", "x.csv:2: out_tokens: 99999999 is above 10000000"},
		"a field too few":      {head + "0,1,1\n0,1\n", "x.csv:3: wrong number of fields"},
		"a stray quote":        {head + "0,\"1,1\n", "x.csv:2: extraneous or missing"},
		"gzip cut short":       {zipped(t, long)[:60], "the file is cut short: unexpected EOF"},
		"gzip with no header":  {"\x1f\x8b\x08", "read trace x.csv: "},
		"gzip of nothing":      {zipped(t, ""), "x.csv:1: the file is empty"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := readAll(t, "x.csv", tc.text)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

// A cut stream must not pass for a whole one, wherever it is cut.
func TestGzipCutAnywhereIsAnError(t *testing.T) {
	whole := zipped(t, "t_ms,in_tokens,out_tokens\n0,374,44\n4315,396,109\n4542,879,55\n")
	for cut := 2; cut < len(whole); cut++ {
		if _, err := readAll(t, "x.csv.gz", whole[:cut]); err == nil {
			t.Errorf("cut after %d of %d bytes: no error", cut, len(whole))
		}
	}
}

func TestErrorIsFinal(t *testing.T) {
	r, err := trace.NewReader("x.csv", strings.NewReader("t_ms,in_tokens,out_tokens\n0,1,1\n0,x,1\n0,1,1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	_, first := r.Next()
	_, second := r.Next()
	if first == nil || !errors.Is(second, first) {
		t.Errorf("errors %v, then %v", first, second)
	}
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.csv.gz")
	if err := os.WriteFile(path, []byte(zipped(t, "t_ms,in_tokens,out_tokens\n0,374,44\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := trace.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := collect(r.All())
	if err != nil || len(got) != 1 {
		t.Errorf("%d requests, error %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := trace.Open(filepath.Join(t.TempDir(), "none.csv")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
}

func TestRealTraces(t *testing.T) {
	dir := os.Getenv("PENSTOCK_TRACES")
	if dir == "" {
		t.Skip("PENSTOCK_TRACES is not set: real traces are not read")
	}
	for file, want := range map[string]trace.Summary{
		"azure_2023_conv.csv.gz":       {Requests: 19366, Span: 3501722 * time.Millisecond, PromptTokens: 22361870, OutputTokens: 4088665, Models: []string{""}},
		"azure_2023_code.csv.gz":       {Requests: 8819, Span: 3435948 * time.Millisecond, PromptTokens: 18059974, OutputTokens: 245896, Models: []string{""}},
		"mooncake_conversation.csv.gz": {Requests: 12031, Span: 3536999 * time.Millisecond, PromptTokens: 144793823, OutputTokens: 4122048, Models: []string{""}},
	} {
		t.Run(file, func(t *testing.T) {
			r, err := trace.Open(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := trace.Summarise(r.All())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("t_ms,in_tokens,out_tokens\n0,374,44\n4315,396,109\n"))
	f.Add([]byte("tenant,t_ms,in_tokens,out_tokens,model\na,0,1,1,\"x\ny\"\n"))
	f.Add([]byte("\ufefft_ms,in_tokens,out_tokens\r\n1e3, 1 ,2\r\n"))
	f.Add([]byte("t_ms,in_tokens,out_tokens,t_ms\nNaN,-1,1,0\n"))
	f.Add([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := trace.NewReader("f", bytes.NewReader(data))
		if err != nil {
			return
		}
		last, id := trace.Epoch(), scale.RequestID(0)
		for {
			q, err := r.Next()
			if errors.Is(err, io.EOF) {
				if id == 0 {
					t.Error("an end without a request or an error")
				}
				return
			}
			if err != nil {
				if !strings.HasPrefix(err.Error(), "read trace f:") {
					t.Errorf("error without a place: %v", err)
				}
				return
			}
			if q.ID != id+1 || q.At.Before(last) || q.PromptTokens < 0 || q.OutputTokens < 0 {
				t.Errorf("request %+v after ID %d at %v", q, id, last)
			}
			last, id = q.At, q.ID
		}
	})
}
