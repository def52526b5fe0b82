package autoscaler

import (
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// seen is Demand of which everything is known.
func seen(now time.Time, rate, inFlight, good float64) scale.Demand {
	return scale.Demand{
		Arrivals: scale.Observe(rate, now), InFlight: scale.Observe(inFlight, now), Held: scale.Observe(0, now),
		Good: scale.Observe(good, now), Bad: scale.Observe(0, now),
	}
}

func TestWhatVanishesAtOnceIsNotBelievedForAWhile(t *testing.T) {
	at := func(s int) time.Time { return lawStart.Add(time.Duration(s) * time.Second) }
	for name, c := range map[string]struct {
		then  scale.Demand // a second after 40 were in flight and 100 had ended
		until scale.Demand // five minutes later
		gone  []bool       // then, after a minute, after five, after eleven
	}{
		"a gateway that lost sight":  {seen(at(1), 0, 0, 100), seen(at(300), 0, 0, 100), []bool{true, true, true, false}},
		"all of them ended":          {seen(at(1), 0, 0, 140), seen(at(300), 0, 0, 140), []bool{false, false, false, false}},
		"it sees again":              {seen(at(1), 0, 0, 100), seen(at(300), 3, 12, 100), []bool{true, true, false, false}},
		"others came":                {seen(at(1), 2, 0, 100), seen(at(300), 0, 0, 100), []bool{false, false, false, false}},
		"some are still in flight":   {seen(at(1), 0, 1, 100), seen(at(300), 0, 0, 101), []bool{false, false, false, false}},
		"the counters are not known": {scale.Demand{Arrivals: scale.Observe(0, at(1)), InFlight: scale.Observe(0, at(1))}, seen(at(300), 0, 0, 100), []bool{false, false, false, false}},
	} {
		p, _ := Presence{}.vanished(seen(at(0), 9, 40, 100), at(0))
		for i, look := range []struct {
			demand scale.Demand
			at     time.Time
		}{{c.then, at(1)}, {c.then, at(60)}, {c.until, at(300)}, {c.until, at(660)}} {
			var gone bool
			if p, gone = p.vanished(look.demand, look.at); gone != c.gone[i] {
				t.Errorf("%s: after %v it is %v that they vanished", name, look.at.Sub(at(0)), gone)
			}
		}
	}
}
