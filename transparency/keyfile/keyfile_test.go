// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package keyfile

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// The key file's bytes are those of RFC 9881, Section 6 and Appendix C.1.1: the
// seed 000102...1f in a PrivateKeyInfo.
func TestSeedFile(t *testing.T) {
	want := append([]byte{
		0x30, 0x34, 0x02, 0x01, 0x00,
		0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x11,
		0x04, 0x22, 0x80, 0x20,
	}, make([]byte, 32)...)
	s := want[len(want)-32:]
	for i := range s {
		s[i] = byte(i)
	}
	if got := must(marshalSeed(s)); !bytes.Equal(got, want) {
		t.Errorf("%x", got)
	}
	if got, err := parseSeed(want); err != nil || !bytes.Equal(got, s) {
		t.Errorf("%x, %v", got, err)
	}
	for i := range len(want) - 32 { // every byte of the frame matters
		bad := bytes.Clone(want)
		bad[i]++
		if _, err := parseSeed(bad); err == nil {
			t.Errorf("byte %d", i)
		}
	}
	if _, err := parseSeed(append(bytes.Clone(want), 0)); err == nil {
		t.Error("a byte too many")
	}
}

// Each file reads back as its own kind only, whole, and only while it is its owner's.
func TestFiles(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, 32)
	key := ed25519.NewKeyFromSeed(seed)
	ed, pq := must(Ed25519(key)), must(MLDSA44(seed))
	path := filepath.Join(t.TempDir(), "k")
	write := func(b []byte, perm fs.FileMode) {
		t.Helper()
		os.Remove(path)
		if err := os.WriteFile(path, b, perm); err != nil {
			t.Fatal(err)
		}
	}
	write(ed, 0o600)
	if got, err := ReadEd25519(path); err != nil || !got.Equal(key) {
		t.Error(err)
	}
	if _, err := ReadMLDSA44(path); err == nil {
		t.Error("an Ed25519 key read as ML-DSA-44")
	}
	write(pq, 0o600)
	if got, err := ReadMLDSA44(path); err != nil || !bytes.Equal(got, seed) {
		t.Error(err)
	}
	if _, err := ReadEd25519(path); err == nil {
		t.Error("an ML-DSA-44 key read as Ed25519")
	}
	for _, raw := range [][]byte{ed, pq} {
		for name, bad := range map[string][]byte{"empty": nil, "cut": raw[:len(raw)/2], "twice": append(bytes.Clone(raw), raw...), "other block": bytes.ReplaceAll(raw, []byte(block), []byte("SECRET KEY"))} {
			write(bad, 0o600)
			for _, err := range []error{second(ReadEd25519(path)), second(ReadMLDSA44(path))} {
				if err == nil || strings.Contains(err.Error(), string(raw[40:60])) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if runtime.GOOS != "windows" {
			write(raw, 0o600)
			if err := os.Chmod(path, 0o604); err != nil {
				t.Fatal(err)
			}
			for _, err := range []error{second(ReadEd25519(path)), second(ReadMLDSA44(path))} {
				if err == nil || !strings.Contains(err.Error(), "chmod 600") {
					t.Errorf("open to everybody: %v", err)
				}
			}
		}
	}
	os.Remove(path)
	for _, err := range []error{second(ReadEd25519(path)), second(ReadMLDSA44(path))} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("absent: %v", err)
		}
	}
	for n := range 40 {
		if _, err := MLDSA44(make([]byte, n)); (err == nil) != (n == 32) {
			t.Errorf("a seed of %d bytes: %v", n, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// FuzzSeed: one spelling.
func FuzzSeed(f *testing.F) {
	f.Add(must(marshalSeed(make([]byte, 32))))
	f.Fuzz(func(t *testing.T, in []byte) {
		seed, err := parseSeed(in)
		if err == nil && !bytes.Equal(must(marshalSeed(seed)), in) {
			t.Errorf("accepted %x", in)
		}
	})
}
