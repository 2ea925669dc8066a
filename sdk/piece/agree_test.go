// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation/piece"
)

// An answer is what a build says to a request.
type answer struct {
	Response string `json:"response"`
	Exit     int    `json:"exit"`
}

// A build judges a request.
type build func(t *testing.T, v vector) answer

// TestBuildsAgree is AT-65: the same document gets the same answer, byte for
// byte, and the same exit code from every build of the verifier. The shipped
// program says what the answer is.
func TestBuildsAgree(t *testing.T) {
	all := append(examples(t), suite(t)...)
	all = append(all, edges(t)...)
	shipped := sotto(t)
	want, verdicts := make([]answer, len(all)), map[int]int{}
	for i, v := range all {
		want[i] = shipped(t, v)
		verdicts[want[i].Exit]++
		if v.golden != "" && want[i].Response != published(t, v.golden) {
			t.Errorf("%s: the shipped program does not answer as published", v.name)
		}
	}
	t.Logf("%d requests; how many end in each exit code: %v", len(all), verdicts)
	for _, exit := range []int{piece.ExitAccepted, piece.ExitRefused, piece.ExitUnsupported, piece.ExitMalformed} {
		if verdicts[exit] == 0 {
			t.Errorf("no request ends in exit code %d: to agree on the others proves little", exit)
		}
	}

	for name, c := range map[string]struct {
		start func(*testing.T) build
		few   bool // a program in front of a build: the published examples alone
		part  int  // of three, which -short leaves: WebAssembly is slow here
	}{
		"native":         {start: native},
		"386":            {start: native386},
		"wasip1":         {start: wasip1, part: 1},
		"js":             {start: js, part: 2},
		"python":         {start: python},
		"piece-node.mjs": {start: jsCommand, few: true},
		"piece.py":       {start: pythonCommand, few: true},
	} {
		t.Run("AT-65/"+name, func(t *testing.T) {
			t.Parallel()
			judge := c.start(t)
			for i, v := range all {
				if v.golden == "" && (c.few || testing.Short() && c.part > 0 && i%3 != c.part) {
					continue
				}
				if got := judge(t, v); got != want[i] {
					t.Errorf("%s, %s: exit code %d, want %d\n%.1000s\nwant\n%.1000s", v.kind, v.name, got.Exit, want[i].Exit, got.Response, want[i].Response)
				}
			}
		})
	}
}

// published returns a published response as the one line that programs print.
func published(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, b); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line.String()) + "\n"
}

// TestBundlesAreNotJudgedHere: the one kind that only the shipped program knows
// is unsupported, and never anything that looks like an answer.
func TestBundlesAreNotJudgedHere(t *testing.T) {
	v := vector{name: bundles, kind: bundles, path: examplesDir + "/" + bundles + ".request.json"}
	if got := native(t)(t, v); got.Exit != piece.ExitUnsupported || !strings.Contains(got.Response, `"unsupported"`) {
		t.Errorf("exit code %d: %s", got.Exit, got.Response)
	}
}
