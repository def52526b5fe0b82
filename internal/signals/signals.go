// Package signals reads model servers' own metrics and turns them into
// Observations, one file per engine. What they counted in the past it reads out
// of a Prometheus.
//
// What a server does not say stays unknown: a missing family, a value that is
// no number and a failed scrape all leave an Observation that was never made,
// never a zero. A server is not trusted either: body, time and redirects of a
// scrape are bounded.
package signals

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Bounds on one scrape.
const (
	maxBody        = 2 << 20 // bytes
	defaultTimeout = 5 * time.Second
)

// errTooLarge is what a body above maxBody is refused with.
var errTooLarge = fmt.Errorf("exposition exceeds %d bytes", maxBody)

// Sample is what one scrape of one Replica said of its work.
type Sample struct {
	Engine       string            // name of the dialect that was understood; "" when none was
	Running      scale.Observation // requests in the engine's batch
	Waiting      scale.Observation // requests in the engine's own queue
	KVCacheUsage scale.Observation // 0..1
	// Preemptions counts requests thrown out of the batch for want of KV cache
	// since the engine began; see Increase.
	Preemptions scale.Observation
}

// Increase returns by how much a counter grew from one Observation to a later
// one. A counter that fell was reset with its process, and what it shows since
// is the increase. It is false when either was never made.
func Increase(before, after scale.Observation) (float64, bool) {
	switch {
	case !before.Known() || !after.Known():
		return 0, false
	case after.Value < before.Value:
		return after.Value, true
	default:
		return after.Value - before.Value, true
	}
}

// Scraper fetches metrics over HTTP. It is safe for concurrent use.
type Scraper struct {
	Transport http.RoundTripper // the caller closes its idle connections
	Timeout   time.Duration     // of a whole scrape; 0 means 5 s
}

// Scrape reads the metrics at the URL. Whatever the engine's dialect, a server
// that answers with none of the known families gives an empty Sample.
func (s Scraper) Scrape(ctx context.Context, url string) (Sample, error) {
	timeout := s.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return Sample{}, fmt.Errorf("scrape %s: %w", url, err)
	}
	req.Header.Set("Accept", "text/plain; version=0.0.4")
	client := http.Client{
		Transport:     s.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return Sample{}, fmt.Errorf("scrape %s: %w", url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Sample{}, fmt.Errorf("scrape %s: status %d", url, resp.StatusCode)
	}
	sample, err := Parse(resp.Body, time.Now())
	if err != nil {
		return Sample{}, fmt.Errorf("scrape %s: %w", url, err)
	}
	return sample, nil
}

// Parse reads an exposition of at most 2 MiB that was true at the instant; a
// sample's own earlier timestamp goes before it. A malformed line spoils the
// whole text only where it belongs to a family that is asked for.
func Parse(r io.Reader, at time.Time) (Sample, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err != nil {
		return Sample{}, fmt.Errorf("read exposition: %w", err)
	}
	if len(text) > maxBody {
		return Sample{}, errTooLarge
	}
	var faults error
	for _, d := range dialects() {
		families, err := parseFamilies(text, d.families())
		if err != nil {
			faults = errors.Join(faults, fmt.Errorf("read %s metrics: %w", d.engine, err))
			continue
		}
		if sample := d.sample(families, at); sample.Engine != "" {
			return sample, nil
		}
	}
	return Sample{}, faults
}
