// Package emulator is an emulated model server, for machines without GPUs: the
// API, the metrics and the manners of vLLM, with package engine in real time
// where the model would be. It never compresses time.
//
// It says what it is: /v1/models has owned_by "penstock-emulator", every
// response the header X-Penstock-Emulated: true, and the first line of its log
// says that no model is loaded. What it replies is a function of the prompt
// (engine.Token), so that a client can check every token of it.
//
// As with vLLM, the port is bound at once but refuses connections until the
// load delay is over; SIGTERM (the end of Run's or Serve's context) cuts
// requests in flight off at once, unless DrainTimeout lets them finish; and the
// status and headers of a stream are sent before its first token.
//
// What it does not have: sampling (temperature, stop and the like are read over),
// several choices (n > 1 is refused), tools, log probabilities, and prompts of
// token numbers. A prompt has as many tokens as it has words. The reply has
// exactly max_tokens of them and finish_reason "length"; without a limit it has
// 128 and finish_reason "stop".
package emulator
