package torture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is what a gateway's process has at one moment.
type sample struct {
	at         time.Time
	pid        int
	memory     float64 // resident, bytes
	files      int     // descriptors
	goroutines int
	inFlight   int
	held       int
}

// look takes a sample of penstock serve.
func (r *run) look(ctx context.Context) (sample, error) {
	pid := r.gateways[0].pid()
	s := sample{at: time.Now(), pid: pid}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return s, fmt.Errorf("take a sample: %w", err)
	}
	var size, resident float64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return s, fmt.Errorf("take a sample: %w", err)
	}
	s.memory = resident * float64(os.Getpagesize())
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return s, fmt.Errorf("take a sample: %w", err)
	}
	s.files = len(files)
	err = r.scrape(ctx, &s)
	return s, err
}

// scrape adds what the process says of itself.
func (r *run) scrape(ctx context.Context, s *sample) error {
	reply, err := get(ctx, "http://"+r.console+"/metrics")
	if err != nil {
		return fmt.Errorf("take a sample: %w", err)
	}
	defer reply.Body.Close()
	for lines := bufio.NewScanner(reply.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		name, _, _ = strings.Cut(name, "{")
		switch name {
		case "go_goroutines":
			s.goroutines = int(n)
		case "penstock_inflight_requests":
			s.inFlight += int(n)
		case "penstock_held_requests":
			s.held += int(n)
		}
	}
	if s.goroutines == 0 {
		return errors.New("take a sample: penstock serve does not tell its goroutines")
	}
	return nil
}

// samples takes one each so often until ctx ends. A process that is being
// restarted is left out.
func (r *run) sampling(ctx context.Context) error {
	every := max(time.Second, r.For/400)
	for pause(ctx, every) {
		if s, err := r.look(ctx); err == nil {
			r.samples = append(r.samples, s)
		}
	}
	return nil
}

// warmUp is what of a run does not count for a slope: caches fill, the heap
// finds its size. A run that is hardly longer has no slope to speak of.
const (
	warmUp   = 15 * time.Minute
	slopeOf  = 15 * time.Minute
	minSlope = 10 // samples
)

// slope returns how the memory of the process that lived longest grew, in bytes
// an hour: Theil's and Sen's median of the slopes between pairs, which single
// large samples do not move. It is false where nothing can be said.
func slope(samples []sample, warm time.Duration) (float64, bool) {
	life := longest(samples)
	if len(life) == 0 {
		return 0, false
	}
	from := life[0].at.Add(warm)
	life = slices.DeleteFunc(slices.Clone(life), func(s sample) bool { return s.at.Before(from) })
	if len(life) < minSlope {
		return 0, false
	}
	var slopes []float64
	for i, a := range life {
		for _, b := range life[i+1:] {
			if hours := b.at.Sub(a.at).Hours(); hours > 0 {
				slopes = append(slopes, (b.memory-a.memory)/hours)
			}
		}
	}
	slices.Sort(slopes)
	return slopes[len(slopes)/2], true
}

// longest returns the samples of the process of which there are most.
func longest(samples []sample) []sample {
	var best []sample
	for i := 0; i < len(samples); {
		j := i
		for j < len(samples) && samples[j].pid == samples[i].pid {
			j++
		}
		if j-i > len(best) {
			best = samples[i:j]
		}
		i = j
	}
	return best
}
