// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package claims

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// never is the heading of the column whose cells need tests behind them.
const never = "never, and the test that says so"

// A test is named as a folder, a test function and, where an attack has a row
// of its own, its id: `ohttp/gateway TestReplay/CR-15`.
var testName = regexp.MustCompile("`([a-z0-9/]+) (Test[A-Za-z0-9_]+|Fuzz[A-Za-z0-9_]+)(?:/([A-Za-z0-9 ./-]+))?`")

// A row is a line of the README's table of who sees what, or of another one with
// tests behind its lines.
type row struct{ party, never string }

func whoSeesWhat(page string) []row { return column(page, never) }

// column returns the first cell and that of the named column of each row of the
// one table of page that has it.
func column(page, name string) []row {
	var rows []row
	column := -1
	for line := range strings.Lines(page) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "|") {
			column = -1
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
			if strings.EqualFold(cells[i], name) {
				column = i
			}
		}
		if column < 0 || column >= len(cells) || strings.EqualFold(cells[column], name) || strings.Trim(cells[column], ":-") == "" {
			continue
		}
		rows = append(rows, row{cells[0], cells[column]})
	}
	return rows
}

// TestNeverHasATest: what the README says that a party never sees or does is
// held by tests that exist.
func TestNeverHasATest(t *testing.T) {
	rows := whoSeesWhat(read(t, "README.md"))
	if len(rows) == 0 {
		t.Fatalf("README.md has no table with a column %q", never)
	}
	for _, r := range rows {
		named := testName.FindAllStringSubmatch(r.never, -1)
		if len(named) == 0 {
			t.Errorf("%s: no test named behind %q", r.party, r.never)
		}
		// Every claim of the cell, not just one: they are told apart by ";".
		for claim := range strings.SplitSeq(r.never, ";") {
			if !testName.MatchString(claim) {
				t.Errorf("%s: no test named behind %q", r.party, strings.TrimSpace(claim))
			}
		}
		for _, m := range named {
			if why := absent(t, m[1], m[2], m[3]); why != "" {
				t.Errorf("%s: %s", r.party, why)
			}
		}
	}
}

// TestOutagesHaveTests: what docs/operate.md says of each outage is held by tests
// that exist.
func TestOutagesHaveTests(t *testing.T) {
	rows := column(read(t, operate), "tests that say so")
	if len(rows) < 8 {
		t.Fatalf("%d outages in %s", len(rows), operate)
	}
	for _, r := range rows {
		named := testName.FindAllStringSubmatch(r.never, -1)
		if len(named) == 0 || len(named) != strings.Count(r.never, "`")/2 || !strings.HasPrefix(r.party, "DS-07/") {
			t.Errorf("%s: %q", r.party, r.never)
		}
		for _, m := range named {
			if why := absent(t, m[1], m[2], m[3]); why != "" {
				t.Errorf("%s: %s", r.party, why)
			}
		}
	}
}

// absent says why a test is not in the tree.
func absent(t *testing.T, dir, fn, sub string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(dir), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	hasFn, hasSub := false, sub == ""
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		hasFn = hasFn || strings.Contains(string(b), "\nfunc "+fn+"(")
		hasSub = hasSub || strings.Contains(string(b), `"`+sub+`"`) || strings.Contains(string(b), `"`+sub+` `)
	}
	switch {
	case !hasFn:
		return fmt.Sprintf("no %s in %s", fn, dir)
	case !hasSub:
		return fmt.Sprintf("no sub-test %s in %s", sub, dir)
	}
	return ""
}

// TestEveryRoleHasARow: a program that the table forgets is a party that
// nobody was told about.
func TestEveryRoleHasARow(t *testing.T) {
	page := read(t, "README.md")
	parties := ""
	for _, r := range whoSeesWhat(page) {
		parties += r.party + "\n"
	}
	mains, err := filepath.Glob(filepath.Join(root, "cmd", "*", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mains {
		program := path.Base(filepath.ToSlash(filepath.Dir(m)))
		if program == "sotto-lab" {
			continue // all of them at once, on one machine: no party of its own
		}
		if !strings.Contains(parties, "`"+program+"`") {
			t.Errorf("%s has no row in README.md", program)
		}
	}
}

func TestTableCheckSees(t *testing.T) {
	rows := whoSeesWhat("| Party | Sees | Never, and the test that says so |\n|---|:-:|---|\n| A | b | c `x TestY` |\n\n| Other | table |\n|---|---|\n| d | e |\n")
	if len(rows) != 1 || rows[0] != (row{"A", "c `x TestY`"}) {
		t.Errorf("%q", rows)
	}
	unknown := strings.Repeat("no-", 2) + "id" // put together, so that this file does not hold it
	for _, c := range []struct{ dir, fn, sub, want string }{
		{"internal/claims", "TestTableCheckSees", "", ""},
		{"internal/claims", "TestTableCheckSees", unknown, "no sub-test " + unknown + " in internal/claims"},
		{"internal/claims", "TestNotThere", "", "no TestNotThere in internal/claims"},
		{"no/such/folder", "TestTableCheckSees", "", "no TestTableCheckSees in no/such/folder"},
	} {
		if why := absent(t, c.dir, c.fn, c.sub); why != c.want {
			t.Errorf("%v: %q", c, why)
		}
	}
}
