package sim

import (
	"io"
	"iter"

	"github.com/penstock/penstock/internal/scale"
)

// List returns requests held in memory, in order of arrival, as a Source.
func List(requests []scale.Request) Source { return &list{requests: requests} }

type list struct{ requests []scale.Request }

// Next implements Source.
func (l *list) Next() (scale.Request, error) {
	if len(l.requests) == 0 {
		return scale.Request{}, io.EOF
	}
	r := l.requests[0]
	l.requests = l.requests[1:]
	return r, nil
}

// pulled is a series as a Source. Its stop must be called.
type pulled struct {
	next func() (scale.Request, error, bool)
	stop func()
}

func pull(series iter.Seq2[scale.Request, error]) pulled {
	next, stop := iter.Pull2(series)
	return pulled{next: next, stop: stop}
}

// Next implements Source.
func (p pulled) Next() (scale.Request, error) {
	r, err, ok := p.next()
	if !ok {
		return scale.Request{}, io.EOF
	}
	return r, err
}
