// Package bench holds Penstock's rewrites of other autoscalers against the
// code they were written from, where that code can be imported. It is a module
// of its own, so that what it imports stays out of Penstock.
package bench

import (
	"cmp"
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap" //nolint:depguard // the logger that Knative's code takes
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	"knative.dev/serving/pkg/autoscaler/metrics"
	"knative.dev/serving/pkg/autoscaler/scaling"

	"github.com/penstock/penstock/internal/rival"
)

const tick = 2 * time.Second // tickInterval of pkg/autoscaler/scaling

// revision is a revision under Knative's own autoscaler: its collector, to
// which what a scrape would find is given once a second, and its decider.
type revision struct {
	key       types.NamespacedName
	collector *metrics.MetricCollector
	scaler    scaling.UniScaler
	ready     int
}

// ReadyCount and NotReadyCount implement resources.EndpointsCounter.
func (r *revision) ReadyCount() (int, error)    { return r.ready, nil }
func (r *revision) NotReadyCount() (int, error) { return 0, nil }

// newRevision sets up Knative's code with config-autoscaler as it ships.
func newRevision(t *testing.T, batch, ready int) (*revision, *rival.KPADecider) {
	t.Helper()
	shipped, err := config.NewConfigFromMap(map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	target, total := float64(batch)*shipped.ContainerConcurrencyTargetFraction, float64(batch)
	r := &revision{key: types.NamespacedName{Namespace: "models", Name: "chat"}, ready: ready}
	r.collector = metrics.NewMetricCollector(func(*autoscalingv1alpha1.Metric, *zap.SugaredLogger) (metrics.StatsScraper, error) {
		return nil, nil //nolint:nilnil // it is how the collector is told not to scrape by the machine's clock
	}, zap.NewNop().Sugar())
	if err := r.collector.CreateOrUpdate(r.metric(shipped)); err != nil {
		t.Fatal(err)
	}
	r.scaler = scaling.New(t.Context(), r.key.Namespace, r.key.Name, r.collector, r, &scaling.DeciderSpec{
		MaxScaleUpRate: shipped.MaxScaleUpRate, MaxScaleDownRate: shipped.MaxScaleDownRate,
		ScalingMetric: "concurrency", TargetValue: target, TotalValue: total,
		TargetBurstCapacity: shipped.TargetBurstCapacity, ActivatorCapacity: shipped.ActivatorCapacity,
		PanicThreshold: shipped.PanicThresholdPercentage / 100, StableWindow: shipped.StableWindow,
		ScaleDownDelay: shipped.ScaleDownDelay, InitialScale: shipped.InitialScale, Reachable: true,
	})
	return r, &rival.KPADecider{Target: target, Total: total}
}

func (r *revision) metric(shipped *autoscalerconfig.Config) *autoscalingv1alpha1.Metric {
	return &autoscalingv1alpha1.Metric{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.key.Namespace, Name: r.key.Name},
		Spec: autoscalingv1alpha1.MetricSpec{
			StableWindow: shipped.StableWindow,
			PanicWindow:  time.Duration(float64(shipped.StableWindow) * shipped.PanicWindowPercentage / 100),
			ScrapeTarget: "chat-private",
		},
	}
}

// second is what happens in one second of a series.
type second struct {
	concurrency float64
	down        bool // no scrape is answered
	dies        bool // most of the Ready replicas do, and boot anew
}

// course is what one comparison went through.
type course struct{ ticks, rises, falls, zeros, wakes, invalid, jumps, most int }

