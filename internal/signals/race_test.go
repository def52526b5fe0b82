//go:build race

package signals_test

// raceDetector says whether everything takes several times as long.
const raceDetector = true
