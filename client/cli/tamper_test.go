// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/client/internal/clienttest"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with a file under testdata, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what is printed now; look at the difference, then run go test ./client/cli -update; now:\n%s", file, got)
	}
}

// What varies from run to run, replaced by as many other characters.
var varying = []struct {
	was *regexp.Regexp
	now string
}{
	{regexp.MustCompile(`[0-9a-f]{10,}`), "x"},
	{regexp.MustCompile(`\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z`), "t"},
	{regexp.MustCompile(`\bis [0-9a-f]{2}, was [0-9a-f]{2}`), "v"},
	{regexp.MustCompile(`byte \d+ of \d+`), "n"},
	{regexp.MustCompile(`\b\d+h\d+m\d\ds\b`), "d"},
}

func masked(s string) string {
	for _, v := range varying {
		s = v.was.ReplaceAllStringFunc(s, func(m string) string { return strings.Repeat(v.now, len(m)) })
	}
	return s
}

// TestTamper: every mode, on evidence that verifies, is refused with its code,
// shows two values that differ, and exits 10.
func TestTamper(t *testing.T) {
	w := clienttest.StartFull(t, 1)
	file, saved := save(t, w)
	at := saved.Time.Add(20 * time.Second).Format(time.RFC3339)
	before := len(w.Meter.Dials())
	for mode, want := range map[string]string{
		"nonce": "att.nonce", "pcr": "att.pcr.value", "vcek": "att.chain", "ima": "att.ima.format", "gpu": "att.gpu.binding",
		"log": "log.inclusion", "expiry": "att.stale", "rek": "att.rek.name", "eventlog": "att.log.replay",
	} {
		t.Run(mode, func(t *testing.T) {
			args := []string{"verify", "--evidence", file, "--at", at, "--tamper", mode}
			r := sottoAt(t, w, years, cli.ExitRefused, args...)
			if client.CodeOf(r.err) != want {
				t.Errorf("%v, want %s", r.err, want)
			}
			golden(t, "tamper-"+mode, masked(r.stdout))
			o := object(t, sottoAt(t, w, years, cli.ExitRefused, append(args, "--json")...))
			expected, received := o["expected"].(string), o["received"].(string)
			if o["code"] != want || o["verdict"] != "failed" || o["simulated"] != true || expected == "" || received == "" || expected == received {
				t.Errorf("%v: %q, %q", o["code"], expected, received)
			}
		})
	}
	if n := len(client.TamperModes()); n != 9 {
		t.Errorf("%d modes", n)
	}
	t.Run("without --at", func(t *testing.T) { sotto(t, w, cli.ExitRefused, "verify", "--evidence", file, "--tamper", "pcr") })
	t.Run("an unknown mode", func(t *testing.T) {
		r := sotto(t, w, cli.ExitUsage, "verify", "--evidence", file, "--tamper", "x\x1b[2J")
		has(t, r.err.Error(), client.TamperNames())
	})
	t.Run("the evidence is as it was", func(t *testing.T) {
		sotto(t, w, cli.ExitOK, "verify", "--evidence", file, "--at", at)
	})
	if d := w.Meter.Dials()[before:]; len(d) > 0 {
		t.Errorf("dialled %v", d)
	}
}

// TestNothingToTamper: a node without a GPU has no GPU evidence to change, and
// that is no refusal of anything.
func TestNothingToTamper(t *testing.T) {
	w := clienttest.Start(t, 1)
	file, _ := save(t, w)
	for mode, what := range map[string]string{"gpu": "GPU evidence", "ima": "IMA log"} {
		r := sotto(t, w, cli.ExitFailed, "verify", "--evidence", file, "--tamper", mode)
		has(t, r.err.Error(), what, "sotto verify --evidence FILE")
	}
	t.Run("evidence that does not verify", func(t *testing.T) {
		r := sotto(t, w, cli.ExitRefused, "verify", "--evidence", file, "--tamper", "pcr", "--at", "2020-01-01T00:00:00Z")
		has(t, r.err.Error(), "tampering begins with evidence that verifies")
	})
}
