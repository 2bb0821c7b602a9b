package heron_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayImport is who may import whom inside the module (docs/architecture.md). A folder is matched by the first line that fits;
// "x/*" is every folder right below x. What a package needs and cannot have here is a question for a decision record.
var mayImport = []struct {
	folder  string
	imports []string
}{
	{"cmd/heron", []string{"agent/cli"}},
	{"cmd/heron-tuf", []string{"sync/trust"}},
	{"cmd/heron-vision", []string{"vision", "camera", "camera/*", "inference", "inference/*", "systemd", "internal/*"}},
	{"agent", []string{"agent/board", "agent/diag", "agent/events", "agent/status", "vision", "camera", "inference", "sync/*", "firmware", "systemd", "internal/*"}},
	{"agent/cli", []string{"agent", "agent/board", "agent/diag", "agent/status", "vision", "camera", "inference", "sync/*", "firmware", "systemd", "internal/*", "demo"}},
	{"agent/events", []string{"sync/message", "vision", "inference"}}, // inference: the scores inside an observation,
	{"agent/status", nil},
	{"agent/board", nil},
	{"agent/diag", nil},
	{"vision", []string{"camera", "inference", "internal/*"}},
	{"camera", nil},
	{"camera/*", []string{"camera"}},
	{"inference", nil},
	{"inference/*", []string{"inference"}},
	{"sync/message", []string{"internal/*"}},
	{"sync/outbox", []string{"sync/message", "internal/*"}},
	{"sync/desired", []string{"sync/message", "internal/*"}},
	{"sync/command", []string{"sync/message", "internal/*"}},
	{"sync/uplink", []string{"sync/outbox", "sync/message", "internal/*"}},
	{"sync/models", []string{"internal/*"}},
	{"sync/budget", []string{"sync/message", "internal/*"}},
	{"sync/homeassistant", []string{"sync/message", "internal/*"}},
	{"sync/thinedge", []string{"sync/message", "internal/*"}},
	{"sync/fleet", []string{"sync/message", "internal/*"}},
	{"sync/trust", []string{"internal/*"}},
	{"sync/repo", []string{"internal/*"}},
	{"firmware", []string{"internal/*"}},
	{"systemd", nil},
	{"internal/*", []string{"internal/*"}},
	{"demo", []string{"demo/*", "inference"}}, // inference: it reads its bundle's manifest
	{"demo/*", []string{"sync/message"}},
}

// address is where a foreign module may be imported, by the folders of Heron; none: in tests only. A module that is not named here
// has no place yet. demo/cloud plays the far side and must be independent of the near one: hence its own client and decoder.
var address = map[string][]string{
	"github.com/coreos/go-systemd":          {"systemd"},
	"github.com/eclipse/paho.mqtt":          {"sync/uplink", "sync/fleet", "demo/cloud"},
	"github.com/goccy/go-yaml":              {"agent", "sync/fleet", "internal/strictyaml"},
	"github.com/google/renameio":            {"internal/atomicfile"},
	"github.com/klauspost/compress":         {"internal/delta", "sync/outbox", "sync/uplink", "sync/models", "sync/fleet", "demo/cloud"},
	"github.com/hashicorp/go-retryablehttp": {"internal/fetch"},
	"github.com/mochi-mqtt/server":          {"demo/cloud"},
	"github.com/prometheus":                 {"agent/status"},
	"github.com/spf13/cobra":                {"agent/cli"},
	"github.com/yalue/onnxruntime_go":       {"inference/onnx"},
	"github.com/sigstore/sigstore":          {"sync/repo"}, // the signer that go-tuf asks for
	"github.com/theupdateframework/go-tuf":  {"sync/trust", "sync/repo"},
	"golang.org/x/crypto":                   {"sync/repo"},                  // scrypt, for keys under a passphrase
	"go.etcd.io/bbolt":                      {"sync/outbox", "sync/models"}, // decision 0009
	"gocv.io/x/gocv":                        {"camera/opencv"},
	"golang.org/x/image":                    {"camera/replay"}, // decision 0003
	"golang.org/x/sync":                     {"agent"},
	"golang.org/x/term":                     {"agent/cli", "demo"},
	"golang.org/x/time":                     {"sync/uplink"},
	"github.com/santhosh-tekuri/jsonschema": nil,
	"pgregory.net/rapid":                    nil,
	"go.uber.org/goleak":                    nil,
}

