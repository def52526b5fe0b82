package console

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// measured names what a Point holds, in order.
type measured int

// What is measured. A rate is averaged when points are rolled up, a wait or a
// time takes the worst (quantiles are never averaged), a count the last.
const (
	arrivals  measured = iota // requests/s
	planned                   // requests/s, the quantile that was planned for
	ready                     // replicas
	starting                  // replicas
	draining                  // replicas
	want                      // replicas
	batch                     // requests at one replica at once, B*: the largest of the targets in use
	room                      // requests at once that the Ready replicas take: the sum of their B*
	heldCount                 // requests
	inFlight                  // requests
	ttft                      // s, median of what ended in the tick
	tpot                      // s, likewise
	latency                   // s, likewise
	perHour                   // US dollars
	pointSize
)

// Point is what charts show of one model at one time. NaN is what was not
// measured.
type Point [pointSize]float32

// absent is a Point of which nothing was measured.
func absent() Point {
	var p Point
	for i := range p {
		p[i] = float32(math.NaN())
	}
	return p
}

func (p *Point) set(m measured, v float64) { p[m] = float32(v) }

func (p *Point) setValue(m measured, v *Value) {
	if v != nil {
		p[m] = float32(v.Value)
	}
}

// point takes a Point from a status.
func point(s ModelStatus, fresh time.Duration) Point {
	p := absent()
	for m, v := range map[measured]*Value{arrivals: s.Demand.Arrivals, heldCount: s.Demand.Held, inFlight: s.Demand.InFlight} {
		if v != nil && v.Age <= fresh.Seconds() {
			p.setValue(m, v)
		}
	}
	if f := s.Demand.Forecast; f != nil {
		p.set(planned, *f)
	}
	p.set(ready, float64(s.Replicas.Ready))
	p.set(starting, float64(s.Replicas.Starting))
	p.set(draining, float64(s.Replicas.Draining))
	p.set(want, float64(s.Replicas.Want))
	largest, sum := s.batch()
	p.set(batch, float64(largest))
	p.set(room, float64(sum))
	for m, of := range map[measured]*Measure{ttft: s.TTFT, tpot: s.TPOT, latency: s.Latency} {
		if of != nil && of.Median != nil {
			p.set(m, *of.Median)
		}
	}
	p.set(perHour, s.Cost.PerHour)
	return p
}

// batch returns the largest B* of the targets in use and what the Ready
// replicas take together.
func (s ModelStatus) batch() (largest, room int) {
	for _, t := range s.Targets {
		if t.Replicas.Ready+t.Replicas.Starting+t.Replicas.Want > 0 {
			largest = max(largest, t.BatchLimit)
		}
		room += t.Replicas.Ready * t.BatchLimit
	}
	return largest, room
}

// merge rolls another Point up into p, which stands for n already.
func (p *Point) merge(o Point, n int) {
	for i := range p {
		known, other := !isNaN(p[i]), !isNaN(o[i])
		switch {
		case !other:
		case !known:
			p[i] = o[i]
		default:
			switch measured(i) {
			case arrivals, planned:
				p[i] += (o[i] - p[i]) / float32(n+1)
			case heldCount, inFlight, ttft, tpot, latency:
				p[i] = max(p[i], o[i])
			case ready, starting, draining, want, batch, room, perHour, pointSize:
				p[i] = o[i]
			}
		}
	}
}

func isNaN(f float32) bool { return math.IsNaN(float64(f)) }

// Span is a stretch of time and how finely it is wanted.
type Span struct {
	Since, Until time.Time
	Step         time.Duration
}

// Series is what was measured of a model, oldest first. Where a time is
// missing nothing was measured: a gap.
type Series struct {
	Step   time.Duration // between neighbours that have no gap between them
	Times  []time.Time
	Points []Point
}

// Past is the measured past of models, for charts. Its method is called
// concurrently.
type Past interface {
	// Series returns the points of a model (all of the fleet where it is "") in
	// the span, in steps that are no finer than asked for. The newest point may
	// still be growing.
	Series(ctx context.Context, model string, span Span) (Series, error)
}

// tier is one resolution of a ring: so many points of so long each.
type tier struct {
	step  time.Duration
	count int
}

// tiers serve the ranges that the page offers: 15 min, 1 h, 6 h, 24 h.
func tiers() []tier {
	return []tier{{time.Second, 900}, {5 * time.Second, 720}, {30 * time.Second, 720}, {2 * time.Minute, 720}}
}

