// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
)

const testLine = "console=ttyS0 ro panic=-1 roothash=5ab0 systemd.verity=1 SIMULATED"

// A ccEvent is an event of a simulated TD. Digest is the hash of data unless set.
type ccEvent struct {
	register int
	typ      uint32
	data     string
	digest   [48]byte
}

func of(s string) [48]byte { return sha512.Sum384([]byte(s)) }

func variableOf(name, value string) string {
	b := bytes.Clone(globalVariable)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(name)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	return string(b) + string(encode16(name)) + value
}

// Events of a TD that boots a unified kernel image.
var (
	hobEvent    = ccEvent{1, 0x8000000b, "\x09TdxTable\x00", of("SIMULATED TD HOB")}
	secureEvent = ccEvent{1, typeVariableConfig, variableOf("SecureBoot", "\x01"), [48]byte{}}
	keyEvent    = ccEvent{1, typeVariableConfig, variableOf("PK", "SIMULATED platform key"), [48]byte{}}
	sepEvent    = ccEvent{1, typeSeparator, "\x00\x00\x00\x00", [48]byte{}}
	loaderEvent = ccEvent{1, 0x0a, "ACPI DATA", of("SIMULATED table loader")}
	rsdpEvent   = ccEvent{1, 0x0a, "ACPI DATA", of("SIMULATED root pointer")}
	tablesEvent = ccEvent{1, 0x0a, "ACPI DATA", of("SIMULATED tables")}
	bootEvent   = ccEvent{1, 0x80000002, variableOf("BootOrder", "\x00\x00"), of("\x00\x00")}
	ukiEvent    = ccEvent{2, 0x80000003, "SIMULATED path", of("SIMULATED unified kernel image")}
	linuxEvent  = ccEvent{3, typeIPL, ".linux", of("SIMULATED kernel")}
	lineEvent   = ccEvent{3, typeIPL, string(encodeLine(testLine)), [48]byte{}}
	optionEvent = ccEvent{3, 0x06, "\xed\x22\x3b\x8f\x1a\x00\x00\x00" + string(loadOptions), of(string(encodeLine(testLine)))}
	initrdEvent = ccEvent{3, 0x06, "Linux initrd\x00", of("SIMULATED initrd")}
	exitEvent   = ccEvent{2, 0x80000007, "Exit Boot Services Invocation", [48]byte{}}
)

func ccEvents() []ccEvent {
	return []ccEvent{hobEvent, secureEvent, keyEvent, sepEvent, loaderEvent, rsdpEvent, tablesEvent, bootEvent, sepEvent,
		ukiEvent, linuxEvent, lineEvent, optionEvent, initrdEvent, exitEvent}
}

func knownDigests() [][48]byte { return [][48]byte{linuxEvent.digest, initrdEvent.digest} }

func ccHeader() []byte {
	spec := "Spec ID Event03\x00\x00\x00\x00\x00\x00\x02\x00\x02\x01\x00\x00\x00\x0c\x00\x30\x00\x00"
	out := []byte("\x01\x00\x00\x00\x03\x00\x00\x00" + strings.Repeat("\x00", 20))
	return append(binary.LittleEndian.AppendUint32(out, uint32(len(spec))), spec...)
}

func ccLog(events ...ccEvent) []byte {
	out := ccHeader()
	le := binary.LittleEndian
	for _, e := range events {
		if e.digest == [48]byte{} && e.typ != typeNoAction {
			e.digest = of(e.data)
		}
		out = le.AppendUint32(le.AppendUint32(le.AppendUint32(out, uint32(e.register)), e.typ), 1)
		out = append(le.AppendUint16(out, algSHA384), e.digest[:]...)
		out = append(le.AppendUint32(out, uint32(len(e.data))), e.data...)
	}
	return out
}

