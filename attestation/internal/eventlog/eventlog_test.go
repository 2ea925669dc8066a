// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"testing"
)

// recorded is the quoted SHA-256 bank of the machine in testdata.
var recorded = map[int]string{
	0: "0f35c214608d93c7a6e68ae7359b4a8be5a0e99eea9107ece427c4dea4e439cf",
	2: "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969",
	4: "6d9f1a1d461cf77517e8d4c488c53f338a71c5a8e2b81ab7011c14f72cbc9a80",
	7: "2bc6edaa921f953cec0ffb28dad4f87114886603d6a782036502d28e69d97a48",
	8: "ebb7c847c4ade99849bcffca236d32331224a530087a7ae4cb9f7db4c2e571b5",
	9: "b5ad662e5eb9165825ee39ad66e851a67a193e0b87b27858f25ac58afa72ac57",
}

func readRecorded(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReplaysRecordedLog(t *testing.T) {
	l, err := Parse(readRecorded(t, "cos-101-amd-sev.bin"))
	if err != nil {
		t.Fatal(err)
	}
	replayed := l.Replay()
	for i, want := range recorded {
		if got := hex.EncodeToString(replayed[i][:]); got != want {
			t.Errorf("PCR %d replays to %s, quoted %s", i, got, want)
		}
	}
	if on, err := l.SecureBoot(); err != nil || !on {
		t.Errorf("Secure Boot %t, %v", on, err)
	}
	if line, err := l.CommandLine(); !errors.Is(err, ErrAbsent) {
		t.Errorf("command line %q of a machine without systemd-stub: %v", line, err)
	}
	if l.Touches(13) || !l.Touches(4) {
		t.Error("Touches")
	}
}

func TestRefusesCutAndExtendedLog(t *testing.T) {
	b := readRecorded(t, "cos-101-amd-sev.bin")
	whole, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	whole0 := whole.Replay()
	for n := range b {
		l, err := Parse(b[:n])
		if err != nil {
			continue
		}
		if l.Replay() == whole0 && len(l.Events) == len(whole.Events) {
			t.Fatalf("a log cut at %d says the same", n)
		}
	}
	for _, tail := range [][]byte{{0}, make([]byte, 15), bytes.Repeat([]byte{0xff}, 40)} {
		if _, err := Parse(append(bytes.Clone(b), tail...)); err == nil {
			t.Errorf("accepted %d more bytes", len(tail))
		}
	}
}

func TestRefusesBombs(t *testing.T) {
	head := readRecorded(t, "cos-101-amd-sev.bin")
	n := 32 + binary.LittleEndian.Uint32(head[28:])
	head = head[:n]
	if _, err := Parse(head); err != nil {
		t.Fatal(err)
	}
	event := func(pcr, typ, count uint32) []byte {
		b := binary.LittleEndian.AppendUint32(bytes.Clone(head), pcr)
		b = binary.LittleEndian.AppendUint32(b, typ)
		return binary.LittleEndian.AppendUint32(b, count)
	}
	for name, b := range map[string][]byte{
		"digest count":  event(0, 1, 1<<32-1),
		"no digests":    append(event(0, 1, 0), make([]byte, 64)...),
		"PCR 24":        append(event(24, 1, 3), make([]byte, 256)...),
		"empty":         nil,
		"header cut":    head[:40],
		"SHA-1 only":    bytes.Replace(head, []byte{0x0b, 0, 32, 0}, []byte{0x12, 0, 32, 0}, 1),
		"wrong version": bytes.Replace(head, []byte("Event03"), []byte("Event02"), 1),
	} {
		if _, err := Parse(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	b := readRecorded(f, "cos-101-amd-sev.bin")
	f.Add(b)
	f.Add(b[:2000])
	f.Fuzz(func(t *testing.T, in []byte) {
		l, err := Parse(in)
		if (l == nil) == (err == nil) {
			t.Fatal("a log and an error, or neither")
		}
		if err != nil {
			return
		}
		l.Replay()
		if _, err := l.SecureBoot(); err != nil && !errors.Is(err, ErrAbsent) && !errors.Is(err, ErrDigest) && !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
		if line, err := l.CommandLine(); err != nil && line != "" {
			t.Fatal("a line and an error")
		}
	})
}
