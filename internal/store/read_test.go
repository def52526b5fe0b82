package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAJournalIsReadWhileItIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	s := open(t, path)
	r, err := Read(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		for _, err := range r.Records(t.Context(), time.Time{}, start.AddDate(50, 0, 0)) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	for i := range 3 {
		if n := count(); n != i {
			t.Fatalf("%d records, want %d", n, i)
		}
		appendTick(t, s, tick(t, start.Add(time.Duration(i)*time.Minute), 1, 1, 1))
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	appendTick(t, s, tick(t, start.Add(time.Hour), 1, 1, 1))
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
		_, err = r.store.readPage(t.Context(), 0, 0, 1)
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
