package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock/penstock/internal/scale"
)

// Fault is one thing wrong with a file.
type Fault struct {
	File string `json:"file"`
	Line int    `json:"line"` // from 1; 0 where it is not known
	Path string `json:"path"` // such as spec.slo.ttft; empty where the fault is with the file
	Text string `json:"text"` // what was found and what to do
}

// String is the fault in one line, as compilers write theirs.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	if f.Path != "" {
		b.WriteString(" " + f.Path)
	}
	b.WriteString(" " + f.Text)
	return b.String()
}

// FaultsError is everything wrong with a file, in the order of its lines. It is
// the error that Load returns for a file that could be read.
type FaultsError []Fault

func (f FaultsError) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// FaultsOf returns the faults in an error of Load, or nil where the
// file could not even be read.
func FaultsOf(err error) []Fault {
	var faults FaultsError
	errors.As(err, &faults)
	return faults
}

// inOrder returns the faults by line, then path, without repetitions.
func (f FaultsError) inOrder() FaultsError {
	slices.SortFunc(f, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(f)
}

// nearest returns the known word that was probably meant, or "".
func nearest(word string, known []string) string {
	best, distance := "", len(word)/2+2
	for _, candidate := range known {
		d := scale.EditDistance(strings.ToLower(word), strings.ToLower(candidate))
		if d < distance {
			best, distance = candidate, d
		}
	}
	return best
}

// didYouMean is the sentence that suggests the nearest known word.
func didYouMean(word string, known []string) string {
	if near := nearest(word, known); near != "" {
		return fmt.Sprintf("Did you mean %s?", near)
	}
	if len(known) == 0 {
		return "None is known here."
	}
	return fmt.Sprintf("Known are %s.", strings.Join(known, ", "))
}
