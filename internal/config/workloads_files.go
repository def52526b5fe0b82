package config

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Bounds on the files that config itself reads: measured operators and spot
// nodes, and the first lines of all others.
const (
	maxRows     = 1 << 20
	maxRowBytes = 64 << 20 // unzipped
)

// bound is a reader that fails after so many bytes.
type bound struct {
	io.Reader
	left int
}

func (b *bound) Read(into []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("more than %d MiB", maxRowBytes>>20)
	}
	n, err := b.Reader.Read(into[:min(len(into), b.left)])
	b.left -= n
	return n, err
}

// rows reads a comma-separated file, plain or gzip, line by line.
type rows struct {
	file   string
	csv    *csv.Reader
	close  func() error
	header []string
	line   int // that was read last
}

// openRows opens a file and reads its header. Whether it is gzip is told by its
// first bytes, as package trace does.
func openRows(file string) (*rows, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewReader(f)
	var from io.Reader = buffered
	if magic, err := buffered.Peek(2); err == nil && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		if from, err = gzip.NewReader(buffered); err != nil {
			return nil, errors.Join(fmt.Errorf("%s:1: %w", file, err), f.Close())
		}
	}
	buffered = bufio.NewReader(&bound{Reader: from, left: maxRowBytes})
	if mark, err := buffered.Peek(3); err == nil && string(mark) == "\ufeff" {
		_, _ = buffered.Discard(len(mark)) // it has been peeked
	}
	r := &rows{file: file, csv: csv.NewReader(buffered), close: f.Close, line: 1}
	r.csv.ReuseRecord = true
	header, err := r.csv.Read()
	if errors.Is(err, io.EOF) {
		err = errors.New("the file is empty")
	}
	if err != nil {
		return nil, errors.Join(r.fault(err), f.Close())
	}
	for _, name := range header {
		r.header = append(r.header, strings.TrimSpace(name))
	}
	return r, nil
}

// next returns the next row, or io.EOF after the last. The row is overwritten
// by the call after.
func (r *rows) next() ([]string, error) {
	row, err := r.csv.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case err != nil:
		r.line++
		return nil, r.fault(err)
	}
	r.line, _ = r.csv.FieldPos(0)
	if r.line > maxRows {
		return nil, r.fault(fmt.Errorf("the file has more than %d lines", maxRows))
	}
	return row, nil
}

// fault is an error with its place, which is the last line read if the error
// does not say.
func (r *rows) fault(err error) error {
	line := r.line
	if parse, ok := errors.AsType[*csv.ParseError](err); ok {
		line, err = parse.Line, parse.Err
	}
	return fmt.Errorf("%s:%d: %w", r.file, line, err)
}

// column returns the index of a column, or −1.
func (r *rows) column(name string) int { return slices.Index(r.header, name) }

// number reads a number that is finite and not negative.
func (r *rows) number(row []string, column int) (float64, error) {
	value, err := strconv.ParseFloat(strings.TrimSpace(row[column]), 64)
	if err != nil || !(value >= 0 && value < 1e15) {
		return 0, r.fault(fmt.Errorf("%s is %q, where a number of 0 or more is wanted", r.header[column], row[column]))
	}
	return value, nil
}

// file returns the absolute path of a file that the workloads name, and its
// header. A fault says why there is none, and then the header is nil.
func (r *workloadsReader) file(at, name string) (string, []string) {
	if name == "" {
		if r.has(at) {
			r.fault(at, "is empty.")
		}
		return "", nil
	}
	path := within(r.dir, name)
	f, known := r.files[path]
	if !known {
		f = r.look(path, name)
		r.files[path] = f
	}
	if f.why != "" && r.has(at) {
		r.fault(at, "%s", f.why)
	}
	return path, f.header
}

// traceFile is what is known of a file from its first line.
type traceFile struct {
	header []string // nil where it can not be read
	why    string   // it can not be read
}

// look reads a file's header.
func (r *workloadsReader) look(path, name string) traceFile {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return traceFile{why: fmt.Sprintf("is %q, which is no file in %s. %s", name, r.dir, didYouMean(name, traceFiles(r.dir)))}
	}
	rows, err := openRows(path)
	if err == nil {
		err = rows.close()
	}
	if err != nil {
		return traceFile{why: fmt.Sprintf("can not be read: %v.", err)}
	}
	return traceFile{header: rows.header}
}

// traceFiles lists the names of a folder's files that could hold a trace.
func traceFiles(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var all []string
	for _, e := range entries {
		if name := e.Name(); !e.IsDir() && (strings.HasSuffix(name, ".csv") || strings.HasSuffix(name, ".csv.gz")) {
			all = append(all, name)
		}
	}
	return all
}

// sourceOf says from a header what a file holds. It is false for one that
// holds neither requests nor counts of them. Of several columns the one named
// requests is meant, and of one alone it is that.
func sourceOf(file string, header []string) (Source, bool) {
	s := Source{File: file, Scale: 1, CV: 1}
	switch {
	case lacks(header, "t_ms", "in_tokens", "out_tokens") == "":
		s.Kind = FromRequests
	case len(header) < 2 || header[0] != "t_s":
		return Source{}, false
	case slices.Contains(header, "requests"):
		s.Kind, s.Column = FromCounts, "requests"
	case len(header) == 2 && header[1] != "nodes":
		s.Kind, s.Column = FromCounts, header[1]
	default:
		return Source{}, false
	}
	return s, true
}

// lacks returns the first of the columns that a header does not have, or "".
func lacks(header []string, columns ...string) string {
	for _, name := range columns {
		if !slices.Contains(header, name) {
			return name
		}
	}
	return ""
}

// Unlisted returns the trace files of the folder that no workload and no
// profile names, sorted: those that Default knows how to read.
func (w Workloads) Unlisted() ([]string, error) {
	var all []string
	for _, name := range traceFiles(w.Dir) {
		path := filepath.Join(w.Dir, name)
		if slices.Contains(w.Files, path) {
			continue
		}
		rows, err := openRows(path)
		if err != nil {
			return nil, fmt.Errorf("read trace: %w", err)
		}
		if err := rows.close(); err != nil {
			return nil, fmt.Errorf("read trace: %w", err)
		}
		if _, ok := sourceOf(path, rows.header); ok {
			all = append(all, name)
		}
	}
	return all, nil
}
