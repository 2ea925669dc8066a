// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	role "github.com/sotto-project/sotto/internal/config"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"sotto-node": main}) }

// TestScript runs the program as people do. $DEPLOY is the folder of examples.
func TestScript(t *testing.T) {
	deploy, err := filepath.Abs(filepath.Join("..", "..", "deploy"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: func(e *testscript.Env) error { e.Setenv("DEPLOY", deploy); return nil },
	})
}

// TestExamples reads the commented examples for other platforms in deploy/ as
// if somebody had put them in place.
func TestExamples(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "deploy", "node.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), "platform: snp\n")
	tpm, rest, ok2 := strings.Cut(rest, "snp:\n")
	_, rest, ok3 := strings.Cut(rest, "in place of \"platform\" and \"snp\" above.\n#\n")
	blocks, after, ok4 := strings.Cut(rest, "\n\n")
	if !ok || !ok2 || !ok3 || !ok4 {
		t.Fatal("deploy/node.yaml has other parts than this test knows")
	}
	seen := map[string]bool{}
	for block := range strings.SplitSeq(blocks, "\n#\n") {
		var lines []string
		for line := range strings.SplitSeq(block, "\n") {
			lines = append(lines, strings.TrimPrefix(line, "# "))
		}
		text := strings.Join(lines, "\n") + "\n"
		switch {
		case strings.HasPrefix(text, "gpu:"):
			text = "snp:\n  crl: amd.crl\n" + text
		case !strings.HasPrefix(text, "platform: "):
			continue // words
		}
		c, err := role.Parse[config]([]byte(before + tpm + text + after))
		if err == nil {
			err = check(c)
		}
		if err != nil {
			t.Errorf("%v:\n%s", err, text)
		}
		seen[c.Machine.Platform] = true
	}
	if len(seen) != 9 { // the eight other platforms, and the default with GPUs
		t.Errorf("examples for %v", seen)
	}
}
