// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nitro_test

import (
	"crypto/sha512"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakenitro"
	"github.com/sotto-project/sotto/attestation/collect/nitro"
	judge "github.com/sotto-project/sotto/attestation/internal/nitro"
)

// TestReport has a script in the tool's place that prints a SIMULATED document,
// if it is asked as the tool is.
func TestReport(t *testing.T) {
	data := sha512.Sum512([]byte("keys of a node"))
	a, err := fakenitro.NewAuthority(time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := a.Document(fakenitro.Spec{UserData: data[:]})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, asked := filepath.Join(dir, "doc"), filepath.Join(dir, "asked")
	if err := os.WriteFile(path, doc, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	script := `test $# = 2 && test "$1" = --user-data && cat "$2" > ` + asked + ` && cat ` + path
	pieces, err := nitro.New(nitro.Config{Command: []string{"/bin/sh", "-c", script, "tool"}}).Report(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(asked); err != nil || hex.EncodeToString(got) != hex.EncodeToString(data[:]) {
		t.Errorf("the tool was asked over %x, %v", got, err)
	}
	if _, err := judge.Verify(pieces[0].Data, a.Roots(), time.Now(), 0); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestWithoutTheTool(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := nitro.New(nitro.Config{}).Report(t.Context(), [64]byte{}); err == nil || !strings.Contains(err.Error(), "nitro-tpm-attest") {
		t.Errorf("%v", err)
	}
}
