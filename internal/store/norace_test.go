//go:build !race

package store

// raceDetector says whether everything takes ten times as long.
const raceDetector = false
