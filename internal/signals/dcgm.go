package signals

import "github.com/penstock/penstock/internal/scale"

// dcgm names the families of NVIDIA's DCGM exporter, on port 9400. The engine's
// active share goes before GPU_UTIL, which does not exist for a MIG instance and
// is near 100 % at a batch of one; memory is in MiB and an engine takes most of
// it when it starts: neither says how much more a model server could serve. A MIG
// instance is its GPU and its own ID: the UUID is its parent's. Unsupported
// values are huge numbers that stand for nothing. Source: NVIDIA/dcgm-exporter
// etc/default-counters.csv @d5e5f510.
func dcgm() dialect {
	const used = "DCGM_FI_DEV_FB_USED"
	field := func(name string, unit float64, highest bool) source {
		return source{form: plain, name: name, unit: unit, highest: highest, blanks: true}
	}
	total := field(used, mebibytes, false)
	total.plus = "DCGM_FI_DEV_FB_FREE"
	return dialect{
		engine: "dcgm", title: "NVIDIA DCGM exporter", scope: OfDevices, identity: []string{"gpu", "GPU_I_ID", "namespace", "pod"},
		marks: []string{"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_PROF_GR_ENGINE_ACTIVE", used, "DCGM_FI_DEV_POWER_USAGE"},
		measures: []measure{
			{scale.SignalGPUUsage, []source{field("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 1, true), field("DCGM_FI_DEV_GPU_UTIL", percent, true)}},
			{scale.SignalGPUMemoryUsed, []source{field(used, mebibytes, false)}},
			{scale.SignalGPUMemoryTotal, []source{total}},
		},
	}
}
