package trace

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Close closes the file of a source, where it has one.
func Close(source Source) error {
	if c, ok := source.(io.Closer); ok {
		if err := c.Close(); err != nil {
			return fmt.Errorf("close a source of requests: %w", err)
		}
	}
	return nil
}

// Merged is several sources in one order of time.
type Merged struct {
	sources []Source
	heads   []scale.Request // each source's next
	agenda  agenda
	written scale.RequestID
	started bool
	err     error
}

// Merge merges sources and numbers the requests anew. Of two at one instant
// that of the earlier source comes first.
func Merge(sources ...Source) *Merged {
	return &Merged{sources: sources, heads: make([]scale.Request, len(sources))}
}

// Next returns the next request, or io.EOF after the last of all. An error of
// any source is final.
func (m *Merged) Next() (scale.Request, error) {
	if !m.started {
		m.started = true
		for who := range m.sources {
			m.pull(who, m.agenda.add)
		}
	}
	if m.err == nil && len(m.agenda) == 0 {
		m.err = io.EOF
	}
	if m.err != nil {
		return scale.Request{}, m.err
	}
	who := m.agenda[0].who
	request := m.heads[who]
	m.written++
	request.ID = m.written
	if !m.pull(who, func(at time.Duration, _ int) { m.agenda.move(at) }) {
		m.agenda.drop()
	}
	return request, nil
}

// pull reads a source's next request, and says whether there was one.
func (m *Merged) pull(who int, place func(time.Duration, int)) bool {
	request, err := m.sources[who].Next()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			m.err = err
		}
		return false
	}
	m.heads[who] = request
	place(request.At.Sub(Epoch()), who)
	return true
}

// Close closes all sources.
func (m *Merged) Close() error {
	var faults []error
	for _, s := range m.sources {
		faults = append(faults, Close(s))
	}
	return errors.Join(faults...)
}

// Clip is what arrives before a time.
type Clip struct {
	Source Source
	For    time.Duration
}

// Next returns the next request, or io.EOF when For is over.
func (c *Clip) Next() (scale.Request, error) {
	request, err := c.Source.Next()
	if err == nil && request.At.Sub(Epoch()) >= c.For {
		return scale.Request{}, io.EOF
	}
	return request, err
}

// Close closes the source.
func (c *Clip) Close() error { return Close(c.Source) }
