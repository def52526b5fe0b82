package console

import (
	"cmp"
	"slices"
	"strings"

	"github.com/penstock/penstock/internal/scale"
)

// nearest returns up to n of the names that are most like the one that was
// written, nearest first; none that has little in common with it.
func nearest(written string, names []string, n int) []string {
	type candidate struct {
		name     string
		distance int
	}
	if len(written) > 200 {
		return nil
	}
	var near []candidate
	for _, name := range names {
		d := scale.EditDistance(strings.ToLower(written), strings.ToLower(name))
		if strings.Contains(strings.ToLower(name), strings.ToLower(written)) {
			d = min(d, 1)
		}
		if d <= max(2, len(written)/2) {
			near = append(near, candidate{name, d})
		}
	}
	slices.SortFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	found := []string{}
	for _, c := range near[:min(n, len(near))] {
		found = append(found, c.name)
	}
	return found
}
