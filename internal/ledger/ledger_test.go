package ledger

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/penstock/penstock/internal/scale"
)

var (
	noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	chat = scale.ScaleTarget{Model: "chat", Variant: "a100", Capacity: scale.OnDemand}
)

func at(minutes float64) time.Time { return noon.Add(time.Duration(minutes * float64(time.Minute))) }

func TestALifeIsSplitIntoItsUsages(t *testing.T) {
	whole := Span{Until: at(1000)}
	for name, c := range map[string]struct {
		life scale.Lifetime
		span Span
		want []scale.Charge
	}{
		"loaded, served, idled, drained": {
			life: scale.Lifetime{Created: at(0), Ready: at(1), Drained: at(11), Ended: at(12), Busy: 6 * time.Minute, PricePerHour: 60},
			span: whole,
			want: []scale.Charge{
				{Usage: scale.Serving, Time: 6 * time.Minute, Dollars: 6},
				{Usage: scale.IdleTime, Time: 4 * time.Minute, Dollars: 4},
				{Usage: scale.Loading, Time: time.Minute, Dollars: 1},
				{Usage: scale.DrainingTime, Time: time.Minute, Dollars: 1},
			},
		},
		"never ready: all of it is loading": {
			life: scale.Lifetime{Created: at(0), Ended: at(3), PricePerHour: 60},
			span: whole, want: []scale.Charge{{Usage: scale.Loading, Time: 3 * time.Minute, Dollars: 3}},
		},
		"drained before it was ready": {
			life: scale.Lifetime{Created: at(0), Drained: at(2), Ended: at(3), PricePerHour: 60},
			span: whole,
			want: []scale.Charge{
				{Usage: scale.Loading, Time: 2 * time.Minute, Dollars: 2}, {Usage: scale.DrainingTime, Time: time.Minute, Dollars: 1},
			},
		},
		"crashed: it drained no time": {
			life: scale.Lifetime{Created: at(0), Ready: at(1), Ended: at(2), Busy: time.Minute, PricePerHour: 60},
			span: whole,
			want: []scale.Charge{
				{Usage: scale.Serving, Time: time.Minute, Dollars: 1}, {Usage: scale.Loading, Time: time.Minute, Dollars: 1},
			},
		},
		"alive: until now": {
			life: scale.Lifetime{Created: at(0), Ready: at(100), Busy: 50 * time.Minute, PricePerHour: 60},
			span: whole,
			want: []scale.Charge{
				{Usage: scale.Serving, Time: 50 * time.Minute, Dollars: 50},
				{Usage: scale.IdleTime, Time: 50 * time.Minute, Dollars: 50},
				{Usage: scale.Loading, Time: 100 * time.Minute, Dollars: 100},
			},
		},
		"a span takes its share of the busy time": {
			life: scale.Lifetime{Created: at(0), Ready: at(1), Drained: at(11), Ended: at(12), Busy: 5 * time.Minute, PricePerHour: 60},
			span: Span{From: at(9), Until: at(11.5)},
			want: []scale.Charge{
				{Usage: scale.Serving, Time: time.Minute, Dollars: 1},
				{Usage: scale.IdleTime, Time: time.Minute, Dollars: 1},
				{Usage: scale.DrainingTime, Time: 30 * time.Second, Dollars: 0.5},
			},
		},
		"outside the span": {
			life: scale.Lifetime{Created: at(0), Ready: at(1), Ended: at(12), PricePerHour: 60}, span: Span{From: at(12), Until: at(13)},
		},
		"not yet born at the end of the span": {
			life: scale.Lifetime{Created: at(5), PricePerHour: 60}, span: Span{Until: at(5)},
		},
		"without a price: time, no money": {
			life: scale.Lifetime{Created: at(0), Ended: at(1)},
			span: whole, want: []scale.Charge{{Usage: scale.Loading, Time: time.Minute}},
		},
		"a clock that jumped makes no negative time": {
			life: scale.Lifetime{Created: at(5), Ready: at(2), Drained: at(1), Ended: at(3), Busy: time.Hour, PricePerHour: 60}, span: whole,
		},
		"busier than it was ready": {
			life: scale.Lifetime{Created: at(0), Ready: at(0), Ended: at(1), Busy: time.Hour, PricePerHour: 60},
			span: whole, want: []scale.Charge{{Usage: scale.Serving, Time: time.Minute, Dollars: 1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.life.Target = chat
			got := Bill(Account{Lifetimes: []scale.Lifetime{c.life}, Owners: map[string]scale.Owner{"chat": {BusinessUnit: "support"}}, Span: c.span, Now: at(200)})
			for i := range c.want {
				c.want[i].Target, c.want[i].BusinessUnit = chat, "support"
			}
			if diff := cmp.Diff(c.want, got, cmp.Transformer("", func(cs []scale.Charge) []scale.Charge { return append([]scale.Charge{}, cs...) })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPricesRoundOnce(t *testing.T) {
	for _, c := range []struct {
		perHour float64
		spent   time.Duration
		want    Money
	}{
		{2.1, time.Hour, 2_100_000_000},
		{2.1, time.Second, 583_333},
		{0.0000036, time.Second, 1},
		{0.0000017, time.Second, 0},
		{-4, time.Hour, 0},
		{1e9, 1e9 * time.Second, math.MaxInt64},
	} {
		if got := price(c.perHour, c.spent); got != c.want {
			t.Errorf("%v per hour for %v: %d, want %d", c.perHour, c.spent, got, c.want)
		}
	}
}

// lives draws lifetimes of any shape, also those that no sane clock makes.
func lives() *rapid.Generator[[]scale.Lifetime] {
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		return noon.Add(time.Duration(rapid.Int64Range(0, int64(40*24*time.Hour)).Draw(t, "offset")))
	})
	maybe := rapid.OneOf(rapid.Just(time.Time{}), moment)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) scale.Lifetime {
		return scale.Lifetime{
			Target: scale.ScaleTarget{
				Model:    rapid.SampledFrom([]string{"chat", "embed", "code"}).Draw(t, "model"),
				Variant:  rapid.SampledFrom([]string{"l4", "h100"}).Draw(t, "variant"),
				Capacity: rapid.SampledFrom([]scale.CapacityType{scale.OnDemand, scale.Spot}).Draw(t, "capacity"),
			},
			PricePerHour: rapid.Float64Range(0, 120).Draw(t, "price"),
			Created:      moment.Draw(t, "created"), Ready: maybe.Draw(t, "ready"), Drained: maybe.Draw(t, "drained"), Ended: maybe.Draw(t, "ended"),
			Busy: time.Duration(rapid.Int64Range(0, int64(90*24*time.Hour)).Draw(t, "busy")),
		}
	}), 0, 12)
}

var (
	owners = map[string]scale.Owner{"chat": {BusinessUnit: "support"}, "embed": {BusinessUnit: "search"}}
	end    = noon.AddDate(0, 0, 30)
)

func every(scale.Charge) bool { return true }

// The whole is the sum over business units, over models, over targets and over
// usages, to the nano-dollar; and it is what the replicas cost one by one.
func TestSumsReconcileExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := lives().Draw(t, "lives")
		span := Span{From: noon.Add(time.Duration(rapid.Int64Range(0, int64(20*24*time.Hour)).Draw(t, "from"))), Until: end}
		charges := Bill(Account{Lifetimes: all, Owners: owners, Span: span, Now: end})
		whole, wholeTime := Total(charges, every)

		for name, key := range map[string]func(scale.Charge) string{
			"business unit": func(c scale.Charge) string { return c.BusinessUnit },
			"model":         func(c scale.Charge) string { return c.Target.Model },
			"target":        func(c scale.Charge) string { return c.Target.String() },
			"usage":         func(c scale.Charge) string { return c.Usage.String() },
		} {
			groups := map[string]bool{}
			for _, c := range charges {
				groups[key(c)] = true
			}
			var money Money
			var spent time.Duration
			for g := range groups {
				m, s := Total(charges, func(c scale.Charge) bool { return key(c) == g })
				money, spent = money+m, spent+s
			}
			if money != whole || spent != wholeTime {
				t.Fatalf("by %s: %d n$ and %v, the whole is %d n$ and %v", name, money, spent, whole, wholeTime)
			}
		}

		var money Money
		for _, l := range all {
			m, _ := Total(Bill(Account{Lifetimes: []scale.Lifetime{l}, Span: span, Now: end}), every)
			money += m
		}
		if money != whole {
			t.Fatalf("replica by replica %d n$, together %d n$", money, whole)
		}
	})
}

