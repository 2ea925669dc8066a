// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/audit/steer"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/client/internal/clienttest"
)

// TestReceipts: chat keeps them, audit judges them, and what is shared names no
// request.
func TestReceipts(t *testing.T) {
	w := clienttest.Start(t, 5)
	w.Answer(speaks)
	dir := t.TempDir()
	kept, bare, saved := filepath.Join(dir, "kept"), filepath.Join(dir, "bare"), filepath.Join(dir, "saved.json")
	files := func(dir string) []string {
		all, err := filepath.Glob(filepath.Join(dir, "*.receipt"))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for range 4 {
		if _, _, code, err := run(t, command(w), "hello", "chat", "--receipts", kept); code != cli.ExitOK {
			t.Fatal(err)
		}
	}
	if _, _, code, err := run(t, command(w), "", "verify", "--save", saved); code != cli.ExitOK {
		t.Fatal(err)
	}
	all := files(kept)
	if len(all) != 4 {
		t.Fatalf("%d receipts", len(all))
	}
	for _, f := range all {
		st, err := os.Stat(f)
		if err != nil || st.ModTime().Unix() != 0 || st.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", st, err)
		}
	}
	audit := func(args ...string) (string, int) {
		t.Helper()
		out, _, code, _ := run(t, command(w), "", append([]string{"audit", "receipts"}, args...)...)
		return out, code
	}
	out, code := audit(append(all, all[0], "--evidence", saved)...)
	if code != cli.ExitOK || !strings.Contains(out, "nothing shown") || !strings.Contains(out, "4 with proof, 0 without, 1 given twice") {
		t.Errorf("%d %q", code, out)
	}
	if out, code = audit(append(all, "--evidence", saved, "--json")...); code != cli.ExitOK || !strings.Contains(out, `"steered": false`) {
		t.Errorf("%d %q", code, out)
	}
	if _, code = audit(append(all, "--bare", bare)...); code != cli.ExitOK || len(files(bare)) != 4 {
		t.Fatalf("%d", code)
	}
	if out, code = audit(append(files(bare), "--evidence", saved)...); code != cli.ExitOK || !strings.Contains(out, "0 with proof, 4 without") {
		t.Errorf("%d %q", code, out)
	}
	b, err := os.ReadFile(all[0])
	if err != nil {
		t.Fatal(err)
	}
	r, err := steer.ParseReceipt(b)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, change func(*steer.Receipt)) string {
		p, q := *r, *r.Proof
		p.Proof = &q
		change(&p)
		b, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("RT-03", func(t *testing.T) {
		if _, code := audit(write("false", func(r *steer.Receipt) {
			r.IDs = [][32]byte{r.IDs[1], r.IDs[0], r.IDs[2]}
			r.Position, r.Proof.Busy = 0, nil
		}), "--evidence", saved); code != cli.ExitMalformed {
			t.Errorf("another order: exit %d", code)
		}
		if out, code := audit(write("skipped", func(r *steer.Receipt) { r.Outcome = steer.Skipped }), "--evidence", saved); code != cli.ExitRefused || !strings.Contains(out, "STEERING SHOWN") {
			t.Errorf("against the draw: exit %d, %q", code, out)
		}
	})
	noise := filepath.Join(dir, "noise")
	if err := os.WriteFile(noise, make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, code := audit(noise, "--evidence", saved); code != cli.ExitMalformed {
		t.Errorf("noise: exit %d", code)
	}
	t.Run("RT-03 a spoiled receipt is no veto", func(t *testing.T) {
		forged := write("forged", func(r *steer.Receipt) { // of a request whose true receipt comes later
			r.IDs = [][32]byte{r.IDs[1], r.IDs[0], r.IDs[2]}
			r.Position, r.Proof.Busy = 0, nil
		})
		out, stderr, code, _ := run(t, command(w), "", append([]string{"audit", "receipts", "--evidence", saved, forged, noise}, all...)...)
		if code != cli.ExitOK || !strings.Contains(out, "4 with proof") || !strings.Contains(out, "2 left out as false") || !strings.Contains(stderr, "forged") || !strings.Contains(stderr, "noise") {
			t.Errorf("exit %d\n%s\n%s", code, out, stderr)
		}
		skipped := write("skipped", func(r *steer.Receipt) { r.Outcome = steer.Skipped })
		if out, code := audit(forged, skipped, "--evidence", saved); code != cli.ExitRefused || !strings.Contains(out, "STEERING SHOWN") {
			t.Errorf("a forged one hides what another shows: exit %d\n%s", code, out)
		}
	})
	t.Run("RT-03 nothing judged is not nothing shown", func(t *testing.T) {
		later := write("later", func(r *steer.Receipt) { r.Epoch++ })
		out, code := audit(later, "--evidence", saved)
		if code != 20 || strings.Contains(out, "nothing shown") || !strings.Contains(out, "NOTHING JUDGED") {
			t.Errorf("exit %d\n%s", code, out)
		}
	})
	if _, code := audit(all[0]); code != cli.ExitUsage {
		t.Errorf("without evidence: exit %d", code)
	}
}
