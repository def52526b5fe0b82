package console

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// lines is all of a Terminal, as it stands on paper.
func (t Terminal) lines() []string {
	all := slices.Concat(t.Head, []string{"", t.Columns}, t.Rows)
	for _, n := range t.Notes {
		all = append(append(all, ""), n...)
	}
	return all
}

func TestTheFleetOnATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := busyFleet(time.Now())
		c := of(f)
		for i := range 20 { // ten minutes of demand
			f.snapshot.Now = f.snapshot.Now.Add(30 * time.Second)
			for m := range f.snapshot.Models {
				if a := &f.snapshot.Models[m].Demand.Arrivals; f.snapshot.Models[m].Model.Name != "vision" {
					a.At = f.snapshot.Now
					a.Value = math.Round(a.Value * (1 + 0.3*math.Sin(float64(i))))
				}
			}
			time.Sleep(30 * time.Second)
			c.look(t.Context())
		}
		for columns, name := range map[int]string{80: "terminal-80.txt", 120: "terminal-120.txt"} {
			_, body := ask(c, "/api/v1/fleet")
			var view FleetView
			if err := json.Unmarshal([]byte(body), &view); err != nil {
				t.Fatal(err)
			}
			lines := view.Terminal(columns, time.UTC).lines()
			golden(t, name, strings.Join(lines, "\n")+"\n")
			for _, line := range lines {
				if utf8.RuneCountInString(line) > columns || strings.Contains(line, "\x1b") {
					t.Errorf("%d columns: %q", columns, line)
				}
			}
		}
		code, body := ask(c, "/api/v1/status?model=chat")
		var status Status
		if err := json.Unmarshal([]byte(body), &status); err != nil || code != http.StatusOK {
			t.Fatal(code, err)
		}
		_, body = ask(c, "/api/v1/series?model=chat")
		var series SeriesView
		if err := json.Unmarshal([]byte(body), &series); err != nil {
			t.Fatal(err)
		}
		golden(t, "terminal-model.txt", strings.Join(status.Models[0].Detail(series, 80), "\n")+"\n")
	})
}

func TestSparksKeepGapsAndPeaks(t *testing.T) {
	gap := math.NaN()
	for want, c := range map[string]struct {
		values  []float64
		columns int
	}{
		"▁▄█":  {[]float64{1, 4, 8}, 10},
		"█ ·":  {[]float64{3, gap, 0}, 10},
		"▁█":   {[]float64{0, 1, gap, 8}, 2},
		"":     {nil, 10},
		"   ":  {[]float64{gap, gap, gap}, 3},
		"· ··": {[]float64{0, gap, 0, 0}, 4},
	} {
		if got := Sparks(c.values, c.columns); got != want {
			t.Errorf("%v in %d: %q, want %q", c.values, c.columns, got, want)
		}
	}
}
