// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package eventlog reads TCG crypto-agile event logs (TCG PC Client Platform
// Firmware Profile 1.06, Section 10), replays them, and answers the few
// questions that a decision rests on. There are two kinds: a TPM's log, whose
// events extend PCRs ([Log], SHA-256 bank), and a confidential computing event
// log, whose events extend a TD's runtime measurement registers ([CC], SHA-384).
//
// An event's text is worth something only where its digest is the hash of that
// text; its type never is. Accessors here check the digest for every event they
// read, or answer by position and digest alone; texts they do not read are not
// looked at.
package eventlog

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	_ "crypto/sha512" // of CC logs
	"encoding/binary"
	"errors"
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
	algSHA384   = 0x000c
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

// An Event is one TCG_PCR_EVENT2 with its digest in the bank of its log.
type Event struct {
	PCR    int // in a CC log the measurement register: 1 is RTMR 0
	Type   uint32
	Digest []byte
	Data   []byte
}

// A bank is what tells the two kinds of logs apart.
type bank struct {
	alg       uint16
	hash      crypto.Hash
	header    uint32 // highest PCR of the header event; it extends none
	low, high int    // registers that events may extend

	separators [][]byte // digests of what firmware separates with
}

var (
	tpmBank = newBank(bank{alg: algSHA256, hash: crypto.SHA256, low: 0, high: pcrCount - 1})
	ccBank  = newBank(bank{alg: algSHA384, hash: crypto.SHA384, header: 1, low: 1, high: rtmrCount})
)

// newBank adds the separators: four zero bytes, or four of 0xff (PFP, Section
// 3.3.2.2).
func newBank(k bank) *bank {
	k.separators = [][]byte{k.sum(make([]byte, 4)), k.sum([]byte("\xff\xff\xff\xff"))}
	return &k
}

// sum hashes as the bank does.
func (k *bank) sum(b []byte) []byte {
	h := k.hash.New()
	h.Write(b)
	return h.Sum(nil)
}

// A Log is a parsed event log of a TPM.
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
// announces, in that order, SHA-256 among them. Logs of TPM 1.2 (no header, one
// SHA-1 digest each) are refused.
func Parse(b []byte) (*Log, error) {
	l := new(Log)
	events, err := parse(b, tpmBank, l.noAction)
	if err != nil {
		return nil, err
	}
	l.Events = events
	return l, nil
}

// parse reads the events that extend something and hands each of the others to
// noAction, with how many real ones came before it.
func parse(b []byte, k *bank, noAction func(e Event, before int) bool) ([]Event, error) {
	r := reader{b: b}
	sizes, order := parseHeader(&r, k)
	if r.bad {
		return nil, ErrFormat
	}
	var events []Event
	for n := 0; len(r.b) > 0; n++ {
		e, ok := parseEvent(&r, k, sizes, order)
		if !ok || n == maxEvents {
			return nil, ErrFormat
		}
		if e.Type == typeNoAction {
			if !noAction(e, len(events)) {
				return nil, ErrFormat
			}
			continue
		}
		if e.PCR < k.low {
			return nil, ErrFormat
		}
		events = append(events, e)
	}
	return events, nil
}

// noAction takes note of an event that extends nothing. Only the startup
// locality means something, and only before the first real event.
func (l *Log) noAction(e Event, before int) bool {
	const startup = "StartupLocality\x00"
	if !bytes.HasPrefix(e.Data, []byte(startup)) {
		return true
	}
	if len(e.Data) != len(startup)+1 || e.PCR != 0 || before != 0 || l.locality != 0 {
		return false
	}
	l.locality = e.Data[len(startup)]
	return l.locality == 0 || l.locality == 3 || l.locality == 4
}

// parseHeader reads the first event and returns the digest sizes by algorithm
// and the order of algorithms.
func parseHeader(r *reader, k *bank) (map[uint16]int, []uint16) {
	pcr, typ := r.u32(), r.u32()
	sha1 := r.take(20)
	spec := reader{b: r.take(int(r.u32()))}
	if r.bad || pcr > k.header || typ != typeNoAction || len(bytes.Trim(sha1, "\x00")) != 0 {
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
	r.bad = r.bad || spec.bad || len(spec.b) != 0 || sizes[k.alg] != k.hash.Size()
	return sizes, order
}

func parseEvent(r *reader, k *bank, sizes map[uint16]int, order []uint16) (Event, bool) {
	pcr := r.u32()
	e := Event{PCR: int(pcr), Type: r.u32()}
	if n := r.u32(); r.bad || int64(n) != int64(len(order)) || int64(pcr) > int64(k.high) {
		return e, false
	}
	for _, want := range order {
		alg := r.u16()
		digest := r.take(sizes[alg])
		if r.bad || alg != want {
			return e, false
		}
		if alg == k.alg {
			e.Digest = digest
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
			pcrs[e.PCR] = sha256.Sum256(append(pcrs[e.PCR][:], e.Digest...))
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

// SecureBoot returns the state of the SecureBoot variable as the firmware
// measured it: exactly one EV_EFI_VARIABLE_DRIVER_CONFIG of that name in PCR 7,
// before the separator that ends the firmware's part.
func (l *Log) SecureBoot() (bool, error) { return secureBoot(l.Events, tpmBank, pcrPolicy) }

// CommandLine returns the kernel command line as systemd-stub measured it: the
// one EV_IPL event of PCR 12, UTF-16 with a terminating NUL. Any second event in
// PCR 12 (credentials, system extensions) changes what runs and is refused.
func (l *Log) CommandLine() (string, error) {
	line, found := "", false
	for _, e := range l.Events {
		if e.PCR != pcrCmdline {
			continue
		}
		if found || e.Type != typeIPL {
			return "", ErrAbsent
		}
		data, err := e.text(tpmBank)
		if err != nil {
			return "", err
		}
		if line, found = decodeLine(data); !found {
			return "", ErrAbsent
		}
	}
	if !found {
		return "", ErrAbsent
	}
	return line, nil
}

// text returns an event's data if it is what was measured.
func (e *Event) text(k *bank) ([]byte, error) {
	if !bytes.Equal(k.sum(e.Data), e.Digest) {
		return nil, ErrDigest
	}
	return e.Data, nil
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
