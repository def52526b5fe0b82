package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a schedule's time zone must not depend on the machine

	cron "github.com/netresearch/go-cron"

	"github.com/penstock/penstock/api/v1alpha1"
	"github.com/penstock/penstock/internal/scale"
)

// checkSchedules turns a model's schedules into values.
func (m modelObject) checkSchedules() []scale.Schedule {
	var schedules []scale.Schedule
	for i, s := range m.Spec.Schedules {
		at := fmt.Sprintf("spec.schedules[%d]", i)
		if slices.ContainsFunc(schedules, func(other scale.Schedule) bool { return other.Name == s.Name }) {
			m.fault(join(at, "name"), "is %q again: each schedule needs a name of its own.", s.Name)
		}
		if s.Name == "" && m.has(join(at, "name")) {
			m.fault(join(at, "name"), "is empty.")
		}
		if s.Min < 0 {
			m.fault(join(at, "min"), "is %d. Set it to 0 or more.", s.Min)
		}
		if s.Min == 0 && (m.Spec.WarmFloor == nil || m.Spec.WarmFloor.During != s.Name) {
			m.fault(at, "has no effect. Set min, or refer to it in spec.warmFloor.during.")
		}
		schedules = append(schedules, scale.Schedule{
			Name: s.Name, Start: m.checkStart(s.Start, join(at, "start")),
			Duration: m.checkDuration(s, at), Location: m.checkZone(s.TimeZone, join(at, "timeZone")), Min: int(s.Min),
		})
	}
	return schedules
}

// checkDuration refuses a window of no length, or of more than a year, which
// no schedule that recurs needs.
func (m modelObject) checkDuration(s v1alpha1.Schedule, at string) time.Duration {
	const longest = 366 * 24 * time.Hour
	span := time.Duration(s.Duration)
	if (span == 0 || span > longest) && m.has(join(at, "duration")) {
		m.fault(join(at, "duration"), "is %s. Set it between 1m and 366d.", text(s.Duration))
	}
	return span
}

func (m modelObject) checkZone(name, path string) *time.Location {
	location, err := time.LoadLocation(orDefault(name, "UTC"))
	if err != nil || name == "Local" {
		m.fault(path, "is %q, which is no time zone: write it like Europe/Berlin or UTC.", name)
		return time.UTC
	}
	return location
}

// checkStart parses a cron expression of five fields. A day matches when
// either day field does, as in cron, unless one of them is a star.
func (m modelObject) checkStart(expression, path string) scale.CronFields {
	if expression == "" && !m.has(path) {
		return scale.CronFields{} // noted as missing
	}
	parser, err := cron.TryNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.DowOrDom)
	if err != nil {
		m.fault(path, "can not be read: %v.", err)
		return scale.CronFields{}
	}
	if strings.Contains(expression, "=") {
		m.fault(path, "is %q: the time zone goes into timeZone.", expression)
		return scale.CronFields{}
	}
	schedule, err := parser.Parse(expression)
	spec, ok := schedule.(*cron.SpecSchedule)
	if err != nil || !ok {
		m.fault(path, "is %q, which is no cron expression of five fields (minute, hour, day of month, month, day of week), such as \"0 8 * * 1-5\".", expression)
		return scale.CronFields{}
	}
	// Five years from here hold a 29 February.
	if spec.Next(time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		m.fault(path, "is %q, which never comes.", expression)
	}
	const star = 1 << 63 // go-cron's mark of a field that is a star
	return scale.CronFields{
		Minute: spec.Minute &^ star, Hour: spec.Hour &^ star, DayOfMonth: spec.Dom &^ star,
		Month: spec.Month &^ star, DayOfWeek: spec.Dow &^ star,
		AnyDayOfMonth: spec.Dom&star != 0, AnyDayOfWeek: spec.Dow&star != 0,
	}
}
