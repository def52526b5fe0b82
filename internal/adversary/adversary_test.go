package adversary

import (
	"os"
	"strconv"
	"testing"
	"time"
)

func TestTry(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("N"))
	from, _ := strconv.Atoi(os.Getenv("FROM"))
	began := time.Now()
	var span time.Duration
	laws := map[Law]int{}
	req, ticks := 0, 0
	for i := from; i < from+n; i++ {
		r, err := Draw(uint64(i)).Run(t.Context())
		if err != nil {
			t.Errorf("%d: %v", i, err)
			continue
		}
		span += r.Span
		req += r.Requests
		ticks += r.Ticks
		if r.Violation != nil {
			laws[r.Violation.Law]++
			if laws[r.Violation.Law] <= 3 {
				t.Logf("%d: %.900v", i, r.Violation)
			}
		}
	}
	t.Log(laws, span, time.Since(began), req, ticks)
}
