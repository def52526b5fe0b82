package internal_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// impure is what a pure package must not import, nor anything below it.
var impure = []string{
	"context", "crypto", "io", "log", "net", "os", "plugin", "runtime", "sync", "syscall", "testing", "unsafe",
}

// forbidden are the names of otherwise allowed packages that a pure package
// must not use: they read the clock, the machine's time zone or its entropy.
var forbidden = map[string][]string{
	"time": {
		"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTicker", "NewTimer", "Tick", "Local", "LoadLocation",
	},
	"math/rand/v2": {
		"Int", "IntN", "Int32", "Int32N", "Int64", "Int64N", "Uint", "UintN", "Uint32", "Uint32N", "Uint64", "Uint64N",
		"Float32", "Float64", "NormFloat64", "ExpFloat64", "Perm", "Shuffle", "N",
	},
	"fmt": {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
}

// maxMethods bounds an interface: a port is what one consumer needs.
const maxMethods = 3

// impurities finds what makes a package more than a function of its arguments.
// Mathematics is not, nor is a codec.
func (f file) impurities() []string {
	var faults []string
	paths := map[string]string{} // name in this file → import path
	f.imports(func(imp, name, at string) {
		paths[name] = imp
		below := func(p string) bool { return imp == p || strings.HasPrefix(imp, p+"/") }
		switch {
		case slices.ContainsFunc(impure, below), imp == "math/rand", imp == "C":
			faults = append(faults, fmt.Sprintf("%s: a pure package imports %s", at, imp))
		case isThirdParty(imp) && !strings.HasPrefix(imp, "gonum.org/") && !strings.HasPrefix(imp, "github.com/fxamacker/cbor/"):
			faults = append(faults, fmt.Sprintf("%s: a pure package imports third-party %s", at, imp))
		}
	})
	ast.Inspect(f.tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			faults = append(faults, f.at(n)+": a pure package starts a goroutine")
		case *ast.ChanType:
			faults = append(faults, f.at(n)+": a pure package uses a channel")
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if ok && slices.Contains(forbidden[paths[x.Name]], n.Sel.Name) {
				faults = append(faults, fmt.Sprintf("%s: a pure package uses %s.%s", f.at(n), paths[x.Name], n.Sel.Name))
			}
		}
		return true
	})
	return faults
}

// ports finds interfaces that are too large, declared among the words, or not
// consumed by the package that declares them.
func ports(files []file) []string {
	type port struct {
		file
		spec *ast.TypeSpec
	}
	var declared []port
	used := map[string]int{} // package + name → mentions
	var faults []string
	for _, f := range files {
		ast.Inspect(f.tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				used[f.pkg+"."+n.Name]++
			case *ast.TypeSpec:
				if i, ok := n.Type.(*ast.InterfaceType); ok && methods(i) > 0 {
					declared = append(declared, port{f, n})
					if methods(i) > maxMethods {
						faults = append(faults, fmt.Sprintf("%s: interface %s has %d methods, more than %d", f.at(n), n.Name.Name, methods(i), maxMethods))
					}
				}
			}
			return true
		})
	}
	for _, p := range declared {
		if l, _ := layerOf(p.pkg); l.name == "words" {
			faults = append(faults, fmt.Sprintf("%s: interface %s is declared among the words, not where it is consumed", p.at(p.spec), p.spec.Name.Name))
		} else if used[p.pkg+"."+p.spec.Name.Name] < 2 {
			faults = append(faults, fmt.Sprintf("%s: interface %s is not consumed by the package that declares it", p.at(p.spec), p.spec.Name.Name))
		}
	}
	return faults
}

// methods counts methods and embedded interfaces; a constraint (a union of
// types) is no port and counts as none.
func methods(i *ast.InterfaceType) int {
	n := 0
	for _, m := range i.Methods.List {
		switch m.Type.(type) {
		case *ast.BinaryExpr, *ast.UnaryExpr:
			return 0
		default:
			n += max(1, len(m.Names))
		}
	}
	return n
}

// variables finds package variables that are not tables: those that something
// in the package writes to, and those made to be written to.
func variables(files []file) []string {
	var faults []string
	declared := map[string]bool{} // package + name
	for _, f := range files {
		for _, d := range f.tree.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for _, name := range v.Names {
					declared[f.pkg+"."+name.Name] = name.Name != "_"
				}
				embedded := g.Doc != nil && strings.Contains(g.Doc.List[len(g.Doc.List)-1].Text, "//go:embed ")
				if what := changeable(v); what != "" && !embedded && v.Names[0].Name != "_" {
					faults = append(faults, fmt.Sprintf("%s: package variable %s is %s", f.at(v), v.Names[0].Name, what))
				}
			}
		}
	}
	for _, f := range files {
		writes(f.tree, func(name *ast.Ident) {
			if declared[f.pkg+"."+name.Name] {
				faults = append(faults, fmt.Sprintf("%s: package variable %s is written to", f.at(name), name.Name))
			}
		})
	}
	return faults
}

// changeable says what about a declaration shows that it is meant to change,
// or "" when nothing does.
func changeable(v *ast.ValueSpec) (what string) {
	if len(v.Values) == 0 {
		return "declared without a value"
	}
	ast.Inspect(v, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && (x.Name == "sync" || x.Name == "atomic") {
				what = "of package " + x.Name
			}
		case *ast.CallExpr:
			if x, ok := n.Fun.(*ast.Ident); ok && (x.Name == "make" || x.Name == "new") {
				what = "made to be filled"
			}
		}
		return true
	})
	return what
}

// writes calls yield with each variable that is assigned to, in whole or in an
// element or field, emptied, or whose address is taken. Names that the
// function itself declares hide those of the package.
func writes(tree *ast.File, yield func(*ast.Ident)) {
	for _, d := range tree.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		local := locals(f)
		written := func(e ast.Expr) {
			if name := rootOf(e); name != nil && !local[name.Name] {
				yield(name)
			}
		}
		ast.Inspect(f.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, e := range n.Lhs {
					written(e)
				}
			case *ast.IncDecStmt:
				written(n.X)
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					written(n.X)
				}
			case *ast.CallExpr:
				if x, ok := n.Fun.(*ast.Ident); ok && (x.Name == "delete" || x.Name == "clear") {
					written(n.Args[0])
				}
			}
			return true
		})
	}
}

// rootOf returns the variable that an expression such as x.f[i] is a part of.
func rootOf(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// locals returns the names that a function declares: receiver, parameters,
// results and variables, wherever in it.
func locals(f *ast.FuncDecl) map[string]bool {
	names := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, name := range n.Names {
				names[name.Name] = true
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				names[name.Name] = true
			}
		case *ast.RangeStmt:
			for _, e := range []ast.Expr{n.Key, n.Value} {
				if name, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					names[name.Name] = true
				}
			}
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				if name, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					names[name.Name] = true
				}
			}
		}
		return true
	})
	return names
}
