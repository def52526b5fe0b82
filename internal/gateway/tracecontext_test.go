package gateway

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

const (
	traceID  = "0af7651916cd43dd8448eb211c80319c"
	parentID = "b7ad6b7169203331"
)

// The cases are those of W3C's own test suite (trace-context/test/test.py).
func TestTraceContextIsForwardedWithAParentOfOurOwn(t *testing.T) {
	type seen struct{ parent, state []string }
	got := make(chan seen, 1)
	r := newRig(t, nil)
	r.routes(upstream(t, func(w http.ResponseWriter, up *http.Request) {
		got <- seen{up.Header["Traceparent"], up.Header["Tracestate"]}
		io.WriteString(w, "{}")
	}))
	valid := "00-" + traceID + "-" + parentID + "-01"
	const (
		kept    = "the trace goes on"
		begun   = "a new trace begins"
		nothing = "no trace"
	)
	for name, c := range map[string]struct {
		header []string
		want   string
		flags  string
	}{
		"none":                            {nil, nothing, ""},
		"a valid one":                     {[]string{valid}, kept, "01"},
		"not sampled":                     {[]string{valid[:53] + "00"}, kept, "00"},
		"flags that are not known":        {[]string{valid[:53] + "ff"}, kept, "03"},
		"a later version":                 {[]string{"cc" + valid[2:]}, kept, "01"},
		"a later version with more":       {[]string{"cc" + valid[2:] + "-what-the-future-brings"}, kept, "01"},
		"a later version, run on":         {[]string{"cc" + valid[2:] + ".what"}, begun, ""},
		"version ff":                      {[]string{"ff" + valid[2:]}, begun, ""},
		"our version with more":           {[]string{valid + "-more"}, begun, ""},
		"upper case":                      {[]string{strings.ToUpper(valid)}, begun, ""},
		"no digits":                       {[]string{strings.Replace(valid, "a", "g", 1)}, begun, ""},
		"a trace of zeros":                {[]string{"00-" + strings.Repeat("0", 32) + "-" + parentID + "-01"}, begun, ""},
		"a parent of zeros":               {[]string{"00-" + traceID + "-" + strings.Repeat("0", 16) + "-01"}, begun, ""},
		"too short":                       {[]string{valid[:54]}, begun, ""},
		"empty":                           {[]string{""}, begun, ""},
		"two of them":                     {[]string{valid, valid}, begun, ""},
		"other separators":                {[]string{strings.ReplaceAll(valid, "-", ".")}, begun, ""},
		"a line end that is no line end…": {[]string{valid[:54] + "\t"}, begun, ""},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/v1/completions", strings.NewReader(chatBody("")))
			if err != nil {
				t.Fatal(err)
			}
			request.Header["Traceparent"] = c.header
			request.Header["Tracestate"] = []string{"congo=t61rcWkgMzE"}
			reply, err := r.client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			reply.Body.Close()
			up := <-got
			if c.want == nothing {
				if up.parent != nil || up.state != nil {
					t.Errorf("forwarded %v", up)
				}
				return
			}
			if len(up.parent) != 1 || !regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`).MatchString(up.parent[0]) {
				t.Fatalf("forwarded %q", up.parent)
			}
			id, parent, flags := up.parent[0][3:35], up.parent[0][36:52], up.parent[0][53:]
			if parent == parentID || strings.Trim(parent, "0") == "" {
				t.Errorf("the parent is not ours: %s", up.parent[0])
			}
			switch {
			case c.want == kept && (id != traceID || flags != c.flags || len(up.state) != 1):
				t.Errorf("forwarded %v", up)
			case c.want == begun && (id == traceID || flags != "00" || up.state != nil):
				t.Errorf("forwarded %v", up)
			}
		})
	}
}

// FuzzTraceparent: whatever came, what is forwarded is valid.
func FuzzTraceparent(f *testing.F) {
	f.Add("00-" + traceID + "-" + parentID + "-01")
	f.Add("cc-" + traceID + "-" + parentID + "-ff-x")
	f.Fuzz(func(t *testing.T, text string) {
		h := http.Header{"Traceparent": {text}, "Tracestate": {"a=b"}}
		traceOf(h).forward(h)
		c, ok := parseTrace(h.Get("Traceparent"))
		if !ok || len(h.Get("Traceparent")) != traceLength {
			t.Fatalf("%q became %q", text, h.Get("Traceparent"))
		}
		if before, valid := parseTrace(text); valid && before.id != c.id {
			t.Fatalf("%q became %q", text, h.Get("Traceparent"))
		}
	})
}
