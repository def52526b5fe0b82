package console

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
)

// Every code that an answer may carry has a section with cause, effect and
// what to do, in the order of the codes, under the heading that explain uses.
func TestEveryReasonIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/reference/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := map[Effect]string{Because: "*Because.*", CouldNot: "*Could not.*", DidNot: "*Did not.*"}
	_, sections, _ := strings.Cut(string(text), "\n## Each of them\n")
	documented := []string{}
	for section := range strings.SplitSeq(sections, "\n### ") {
		title, body, _ := strings.Cut(section, "\n")
		code := strings.Trim(title, "`")
		i := slices.IndexFunc(scale.ReasonCodes(), func(c scale.ReasonCode) bool { return c.String() == code })
		if i < 0 {
			continue // what stands before the first
		}
		documented = append(documented, code)
		want := headings[EffectOf(scale.ReasonCodes()[i])]
		for _, part := range []string{want, "- **Cause:** ", "- **Effect:** ", "- **What to do:** "} {
			if _, after, found := strings.Cut(body, part); !found || after == "" {
				t.Errorf("%s: there is no %q in its section", code, part)
			}
		}
	}
	want := []string{}
	for _, code := range scale.ReasonCodes() {
		want = append(want, fmt.Sprint(code))
	}
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Errorf("sections (-codes +documented):\n%s", diff)
	}
}