// A life's charges cover its time in the span exactly once, none is negative,
// and their money is its time × its price.
func TestEverySecondIsPaidOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, l := range lives().Draw(t, "lives") {
			charges := Bill(Account{Lifetimes: []scale.Lifetime{l}, Span: Span{Until: end}, Now: end})
			for _, c := range charges {
				if c.Time <= 0 || c.Dollars < 0 {
					t.Fatalf("%+v of %+v", c, l)
				}
			}
			stop := end
			if !l.Ended.IsZero() && l.Ended.Before(stop) {
				stop = l.Ended
			}
			alive := max(0, stop.Sub(l.Created))
			money, spent := Total(charges, every)
			if spent != alive {
				t.Fatalf("paid for %v of %v alive: %+v", spent, alive, l)
			}
			if want := l.PricePerHour * alive.Hours(); math.Abs(money.Dollars()-want) > 1e-6 {
				t.Fatalf("%v dollars for %v at %v/h", money.Dollars(), alive, l.PricePerHour)
			}
		}
	})
}

// Yesterday and today together are both days: times exactly, money to the
// rounding of each replica.
func TestAdjacentSpansAdd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := lives().Draw(t, "lives")
		middle := noon.Add(time.Duration(rapid.Int64Range(0, int64(30*24*time.Hour)).Draw(t, "middle")))
		bill := func(from, until time.Time) []scale.Charge {
			return Bill(Account{Lifetimes: all, Owners: owners, Span: Span{From: from, Until: until}, Now: end})
		}
		both, first, second := bill(noon, end), bill(noon, middle), bill(middle, end)
		for usage := scale.Serving; usage <= scale.DrainingTime; usage++ {
			of := func(c scale.Charge) bool { return c.Usage == usage }
			money, spent := Total(both, of)
			m1, s1 := Total(first, of)
			m2, s2 := Total(second, of)
			if s1+s2 != spent {
				t.Fatalf("%v: %v + %v, together %v", usage, s1, s2, spent)
			}
			if diff := m1 + m2 - money; diff < -Money(3*len(all)) || diff > Money(3*len(all)) {
				t.Fatalf("%v: %d + %d, together %d n$", usage, m1, m2, money)
			}
		}
	})
}

func TestTheOrderOfLivesDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := lives().Draw(t, "lives")
		shuffled := rapid.Permutation(all).Draw(t, "shuffled")
		a := Bill(Account{Lifetimes: all, Owners: owners, Span: Span{Until: end}, Now: end})
		b := Bill(Account{Lifetimes: shuffled, Owners: owners, Span: Span{Until: end}, Now: end})
		if diff := cmp.Diff(a, b); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestTwiceThePriceIsTwiceTheBill(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := lives().Draw(t, "lives")
		once, _ := Total(Bill(Account{Lifetimes: all, Span: Span{Until: end}, Now: end}), every)
		for i := range all {
			all[i].PricePerHour *= 2
		}
		twice, _ := Total(Bill(Account{Lifetimes: all, Span: Span{Until: end}, Now: end}), every)
		hours := 24.0 * 40 * float64(len(all))
		if math.Abs(float64(twice-2*once)) > 2*hours+2 { // a price rounds to 1 n$/h
			t.Fatalf("%d n$, and %d n$ at twice the price", once, twice)
		}
	})
}
