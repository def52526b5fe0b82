package report

import (
	"fmt"
	"math"
	"slices"
)

// scatter is the drawing of what every policy cost and attained: the ratio to
// the right, the attainment upwards, both on logarithmic scales, attainment by
// what is missing to all. Coordinates are those of an SVG image.
type scatter struct {
	Width, Height            float64
	Left, Right, Top, Bottom float64 // of the plane
	Across, Up               []tick
	Objective                float64 // its line; 0 where there is none
	ObjectiveText            string
	Points                   []point
	Missing                  int // policies that have no place
}

type tick struct {
	At   float64
	Text string
}

// point is one policy. Label is empty where it would cover another one.
type point struct {
	X, Y           float64
	Label          string
	LabelX, LabelY float64
	Anchor         string // start or end, as SVG has it
	Title          string // for a pointer that rests on it
	Own, Met, Best bool
}

const (
	scatterWidth, scatterHeight = 720.0, 380.0
	leastMissed                 = 1e-4 // the top of the plane
	leastRatio, mostRatio       = 0.01, 10_000
	labelSize                   = 6.7 // width of a letter
)

// newScatter returns false where no policy has a place.
func newScatter(w Workload) (scatter, bool) {
	s := scatter{Width: scatterWidth, Height: scatterHeight, Left: 72, Right: scatterWidth - 16, Top: 16, Bottom: scatterHeight - 48}
	var shown []Policy
	for _, p := range Ranked(w.Policies) {
		if p.Ratio >= leastRatio && p.Ratio <= mostRatio && p.Attainment.Known() {
			shown = append(shown, p)
		} else {
			s.Missing++
		}
	}
	if len(shown) == 0 {
		return s, false
	}
	low, high := 1.0, 1.5
	for _, p := range shown {
		low, high = min(low, float64(p.Ratio)), max(high, float64(p.Ratio))
	}
	low, high = low*0.96, high*1.06
	across := func(ratio float64) float64 {
		return s.Left + (s.Right-s.Left)*math.Log(ratio/low)/math.Log(high/low)
	}
	s.Across = ratioTicks(low, high, across)
	for _, a := range []float64{0, 0.5, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999} {
		s.Up = append(s.Up, tick{At: s.up(a), Text: fmt.Sprintf("%g %%", a*100)})
	}
	if w.Objective.Known() {
		s.Objective, s.ObjectiveText = s.up(float64(w.Objective)), "objective "+Percent(w.Objective)
	}
	best, met := BestRival(w.Policies)
	for _, p := range shown {
		s.Points = append(s.Points, point{
			X: round(across(float64(p.Ratio))), Y: s.up(float64(p.Attainment)), Own: p.Own(), Met: p.ObjectiveMet, Best: met && p.Name == best.Name,
			Title: fmt.Sprintf("%s: %s good, %s times the clairvoyant fleet", p.Name, Percent(p.Attainment), times(p.Ratio)),
		})
	}
	s.label(shown)
	return s, true
}

// up is the height of an attainment.
func (s scatter) up(attainment float64) float64 {
	missed := min(1, max(leastMissed, 1-attainment))
	return round(s.Top + (s.Bottom-s.Top)*(1-math.Log(missed)/math.Log(leastMissed)))
}

func ratioTicks(low, high float64, across func(float64) float64) []tick {
	marks := []float64{0.5, 0.7, 1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.7, 2, 2.5, 3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 100, 200, 500, 1000}
	const apart = 34.0
	var ticks []tick
	last := math.Inf(-1)
	// 1, the clairvoyant fleet, always has its mark.
	one := across(1)
	for _, m := range marks {
		x := across(m)
		if m < low || m > high || m != 1 && (x-last < apart || math.Abs(x-one) < apart) {
			continue
		}
		ticks = append(ticks, tick{At: round(x), Text: fmt.Sprintf("%g", m)})
		last = x
	}
	return ticks
}

// box is a rectangle that a label or a point takes.
type box struct{ left, top, right, bottom float64 }

func (b box) meets(other box) bool {
	return b.left < other.right && other.left < b.right && b.top < other.bottom && other.top < b.bottom
}

// label names the points: Penstock first, then the best rival, then the others
// as long as there is room beside or above or below.
func (s scatter) label(policies []Policy) {
	var taken []box
	for _, p := range s.Points {
		taken = append(taken, box{p.X - 6, p.Y - 6, p.X + 6, p.Y + 6})
	}
	order := make([]int, len(s.Points))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return s.Points[a].weight() - s.Points[b].weight() })
	for _, i := range order {
		p := &s.Points[i]
		text := clip(policies[i].Name, 30)
		size := labelSize * float64(width(text))
		for _, at := range []struct {
			dx, dy float64
			anchor string
		}{{9, 4, "start"}, {-9, 4, "end"}, {4, -9, "start"}, {4, 17, "start"}, {-4, -9, "end"}, {-4, 17, "end"}} {
			b := box{left: p.X + at.dx, right: p.X + at.dx + size, top: p.Y + at.dy - 11, bottom: p.Y + at.dy + 3}
			if at.anchor == "end" {
				b.left, b.right = b.left-size, b.right-size
			}
			if b.left < s.Left || b.right > s.Right || b.top < s.Top || b.bottom > s.Bottom || covers(taken, i, b) {
				continue
			}
			p.Label, p.Anchor, p.LabelX, p.LabelY = text, at.anchor, round(p.X+at.dx), round(p.Y+at.dy)
			taken = append(taken, b)
			break
		}
	}
}

// covers says whether the box meets another one than its own point's.
func covers(taken []box, own int, b box) bool {
	for i, other := range taken {
		if i != own && b.meets(other) {
			return true
		}
	}
	return false
}

func (p point) weight() int {
	switch {
	case p.Own:
		return 0
	case p.Best:
		return 1
	case p.Met:
		return 2
	default:
		return 3
	}
}

func round(v float64) float64 { return math.Round(v*10) / 10 }

// PlaneWidth is how wide the plane is.
func (s scatter) PlaneWidth() float64 { return round(s.Right - s.Left) }

// FineHeight is how high the part above the objective is.
func (s scatter) FineHeight() float64 { return round(s.Objective - s.Top) }

// AcrossText is where the marks of the ratio are written.
func (s scatter) AcrossText() float64 { return s.Bottom + 18 }

// AcrossTitle is where the ratio's name is written.
func (s scatter) AcrossTitle() float64 { return s.Bottom + 38 }

// UpText is where the marks of the attainment end.
func (s scatter) UpText() float64 { return s.Left - 8 }
