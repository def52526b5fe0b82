//go:build race

package adversary

// raceDetector says whether the test runs under it.
const raceDetector = true
