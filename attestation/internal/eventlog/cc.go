// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"slices"
)

const (
	rtmrCount = 4

	// Measurement registers of a TD as a CC log numbers them (UEFI 2.10, Section
	// 38.4.2): 0 is MRTD, which nothing extends at run time.
	rtmr0 = 1 // firmware's configuration: PCRs 1 and 7 of a TPM
	rtmr2 = 3 // boot loader, kernel and what they load: PCRs 8 to 15
)

// A CC is a parsed confidential computing event log (UEFI 2.10, Section 38.4) of
// an Intel TD.
//
// A TD can extend RTMR 2 and 3 at any time after boot, and its log is written by
// itself. So an answer from a CC log has to hold whatever the texts say: the
// accessors go by position from the start of a register, or account for every
// event of it.
type CC struct{ Events []Event }

// ParseCC reads a whole log:
//
//	TCG_PCR_EVENT  header;   // register 0 or 1, EV_NO_ACTION, TCG_EfiSpecIDEvent
//	TCG_PCR_EVENT2 events<0..4096>;
//
// as [Parse] does, with SHA-384 among the digests and with registers 1 to 4, or
// 0 too where an event extends nothing. The area that ACPI's CCEL table names is
// larger than the log in it: the padding must be gone; see [TrimCC].
func ParseCC(b []byte) (*CC, error) {
	events, err := parse(b, ccBank, func(Event, int) bool { return true })
	if err != nil {
		return nil, err
	}
	return &CC{Events: events}, nil
}

// TrimCC returns the log in the log area that ACPI's CCEL table names, without
// the padding of 0xff or zero bytes behind it, or the area as it is if there is
// no log in it. It is for collectors. A verifier takes no padding: bytes that say
// nothing have no place in evidence.
func TrimCC(area []byte) []byte {
	r := reader{b: area}
	sizes, order := parseHeader(&r, ccBank)
	for !r.bad && len(r.b) > 0 {
		rest := r.b
		if bytes.HasPrefix(rest, []byte("\xff\xff\xff\xff")) || bytes.HasPrefix(rest, make([]byte, 12)) {
			if len(bytes.Trim(rest, string(rest[:1]))) == 0 {
				return area[:len(area)-len(rest)]
			}
		}
		if _, ok := parseEvent(&r, ccBank, sizes, order); !ok {
			break
		}
	}
	return area
}

// ReplayRTMRs returns the values that the log leads RTMR 0 to 3 to.
func (l *CC) ReplayRTMRs() [4][48]byte {
	var rtmrs [rtmrCount][48]byte
	for _, e := range l.Events {
		r := &rtmrs[e.PCR-1]
		*r = sha512.Sum384(append(r[:], e.Digest...))
	}
	return rtmrs
}

// Digests returns what RTMR n (0 to 3) was extended with, in order.
func (l *CC) Digests(n int) [][48]byte {
	var out [][48]byte
	for _, e := range l.Events {
		if e.PCR == n+1 {
			out = append(out, [48]byte(e.Digest))
		}
	}
	return out
}

// SecureBoot is [Log.SecureBoot] for RTMR 0.
func (l *CC) SecureBoot() (bool, error) { return secureBoot(l.Events, ccBank, rtmr0) }

// acpiNames are the texts that firmware gives to its measurements of the tables
// which the host made: OVMF's, and the names of QEMU's files where it uses them.
var acpiNames = []string{"ACPI DATA", "etc/table-loader", "etc/acpi/rsdp", "etc/acpi/tables"}

// ACPI returns the digests of the ACPI tables that the host made, as OVMF
// measures them before it installs them: loader script, root pointer, tables.
// The texts are no hashes of anything, so the answer goes by position: these are
// the events right behind the first separator of RTMR 0, up to the first with
// another text. A caller compares the whole list with that of its image: a text
// that was changed can only make it shorter. [ErrAbsent] if there is none.
func (l *CC) ACPI() ([][48]byte, error) {
	var out [][48]byte
	separated := false
	for _, e := range l.Events {
		if e.PCR != rtmr0 {
			continue
		}
		if !separated {
			separated = e.separates(ccBank)
			continue
		}
		name, _, _ := bytes.Cut(e.Data, []byte{0})
		if !slices.Contains(acpiNames, string(name)) {
			break
		}
		out = append(out, [48]byte(e.Digest))
	}
	if len(out) == 0 {
		return nil, ErrAbsent
	}
	return out, nil
}

// A Line is a kernel command line as a CC log has it.
type Line struct {
	Digest [48]byte
	Text   string // where the log has a text that hashes to the digest; else ""
}

// Is reports whether the measured line is this one as load options: UTF-16 with a
// terminating NUL, which is what systemd-stub and the kernel's EFI stub read.
func (l *Line) Is(line string) bool { return l.Digest == sha512.Sum384(encodeLine(line)) }

// IsGRUB reports whether the measured line is this one as GRUB measures it: its
// bytes alone. It is for images that boot with GRUB and no others: where the stub
// reads load options, the same bytes are UTF-16 of another line.
func (l *Line) IsGRUB(line string) bool { return l.Digest == sha512.Sum384([]byte(line)) }

// CommandLine returns the kernel command line: the one digest in RTMR 2 that is
// not among known, which the caller's image lists (kernel, initrd, sections,
// boot loader's commands). It may be there more than once, because systemd-stub
// and the kernel both measure it. Everything in RTMR 2 is accounted for in this
// way, so it does not matter which event says that it is a command line.
//
// [ErrDigest] if the line's event carries a text that is not what was measured,
// [ErrAbsent] if there is no such digest or a second.
func (l *CC) CommandLine(known [][48]byte) (Line, error) {
	var line Line
	found := false
	for _, e := range l.Events {
		if e.PCR != rtmr2 || slices.Contains(known, [48]byte(e.Digest)) {
			continue
		}
		if found && line.Digest != [48]byte(e.Digest) {
			return Line{}, ErrAbsent
		}
		text, err := e.lineText()
		if err != nil {
			return Line{}, err
		}
		if text != "" {
			line.Text = text
		}
		line.Digest, found = [48]byte(e.Digest), true
	}
	if !found {
		return Line{}, ErrAbsent
	}
	return line, nil
}

// Texts of events that measure a command line.
var (
	loadOptions = []byte("LOADED_IMAGE::LoadOptions\x00") // Linux EFI stub: the event has no line
	grubLine    = []byte("kernel_cmdline: ")              // GRUB: the line and a NUL follow
)

// lineText returns the command line that an event carries, "" if it carries none.
func (e *Event) lineText() (string, error) {
	if bytes.Equal(e.taggedText(), loadOptions) {
		return "", nil
	}
	if rest, ok := bytes.CutPrefix(e.Data, grubLine); ok {
		line := bytes.TrimSuffix(rest, []byte{0})
		if len(line) > maxLineSize || !bytes.Equal(ccBank.sum(line), e.Digest) {
			return "", ErrDigest
		}
		return string(line), nil
	}
	if data, err := e.text(ccBank); err == nil {
		if line, ok := decodeLine(data); ok {
			return line, nil
		}
		return "", ErrAbsent
	}
	return "", ErrDigest
}

// taggedText returns the data of a TCG_PCClientTaggedEvent, or all of it where the
// event is not one: u32 id, u32 size, data[size].
func (e *Event) taggedText() []byte {
	if len(e.Data) < 8 || int64(binary.LittleEndian.Uint32(e.Data[4:])) != int64(len(e.Data)-8) {
		return e.Data
	}
	return e.Data[8:]
}
