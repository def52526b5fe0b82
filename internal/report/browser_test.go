package report_test

import (
	"context"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/scale"
)

// browse returns the page as a browser has it after its scripts ran.
func browse(t *testing.T, page, address string) string {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium is installed: the page's script is not tested")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "report.html")
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--user-data-dir="+filepath.Join(dir, "profile"), "--virtual-time-budget=3000", "--window-size=1400,1000",
		"--dump-dom", "file://"+file+address)
	cmd.WaitDelay = 5 * time.Second
	var errors strings.Builder
	cmd.Stderr = &errors
	dom, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, errors.String())
	}
	return string(dom)
}

// TestLinkOpensAMinute has hostile names, too, so that one start of the
// browser shows both.
func TestLinkOpensAMinute(t *testing.T) {
	s, series := sample(2, 3, 600)
	s.Workloads[0].What, s.Workloads[0].Policies[0].Knob.Name = hostile, hostile
	name := "W1 " + hostile
	s.Workloads[0].Name, series[0].Workload = name, name
	series[0].Decisions = []report.Told{
		{At: 59 * time.Minute, From: 2, To: 3, Reasons: []scale.Reason{{Code: scale.ReasonDemand, Text: "the one before"}}},
		{
			At: time.Hour + 30*time.Second, Target: scale.ScaleTarget{Model: "chat", Variant: "8b-a100", Capacity: scale.Spot}, From: 3, To: 11,
			Reasons: []scale.Reason{{Code: scale.ReasonBacklog, Text: "11 drain the 400 that wait <b>in 30 s</b> " + hostile}},
		},
		{At: time.Hour + 61*time.Second, From: 11, To: 4, Reasons: []scale.Reason{{Code: scale.ReasonDemand, Text: "the one after"}}},
	}
	page := written(t, func(w io.Writer) error { return report.WriteHTML(w, s, series) })
	dom := browse(t, page, "#"+url.PathEscape(name)+"@3600")
	shown := dom[:strings.Index(dom, `<script type="application/json"`)] // the first workload's charts come before its data
	for _, want := range []string{
		"Day 1, 01:00", "At 01:00:30:", "chat/8b-a100@spot: 3 to 11", "11 drain the 400 that wait &lt;b&gt;in 30 s&lt;/b&gt;", "<code>backlog</code>",
		"clairvoyant need", "<canvas", `<input type="checkbox">`,
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	for _, not := range []string{"the one before", "the one after"} {
		if strings.Contains(shown, not) {
			t.Errorf("the page shows %q", not)
		}
	}
	if strings.Contains(dom, "<img") || strings.Contains(dom, "<title>pwned") {
		t.Error("a name became a part of the page")
	}
	if n := strings.Count(dom, `<button type="button">Ratio</button>`); n == 0 {
		t.Error("tables cannot be sorted")
	}
}
