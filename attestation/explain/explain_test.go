// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"bytes"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden files and the generated part of docs/verify-by-hand.md")

// golden compares with a file under testdata, or writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what is printed now; look at the difference, then run go test ./attestation/explain -update", file)
	}
}

// keys returns the first string of each element of a package-level list or map of
// package attestation: the ids of its steps, without an export for tests alone.
func keys(t *testing.T, file, variable string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != variable {
			return true
		}
		for _, e := range spec.Values[0].(*ast.CompositeLit).Elts {
			var first ast.Expr
			switch e := e.(type) {
			case *ast.KeyValueExpr:
				first = e.Key
			case *ast.CompositeLit:
				first = e.Elts[0]
			}
			s, err := strconv.Unquote(first.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
		return false
	})
	if len(out) == 0 {
		t.Fatalf("%s has no %s", file, variable)
	}
	return out
}

// TestEveryStepIsExplained: the steps of package attestation, its short hints and
// the topics of this package name the same steps.
func TestEveryStepIsExplained(t *testing.T) {
	steps, hints := keys(t, "steps.go", "steps"), keys(t, "byhand.go", "byHand")
	for _, id := range steps {
		topic, ok := Find(id)
		if !ok || !topic.Step {
			t.Errorf("step %s has no topic", id)
		}
		if topic.ByHand == "" || topic.Expect == "" || topic.Standard == "" {
			t.Errorf("topic %s lacks what to expect, its source, or commands", id)
		}
		if !slices.Contains(hints, id) {
			t.Errorf("step %s has no line in byHand", id)
		}
	}
	for _, topic := range Topics() {
		if topic.Step && !slices.Contains(steps, topic.Name) {
			t.Errorf("topic %s explains a step that does not exist", topic.Name)
		}
	}
	for _, id := range hints {
		if !slices.Contains(steps, id) {
			t.Errorf("byHand has a line for %s, which is no step", id)
		}
	}
}

// TestTopicsAreWhole: no topic is empty or a copy of another, tables fit a
// terminal, and what a topic points to exists.
func TestTopicsAreWhole(t *testing.T) {
	for _, name := range []string{"nonce", "vcek", "chain", "pcr", "ima", "boot_aggregate", "tcb", "tdx", "gpu-evidence", "tier", "gaps", "verdicts", "simulated"} {
		if _, ok := Find(name); !ok {
			t.Errorf("no topic %s", name)
		}
	}
	seen := map[string]string{}
	for _, topic := range Topics() {
		for _, s := range []string{topic.Name, topic.Title, topic.Short, topic.Text} {
			s = strings.Join(strings.Fields(s), " ")
			if s == "" {
				t.Errorf("topic %s has an empty part", topic.Name)
			}
			if other, ok := seen[s]; ok && other != topic.Name && s != "" {
				t.Errorf("topics %s and %s share %q", topic.Name, other, s)
			}
			seen[s] = topic.Name
		}
		if strings.Count(topic.Short, ". ") > 0 || !strings.HasSuffix(topic.Short, ".") {
			t.Errorf("topic %s: Short is not one sentence: %s", topic.Name, topic.Short)
		}
		for _, see := range topic.See {
			if _, ok := byName(see); !ok || see == topic.Name {
				t.Errorf("topic %s points to %s", topic.Name, see)
			}
		}
		for _, p := range topic.Paragraphs() {
			for l := range strings.SplitSeq(p.Text, "\n") {
				if p.Fixed && (utf8.RuneCountInString(l) > 80 || !strings.HasPrefix(l, "  ")) {
					t.Errorf("topic %s: line does not fit, or is not indented: %q", topic.Name, l)
				}
			}
		}
		if strings.ContainsRune(topic.Text+topic.Short+topic.Expect+topic.ByHand, '\u2014') {
			t.Errorf("topic %s has a long dash", topic.Name)
		}
	}
}

func TestFind(t *testing.T) {
	for name, want := range map[string]string{
		"tpm.quote": "tpm.quote", "TPM.Quote": "tpm.quote", "quote": "tpm.quote", "nonce": "nonce", " VCEK ": "vcek",
		"pcr": "pcr", "pcr7": "pcr-7", "PCR 7": "pcr-7", "pcr[10]": "pcr-10", "pcr-23": "pcr-23", "pcr_0": "pcr-0",
		"boot aggregate": "boot_aggregate", "boot-aggregate": "boot_aggregate", "cmdline": "boot.cmdline",
		"gpu": "gpu", "genuine": "", "pcr24": "", "pcr-1000": "", "": "", "nothing": "", "pcrs": "",
	} {
		got, ok := Find(name)
		if got.Name != want || ok != (want != "") {
			t.Errorf("Find(%q) is %q, %t; want %q", name, got.Name, ok, want)
		}
	}
}

// TestPCRs holds the roles of registers to the assignments of the TCG and of the
// Linux registry, where texts often have them wrong.
func TestPCRs(t *testing.T) {
	for name, want := range map[string]string{
		"pcr-0": "firmware code", "pcr-1": "firmware configuration", "pcr-2": "option ROMs", "pcr-3": "configuration and data of what is in PCR 2",
		"pcr-4": "boot manager code", "pcr-5": "partition table", "pcr-6": "manufacturer", "pcr-7": "Secure Boot", "pcr-8": "GRUB", "pcr-9": "kernel",
		"pcr-10": "IMA", "pcr-11": "unified kernel image", "pcr-12": "command line", "pcr-14": "machine owner keys", "pcr-16": "debug", "pcr-17": "dynamic launch", "pcr-23": "application",
	} {
		if topic, ok := Find(name); !ok || !strings.Contains(topic.Title, want) {
			t.Errorf("%s is %q, want it to name %q", name, topic.Title, want)
		}
	}
	aggregate, _ := Find("boot_aggregate")
	for _, want := range []string{"SHA-1 bank they are PCRs 0 to 7", "since Linux 5.8, they are PCRs 0 to 9"} {
		if !strings.Contains(strings.Join(strings.Fields(aggregate.Text), " "), want) {
			t.Errorf("boot_aggregate does not say %q", want)
		}
	}
}

// TestTopicsGolden is what sotto verify --explain prints for each name.
func TestTopicsGolden(t *testing.T) {
	var b bytes.Buffer
	for _, topic := range Topics() {
		if err := topic.Write(&b, 80); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n" + strings.Repeat("=", 80) + "\n\n")
	}
	for l := range strings.SplitSeq(b.String(), "\n") {
		if n := utf8.RuneCountInString(l); n > 100 {
			t.Errorf("%d columns: %s", n, l)
		}
	}
	golden(t, "topics.txt", b.Bytes())
}
