package adversary

import (
	"os"
	"strconv"
	"testing"
)

func TestTry(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("N"))
	from, _ := strconv.Atoi(os.Getenv("FROM"))
	shrink, _ := strconv.Atoi(os.Getenv("SHRINK"))
	s, err := Campaign{First: uint64(from), Seeds: n, Shrink: shrink}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	laws := map[Law]int{}
	for _, f := range s.Found {
		if laws[f.Law]++; laws[f.Law] <= 4 {
			t.Logf("%d: %.1200s", f.Seed, f.What)
			if f.Shrunk {
				t.Logf("%s\n%s", f.Words, f.Command)
			}
		}
	}
	t.Logf("%v; unreached %q; %.0f h, %d requests, %d events, %d ticks, %.0f s", laws, s.Unreached, s.Hours, s.Requests, s.Events, s.Ticks, s.Seconds)
}
