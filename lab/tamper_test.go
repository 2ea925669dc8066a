// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/lab"
)

var update = flag.Bool("update", false, "write the expected outputs anew")

var (
	folded  = regexp.MustCompile(`\n {11}(\S)`)
	anyHex  = regexp.MustCompile(`[0-9a-f]{6,}`)
	anyByte = regexp.MustCompile(`byte \d+ of \d+ is [0-9a-f]+, was [0-9a-f]+`)
	anyTime = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d`)
	seconds = regexp.MustCompile(`(\dh\d+m)\d+s`)
)

// masked unfolds lines and replaces what varies from run to run, most of it by
// as many other characters.
func masked(s string) string {
	s = folded.ReplaceAllString(s, " $1")
	s = anyTime.ReplaceAllString(s, "YYYY-MM-DD hh:mm:ss")
	s = anyHex.ReplaceAllStringFunc(s, func(h string) string { return strings.Repeat("x", len(h)) })
	s = anyByte.ReplaceAllString(s, "byte N of N is N, was N")
	return seconds.ReplaceAllString(s, "${1}0s")
}

// golden compares an output with testdata/tamper/NAME.txt.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "tamper", name+".txt")
	got = masked(got)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s, got:\n%s\nwant:\n%s", path, got, want)
	}
}

// TestTamper: each mode changes evidence of a lab of its own, and is refused.
func TestTamper(t *testing.T) {
	codes := map[string]string{
		"nonce": "att.nonce", "pcr": "att.pcr.value", "vcek": "att.chain", "ima": "att.ima.format", "gpu": "att.gpu.binding",
		"log": "log.inclusion", "expiry": "att.stale", "rek": "att.rek.name", "eventlog": "att.log.replay",
	}
	if n := len(client.TamperModes()); n != len(codes) {
		t.Errorf("%d modes, %d of them tested", n, len(codes))
	}
	for mode, want := range codes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := once(t, "tamper", mode)
			if code != 10 || !strings.Contains(stderr, want+": as it should be") || !strings.Contains(stderr, "SIMULATED HARDWARE") {
				t.Errorf("exit %d, want 10 and %s; stderr:\n%s", code, want, stderr)
			}
			golden(t, mode, stdout)
		})
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		stdout, stderr, code := once(t, "tamper", "all")
		if code != 10 || !strings.Contains(stderr, "each of 9 ways to tamper was refused") {
			t.Errorf("exit %d, stderr:\n%s", code, stderr)
		}
		golden(t, "all", stdout)
	})
	t.Run("list", func(t *testing.T) {
		stdout, _, code := once(t, "tamper", "list")
		if code != 0 {
			t.Errorf("exit %d", code)
		}
		golden(t, "list", stdout)
	})
	t.Run("json", func(t *testing.T) {
		t.Parallel()
		stdout, _, code := once(t, "tamper", "all", "--json")
		var all []client.Tampered
		if err := json.Unmarshal([]byte(stdout), &all); err != nil || code != 10 || len(all) != len(codes) {
			t.Fatalf("exit %d, %d of %d, %v", code, len(all), len(codes), err)
		}
		for _, one := range all {
			if one.Code != codes[one.Mode] || one.Expected == "" || one.Received == "" || one.Expected == one.Received {
				t.Errorf("%s: %s, expected %q, received %q", one.Mode, one.Code, one.Expected, one.Received)
			}
		}
	})
	t.Run("usage", func(t *testing.T) {
		for _, args := range [][]string{{"tamper"}, {"tamper", "nonsense"}, {"tamper", "pcr", "vcek"}, {"tamper", "pcr", "--colour"}} {
			if stdout, _, code := once(t, args...); code != 2 || stdout != "" {
				t.Errorf("%v: exit %d, printed %q", args, code, stdout)
			}
		}
	})
}

// TestVerifyWithoutLab: verify starts a lab where none runs, and leaves nothing.
func TestVerifyWithoutLab(t *testing.T) {
	// Other tests' labs leave notes of where they run.
	alone := func(args ...string) (stdout, stderr string, code int) {
		cmd := exec.Command(binary, args...)
		cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir())
		return finish(t, cmd)
	}
	for _, c := range []struct {
		name string
		args []string
		says string
	}{
		{"report", []string{"verify", "--brief"}, "Verification of 3 nodes"},
		{"json", []string{"verify", "--json"}, `"simulated": true`},
		{"node", []string{"verify", "node"}, "challenge"},
		{"peers", []string{"verify", "--peers"}, "+"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := alone(c.args...)
			if code != 0 || !strings.Contains(stdout, c.says) || !strings.Contains(stderr, "No lab runs here") {
				t.Errorf("exit %d, stdout:\n%s\nstderr:\n%s", code, stdout, stderr)
			}
		})
	}
	t.Run("a word needs no lab", func(t *testing.T) {
		if stdout, stderr, code := alone("verify", "--explain", "vcek"); code != 0 || stdout == "" || strings.Contains(stderr, "started") {
			t.Errorf("exit %d, %q, %q", code, stdout, stderr)
		}
	})
	t.Run("a file needs its own lab", func(t *testing.T) {
		if _, stderr, code := alone("verify", "--evidence", "absent.json"); code != 1 && code != 2 || strings.Contains(stderr, "started") {
			t.Errorf("exit %d, %q", code, stderr)
		}
		if _, stderr, code := alone("verify", "--trust", "x", "--dir", "y"); code != 2 || !strings.Contains(stderr, "both name a lab") {
			t.Errorf("exit %d, %q", code, stderr)
		}
	})
	t.Run("a killed lab runs no more", func(t *testing.T) {
		cache := t.TempDir()
		if err := os.Mkdir(filepath.Join(cache, "sotto-lab"), 0o700); err != nil {
			t.Fatal(err)
		}
		gone := exec.Command(binary, "tamper", "list")
		if err := gone.Run(); err != nil {
			t.Fatal(err)
		}
		note := t.TempDir() + "\n" + strconv.Itoa(gone.Process.Pid) + "\n"
		if err := os.WriteFile(filepath.Join(cache, "sotto-lab", "running"), []byte(note), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(binary, "verify", "--brief")
		cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+cache)
		if stdout, stderr, code := finish(t, cmd); code != 0 || !strings.Contains(stderr, "No lab runs here") {
			t.Errorf("exit %d, %q, %q", code, stdout, stderr)
		}
	})
}

// TestSavedEvidence: what a lab's verdict rests on is judged again when the lab
// is gone, with its roots, and by no shipped program.
func TestSavedEvidence(t *testing.T) {
	t.Parallel()
	dir, file := filepath.Join(t.TempDir(), "lab"), filepath.Join(t.TempDir(), "evidence.json")
	if _, stderr, code := once(t, "verify", "--brief", "--dir", dir, "--save", file); code != 0 {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	stdout, stderr, code := once(t, "verify", "--brief", "--dir", dir, "--evidence", file, "--at", "saved")
	if code != 0 || !strings.Contains(stdout, "SIMULATED") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	t.Run("tampered", func(t *testing.T) {
		for _, m := range client.TamperModes() {
			stdout, stderr, code := once(t, "verify", "--dir", dir, "--evidence", file, "--at", "saved", "--tamper", m.Name)
			if code != 10 {
				t.Errorf("%s: exit %d, %s", m.Name, code, stderr)
			}
			golden(t, m.Name, stdout)
		}
	})
	t.Run("the shipped program", func(t *testing.T) {
		for _, args := range [][]string{{"--at", "saved"}, {}, {"--at", "saved", "--tamper", "pcr"}, {"--at", "saved", "--json"}} {
			cmd := exec.Command(shipped, append([]string{"verify", "--trust", lab.TrustFile(dir), "--evidence", file}, args...)...)
			if _, stderr, code := finish(t, cmd); code != 10 || !strings.Contains(stderr, "att.simulated") {
				t.Errorf("%v: exit %d, %q; want 10 and att.simulated", args, code, stderr)
			}
		}
	})
}
