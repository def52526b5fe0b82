package cli

// benchCmd holds the benchmarks that anybody can repeat.
type benchCmd struct {
	Scaling  scalingCmd      `cmd:"" help:"Hold what scaling costs against other autoscalers and against the known future."`
	Gateway  benchGatewayCmd `cmd:"" help:"Hold what passing the gateway costs against other proxies."`
	Reaction reactionCmd     `cmd:"" help:"Time from a step in load, and from a request at zero, to the act."`
}

// check is one figure of a benchmark held against its target.
type check struct {
	Name   string  `json:"name"`
	Target float64 `json:"target"` // the most that is allowed
	Value  float64 `json:"value"`
	Met    bool    `json:"met"`
}

func atMost(name string, target, value float64) check {
	return check{Name: name, Target: target, Value: value, Met: value <= target}
}
