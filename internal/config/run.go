package config

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/api/v1alpha1"
)

// Defaults of a Run.
const (
	defaultReady        = "/health"
	defaultMetrics      = "/metrics"
	defaultReadyTimeout = 10 * time.Minute
	defaultReplicaDrain = 10 * time.Minute
	defaultGrace        = 30 * time.Second
)

// Run says how a replica is run as a process.
type Run struct {
	Command []string          // program and arguments, with placeholders
	Env     map[string]string // added to the environment, with placeholders
	Without []string          // variables of our environment that are none of its business: they hold keys
	Dir     string            // absolute
	Ready   string            // HTTP path that answers 200 once the replica can serve
	Metrics string            // HTTP path of its Prometheus metrics
	// ReadyTimeout is the longest time from start to ready.
	ReadyTimeout time.Duration
	// DrainTimeout bounds how long requests in flight may take when a replica
	// is drained; zero means as long as they want.
	DrainTimeout time.Duration
	// Grace is the time from SIGTERM to SIGKILL; draining comes before SIGTERM.
	Grace time.Duration
}

// Values take the place of the placeholders of a Run.
type Values struct {
	Port     int    // {{port}}
	Penstock string // {{penstock}}: path of the running executable
	Replica  string // {{replica}}
	Model    string // {{model}}
	GPUs     []int  // {{gpus}}: indices of its accelerators, joined by commas
}

// placeholderPattern matches {{name}}, blanks inside allowed.
var placeholderPattern = regexp.MustCompile(`\{\{\s*([^{}]*?)\s*\}\}`)

// placeholders returns the known names, sorted.
func placeholders() []string { return []string{"gpus", "model", "penstock", "port", "replica"} }

func (v Values) of(name string) string {
	switch name {
	case "port":
		return strconv.Itoa(v.Port)
	case "penstock":
		return v.Penstock
	case "replica":
		return v.Replica
	case "model":
		return v.Model
	case "gpus":
		indices := make([]string, len(v.GPUs))
		for i, gpu := range v.GPUs {
			indices[i] = strconv.Itoa(gpu)
		}
		return strings.Join(indices, ",")
	default:
		return ""
	}
}

// expand replaces the placeholders in a text.
func (v Values) expand(text string) string {
	return placeholderPattern.ReplaceAllStringFunc(text, func(found string) string {
		return v.of(placeholderPattern.FindStringSubmatch(found)[1])
	})
}

// Argv returns the command with the values in place.
func (r Run) Argv(v Values) []string {
	argv := make([]string, len(r.Command))
	for i, argument := range r.Command {
		argv[i] = v.expand(argument)
	}
	return argv
}

// Environ returns the variables as KEY=VALUE with the values in place, sorted.
func (r Run) Environ(v Values) []string {
	var environ []string
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		environ = append(environ, name+"="+v.expand(r.Env[name]))
	}
	return environ
}

// checkRun turns a variant's run into a value.
func (m modelObject) checkRun(r v1alpha1.Run, path, beside string) Run {
	run := Run{
		Command: r.Command, Env: r.Env, Dir: within(beside, r.Dir),
		Ready: orDefault(r.Ready, defaultReady), Metrics: orDefault(r.Metrics, defaultMetrics),
		ReadyTimeout: m.positive(join(path, "readyTimeout"), r.ReadyTimeout, defaultReadyTimeout),
		DrainTimeout: m.positive(join(path, "drainTimeout"), r.DrainTimeout, defaultReplicaDrain),
		Grace:        m.positive(join(path, "grace"), r.Grace, defaultGrace),
	}
	m.checkHTTPPath(join(path, "ready"), run.Ready)
	m.checkHTTPPath(join(path, "metrics"), run.Metrics)
	m.checkCommand(r, path)
	return run
}

// checkCommand refuses unknown placeholders, and a command that could not know
// its port.
func (m modelObject) checkCommand(r v1alpha1.Run, path string) {
	texts := map[string]string{}
	for i, argument := range r.Command {
		texts[join(path, "command")+"["+strconv.Itoa(i)+"]"] = argument
	}
	for name, value := range r.Env {
		at := join(join(path, "env"), name)
		texts[at] = value
		if name == "" || strings.ContainsAny(name, "=\x00") {
			m.fault(at, "is no name of a variable.")
		}
	}
	port := false
	for at, text := range texts {
		if strings.Contains(text, "\x00") {
			m.fault(at, "holds a NUL character.")
		}
		for _, found := range placeholderPattern.FindAllStringSubmatch(text, -1) {
			port = port || found[1] == "port"
			if !slices.Contains(placeholders(), found[1]) {
				m.fault(at, "holds %s, which is no known placeholder. %s", found[0], didYouMean(found[1], placeholders()))
			}
		}
	}
	if len(r.Command) == 0 || r.Command[0] == "" {
		m.fault(join(path, "command"), "names no program.")
	} else if !port {
		m.fault(join(path, "command"), "holds no {{port}}: replicas share this machine, so that each must be told its port. Add it, such as --port {{port}}.")
	}
}

// checkHTTPPath refuses what is no path of an HTTP request.
func (o *object) checkHTTPPath(path, value string) {
	if !strings.HasPrefix(value, "/") || strings.ContainsAny(value, " \t\r\n#") {
		o.fault(path, "is %q, which is no HTTP path: begin it with a slash, such as %s.", value, defaultReady)
	}
}
