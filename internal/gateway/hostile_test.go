package gateway

import "os"

// hostile says whether the suites of hostile clients run in full: that is
// `make test-hostile`. `go test` runs a part of each, and none of those that
// need what may not be installed.
func hostile() bool { return os.Getenv("PENSTOCK_HOSTILE") != "" }

// either is how much of a suite runs.
func either(inFull, inPart int) int {
	if hostile() {
		return inFull
	}
	return inPart
}
