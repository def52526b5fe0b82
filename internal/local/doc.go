// Package local is the world of one machine: Replicas are processes, and
// capacity is the machine's GPUs.
//
// One goroutine, in World.Run, owns the fleet: who lives, in which Phase, on
// which GPUs. One goroutine per Replica owns its life: start, readiness, drain,
// stop. They speak through channels: orders go down, events come up.
//
//	control.Loop ── Observe, Apply ──► fleet ── order ──► replica ── SIGTERM, lifeline ──► guard ──► command
//	gateway ◄────── Route ─────────── fleet ◄── event ── replica ◄── exit status ──────── guard
//
// No process outlives Penstock, however it dies. Each Replica runs under a
// guard, a process that adopts all its descendants and kills them when the
// lifeline, a pipe of which only Penstock holds the other end, breaks. What
// survives a killed guard is found again by the Replica's name in its
// environment, at once or at the next start. A Replica's GPUs are free when
// the last of its processes is gone, and not before.
package local