// finest is how many models are kept at the finest steps. With more of them
// steps are longer and points fewer, so that memory is bounded: 65 MB.
const finest = 300

// ring is a Past in memory: nothing of it outlives the process. It is safe for
// concurrent use.
type ring struct {
	mu     sync.Mutex
	coarse int                  // by how much steps are longer than those of tiers
	tick   time.Duration        // no step is shorter
	kept   map[string]*[]*track // by model, one for each tier
}

// track is one tier of one model. Slots are reused in a circle.
type track struct {
	step   time.Duration
	count  int
	points []Point
	bucket []int64 // which step a slot holds, since 1970
	merged []int32
}

// add takes in what was measured at a time, of so many models.
func (r *ring) add(model string, at time.Time, p Point) {
	r.mu.Lock()
	defer r.mu.Unlock()
	tracks := r.kept[model]
	if tracks == nil {
		tracks = &[]*track{}
		for _, t := range tiers() {
			coarse := max(r.coarse, 1)
			*tracks = append(*tracks, &track{step: max(t.step*time.Duration(coarse), r.tick), count: t.count / coarse})
		}
		r.kept[model] = tracks
	}
	for _, t := range *tracks {
		t.add(at, p)
	}
}

// fit prepares for so many models and forgets those that are no longer among
// them; what was kept at other steps is forgotten, too.
func (r *ring) fit(models []string, tick time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	coarse := (len(models) + finest - 1) / finest
	if r.kept == nil || coarse > r.coarse || tick != r.tick {
		r.coarse, r.tick, r.kept = coarse, tick, map[string]*[]*track{}
		return
	}
	if len(r.kept) > len(models)+1 {
		known := map[string]bool{"": true}
		for _, m := range models {
			known[m] = true
		}
		for m := range r.kept {
			if !known[m] {
				delete(r.kept, m)
			}
		}
	}
}

func (t *track) add(at time.Time, p Point) {
	bucket := at.UnixNano() / int64(t.step)
	slot := int(bucket % int64(t.count))
	for len(t.points) <= slot { // grows as time passes
		t.points, t.bucket, t.merged = append(t.points, Point{}), append(t.bucket, 0), append(t.merged, 0)
	}
	if t.bucket[slot] == bucket {
		t.points[slot].merge(p, int(t.merged[slot]))
		t.merged[slot]++
		return
	}
	t.points[slot], t.bucket[slot], t.merged[slot] = p, bucket, 1
}

// Series implements Past.
func (r *ring) Series(_ context.Context, model string, span Span) (Series, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	tracks := r.kept[model]
	if tracks == nil {
		return Series{Step: span.Step}, nil
	}
	chosen := (*tracks)[len(*tracks)-1]
	for _, t := range *tracks {
		if t.step >= span.Step {
			chosen = t
			break
		}
	}
	return chosen.between(span.Since, span.Until), nil
}

func (t *track) between(since, until time.Time) Series {
	s := Series{Step: t.step}
	last := until.UnixNano() / int64(t.step)
	begin := max(since.UnixNano()/int64(t.step), last-int64(t.count)+1)
	for bucket := begin; bucket <= last; bucket++ {
		slot := int(bucket % int64(t.count))
		if slot < len(t.bucket) && t.bucket[slot] == bucket {
			s.Times = append(s.Times, time.Unix(0, bucket*int64(t.step)))
			s.Points = append(s.Points, t.points[slot])
		}
	}
	return s
}

// SeriesView is a Series in columns; what was not measured is null.
type SeriesView struct {
	Model string  `json:"model"` // "" is the whole fleet
	Step  float64 `json:"step_seconds"`
	Since float64 `json:"since"` // Unix seconds
	Until float64 `json:"until"`
	Columns
}

// Columns hold one value of each kind for each time.
type Columns struct {
	Times    []float64   `json:"t"` // Unix seconds
	Arrivals []*number32 `json:"arrivals"`
	Planned  []*number32 `json:"planned"`
	Ready    []*number32 `json:"ready"`
	Starting []*number32 `json:"starting"`
	Draining []*number32 `json:"draining"`
	Want     []*number32 `json:"want"`
	Batch    []*number32 `json:"batch"`
	Room     []*number32 `json:"room"`
	Held     []*number32 `json:"held"`
	InFlight []*number32 `json:"in_flight"`
	TTFT     []*number32 `json:"ttft"`
	TPOT     []*number32 `json:"tpot"`
	Latency  []*number32 `json:"latency"`
	PerHour  []*number32 `json:"per_hour"`
}

