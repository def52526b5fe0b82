package report_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/scale"
)

func TestDiaryNotesWhatChangedAndWhy(t *testing.T) {
	start := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	diary := report.Diary{Start: start}
	up := sampleDecision(start.Add(90*time.Second), 3, 5, 12)
	up.Plans = append(up.Plans, scale.Plan{Model: "code", Reasons: []scale.Reason{{Code: scale.ReasonMin, Text: "another model's"}}})
	up.Changes[0].Reasons = append(up.Changes[0].Reasons, up.Plans[0].Reasons...)
	diary.Note(up)
	steady := sampleDecision(start.Add(100*time.Second), 5, 5, 12)
	steady.Changes[0].Drain = nil
	diary.Note(steady)
	advised := sampleDecision(start.Add(110*time.Second), 5, 9, 30)
	advised.Changes[0].DryRun = true
	diary.Note(advised)
	got, untold := diary.Told()
	want := []report.Told{{
		At: 90 * time.Second, Target: scale.ScaleTarget{Model: "chat", Variant: "8b-a100", Capacity: scale.OnDemand}, From: 3, To: 5,
		Reasons: []scale.Reason{
			{Code: scale.ReasonDemand, Text: "5 replicas of 8b-a100 serve the 12.0 requests/s that are expected in 60 s, 3.0 each"},
			{Code: scale.ReasonUpRate, Text: "2 more may start this minute: the limit is 10"},
		},
	}}
	if d := cmp.Diff(want, got); d != "" || untold != 0 {
		t.Errorf("%d untold; %s", untold, d)
	}
}

func TestDiaryIsBoundedAndKeepsLargeSteps(t *testing.T) {
	var diary report.Diary
	const many = 50_000
	for i := range many {
		to := 2
		if i%1000 == 7 {
			to = 40
		}
		diary.Note(sampleDecision(time.Time{}.Add(time.Duration(i)*time.Second), 1, to, 1))
	}
	told, untold := diary.Told()
	if len(told) > report.MostTold || len(told) < report.MostTold/2 || len(told)+untold != many {
		t.Fatalf("%d told and %d not, of %d", len(told), untold, many)
	}
	large := 0
	for i, d := range told {
		if d.To == 40 {
			large++
		}
		if i > 0 && (d.At <= told[i-1].At || d.At-told[i-1].At > time.Minute) {
			t.Fatalf("%v follows %v", d.At, told[i-1].At)
		}
	}
	if large != many/1000 {
		t.Errorf("%d large steps told of %d", large, many/1000)
	}
	told[0].To = 99
	if again, _ := diary.Told(); slices.ContainsFunc(again, func(d report.Told) bool { return d.To == 99 }) {
		t.Error("what Told returned is the diary's own")
	}
}
