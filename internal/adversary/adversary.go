// Package adversary draws worlds from seeds — trace, configuration, faults —
// and holds Penstock to its promises in each of them.
package adversary
