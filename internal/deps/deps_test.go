// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package deps

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestImportPolicy(t *testing.T) {
	imports := load(t)
	for _, p := range slices.Sorted(maps.Keys(imports)) {
		if _, ok := may[p]; !ok {
			t.Errorf("%s: not in the policy; add a row with its reason", p)
		}
		for _, q := range imports[p] {
			_, ours := imports[q]
			_, listed := only[q]
			outside := !ours && strings.Contains(strings.Split(q, "/")[0], ".")
			switch {
			case ours && !slices.Contains(may[p], q):
				t.Errorf("%s must not import %s", p, q)
			case ours && floor(p) <= floor(q) && folder(p) != folder(q):
				t.Errorf("%s (floor %d) must not import %s (floor %d): imports go strictly downward", p, floor(p), q, floor(q))
			case (listed || outside) && !permits(only[q], p):
				t.Errorf("%s must not import %s", p, q)
			}
			if slices.Contains(pure, p) && slices.Contains(world, q) {
				t.Errorf("%s is pure and must not import %s", p, q)
			}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(may)) {
		if imports[p] == nil {
			t.Errorf("%s is in the policy but does not exist", p)
		}
		for _, q := range may[p] {
			if !slices.Contains(imports[p], q) {
				t.Errorf("%s may import %s but does not: an edge nobody needs is an edge somebody will misuse", p, q)
			}
		}
	}
}

// TestNeverReached repeats what the table of edges already implies, on
// purpose: the edges change with every new package, these bans only with the
// threat model.
func TestNeverReached(t *testing.T) {
	imports := load(t)
	for _, b := range never {
		for _, p := range b.from {
			if imports[p] == nil {
				t.Errorf("never: %s does not exist; a ban on nothing protects nothing", p)
				continue
			}
			for _, q := range b.to {
				if imports[q] == nil {
					t.Errorf("never: %s does not exist; a ban on nothing protects nothing", q)
					continue
				}
				if trail := reach(imports, p, q); trail != nil {
					t.Errorf("%s must never reach %s (%s): %s", p, q, b.why, strings.Join(trail, " -> "))
				}
			}
		}
	}
}

// permits reports whether p is named in list, as itself or as part of a tree
// written "tree/...".
func permits(list []string, p string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		tree, isTree := strings.CutSuffix(entry, "/...")
		return p == entry || isTree && (p == tree || strings.HasPrefix(p, tree+"/"))
	})
}

func folder(p string) string { return strings.Split(p, "/")[0] }

func floor(p string) int { return floors[folder(p)] }

// load returns the direct non-test imports of every package of this module,
// with the module path cut from the names. It parses the files itself rather
// than asking go list: every build tag is seen, and the test cache notices
// when a file changes. Nested modules (lab/interop, sdk/piece) are not part of this one.
func load(t *testing.T) map[string][]string {
	const root, module = "../..", "github.com/sotto-project/sotto/"
	imports := map[string][]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			nested, _ := filepath.Glob(filepath.Join(name, "go.mod"))
			if d.Name() == "testdata" || d.Name() == ".git" || d.Name() == "node_modules" || name != root && len(nested) > 0 {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		p := filepath.ToSlash(dir)
		if imports[p] == nil {
			imports[p] = []string{}
		}
		for _, spec := range f.Imports {
			q, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imports[p] = append(imports[p], strings.TrimPrefix(q, module))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return imports
}

// reach returns one import trail from p to q, or nil.
func reach(imports map[string][]string, p, q string) []string {
	seen := map[string]bool{}
	var walk func(trail []string) []string
	walk = func(trail []string) []string {
		p := trail[len(trail)-1]
		if p == q {
			return trail
		}
		if seen[p] {
			return nil
		}
		seen[p] = true
		for _, n := range imports[p] {
			if found := walk(append(slices.Clone(trail), n)); found != nil {
				return found
			}
		}
		return nil
	}
	return walk([]string{p})
}
