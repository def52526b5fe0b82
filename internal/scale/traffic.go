package scale

// Route tells the data plane of one Replica that may be sent requests and how
// far it may be filled.
type Route struct {
	Replica    Replica
	BatchLimit int // B*: requests at once; 0 means send nothing
	// PrefillTokens bounds the prompt tokens at once whose prefill has not ended:
	// while there are as many, nothing more is sent. 0 means no bound. Without
	// it, what was held goes to a fresh replica all at once and misses its TTFT
	// waiting for prefill there.
	PrefillTokens int
	KVTokens      int // prompt and output tokens at once; 0 means that tokens do not bound it
}

// Traffic is what the data plane measured of one Model.
type Traffic struct {
	Demand Demand
	Loads  map[ReplicaID]Load // InFlight and Latency of every routed Replica, draining ones included
	// Uses is by Tenant.Name what was asked since the previous Traffic; nil where
	// tenants are not told apart or none asked.
	Uses map[string]Use
}

// Standing is what one gateway has of a Model's requests at a moment.
type Standing struct {
	Held     int
	InFlight map[ReplicaID]int // requests at each Replica that has any; nil for none
}
