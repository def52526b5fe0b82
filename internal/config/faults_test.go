package config

import (
	"strings"
	"testing"

	"github.com/penstock/penstock/api/v1alpha1"
)

const minimal = `apiVersion: penstock.dev/v1alpha1
kind: InferenceAutoscaler
metadata: {name: chat}
spec:
  model: org/chat
  slo:
    ttft: 2s
    tpot: 100ms
  variants:
  - name: a100
    accelerator: {type: nvidia-a100-80gb}
    profile: {name: 8b-a100}
    run:
      command: [engine, --port, "{{port}}"]
`

// Each row replaces a text in the minimal file, or appends to it, and names the
// whole fault that is expected.
func TestFaultsSayWhereAndWhat(t *testing.T) {
	for name, c := range map[string]struct{ replace, by, want string }{
		"an unknown key names the nearest": {
			"ttft: 2s", "tttf: 2s",
			"p.yaml:7 spec.slo.tttf is no known key. Did you mean ttft?",
		},
		"an unknown key far from all lists what is known": {
			"ttft: 2s", "ttft: 2s\n    pumpernickel: 3",
			"p.yaml:8 spec.slo.pumpernickel is no known key. Known are ttft, tpot, latency, objective, window, maxHold.",
		},
		"an unknown kind names the nearest": {
			"kind: InferenceAutoscaler", "kind: InferenceAutoScaler",
			`p.yaml:2 kind is the text "InferenceAutoScaler". Did you mean InferenceAutoscaler?`,
		},
		"another version": {
			"penstock.dev/v1alpha1", "penstock.dev/v1",
			`p.yaml:1 apiVersion is the text "penstock.dev/v1". Set it to penstock.dev/v1alpha1.`,
		},
		"a document that is no object":  {"", "---\n[a]\n", "p.yaml:16 is a list, where an object with apiVersion, kind and spec is wanted."},
		"a syntax error":                {"metadata: {name: chat}", "metadata: {name: chat", "p.yaml:3 is no YAML: did not find expected ',' or '}'"},
		"no model at all":               {minimal, "# nothing\n", "p.yaml holds no InferenceAutoscaler: there is nothing to serve."},
		"a key set twice":               {"ttft: 2s", "ttft: 2s\n    ttft: 3s", "p.yaml:7 spec.slo.ttft is set twice, on lines 7 and 8."},
		"a number where text is wanted": {"org/chat", "8", "p.yaml:5 spec.model is the number 8, where text is wanted: write it in quotes."},
		"a list where text is wanted":   {"org/chat", "[a]", "p.yaml:5 spec.model is a list, where one value is wanted."},
		"text where a number is wanted": {"model: org/chat", "model: org/chat\n  priority: high", `p.yaml:6 spec.priority is the text "high", where a whole number is wanted.`},
		"a duration without unit":       {"ttft: 2s", "ttft: 2", `p.yaml:7 spec.slo.ttft is wrong: "2" is no duration: write it like 800ms, 90s, 15m, 10h or 28d.`},
		"a share without percent":       {"ttft: 2s", "ttft: 2s\n    objective: 0.99", `p.yaml:8 spec.slo.objective is wrong: "0.99" is no percentage: write it like 99% or 99.9%.`},
		"a missing key":                 {"  model: org/chat\n", "", "p.yaml:4 spec.model is missing."},
		"a missing name":                {"{name: chat}", "{}", "p.yaml:3 metadata.name is missing."},
		"a bad object name":             {"{name: chat}", "{name: Chat Bot}", `p.yaml:3 metadata.name is "Chat Bot". Use lower-case letters, digits, dashes and dots only.`},
		"a served name with a blank":    {"org/chat", "my model", `p.yaml:5 spec.model is "my model": blanks and control characters can not be part of a name.`},
		"an empty list of variants": {
			minimal[strings.Index(minimal, "variants:"):], "variants: []\n",
			"p.yaml:9 spec.variants is empty: a model needs at least one variant.",
		},

		"a path with a slash at its end": {"org/chat", "org/chat\n  paths: [/detect/]", `p.yaml:6 spec.paths[0] is "/detect/". Write a path in its plain form, such as /detect: begun by a slash, without one at its end.`},
		"a path that is escaped":         {"org/chat", "org/chat\n  paths: [/d%20e]", `p.yaml:6 spec.paths[0] is "/d%20e". Write a path in its plain form, such as /detect: begun by a slash, without one at its end.`},
		"a path that is all paths":       {"org/chat", "org/chat\n  paths: [/]", `p.yaml:6 spec.paths[0] is /, which is every path. Use spec.hosts to give a model a whole host.`},
		"a path of the gateway's":        {"org/chat", "org/chat\n  paths: [/v1/tokenize]", `p.yaml:6 spec.paths[0] is "/v1/tokenize", and /v1 is the gateway's own. Choose another beginning, or use spec.hosts.`},
		"a path twice":                   {"org/chat", "org/chat\n  paths: [/detect, /detect]", `p.yaml:6 spec.paths[1] is "/detect", which belongs to chat already. Give it to one model, once.`},
		"a host with a port":             {"org/chat", "org/chat\n  hosts: [\"a.b:80\"]", `p.yaml:6 spec.hosts[0] is "a.b:80". Write a host name in lower case without a port, such as detect.example.com.`},

		"a certificate without its key": {"", "---\napiVersion: penstock.dev/v1alpha1\nkind: ServerConfig\nspec: {tls: {certFile: c.pem}}\n", "p.yaml:18 spec.tls.keyFile is missing beside certFile: TLS needs both."},
		"gateways without an address":   {"", "---\napiVersion: penstock.dev/v1alpha1\nkind: ServerConfig\nspec: {gateways: {tokenFile: t}}\n", "p.yaml:18 spec.gateways.listen is missing beside tokenFile: other gateways need an address, such as 127.0.0.1:8082."},
		"a password in an address":      {"", "---\napiVersion: penstock.dev/v1alpha1\nkind: ServerConfig\nspec: {store: {postgres: \"postgres://me:hunter2@db/x\"}}\n", "p.yaml:18 spec.store.postgres holds a password. Remove it, and give it in a file that spec.store.passwordFile names, or in PGPASSWORD."},
		"a password among words":        {"", "---\napiVersion: penstock.dev/v1alpha1\nkind: ServerConfig\nspec: {store: {postgres: \"host=db password=hunter2\"}}\n", "p.yaml:18 spec.store.postgres holds a password. Remove it, and give it in a file that spec.store.passwordFile names, or in PGPASSWORD."},
		"an address of nothing":         {"", "---\napiVersion: penstock.dev/v1alpha1\nkind: ServerConfig\nspec: {store: {postgres: \"mysql://db\"}}\n", "p.yaml:18 spec.store.postgres is no address. Write it like postgres://penstock@db.example.com/penstock."},
		"two stores":                    {"", "---\napiVersion: penstock.dev/v1alpha1\nkind: ServerConfig\nspec: {store: {postgres: \"postgres://db/x\", path: j.db}}\n", "p.yaml:18 spec.store.path is there beside spec.store.postgres: the journal is in one place. Remove one of them."},
		"a password for nothing":        {"", "---\napiVersion: penstock.dev/v1alpha1\nkind: ServerConfig\nspec: {store: {passwordFile: x}}\n", "p.yaml:18 spec.store.passwordFile is for spec.store.postgres, which is missing."},
		"a store for a minute":          {"", "---\napiVersion: penstock.dev/v1alpha1\nkind: ServerConfig\nspec: {store: {keep: 1m}}\n", "p.yaml:18 spec.store.keep is 1m0s. Set it to 1h or more."},
		"a store of no room":            {"", "---\napiVersion: penstock.dev/v1alpha1\nkind: ServerConfig\nspec: {store: {maxBytes: 1MB}}\n", "p.yaml:18 spec.store.maxBytes is 1MB. Set it to 10MB or more."},
		"a key without its certificate": {"", "---\napiVersion: penstock.dev/v1alpha1\nkind: ServerConfig\nspec: {tls: {keyFile: c.pem}}\n", "p.yaml:18 spec.tls.certFile is missing beside keyFile: TLS needs both."},
		"only one of ttft and tpot":     {"    tpot: 100ms\n", "", "p.yaml:6 spec.slo is not complete. Set both ttft and tpot (such as ttft: 1s, tpot: 50ms), or latency for a model without tokens."},
		"latency beside ttft":           {"ttft: 2s", "ttft: 2s\n    latency: 3s", "p.yaml:8 spec.slo.latency stands beside ttft or tpot. Set ttft and tpot for a model that streams tokens, or latency for one without."},
		"an objective without slack":    {"ttft: 2s", "ttft: 2s\n    objective: 100%", "p.yaml:8 spec.slo.objective is 100%. Set it above 0% and below 100%, such as 99%: what is left is the error budget."},
		"a written zero duration":       {"ttft: 2s", "ttft: 2s\n    window: 0s", "p.yaml:8 spec.slo.window is 0, where a time is wanted. Leave it out for 28d."},
		"a tpot that a lone request misses": {
			"tpot: 100ms", "tpot: 10ms",
			"p.yaml:8 spec.slo.tpot is 10ms, but variant a100 takes 12.7ms per token even for a lone request. Raise it, or take a faster accelerator.",
		},
		"a ttft that a lone request misses": {
			"ttft: 2s", "ttft: 50ms",
			"p.yaml:7 spec.slo.ttft is 50ms, but variant a100 takes 77.8ms for a lone prompt of 1024 tokens. Raise it, or take a faster accelerator.",
		},
		"a hold shorter than the cold start": {
			"ttft: 2s", "ttft: 2s\n    maxHold: 30s",
			"p.yaml:8 spec.slo.maxHold is 30s, but variant a100 takes 1m to start: a request that wakes it from zero would expire. Raise maxHold, or set spec.replicas.min to 1 or more.",
		},

		"a window longer than is counted": {
			"ttft: 2s", "ttft: 2s\n    window: 90d",
			"p.yaml:8 spec.slo.window is 90d, and requests are counted for 31d. Set it to 31d or less.",
		},
		"weights that do not fit": {
			"profile: {name: 8b-a100}", "profile: {weights: 141GB, kvBytesPerToken: 327680}",
			"p.yaml:11 spec.variants[0].accelerator has too little memory: 80.0 GB × 0.90 − 141.0 GB weights = -69.0 GB for KV cache ÷ 327680 bytes/token = -210571 tokens, and one request of ordinary size needs 4096. Raise count, take an accelerator with more memory, or smaller (quantised) weights.",
		},
		"a profile for another accelerator": {
			"name: 8b-a100", "name: 8b-h100",
			"p.yaml:12 spec.variants[0].profile.name is 8b-h100, which was measured on 1 × nvidia-h100-80gb as published, and the variant has 1 × nvidia-a100-80gb. Give profile.weights and profile.kvBytesPerToken instead.",
		},
		"an unknown profile":           {"name: 8b-a100", "name: 8b-a10", `p.yaml:12 spec.variants[0].profile.name is "8b-a10", which is no catalogue profile. Did you mean 8b-a100?`},
		"a size beside a profile":      {"name: 8b-a100", "name: 8b-a100, weights: 8GB", "p.yaml:12 spec.variants[0].profile.weights belongs to the catalogue's 8b-a100. Leave it out, or leave out name."},
		"a model of unknown size":      {"    profile: {name: 8b-a100}\n", "", "p.yaml:10 spec.variants[0].profile does not say how large org/chat is. Set profile.weights and profile.kvBytesPerToken (2 × layers × KV heads × head size × bytes per value), or profile.name to one of 8b-a100, 8b-h100, 8b-l4, 70b-h100x4, generic-4s."},
		"points that do not ascend":    {"name: 8b-a100", "weights: 16GB, kvBytesPerToken: 131072, linear: [{tokens: 2, time: 9ms}, {tokens: 2, time: 9ms}]", "p.yaml:12 spec.variants[0].profile.linear[1].tokens is 2. Points ascend by tokens, from 1."},
		"a batch of none":              {"name: 8b-a100", "name: 8b-a100, maxBatch: 0", "p.yaml:12 spec.variants[0].profile.maxBatch is not above 0. Leave it out for the default."},
		"service time and tokens' SLO": {"name: 8b-a100", "service: {mean: 1s}", "p.yaml:12 spec.variants[0].profile is of a model without tokens. Set spec.slo.latency instead of ttft and tpot."},
		"latency without service time": {"    ttft: 2s\n    tpot: 100ms\n", "    latency: 3s\n", "p.yaml:11 spec.variants[0].profile is of a model with tokens, but spec.slo.latency is for models without. Set spec.slo.ttft and tpot, or give profile.service."},
		"a latency below the mean": {
			minimal[strings.Index(minimal, "    ttft"):strings.Index(minimal, "    run")], "    latency: 3s\n  variants:\n  - name: a100\n    accelerator: {type: generic}\n    profile: {name: generic-4s}\n",
			"p.yaml:7 spec.slo.latency is 3s, but variant a100 takes 4s for a lone request on average. Raise it, or take a faster accelerator.",
		},

		"an unknown accelerator": {
			"nvidia-a100-80gb", "nvidia-a100-80g",
			`p.yaml:11 spec.variants[0].accelerator.type is "nvidia-a100-80g", which neither the catalogue nor a PriceList knows. Did you mean nvidia-a100-80gb? Any other type needs a price: a PriceList with prices: [{accelerator: nvidia-a100-80g, onDemand: 1.00}].`,
		},
		"spot without a price": {
			"{type: nvidia-a100-80gb}\n    profile: {name: 8b-a100}", "{type: nvidia-l40s}\n    profile: {weights: 16GB, kvBytesPerToken: 131072}\n    capacity: spot",
			"p.yaml:13 spec.variants[0].capacity is spot, but no spot price of nvidia-l40s is known. Give one in a PriceList, or set it to onDemand.",
		},
		"an unknown capacity":           {"name: a100\n", "name: a100\n    capacity: ondemand\n", `p.yaml:11 spec.variants[0].capacity is "ondemand". Did you mean onDemand?`},
		"a variant twice":               {"", strings.Replace(minimal[strings.Index(minimal, "  - name"):], "x", "x", 1), `p.yaml:15 spec.variants[1].name is "a100" again: each variant needs a name of its own.`},
		"a bad variant name":            {"name: a100", "name: A_100", `p.yaml:10 spec.variants[0].name is "A_100". Use at most 63 lower-case letters, digits and dashes.`},
		"more GPUs than the server has": {"", server("  gpus: [{type: nvidia-a100-80gb, count: 1}]") + second("    accelerator: {type: nvidia-a100-80gb, count: 2}\n    profile: {weights: 16GB, kvBytesPerToken: 131072}\n"), "p.yaml:31 spec.variants[0].accelerator is 2 × nvidia-a100-80gb, and ServerConfig spec.gpus declares 1 of them: no replica can ever start."},
		"GPUs of no kind":               {"", server("  gpus: none"), `p.yaml:19 spec.gpus is the text "none". Write auto, or a list such as [{type: nvidia-l4, count: 2}].`},

		"what nvidia-smi does not find": {
			"nvidia-a100-80gb", "generic",
			"p.yaml:11 spec.variants[0].accelerator.type is generic, which nvidia-smi does not find. Declare how many there are: a ServerConfig with spec: {gpus: [{type: generic, count: 1}]}.",
		},

		"no run": {
			minimal[strings.Index(minimal, "    run:"):], "",
			`p.yaml:10 spec.variants[0].run is missing: it says how a replica is started, such as run: {command: [vllm, serve, "org/chat", --port, "{{port}}"]}.`,
		},
		"no program":                {`[engine, --port, "{{port}}"]`, `[]`, "p.yaml:14 spec.variants[0].run.command names no program."},
		"no port":                   {`"{{port}}"`, `"8000"`, "p.yaml:14 spec.variants[0].run.command holds no {{port}}: replicas share this machine, so that each must be told its port. Add it, such as --port {{port}}."},
		"an unknown placeholder":    {`engine`, `"{{prot}}"`, "p.yaml:14 spec.variants[0].run.command[0] holds {{prot}}, which is no known placeholder. Did you mean port?"},
		"a ready path that is none": {"    run:", "    run:\n      ready: health", `p.yaml:14 spec.variants[0].run.ready is "health", which is no HTTP path: begin it with a slash, such as /health.`},

		"min above max":       {"  variants", "  replicas: {min: 4, max: 1}\n  variants", "p.yaml:9 spec.replicas.max is 1, below min 4. Set max to 4 or more."},
		"min above variants":  {"  variants", "  replicas: {min: 9}\n  variants", "p.yaml:9 spec.replicas.min is 9, but the variants' replicas.max and the declared GPUs hold 8."},
		"max of none":         {"  variants", "  replicas: {max: 0}\n  variants", "p.yaml:9 spec.replicas.max is 0. Set it to 1 or more."},
		"a limit of none":     {"  variants", "  limits: {upPerMinute: 0}\n  variants", "p.yaml:9 spec.limits.upPerMinute is 0. Set it above 0, or leave it out for no limit."},
		"a cap below a price": {"  variants", "  limits: {costPerHour: 1.5}\n  variants", "p.yaml:9 spec.limits.costPerHour is $1.50, less than one replica costs ($2.00): none could ever start."},
		"an unknown mode":     {"  variants", "  mode: advice\n  variants", `p.yaml:9 spec.mode is "advice". Did you mean advise?`},
		"after and disabled":  {"  variants", "  scaleToZero: {disabled: true, after: 1m}\n  variants", "p.yaml:9 spec.scaleToZero.after has no effect beside disabled: true. Leave one of them out."},

		"a floor during no schedule":  {"  variants", "  warmFloor: {during: nights}\n  variants", `p.yaml:9 spec.warmFloor.during is "nights", which is no schedule of this model. None is known here.`},
		"a floor above max":           {"  variants", "  warmFloor: {replicas: 9}\n  variants", "p.yaml:9 spec.warmFloor.replicas is 9, above the 8 replicas that the model may have (spec.replicas.max)."},
		"a floor on no variant":       {"  variants", "  warmFloor: {capacity: spot}\n  variants", "p.yaml:9 spec.warmFloor wants spot capacity, and no variant has it. Set warmFloor.capacity to what a variant has."},
		"a schedule without effect":   {"  variants", "  schedules: [{name: d, start: 0 8 * * *, duration: 1h}]\n  variants", "p.yaml:9 spec.schedules[0] has no effect. Set min, or refer to it in spec.warmFloor.during."},
		"a schedule that never comes": {"  variants", "  schedules: [{name: d, start: 0 8 30 2 *, duration: 1h, min: 1}]\n  variants", `p.yaml:9 spec.schedules[0].start is "0 8 30 2 *", which never comes.`},
		"a start that is no cron":     {"  variants", "  schedules: [{name: d, start: 8 o'clock, duration: 1h, min: 1}]\n  variants", `p.yaml:9 spec.schedules[0].start is "8 o'clock", which is no cron expression of five fields (minute, hour, day of month, month, day of week), such as "0 8 * * 1-5".`},
		"a zone in the start":         {"  variants", "  schedules: [{name: d, start: TZ=Asia/Tokyo 0 8 * * *, duration: 1h, min: 1}]\n  variants", `p.yaml:9 spec.schedules[0].start is "TZ=Asia/Tokyo 0 8 * * *": the time zone goes into timeZone.`},
		"an unknown time zone":        {"  variants", "  schedules: [{name: d, start: 0 8 * * *, duration: 1h, min: 1, timeZone: Berlin}]\n  variants", `p.yaml:9 spec.schedules[0].timeZone is "Berlin", which is no time zone: write it like Europe/Berlin or UTC.`},
		"a schedule above max":        {"  variants", "  schedules: [{name: d, start: 0 8 * * *, duration: 1h, min: 9}]\n  variants", "p.yaml:9 spec.schedules[0].min is 9, above the 8 replicas that the model may have (spec.replicas.max)."},
		"two schedules of one name": {
			"  variants", "  schedules:\n  - {name: d, start: 0 8 * * *, duration: 1h, min: 1}\n  - {name: d, start: 0 9 * * *, duration: 1h, min: 1}\n  variants",
			`p.yaml:11 spec.schedules[1].name is "d" again: each schedule needs a name of its own.`,
		},

		"an alias of two models":   {"", strings.Replace(second(""), "  slo", "  aliases: [org/chat]\n  slo", 1), `p.yaml:21 spec.aliases[0] is "org/chat", which is a name of chat already. A name belongs to one model.`},
		"an alias twice":           {"  variants", "  aliases: [a, a]\n  variants", `p.yaml:9 spec.aliases[1] is "a" again, as spec.aliases[0].`},
		"one object name twice":    {"", strings.Replace(second(""), "name: second", "name: chat", 1), `p.yaml:18 metadata.name is "chat", which is a name of chat already. A name belongs to one model.`},
		"two server configs":       {"", server("  tick: 1s") + server("  tick: 2s"), "p.yaml:22 kind is a second ServerConfig; a file has at most one."},
		"an open port":             {"", server("  listen: 0.0.0.0:8080"), `p.yaml:19 spec.listen is "0.0.0.0:8080", which other machines can reach, and there are no API keys: whoever reaches it may use the models. Give tenants keys (FleetPolicy spec.tenants; penstock key new makes one), use 127.0.0.1, or set spec.insecureListen: true.`},
		"a port on every address":  {"", server(`  listen: ":8080"`), `p.yaml:19 spec.listen is ":8080", which other machines can reach, and there are no API keys: whoever reaches it may use the models. Give tenants keys (FleetPolicy spec.tenants; penstock key new makes one), use 127.0.0.1, or set spec.insecureListen: true.`},
		"no port to listen on":     {"", server("  listen: localhost"), `p.yaml:19 spec.listen is "localhost", which is no address: write it like 127.0.0.1:8080.`},
		"a port that is none":      {"", server("  listen: 127.0.0.1:http"), `p.yaml:19 spec.listen has port "http". Set it between 1 and 65535, or to 0 for a free one.`},
		"one port for both":        {"", server("  listen: 127.0.0.1:8081"), "p.yaml:18 spec.console is 127.0.0.1:8081, the gateway's address too. Give the console a port of its own."},
		"a hurried tick":           {"", server("  tick: 1ms"), "p.yaml:19 spec.tick is 1ms. Set it between 100ms and 1m."},
		"a hold smaller than body": {"", server("  hold: {maxBytes: 1MiB}"), "p.yaml:19 spec.hold.maxBytes is 1MiB, less than one body may have (spec.maxBody 32MiB): such a request could never be held. Raise it, or lower spec.maxBody."},
		"a price of nothing":       {"", prices("{accelerator: nvidia-l4, onDemand: 0}"), "p.yaml:20 spec.prices[0].onDemand is 0. Set it above 0: what an hour costs, also of a machine of your own."},
		"a second price":           {"", prices("{accelerator: nvidia-l4, onDemand: 1}, {accelerator: nvidia-l4, onDemand: 2}"), "p.yaml:20 spec.prices[1].accelerator gives nvidia-l4 a second price."},
	} {
		t.Run(name, func(t *testing.T) {
			file := minimal + c.by
			if c.replace != "" {
				if !strings.Contains(minimal, c.replace) {
					t.Fatalf("the minimal file holds no %q", c.replace)
				}
				file = strings.Replace(minimal, c.replace, c.by, 1)
			}
			_, err := Parse("p.yaml", []byte(file))
			if err == nil {
				t.Fatalf("no fault in\n%s", file)
			}
			for _, fault := range FaultsOf(err) {
				if fault.String() == c.want {
					return
				}
			}
			t.Errorf("got\n%v\nwant among them\n%s\nin\n%s", err, c.want, file)
		})
	}
}

