package scale

import (
	"fmt"
	"testing"
	"time"
	_ "time/tzdata"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	location, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return location
}

// daily is a schedule that begins every day at hour:minute.
func daily(location *time.Location, hour, minute int, duration time.Duration) Schedule {
	return Schedule{
		Start:    CronFields{Minute: 1 << minute, Hour: 1 << hour, DayOfMonth: ^uint64(0), Month: ^uint64(0), DayOfWeek: ^uint64(0), AnyDayOfMonth: true, AnyDayOfWeek: true},
		Duration: duration, Location: location,
	}
}

// onDays restricts a schedule to weekdays.
func onDays(s Schedule, days ...time.Weekday) Schedule {
	s.Start.DayOfWeek, s.Start.AnyDayOfWeek = 0, false
	for _, day := range days {
		s.Start.DayOfWeek |= 1 << day
	}
	return s
}

// spans returns the active spans between two instants, to the minute, in UTC.
func spans(s Schedule, from, to time.Time) []string {
	var all []string
	var began time.Time
	for at := from; !at.After(to); at = at.Add(time.Minute) {
		switch active := s.Active(at); {
		case active && began.IsZero():
			began = at
		case !active && !began.IsZero():
			all = append(all, fmt.Sprintf("%s +%s", began.UTC().Format("01-02 15:04"), at.Sub(began)))
			began = time.Time{}
		}
	}
	if !began.IsZero() {
		all = append(all, began.UTC().Format("01-02 15:04")+" …")
	}
	return all
}

