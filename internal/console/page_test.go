package console

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

// get asks with headers.
func get(c *Console, url string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8081"+url, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, r)
	return w
}

func TestThePageIsWholeAndPacked(t *testing.T) {
	c := of(busyFleet(time.Now()))
	for _, address := range append(pages(), "/model/", "/login") {
		w := get(c, address+"?name=chat")
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
			t.Fatalf("%s: %d %s", address, w.Code, w.Header().Get("Content-Type"))
		}
		if strings.Contains(w.Body.String(), "HASH") {
			t.Errorf("%s has an address that was not filled in", address)
		}
	}
	index := get(c, "/").Body.String()
	scripts := 0
	for _, m := range regexp.MustCompile(`(?:href|src)="(/assets/[^"]+)"`).FindAllStringSubmatch(index, -1) {
		plain, small := get(c, m[1]), get(c, m[1], "Accept-Encoding", "br, gzip")
		if plain.Code != http.StatusOK || !strings.Contains(plain.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d, kept %q", m[1], plain.Code, plain.Header().Get("Cache-Control"))
		}
		if small.Header().Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(bytes.NewReader(small.Body.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			if text, err := io.ReadAll(z); err != nil || string(text) != plain.Body.String() {
				t.Errorf("%s: unpacks to something else: %v", m[1], err)
			}
		}
		if again := get(c, m[1], "If-None-Match", plain.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
			t.Errorf("%s asked again: %d", m[1], again.Code)
		}
	}
	// Every module is named, so that none waits for another; a first load is small.
	packed := 0
	err := fs.WalkDir(web, "web", func(name string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(name, ".js") && name != "web/login.js" {
			scripts++
			address := c.site.prefix + strings.TrimPrefix(name, "web/")
			if !strings.Contains(index, `rel="modulepreload" href="`+address+`"`) {
				t.Errorf("%s is not loaded ahead", name)
			}
			packed += get(c, address, "Accept-Encoding", "gzip").Body.Len()
		}
		return err
	})
	if err != nil || scripts < 10 {
		t.Fatalf("%d modules, %v", scripts, err)
	}
	const most = 150 << 10
	t.Logf("%d modules are %d bytes with gzip, of %d allowed", scripts, packed, most)
	if packed > most {
		t.Errorf("scripts are %d bytes with gzip, more than %d", packed, most)
	}
}

func TestThePageBringsNothingOfOthersAndRunsNothingInline(t *testing.T) {
	c := of(busyFleet(time.Now()))
	for _, address := range []string{"/", "/login", "/api/v1/status", "/metrics", "/nowhere"} {
		w := get(c, address)
		policy := w.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: policy %q lacks %s", address, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || w.Header().Get("X-Frame-Options") != "DENY" || w.Header().Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: %v", address, w.Header())
		}
	}
	err := fs.WalkDir(web, "web", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := web.ReadFile(name)
		if err != nil {
			return err
		}
		if strings.HasSuffix(name, ".html") && regexp.MustCompile(`(?i)<script[^>]*>[^<]|\son[a-z]+=|\sstyle=|<style`).Match(text) {
			t.Errorf("%s: runs something inline", name)
		}
		ours := !strings.Contains(name, "/vendor/")
		if ours && regexp.MustCompile(`(?:src|href|from|url\()\s*=?\s*["']?https?:`).Match(text) {
			t.Errorf("%s: brings something of others", name)
		}
		if ours && strings.Contains(string(text), "dangerouslySetInnerHTML") {
			t.Errorf("%s: makes markup of data", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAFileOfAnotherVersionIsSaidToBeOne(t *testing.T) {
	c := of(busyFleet(time.Now()))
	for _, address := range []string{"/assets/0123456789abcdef/main.js", "/assets/main.js", "/assets/", "/assets/../console.go"} {
		if w := get(c, address); w.Code == http.StatusOK {
			t.Errorf("%s: %d", address, w.Code)
		}
	}
	get(c, "/")
	for _, name := range []string{"nothing.js", "vendor/preact.d.ts", "../page.go", "vendor", ""} {
		if w := get(c, c.site.prefix+name); w.Code == http.StatusOK {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

func TestWhoTakesGzip(t *testing.T) {
	for header, want := range map[string]bool{
		"gzip": true, "br, gzip;q=0.5": true, "*": true, "gzip;q=1.0": true,
		"": false, "br": false, "gzip;q=0": false, "gzip; q=0.0": false, "x-gzip-not": false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Encoding", header)
		if got := accepts(r); got != want {
			t.Errorf("Accept-Encoding %q: %v, want %v", header, got, want)
		}
	}
}
