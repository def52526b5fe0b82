package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

func TestAJournalIsReadWhileItIsWritten(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		t.Helper()
		s := openAt(t, p)
		r, err := p.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// Past the end of a segment, at which ticks move to another table.
		for i := range segmentTicks + 5 {
			if i%50 == 0 || i > segmentTicks-3 {
				n := 0
				for record, err := range r.Records(t.Context(), time.Time{}, start.AddDate(50, 0, 0)) {
					if err != nil {
						t.Fatal(err)
					}
					if !record.At.Equal(start.Add(time.Duration(n) * time.Second)) {
						t.Fatalf("record %d is of %v", n, record.At)
					}
					n++
				}
				if n != i {
					t.Fatalf("%d records, want %d", n, i)
				}
			}
			appendTick(t, s, tick1(t, i))
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		appendTick(t, s, tick(t, start.Add(time.Hour), 1, 1, 1))
	})
}

// tick1 is the i-th of a series, each of which begins where the one before ended.
func tick1(tb testing.TB, i int) scale.Record {
	tb.Helper()
	r := tick(tb, start.Add(time.Duration(i)*time.Second), 1, 1, 1)
	if i > 0 {
		r.Memory = []byte("memory after " + start.Add(time.Duration(i-1)*time.Second).String())
	}
	return r
}

func TestReadMakesNoJournal(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(t.Context(), filepath.Join(dir, "state", "journal.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("no database, but long enough to be looked at as one: "+dir), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Read(t.Context(), text)
	if err == nil {
		_, _, err = r.Memory(t.Context())
		if closed := r.Close(); closed != nil {
			t.Error(closed)
		}
	}
	if err == nil {
		t.Error("a text is read as a journal")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v are there, %v", left, err)
	}
}
