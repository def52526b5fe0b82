package console

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const secret = "a-token-of-the-tests-0123456789"

func locked() *Console {
	c := of(busyFleet(time.Now()))
	c.Listen, c.Token = "0.0.0.0:8081", secret
	return c
}

// post sends the form of the login page.
func post(c *Console, path, token string, headers ...string) *http.Response {
	r := httptest.NewRequest(http.MethodPost, "http://gpu-box:8081"+path, strings.NewReader(url.Values{"token": {token}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, r)
	return w.Result()
}

func TestWithoutTheTokenNothingIsTold(t *testing.T) {
	c := locked()
	for _, path := range append(pages(), "/api/v1/status", "/api/v1/fleet", "/api/v1/events", "/api/v1/log?replica=chat-1", "/metrics", "/nowhere") {
		for name, headers := range map[string][]string{
			"no token":         nil,
			"a wrong one":      {"Authorization", "Bearer " + secret + "x"},
			"part of it":       {"Authorization", "Bearer " + secret[:8]},
			"an empty one":     {"Authorization", "Bearer "},
			"another scheme":   {"Authorization", "Basic " + secret},
			"in the address":   nil,
			"a made-up cookie": {"Cookie", sessionCookie + "=99999999999.00"},
			"it as a cookie":   {"Cookie", sessionCookie + "=" + secret},
		} {
			at := path
			if name == "in the address" {
				at += "?token=" + secret
			}
			w := get(c, at, headers...)
			if w.Code != http.StatusUnauthorized || strings.Contains(w.Body.String(), "chat") || w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %s: %d %.200s", path, name, w.Code, w.Body)
			}
		}
		if w := get(c, path, "Accept", "text/html"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/login" {
			t.Errorf("%s in a browser: %d to %q", path, w.Code, w.Header().Get("Location"))
		}
	}
	for _, path := range []string{"/healthz", "/login", "/favicon.ico"} {
		if w := get(c, path); w.Code != http.StatusOK {
			t.Errorf("%s needs no token: %d", path, w.Code)
		}
	}
}

func TestTheTokenOpens(t *testing.T) {
	c := locked()
	if w := get(c, "/api/v1/status", "Authorization", "Bearer "+secret); w.Code != http.StatusOK {
		t.Errorf("as a bearer: %d", w.Code)
	}
	reply := post(c, "/login", " "+secret+"\n")
	if reply.StatusCode != http.StatusSeeOther || reply.Header.Get("Location") != "/" || len(reply.Cookies()) != 1 {
		t.Fatalf("%s to %q, %v", reply.Status, reply.Header.Get("Location"), reply.Cookies())
	}
	cookie := reply.Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Secure || cookie.Path != "/" || strings.Contains(cookie.Value, secret) {
		t.Errorf("%+v", cookie)
	}
	if w := get(c, "/api/v1/status", "Cookie", cookie.Name+"="+cookie.Value); w.Code != http.StatusOK {
		t.Errorf("with the cookie: %d", w.Code)
	}
	if secured := post(c, "/login", secret, "X-Forwarded-Proto", "https").Cookies()[0]; !secured.Secure {
		t.Error("behind TLS the cookie may travel without")
	}
	if out := post(c, "/logout", ""); len(out.Cookies()) != 1 || out.Cookies()[0].MaxAge >= 0 {
		t.Errorf("logout: %v", out.Cookies())
	}
	// Another token ends what the old one began.
	c.Token = "another-token-0123456789"
	if w := get(c, "/api/v1/status", "Cookie", cookie.Name+"="+cookie.Value); w.Code != http.StatusUnauthorized {
		t.Errorf("after another token was set: %d", w.Code)
	}
}

func TestASessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := locked()
		now := time.Now()
		value := c.session(now.Add(sessionLasts))
		for name, s := range map[string]struct {
			value string
			after time.Duration
			want  bool
		}{
			"at once":           {value, 0, true},
			"before its end":    {value, sessionLasts - time.Second, true},
			"after its end":     {value, sessionLasts, false},
			"for too long":      {c.session(now.Add(1000 * sessionLasts)), 0, false},
			"with a later end":  {"9" + value, 0, false},
			"without signature": {strings.Split(value, ".")[0] + ".", 0, false},
			"nothing":           {"", 0, false},
		} {
			if got := c.isSession(s.value, now.Add(s.after)); got != s.want {
				t.Errorf("%s: %v, want %v", name, got, s.want)
			}
		}
	})
}

func TestGuessingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := locked()
		for range triesPerMinute {
			if reply := post(c, "/login", "wrong"); reply.Header.Get("Location") != "/login?wrong" || len(reply.Cookies()) > 0 {
				t.Fatalf("%s to %s", reply.Status, reply.Header.Get("Location"))
			}
		}
		if reply := post(c, "/login", secret); reply.Header.Get("Location") != "/login?wait" || len(reply.Cookies()) > 0 {
			t.Errorf("one too many: %s", reply.Header.Get("Location"))
		}
		time.Sleep(time.Minute)
		if reply := post(c, "/login", secret); len(reply.Cookies()) != 1 {
			t.Errorf("a minute later: %s", reply.Header.Get("Location"))
		}
	})
}

func TestAnotherSiteLearnsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		method, path string
		headers      []string
		want         int
	}{
		"its own page":                {"GET", "/api/v1/status", []string{"Sec-Fetch-Site", "same-origin"}, 200},
		"an address bar":              {"GET", "/api/v1/status", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate"}, 200},
		"another site's fetch":        {"GET", "/api/v1/status", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		"another site's script":       {"GET", "/api/v1/status", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Dest", "script"}, 403},
		"a neighbour's fetch":         {"GET", "/api/v1/events", []string{"Sec-Fetch-Site", "same-site"}, 403},
		"another origin":              {"GET", "/api/v1/status", []string{"Origin", "http://evil.example"}, 403},
		"the same origin":             {"GET", "/api/v1/status", []string{"Origin", "http://127.0.0.1:8081"}, 200},
		"a link from another site":    {"GET", "/model?name=chat", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 200},
		"another site's login form":   {"POST", "/login", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 403},
		"another origin's login form": {"POST", "/login", []string{"Origin", "null"}, 403},
	} {
		console := of(busyFleet(time.Now()))
		if c.method == http.MethodPost {
			console.Token = secret
		}
		r := httptest.NewRequest(c.method, "http://127.0.0.1:8081"+c.path, nil)
		for i := 0; i+1 < len(c.headers); i += 2 {
			r.Header.Set(c.headers[i], c.headers[i+1])
		}
		w := httptest.NewRecorder()
		console.Handler().ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d", name, w.Code, c.want)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: another origin may read", name)
		}
	}
}

// With a token any name may be the Host: a proxy's, say. Without one, a name
// that DNS made ours reaches nothing.
func TestWithATokenAnyHostWill(t *testing.T) {
	for host, c := range map[string]*Console{"penstock.example": locked()} {
		r := httptest.NewRequest(http.MethodGet, "http://"+host+"/api/v1/status", nil)
		w := httptest.NewRecorder()
		c.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized {
			t.Errorf("%s without the token: %d", host, w.Code)
		}
		r.Header.Set("Authorization", "Bearer "+secret)
		w = httptest.NewRecorder()
		c.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Errorf("%s with the token: %d", host, w.Code)
		}
	}
}
