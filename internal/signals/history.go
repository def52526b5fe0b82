package signals

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// Bounds on what is asked of a Prometheus.
const (
	// rangePoints is how many points Prometheus gives of a series at a time.
	rangePoints = 11_000
	// maxPoints bounds a whole Range: 8 years of minutes.
	maxPoints = 1 << 22
	// maxAnswer bounds one answer, which holds at most rangePoints of the one
	// series that is wanted: bytes.
	maxAnswer      = 4 << 20
	historyTimeout = 2 * time.Minute // of one answer
)

// History reads the past out of a Prometheus, or of what speaks its HTTP API.
type History struct {
	URL    string       // such as http://localhost:9090, with the path where there is one
	Client *http.Client // nil for one of its own
	Token  string       // bearer token; "" for none
}

// Point is a value of a series at an instant.
type Point struct {
	At    time.Time
	Value float64
}

// Range evaluates a query, which must give one series, at start and every step
// after it until end. An instant at which there is no value, or none that is a
// finite number, is left out: missing is not zero. No value at all is an error,
// and so is an answer that comes with warnings, for it may lack a part.
func (h History) Range(ctx context.Context, query string, start, end time.Time, step time.Duration) ([]Point, error) {
	points, err := h.read(ctx, query, start.Truncate(time.Millisecond), end.Truncate(time.Millisecond), step)
	if err != nil {
		return nil, fmt.Errorf("query Prometheus at %s: %w", redacted(h.URL), err)
	}
	return points, nil
}

func (h History) read(ctx context.Context, query string, start, end time.Time, step time.Duration) ([]Point, error) {
	switch {
	case step < time.Millisecond || step%time.Millisecond != 0:
		return nil, fmt.Errorf("a step of %s is no whole number of milliseconds", step)
	case end.Before(start):
		return nil, fmt.Errorf("the end %s is before the start %s", stamp(end), stamp(start))
	case end.Sub(start)/step >= maxPoints:
		return nil, fmt.Errorf("%s in steps of %s are more than %d points: take a longer step", end.Sub(start), step, maxPoints)
	}
	w := &wire{token: h.Token}
	prometheus, err := h.prometheus(w)
	if err != nil {
		return nil, err
	}
	var points []Point
	var name model.Metric
	for from := start; !from.After(end); from = from.Add(rangePoints * step) {
		to := from.Add((rangePoints - 1) * step)
		if to.After(end) {
			to = end
		}
		value, warnings, _, err := prometheus.QueryRange(ctx, query, v1.Range{Start: from, End: to, Step: step})
		if err != nil {
			return nil, w.explain(ctx, query, err)
		}
		if len(warnings) > 0 {
			return nil, fmt.Errorf("the answer to %s may not be whole: %s", query, strings.Join(warnings, "; "))
		}
		one, err := single(query, name, value)
		if err != nil {
			return nil, err
		}
		if one != nil {
			name = one.Metric
			points = appendFinite(points, one.Values)
		}
	}
	if len(points) == 0 {
		return nil, fmt.Errorf("no data for %s between %s and %s: check the names and labels in it, that Prometheus was there and kept data for so long, and that a range such as [%s] holds at least two scrapes",
			query, stamp(start), stamp(end), step)
	}
	return points, nil
}

// prometheus is a client that goes over a wire.
func (h History) prometheus(w *wire) (v1.API, error) {
	u, err := url.Parse(h.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("this is no URL of a Prometheus: write it like http://localhost:9090")
	}
	client := http.Client{Timeout: historyTimeout}
	if h.Client != nil {
		client = *h.Client
	}
	w.base = client.Transport
	if w.base == nil {
		w.base = http.DefaultTransport
	}
	client.Transport = w
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c, err := api.NewClient(api.Config{Address: h.URL, Client: &client})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return v1.NewAPI(c), nil
}

