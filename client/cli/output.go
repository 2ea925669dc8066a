// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/internal/durable"
)

// Reports and refusals show what strangers sent. A terminal would act upon
// control characters in it, and bidirectional ones show one value as another, so
// nothing that is not printable leaves this package but line ends.

// visible is s without what is not printable.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// reportText writes what is printable. A write must not end within a character.
type reportText struct{ w io.Writer }

func (t reportText) Write(b []byte) (int, error) {
	if _, err := io.WriteString(t.w, visible(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// A visibleError is an error whose text had something in it that is not printable.
type visibleError struct{ err error }

func (e *visibleError) Error() string { return visible(e.err.Error()) }
func (e *visibleError) Unwrap() error { return e.err }

// printable makes an error fit to be printed; which error it is stays.
func printable(err error) error {
	if err == nil || visible(err.Error()) == err.Error() {
		return err
	}
	return &visibleError{err}
}

// writeJSON prints a value for programs. What is not printable is escaped: the
// same value for a program, and no command to a terminal.
func writeJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	var out strings.Builder
	for _, r := range b.String() {
		switch {
		case r == '\n' || strconv.IsPrint(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// A refusalJSON stands on standard output where --json was asked for and there
// is no report, because verification was refused before there was one.
type refusalJSON struct {
	Verdict string `json:"verdict"` // "failed"
	Code    string `json:"code"`
	Detail  string `json:"detail"`
	Hint    string `json:"hint,omitempty"`
}

// refused writes a refusal for programs, if err is one, and returns err.
func refused(w io.Writer, asJSON bool, err error) error {
	var own *client.Error
	if !asJSON || !errors.As(err, &own) || own.Code == client.CodeConfig {
		return err
	}
	return errors.Join(err, writeJSON(w, refusalJSON{"failed", own.Code, own.Detail, own.Hint}))
}

// writeFile writes a file that others may read: nothing that this command writes
// is secret, but for the audit key, which has a writer of its own.
func writeFile(path string, b []byte) error {
	write := durable.WriteFile // an older file stays whole until this one is
	if i, err := os.Lstat(path); err == nil && !i.Mode().IsRegular() {
		write = os.WriteFile // /dev/stdout and the like are written to, not replaced
	}
	if err := write(path, b, 0o644); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}

// readCapped reads a file of at most limit bytes, and not more of a larger one.
func readCapped(path string, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > int64(limit) {
		return nil, &client.Error{Code: "att.size", Detail: fmt.Sprintf("%s has %d bytes, allowed are %d", path, st.Size(), limit)}
	}
	b, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(b) > limit { // a pipe has no size
		err = &client.Error{Code: "att.size", Detail: fmt.Sprintf("%s has more than %d bytes", path, limit)}
	}
	return b, err
}
