package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Source is the Go code of some folders, without tests.
type Source struct {
	files    *token.FileSet
	packages map[string][]*ast.File
}

// ReadSource parses all below the folders given, of the repository at root.
func ReadSource(root string, folders ...string) (*Source, error) {
	s := &Source{files: token.NewFileSet(), packages: map[string][]*ast.File{}}
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(s.files, path, nil, parser.SkipObjectResolution)
			s.packages[filepath.Dir(path)] = append(s.packages[filepath.Dir(path)], file)
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("reading the source: %w", err)
		}
	}
	return s, nil
}

// Constants are the names and values of the constants whose value is a string that is written out.
func (s *Source) Constants() map[string]string {
	constants := map[string]string{}
	for _, files := range s.packages {
		for _, spec := range values(files) {
			for i, name := range spec.Names {
				if i < len(spec.Values) {
					if value, ok := text(spec.Values[i]); ok {
						constants[name.Name] = value
					}
				}
			}
		}
	}
	return constants
}

func values(files []*ast.File) []*ast.ValueSpec {
	var all []*ast.ValueSpec
	for _, file := range files {
		for _, decl := range file.Decls {
			if group, ok := decl.(*ast.GenDecl); ok && group.Tok == token.CONST {
				for _, spec := range group.Specs {
					if spec, ok := spec.(*ast.ValueSpec); ok {
						all = append(all, spec)
					}
				}
			}
		}
	}
	return all
}

// Literals are all strings that are written out in the code.
func (s *Source) Literals() map[string]bool {
	literals := map[string]bool{}
	s.inspect(func(_ string, n ast.Node) {
		if e, ok := n.(ast.Expr); ok {
			if value, ok := text(e); ok {
				literals[value] = true
			}
		}
	})
	return literals
}

func (s *Source) inspect(look func(dir string, n ast.Node)) {
	for dir, files := range s.packages {
		for _, file := range files {
			ast.Inspect(file, func(n ast.Node) bool {
				if n != nil {
					look(dir, n)
				}
				return true
			})
		}
	}
}

func text(e ast.Expr) (string, bool) {
	literal, ok := e.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", false
	}
	value, err := strconv.Unquote(literal.Value)
	return value, err == nil
}

// EventReasons are the reasons of all Events that the code records: the fourth argument of Eventf, of events.EventRecorder, also where
// a function of the same package hands it on. It fails at a call whose reason it cannot find.
func (s *Source) EventReasons() (map[string]bool, error) {
	constants, reasons := s.Constants(), map[string]bool{}
	for dir := range s.packages {
		recorders := map[string]int{"Eventf": 3}
		for range 3 { // a function that hands on to one that hands on
			s.addRecorders(dir, recorders)
		}
		for _, call := range s.calls(dir, recorders) {
			found := s.resolve(dir, call.reason, constants, recorders)
			if len(found) == 0 {
				return nil, fmt.Errorf("%s: the reason of this Event is not known: it is no constant, and gets none in this package", s.files.Position(call.at))
			}
			for _, reason := range found {
				reasons[reason] = true
			}
		}
	}
	return reasons, nil
}

// addRecorders adds the functions that hand one of their parameters on as a reason, with its place.
func (s *Source) addRecorders(dir string, recorders map[string]int) {
	for _, f := range s.functions(dir) {
		parameters := names(f.Type.Params)
		for _, reason := range reasonsIn(f, recorders) {
			if i := slices.Index(parameters, identifier(reason)); i >= 0 {
				recorders[f.Name.Name] = i
			}
		}
	}
}

func (s *Source) functions(dir string) []*ast.FuncDecl {
	var all []*ast.FuncDecl
	for _, file := range s.packages[dir] {
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				all = append(all, f)
			}
		}
	}
	return all
}

type eventCall struct {
	at     token.Pos
	reason ast.Expr
}

// calls are those of recorders, but for those that hand a parameter on.
func (s *Source) calls(dir string, recorders map[string]int) []eventCall {
	var calls []eventCall
	for _, f := range s.functions(dir) {
		_, recorder := recorders[f.Name.Name]
		for _, reason := range reasonsIn(f, recorders) {
			if !recorder || !slices.Contains(names(f.Type.Params), identifier(reason)) {
				calls = append(calls, eventCall{reason.Pos(), reason})
			}
		}
	}
	return calls
}

// reasonsIn are the arguments that a function hands to recorders.
func reasonsIn(f *ast.FuncDecl, recorders map[string]int) []ast.Expr {
	var reasons []ast.Expr
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if at, ok := recorders[identifier(call.Fun)]; ok && len(call.Args) > at {
			reasons = append(reasons, call.Args[at])
		}
		return true
	})
	return reasons
}

// identifier is the name of a function, field or variable; of a selector the last part.
func identifier(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	default:
		return ""
	}
}

func names(fields *ast.FieldList) []string {
	var all []string
	for _, field := range fields.List {
		for _, name := range field.Names {
			all = append(all, name.Name)
		}
	}
	return all
}

// resolve is what an expression may be: a string, a constant, what a variable or field of its name gets in the package, or two of these
// one after the other.
func (s *Source) resolve(dir string, e ast.Expr, constants map[string]string, recorders map[string]int) []string {
	if value, ok := text(e); ok {
		return []string{value}
	}
	if sum, ok := e.(*ast.BinaryExpr); ok {
		var found []string
		for _, left := range s.resolve(dir, sum.X, constants, recorders) {
			for _, right := range s.resolve(dir, sum.Y, constants, recorders) {
				found = append(found, left+right)
			}
		}
		return found
	}
	if value, ok := constants[identifier(e)]; ok {
		return []string{value}
	}
	var found []string
	for _, given := range append(s.given(dir, identifier(e)), s.arguments(dir, identifier(e), recorders)...) {
		if value, ok := text(given); ok {
			found = append(found, value)
		} else if value, ok := constants[identifier(given)]; ok {
			found = append(found, value)
		}
	}
	return found
}

// given are the expressions that variables and fields of a name get: assignments, composite literals, keys of a map that is ranged over.
func (s *Source) given(dir, name string) []ast.Expr {
	var all []ast.Expr
	s.inspect(func(in string, n ast.Node) {
		if in != dir || name == "" {
			return
		}
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if identifier(left) == name && len(n.Lhs) == len(n.Rhs) {
					all = append(all, n.Rhs[i])
				}
			}
		case *ast.KeyValueExpr:
			if identifier(n.Key) == name {
				all = append(all, n.Value)
			}
		case *ast.RangeStmt:
			literal, ok := n.X.(*ast.CompositeLit)
			if !ok || identifier(n.Key) != name {
				return
			}
			for _, element := range literal.Elts {
				if pair, ok := element.(*ast.KeyValueExpr); ok {
					all = append(all, pair.Key)
				}
			}
		}
	})
	return all
}

// arguments are what is handed to functions of the package for parameters of a name, but for recorders.
func (s *Source) arguments(dir, name string, recorders map[string]int) []ast.Expr {
	places := map[string]int{}
	for _, f := range s.functions(dir) {
		if i := slices.Index(names(f.Type.Params), name); i >= 0 && name != "" {
			if _, recorder := recorders[f.Name.Name]; !recorder {
				places[f.Name.Name] = i
			}
		}
	}
	var all []ast.Expr
	for _, f := range s.functions(dir) {
		all = append(all, reasonsIn(f, places)...)
	}
	return all
}