// single returns the one series of an answer, or nil where it is empty. It must
// be the series of the answers before.
func single(query string, before model.Metric, value model.Value) (*model.SampleStream, error) {
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, fmt.Errorf("%s gives no series of numbers over time", query)
	}
	switch {
	case len(matrix) == 0:
		return nil, nil
	case len(matrix) > 1:
		return nil, fmt.Errorf("%s gives %d series, such as %s and %s: sum them into one, such as sum(%s)", query, len(matrix), matrix[0].Metric, matrix[1].Metric, query)
	case before != nil && !matrix[0].Metric.Equal(before):
		return nil, fmt.Errorf("%s gives more than one series over time, such as %s and %s: sum them into one, such as sum(%s)", query, before, matrix[0].Metric, query)
	case len(matrix[0].Histograms) > 0:
		return nil, fmt.Errorf("%s gives a histogram, where numbers are wanted: take its histogram_count or histogram_sum", query)
	}
	return matrix[0], nil
}

// appendFinite appends the values that are numbers.
func appendFinite(points []Point, values []model.SamplePair) []Point {
	for _, v := range values {
		if number := float64(v.Value); !math.IsNaN(number) && !math.IsInf(number, 0) {
			points = append(points, Point{At: v.Timestamp.Time(), Value: number})
		}
	}
	return points
}

// wire is a transport that shows the token, bounds answers, and remembers how
// the last one went. It serves one request at a time.
type wire struct {
	base   http.RoundTripper
	token  string
	status int // of the last answer; 0 where there was none
}

// RoundTrip carries one request.
func (w *wire) RoundTrip(request *http.Request) (*http.Response, error) {
	w.status = 0
	if w.token != "" {
		request = request.Clone(request.Context())
		request.Header.Set("Authorization", "Bearer "+w.token)
	}
	response, err := w.base.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	w.status = response.StatusCode
	response.Body = &bounded{ReadCloser: response.Body, left: maxAnswer}
	return response, nil
}

// errAnswerTooLarge is what an answer above maxAnswer is refused with.
var errAnswerTooLarge = fmt.Errorf("the answer exceeds %d bytes, more than one series can have", maxAnswer)

// bounded is a body that fails after so many bytes.
type bounded struct {
	io.ReadCloser
	left int
}

func (b *bounded) Read(into []byte) (int, error) {
	if b.left <= 0 {
		return 0, errAnswerTooLarge
	}
	n, err := b.ReadCloser.Read(into[:min(len(into), b.left)])
	b.left -= n
	return n, err
}

// explain says of a failed query what to do.
func (w *wire) explain(ctx context.Context, query string, err error) error {
	fault, answered := errors.AsType[*v1.Error](err)
	switch {
	case ctx.Err() != nil:
		return err
	case errors.Is(err, errAnswerTooLarge):
		return fmt.Errorf("%w: sum the series into one, such as sum(%s)", errAnswerTooLarge, query)
	case w.status == http.StatusUnauthorized || w.status == http.StatusForbidden:
		return fmt.Errorf("it wants to know who asks (status %d): give a token that may read it", w.status)
	case w.status/100 == 3:
		return fmt.Errorf("it sends elsewhere (status %d): give the URL to which it leads", w.status)
	case !answered:
		return fmt.Errorf("it can not be reached: is it running there? %w", err)
	case fault.Type == v1.ErrBadData || fault.Type == v1.ErrExec:
		return fmt.Errorf("it refuses %s: %s", query, fault.Msg)
	case w.status == http.StatusServiceUnavailable || fault.Type == v1.ErrTimeout || fault.Type == v1.ErrCanceled:
		return fmt.Errorf("it takes too long over %s, or is busy (status %d): take a longer step or a shorter time", query, w.status)
	case w.status == http.StatusNotFound || w.status == http.StatusOK || fault.Type == v1.ErrBadResponse:
		return fmt.Errorf("this is no Prometheus (status %d): give the URL under which /api/v1/query_range answers", w.status)
	default:
		return fmt.Errorf("it fails: %w: %.200q", err, fault.Detail)
	}
}

// redacted is a URL without a password.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "a URL that can not be read"
	}
	if u.RawQuery != "" {
		u.RawQuery = "…"
	}
	return u.Redacted()
}

// stamp is an instant for people.
func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }
