package signals

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// Instant evaluates a query, which must give one number, at an instant. Data
// older than lookback is not looked at, where the server heeds that. No value is
// an error, and so are one that is no finite number and an answer that comes
// with warnings, for it may lack a part.
func (h History) Instant(ctx context.Context, query string, at time.Time, lookback time.Duration) (float64, error) {
	value, err := h.instant(ctx, query, at, lookback)
	if err != nil {
		return 0, fmt.Errorf("query Prometheus at %s: %w", redacted(h.URL), err)
	}
	return value, nil
}

func (h History) instant(ctx context.Context, query string, at time.Time, lookback time.Duration) (float64, error) {
	w := &wire{token: h.Token}
	prometheus, err := h.prometheus(w)
	if err != nil {
		return 0, err
	}
	value, warnings, _, err := prometheus.Query(ctx, query, at, v1.WithLookbackDelta(lookback))
	if err != nil {
		return 0, w.explain(ctx, query, err)
	}
	if len(warnings) > 0 {
		return 0, fmt.Errorf("the answer to %s may not be whole: %s", query, strings.Join(warnings, "; "))
	}
	number, err := one(query, value)
	if err != nil {
		return 0, err
	}
	if math.IsNaN(number) || math.IsInf(number, 0) {
		return 0, fmt.Errorf("%s gives %v, which is no number", query, number)
	}
	return number, nil
}

// one returns the number of an answer.
func one(query string, value model.Value) (float64, error) {
	switch v := value.(type) {
	case *model.Scalar:
		return float64(v.Value), nil
	case model.Vector:
		switch {
		case len(v) == 0:
			return 0, fmt.Errorf("no data for %s now: check the names and labels in it, and that Prometheus scrapes them often enough", query)
		case len(v) > 1:
			return 0, fmt.Errorf("%s gives %d series, such as %s and %s: sum them into one, such as sum(%s)", query, len(v), v[0].Metric, v[1].Metric, query)
		case v[0].Histogram != nil:
			return 0, errors.New(query + " gives a histogram, where a number is wanted: take its histogram_count or histogram_sum")
		}
		return float64(v[0].Value), nil
	}
	return 0, fmt.Errorf("%s gives no number", query)
}
