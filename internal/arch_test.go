// Package internal_test keeps the house in order: who may import whom, which
// code is pure, who may know which third party, and that the drawing in
// docs/architecture.md is true. It needs nothing but the standard library.
package internal_test

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/penstock/penstock/"

// layer is one floor of the house. Its packages may import the packages of the
// floors in mayUse, never each other.
type layer struct {
	name     string
	packages []string
	mayUse   []string
	pure     bool // a function of its arguments: no clock, no I/O, no goroutine
}

// house is the table of docs/architecture.md, ground floor first. A package
// that is missing here fails the test, so every package begins with a decision
// about where it lives.
var house = []layer{
	{name: "words", packages: []string{"internal/scale"}, pure: true},
	{name: "core", packages: []string{
		"internal/forecast", "internal/shadow", "internal/capacity", "internal/planner", "internal/policy", "internal/slo",
		"internal/admission", "internal/engine", "internal/ledger", "internal/rival", "internal/bound",
	}, mayUse: []string{"words"}, pure: true},
	{name: "tick", packages: []string{"internal/autoscaler"}, mayUse: []string{"words", "core"}, pure: true},
	{name: "loop", packages: []string{"internal/control"}, mayUse: []string{"words", "tick"}},
	{name: "edge", packages: []string{
		"internal/signals", "internal/spot", "internal/gateway", "internal/console", "internal/store",
		"internal/config", "internal/trace", "internal/emulator", "internal/load", "internal/report", "internal/lease",
	}, mayUse: []string{"words"}},
	{name: "api", packages: []string{"api/v1alpha1"}},
	{name: "world", packages: []string{"internal/sim", "internal/local"}, mayUse: []string{"words", "core", "tick", "loop", "edge", "api"}},
	{name: "proof", packages: []string{"internal/judge", "internal/adversary", "internal/toll", "internal/torture"}, mayUse: []string{"words", "core", "tick", "loop", "edge", "world"}},
	{name: "door", packages: []string{"internal/cli"}, mayUse: []string{"words", "core", "tick", "loop", "edge", "api", "world", "proof"}},
	{name: "main", packages: []string{"cmd/penstock"}, mayUse: []string{"door"}},
}

// grants are the arrows that the floors do not allow, one by one.
var grants = map[string][]string{
	"internal/control":  {"internal/ledger"},    // what a tick cost is journalled with it
	"internal/gateway":  {"internal/admission"}, // the gateway is admission with sockets
	"internal/lease":    {"internal/admission"}, // shares are admission's, over HTTP
	"internal/emulator": {"internal/engine"},    // the emulator is engine in real time
	"internal/load":     {"internal/engine"},    // the reply that the emulator must give
	"internal/config":   {"api/v1alpha1"},       // the schema that it reads
}

// owners names every third-party module and who may import it: packages, or
// floors. The longest prefix holds. A module without a row may not be imported.
var owners = map[string][]string{
	"charm.land/":                             {"internal/cli"},
	"github.com/HdrHistogram/":                {"internal/load"},
	"github.com/alecthomas/kong":              {"internal/cli"},
	"github.com/cespare/xxhash":               {"internal/gateway"},
	"github.com/go-json-experiment/json":      {"internal/gateway", "internal/store"},
	"github.com/jackc/pgx":                    {"internal/store"},
	"github.com/klauspost/compress":           {"internal/store"},
	"github.com/netresearch/go-cron":          {"internal/config"},
	"github.com/fxamacker/cbor/":              {"tick"},
	"github.com/pressly/goose":                {"internal/store"},
	"github.com/prometheus/client_golang":     {"internal/gateway", "internal/console", "internal/emulator", "internal/toll", "world", "door"},
	"github.com/prometheus/client_golang/api": {"internal/signals"},
	"github.com/prometheus/common":            {"internal/signals"},
	"golang.org/x/sync":                       {"loop", "edge", "world", "proof", "door"},
	"golang.org/x/sys":                        {"world", "internal/toll", "door"},
	"golang.org/x/term":                       {"door"},
	"gonum.org/":                              {"internal/forecast", "internal/capacity", "internal/planner", "internal/bound", "internal/trace", "internal/rival"},
	"k8s.io/":                                 {},
	"k8s.io/apimachinery":                     {"api"},
	"modernc.org/":                            {"internal/store"},
	"sigs.k8s.io/":                            {},
	"sigs.k8s.io/yaml":                        {"internal/config"},
}

func TestHouseStandsAsDrawn(t *testing.T) {
	faults, err := inspect(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Error(f)
	}
}

// inspect returns every fault of the house whose root is given, in order.
func inspect(root fs.FS) ([]string, error) {
	files, err := parse(root)
	if err != nil {
		return nil, err
	}
	doc, err := fs.ReadFile(root, "docs/architecture.md")
	if err != nil {
		return nil, err
	}
	faults := slices.Concat(floors(files), drawing(string(doc)), ports(files), variables(files))
	for _, f := range files {
		faults = append(faults, f.arrows()...)
		faults = append(faults, f.thirdParties()...)
		if l, ok := layerOf(f.pkg); ok && l.pure {
			faults = append(faults, f.impurities()...)
		}
	}
	slices.Sort(faults)
	return slices.Compact(faults), nil
}

