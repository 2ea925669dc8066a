// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
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

// TestReportsDoNotDriveTerminals: reports show what strangers sent, in text, in
// JSON and in errors. JSON says the same to a program.
func TestReportsDoNotDriveTerminals(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ntext üñ 日本 🙂":            "plain\ntext üñ 日本 🙂",
		"a\tb\r\x1b[2J\x7f":              "a?b??[2J?",
		"\u009b31m\u202egnp\u2066\u200b": "?31m?gnp??",
		"\U000e0041 \ufeff \u2028":       "? ? ?",
	} {
		var text, js strings.Builder
		if n, err := io.WriteString(reportText{&text}, in); n != len(in) || err != nil || text.String() != want {
			t.Errorf("%q: %d, %v, %q", in, n, err, text.String())
		}
		if err := writeJSON(&js, map[string]string{"x": in}); err != nil {
			t.Fatal(err)
		}
		if s := js.String(); visible(s) != s {
			t.Errorf("%q: %q", in, s)
		}
		var back map[string]string
		if err := json.Unmarshal([]byte(js.String()), &back); err != nil || back["x"] != in {
			t.Errorf("%q: %v, %q", in, err, back)
		}
		cause := errors.New(in)
		if err := printable(cause); err.Error() != want || !errors.Is(err, cause) {
			t.Errorf("%q: %q", in, err)
		}
	}
	if printable(nil) != nil {
		t.Error("no error became one")
	}
}

// TestProgress: few nodes show none; a file or a pipe gets one line, and nothing
// that moves a cursor.
func TestProgress(t *testing.T) {
	for total, want := range map[int]string{3: "", 49: "", 50: "verified 50 nodes\n", 1000: "verified 1000 nodes\n"} {
		var out strings.Builder
		f := progress(&out)
		for done := range total {
			f(done+1, total)
		}
		if out.String() != want {
			t.Errorf("%d nodes: %q", total, out.String())
		}
	}
}

func TestFold(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"", nil}, {"  ", nil}, {"one two", []string{"one", "two"}}, {"a b c", []string{"a b", "c"}},
		{"abcdefghij", []string{"abcd", "efgh", "ij"}}, {"ab abcdefgh", []string{"ab", "abcd", "efgh"}}, {"日本語日本語", []string{"日本語日", "本語"}},
		{"a\x1b\nb", []string{"a? b"}},
	} {
		if got := fold(c.in, 4); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}
