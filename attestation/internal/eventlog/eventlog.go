// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package eventlog reads a TCG crypto-agile event log (TCG PC Client Platform
// Firmware Profile 1.06, Section 10), replays its SHA-256 digests, and answers
// the few questions that a decision rests on.
//
// An event's text is worth something only where its digest is the hash of that
// text. Accessors here check that for every event they read; texts they do not
// read are not looked at.
package eventlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"unicode/utf16"
)

// Event types (PFP, Section 10.4.1).
const (
	typeNoAction       = 0x00000003
	typeSeparator      = 0x00000004
	typeIPL            = 0x0000000d
	typeVariableConfig = 0x80000001 // EV_EFI_VARIABLE_DRIVER_CONFIG
)

const (
	algSHA256   = 0x000b
	maxEvents   = 4096
	maxAlgs     = 8
	pcrCount    = 24
	pcrPolicy   = 7  // Secure Boot state
	pcrCmdline  = 12 // systemd-stub: what overrides the image's own command line
	maxLineSize = 8 << 10
)

// Errors. Replay and reading fail for different reasons, with different cures.
var (
	ErrFormat = errors.New("malformed event log")
	ErrDigest = errors.New("an event's text does not hash to its digest")
	ErrAbsent = errors.New("the events do not say, or say it twice")
)

// An Event is one TCG_PCR_EVENT2 with its SHA-256 digest.
type Event struct {
	PCR    int
	Type   uint32
	Digest [32]byte
	Data   []byte
}

// A Log is a parsed event log.
type Log struct {
	Events   []Event
	locality byte // of the startup command; the start value of PCR 0
}

// Parse reads a whole log:
//
//	TCG_PCR_EVENT  header;   // PCR 0, EV_NO_ACTION, TCG_EfiSpecIDEvent
//	TCG_PCR_EVENT2 events<0..4096>;
//
// all little-endian. Every event must carry exactly the digests that the header
// announces, in that order, SHA-256 among them.
func Parse(b []byte) (*Log, error) {
	r := reader{b: b}
	sizes, order := parseHeader(&r)
	if r.bad {
		return nil, ErrFormat
	}
	l := new(Log)
	for len(r.b) > 0 {
		e, ok := parseEvent(&r, sizes, order)
		if !ok || len(l.Events) == maxEvents {
			return nil, ErrFormat
		}
		if e.Type == typeNoAction {
			if !l.noAction(e) {
				return nil, ErrFormat
			}
			continue
		}
		l.Events = append(l.Events, e)
	}
	return l, nil
}

// noAction takes note of an event that extends nothing. Only the startup
// locality means something, and only before the first real event.
func (l *Log) noAction(e Event) bool {
	const startup = "StartupLocality\x00"
	if !bytes.HasPrefix(e.Data, []byte(startup)) {
		return true
	}
	if len(e.Data) != len(startup)+1 || e.PCR != 0 || len(l.Events) != 0 || l.locality != 0 {
		return false
	}
	l.locality = e.Data[len(startup)]
	return l.locality == 0 || l.locality == 3 || l.locality == 4
}

// parseHeader reads the first event and returns the digest sizes by algorithm
// and the order of algorithms.
func parseHeader(r *reader) (map[uint16]int, []uint16) {
	pcr, typ := r.u32(), r.u32()
	sha1 := r.take(20)
	spec := reader{b: r.take(int(r.u32()))}
	if r.bad || pcr != 0 || typ != typeNoAction || len(bytes.Trim(sha1, "\x00")) != 0 {
		r.bad = true
		return nil, nil
	}
	r.bad = !bytes.Equal(spec.take(16), []byte("Spec ID Event03\x00"))
	spec.take(4)            // platformClass
	version := spec.take(4) // minor, major, errata, uintnSize
	n := spec.u32()
	if spec.bad || r.bad || version[1] != 2 || n == 0 || n > maxAlgs {
		r.bad = true
		return nil, nil
	}
	sizes, order := map[uint16]int{}, []uint16(nil)
	for range n {
		alg, size := spec.u16(), int(spec.u16())
		if _, twice := sizes[alg]; twice || size == 0 || size > 64 {
			r.bad = true
		}
		sizes[alg], order = size, append(order, alg)
	}
	spec.take(int(spec.u8())) // vendor info
	r.bad = r.bad || spec.bad || len(spec.b) != 0 || sizes[algSHA256] != 32
	return sizes, order
}

func parseEvent(r *reader, sizes map[uint16]int, order []uint16) (Event, bool) {
	e := Event{PCR: int(r.u32()), Type: r.u32()}
	if n := r.u32(); r.bad || int64(n) != int64(len(order)) || e.PCR >= pcrCount {
		return e, false
	}
	for _, want := range order {
		alg := r.u16()
		digest := r.take(sizes[alg])
		if r.bad || alg != want {
			return e, false
		}
		if alg == algSHA256 {
			e.Digest = [32]byte(digest)
		}
	}
	e.Data = r.take(int(r.u32()))
	return e, !r.bad
}

