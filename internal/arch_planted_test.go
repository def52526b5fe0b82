package internal_test

import (
	"fmt"
	"maps"
	"path"
	"strings"
	"testing"
	"testing/fstest"
)

// TestPlantedFaultsAreFound builds a house that stands, plants one fault at a
// time, and wants exactly that one reported.
func TestPlantedFaultsAreFound(t *testing.T) {
	if faults, err := inspect(sound()); err != nil || len(faults) > 0 {
		t.Fatalf("a sound house has faults: %q, %v", faults, err)
	}
	for what, c := range map[string]struct {
		file, text string
		want       string
	}{
		"a word imports core": {
			"internal/scale/x.go", `import _ "github.com/penstock/penstock/internal/policy"`,
			"internal/scale/x.go:3: internal/scale (words) must not import internal/policy (core)",
		},
		"core imports a sibling": {
			"internal/planner/x.go", `import _ "github.com/penstock/penstock/internal/capacity"`,
			"internal/planner (core) must not import internal/capacity (core)",
		},
		"core imports an edge": {
			"internal/policy/x.go", `import _ "github.com/penstock/penstock/internal/config"`,
			"internal/policy (core) must not import internal/config (edge)",
		},
		"the tick imports the loop": {
			"internal/autoscaler/x.go", `import _ "github.com/penstock/penstock/internal/control"`,
			"internal/autoscaler (tick) must not import internal/control (loop)",
		},
		"the loop imports core": {
			"internal/control/x.go", `import _ "github.com/penstock/penstock/internal/planner"`,
			"internal/control (loop) must not import internal/planner (core)",
		},
		"an edge imports an edge": {
			"internal/console/x.go", `import _ "github.com/penstock/penstock/internal/store"`,
			"internal/console (edge) must not import internal/store (edge)",
		},
		"an edge imports core without a grant": {
			"internal/trace/x.go", `import _ "github.com/penstock/penstock/internal/engine"`,
			"internal/trace (edge) must not import internal/engine (core)",
		},
		"a world imports a world": {
			"internal/local/x.go", `import _ "github.com/penstock/penstock/internal/sim"`,
			"internal/local (world) must not import internal/sim (world)",
		},
		"the API imports a word": {
			"api/v1alpha1/x.go", `import _ "github.com/penstock/penstock/internal/scale"`,
			"api/v1alpha1 (api) must not import internal/scale (words)",
		},
		"main imports a world": {
			"cmd/penstock/x.go", `import _ "github.com/penstock/penstock/internal/local"`,
			"cmd/penstock (main) must not import internal/local (world)",
		},
		"a dot import": {
			"internal/local/x.go", `import . "github.com/penstock/penstock/internal/scale"`,
			"dot import of github.com/penstock/penstock/internal/scale",
		},
		"a package without a floor": {
			"internal/util/x.go", ``,
			"package internal/util has no floor",
		},
		"a package below a package": {
			"internal/sim/rival/x.go", ``,
			"package internal/sim/rival has no floor",
		},
		"a package outside the tree": {
			"pkg/x.go", ``,
			"package pkg has no floor",
		},
		"client-go in the API": {
			"api/v1alpha1/x.go", `import _ "k8s.io/client-go/rest"`,
			"api/v1alpha1 must not import k8s.io/client-go/rest: only [] may",
		},
		"Kubernetes in a world": {
			"internal/local/x.go", `import _ "k8s.io/apimachinery/pkg/api/resource"`,
			"internal/local must not import k8s.io/apimachinery/pkg/api/resource: only [api] may",
		},
		"SQLite outside the store": {
			"internal/report/x.go", `import _ "modernc.org/sqlite"`,
			"internal/report must not import modernc.org/sqlite",
		},
		"a flag parser outside the door": {
			"internal/config/x.go", `import _ "github.com/alecthomas/kong"`,
			"internal/config must not import github.com/alecthomas/kong",
		},
		"a third party that nobody owns": {
			"internal/gateway/x.go", `import _ "example.com/fast/json"`,
			"example.com/fast/json has no owner",
		},
		"third-party code in core": {
			"internal/slo/x.go", `import _ "gonum.org/v1/gonum/stat"`,
			"internal/slo must not import gonum.org/v1/gonum/stat",
		},
		"a context in core": {
			"internal/ledger/x.go", `import _ "context"`,
			"a pure package imports context",
		},
		"a lock in core": {
			"internal/admission/x.go", `import _ "sync/atomic"`,
			"a pure package imports sync/atomic",
		},
		"the old random numbers in core": {
			"internal/engine/x.go", `import _ "math/rand"`,
			"a pure package imports math/rand",
		},
		"unseeded random numbers in core": {
			"internal/forecast/x.go", "import \"math/rand/v2\"\n\nvar x = rand.Float64()",
			"a pure package uses math/rand/v2.Float64",
		},
		"a clock read in core, by another name": {
			"internal/policy/x.go", "import clock \"time\"\n\nvar now = clock.Now",
			"internal/policy/x.go:5: a pure package uses time.Now",
		},
		"a goroutine in the tick": {
			"internal/autoscaler/x.go", "func f() { go f() }",
			"a pure package starts a goroutine",
		},
		"a channel in core": {
			"internal/admission/x.go", "type events chan int",
			"a pure package uses a channel",
		},
		"a print in core": {
			"internal/capacity/x.go", "import \"fmt\"\n\nfunc f() { fmt.Println() }",
			"a pure package uses fmt.Println",
		},
		"a port among the words": {
			"internal/scale/x.go", "type Clock interface{ Now() int }\n\nvar _ Clock",
			"interface Clock is declared among the words",
		},
		"a port that its package does not consume": {
			"internal/store/x.go", "type Journal interface{ Append() }",
			"interface Journal is not consumed by the package that declares it",
		},
		"a package variable without a value": {
			"internal/local/x.go", "var count int",
			"package variable count is declared without a value",
		},
		"a package variable to be filled": {
			"internal/local/x.go", "var seen = map[string]int{}\n\nfunc f() { seen[\"x\"]++ }",
			"internal/local/x.go:5: package variable seen is written to",
		},
		"a knob": {
			"internal/gateway/x.go", "var limit = 8\n\nfunc f() *int { return &limit }",
			"package variable limit is written to",
		},
		"a lock for the whole package": {
			"internal/store/x.go", "import \"sync\"\n\nvar once = sync.OnceFunc(func() {})",
			"package variable once is of package sync",
		},
		"a port too wide": {
			"internal/local/x.go", "type Gateway interface{ A(); B(); C(); D() }\n\nvar _ Gateway",
			"interface Gateway has 4 methods, more than 3",
		},
	} {
		t.Run(what, func(t *testing.T) {
			root := sound()
			root[c.file] = &fstest.MapFile{Data: fmt.Appendf(nil, "package %s\n\n%s\n", path.Base(path.Dir(c.file)), c.text)}
			wantOne(t, root, c.want)
		})
	}
}

