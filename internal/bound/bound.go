// Package bound says what nobody can be cheaper than: the fleet of one who
// knows the future and still pays for boots.
package bound
