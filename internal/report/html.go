package report

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
)

// assets are the parts of the page. uPlot (MIT) is vendored by
// tools/vendor.sh.
//
//go:embed assets
var assets embed.FS

// part returns one of the assets.
func part(name string) string {
	text, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // it is compiled in
	}
	return string(text)
}

// WriteHTML writes the result as one HTML file that needs nothing else: tables
// and a scatter without a script, and with one charts of the series that open
// any minute. The address page.html#W1@3600 opens the workload W1 at 3,600
// seconds. Series longer than 2,000 bins are folded, and at most MostTold
// decisions of a workload are told, so that the file stays below some 10 MB.
// A workload without a Series has no charts.
func WriteHTML(w io.Writer, s Scaling, series []Series) error {
	page, err := template.New("page").Parse(part("page.html.tmpl"))
	if err != nil {
		return fmt.Errorf("parse the page: %w", err)
	}
	var b bytes.Buffer // so that a failure leaves nothing half-written
	if err := page.Execute(&b, newView(s, series)); err != nil {
		return fmt.Errorf("make the page: %w", err)
	}
	if _, err := b.WriteTo(w); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// view is what the page shows.
type view struct {
	Title, About, Command string
	Policy                string // content security policy: no network, these scripts and no others
	CSS                   template.CSS
	Library, Script       template.JS
	Targets               []targetRow
	TargetsMet            int
	Failures              []Failure
	Glance                []glanceRow
	Sections              []section
}

type targetRow struct {
	Name, Aim, Found, Note string
	Met                    bool
}

// cell is a text and what it is sorted by: nothing where there is no figure.
type cell struct{ Text, Sort string }

func figure(n Number, text string) cell {
	if !n.Known() {
		return cell{Text: text}
	}
	return cell{Text: text, Sort: fmt.Sprintf("%g", float64(n))}
}

func newView(s Scaling, series []Series) view {
	library, script := "/*\nuPlot\n"+part("uplot.LICENSE")+"*/\n"+part("uplot.iife.min.js"), part("page.js")
	v := view{
		Title: s.Title, About: aboutAll(s), Command: s.Command, Failures: s.Failures,
		Policy:  "default-src 'none'; style-src 'unsafe-inline'; script-src " + hash(library) + " " + hash(script),
		CSS:     template.CSS(part("uplot.min.css") + "\n" + part("page.css")), //nolint:gosec // both are ours
		Library: template.JS(library),                                          //nolint:gosec // ours
		Script:  template.JS(script),                                           //nolint:gosec // ours
	}
	for _, t := range s.Targets {
		v.Targets = append(v.Targets, targetRow{Name: t.Name, Aim: aim(t), Found: found(t), Note: t.Note, Met: t.Met})
		if t.Met {
			v.TargetsMet++
		}
	}
	for i, w := range s.Workloads {
		id := fmt.Sprintf("w%d", i)
		at := slices.IndexFunc(series, func(s Series) bool { return s.Workload == w.Name })
		var one *Series
		if at >= 0 {
			one = &series[at]
		}
		v.Glance = append(v.Glance, newGlance(id, w, one))
		v.Sections = append(v.Sections, newSection(id, w, one, toldBytes/len(s.Workloads)))
	}
	return v
}

// hash names a script for the content security policy.
func hash(script string) string {
	sum := sha256.Sum256([]byte(script))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func aboutAll(s Scaling) string {
	most := 0
	for _, w := range s.Workloads {
		most = max(most, len(w.Policies))
	}
	parts := []string{several(len(s.Workloads), "workload"), several(most, "policy")}
	if s.Seeds > 0 {
		parts = append(parts, several(s.Seeds, "seed"))
	}
	if s.Wall.Known() && s.Wall > 0 {
		parts = append(parts, "took "+seconds(s.Wall))
	}
	return strings.Join(parts, ", ")
}
