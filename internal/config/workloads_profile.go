package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// checkProfiles turns the file's profiles into variants by name. The built-in
// catalogue's stand beside them, and a profile of the file goes before one of
// the same name.
func (r *workloadsReader) checkProfiles() map[string]WorkloadVariant {
	all := map[string]WorkloadVariant{}
	for _, e := range r.catalogue.Entries {
		all[e.Profile.Name] = r.builtin(e)
	}
	for _, name := range slices.Sorted(maps.Keys(r.written.Profiles)) {
		all[name] = r.checkProfile(name, r.written.Profiles[name])
	}
	return all
}

// builtin is a catalogue entry at the catalogue's price.
func (r *workloadsReader) builtin(e Entry) WorkloadVariant {
	a, _ := r.catalogue.Accelerator(cmp.Or(e.Accelerator.Type, "generic"))
	count := max(1, e.Accelerator.Count)
	return WorkloadVariant{
		Name: e.Profile.Name, Profile: e.Profile,
		Accelerator: scale.Accelerator{Type: e.Profile.Name, Count: count},
		OnDemand:    a.OnDemand * float64(count), Spot: a.Spot * float64(count),
	}
}

func (r *workloadsReader) checkProfile(name string, p profileForm) WorkloadVariant {
	at := join("profiles", name)
	v := WorkloadVariant{
		Name: name, Accelerator: scale.Accelerator{Type: name, Count: 1},
		OnDemand: r.number(at+".price_per_hour.on_demand", &p.PricePerHour.OnDemand, aboveZero(0)),
		Spot:     r.number(at+".price_per_hour.spot", p.PricePerHour.Spot, aboveZero(0)),
	}
	switch {
	case p.ServiceTime != nil:
		v.Profile = r.checkService(at, *p.ServiceTime)
		for _, key := range []string{
			"linear_ops", "kv_bytes_per_token", "weights_gb", "gpu_memory_gb", "memory_utilisation",
			"memory_bandwidth_gb_s", "bandwidth_efficiency", "overhead_ms", "chunked_prefill_tokens", "max_batch",
		} {
			if r.has(join(at, key)) {
				r.fault(join(at, key), "has no effect beside service_time, which is for models without tokens.")
			}
		}
	case p.LinearOps != nil:
		v.Accelerator.Count = max(1, p.LinearOps.TP)
		v.Profile = r.checkTokens(at, p, v.Accelerator.Count)
	case r.faulted(at+".linear_ops") || r.faulted(at+".service_time"):
	default:
		r.fault(at, "gives neither linear_ops (for a model with tokens) nor service_time (for one without).")
	}
	v.Profile.Name = name
	return v
}

// checkService takes a service time.
func (r *workloadsReader) checkService(at string, s serviceForm) scale.Profile {
	at = join(at, "service_time")
	if s.Mean == 0 && !r.faulted(join(at, "mean")) && r.has(join(at, "mean")) {
		r.fault(join(at, "mean"), "is 0, where a time is wanted.")
	}
	if s.Concurrency < 1 && !r.faulted(join(at, "concurrency")) {
		r.fault(join(at, "concurrency"), "is %d. Set it to 1 or more.", s.Concurrency)
	}
	return scale.Profile{Service: scale.ServiceTime{
		Mean: time.Duration(s.Mean), CV: r.number(join(at, "cv"), s.CV, bounded{otherwise: 0.5, most: 10}), Concurrency: s.Concurrency,
	}}
}

// checkTokens takes a profile of continuous batching.
func (r *workloadsReader) checkTokens(at string, p profileForm, accelerators int) scale.Profile {
	before := len(*r.faults)
	path := func(key string) string { return join(at, key) }
	for key, said := range map[string]bool{
		"kv_bytes_per_token": p.KVBytesPerToken != nil, "weights_gb": p.WeightsGB != nil,
		"gpu_memory_gb": p.GPUMemoryGB != nil, "memory_bandwidth_gb_s": p.MemoryBandwidthGBs != nil,
	} {
		if !said {
			r.fault(path(key), "is missing: a profile with linear_ops needs it.")
		}
	}
	overhead := defaultOverheadOne
	if accelerators > 1 {
		overhead = defaultOverheadMany
	}
	share := func(otherwise float64) bounded { return bounded{otherwise: otherwise, open: true, most: 1} }
	profile := scale.Profile{
		KVBytesPerToken:   r.number(path("kv_bytes_per_token"), p.KVBytesPerToken, aboveZero(0)),
		WeightBytes:       gigabytes(r.number(path("weights_gb"), p.WeightsGB, aboveZero(0))),
		MemoryBytes:       gigabytes(r.number(path("gpu_memory_gb"), p.GPUMemoryGB, aboveZero(0))),
		MemoryUtilisation: r.number(path("memory_utilisation"), p.MemoryUtilisation, share(defaultUtilisation)),
		Bandwidth: gigabytes(r.number(path("memory_bandwidth_gb_s"), p.MemoryBandwidthGBs, aboveZero(0))) *
			r.number(path("bandwidth_efficiency"), p.BandwidthEfficiency, share(kvEfficiency)),
		Overhead:     milliseconds(r.number(path("overhead_ms"), p.OverheadMS, bounded{otherwise: overhead.Seconds() * 1e3, most: 1e6})),
		PrefillChunk: r.count(path("chunked_prefill_tokens"), p.ChunkedPrefillTokens, defaultPrefillChunk),
		MaxBatch:     r.count(path("max_batch"), p.MaxBatch, defaultMaxBatch),
		Linear:       r.checkLinear(path("linear_ops"), *p.LinearOps),
	}
	if len(*r.faults) == before && profile.KVCapacity() < typicalTokens {
		r.fault(path("gpu_memory_gb"), "is too little: %s, and one request of ordinary size needs %d.", profile.MemoryArithmetic(), typicalTokens)
	}
	return profile
}

