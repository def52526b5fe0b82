package store

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// statements returns where the files, tests left out, hand SQL to the database
// that is no constant: a literal, a name that is only ever given literals, or a
// field of base.
func statements(t *testing.T, files []string) []string {
	t.Helper()
	set := token.NewFileSet()
	var faults []string
	var parsed []*ast.File
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
	}
	bad := assigned(parsed)
	asks := []string{"ExecContext", "QueryContext", "QueryRowContext", "PrepareContext", "Exec", "Query", "QueryRow", "Prepare"}
	for _, file := range parsed {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains(asks, method.Sel.Name) {
				return true
			}
			// The statement is the first argument but for a context; of pgx too.
			statement := call.Args[min(1, len(call.Args)-1)]
			if !constant(statement, bad) {
				faults = append(faults, fmt.Sprintf("%s: %s", set.Position(call.Pos()), method.Sel.Name))
			}
			return true
		})
	}
	return faults
}

// assigned returns the names that are ever given something that is no literal.
func assigned(files []*ast.File) map[string]bool {
	bad := map[string]bool{}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for i, left := range n.Lhs {
					name, ok := left.(*ast.Ident)
					if !ok {
						continue
					}
					if i >= len(n.Rhs) || len(n.Lhs) != len(n.Rhs) || !literal(n.Rhs[i]) {
						bad[name.Name] = true
					}
				}
			case *ast.Field: // parameters
				for _, name := range n.Names {
					bad[name.Name] = true
				}
			}
			return true
		})
	}
	return bad
}

func literal(e ast.Expr) bool {
	l, ok := e.(*ast.BasicLit)
	return ok && l.Kind == token.STRING
}

func constant(e ast.Expr, bad map[string]bool) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind == token.STRING
	case *ast.Ident:
		return !bad[e.Name]
	case *ast.SelectorExpr: // s.base.size and s.base.shrink, which are literals where a base is made
		return e.Sel.Name == "size" || e.Sel.Name == "shrink"
	}
	return false
}