// Replay returns the PCR values that the log leads to, for every PCR below 16:
// zero, or the startup locality, where nothing was extended.
func (l *Log) Replay() [16][32]byte {
	var pcrs [16][32]byte
	pcrs[0][31] = l.locality
	for _, e := range l.Events {
		if e.PCR < len(pcrs) {
			var b [64]byte
			copy(b[:32], pcrs[e.PCR][:])
			copy(b[32:], e.Digest[:])
			pcrs[e.PCR] = sha256.Sum256(b[:])
		}
	}
	return pcrs
}

// Touches reports whether any event extends the PCR.
func (l *Log) Touches(pcr int) bool {
	for _, e := range l.Events {
		if e.PCR == pcr {
			return true
		}
	}
	return false
}

// text returns an event's data if it is what was measured.
func (e *Event) text() ([]byte, error) {
	if sha256.Sum256(e.Data) != e.Digest {
		return nil, ErrDigest
	}
	return e.Data, nil
}

// separators are the digests of what a firmware separates with: four zero bytes,
// or four of 0xff (PFP, Section 3.3.2.2). An event's type is nobody's
// measurement, so a separator goes by its digest: one that was given another
// type still ends the firmware's part.
var separators = [][32]byte{sha256.Sum256(make([]byte, 4)), sha256.Sum256([]byte("\xff\xff\xff\xff"))}

// SecureBoot returns the state of the SecureBoot variable as the firmware
// measured it: exactly one EV_EFI_VARIABLE_DRIVER_CONFIG of that name in PCR 7,
// before the separator that ends the firmware's part.
func (l *Log) SecureBoot() (bool, error) {
	found, state := false, false
	for _, e := range l.Events {
		if e.PCR != pcrPolicy {
			continue
		}
		if e.Type == typeSeparator || slices.Contains(separators, e.Digest) {
			break // what follows is not the firmware speaking
		}
		if e.Type != typeVariableConfig {
			continue
		}
		data, err := e.text()
		if err != nil {
			return false, err
		}
		name, value, err := variable(data)
		if err != nil {
			return false, err
		}
		if name != "SecureBoot" {
			continue
		}
		if found || len(value) != 1 || value[0] > 1 {
			return false, ErrAbsent
		}
		found, state = true, value[0] == 1
	}
	if !found {
		return false, ErrAbsent
	}
	return state, nil
}

// globalVariable is EFI_GLOBAL_VARIABLE, 8be4df61-93ca-11d2-aa0d-00e098032b8c.
var globalVariable = []byte("\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c")

// variable reads a UEFI_VARIABLE_DATA: GUID, uint64 length of the name in
// characters, uint64 length of the value, name in UTF-16, value. Variables of
// other vendors come back without a name.
func variable(b []byte) (name string, value []byte, err error) {
	r := reader{b: b}
	guid := r.take(16)
	chars, size := r.u64(), r.u64()
	if r.bad || chars > uint64(len(b)) || size > uint64(len(b)) {
		return "", nil, ErrFormat
	}
	raw := r.take(2 * int(chars))
	value = r.take(int(size))
	if r.bad || len(r.b) != 0 {
		return "", nil, ErrFormat
	}
	if !bytes.Equal(guid, globalVariable) {
		return "", value, nil
	}
	return decode16(raw), value, nil
}

// CommandLine returns the kernel command line as systemd-stub measured it: the
// one EV_IPL event of PCR 12, UTF-16 with a terminating NUL. Any second event in
// PCR 12 (credentials, system extensions) changes what runs and is refused.
func (l *Log) CommandLine() (string, error) {
	line, found := "", false
	for _, e := range l.Events {
		if e.PCR != pcrCmdline {
			continue
		}
		if found || e.Type != typeIPL || len(e.Data) > maxLineSize || len(e.Data)%2 != 0 {
			return "", ErrAbsent
		}
		data, err := e.text()
		if err != nil {
			return "", err
		}
		line, found = decode16(data), true
		if !bytes.Equal(encode16(line), data) { // a lone surrogate reads like another character
			return "", ErrAbsent
		}
	}
	if n := len(line); found && n > 0 && line[n-1] == 0 {
		return line[:n-1], nil
	}
	return "", ErrAbsent
}

func decode16(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}

func encode16(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// A reader takes little-endian values off a slice. After the first short read
// it is bad and yields zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return make([]byte, min(max(n, 0), 64))
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() uint8   { return r.take(1)[0] }
func (r *reader) u16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }
