package rival

import (
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// wvaSetting has a cheap and a dear variant.
func wvaSetting(least int) Setting {
	s := chatSetting(least, 100)
	s.Model.Variants = append(s.Model.Variants, chatVariant("l4", "nvidia-l4"))
	return s
}

func wvaLoad(g *stage, kv, queue float64) scale.Load {
	return scale.Load{KVCacheUsage: g.at(kv), Waiting: g.at(queue)}
}

// gauge is what WVA wishes of the variants, by name.
func (p *wva) gauge() map[string]int {
	wishes := map[string]int{}
	for _, v := range p.variants {
		wishes[v.target.Variant] = v.desired
	}
	return wishes
}

func TestWVAShrinksWithEightOverloadedAndTwoIdleReplicas(t *testing.T) {
	g := newStage(chatSetting(1, 100), 10)
	m := g.state()
	for i := range m.Replicas {
		m.Replicas[i].Load = wvaLoad(g, 0.95, 9)
		if i >= 8 {
			m.Replicas[i].Load = wvaLoad(g, 0.05, 0)
		}
	}
	p := wvaSaturation().New(g.setting).(*wvaV1)
	p.Decide(g.now, m)
	if got := p.gauge()["a100"]; got != 9 {
		t.Errorf("WVA wishes %d replicas, want 9: the two idle ones are all that it looks at", got)
	}
}

func TestWVATriggers(t *testing.T) {
	for name, c := range map[string]struct {
		kv, queue []float64
		up, down  bool
	}{
		"all saturated, nothing to spare":     {kv: []float64{0.9, 0.9}, queue: []float64{0, 0}, up: true},
		"saturated by the queue":              {kv: []float64{0.1, 0.1}, queue: []float64{5, 6}, up: true},
		"little KV cache to spare":            {kv: []float64{0.71, 0.71}, queue: []float64{0, 0}, up: true},
		"little queue to spare":               {kv: []float64{0.1, 0.1}, queue: []float64{2.5, 2.5}, up: true},
		"two would not fit in one":            {kv: []float64{0.4, 0.4}, queue: []float64{0, 0}},
		"two fit in one":                      {kv: []float64{0.3, 0.3}, queue: []float64{0, 0}, down: true},
		"one alone is never removed":          {kv: []float64{0.01}, queue: []float64{0}},
		"one saturated beside an idle one":    {kv: []float64{0.9, 0.01}, queue: []float64{0, 0}},
		"four of which one less is too tight": {kv: []float64{0.6, 0.6, 0.6, 0.6}, queue: []float64{0, 0, 0, 0}},
		"four of which one less is enough":    {kv: []float64{0.5, 0.5, 0.5, 0.5}, queue: []float64{0, 0, 0, 0}, down: true},
	} {
		p := &wvaV1{kvThreshold: wvaKVThreshold}
		var all []saturation
		for i := range c.kv {
			all = append(all, saturation{kv: c.kv[i], queue: c.queue[i]})
		}
		if up, down := p.triggers(all); up != c.up || down != c.down {
			t.Errorf("%s: up %v and down %v, want %v and %v", name, up, down, c.up, c.down)
		}
	}
}

func TestWVAAddsTheCheapestAndRemovesTheDearest(t *testing.T) {
	s := wvaSetting(1)
	l4 := scale.ScaleTarget{Model: "chat", Variant: "l4", Capacity: scale.OnDemand}
	for name, c := range map[string]struct {
		kv       float64
		l4, a100 int
	}{
		"busy": {kv: 0.78, l4: 4, a100: 3},
		"idle": {kv: 0.05, l4: 3, a100: 2},
	} {
		g := newStage(s, 3)
		g.add(l4, 3, scale.Ready)
		g.load = func(int) scale.Load { return wvaLoad(g, c.kv, 0) }
		p := wvaSaturation().New(s).(*wvaV1)
		p.Decide(g.now, g.state())
		if got := p.gauge(); got["l4"] != c.l4 || got["a100"] != c.a100 {
			t.Errorf("%s: WVA wishes %v, want %d of the L4 and %d of the A100", name, got, c.l4, c.a100)
		}
	}
}

func TestOnePendingReplicaFreezesWVA(t *testing.T) {
	for _, kv := range []float64{0.05, 0.95} {
		s := wvaSetting(1)
		g := newStage(s, 6)
		g.boot = 24 * time.Hour
		g.load = func(int) scale.Load { return wvaLoad(g, kv, 0) }
		g.add(s.Target, 1, scale.Starting)
		p := wvaSaturation().New(s).(*wvaV1)
		for range 40 { // ten minutes, and the HPA not listened to
			p.Decide(g.now, g.state())
			g.now = g.now.Add(p.Every())
		}
		if got := p.gauge()["a100"]; got != 7 {
			t.Errorf("with KV usage %v WVA wishes %d replicas, want the 7 that there are while one loads", kv, got)
		}
	}
}

// TestWVATakesOneReplicaAtATime: each waits 240 s for the HPA and a minute for
// its boot.
func TestWVATakesOneReplicaAtATime(t *testing.T) {
	g := newStage(chatSetting(1, 100), 2)
	g.boot = time.Minute
	g.load = func(int) scale.Load { return wvaLoad(g, 0.95, 9) }
	p := wvaSaturation().New(g.setting)
	for want := 3; want <= 6; want++ {
		took := g.takes(t, p)
		if g.size() != want || took < 240*time.Second || took > 7*time.Minute {
			t.Errorf("%d replicas after %v, want %d after 240 s of stabilisation and a boot", g.size(), took, want)
		}
	}
}

func TestWVASeesAMinuteOldSpike(t *testing.T) {
	g := newStage(chatSetting(1, 100), 2)
	busy := true
	g.load = func(int) scale.Load {
		if busy {
			return wvaLoad(g, 0.95, 0)
		}
		return wvaLoad(g, 0.5, 0)
	}
	p := wvaSaturation().New(g.setting).(*wvaV1)
	ask := func(d time.Duration) int {
		g.now = g.now.Add(d)
		p.Decide(g.now, g.state())
		return p.gauge()["a100"]
	}
	p.looped = g.now // the loop's next turn is in 30 s
	ask(0)
	busy = false
	ask(15 * time.Second)
	if got := ask(15 * time.Second); got != 3 {
		t.Errorf("WVA wishes %d replicas 30 s after a spike, want one more: it takes the maximum of a minute", got)
	}
}

func TestAMissingMetricReadsZeroForWVAAndNoneHolds(t *testing.T) {
	g := newStage(chatSetting(1, 100), 4)
	p := wvaSaturation().New(g.setting).(*wvaV1)
	g.load = func(int) scale.Load { return scale.Load{Waiting: g.at(0)} }
	p.Decide(g.now, g.state())
	if got := p.gauge()["a100"]; got != 3 {
		t.Errorf("WVA wishes %d replicas when KV usage is missing, want one fewer: it reads 0", got)
	}
	p = wvaSaturation().New(g.setting).(*wvaV1)
	g.load = func(int) scale.Load { return scale.Load{} }
	g.until(p, time.Hour)
	if g.size() != 4 {
		t.Errorf("%d replicas after an hour without metrics, want 4", g.size())
	}
}

func TestHeldRequestsStandInTheEnginesQueues(t *testing.T) {
	g := newStage(chatSetting(1, 100), 2)
	g.load = func(int) scale.Load { return wvaLoad(g, 0.1, 0) }
	g.demand.Held = g.at(12)
	p := wvaSaturation().New(g.setting).(*wvaV1)
	p.Decide(g.now, g.state())
	if got := p.gauge()["a100"]; got != 3 {
		t.Errorf("WVA wishes %d replicas with 12 requests held over 2, want 3", got)
	}
}

func TestWVASleepsByFinishedRequestsAndWakesEveryVariant(t *testing.T) {
	s := wvaSetting(0)
	g := newStage(s, 1)
	g.load = func(int) scale.Load {
		l := wvaLoad(g, 0.3, 0)
		l.InFlight = g.at(1) // one long generation, which finishes nothing
		return l
	}
	p := wvaSaturation().New(s)
	took := g.takes(t, p)
	if g.size() != 0 || took < 10*time.Minute || took > 16*time.Minute {
		t.Errorf("%d replicas after %v, want 0 after 10 minutes without a finished request and 240 s more", g.size(), took)
	}
	g.demand.Held = g.at(40)
	wants := p.Decide(g.now, g.state())
	if len(wants) != 2 || wants[0].Replicas != 1 || wants[1].Replicas != 1 {
		t.Errorf("40 requests held wake %v, want one replica of each variant", wants)
	}
}

func TestTheChartsHPAWaitsBothWaysAndMovesTenPodsAtMost(t *testing.T) {
	now := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	h := newChartHPA(scale.Range{Min: 1, Max: 50})
	n := 4
	run := func(desired int, d time.Duration) int {
		for end := now.Add(d); now.Before(end); now = now.Add(wvaScrape) {
			n = h.follow(now, n, desired)
		}
		return n
	}
	steps := []struct {
		desired int
		over    time.Duration
		want    int
	}{
		{desired: 30, over: 240 * time.Second, want: 4},
		{desired: 30, over: 15 * time.Second, want: 14},
		{desired: 30, over: 135 * time.Second, want: 14},
		{desired: 30, over: 15 * time.Second, want: 24},
		{desired: 30, over: 165 * time.Second, want: 30},
		{desired: 29, over: 15 * time.Second, want: 30},
		{desired: 30, over: 15 * time.Second, want: 30},
		{desired: 2, over: 225 * time.Second, want: 30},
		{desired: 2, over: 15 * time.Second, want: 20},
	}
	for i, s := range steps {
		if got := run(s.desired, s.over); got != s.want {
			t.Fatalf("step %d: %d replicas %v after the wish for %d, want %d", i, got, s.over, s.desired, s.want)
		}
	}
}
