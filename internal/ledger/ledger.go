// Package ledger turns the paid lives of replicas into money: Charges by
// target, business unit and usage whose sums reconcile exactly, however they
// are grouped.
//
// Money is counted in whole nano-dollars. Each replica's cost over a span is
// rounded once and then split without remainder into its usages, so that no
// grouping gains or loses any of it.
package ledger

import (
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Money is an amount in nano-dollars. Up to nine million dollars it survives
// the way through float64 dollars unchanged.
type Money int64

const nanosPerDollar = 1e9

// Dollars returns the amount in US dollars.
func (m Money) Dollars() float64 { return float64(m) / nanosPerDollar }

// FromDollars returns the amount nearest to so many US dollars.
func FromDollars(dollars float64) Money { return Money(math.Round(dollars * nanosPerDollar)) }

// Span is from one instant until before another. A zero From means from the
// beginning of all lives.
type Span struct {
	From, Until time.Time
}

// Account is what is to be billed.
type Account struct {
	Lifetimes []scale.Lifetime
	Owners    map[string]scale.Owner // by model; one that is missing has no business unit
	Span      Span
	Now       time.Time // until when the living replicas are known
}

// Bill returns what the replicas cost in the span, sorted by target, business
// unit and usage, one Charge for each that took any time.
//
// A replica is loading from its order until it is Ready, draining from the
// beginning of that until its end, and serving or idle in between. Lifetime
// says how long it was busy and not when; a span that covers a part of that
// time gets a proportional share.
func Bill(a Account) []scale.Charge {
	type key struct {
		target scale.ScaleTarget
		unit   string
		usage  scale.Usage
	}
	type amount struct {
		time  time.Duration
		money Money
	}
	sums := map[key]amount{}
	for _, l := range a.Lifetimes {
		unit := a.Owners[l.Target.Model].BusinessUnit
		for _, p := range split(l, a.Span, a.Now) {
			k := key{target: l.Target, unit: unit, usage: p.usage}
			sum := sums[k]
			sums[k] = amount{time: sum.time + p.time, money: sum.money + p.money}
		}
	}
	charges := make([]scale.Charge, 0, len(sums))
	for k, sum := range sums {
		charges = append(charges, scale.Charge{
			Target: k.target, BusinessUnit: k.unit, Usage: k.usage, Time: sum.time, Dollars: sum.money.Dollars(),
		})
	}
	slices.SortFunc(charges, compare)
	return charges
}

func compare(a, b scale.Charge) int {
	if c := a.Target.Compare(b.Target); c != 0 {
		return c
	}
	if c := strings.Compare(a.BusinessUnit, b.BusinessUnit); c != 0 {
		return c
	}
	return int(a.Usage) - int(b.Usage)
}

// Total adds the charges that are wanted, to the nano-dollar.
func Total(charges []scale.Charge, wanted func(scale.Charge) bool) (Money, time.Duration) {
	var money Money
	var spent time.Duration
	for _, c := range charges {
		if wanted(c) {
			money += FromDollars(c.Dollars)
			spent += c.Time
		}
	}
	return money, spent
}

// part is one usage of one life.
type part struct {
	usage scale.Usage
	time  time.Duration
	money Money
}

// split returns the usages of a life within the span that took any time.
func split(l scale.Lifetime, span Span, now time.Time) []part {
	end := now
	if !l.Ended.IsZero() && l.Ended.Before(end) {
		end = l.Ended
	}
	// The marks of a life in order, whatever the clocks did in between.
	drained := later(l.Created, orElse(l.Drained, end), end)
	ready := later(l.Created, orElse(l.Ready, drained), drained)

	from, until := later(l.Created, span.From, end), later(l.Created, span.Until, end)
	working := overlap(from, until, ready, drained)
	busy := share(min(max(l.Busy, 0), drained.Sub(ready)), drained.Sub(ready), from.Sub(ready), until.Sub(ready))

	var parts []part
	var before time.Duration // of the span, already split off
	for _, p := range []part{
		{usage: scale.Loading, time: overlap(from, until, l.Created, ready)},
		{usage: scale.Serving, time: busy},
		{usage: scale.IdleTime, time: working - busy},
		{usage: scale.DrainingTime, time: overlap(from, until, drained, end)},
	} {
		if p.time == 0 {
			continue
		}
		p.money = price(l.PricePerHour, before+p.time) - price(l.PricePerHour, before)
		before += p.time
		parts = append(parts, p)
	}
	return parts
}

// later bounds t from below by low and from above by high, which wins.
func later(low, t, high time.Time) time.Time {
	if t.Before(low) {
		t = low
	}
	if t.After(high) {
		t = high
	}
	return t
}

func orElse(t, other time.Time) time.Time {
	if t.IsZero() {
		return other
	}
	return t
}

// overlap returns how long [from, until) and [begin, end) coincide.
func overlap(from, until, begin, end time.Time) time.Duration {
	return max(0, later(from, end, until).Sub(later(from, begin, until)))
}

// share returns the part of busy, spread evenly over whole, that lies between
// the offsets from and until. Adjacent spans add up exactly.
func share(busy, whole, from, until time.Duration) time.Duration {
	if whole <= 0 {
		return 0
	}
	upTo := func(offset time.Duration) time.Duration {
		offset = min(max(offset, 0), whole)
		hi, lo := bits.Mul64(uint64(busy), uint64(offset))
		quotient, _ := bits.Div64(hi, lo, uint64(whole)) // busy ≤ whole, so that it fits
		return time.Duration(quotient)
	}
	return upTo(until) - upTo(from)
}

// price returns what so much time costs, rounded to the nearest nano-dollar.
// It grows with time, so that no part of a split is negative.
func price(perHour float64, spent time.Duration) Money {
	rate := FromDollars(perHour)
	if rate <= 0 || spent <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(rate), uint64(spent))
	lo, carry := bits.Add64(lo, uint64(time.Hour)/2, 0)
	hi += carry
	if hi >= uint64(time.Hour) {
		return math.MaxInt64 // beyond any bill: a price or a time of nonsense
	}
	quotient, _ := bits.Div64(hi, lo, uint64(time.Hour))
	return Money(min(quotient, math.MaxInt64))
}
