package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
)

func TestCronExpressionsBecomeBitSets(t *testing.T) {
	bits := func(from, to, step int) uint64 {
		var set uint64
		for n := from; n <= to; n += step {
			set |= 1 << n
		}
		return set
	}
	every := scale.CronFields{
		Minute: 1, Hour: 1 << 8, DayOfMonth: bits(1, 31, 1), Month: bits(1, 12, 1), DayOfWeek: bits(0, 6, 1),
		AnyDayOfMonth: true, AnyDayOfWeek: true,
	}
	for expression, change := range map[string]func(*scale.CronFields){
		"0 8 * * *":       func(*scale.CronFields) {},
		"*/15 8 * * *":    func(c *scale.CronFields) { c.Minute = bits(0, 59, 15) },
		"0 8-10 * * *":    func(c *scale.CronFields) { c.Hour = bits(8, 10, 1) },
		"0 8 1,15 * *":    func(c *scale.CronFields) { c.DayOfMonth, c.AnyDayOfMonth = 1<<1|1<<15, false },
		"0 8 * 6 *":       func(c *scale.CronFields) { c.Month = 1 << 6 },
		"0 8 * JAN *":     func(c *scale.CronFields) { c.Month = 1 << 1 },
		"0 8 * * 1-5":     func(c *scale.CronFields) { c.DayOfWeek, c.AnyDayOfWeek = bits(1, 5, 1), false },
		"0 8 * * MON-FRI": func(c *scale.CronFields) { c.DayOfWeek, c.AnyDayOfWeek = bits(1, 5, 1), false },
		"0 8 * * 7":       func(c *scale.CronFields) { c.DayOfWeek, c.AnyDayOfWeek = 1, false },
	} {
		t.Run(expression, func(t *testing.T) {
			want := every
			change(&want)
			objects := base()
			put(objects["InferenceAutoscaler"], "spec.schedules", []any{tree{"name": "s", "start": expression, "duration": "1h", "min": 1}})
			c, err := Parse("p.yaml", write(t, objects))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, c.Models[0].Schedules[0].Start); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScheduleHoldsInItsOwnZone(t *testing.T) {
	objects := base()
	put(objects["InferenceAutoscaler"], "spec.schedules", []any{tree{"name": "s", "start": "0 8 * * 1-5", "duration": "10h", "min": 1, "timeZone": "Asia/Tokyo"}})
	c, err := Parse("p.yaml", write(t, objects))
	if err != nil {
		t.Fatal(err)
	}
	s := c.Models[0].Schedules[0]
	monday := time.Date(2026, time.June, 1, 8, 30, 0, 0, s.Location)
	if !s.Active(monday) || s.Active(monday.Add(-time.Hour)) || s.Active(monday.Add(10*time.Hour)) {
		t.Errorf("not open from 8 to 18 in %s", s.Location)
	}
}
