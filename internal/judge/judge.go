// Package judge measures policies: every workload under every policy in
// virtual time, beside the fleet of one who knows the future.
package judge
