package signals

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Distribution is how long things took, counted since the server began, or by a
// summary's own window where Quantiles are given.
type Distribution struct {
	At        time.Time
	Count     float64
	Sum       float64    // seconds
	Buckets   []Bucket   // ascending; none where the server counts none
	Quantiles []Quantile // ascending; of a summary
}

// Bucket counts what took no longer than its bound.
type Bucket struct {
	Bound float64 // seconds; the last may be +Inf
	Count float64 // those of smaller bounds included
}

// Quantile is one that the server computed itself.
type Quantile struct {
	Of    float64 // 0..1
	Value float64 // seconds
}

// Known says whether anything was read.
func (d Distribution) Known() bool { return !d.At.IsZero() }

// Timed is a Distribution, or why there is none.
type Timed struct {
	Distribution
	Absent string // why there is none; "" where there is one
}

// timed reads the source's families as one Distribution.
func (s source) timed(all map[string]family, at time.Time) Timed {
	sumOf, countOf, sumWhere, countWhere := s.name+"_sum", s.name+"_count", s.where, s.where
	if s.form == mean {
		sumOf, countOf, countWhere = s.name, s.by, s.byWhere
	}
	sum, count := s.folded(all[sumOf], sumWhere, at), s.folded(all[countOf], countWhere, at)
	switch {
	case len(all[sumOf].series) == 0 || !sum.Known():
		return Timed{Absent: cmp.Or(sum.Absent, "not exposed: "+sumOf)}
	case len(all[countOf].series) == 0 || !count.Known():
		return Timed{Absent: cmp.Or(count.Absent, "not exposed: "+countOf)}
	}
	unit := cmp.Or(s.unit, 1)
	d := Distribution{At: earlier(sum.At, count.At), Count: count.Value, Sum: sum.Value * unit}
	if s.form == mean {
		return Timed{Distribution: d}
	}
	var why string
	if d.Buckets, why = s.buckets(all, unit); why == "" {
		d.Quantiles, why = s.quantiles(all, unit)
	}
	if why != "" {
		return Timed{Absent: why}
	}
	return Timed{Distribution: d}
}

// buckets adds up the buckets of all series. Series whose bounds differ can not
// be added: then there are none, and the mean is left.
func (s source) buckets(all map[string]family, unit float64) (sums []Bucket, why string) {
	rows, fault := s.rows(all, "le")
	if fault != "" {
		return nil, fault
	}
	parts := map[float64]int{}
	for _, row := range rows {
		bound, err := strconv.ParseFloat(row.of("le"), 64)
		if err != nil || math.IsNaN(bound) {
			return nil, fmt.Sprintf("has a bucket le=%.20q", row.of("le"))
		}
		if why := row.impossible(); why != "" {
			return nil, why
		}
		bound *= unit
		i, found := slices.BinarySearchFunc(sums, bound, func(b Bucket, bound float64) int { return cmp.Compare(b.Bound, bound) })
		if !found {
			sums = slices.Insert(sums, i, Bucket{Bound: bound})
		}
		sums[i].Count += row.value
		parts[bound]++
	}
	if slices.ContainsFunc(sums, func(b Bucket) bool { return parts[b.Bound] != parts[sums[0].Bound] }) {
		return nil, ""
	}
	for i, b := range sums {
		if i > 0 && b.Count < sums[i-1].Count {
			return nil, fmt.Sprintf("has buckets that fall: %v up to %v s, and %v up to %v s", sums[i-1].Count, sums[i-1].Bound, b.Count, b.Bound)
		}
	}
	return sums, ""
}

// quantiles returns a summary's quantiles; of several series, the highest. A
// summary that saw nothing of late says NaN, which is none.
func (s source) quantiles(all map[string]family, unit float64) (found []Quantile, why string) {
	rows, fault := s.rows(all, "quantile")
	if fault != "" {
		return nil, fault
	}
	for _, row := range rows {
		of, err := strconv.ParseFloat(row.of("quantile"), 64)
		if err != nil || !(of >= 0 && of <= 1) {
			return nil, fmt.Sprintf("has a quantile=%.20q", row.of("quantile"))
		}
		if row.impossible() != "" {
			continue
		}
		i, known := slices.BinarySearchFunc(found, of, func(q Quantile, of float64) int { return cmp.Compare(q.Of, of) })
		if !known {
			found = slices.Insert(found, i, Quantile{Of: of})
		}
		found[i].Value = max(found[i].Value, row.value*unit)
	}
	return found, ""
}

// rows returns the series that carry a label: under the name itself, as
// summaries and some documents have it, and under its _bucket.
func (s source) rows(all map[string]family, label string) ([]series, string) {
	var rows []series
	for _, name := range []string{s.name + "_bucket", s.name} {
		picked, fault := all[name].pick(s.where)
		if fault != "" {
			return nil, fault
		}
		for _, row := range picked {
			if row.of(label) != "" {
				rows = append(rows, row)
			}
		}
	}
	return rows, ""
}

// Between returns what was counted between two readings of one server. A count
// that fell was reset with its process, and what it shows since is all there is.
// It is the zero Timing when either reading is absent, or nothing ended between.
func Between(before, after Distribution) scale.Timing {
	if !before.Known() || !after.Known() {
		return scale.Timing{}
	}
	if before.newer(after) {
		before = Distribution{}
	}
	t := scale.Timing{At: after.At, Count: after.Count - before.Count}
	if t.Count <= 0 {
		return scale.Timing{}
	}
	t.Mean = short((after.Sum - before.Sum) / t.Count)
	grown := slices.Clone(after.Buckets)
	for i := range before.Buckets {
		grown[i].Count -= before.Buckets[i].Count
	}
	t.Median, t.P95 = short(quantile(grown, 0.5)), short(quantile(grown, 0.95))
	if len(grown) == 0 {
		t.Median, t.P95 = short(after.summarised(0.5)), short(after.summarised(0.95))
	}
	return t
}

// Overall returns what was counted since the server began.
func (d Distribution) Overall() scale.Timing {
	return Between(Distribution{At: d.At}, d)
}

// newer says whether d belongs to an earlier process than after: something in it
// is more than there.
func (d Distribution) newer(after Distribution) bool {
	if d.Count > after.Count || d.Sum > after.Sum || len(d.Buckets) != len(after.Buckets) {
		return true
	}
	for i, b := range d.Buckets {
		if b.Bound != after.Buckets[i].Bound || b.Count > after.Buckets[i].Count {
			return true
		}
	}
	return false
}

// quantile interpolates inside the bucket where it lies, as Prometheus does. 0
// where there are no buckets.
func quantile(cumulative []Bucket, q float64) float64 {
	if len(cumulative) == 0 {
		return 0
	}
	all := cumulative[len(cumulative)-1].Count
	rank := q * all
	low := Bucket{}
	for _, b := range cumulative {
		switch {
		case b.Count < rank || b.Count == low.Count:
		case math.IsInf(b.Bound, 1):
			return low.Bound
		default:
			return low.Bound + (b.Bound-low.Bound)*(rank-low.Count)/(b.Count-low.Count)
		}
		low = b
	}
	return 0
}

// summarised returns the server's own quantile; 0 where it has none.
func (d Distribution) summarised(q float64) float64 {
	for _, own := range d.Quantiles {
		if own.Of == q {
			return own.Value
		}
	}
	return 0
}

// short keeps as many digits as matter: what is journalled every second should
// be no longer than it is true.
func short(x float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 4, 64), 64)
	if err != nil {
		return x
	}
	return rounded
}
