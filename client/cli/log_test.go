// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/transparency/statement"
)

// TestFingerprintCommand: two people with the same view have the same words,
// whatever size of the log each saw; another view has others.
func TestFingerprintCommand(t *testing.T) {
	w, other := clienttest.Start(t, 3), clienttest.Start(t, 3)
	words := func(w *clienttest.World) client.View {
		t.Helper()
		stdout, _, code, err := run(t, command(w), "", "audit", "fingerprint", "--json")
		var v client.View
		if jerr := json.Unmarshal([]byte(stdout), &v); code != 0 || err != nil || jerr != nil {
			t.Fatalf("%d %v %v %q", code, err, jerr, stdout)
		}
		return v
	}
	a := words(w)
	w.Epoch(time.Now().Add(30*time.Minute), time.Hour) // the log grows; the epoch in force stays
	for _, b := range w.Boards {
		b.Point(1, time.Second)
	}
	w.Refresh(1)
	b := words(w)
	if strings.Join(a.Words, " ") != strings.Join(b.Words, " ") || len(a.Words) != statement.FingerprintWords || a.Log.Size == b.Log.Size {
		t.Errorf("%v at %d leaves, %v at %d", a.Words, a.Log.Size, b.Words, b.Log.Size)
	}
	if c := words(other); strings.Join(a.Words, " ") == strings.Join(c.Words, " ") {
		t.Errorf("two worlds have the words %v", c.Words)
	}
	stdout, _, code, err := run(t, command(w), "", "audit", "fingerprint")
	if code != 0 || err != nil || !strings.Contains(stdout, strings.Join(a.Words[:4], "  ")) || !strings.Contains(stdout, a.Statement) {
		t.Errorf("%d %v %q", code, err, stdout)
	}
}