// Each night is one on which clocks change. Times of the spans are UTC.
func TestWindowsOnTheNightsWhenClocksChange(t *testing.T) {
	for name, c := range map[string]struct {
		zone         string
		hour, minute int
		duration     time.Duration
		day          string // noon UTC of the day looked at, with a day on either side
		want         []string
	}{
		"New York, spring: a start inside the gap begins when the clock has jumped, every day once": {
			"America/New_York", 2, 30, time.Hour, "2026-03-08",
			[]string{"03-07 07:30 +1h0m0s", "03-08 07:00 +1h0m0s", "03-09 06:30 +1h0m0s"},
		},
		"New York, spring: a window over the gap lasts as long as it says": {
			"America/New_York", 1, 0, 3 * time.Hour, "2026-03-08",
			[]string{"03-07 06:00 +3h0m0s", "03-08 06:00 +3h0m0s", "03-09 05:00 +3h0m0s"},
		},
		"New York, autumn: a repeated start begins at the first, once": {
			"America/New_York", 1, 30, 30 * time.Minute, "2026-11-01",
			[]string{"10-31 05:30 +30m0s", "11-01 05:30 +30m0s", "11-02 06:30 +30m0s"},
		},
		"New York, autumn: a window over the fold lasts as long as it says": {
			"America/New_York", 0, 30, 3 * time.Hour, "2026-11-01",
			[]string{"10-31 04:30 +3h0m0s", "11-01 04:30 +3h0m0s", "11-02 05:30 +3h0m0s"},
		},
		"Berlin, spring: office hours follow the clock on the wall": {
			"Europe/Berlin", 8, 0, 10 * time.Hour, "2026-03-29",
			[]string{"03-28 07:00 +10h0m0s", "03-29 06:00 +10h0m0s", "03-30 06:00 +10h0m0s"},
		},
		"Berlin, spring: a start inside the gap": {
			"Europe/Berlin", 2, 15, time.Hour, "2026-03-29",
			[]string{"03-28 01:15 +1h0m0s", "03-29 01:00 +1h0m0s", "03-30 00:15 +1h0m0s"},
		},
		"Berlin, autumn: a repeated start": {
			"Europe/Berlin", 2, 15, time.Hour, "2026-10-25",
			[]string{"10-24 00:15 +1h0m0s", "10-25 00:15 +1h0m0s", "10-26 01:15 +1h0m0s"},
		},
		"Berlin, autumn: a night shift from the evening before": {
			"Europe/Berlin", 22, 0, 8 * time.Hour, "2026-10-25",
			[]string{"10-24 00:00 +4h0m0s", "10-24 20:00 +8h0m0s", "10-25 21:00 +8h0m0s", "10-26 21:00 …"},
		},
		"Lord Howe, spring: the clock jumps by half an hour": {
			"Australia/Lord_Howe", 2, 15, time.Hour, "2026-10-03",
			[]string{"10-02 15:45 +1h0m0s", "10-03 15:30 +1h0m0s", "10-04 15:15 +1h0m0s"},
		},
		"Lord Howe, autumn: half an hour comes twice": {
			"Australia/Lord_Howe", 1, 45, 20 * time.Minute, "2026-04-04",
			[]string{"04-03 14:45 +20m0s", "04-04 14:45 +20m0s", "04-05 15:15 +20m0s"},
		},
		"Santiago, spring: midnight itself is skipped": {
			"America/Santiago", 0, 0, 2 * time.Hour, "2026-09-06",
			[]string{"09-05 04:00 +2h0m0s", "09-06 04:00 +2h0m0s", "09-07 03:00 +2h0m0s"},
		},
		"Apia, 2011: a whole day is skipped": {
			"Pacific/Apia", 9, 0, time.Hour, "2011-12-30",
			[]string{"12-29 19:00 +1h0m0s", "12-30 19:00 +1h0m0s", "12-31 19:00 +1h0m0s"},
		},
		"Kolkata: no change, half an hour off": {
			"Asia/Kolkata", 9, 0, time.Hour, "2026-03-29",
			[]string{"03-28 03:30 +1h0m0s", "03-29 03:30 +1h0m0s", "03-30 03:30 +1h0m0s"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			day, err := time.Parse(time.DateOnly, c.day)
			if err != nil {
				t.Fatal(err)
			}
			s := daily(zone(t, c.zone), c.hour, c.minute, c.duration)
			got := spans(s, day.Add(-24*time.Hour), day.Add(48*time.Hour))
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestWindowsOnDaysAndOverMidnight(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	at := func(text string) time.Time {
		instant, err := time.ParseInLocation("2006-01-02 15:04", text, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return instant
	}
	office := onDays(daily(berlin, 8, 0, 10*time.Hour), time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday)
	night := onDays(daily(berlin, 22, 0, 8*time.Hour), time.Friday)
	long := onDays(daily(berlin, 12, 0, 72*time.Hour), time.Friday)
	firstOrMonday := daily(berlin, 9, 0, time.Hour)
	firstOrMonday.Start.DayOfMonth, firstOrMonday.Start.AnyDayOfMonth = 1<<1, false
	firstOrMonday = onDays(firstOrMonday, time.Monday)
	for name, c := range map[string]struct {
		schedule Schedule
		at       string // 2026-06-01 is a Monday
		want     bool
	}{
		"the first minute is in":               {office, "2026-06-01 08:00", true},
		"the minute before is out":             {office, "2026-06-01 07:59", false},
		"the last minute is in":                {office, "2026-06-01 17:59", true},
		"the end is out":                       {office, "2026-06-01 18:00", false},
		"Saturday is out":                      {office, "2026-06-06 09:00", false},
		"Friday's night lasts into Saturday":   {night, "2026-06-06 05:59", true},
		"and not into Sunday":                  {night, "2026-06-07 05:59", false},
		"three days from Friday noon":          {long, "2026-06-08 11:59", true},
		"and no longer":                        {long, "2026-06-08 12:00", false},
		"either day field will do, the first":  {firstOrMonday, "2026-07-01 09:30", true},
		"either day field will do, the Monday": {firstOrMonday, "2026-07-06 09:30", true},
		"neither day field":                    {firstOrMonday, "2026-07-07 09:30", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.schedule.Active(at(c.at)); got != c.want {
				t.Errorf("%s: %t", c.at, got)
			}
		})
	}
	if (Schedule{Duration: time.Hour}).Active(at("2026-06-01 08:00")) {
		t.Error("a schedule without a location is active")
	}
}

// Whatever the zone and the day of the year, a daily window is open for exactly
// its duration each local day.
func TestDailyWindowsNeverFailAndNeverDouble(t *testing.T) {
	for _, name := range []string{"America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca"} {
		location := zone(t, name)
		for _, hour := range []int{0, 1, 2, 23} {
			s := daily(location, hour, 30, time.Hour)
			from := time.Date(2026, time.January, 1, 12, 0, 0, 0, location)
			open, days := 0, 0
			for at := from; at.Before(from.AddDate(1, 0, 0)); at = at.Add(30 * time.Minute) {
				if s.Active(at) {
					open++
				}
			}
			for day := from; day.Before(from.AddDate(1, 0, 0)); day = day.AddDate(0, 0, 1) {
				days++
			}
			if open != 2*days {
				t.Errorf("%s, %d:30: open for %d half hours in %d days", name, hour, open, days)
			}
		}
	}
}
