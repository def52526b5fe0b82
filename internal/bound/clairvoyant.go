package bound

import "time"

// Clairvoyant returns the cheapest fleet that has at least need[t] replicas in
// step t, and never fewer than minimum. What it wants in the first step stands
// there at the beginning; every later start is paid for over boot, the mean
// cold start, and everything else over the steps it serves.
//
// It is exact. The cost of a schedule n is a sum over levels i of that of the
// on/off schedule n(t) ≥ i, since n rises from one step to the next by as many
// as there are levels that go on; and each level can be chosen alone: it must
// be on where need ≥ i, and in the gap between two such spans it is either
// kept, for the gap's length, or shut and booted again, for a boot. The levels
// so chosen are nested, a gap of a level being within one of the next, so that
// they are a schedule. (traces-papers, section 3; Lin, Wierman, Andrew and
// Thereska 2011 for the decomposition.)
func Clairvoyant(need []int, step, boot time.Duration, minimum int) Fleet {
	steps := len(need)
	if steps == 0 {
		return Fleet{}
	}
	counts := make([]int, steps)
	levels := max(0, minimum)
	for t, n := range need {
		counts[t] = max(n, minimum, 0)
		levels = max(levels, counts[t])
	}
	last := make([]int, levels) // the step after which level i went off
	kept := make([]int, steps+1)
	for t := 1; t < steps; t++ {
		for i := counts[t]; i < counts[t-1]; i++ {
			last[i] = t
		}
		for i := counts[t-1]; i < counts[t]; i++ {
			// One that was never on went off at 0: it may stand there from the beginning.
			if time.Duration(t-last[i])*step <= boot {
				kept[last[i]]++
				kept[t]--
			}
		}
	}
	more := 0
	for t := range counts {
		more += kept[t]
		counts[t] += more
	}
	return fleet(counts, step, boot)
}