// compare runs a series through both, tick by tick, and lets the fleet follow
// the decisions: each replica becomes Ready after a boot. Time is counted on
// from now, for Knative's autoscaler reads the clock once: when it is made, to
// begin in panic mode where there is more than one replica.
func compare(t *testing.T, batch, start int, boot time.Duration, series func(at int) (second, bool)) course {
	t.Helper()
	var seen course
	now := time.Now().Round(0)
	r, ours := newRevision(t, batch, start)
	defer r.collector.Delete(r.key.Namespace, r.key.Name)
	logger := zap.NewNop().Sugar()
	fleet, booting := start, []time.Time(nil)
	for at := 0; ; at, now = at+2, now.Add(tick) {
		for len(booting) > 0 && !booting[0].After(now) {
			booting, r.ready = booting[1:], r.ready+1
		}
		theirs := r.scaler.Scale(logger, now)
		scale, valid := ours.Scale(now, r.ready)
		seen.ticks++
		if valid != theirs.ScaleValid || scale.Desired != int(theirs.DesiredPodCount) || scale.ExcessBurst != int(theirs.ExcessBurstCapacity) {
			t.Fatalf("at %d s, %d of %d Ready: we say %+v (%t), Knative %+v", at, r.ready, fleet, scale, valid, theirs)
		}
		if !valid {
			seen.invalid++
		} else {
			seen.note(scale.Desired, fleet)
			fleet, booting = r.follow(fleet, scale.Desired, now.Add(boot), booting)
		}
		for half := range 2 {
			s, ok := series(at + half)
			if !ok {
				return seen
			}
			for n := r.ready * 4 / 5; s.dies && n > 0; n-- {
				r.ready, booting = r.ready-1, append(booting, now.Add(boot))
			}
			if !s.down {
				when := now.Add(time.Duration(1+half) * time.Second)
				r.collector.Record(r.key, when, metrics.Stat{PodName: "scraped", AverageConcurrentRequests: s.concurrency})
				ours.Record(when, s.concurrency)
			}
		}
	}
}

// follow makes the fleet as large as desired: what boots goes first.
func (r *revision) follow(fleet, desired int, readyAt time.Time, booting []time.Time) (int, []time.Time) {
	for ; fleet < desired; fleet++ {
		booting = append(booting, readyAt)
	}
	for ; fleet > desired; fleet-- {
		if len(booting) > 0 {
			booting = booting[:len(booting)-1]
		} else {
			r.ready--
		}
	}
	return fleet, booting
}

func (c *course) note(desired, fleet int) {
	switch {
	case desired == 0 && fleet > 0:
		c.zeros++
	case desired > 0 && fleet == 0:
		c.wakes++
	case desired > fleet:
		c.rises++
	case desired < fleet:
		c.falls++
	}
	if desired >= 2*max(1, fleet) {
		c.jumps++
	}
	c.most = max(c.most, desired)
}

// require fails a comparison that did not come past what it is to compare.
func (c course) require(t *testing.T, what string, n, least int) {
	t.Helper()
	if n < least {
		t.Errorf("the series came past %d %s, want at least %d: %+v", n, what, least, c)
	}
}

// drawn is a random series: levels that hold for a while, some of them a hair
// above a multiple of the target, bursts, silence, replicas that die, and scrapes
// that fail for shorter and for longer than the window.
func drawn(seed uint64, batch, seconds int) func(int) (second, bool) {
	rng := rand.New(rand.NewPCG(seed, 7))
	level, noise, until, down, downUntil := 0.0, 0.0, 0, false, 0
	return func(at int) (second, bool) {
		if at >= until {
			until, noise = at+1+int(rng.ExpFloat64()*40), 0.5
			switch draw := rng.Float64(); {
			case draw < 0.25:
				level = 0
				until += rng.IntN(150)
			case draw < 0.4:
				level *= 2 + 10*rng.Float64()
			case draw < 0.6: // the average is cut after six decimals
				level, noise = 0.7*float64(batch*(1+rng.IntN(9)))+[]float64{4e-7, 4e-6}[rng.IntN(2)], 0
				until += 70
			default:
				level = math.Exp(rng.Float64() * 7)
			}
			level = math.Min(level, 20_000)
		}
		if at >= downUntil {
			down = rng.Float64() < 0.1
			downUntil = at + 1 + int(rng.ExpFloat64()*30)
			if down && rng.Float64() < 0.2 {
				downUntil += 70
			}
		}
		return second{level * (1 + noise*(2*rng.Float64()-1)), down, rng.Float64() < 0.01}, at < seconds
	}
}

