// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package claims

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// mark lets a line quote what is banned.
const mark = "claims: quoted"

// A span is a text that a person reads in one piece, and the line of each of
// its bytes, for messages.
type span struct {
	text  string
	lines []int
}

func (s *span) add(line int, text string) {
	s.text += text
	for range len(text) {
		s.lines = append(s.lines, line)
	}
}

// A finding is a banned phrase in a file.
type finding struct {
	line    int
	phrase  string
	instead string
}

// lint returns what is banned in spans, and which of the marked lines were
// needed.
func lint(spans []span, marked map[int]bool) (found []finding, used map[int]bool) {
	used = map[int]bool{}
	for _, s := range spans {
		for _, b := range bans {
			for _, at := range b.phrase.FindAllStringIndex(s.text, -1) {
				first, last := s.lines[at[0]], s.lines[at[1]-1]
				switch {
				case marked[first]:
					used[first] = true
				case marked[last]:
					used[last] = true
				default:
					found = append(found, finding{first, strings.TrimSpace(s.text[at[0]:at[1]]), b.instead})
				}
			}
		}
	}
	return found, used
}

// pageSpans cuts a page into paragraphs. Emphasis does not hide a phrase, and
// a line break within a paragraph is a space.
func pageSpans(page string) (spans []span, marked map[int]bool) {
	marked = map[int]bool{}
	plain := strings.NewReplacer("*", "", "_", "", "`", "", "\t", " ", "\u2019", "'", "\u00a0", " ")
	var s span
	flush := func() {
		if s.text != "" {
			spans = append(spans, s)
			s = span{}
		}
	}
	for i, line := range strings.Split(page, "\n") {
		n := i + 1
		if strings.Contains(line, "<!-- "+mark+" -->") {
			marked[n] = true
		}
		line = strings.Join(strings.Fields(strings.TrimLeft(plain.Replace(line), "> #")), " ")
		if line == "" {
			flush()
			continue
		}
		s.add(n, line+" ")
	}
	flush()
	return spans, marked
}

// goSpans takes from a Go file what people get to read of it: its strings, put
// together where the code puts them together, and its package comment.
func goSpans(fset *token.FileSet, f *ast.File) (spans []span, marked map[int]bool) {
	marked = map[int]bool{}
	for _, g := range f.Comments {
		for _, c := range g.List {
			if strings.Contains(c.Text, mark) {
				marked[fset.Position(c.Pos()).Line] = true
			}
		}
	}
	if f.Doc != nil {
		var s span
		for _, c := range f.Doc.List {
			s.add(fset.Position(c.Pos()).Line, strings.TrimPrefix(c.Text, "//")+" ")
		}
		spans = append(spans, s)
	}
	var folded []ast.Node
	ast.Inspect(f, func(n ast.Node) bool {
		e, ok := n.(ast.Expr)
		if !ok || slices.Contains(folded, n) {
			return true
		}
		var s span
		if literal(fset, e, &s, &folded) && s.text != "" {
			spans = append(spans, s)
		}
		return true
	})
	return spans, marked
}

// literal adds the value of a string literal, or of a sum of them, to s.
func literal(fset *token.FileSet, e ast.Expr, s *span, folded *[]ast.Node) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		v, err := strconv.Unquote(e.Value)
		if e.Kind != token.STRING || err != nil {
			return false
		}
		*folded = append(*folded, e)
		for i, line := range strings.Split(v, "\n") {
			s.add(fset.Position(e.Pos()).Line+i, line+" ")
		}
		// The piece after this one continues its last line.
		s.text, s.lines = strings.TrimSuffix(s.text, " "), s.lines[:len(s.lines)-1]
		return true
	case *ast.BinaryExpr:
		if e.Op != token.ADD {
			return false
		}
		left := literal(fset, e.X, s, folded)
		right := literal(fset, e.Y, s, folded)
		*folded = append(*folded, e)
		return left || right
	}
	return false
}

