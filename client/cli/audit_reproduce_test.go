// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/transparency/roster/rostertest"
)

// TestAuditCompares is CL-16 for whoever builds: a program that is not what the
// source makes.
func TestAuditCompares(t *testing.T) {
	dir, trust, _, _, _ := aRelease(t)
	file := filepath.Join(dir, "v1.2.3")
	a := &audited{t: t, w: &rostertest.World{}, dir: t.TempDir()}
	compare := func(files map[string]string, more ...string) (string, int) {
		built := t.TempDir()
		for name, text := range files {
			path := filepath.Join(built, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		stdout, _, code, err := a.runPlain(append([]string{"reproduce", file, "--built", built, "--release-trust", trust}, more...)...)
		t.Log(err)
		return stdout, code
	}
	for name, c := range map[string]struct {
		files map[string]string
		code  int
		says  string
	}{
		"the same":           {map[string]string{"node": "image"}, 0, "all 1 are the same"},
		"another":            {map[string]string{"node": "imagf"}, 10, "DIFFERENT    node: released"},
		"nothing":            {nil, 10, "not compared node"},
		"more than released": {map[string]string{"node": "image", "linux_amd64/x": ""}, 10, "linux_amd64/x: built, but not in the release"},
	} {
		if stdout, code := compare(c.files); code != c.code || !strings.Contains(stdout, c.says) {
			t.Errorf("%s: %d\n%s", name, code, stdout)
		}
	}
	t.Run("a release that is refused", func(t *testing.T) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		defer os.WriteFile(file, b, 0o644)
		os.WriteFile(file, []byte(strings.Replace(string(b), `"v1.2.3"`, `"v1.2.4"`, 1)), 0o644)
		if stdout, code := compare(map[string]string{"node": "image"}); code != 10 || stdout != "" {
			t.Errorf("%d %s", code, stdout)
		}
	})
	t.Run("a link out of the folder", func(t *testing.T) {
		built, out := t.TempDir(), filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(out, []byte("image"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(out, filepath.Join(built, "node")); err != nil {
			t.Fatal(err)
		}
		if stdout, _, code, err := a.runPlain("reproduce", file, "--built", built, "--release-trust", trust); code != 1 {
			t.Errorf("%d %v\n%s", code, err, stdout)
		}
	})
	for _, args := range [][]string{{"reproduce"}, {"reproduce", file}, {"reproduce", file, "--built", dir}, {"reproduce", file, "--built", "no such folder", "--release-trust", trust}} {
		if _, _, code, err := a.runPlain(args...); code != 2 {
			t.Errorf("%v: %d %v", args, code, err)
		}
	}
}
