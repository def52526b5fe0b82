package console

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// FleetView is the fleet as its page shows it: all of it, or what changed since
// an earlier ID. Dollars are US dollars, shares 0..1.
type FleetView struct {
	ID           string        `json:"id"` // of this state; Last-Event-ID of /api/v1/events
	At           time.Time     `json:"at"` // of the newest tick
	Age          float64       `json:"age_seconds"`
	Tick         float64       `json:"tick_seconds"` // how often one is expected
	Sentence     string        `json:"sentence"`
	Cost         Cost          `json:"cost"`
	Accelerators []Accelerator `json:"accelerators"`
	Replicas     Replicas      `json:"replicas"`
	Idle         int           `json:"idle"` // Ready replicas that have nothing to do
	Held         int           `json:"held"`
	HeldFor      float64       `json:"held_for_seconds"` // the oldest
	Whole        bool          `json:"whole"`            // all models, and not only those that changed
	Models       []ModelLine   `json:"models"`           // most hurt first
	Gone         []string      `json:"gone"`             // no longer configured
}

// ModelLine is one model in the table of the fleet. What was never measured is
// null.
type ModelLine struct {
	Name         string      `json:"name"`
	BusinessUnit string      `json:"business_unit,omitempty"`
	Mode         string      `json:"mode"`
	Condition    Condition   `json:"condition"`
	Why          string      `json:"why"`
	Since        *time.Time  `json:"since"`    // when the condition began
	AtLeast      bool        `json:"at_least"` // it had begun when this process did
	SLO          Attainment  `json:"slo"`
	TTFT         *Measure    `json:"ttft,omitempty"`
	TPOT         *Measure    `json:"tpot,omitempty"`
	Latency      *Measure    `json:"latency,omitempty"`
	Replicas     Replicas    `json:"replicas"`
	Batch        int         `json:"batch_limit"`
	Arrivals     *float64    `json:"arrivals_per_second"`
	StaleFor     float64     `json:"stale_for_seconds,omitempty"` // how old arrivals are, where that is too old
	Held         *float64    `json:"held"`
	InFlight     *float64    `json:"in_flight"`
	PerHour      float64     `json:"per_hour"`
	Unpriced     int         `json:"unpriced,omitempty"`
	Headline     string      `json:"headline"` // of the newest decision
	Reason       string      `json:"reason"`   // the one that matters most
	Code         string      `json:"code"`
	Spark        []*number32 `json:"spark"` // arrivals of the last 15 min, 30 s each
}

// feed is what the console remembers of the ticks it has seen. The zero feed is
// ready for use; it is safe for concurrent use.
type feed struct {
	ring ring

	mu      sync.Mutex
	epoch   int64 // when it began: an ID of an earlier process means nothing here
	seq     uint64
	head    FleetView
	lines   map[string]*versioned
	gone    map[string]uint64
	bouts   map[string]bout
	changed chan struct{} // closed when a tick was taken in

	streams  int
	ending   chan struct{} // closed when the server ends; nil: it never does
	patience time.Duration // with a client that reads nothing; 0: slowest
}

// versioned is a line and when it last changed.
type versioned struct {
	line ModelLine
	seq  uint64
}

// bout is how long a condition has lasted. A miss is over only when there was
// none for a while, so that a word does not flicker with every tick.
type bout struct {
	condition Condition
	why       string
	since     time.Time
	atLeast   bool
	last      time.Time // when the condition was last seen
}

const (
	watchEvery = 250 * time.Millisecond // how often it is looked for a new tick
	calmAfter  = 30 * time.Second       // without a miss, until a miss is over
	freshTicks = 3                      // a value older than so many ticks, and than 5 s, is stale
)