// files returns the files of the repository whose names end in ext, by slash
// paths from its root. What tests read as data is not ours to word.
func files(t *testing.T, ext string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{"testdata", ".git", "node_modules"}, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ext) {
			rel, err := filepath.Rel(root, name)
			if err != nil {
				return err
			}
			out = append(out, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNoAbsoluteClaims(t *testing.T) {
	for _, name := range files(t, ".md") {
		spans, marked := pageSpans(read(t, name))
		report(t, name, spans, marked)
	}
	for _, name := range files(t, ".go") {
		if strings.HasSuffix(name, "_test.go") || name == "internal/claims/doc.go" {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, read(t, name), parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		spans, marked := goSpans(fset, f)
		report(t, name, spans, marked)
	}
}

func report(t *testing.T, name string, spans []span, marked map[int]bool) {
	t.Helper()
	found, used := lint(spans, marked)
	for _, f := range found {
		t.Errorf("%s:%d: %q is an absolute claim; %s (or mark the line %q if it quotes somebody)", name, f.line, f.phrase, f.instead, mark)
	}
	for line := range marked {
		if !used[line] {
			t.Errorf("%s:%d: marked %q, but it quotes nothing that is banned", name, line, mark)
		}
	}
}

// TestLintSees shows the lint what it has to find, and what it has to leave.
func TestLintSees(t *testing.T) {
	for _, text := range []string{
		"No one can read your prompt.", "nobody else can see it", "**No one** can", "no\none   can", "no-one could",
		"No attacker can join the two.", "not even the operators see it", "It is impossible to decrypt.", "delivery is guaranteed",
		"This guarantees privacy.", "zero trust needed", "zero-trust required", "a trustless design", "tamperproof, unhackable",
		"military-grade encryption", "100% secure", "fully private", "perfect anonymity", "mathematically proven", "provably private inference",
		"Keys can never be stolen.", "it cannot be\nhacked", "quantum-safe signatures",
		"memory isolation from the host, including administrators with physical access",
		"Your data stay protected even from staff with physical access to the rack.",
	} {
		if spans, marked := pageSpans(text); !finds(spans, marked) {
			t.Errorf("not found: %q", text)
		}
	}
	for _, text := range []string{
		"The relay cannot open what it forwards: it has no key.", "One can read the report.", "No node can be listed without evidence.",
		"Physical access is not covered.", "A node that died can open nothing.", "None can be guessed from that.",
		"no one\n\ncan be two paragraphs", "Nothing was sent.",
		"\"No one can read it\" is a claim we do not make. <!-- claims: quoted -->",
	} {
		if spans, marked := pageSpans(text); finds(spans, marked) {
			t.Errorf("found in %q", text)
		}
	}
	for src, want := range map[string]bool{
		"package p\nvar s = \"no one \" + \"can\"":                         true,
		"package p\nvar s = `no one\ncan read`":                            true,
		"package p\nvar s = \"no one \" + name + \"can\"":                  true,
		"// Package p is unbreakable.\npackage p":                          true,
		"package p\n// It is impossible to get here.\nfunc f() {}":         false,
		"package p\nvar s = \"no one can\" // claims: quoted":              false,
		"package p\nvar a, b = \"no one\", \"can\"":                        false,
		"package p\nfunc f() { g(\"x\", \"guaranteed \" + \"delivery\") }": true,
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "p.go", src, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if spans, marked := goSpans(fset, f); finds(spans, marked) != want {
			t.Errorf("found is %t in %q", !want, src)
		}
	}
	spans, marked := pageSpans("An honest line. <!-- claims: quoted -->")
	if _, used := lint(spans, marked); len(marked) != 1 || used[1] {
		t.Error("a mark that quotes nothing counts as used")
	}
}

func finds(spans []span, marked map[int]bool) bool {
	found, _ := lint(spans, marked)
	return len(found) > 0
}