// number32 keeps JSON short: a float32 is written with the digits it has.
type number32 float32

// columns turns points about.
func columns(times []time.Time, points []Point) Columns {
	c := Columns{Times: make([]float64, len(times))}
	for i, t := range times {
		c.Times[i] = float64(t.UnixMilli()) / 1000
	}
	column := func(m measured) []*number32 {
		all := make([]*number32, len(points))
		for i, p := range points {
			if !isNaN(p[m]) {
				v := number32(p[m])
				all[i] = &v
			}
		}
		return all
	}
	c.Arrivals, c.Planned = column(arrivals), column(planned)
	c.Ready, c.Starting, c.Draining, c.Want = column(ready), column(starting), column(draining), column(want)
	c.Batch, c.Room, c.Held, c.InFlight = column(batch), column(room), column(heldCount), column(inFlight)
	c.TTFT, c.TPOT, c.Latency, c.PerHour = column(ttft), column(tpot), column(latency), column(perHour)
	return c
}

// Bounds on what charts may ask for.
const (
	defaultRange  = 15 * time.Minute
	longestRange  = 24 * time.Hour
	chartedPoints = 900 // as many as a chart has room for
)

func (c *Console) series(r *http.Request) (any, error) {
	query, now := r.URL.Query(), time.Now()
	since, err := moment(query.Get("since"), now)
	if err != nil {
		return nil, refusal{http.StatusBadRequest, "bad_time", "since: " + err.Error()}
	}
	until, err := moment(query.Get("until"), now)
	if err != nil {
		return nil, refusal{http.StatusBadRequest, "bad_time", "until: " + err.Error()}
	}
	if until.IsZero() {
		until = now
	}
	if since.IsZero() {
		since = until.Add(-defaultRange)
	}
	if span := until.Sub(since); span <= 0 || span > longestRange+time.Minute {
		return nil, refusal{http.StatusBadRequest, "bad_range", fmt.Sprintf("from since to until are %s. Ask for more than nothing and at most %s.", span, longestRange)}
	}
	model := query.Get("model")
	if model != "" {
		snapshot, _, _ := c.Fleet.Snapshot()
		if model, err = named(snapshot, model); err != nil {
			return nil, err
		}
	}
	series, err := c.past().Series(r.Context(), model, Span{Since: since, Until: until, Step: until.Sub(since) / chartedPoints})
	if err != nil {
		return nil, told(err)
	}
	return SeriesView{
		Model: model, Step: series.Step.Seconds(), Since: float64(since.UnixMilli()) / 1000, Until: float64(until.UnixMilli()) / 1000,
		Columns: columns(series.Times, series.Points),
	}, nil
}

// past is where charts come from: Past, or else what this process has seen.
func (c *Console) past() Past {
	if c.Past != nil {
		return c.Past
	}
	return &c.feed.ring
}

// spark is the arrivals of the last quarter of an hour in thirty steps, for a
// line in a table; null is a gap.
func spark(s Series, until time.Time) []*number32 {
	const cells = 30
	all := make([]*number32, cells)
	begin := until.Add(-defaultRange).Truncate(defaultRange / cells).Add(defaultRange / cells)
	sums := make([]float64, cells)
	counts := make([]int, cells)
	for i, t := range s.Times {
		cell := int(t.Sub(begin) / (defaultRange / cells))
		if v := s.Points[i][arrivals]; cell >= 0 && cell < cells && !t.Before(begin) && !isNaN(v) {
			sums[cell] += float64(v)
			counts[cell]++
		}
	}
	for i, n := range counts {
		if n > 0 {
			v := number32(math.Round(100*sums[i]/float64(n)) / 100)
			all[i] = &v
		}
	}
	return all
}

// total adds the models of a fleet up. What is unknown of one is left out of
// the sum; what no model knows stays unknown.
func total(points []Point) Point {
	sum := absent()
	for _, m := range []measured{arrivals, planned, ready, starting, draining, want, room, heldCount, inFlight, perHour} {
		for _, p := range points {
			switch {
			case isNaN(p[m]):
			case isNaN(sum[m]):
				sum[m] = p[m]
			default:
				sum[m] += p[m]
			}
		}
	}
	return sum
}

// names returns the models of a Snapshot.
func names(s scale.Snapshot) []string {
	all := make([]string, 0, len(s.Models))
	for _, m := range s.Models {
		all = append(all, m.Model.Name)
	}
	slices.Sort(all)
	return all
}
