package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/penstock/penstock/internal/scale"
)

// Tail returns the last bytes that a Replica printed, at most so many and from
// its newest file only, and false where nothing is kept of it.
func (w *World) Tail(id scale.ReplicaID, limit int) ([]byte, bool, error) {
	if !isName(string(id)) {
		return nil, false, nil
	}
	file, err := os.Open(paths(w.StateDir).log(id))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("read the log of %s: %w", id, err)
	}
	text, err := lastOf(file, limit)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, false, fmt.Errorf("read the log of %s: %w", id, err)
	}
	return text, true, nil
}

func lastOf(file *os.File, limit int) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	text := make([]byte, min(int64(limit), info.Size()))
	n, err := file.ReadAt(text, info.Size()-int64(len(text)))
	if errors.Is(err, io.EOF) { // it was rotated meanwhile
		err = nil
	}
	return text[:n], err
}

// isName says whether a text can be the name of a Replica, as newID makes them:
// what else it might be can lead out of the directory of logs.
func isName(text string) bool {
	return text != "" && strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