func server(spec string) string {
	return "---\napiVersion: " + v1alpha1.APIVersion + "\nkind: ServerConfig\nspec:\n" + spec + "\n"
}

func prices(list string) string {
	return "---\napiVersion: " + v1alpha1.APIVersion + "\nkind: PriceList\nmetadata: {name: p}\nspec:\n  prices: [" + list + "]\n"
}

// second is the minimal file once more, under other names.
func second(accelerator string) string {
	again := strings.Replace(strings.Replace(minimal, "name: chat", "name: second", 1), "org/chat", "org/second", 1)
	if accelerator != "" {
		from, to := strings.Index(again, "    accelerator"), strings.Index(again, "    run")
		again = again[:from] + accelerator + again[to:]
	}
	return "---\n" + again
}

func TestMinimalFileIsEnough(t *testing.T) {
	c, err := Parse("p.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Models) != 1 || c.Models[0].Name != "org/chat" || c.Models[0].Aliases[0] != "chat" {
		t.Errorf("got %+v", c.Models)
	}
}

func TestGuideExampleLoads(t *testing.T) {
	_, example, _ := strings.Cut(guideIntroduction, "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	if _, err := Parse("p.yaml", []byte(example)); err != nil {
		t.Error(err)
	}
}

func TestAllFaultsAreToldInTheOrderOfLines(t *testing.T) {
	file := strings.NewReplacer("ttft: 2s", "ttft: 0s", "org/chat", `""`, "{{port}}", "{{gpu}}", "8b-a100", "9b").Replace(minimal)
	_, err := Parse("p.yaml", []byte(file))
	faults := FaultsOf(err)
	if len(faults) < 5 {
		t.Fatalf("told only %d faults: %v", len(faults), err)
	}
	for i := 1; i < len(faults); i++ {
		if faults[i].Line < faults[i-1].Line {
			t.Errorf("out of order: %v", err)
		}
	}
	for range 20 {
		if _, again := Parse("p.yaml", []byte(file)); again.Error() != err.Error() {
			t.Fatalf("another order:\n%v\n%v", err, again)
		}
	}
}

func TestFileThatCanNotBeReadHasNoFaults(t *testing.T) {
	_, err := Load(t.TempDir() + "/none.yaml")
	if err == nil || FaultsOf(err) != nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("got %v", err)
	}
}
