package forecast

import (
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const (
	cell         = 5 * time.Minute
	cellsPerDay  = int(24 * time.Hour / cell)
	cellsPerWeek = 7 * cellsPerDay
	// smooth is over how many cells on each side the day's profile is a mean.
	smooth = 2
	// dayGain is the weight of the newest day in the profile.
	dayGain = 0.5
)

// Season is demand by time of day and of week, in UTC: a clock that is set for
// summer moves people's day by an hour, which the profile follows within days.
type Season struct {
	Cell int64         // number of the cell under way, since the epoch
	Sum  float64       // requests in it
	Span time.Duration // of it that was measured
	Week scale.Packed  // rates by cell of the week; 0 where not known
	Day  scale.Packed  // rates by cell of the day; 0 where not known
}

func (s Season) observe(at time.Time, requests float64, span time.Duration) Season {
	now := at.Add(-span/2).UnixNano() / int64(cell)
	if now != s.Cell {
		s = s.close()
		s.Cell, s.Sum, s.Span = now, 0, 0
	}
	s.Sum += requests
	s.Span += span
	return s
}

// close takes the cell that ended into the profiles. It copies what it changes.
func (s Season) close() Season {
	if s.Span < cell/2 {
		return s
	}
	if s.Week == nil {
		s.Week, s.Day = make(scale.Packed, cellsPerWeek), make(scale.Packed, cellsPerDay)
	} else {
		s.Week, s.Day = slices.Clone(s.Week), slices.Clone(s.Day)
	}
	s.Week[in(s.Week, s.Cell)] = float32(s.Sum / s.Span.Seconds())
	sum, n := float32(0), 0
	for i := s.Cell - 2*smooth; i <= s.Cell; i++ {
		if v := s.Week[in(s.Week, i)]; v > 0 {
			sum, n = sum+v, n+1
		}
	}
	if n > 0 {
		d := &s.Day[in(s.Day, s.Cell-smooth)]
		if mean := sum / float32(n); *d == 0 {
			*d = mean
		} else {
			*d += dayGain * (mean - *d)
		}
	}
	return s
}

// day and week are the rate that was usual at that time; 0 where not known.
func (s *Season) day(at time.Time) float64  { return between(s.Day, at) }
func (s *Season) week(at time.Time) float64 { return between(s.Week, at) }

// between interpolates between the middles of two cells.
func between(p scale.Packed, at time.Time) float64 {
	if len(p) == 0 {
		return 0
	}
	x := float64(at.UnixNano())/float64(cell) - 0.5
	i := int64(math.Floor(x))
	a, b := float64(p[in(p, i)]), float64(p[in(p, i+1)])
	if a == 0 || b == 0 {
		return 0
	}
	return a + (x-float64(i))*(b-a)
}

// in is the place of a cell in a profile, also of one before the epoch.
func in(p scale.Packed, cell int64) int {
	n := int64(len(p))
	return int((cell%n + n) % n)
}
