// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestationtest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation/attestationtest"
)

// TestToolReadsLog: a program that this project did not write reads the log to
// its end, and computes the same registers from it.
func TestToolReadsLog(t *testing.T) {
	tool, err := exec.LookPath("tpm2_eventlog")
	if err != nil {
		t.Skip("tpm2-tools are not installed")
	}
	events := attestationtest.Events()
	file := filepath.Join(t.TempDir(), "log.bin")
	if err := os.WriteFile(file, attestationtest.EventLog(events), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, file).Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(out), "- EventNum:"); n != len(events)+1 { // and the header
		t.Errorf("%d events of %d", n, len(events)+1)
	}
	registers := attestationtest.Registers(events)
	for _, pcr := range []int{0, 4, 7, 9, 11, 12} {
		if want := fmt.Sprintf("    %-2d : 0x%x\n", pcr, registers[pcr]); !strings.Contains(string(out), want) {
			t.Errorf("no line %q", want)
		}
	}
}