// file is one parsed Go file.
type file struct {
	path   string // slash-separated, from the root
	folder string
	test   bool
	ast    *ast.File
	fset   *token.FileSet
}

// imports of the file, unquoted.
func (f file) imports() []string {
	var out []string
	for _, s := range f.ast.Imports {
		out = append(out, strings.Trim(s.Path.Value, `"`))
	}
	return out
}

func (f file) lines(n ast.Node) int {
	return f.fset.Position(n.End()).Line - f.fset.Position(n.Pos()).Line + 1
}

// parse reads every Go file of the repository, whatever its build tags say.
func parse(t *testing.T) []file {
	t.Helper()
	var files []file
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		a, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		p := filepath.ToSlash(name)
		files = append(files, file{path: p, folder: path.Dir(p), test: strings.HasSuffix(p, "_test.go"), ast: a, fset: fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no Go files found: the test must run in the root of the repository")
	}
	return files
}

// product are the files that ship: no tests, no benchmarks, no tools that only build or train.
func product(files []file) []file {
	return slices.DeleteFunc(slices.Clone(files), func(f file) bool {
		return f.test || under(f.folder, "bench") || under(f.folder, "scripts") || under(f.folder, "demo/train")
	})
}

func under(folder, parent string) bool {
	return folder == parent || strings.HasPrefix(folder, parent+"/")
}

// fits says whether a folder is named by a pattern of mayImport.
func fits(folder, pattern string) bool {
	if parent, ok := strings.CutSuffix(pattern, "/*"); ok {
		return path.Dir(folder) == parent
	}
	return folder == pattern
}

func TestImportsFollowTheTable(t *testing.T) {
	for _, f := range product(parse(t)) {
		i := slices.IndexFunc(mayImport, func(r struct {
			folder  string
			imports []string
		}) bool {
			return fits(f.folder, r.folder)
		})
		if i < 0 {
			t.Errorf("%s: folder %s has no line in the import table of arch_test.go", f.path, f.folder)
			continue
		}
		for _, imp := range f.imports() {
			inside, ok := strings.CutPrefix(imp, "heron/")
			if !ok || inside == f.folder {
				continue
			}
			if !slices.ContainsFunc(mayImport[i].imports, func(p string) bool { return fits(inside, p) }) {
				t.Errorf("%s imports %s: %s may import only %v", f.path, imp, f.folder, mayImport[i].imports)
			}
		}
	}
}

func TestForeignModulesHaveOneAddress(t *testing.T) {
	for _, f := range product(parse(t)) {
		for _, imp := range f.imports() {
			if !strings.Contains(strings.Split(imp, "/")[0], ".") || under(imp, "golang.org/x/sys") {
				continue
			}
			module := ""
			for m := range address {
				if strings.HasPrefix(imp, m) {
					module = m
				}
			}
			switch {
			case module == "":
				t.Errorf("%s imports %s, which has no address in arch_test.go", f.path, imp)
			case !slices.Contains(address[module], f.folder):
				t.Errorf("%s imports %s, whose address is %v", f.path, imp, address[module])
			}
		}
	}
}

// The core must stay one static binary: nothing it reaches may need a C compiler.
func TestHeronLinksNoCgo(t *testing.T) {
	byFolder := map[string][]file{}
	for _, f := range product(parse(t)) {
		byFolder[f.folder] = append(byFolder[f.folder], f)
	}
	native := []string{"C", "gocv.io/x/gocv", "github.com/yalue/onnxruntime_go"}
	seen := map[string]bool{}
	var walk func(folder, via string)
	walk = func(folder, via string) {
		if seen[folder] {
			return
		}
		seen[folder] = true
		for _, f := range byFolder[folder] {
			for _, imp := range f.imports() {
				if slices.Contains(native, imp) {
					t.Errorf("cmd/heron reaches %s (%s), which imports %s", f.path, via, imp)
				}
				if inside, ok := strings.CutPrefix(imp, "heron/"); ok {
					walk(inside, via+" > "+inside)
				}
			}
		}
	}
	walk("cmd/heron", "cmd/heron")
	if len(seen) < 2 {
		t.Errorf("cmd/heron reaches only %d packages: the test looks in the wrong place", len(seen))
	}
}

func TestEveryPackageHasOneComment(t *testing.T) {
	commented := map[string][]string{}
	for _, f := range parse(t) {
		if f.test {
			continue
		}
		if _, ok := commented[f.folder]; !ok {
			commented[f.folder] = nil
		}
		if f.ast.Doc != nil {
			commented[f.folder] = append(commented[f.folder], f.path)
		}
	}
	for folder, files := range commented {
		if len(files) != 1 {
			t.Errorf("package %s: %d package comments, in %v; one is right", folder, len(files), files)
		}
	}
}

func TestNoInitAndNoMutablePackageVariables(t *testing.T) {
	files := product(parse(t))
	globals := map[string]map[string]bool{} // by folder
	for _, f := range files {
		if globals[f.folder] == nil {
			globals[f.folder] = map[string]bool{}
		}
		for _, d := range f.ast.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				for _, n := range s.(*ast.ValueSpec).Names {
					globals[f.folder][n.Name] = true
				}
			}
		}
	}
	for _, f := range files {
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if fn.Name.Name == "init" && fn.Recv == nil {
				t.Errorf("%s: func init; build what it builds where it is used", f.fset.Position(fn.Pos()))
			}
			for _, name := range assigned(fn) {
				if globals[f.folder][name] {
					t.Errorf("%s: %s changes the package variable %s", f.path, fn.Name.Name, name)
				}
			}
		}
	}
}

