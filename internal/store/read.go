package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Reader reads a journal that another process may be writing. It changes
// nothing.
type Reader struct{ store *Store }

// Read opens the journal at path to read its past. There must be one.
func Read(ctx context.Context, path string) (*Reader, error) {
	s := &Store{codec: newCodec()}
	if err := s.openRead(ctx, path); err != nil {
		return nil, errors.Join(fmt.Errorf("read journal %s: %w", path, hint(err)), s.Close())
	}
	return &Reader{s}, nil
}

func (s *Store) openRead(ctx context.Context, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	s.path = path
	if _, err := os.Stat(path); err != nil {
		return err
	}
	s.read, err = sql.Open("sqlite", dsn(path, url.Values{"_query_only": {"true"}}))
	if err != nil {
		return err
	}
	return s.read.PingContext(ctx)
}

// Records is Store.Records.
func (r *Reader) Records(ctx context.Context, since, until time.Time) iter.Seq2[scale.Record, error] {
	return r.store.Records(ctx, since, until)
}

// Close ends reading.
func (r *Reader) Close() error { return r.store.Close() }
