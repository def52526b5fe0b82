package rival

import (
	"slices"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

var dawn = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// follow syncs a controller at intervals with what is proposed, and returns the
// counts that it wrote.
func follow(c *hpaController, current int, every time.Duration, proposals ...int) []int {
	var counts []int
	for i, p := range proposals {
		current = c.reconcile(dawn.Add(time.Duration(i)*every), current, func() (int, bool) { return p, p >= 0 })
		counts = append(counts, current)
	}
	return counts
}

// none is a sync without metrics.
const none = -1

func TestHPAWritesWhatWasProposed(t *testing.T) {
	fleet := func(least, most int) *hpaController {
		return &hpaController{bounds: scale.Range{Min: least, Max: most}}
	}
	for _, c := range []struct {
		story      string
		controller *hpaController
		current    int
		every      time.Duration
		proposals  []int
		want       []int
	}{
		{"up it goes by four pods or by a hundred percent, whichever is more", fleet(1, 100), 1, hpaSync, []int{99, 99, 99, 99, 99, 99}, []int{5, 10, 20, 40, 80, 99}},
		{"and a second time only when the period is over", fleet(1, 100), 8, 5 * time.Second, []int{99, 99, 99, 99}, []int{16, 16, 16, 32}},
		{"up there is no window", fleet(1, 100), 4, hpaSync, []int{4, 4, 6}, []int{4, 4, 6}},
		{"down it waits for the largest of five minutes, the first count included", fleet(1, 100), 9, time.Minute, []int{3, 3, 3, 3, 3, 3}, []int{9, 9, 9, 9, 9, 3}},
		{"then it goes all the way at once", fleet(1, 100), 60, 5 * time.Minute, []int{60, 1}, []int{60, 1}},
		{"a peak in between holds it for five minutes more", fleet(1, 100), 9, time.Minute, []int{3, 3, 7, 3, 3, 3, 3, 3}, []int{9, 9, 9, 9, 9, 7, 7, 3}},
		{"without metrics nothing changes", fleet(1, 100), 9, 10 * time.Minute, []int{none, none, none}, []int{9, 9, 9}},
		{"and nothing is remembered", fleet(1, 100), 9, 10 * time.Minute, []int{9, none, 3}, []int{9, 9, 3}},
		{"bounds hold", fleet(2, 6), 4, 10 * time.Minute, []int{50, 50, 0, 0}, []int{6, 6, 2, 2}},
		{"above the maximum it is cut without a look at metrics", fleet(2, 6), 40, hpaSync, []int{none}, []int{6}},
		{"below the minimum it is raised likewise", fleet(5, 9), 1, hpaSync, []int{none}, []int{5}},
		{"which counts against the policies of the next 15 s", fleet(9, 50), 1, 5 * time.Second, []int{none, 30, 30, 30}, []int{9, 9, 9, 18}},
		{"a count of zero is a person's pause", fleet(1, 9), 0, hpaSync, []int{7, 7}, []int{0, 0}},
	} {
		t.Run(c.story, func(t *testing.T) {
			if got := follow(c.controller, c.current, c.every, c.proposals...); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
