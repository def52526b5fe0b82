// Package engine is the time that a model server takes: continuous batching,
// one iteration after another, as vLLM's V1 scheduler does it. It knows no
// clock; whoever drives it, a simulation or an emulated server in real time,
// lets the time of each iteration pass. Engine goes from iteration to
// iteration, for an emulated server that emits every token; Stepper is the same
// from event to event, for a simulation.
//
// An iteration takes Profile.IterationTime of what is in it: first a decode
// step of every request that has its first token, then prompt tokens in order
// of arrival, at most Profile.PrefillChunk of them. A request is admitted when
// the batch has a place and its whole prompt fits into the KV cache; its part
// of the cache grows by a token with each decode step. When the cache is full
// the youngest request is preempted: its cache is dropped, it waits at the
// head of the queue, and once admitted again its prompt and the tokens already
// emitted are computed anew. Nothing is admitted in an iteration that had to
// preempt. (vllm/v1/core/sched/scheduler.py; blocks of the cache are not
// modelled, a token is the unit, and the cache of a prompt is held as a whole
// from admission on.)
//
// A profile without tokens (Profile.Service) is served Concurrency requests at
// a time, each for the mean service time.
package engine