// gigabytes is that many (10⁹ bytes each), in whole bytes.
func gigabytes(gb float64) float64 { return math.Round(gb * 1e9) }

// milliseconds is that many, to the nanosecond.
func milliseconds(ms float64) time.Duration {
	return time.Duration(math.Round(ms * float64(time.Millisecond)))
}

// checkLinear reads the points of a model on a GPU out of a file of measured
// operators.
func (r *workloadsReader) checkLinear(at string, form linearOpsForm) []scale.LinearPoint {
	factor := r.number(join(at, "scale"), form.Scale, aboveZero(1))
	floor := milliseconds(r.number(join(at, "floor_ms"), form.FloorMS, bounded{most: 1e6}))
	if form.TP < 1 && r.has(join(at, "tp")) && !r.faulted(join(at, "tp")) {
		r.fault(join(at, "tp"), "is %d. Set it to 1 or more.", form.TP)
	}
	file, header := r.file(join(at, "file"), form.File)
	if header == nil {
		return nil
	}
	measured, err := r.measuredIn(file)
	if err != nil {
		r.fault(join(at, "file"), "can not be read: %v.", err)
		return nil
	}
	points, found := measured[measuredKey{form.Model, form.GPU, form.TP}]
	if !found {
		r.unmeasured(at, form, measured)
		return nil
	}
	line := make([]scale.LinearPoint, len(points))
	for i, p := range points {
		took := max(time.Duration(float64(p.Time)*factor), floor)
		line[i] = scale.LinearPoint{Tokens: p.Tokens, Time: took.Round(time.Microsecond)}
	}
	return line
}

// unmeasured says which of model, GPU and tensor parallelism is not in a file
// of measured operators, and what is.
func (r *workloadsReader) unmeasured(at string, form linearOpsForm, measured map[measuredKey][]scale.LinearPoint) {
	if r.faulted(join(at, "model")) || r.faulted(join(at, "gpu")) || r.faulted(join(at, "tp")) || form.Model == "" || form.GPU == "" || form.TP < 1 {
		return
	}
	var models, gpus, tps []string
	for key := range measured {
		models = append(models, key.model)
		if key.model != form.Model {
			continue
		}
		gpus = append(gpus, key.gpu)
		if key.gpu == form.GPU {
			tps = append(tps, strconv.Itoa(key.tp))
		}
	}
	switch {
	case len(gpus) == 0:
		r.fault(join(at, "model"), "is %q, which %s does not hold. %s", form.Model, form.File, didYouMean(form.Model, distinct(models)))
	case len(tps) == 0:
		r.fault(join(at, "gpu"), "is %q, on which %s holds no %s. %s", form.GPU, form.File, form.Model, didYouMean(form.GPU, distinct(gpus)))
	default:
		r.fault(join(at, "tp"), "is %d, with which %s holds no %s on %s. Known are %s.", form.TP, form.File, form.Model, form.GPU, inWords(distinct(tps)))
	}
}

// distinct returns the words in order, each once.
func distinct(words []string) []string { return slices.Compact(sorted(words)) }

// measuredKey is what operators were measured of.
type measuredKey struct {
	model, gpu string
	tp         int
}

// measuredIn reads a file of measured operators once.
func (r *workloadsReader) measuredIn(file string) (map[measuredKey][]scale.LinearPoint, error) {
	if known, found := r.measured[file]; found {
		return known, nil
	}
	rows, err := openRows(file)
	if err != nil {
		return nil, err
	}
	measured, err := readMeasured(rows)
	if err := errors.Join(err, rows.close()); err != nil {
		return nil, err
	}
	r.measured[file] = measured
	return measured, nil
}

// readMeasured reads measured linear operators: the milliseconds of an
// iteration by the tokens in it, which ascend.
func readMeasured(rows *rows) (map[measuredKey][]scale.LinearPoint, error) {
	columns := []string{"model", "gpu", "tp", "tokens_in_iteration", "linear_ops_ms"}
	if name := lacks(rows.header, columns...); name != "" {
		return nil, rows.fault(fmt.Errorf("column %s is missing", name))
	}
	model, gpu, tp, tokens, took := rows.column(columns[0]), rows.column(columns[1]), rows.column(columns[2]), rows.column(columns[3]), rows.column(columns[4])
	measured := map[measuredKey][]scale.LinearPoint{}
	for {
		row, err := rows.next()
		if errors.Is(err, io.EOF) {
			return measured, nil
		}
		if err != nil {
			return nil, err
		}
		parallel, err := rows.number(row, tp)
		if err != nil {
			return nil, err
		}
		count, err := rows.number(row, tokens)
		if err != nil {
			return nil, err
		}
		ms, err := rows.number(row, took)
		if err != nil {
			return nil, err
		}
		key := measuredKey{model: row[model], gpu: row[gpu], tp: int(parallel)}
		points := measured[key]
		if count < 1 || ms <= 0 || ms > 1e6 || len(points) > 0 && int(count) <= points[len(points)-1].Tokens {
			return nil, rows.fault(fmt.Errorf("%v tokens in %v ms: tokens ascend from 1, and times are above 0 and below 1000 s", count, ms))
		}
		measured[key] = append(points, scale.LinearPoint{Tokens: int(count), Time: milliseconds(ms)})
	}
}
