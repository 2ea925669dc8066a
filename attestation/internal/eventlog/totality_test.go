// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// A span is a range of bytes that nobody reads, with the reason.
type span struct {
	from, to int
	why      string
}

// meaningless is the short written list of bytes of a CC log whose bits may flip
// with the registers and every answer staying as they are:
//
//   - in the header, which extends nothing: the register, platform class, minor
//     version, errata, size of integers;
//   - the type of an event: nobody measures it. (Some flips are still refused: a
//     SecureBoot event has to be typed as one.)
//   - the text of an event that no decision reads. Texts that are read are
//     those of variables before RTMR 0's first separator, of the command line, and
//     of the events behind that separator up to the first that is no ACPI table.
//
// A log inside evidence has none of these: the key statement holds its hash.
func meaningless(b []byte) []span {
	out := []span{{0, 1, "header: register"}, {48, 53, "header: class, minor version"}, {54, 56, "header: errata, size of integers"}}
	at := 32 + int(binary.LittleEndian.Uint32(b[28:]))
	for at < len(b) {
		typ := binary.LittleEndian.Uint32(b[at+4:])
		out = append(out, span{at + 4, at + 8, "type"})
		size := int(binary.LittleEndian.Uint32(b[at+62:]))
		text := b[at+66 : at+66+size]
		read := typ == typeVariableConfig || bytes.HasPrefix(text, []byte("ACPI")) || bytes.Contains(text, loadOptions)
		if !read {
			out = append(out, span{at + 66, at + 66 + size, "text that no decision reads"})
		}
		at += 66 + size
	}
	return out
}

// judged is everything that a decision takes from a CC log.
func judged(l *CC) string {
	on, e1 := l.SecureBoot()
	tables, e2 := l.ACPI()
	line, e3 := l.CommandLine(nil)
	return fmt.Sprintf("%x %t %x %x %v", l.ReplayRTMRs(), on, tables, line, errors.Join(e1, e2, e3))
}

// TestCCTotality is AT-66 for a CC log, given the registers of the quote. The
// log is a recorded one: a direct boot, whose RTMR 2 holds the line alone.
func TestCCTotality(t *testing.T) {
	t.Run("AT-66", func(t *testing.T) {
		b := bytes.Clone(readRecorded(t, "ccel-intel-direct.bin"))
		l, err := ParseCC(b)
		if err != nil {
			t.Fatal(err)
		}
		want, list := judged(l), meaningless(b)
		flipped := 0
		for bit := range 8 * len(b) {
			listed := slices.ContainsFunc(list, func(s span) bool { return s.from <= bit/8 && bit/8 < s.to })
			b[bit/8] ^= 1 << (bit % 8)
			mutant, err := ParseCC(b)
			if err == nil && judged(mutant) == want {
				if !listed {
					t.Errorf("accepted with bit %d of byte %d flipped", bit%8, bit/8)
				}
				flipped++
			}
			b[bit/8] ^= 1 << (bit % 8)
		}
		if flipped == 0 {
			t.Error("the list is for nothing")
		}
	})
	t.Run("AT-66 events", func(t *testing.T) {
		want := judged(mustCC(t, ccEvents()...))
		try := func(what string, events []ccEvent) {
			t.Helper()
			if l, err := ParseCC(ccLog(events...)); err == nil && judged(l) == want {
				t.Errorf("accepted: %s", what)
			}
		}
		all := ccEvents()
		for i := range all {
			try(fmt.Sprintf("event %d left out", i), slices.Delete(slices.Clone(all), i, i+1))
			try(fmt.Sprintf("event %d doubled", i), slices.Insert(slices.Clone(all), i, all[i]))
			for j := range all[:i] {
				if all[i].register != all[j].register || equalDigests(all[i], all[j]) {
					continue // registers are extended apart
				}
				swapped := slices.Clone(all)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				try(fmt.Sprintf("events %d and %d swapped", j, i), swapped)
			}
		}
	})
}

func equalDigests(a, b ccEvent) bool {
	digest := func(e ccEvent) [48]byte {
		if e.digest == [48]byte{} {
			return of(e.data)
		}
		return e.digest
	}
	return digest(a) == digest(b)
}

func BenchmarkParseCC(b *testing.B) {
	log := readRecorded(b, "ccel-cos-113.bin")
	for b.Loop() {
		l, err := ParseCC(log)
		if err != nil {
			b.Fatal(err)
		}
		judged(l)
	}
}

// BenchmarkBomb is the worst that a log of the largest size makes us do.
func BenchmarkBomb(b *testing.B) {
	const size = 1 << 20
	many := ccLog(slices.Repeat([]ccEvent{{1, typeVariableConfig, variableOf("db", ""), [48]byte{}}}, maxEvents)...)
	one := ccLog(ccEvent{1, typeVariableConfig, variableOf("db", string(make([]byte, size-200))), [48]byte{}})
	for name, log := range map[string][]byte{"events": many, "text": one} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				l, err := ParseCC(log)
				if err != nil {
					b.Fatal(err)
				}
				judged(l)
			}
		})
	}
}