func TestOurKnativeDecidesAsKnativeDoesOnRandomSeries(t *testing.T) {
	var all course
	for seed := range uint64(40) {
		batch := []int{1, 7, 16, 37, 100, 256}[seed%6]
		boot := []time.Duration{0, 3 * time.Second, 31 * time.Second, 2 * time.Minute}[seed%4]
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			c := compare(t, batch, int(seed%5), boot, drawn(seed, batch, 4000))
			all = course{
				all.ticks + c.ticks, all.rises + c.rises, all.falls + c.falls, all.zeros + c.zeros, all.wakes + c.wakes,
				all.invalid + c.invalid, all.jumps + c.jumps, max(all.most, c.most),
			}
		})
	}
	t.Logf("%+v", all)
	all.require(t, "ticks", all.ticks, 50_000)
	all.require(t, "rises", all.rises, 1000)
	all.require(t, "falls", all.falls, 500)
	all.require(t, "falls to zero", all.zeros, 50)
	all.require(t, "wakes from zero", all.wakes, 50)
	all.require(t, "jumps to twice as many", all.jumps, 50)
	all.require(t, "ticks without data", all.invalid, 100)
}

// The published Azure trace, as requests that take 12 s each: its concurrency in
// every second follows from Little's law, replayed at three scales.
func TestOurKnativeDecidesAsKnativeDoesOnARealTrace(t *testing.T) {
	dir := os.Getenv("PENSTOCK_TRACES")
	if dir == "" {
		t.Skip("PENSTOCK_TRACES names no folder of traces")
	}
	const service = 12
	arrivals := perSecond(t, filepath.Join(dir, "azure_2023_conv.csv.gz"))
	for _, scale := range []int{1, 10, 60} {
		t.Run(fmt.Sprintf("times %d", scale), func(t *testing.T) {
			c := compare(t, 16, 1, time.Minute, func(at int) (second, bool) {
				n := 0
				for s := max(0, at-service+1); s <= at && s < len(arrivals); s++ {
					n += arrivals[s]
				}
				return second{concurrency: float64(n * scale)}, at < len(arrivals)+300 // and 300 s of silence
			})
			t.Logf("%+v", c)
			c.require(t, "ticks", c.ticks, 1800)
			c.require(t, "changes", c.rises+c.falls, 20)
			c.require(t, "falls to zero", c.zeros, 1)
		})
	}
}

// perSecond counts the arrivals of a request file.
func perSecond(t *testing.T, path string) []int {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	zip, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(zip).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var counts []int
	for _, row := range rows[1:] {
		ms, err := strconv.ParseFloat(row[0], 64)
		if err != nil {
			t.Fatal(err)
		}
		for len(counts) <= int(ms/1000) {
			counts = append(counts, 0)
		}
		counts[int(ms/1000)]++
	}
	return counts
}

// What the rewrite leaves out does nothing as shipped, and what it has as
// constants is what Knative ships.
func TestTheConstantsOfOurKnativeAreThoseThatKnativeShips(t *testing.T) {
	c, err := config.NewConfigFromMap(map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		what       string
		have, want float64
	}{
		{"container-concurrency-target-percentage", c.ContainerConcurrencyTargetFraction, 0.7},
		{"target-burst-capacity", c.TargetBurstCapacity, 211},
		{"stable-window", c.StableWindow.Seconds(), 60},
		{"panic-window-percentage", c.PanicWindowPercentage, 10},
		{"panic-threshold-percentage", c.PanicThresholdPercentage, 200},
		{"max-scale-up-rate", c.MaxScaleUpRate, 1000},
		{"max-scale-down-rate", c.MaxScaleDownRate, 2},
		{"scale-to-zero-grace-period", c.ScaleToZeroGracePeriod.Seconds(), 30},
		{"scale-to-zero-pod-retention-period", c.ScaleToZeroPodRetentionPeriod.Seconds(), 0},
		{"initial-scale", float64(c.InitialScale), 1},
		{"scale-down-delay", c.ScaleDownDelay.Seconds(), 0},
		{"min-scale", float64(c.MinScale), 0},
	} {
		if cmp.Compare(row.have, row.want) != 0 {
			t.Errorf("%s is %v, our constant %v", row.what, row.have, row.want)
		}
	}
	if !c.EnableScaleToZero {
		t.Error("scale to zero is off as shipped")
	}
}