func mustCC(t testing.TB, events ...ccEvent) *CC {
	t.Helper()
	l, err := ParseCC(ccLog(events...))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// replaced returns the events of the boot with one replaced by others.
func replaced(old ccEvent, others ...ccEvent) []ccEvent {
	all := ccEvents()
	i := slices.Index(all, old)
	return slices.Replace(all, i, i+1, others...)
}

func TestCC(t *testing.T) {
	l := mustCC(t, ccEvents()...)
	if on, err := l.SecureBoot(); !on || err != nil {
		t.Errorf("Secure Boot %t, %v", on, err)
	}
	line, err := l.CommandLine(knownDigests())
	if err != nil || line.Text != testLine || !line.Is(testLine) || line.IsGRUB(testLine) {
		t.Errorf("line %q, %v", line.Text, err)
	}
	tables, err := l.ACPI()
	if err != nil || !slices.Equal(tables, [][48]byte{loaderEvent.digest, rsdpEvent.digest, tablesEvent.digest}) {
		t.Errorf("ACPI tables %x, %v", tables, err)
	}
	want := of(strings.Repeat("\x00", 48) + string(linuxEvent.digest[:]))
	if got := mustCC(t, linuxEvent).ReplayRTMRs(); got != [4][48]byte{2: want} {
		t.Errorf("RTMRs %x", got)
	}
	if got := l.Digests(1); !slices.Equal(got, [][48]byte{ukiEvent.digest, of(exitEvent.data)}) {
		t.Errorf("RTMR 1 was extended with %x", got)
	}
}

func retyped(e ccEvent, typ uint32, data string) ccEvent {
	if e.digest == [48]byte{} {
		e.digest = of(e.data)
	}
	return ccEvent{e.register, typ, data, e.digest}
}

func TestCCRefuses(t *testing.T) {
	off := ccEvent{1, typeVariableConfig, variableOf("SecureBoot", "\x00"), [48]byte{}}
	none := ccEvent{1, typeVariableConfig, variableOf("SecureBoot", ""), [48]byte{}}
	secureBoot := func(l *CC) error {
		on, err := l.SecureBoot()
		if err == nil && on {
			return nil
		}
		if err == nil {
			return errOff
		}
		return err
	}
	commandLine := func(l *CC) error {
		line, err := l.CommandLine(knownDigests())
		if err == nil && !line.Is(testLine) {
			return errOther
		}
		return err
	}
	acpi := func(l *CC) error {
		tables, err := l.ACPI()
		if err == nil && !slices.Equal(tables, [][48]byte{loaderEvent.digest, rsdpEvent.digest, tablesEvent.digest}) {
			return errOther
		}
		return err
	}
	evil := ccEvent{3, typeIPL, string(encodeLine(testLine + " init=/bin/sh")), [48]byte{}}
	evilTables := ccEvent{1, 0x0a, "ACPI DATA", of("SIMULATED tables with AML of the host")}
	for _, c := range []struct {
		row, name string
		check     func(*CC) error
		want      error
		events    []ccEvent
	}{
		{"AT-32", "friendly Secure Boot", secureBoot, ErrDigest, replaced(secureEvent, retyped(off, off.typ, secureEvent.data))},
		{"AT-32", "friendly command line", commandLine, ErrDigest, replaced(lineEvent, retyped(evil, typeIPL, lineEvent.data))},
		{"AT-32", "friendly GRUB line", commandLine, ErrDigest, replaced(lineEvent, retyped(evil, typeIPL, "kernel_cmdline: "+testLine+"\x00"))},
		{"AT-32", "text of another variable", secureBoot, ErrDigest, replaced(keyEvent, retyped(keyEvent, typeVariableConfig, variableOf("PK", "friendly")))},
		{"AT-33", "off", secureBoot, errOff, replaced(secureEvent, off)},
		{"AT-33", "without a value", secureBoot, ErrAbsent, replaced(secureEvent, none)},
		{"AT-33", "not measured", secureBoot, ErrAbsent, replaced(secureEvent)},
		{"AT-33", "twice", secureBoot, ErrAbsent, replaced(secureEvent, off, secureEvent)},
		{"AT-33", "asserted after the separator", secureBoot, errOff, append(replaced(secureEvent, off), secureEvent)},
		{"AT-33", "off, given another type", secureBoot, ErrAbsent, replaced(keyEvent, retyped(off, 0x0a, "friendly"), secureEvent)},
		{"AT-33", "off, given another type, on by what the host made", secureBoot, ErrAbsent, replaced(secureEvent, retyped(off, 0x0a, "friendly"), secureEvent)},
		{"AT-33", "separator given another type", secureBoot, ErrAbsent, append(replaced(secureEvent, retyped(sepEvent, 0x0a, "friendly")), secureEvent)},
		{"AT-33", "in another register", secureBoot, ErrAbsent, replaced(secureEvent, ccEvent{2, typeVariableConfig, secureEvent.data, [48]byte{}})},
		{"AT-33", "empty log", secureBoot, ErrAbsent, nil},
		{"AT-38", "another line", commandLine, ErrAbsent, replaced(lineEvent, evil)},
		{"AT-38", "another line, both events", commandLine, errOther, slices.DeleteFunc(replaced(lineEvent, evil), func(e ccEvent) bool { return e == optionEvent })},
		{"AT-38", "a second line after boot", commandLine, ErrAbsent, append(ccEvents(), evil)},
		{"AT-38", "the real line called initrd", commandLine, ErrAbsent, replaced(initrdEvent, retyped(evil, 0x06, initrdEvent.data))},
		{"AT-38", "a system extension", commandLine, ErrAbsent, append(ccEvents(), ccEvent{3, typeIPL, "extension", of("SIMULATED extension")})},
		{"AT-38", "no NUL", commandLine, ErrAbsent, []ccEvent{{3, typeIPL, string(encode16(testLine)), [48]byte{}}}},
		{"AT-38", "odd length", commandLine, ErrAbsent, []ccEvent{{3, typeIPL, lineEvent.data + "\x00", [48]byte{}}}},
		{"AT-38", "a NUL in the middle", commandLine, errOther, []ccEvent{{3, typeIPL, string(encodeLine(testLine + "\x00 init=/bin/sh")), [48]byte{}}}},
		{"AT-38", "very long", commandLine, ErrAbsent, []ccEvent{{3, typeIPL, string(encodeLine(strings.Repeat("a", maxLineSize))), [48]byte{}}}},
		{"AT-38", "lone surrogate", commandLine, ErrAbsent, []ccEvent{{3, typeIPL, "\x00\xd8\x00\x00", [48]byte{}}}},
		{"AT-38", "the line's bytes as UTF-16 of another", commandLine, errOther, []ccEvent{{3, 0x06, string(loadOptions), of(testLine)}}},
		{"AT-38", "no line", commandLine, ErrAbsent, []ccEvent{linuxEvent, initrdEvent}},
		{"AT-38", "in another register", commandLine, ErrAbsent, []ccEvent{{2, typeIPL, lineEvent.data, [48]byte{}}}},
		{"AT-40", "other tables", acpi, errOther, replaced(tablesEvent, evilTables)},
		{"AT-40", "one more table", acpi, errOther, replaced(bootEvent, evilTables, bootEvent)},
		{"AT-40", "one table less", acpi, errOther, replaced(rsdpEvent)},
		{"AT-40", "exchanged", acpi, errOther, replaced(loaderEvent, rsdpEvent, loaderEvent)},
		{"AT-40", "other tables under another text", acpi, errOther, replaced(tablesEvent, retyped(evilTables, 0x80000002, bootEvent.data), tablesEvent)},
		{"AT-40", "other loader under another text", acpi, ErrAbsent, replaced(loaderEvent, retyped(evilTables, 0x80000002, bootEvent.data), loaderEvent)},
		{"AT-40", "named again after boot", acpi, ErrAbsent, append(replaced(loaderEvent, retyped(evilTables, 1, "friendly")), sepEvent, loaderEvent, rsdpEvent, tablesEvent)},
		{"AT-40", "separator moved", acpi, ErrAbsent, replaced(hobEvent, sepEvent, hobEvent)},
		{"AT-40", "no tables", acpi, ErrAbsent, []ccEvent{sepEvent, sepEvent}},
	} {
		t.Run(c.row+"/"+c.name, func(t *testing.T) {
			if err := c.check(mustCC(t, c.events...)); !errors.Is(err, c.want) || c.want == nil {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

var (
	errOff   = errors.New("off")
	errOther = errors.New("another value than the image's")
)

func TestParseCCRefuses(t *testing.T) {
	head, good := ccHeader(), ccLog(ccEvents()...)
	if _, err := ParseCC(head); err != nil {
		t.Fatal(err)
	}
	tpm := readRecorded(t, "cos-101-amd-sev.bin")
	for name, b := range map[string][]byte{
		"empty":             nil,
		"register 0":        ccLog(ccEvent{0, 1, "x", [48]byte{}}),
		"register 5":        ccLog(ccEvent{5, 1, "x", [48]byte{}}),
		"register 2^32-1":   ccLog(ccEvent{-1, 1, "x", [48]byte{}}),
		"SHA-256 only":      bytes.Replace(head, []byte{0x0c, 0, 48, 0}, []byte{0x0b, 0, 32, 0}, 1),
		"short SHA-384":     bytes.Replace(head, []byte{0x0c, 0, 48, 0}, []byte{0x0c, 0, 32, 0}, 1),
		"padding of 0xff":   append(bytes.Clone(good), bytes.Repeat([]byte{0xff}, 64)...),
		"padding of zeros":  append(bytes.Clone(good), make([]byte, 64)...),
		"header register 2": append([]byte{2}, good[1:]...),
		"a TPM's log":       tpm,
		"too many events":   ccLog(slices.Repeat([]ccEvent{exitEvent}, maxEvents+1)...),
	} {
		if l, err := ParseCC(b); !errors.Is(err, ErrFormat) || l != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := range good {
		if l, err := ParseCC(good[:n]); err == nil && len(l.Events) == len(ccEvents()) {
			t.Fatalf("a log cut at %d says the same", n)
		}
	}
	if _, err := Parse(good); !errors.Is(err, ErrFormat) {
		t.Errorf("a TD's log as a TPM's: %v", err)
	}
	if _, err := ParseCC(ccLog(ccEvent{0, typeNoAction, "a note", [48]byte{}}, hobEvent)); err != nil {
		t.Errorf("a note that extends nothing: %v", err)
	}
}

func TestTrimCC(t *testing.T) {
	for _, b := range [][]byte{ccHeader(), ccLog(ccEvents()...), ccLog(ccEvent{1, 1, "\xff\xff\xff\xff", [48]byte{}}),
		readRecorded(t, "ccel-cos-113.bin")} {
		for _, pad := range []int{0, 12, 40, 64 << 10} {
			for _, with := range []byte{0, 0xff} {
				if got := TrimCC(append(bytes.Clone(b), bytes.Repeat([]byte{with}, pad)...)); !bytes.Equal(got, b) {
					t.Errorf("%d bytes of %#x behind a log of %d leave %d", pad, with, len(b), len(got))
				}
			}
		}
	}
	for _, b := range [][]byte{nil, make([]byte, 64), append(ccLog(ccEvents()...), 1, 2, 3)} {
		if got := TrimCC(b); !bytes.Equal(got, b) {
			t.Errorf("%d bytes without a log in them became %d", len(b), len(got))
		}
	}
}

func FuzzParseCC(f *testing.F) {
	f.Add(ccLog(ccEvents()...))
	f.Add(readRecorded(f, "ccel-intel-direct.bin"))
	f.Add(readRecorded(f, "ccel-intel-qemu.bin"))
	f.Fuzz(func(t *testing.T, in []byte) {
		l, err := ParseCC(in)
		if (l == nil) == (err == nil) {
			t.Fatal("a log and an error, or neither")
		}
		trimmed := TrimCC(append(bytes.Clone(in), bytes.Repeat([]byte{0xff}, 32)...))
		if err != nil {
			return
		}
		if !bytes.Equal(trimmed, in) {
			t.Fatal("padding does not come off")
		}
		l.ReplayRTMRs()
		if _, err := l.SecureBoot(); err != nil && !errors.Is(err, ErrAbsent) && !errors.Is(err, ErrDigest) && !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
		if line, err := l.CommandLine(nil); err != nil && line != (Line{}) {
			t.Fatal("a line and an error")
		}
		if tables, err := l.ACPI(); (err == nil) != (len(tables) > 0) {
			t.Fatal("tables and an error, or neither")
		}
	})
}