// watch takes ticks in until ctx ends.
func (c *Console) watch(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		c.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// look takes in the newest tick, if it is new.
func (c *Console) look(ctx context.Context) {
	snapshot, decision, ok := c.Fleet.Snapshot()
	if !ok || c.feed.seen(snapshot.Now) {
		return
	}
	now := time.Now()
	c.acts.take(decision)
	c.remember(ctx, now)
	head, states := c.fleet(snapshot, decision, now)
	c.feed.ring.fit(names(snapshot), snapshot.Tick)
	fresh := max(freshTicks*snapshot.Tick, 5*time.Second)
	points := make([]Point, 0, len(states))
	for _, s := range states {
		p := point(s, fresh)
		points = append(points, p)
		c.feed.ring.add(s.Name, snapshot.Now, p)
	}
	c.feed.ring.add("", snapshot.Now, total(points))
	lines := make([]ModelLine, 0, len(states))
	for _, s := range states {
		recent, _ := c.feed.ring.Series(ctx, s.Name, Span{Since: now.Add(-defaultRange), Until: now, Step: 5 * time.Second})
		line := lineOf(s, fresh)
		line.Spark = spark(recent, now)
		lines = append(lines, line)
	}
	c.feed.take(head, lines)
}

// fleet makes the head of a FleetView and every model's status, most hurt first.
func (c *Console) fleet(snapshot scale.Snapshot, decision scale.Decision, now time.Time) (FleetView, []ModelStatus) {
	status := c.standing(snapshot, decision, now)
	head := FleetView{
		At: status.At, Tick: snapshot.Tick.Seconds(), Cost: status.Cost, Accelerators: status.Accelerators, Sentence: status.Sentence,
		Models: []ModelLine{}, Gone: []string{},
	}
	for _, m := range status.Models {
		head.Replicas = head.Replicas.plus(m.Replicas)
		head.Held += held(m.Demand)
		head.HeldFor = max(head.HeldFor, orElse(m.Demand.HeldFor, Value{}).Value)
		for _, r := range m.Members {
			if r.Phase == scale.Ready.String() && r.InFlight != nil && r.InFlight.Value == 0 {
				head.Idle++
			}
		}
	}
	return head, status.Models
}

func lineOf(s ModelStatus, fresh time.Duration) ModelLine {
	line := ModelLine{
		Name: s.Name, BusinessUnit: s.BusinessUnit, Mode: s.Mode, Condition: s.Condition, Why: s.Why, Since: s.Since, AtLeast: s.AtLeast, SLO: s.SLO,
		TTFT: s.TTFT, TPOT: s.TPOT, Latency: s.Latency, Replicas: s.Replicas, PerHour: s.Cost.PerHour, Unpriced: s.Cost.Unpriced,
		Headline: s.Decision.Headline, Held: valueOf(s.Demand.Held), InFlight: valueOf(s.Demand.InFlight), Arrivals: valueOf(s.Demand.Arrivals),
	}
	line.Batch, _ = s.batch()
	if a := s.Demand.Arrivals; a != nil && a.Age > fresh.Seconds() {
		line.StaleFor = math.Round(a.Age)
	}
	line.Code, line.Reason = s.Decision.weightiest()
	return line
}

func valueOf(v *Value) *float64 {
	if v == nil {
		return nil
	}
	return &v.Value
}

// weightiest returns the reason that matters most: what withheld, else what
// made.
func (d DecisionView) weightiest() (code, text string) {
	reasons := d.reasons()
	for _, effect := range []Effect{CouldNot, DidNot, Because} {
		for _, r := range reasons {
			if r.Effect == effect {
				return r.Code, r.Text
			}
		}
	}
	return "", ""
}

func (f *feed) seen(at time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head.At.Equal(at)
}

// take makes a tick the newest and wakes those who wait for it.
func (f *feed) take(head FleetView, lines []ModelLine) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prepare()
	f.seq++
	head.ID = fmt.Sprintf("%x.%d", f.epoch, f.seq)
	f.head = head
	present := make(map[string]bool, len(lines))
	for _, line := range lines {
		present[line.Name] = true
		delete(f.gone, line.Name)
		if old := f.lines[line.Name]; old == nil || !reflect.DeepEqual(old.line, line) {
			f.lines[line.Name] = &versioned{line: line, seq: f.seq}
		}
	}
	for name := range f.lines {
		if !present[name] {
			delete(f.lines, name)
			f.gone[name] = f.seq
		}
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// prepare makes a zero feed usable. f.mu is held.
func (f *feed) prepare() {
	if f.changed != nil {
		return
	}
	f.epoch = time.Now().UnixNano()
	f.changed, f.lines, f.gone = make(chan struct{}), map[string]*versioned{}, map[string]uint64{}
}

// since returns what changed after an ID, and a channel that is closed when
// more does. An ID that is not known here gets the whole.
func (f *feed) since(id string) (FleetView, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prepare()
	after := f.parse(id)
	view := f.head
	view.Age = seconds(time.Since(view.At))
	view.Whole = after == 0
	view.Models, view.Gone = []ModelLine{}, []string{}
	for _, v := range f.lines {
		if v.seq > after {
			view.Models = append(view.Models, v.line)
		}
	}
	for name, seq := range f.gone {
		if seq > after && after > 0 {
			view.Gone = append(view.Gone, name)
		}
	}
	slices.Sort(view.Gone)
	slices.SortFunc(view.Models, func(a, b ModelLine) int { return byHurt(a.hurt(), b.hurt()) })
	return view, f.changed
}

// parse returns the number in an ID of this process, and 0 for any other.
func (f *feed) parse(id string) uint64 {
	epoch, seq, _ := strings.Cut(id, ".")
	if n, err := strconv.ParseUint(seq, 10, 64); err == nil && n <= f.seq && epoch == strconv.FormatInt(f.epoch, 16) {
		return n
	}
	return 0
}

// settle replaces a condition by the one that lasts, and says since when.
func (f *feed) settle(s *ModelStatus, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bouts == nil {
		f.bouts = map[string]bout{}
	}
	b, known := f.bouts[s.Name]
	calm := b.condition == Missing && s.Condition == Meeting && at.Sub(b.last) < calmAfter
	switch {
	case calm: // it goes on
		s.Condition, s.Why = b.condition, b.why
	case !known || b.condition != s.Condition:
		b = bout{condition: s.Condition, why: s.Why, since: at, atLeast: !known, last: at}
	default:
		b.why, b.last = s.Why, at
	}
	f.bouts[s.Name] = b
	since := b.since
	s.Since, s.AtLeast = &since, b.atLeast
}

// hurt is what models are sorted by.
type hurt struct {
	missing bool
	left    float64 // of the error budget
	name    string
}

func (m ModelLine) hurt() hurt {
	return hurt{m.Condition == Missing, orElse(m.SLO.BudgetLeft, 1), m.Name}
}

func (s ModelStatus) hurt() hurt {
	return hurt{s.Condition == Missing, orElse(s.SLO.BudgetLeft, 1), s.Name}
}

// byHurt sorts those first that miss their objective now, then by what is left
// of their error budget.
func byHurt(a, b hurt) int {
	if a.missing != b.missing {
		if a.missing {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.left, b.left), cmp.Compare(a.name, b.name))
}
