package scale

import "time"

// Schedule is a recurring window in local wall time, during which a Model
// keeps at least Min replicas. A window and not an event: evaluating it twice
// is harmless and an evaluation cannot be missed, which is what makes it right
// on the nights when clocks change.
type Schedule struct {
	Name     string
	Start    CronFields // when windows begin
	Duration time.Duration
	Location *time.Location
	Min      int // replicas
}

// CronFields are the five fields of a cron expression as bit sets: bit n is
// set when value n matches. As in cron, a day matches when either day field
// does, unless one of them is a star.
type CronFields struct {
	Minute, Hour, DayOfMonth, Month, DayOfWeek uint64
	AnyDayOfMonth, AnyDayOfWeek                bool
}

// Active says whether a window of the schedule covers the instant. A start
// that the spring change of clocks skips begins when the clock has jumped; one
// that the autumn change repeats begins at the first of the two. A window lasts
// its Duration, whatever clocks do meanwhile.
func (s Schedule) Active(now time.Time) bool {
	if s.Location == nil || s.Duration <= 0 {
		return false
	}
	local := now.In(s.Location)
	// A window that covers now began at most Duration ago: look at each local
	// day in that span, youngest first. One day more is for the hour, and one
	// for a day that a change of zone skipped.
	for back := 0; back <= int(s.Duration/(24*time.Hour))+2; back++ {
		noon := time.Date(local.Year(), local.Month(), local.Day()-back, 12, 0, 0, 0, s.Location)
		if s.Start.matchesDay(noon) && s.covers(noon, now) {
			return true
		}
	}
	return false
}

// covers says whether a window that begins on the given local day covers now.
func (s Schedule) covers(day, now time.Time) bool {
	for hour := range 24 {
		if s.Start.Hour&(1<<hour) == 0 {
			continue
		}
		for minute := range 60 {
			if s.Start.Minute&(1<<minute) == 0 {
				continue
			}
			start := firstInstant(day, hour, minute)
			if !now.Before(start) && now.Before(start.Add(s.Duration)) {
				return true
			}
		}
	}
	return false
}

// firstInstant returns the first instant at which the clock of the day's
// location shows at least the time of that day. time.Date leaves open which
// instant it returns on the nights when clocks change, and differs by zone.
func firstInstant(day time.Time, hour, minute int) time.Time {
	wall := time.Date(day.Year(), day.Month(), day.Day(), hour, minute, 0, 0, time.UTC)
	shown := func(offset int) time.Time {
		return wall.Add(-time.Duration(offset) * time.Second).In(day.Location())
	}
	near := time.Date(day.Year(), day.Month(), day.Day(), hour, minute, 0, 0, day.Location())
	_, before := near.Add(-24 * time.Hour).Zone()
	_, after := near.Add(24 * time.Hour).Zone()
	first, second := shown(max(before, after)), shown(min(before, after))
	for _, candidate := range []time.Time{first, second} {
		if candidate.Hour() == hour && candidate.Minute() == minute && candidate.Day() == day.Day() {
			return candidate
		}
	}
	jump, _ := second.ZoneBounds() // the time is skipped: second is after the jump
	return jump
}

func (c CronFields) matchesDay(day time.Time) bool {
	if c.Month&(1<<day.Month()) == 0 {
		return false
	}
	dom := c.DayOfMonth&(1<<day.Day()) != 0
	dow := c.DayOfWeek&(1<<day.Weekday()) != 0
	if c.AnyDayOfMonth || c.AnyDayOfWeek {
		return dom && dow
	}
	return dom || dow
}
