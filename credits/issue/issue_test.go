// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package issue_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/internal/wire"
)

func generate(t *testing.T, exponents ...uint8) *issue.Keys {
	t.Helper()
	k, err := issue.Generate(rand.Reader, credits.Keyset{Type: wire.TokenCoin, First: 1, Last: 10, SpendLast: 40}, exponents)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyFile(t *testing.T) {
	k := generate(t, 0, 6, 40)
	path := filepath.Join(t.TempDir(), "coins.key")
	if err := issue.CreateFile(path, k); err != nil {
		t.Fatal(err)
	}
	if err := issue.CreateFile(path, k); !errors.Is(err, fs.ErrExist) {
		t.Errorf("overwrote: %v", err)
	}
	got, err := issue.OpenFile(path)
	if err != nil || got.Keyset().ID() != k.Keyset().ID() {
		t.Fatal(err)
	}
	for _, e := range []uint8{0, 6, 40} {
		a, _ := k.Output(e, [32]byte{1})
		b, err := got.Output(e, [32]byte{1})
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("exponent %d: another output", e)
		}
	}
	if _, err := issue.OpenFile(path + ".not"); err == nil {
		t.Error("opened nothing")
	}
	if runtime.GOOS == "windows" {
		return
	}
	for mode, ok := range map[fs.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o620: false, 0o602: false, 0o644: false, 0o601: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := issue.OpenFile(path); (err == nil) != ok {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

// parts takes a key file's text apart.
func parts(t *testing.T, k *issue.Keys) (id string, set, scalars []byte) {
	t.Helper()
	s, err := k.Text()
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Split(strings.TrimSuffix(string(s.Bytes()), "\n"), ":")
	set, _ = base64.StdEncoding.DecodeString(f[2])
	scalars, _ = base64.StdEncoding.DecodeString(f[3])
	return f[1], set, scalars
}

func text(id string, set, scalars []byte) []byte {
	return fmt.Appendf(nil, "sotto-coin-keys-v1:%s:%s:%s\n", id, base64.StdEncoding.EncodeToString(set), base64.StdEncoding.EncodeToString(scalars))
}

func TestKeysAtLoad(t *testing.T) {
	id, set, scalars := parts(t, generate(t, 0, 6))
	_, _, other := parts(t, generate(t, 0, 6))
	if _, err := issue.ParseKeys(text(id, set, scalars)); err != nil {
		t.Fatal(err)
	}
	t.Run("CT-19", func(t *testing.T) {
		one := append([]byte{1}, make([]byte, 31)...)
		order := []byte("\xed\xd3\xf5\x5c\x1a\x63\x12\x58\xd6\x9c\xf7\xa2\xde\xf9\xde\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10")
		unreduced := bytes.Clone(scalars[:32])
		carry := 0
		for i := range unreduced {
			n := int(unreduced[i]) + int(order[i]) + carry
			unreduced[i], carry = byte(n), n>>8
		}
		for name, first := range map[string][]byte{
			"zero":           make([]byte, 32),
			"one":            one,
			"the order":      order,
			"not reduced":    unreduced,
			"all bits":       bytes.Repeat([]byte{0xff}, 32),
			"of another":     other[:32],
			"of its sibling": scalars[32:],
			"cut":            scalars[:31],
			"none":           {},
		} {
			if k, err := issue.ParseKeys(text(id, set, append(bytes.Clone(first), scalars[32:]...))); !errors.Is(err, issue.ErrWeak) || k != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := issue.ParseKeys(text(id, set, append(bytes.Clone(scalars), 0))); !errors.Is(err, issue.ErrWeak) {
			t.Errorf("a byte too many: %v", err)
		}
	})
	good := text(id, set, scalars)
	for name, bad := range map[string][]byte{
		"empty":           {},
		"no end":          good[:len(good)-1],
		"two ends":        append(bytes.Clone(good), '\n'),
		"another label":   append([]byte("x"), good...),
		"another id":      text(strings.Repeat("0", 64), set, scalars),
		"id in capitals":  text(strings.ToUpper(id), set, scalars),
		"no keyset":       text(id, nil, scalars),
		"a field more":    append(bytes.TrimSuffix(bytes.Clone(good), []byte("\n")), ":\n"...),
		"another keyset":  text(id, append(bytes.Clone(set), 0), scalars),
		"space in base64": bytes.Replace(good, []byte("v1:"), []byte("v1: "), 1),
	} {
		if _, err := issue.ParseKeys(bad); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

func TestGenerateRefuses(t *testing.T) {
	coin := credits.Keyset{Type: wire.TokenCoin, First: 1, Last: 10, SpendLast: 40}
	for name, exponents := range map[string][]uint8{"none": {}, "descending": {6, 0}, "twice": {6, 6}, "2^41": {41}} {
		if k, err := issue.Generate(rand.Reader, coin, exponents); err == nil || k != nil {
			t.Errorf("%s: generated", name)
		}
	}
	t.Run("CT-17", func(t *testing.T) {
		if k, err := issue.Generate(broken{}, coin, []uint8{6}); err == nil || k != nil {
			t.Error("generated without randomness")
		}
	})
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("no randomness") }

func TestKeysDoNotPrint(t *testing.T) {
	k := generate(t, 0, 6)
	_, _, scalars := parts(t, k)
	for _, s := range []string{fmt.Sprint(k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k)} {
		for _, part := range [][]byte{scalars[:8], scalars[32:40]} {
			if strings.Contains(s, fmt.Sprintf("%x", part)) || strings.Contains(s, fmt.Sprint(part)) {
				t.Errorf("printed %q", s)
			}
		}
	}
}

func FuzzKeyFile(f *testing.F) {
	f.Add([]byte("sotto-coin-keys-v1:::\n"))
	k, err := issue.Generate(rand.Reader, credits.Keyset{Type: wire.TokenCoin, First: 1, Last: 10, SpendLast: 40}, []uint8{6})
	if err != nil {
		f.Fatal(err)
	}
	s, _ := k.Text()
	f.Add(s.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := issue.ParseKeys(b)
		if err != nil {
			return
		}
		if again, err := k.Text(); err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Error("printed differently")
		}
	})
}
