package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
)

//go:embed web
var web embed.FS

// site is the page as it is sent: packed once, when first asked for. Its files
// lie under an address that changes when any of them does, so that browsers may
// keep them for ever.
type site struct {
	once   sync.Once
	prefix string // of addresses, with the hash
	files  map[string]*asset
	fault  error
}

// asset is one file, packed when first asked for.
type asset struct {
	once   sync.Once
	body   []byte
	packed []byte // with gzip
	kind   string // Content-Type
	etag   string
}

// pages are the addresses at which the page is shown; what it shows there is in
// the address.
func pages() []string { return []string{"/", "/model", "/decisions", "/decision", "/replicas"} }

// kinds are the Content-Types of what is embedded, by the end of its name.
func kinds() map[string]string {
	return map[string]string{
		".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
		".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
	}
}

// open reads what is embedded.
func (s *site) open() error {
	s.once.Do(func() {
		s.files = map[string]*asset{}
		known := kinds()
		sum := sha256.New()
		s.fault = fs.WalkDir(web, "web", func(name string, d fs.DirEntry, err error) error {
			kind := known[path.Ext(name)]
			if err != nil || d.IsDir() || kind == "" {
				return err
			}
			body, err := web.ReadFile(name)
			if err != nil {
				return fmt.Errorf("read the console's page: %w", err)
			}
			fmt.Fprintf(sum, "%s %d\n", name, len(body))
			sum.Write(body)
			s.files[strings.TrimPrefix(name, "web/")] = &asset{body: body, kind: kind}
			return nil
		})
		s.prefix = "/assets/" + hex.EncodeToString(sum.Sum(nil))[:16] + "/"
		for _, a := range s.files {
			if strings.HasPrefix(a.kind, "text/html") {
				a.body = s.address(a.body)
			}
			own := sha256.Sum256(a.body)
			a.etag = `"` + hex.EncodeToString(own[:8]) + `"`
		}
	})
	return s.fault
}

// address puts addresses into a page: of files, and of all modules, which would
// otherwise be asked for one after the other as each is read.
func (s *site) address(body []byte) []byte {
	var preload []string
	for name := range s.files {
		if path.Ext(name) == ".js" && name != "login.js" {
			preload = append(preload, fmt.Sprintf(`<link rel="modulepreload" href="%s%s">`, s.prefix, name))
		}
	}
	slices.Sort(preload)
	body = bytes.ReplaceAll(body, []byte("<!-- modules -->"), []byte(strings.Join(preload, "\n")))
	return bytes.ReplaceAll(body, []byte("/assets/"+"HASH/"), []byte(s.prefix))
}

// pack compresses, where that makes it smaller.
func (a *asset) pack() []byte {
	a.once.Do(func() { a.packed = packed(a.body, gzip.BestCompression) })
	return a.packed
}

// packed returns body with gzip, or nil where that is no smaller.
func packed(body []byte, level int) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		return nil
	}
	if _, err := z.Write(body); err != nil || z.Close() != nil || b.Len() >= len(body) {
		return nil
	}
	return b.Bytes()
}

// page shows an embedded page at an address.
func (c *Console) page(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c.send(w, r, name, "no-cache")
	}
}

// asset answers with a file, for ever.
func (c *Console) asset(w http.ResponseWriter, r *http.Request) {
	_, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/assets/"), "/")
	if c.site.open() != nil || !strings.HasPrefix(r.URL.Path, c.site.prefix) {
		// A page of another version asks: it has to be loaded again.
		c.refuse(w, r, refusal{http.StatusNotFound, "not_found", "This penstock has no such file. Load the page again."})
		return
	}
	c.send(w, r, name, "public, max-age=31536000, immutable")
}

func (c *Console) send(w http.ResponseWriter, r *http.Request, name, keep string) {
	if err := c.site.open(); err != nil {
		c.answer(func(*http.Request) (any, error) { return nil, err })(w, r)
		return
	}
	a := c.site.files[name]
	if a == nil {
		c.refuse(w, r, refusal{http.StatusNotFound, "not_found", "This penstock has no such file."})
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", keep)
	h.Set("ETag", a.etag)
	h.Add("Vary", "Accept-Encoding")
	if match := r.Header.Get("If-None-Match"); match != "" && strings.Contains(match, a.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := a.body
	if accepts(r) && a.pack() != nil {
		h.Set("Content-Encoding", "gzip")
		body = a.packed
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// accepts says whether an asker takes gzip.
func accepts(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, q, weighted := strings.Cut(strings.TrimSpace(part), ";")
		if (name == "gzip" || name == "*") && (!weighted || strings.Trim(strings.TrimPrefix(strings.TrimSpace(q), "q="), "0.") != "") {
			return true
		}
	}
	return false
}