// assigned lists the names that fn assigns to and does not declare itself.
func assigned(fn *ast.FuncDecl) []string {
	own := map[string]bool{}
	var names []string
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, id := range n.Names {
				own[id.Name] = true
			}
		case *ast.ValueSpec:
			for _, id := range n.Names {
				own[id.Name] = true
			}
		case *ast.RangeStmt:
			for _, e := range []ast.Expr{n.Key, n.Value} {
				if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					own[id.Name] = true
				}
			}
		case *ast.IncDecStmt:
			names = append(names, root(n.X))
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					own[id.Name] = true
				} else if n.Tok != token.DEFINE {
					names = append(names, root(e))
				}
			}
		}
		return true
	})
	return slices.DeleteFunc(names, func(n string) bool { return own[n] || n == "_" })
}

// root is the variable that an assignment to e changes: x for x.f[i] = …
func root(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return root(e.X)
	case *ast.IndexExpr:
		return root(e.X)
	case *ast.StarExpr:
		return root(e.X)
	case *ast.ParenExpr:
		return root(e.X)
	}
	return ""
}

// Sizes are aids to the eye: printed with -v, never a failure.
func TestSizesArePrinted(t *testing.T) {
	const maxFile, maxFunc = 400, 60
	for _, f := range parse(t) {
		if n := f.fset.File(f.ast.Pos()).LineCount(); n > maxFile {
			t.Logf("%s: %d lines (budget %d)", f.path, n, maxFile)
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.lines(fn) > maxFunc {
				t.Logf("%s: %s has %d lines (budget %d)", f.path, fn.Name.Name, f.lines(fn), maxFunc)
			}
		}
	}
}
