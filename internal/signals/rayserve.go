package signals

import "github.com/penstock/penstock/internal/scale"

// rayServe names the families of Ray Serve, which each node exports for all
// replicas on it, up to 10 s old. Its times are in milliseconds. Sources:
// ray-project/ray doc/source/serve/monitoring.md (2.57), and the panels of its
// dashboard.
func rayServe() dialect {
	return dialect{
		engine: "rayserve", title: "Ray Serve", scope: OfNode, identity: []string{"application", "deployment", "replica"},
		measures: []measure{
			gauge(scale.SignalRunning, "ray_serve_replica_processing_queries"),
			gauge(scale.SignalWaiting, "ray_serve_deployment_queued_queries"),
			total(scale.SignalFinished, "ray_serve_deployment_request_counter"),
			total(scale.SignalFailed, "ray_serve_deployment_error_counter"),
			timed(scale.SignalEndToEnd, milliseconds, "ray_serve_deployment_processing_latency_ms"),
			timed(scale.SignalQueueTime, milliseconds, "ray_serve_request_router_fulfillment_time_ms"),
		},
	}
}