func TestPlantedFaultsOfTheDrawingAreFound(t *testing.T) {
	for what, c := range map[string]struct {
		old, new string
		want     string
	}{
		"a package not drawn":            {"| `spot` | edge |\n", "", `draws spot on floor "", not "edge"`},
		"a package drawn that is not":    {"| `spot` | edge |\n", "| `spot` | edge |\n| `helpers` | edge |\n", "draws helpers, which is not in the house"},
		"a package drawn twice":          {"| `spot` | edge |\n", "| `spot` | edge |\n| `spot` | edge |\n", "draws spot twice"},
		"a package on the wrong floor":   {"| `spot` | edge |\n", "| `spot` | core |\n", `draws spot on floor "core", not "edge"`},
		"a package drawn without floors": {"| `spot` | edge |\n", "| `spot` |\n", "draws spot twice or without a floor"},
	} {
		t.Run(what, func(t *testing.T) {
			root := sound()
			doc := string(root["docs/architecture.md"].Data)
			root["docs/architecture.md"].Data = []byte(strings.Replace(doc, c.old, c.new, 1))
			faults, err := inspect(root)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.Join(faults, "\n"), c.want) {
				t.Errorf("got %q, want %q", faults, c.want)
			}
		})
	}
	t.Run("a package that does not exist", func(t *testing.T) {
		root := sound()
		delete(root, "internal/spot/spot.go")
		wantOne(t, root, "package internal/spot (edge) does not exist")
	})
}

// TestInspectLooksAtTheModuleOnly: what is no code of the product may do as it likes.
func TestInspectLooksAtTheModuleOnly(t *testing.T) {
	root := sound()
	outlaw := &fstest.MapFile{Data: []byte("package x\n\nimport _ \"example.com/x\"\n")}
	maps.Copy(root, fstest.MapFS{
		"tools/go.mod":                  {},
		"tools/x.go":                    outlaw,
		"internal/policy/x_test.go":     outlaw,
		"internal/policy/testdata/x.go": outlaw,
		".cache/x.go":                   outlaw,
	})
	if faults, err := inspect(root); err != nil || len(faults) > 0 {
		t.Errorf("got %q, %v", faults, err)
	}
}

func wantOne(t *testing.T, root fstest.MapFS, want string) {
	t.Helper()
	faults, err := inspect(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(faults) != 1 || !strings.Contains(faults[0], want) {
		t.Errorf("got %q, want one fault with %q", faults, want)
	}
}

// sound returns a house without faults: every package of the table, empty, and
// its drawing. Every grant is used once.
func sound() fstest.MapFS {
	root := fstest.MapFS{}
	var doc strings.Builder
	for _, l := range house {
		for _, p := range l.packages {
			root[path.Join(p, path.Base(p)+".go")] = &fstest.MapFile{Data: fmt.Appendf(nil, "package %s\n", path.Base(p))}
			fmt.Fprintf(&doc, "| `%s` | %s |\n", strings.TrimPrefix(p, "internal/"), l.name)
		}
	}
	for from, to := range grants {
		text := "package x\n"
		for _, dep := range to {
			text += fmt.Sprintf("\nimport _ %q\n", module+dep)
		}
		root[from+"/granted.go"] = &fstest.MapFile{Data: []byte(text)}
	}
	root["internal/forecast/allowed.go"] = &fstest.MapFile{Data: []byte(`package forecast

import (
	"math/rand/v2"
	"time"

	_ "github.com/penstock/penstock/internal/scale"
	_ "gonum.org/v1/gonum/mat"
)

// number is a constraint, not a port.
type number interface{ ~int | ~float64 }

func f(r *rand.Rand, now time.Time) float64 { return r.Float64() + now.Sub(time.Unix(0, 0)).Seconds() }
`)}
	root["internal/store/allowed.go"] = &fstest.MapFile{Data: []byte(`package store

import _ "modernc.org/sqlite"

type journal interface{ append() }

var _ journal = (*log)(nil)

//go:embed migrations
var migrations embed.FS

// names is a table: nothing writes to it.
var names = []string{"a", "b"}

func g() {
	names := names[:1]
	names[0] = "c" // a local of that name
}

func f(j journal) { go j.append() }
`)}
	root["docs/architecture.md"] = &fstest.MapFile{Data: []byte(doc.String())}
	return root
}
