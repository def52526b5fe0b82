// Package scale holds Penstock's words: every noun that more than one package
// speaks of. It imports the standard library only, reads no clock and holds no
// state, so that a value of these types means the same in a simulation, on one
// machine and in a cluster.
//
// Three rules hold for every type here. Absent is not zero: an Observation
// without a time was never made. Units are in the type (time.Duration) or in
// the field's comment. Enumerations start at 1, so that a forgotten field is
// not a valid value.
package scale