// TestForkCommand: the file that a client keeps convinces a program that has
// nothing but a trust file.
func TestForkCommand(t *testing.T) {
	w, dir := clienttest.Start(t, 3), t.TempDir()
	args := func(a ...string) []string { return append(a, "--state", dir) }
	if _, _, code, err := run(t, command(w), "", args("verify")...); code != 0 {
		t.Fatal(code, err)
	}
	other := w.Fork(clienttest.Edit{Nodes: w.Nodes[:2]})
	w.Boards[1].Post(1, other, nil)
	w.Boards[1].Point(1, time.Second)
	_, _, code, err := run(t, command(w), "", args("verify")...)
	if code != cli.ExitRefused || client.CodeOf(err) != client.CodeConsistency {
		t.Fatal(code, err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*", "evidence", "*.txt"))
	if len(files) != 1 || !strings.Contains(err.Error(), files[0]) {
		t.Fatalf("%q: %v", files, err)
	}
	t.Run("AT-48/proves", func(t *testing.T) {
		stdout, _, code, err := run(t, command(w), "", "audit", "fork", files[0])
		if code != cli.ExitOK || err != nil || !strings.Contains(stdout, "signed two worlds") {
			t.Errorf("%d %v %q", code, err, stdout)
		}
	})
	t.Run("proves nothing under other keys", func(t *testing.T) {
		stdout, _, code, err := run(t, command(clienttest.Start(t, 1)), "", "audit", "fork", files[0])
		if code != cli.ExitRefused || err == nil || !strings.Contains(stdout, "Nothing is proven") {
			t.Errorf("%d %v %q", code, err, stdout)
		}
	})
	t.Run("AT-48/the file that a witness keeps", func(t *testing.T) {
		sign := w.Log.Keys().Log.Sign
		first, second := sign(7, [32]byte{1}), sign(7, [32]byte{2})
		kept := filepath.Join(t.TempDir(), "kept")
		if err := os.WriteFile(kept, fmt.Appendf(nil, "sotto fork evidence 1\nfirst %d\n\n%s%s", len(first), first, second), 0o600); err != nil {
			t.Fatal(err)
		}
		stdout, _, code, err := run(t, command(w), "", "audit", "fork", kept)
		if code != cli.ExitOK || err != nil || !strings.Contains(stdout, "no witness that you trust cosigned it") {
			t.Errorf("%d %v %q", code, err, stdout)
		}
	})
	t.Run("malformed", func(t *testing.T) {
		noise := filepath.Join(t.TempDir(), "noise")
		if err := os.WriteFile(noise, []byte("noise"), 0o600); err != nil {
			t.Fatal(err)
		}
		if stdout, _, code, err := run(t, command(w), "", "audit", "fork", noise); code != cli.ExitMalformed || err == nil || stdout != "" {
			t.Errorf("%d %v %q", code, err, stdout)
		}
		if _, _, code, _ := run(t, command(w), "", "audit", "fork", noise+"-absent"); code != cli.ExitFailed {
			t.Errorf("absent: %d", code)
		}
	})
	t.Run("refused until forgotten", func(t *testing.T) {
		w.Post(1)
		w.NoSend(t, func() {
			if _, _, code, err := run(t, command(w), "hello", args("chat")...); code != cli.ExitRefused || client.CodeOf(err) != client.CodeFork {
				t.Errorf("%d %v", code, err)
			}
		})
		if _, _, code, err := run(t, command(w), "", args("audit", "forget")...); code != cli.ExitUsage || !strings.Contains(err.Error(), "--yes") {
			t.Errorf("%d %v", code, err)
		}
		if _, _, code, _ := run(t, command(w), "", args("verify")...); code != cli.ExitRefused {
			t.Errorf("forgotten without a yes: %d", code)
		}
		_, stderr, code, err := run(t, command(w), "", args("audit", "forget", "--yes")...)
		if code != cli.ExitOK || !strings.Contains(stderr, ".forgotten-") {
			t.Errorf("%d %v %q", code, err, stderr)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*", "evidence", "*.txt")); len(left) != 1 {
			t.Errorf("the proof is gone: %v", left)
		}
		stdout, _, code, err := run(t, command(w), "", args("verify")...)
		if code != cli.ExitOK || !strings.Contains(stdout, "state      kept") || strings.Contains(stdout, dir) {
			t.Errorf("%d %v %q", code, err, stdout)
		}
	})
	t.Run("the statistic alone", func(t *testing.T) {
		counts, err := filepath.Glob(filepath.Join(dir, "log-*", "memory"))
		if err != nil || len(counts) == 0 {
			t.Fatal(err)
		}
		live := ""
		for _, c := range counts {
			if !strings.Contains(c, ".forgotten-") {
				live = filepath.Dir(c)
			}
		}
		if err := os.WriteFile(filepath.Join(live, "steering"), []byte("counted"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, code, _ := run(t, command(w), "", args("audit", "forget", "--steering", "--yes")...); code != cli.ExitUsage {
			t.Errorf("both: %d", code)
		}
		_, stderr, code, err := run(t, command(w), "", args("audit", "forget", "--steering")...)
		if code != cli.ExitOK || !strings.Contains(stderr, "steering.forgotten-") {
			t.Errorf("%d %v %q", code, err, stderr)
		}
		if _, err := os.Stat(filepath.Join(live, "memory")); err != nil {
			t.Errorf("the memory of the log is gone: %v", err)
		}
		if _, stderr, code, _ := run(t, command(w), "", args("audit", "forget", "--steering")...); code != cli.ExitOK || !strings.Contains(stderr, "nothing was counted") {
			t.Errorf("twice: %d %q", code, stderr)
		}
	})
	t.Run("no state", func(t *testing.T) {
		if _, _, code, _ := run(t, command(w), "", "audit", "forget", "--yes", "--state", "none"); code != cli.ExitUsage {
			t.Errorf("%d", code)
		}
		if stdout, _, code, _ := run(t, command(w), "", "verify", "--state", "none"); code != cli.ExitOK || !strings.Contains(stdout, "not kept") {
			t.Errorf("%d %q", code, stdout)
		}
	})
}

// TestStateOfTheTrustFile: the file's directory, none, or the system's place.
func TestStateOfTheTrustFile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "xdg"))
	t.Setenv("HOME", filepath.Join(dir, "home"))
	if err := os.WriteFile(filepath.Join(dir, "policy.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"state: here\n": filepath.Join(dir, "here"), "state: none\n": "", "state: /elsewhere\n": "/elsewhere"} {
		file := filepath.Join(dir, "trust.yaml")
		if err := os.WriteFile(file, []byte("policy: policy.json\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		if cfg, err := cli.LoadTrust(file); err != nil || cfg.State != want {
			t.Errorf("%q: %q %v", text, cfg.State, err)
		}
	}
	file := filepath.Join(dir, "trust.yaml")
	if err := os.WriteFile(file, []byte("policy: policy.json\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, err := cli.LoadTrust(file); err != nil || !strings.HasPrefix(cfg.State, dir) {
		t.Errorf("%q %v", cfg.State, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "xdg")); err == nil {
		t.Error("loading made a directory")
	}
}
