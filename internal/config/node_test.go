package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDocumentsKeepTheirLines(t *testing.T) {
	documents, faults := readDocuments("p.yaml", []byte("a: 1\nb:\n  - x\n  - {c: ~}\n---\n# empty\n---\nd: &x [1]\ne: *x\nf:\n"))
	if len(faults) != 0 || len(documents) != 2 {
		t.Fatalf("got %d documents, %v", len(documents), faults)
	}
	first, second := documents[0], documents[1]
	got := map[string]int{
		"a": first.get("a").line, "b[0]": first.get("b").items[0].line, "b[1]": first.get("b").items[1].line,
		"c": first.get("b").items[1].get("c").line, "d": second.get("d").line, "f": second.get("f").line,
	}
	want := map[string]int{"a": 1, "b[0]": 3, "b[1]": 4, "c": 4, "d": 8, "f": 10}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if second.get("e").items[0].value != 1 || second.get("f").kind != absent || second.get("none").kind != absent {
		t.Errorf("got %+v", second)
	}
}

func TestOddYAMLIsAFault(t *testing.T) {
	for name, text := range map[string]string{
		"an anchor in itself":  "a: &x [*x]\n",
		"a list as a key":      "? [a]\n: b\n",
		"an unclosed bracket":  "a: [1\n",
		"a tab as indentation": "a:\n\tb: 1\n",
		"an unknown anchor":    "a: *x\n",
		"broken encoding":      "a: \xff\xfe\xfd\n",
		"aliases that explode": "a: &a [x,x,x,x,x,x,x,x,x]\n" + bomb(),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("p.yaml", []byte(text))
			if err == nil || !strings.HasPrefix(err.Error(), "p.yaml") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// bomb is nine levels of nine aliases each.
func bomb() string {
	var b strings.Builder
	for level := 'b'; level < 'k'; level++ {
		b.WriteString(string(level) + ": &" + string(level) + " [")
		for range 9 {
			b.WriteString("*" + string(level-1) + ",")
		}
		b.WriteString("]\n")
	}
	return b.String()
}

func TestNearestWord(t *testing.T) {
	known := []string{"ttft", "tpot", "latency", "scaleToZero", "warmFloor"}
	for word, want := range map[string]string{
		"TTFT": "ttft", "scale_to_zero": "scaleToZero", "warmfloor": "warmFloor", "latncy": "latency", "pumpernickel": "", "": "",
	} {
		if got := nearest(word, known); got != want && word != "" {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