func layerOf(pkg string) (layer, bool) {
	i := slices.IndexFunc(house, func(l layer) bool { return slices.Contains(l.packages, pkg) })
	if i < 0 {
		return layer{}, false
	}
	return house[i], true
}

// floors holds the table against the directories.
func floors(files []file) []string {
	var faults []string
	exists := map[string]bool{}
	for _, f := range files {
		exists[f.pkg] = true
		if _, ok := layerOf(f.pkg); !ok {
			faults = append(faults, fmt.Sprintf("%s: package %s has no floor: give it one in internal/arch_test.go", f.name, f.pkg))
		}
	}
	for _, l := range house {
		for _, p := range l.packages {
			if !exists[p] {
				faults = append(faults, fmt.Sprintf("internal/arch_test.go: package %s (%s) does not exist", p, l.name))
			}
		}
	}
	return faults
}

// drawing holds the table against the rows "| `package` | floor |" of
// docs/architecture.md, where internal/ is left out.
func drawing(doc string) []string {
	const name = "docs/architecture.md"
	var faults []string
	drawn := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(doc)); lines.Scan(); {
		row, ok := strings.CutPrefix(lines.Text(), "| `")
		if !ok {
			continue
		}
		cells := strings.Split(row, "|")
		pkg := strings.TrimSuffix(strings.TrimSpace(cells[0]), "`")
		if _, twice := drawn[pkg]; twice || len(cells) < 3 {
			faults = append(faults, fmt.Sprintf("%s: draws %s twice or without a floor", name, pkg))
			continue
		}
		drawn[pkg] = strings.TrimSpace(cells[1])
	}
	for _, l := range house {
		for _, p := range l.packages {
			short := strings.TrimPrefix(p, "internal/")
			if drawn[short] != l.name {
				faults = append(faults, fmt.Sprintf("%s: draws %s on floor %q, not %q", name, short, drawn[short], l.name))
			}
			delete(drawn, short)
		}
	}
	for p := range drawn {
		faults = append(faults, fmt.Sprintf("%s: draws %s, which is not in the house", name, p))
	}
	return faults
}

// file is one parsed Go file that is no test.
type file struct {
	name, pkg string // paths from the root
	tree      *ast.File
	set       *token.FileSet
}

// at returns where a node stands, as file:line.
func (f file) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.name, f.set.Position(n.Pos()).Line)
}

// imports calls yield with each import path, the name it goes by, and where.
func (f file) imports(yield func(imp, name, at string)) {
	for _, i := range f.tree.Imports {
		imp, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			panic(err) // the parser accepted it
		}
		name := path.Base(imp)
		switch {
		case i.Name != nil:
			name = i.Name.Name
		case name == "v2":
			name = path.Base(path.Dir(imp))
		}
		yield(imp, name, f.at(i))
	}
}

// arrows finds imports of ours that do not point down.
func (f file) arrows() []string {
	l, ok := layerOf(f.pkg)
	if !ok {
		return nil // floors says so
	}
	var faults []string
	f.imports(func(imp, name, at string) {
		if name == "." {
			faults = append(faults, fmt.Sprintf("%s: dot import of %s hides whose names they are", at, imp))
		}
		dep, ours := strings.CutPrefix(imp, module)
		if !ours {
			return
		}
		to, _ := layerOf(dep)
		if !slices.Contains(l.mayUse, to.name) && !slices.Contains(grants[f.pkg], dep) {
			faults = append(faults, fmt.Sprintf("%s: %s (%s) must not import %s (%s)", at, f.pkg, l.name, dep, to.name))
		}
	})
	return faults
}

// thirdParties finds imports of modules by packages that do not own them.
func (f file) thirdParties() []string {
	l, _ := layerOf(f.pkg)
	var faults []string
	f.imports(func(imp, _, at string) {
		if !isThirdParty(imp) {
			return
		}
		row, known := "", false
		for prefix := range owners {
			if strings.HasPrefix(imp, prefix) && len(prefix) > len(row) {
				row, known = prefix, true
			}
		}
		switch {
		case !known:
			faults = append(faults, fmt.Sprintf("%s: %s has no owner: name one in internal/arch_test.go", at, imp))
		case !slices.Contains(owners[row], f.pkg) && !slices.Contains(owners[row], l.name):
			faults = append(faults, fmt.Sprintf("%s: %s must not import %s: only %v may", at, f.pkg, imp, owners[row]))
		}
	})
	return faults
}

func isThirdParty(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return strings.Contains(first, ".") && !strings.HasPrefix(imp, module)
}

// parse reads every Go file of the module that is no test. Modules of their
// own (a folder with a go.mod), testdata and hidden folders are left out.
func parse(root fs.FS) ([]file, error) {
	var files []file
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return skip(root, name)
		case path.Ext(name) != ".go", strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return err
		}
		files = append(files, file{name: name, pkg: path.Dir(name), tree: tree, set: set})
		return nil
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no Go files found: looked in the wrong place")
	}
	return files, err
}

// skip returns fs.SkipDir for a folder whose files are not of the module.
func skip(root fs.FS, dir string) error {
	if dir == "." {
		return nil
	}
	base := path.Base(dir)
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" {
		return fs.SkipDir
	}
	if _, err := fs.Stat(root, path.Join(dir, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}
