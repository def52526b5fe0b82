package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	sessionCookie = "penstock_console"
	sessionLasts  = 12 * time.Hour
	maxForm       = 4 << 10
	// triesPerMinute bounds guesses at the token, over all askers.
	triesPerMinute = 30
)

// admitted says whether a request shows the token, or none is asked for.
func (c *Console) admitted(r *http.Request) bool {
	if c.Token == "" {
		return true
	}
	if given, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); bearer {
		return c.isToken(given)
	}
	cookie, err := r.Cookie(sessionCookie)
	return err == nil && c.isSession(cookie.Value, time.Now())
}

// isToken compares in a time that tells nothing, not even a length.
func (c *Console) isToken(given string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(c.Token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// session makes what the cookie carries: an end, signed with the token. It is
// not the token, and ends with it.
func (c *Console) session(until time.Time) string {
	end := strconv.FormatInt(until.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(c.Token))
	mac.Write([]byte("penstock console session until " + end))
	return end + "." + hex.EncodeToString(mac.Sum(nil))
}

func (c *Console) isSession(value string, now time.Time) bool {
	end, _, _ := strings.Cut(value, ".")
	until, err := strconv.ParseInt(end, 10, 64)
	return err == nil && now.Unix() < until && until <= now.Add(sessionLasts).Unix() &&
		subtle.ConstantTimeCompare([]byte(value), []byte(c.session(time.Unix(until, 0)))) == 1
}

// login takes the token from the form of the login page and sets the cookie.
func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	switch {
	case !c.attempts.allow(time.Now()):
		w.Header().Set("Retry-After", "60")
		http.Redirect(w, r, "/login?wait", http.StatusSeeOther)
	case !c.isToken(strings.TrimSpace(r.PostFormValue("token"))):
		c.Logger.WarnContext(r.Context(), "console login refused", "client", r.RemoteAddr)
		http.Redirect(w, r, "/login?wrong", http.StatusSeeOther)
	default:
		http.SetCookie(w, &http.Cookie{
			Name: sessionCookie, Value: c.session(time.Now().Add(sessionLasts)), Path: "/", MaxAge: int(sessionLasts.Seconds()),
			HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
		})
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}

// logout ends the session of this browser.
func logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// attempts counts guesses within a minute.
type attempts struct {
	mu    sync.Mutex
	began time.Time
	count int
}

func (a *attempts) allow(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.began) >= time.Minute {
		a.began, a.count = now, 0
	}
	a.count++
	return a.count <= triesPerMinute
}

// sameSite says whether a request comes from a page of this console, from an
// address bar, or from no browser. Another site's page must not even learn how
// long an answer takes.
func sameSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return false
	}
	origin := r.Header.Get("Origin")
	return origin == "" || origin == "http://"+r.Host || origin == "https://"+r.Host
}

// secure sets what every answer tells a browser.
func secure(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "same-origin") // with none, the login form would have the origin "null"
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
}

// locked refuses who has no token: a browser that goes to a page is shown the
// login page, all else is told.
func (c *Console) locked(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Sec-Fetch-Mode") == "navigate" || strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="penstock console"`)
	c.refuse(w, r, refusal{
		http.StatusUnauthorized, "no_token",
		fmt.Sprintf("This console wants its token: Authorization: Bearer …. %s", "The machine that runs penstock has it in a file; penstock serve prints where."),
	})
}
