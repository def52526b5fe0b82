package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
)

// foreignError is an error of net/http about what a replica sent. Such errors
// quote it (a status line, a header, HTTP/2's debug data), and it may be part of
// a reply, so that it is not said: logs hold no completion.
type foreignError struct{ err error }

func (foreignError) Error() string { return "what the replica sent is no valid HTTP" }

func (f foreignError) Unwrap() error { return f.err }

// foreign returns an error that may be logged. Those of the network tell the
// address and what the system says.
func foreign(err error) error {
	if err == nil {
		return nil
	}
	if _, network := errors.AsType[*net.OpError](err); network {
		return err
	}
	for _, plain := range []error{errEmpty, errSwitched, errNoDone, errNoStatus, errBadMessages, io.EOF, io.ErrUnexpectedEOF, context.Canceled, context.DeadlineExceeded, os.ErrDeadlineExceeded} {
		if errors.Is(err, plain) {
			return err
		}
	}
	return foreignError{err}
}
