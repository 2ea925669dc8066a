// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"strings"
	"testing"
)

// TestModelsDoNotDriveTerminals: what a model says is text. Escape sequences
// can write the clipboard, rewrite what was shown, or answer for the user.
func TestModelsDoNotDriveTerminals(t *testing.T) {
	t.Run("CL-15", func(t *testing.T) {
		for in, want := range map[string]string{
			"plain\ttext\nüñ 日本 🙂":                 "plain\ttext\nüñ 日本 🙂",
			"\x1b]52;c;cm0gLXJm\x07":               "\ufffd]52;c;cm0gLXJm\ufffd",
			"\x1b[2J\x1b[H":                        "\ufffd[2J\ufffd[H",
			"\u009b31m and \u009d52;c;x\u009c":     "\ufffd31m and \ufffd52;c;x\ufffd",
			"over\rwritten \b\b and \x00 and \x7f": "over\ufffdwritten \ufffd\ufffd and \ufffd and \ufffd",
			"\xff\x9b not UTF-8":                   "\ufffd\ufffd not UTF-8",
			"":                                     "",
		} {
			var out strings.Builder
			n, err := io.WriteString(plainText{&out}, in)
			if n != len(in) || err != nil || out.String() != want {
				t.Errorf("%q: %d, %v, %q", in, n, err, out.String())
			}
		}
	})
}
