// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf16"

	"github.com/sotto-project/sotto/attestation/internal/eventlog"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// maxEventLog bounds a log: an event's data may be long, and are hashed.
const maxEventLog = 4 << 20

// maxText bounds an event's text in the claims.
const maxText = 1 << 10

type logRequest struct {
	log        []byte
	cc         bool
	registers  map[int][]byte
	secureBoot *bool
	line       *string
	known      [][48]byte // of RTMR 2, but for the command line
}

func judgeEventLog(j *judgement) error {
	q, err := readLogRequest(j)
	if err != nil {
		return err
	}
	if len(q.log) > maxEventLog {
		return &malformedError{refuse.Size, fmt.Sprintf("event log of %d bytes, at most %d", len(q.log), maxEventLog)}
	}
	claims := &logClaims{Flavour: "tpm", Events: []eventClaim{}, Registers: map[string]hexed{}}
	if q.cc {
		claims.Flavour = "cc"
	}
	read := claims.readTPM
	if q.cc {
		read = claims.readCC
	}
	if err := read(q); err != nil {
		return err
	}
	j.out.Claims = claims
	return j.acceptLog(claims, q)
}

func readLogRequest(j *judgement) (*logRequest, error) {
	o := j.request
	q := &logRequest{log: o.needBlob("log")}
	switch f := o.text("flavour"); f {
	case "tpm":
	case "cc":
		q.cc = true
	case "":
		o.failf("flavour is missing")
	default:
		return nil, unsupported("no flavour %.20q; there are tpm and cc", f)
	}
	expect := o.object("expect")
	if q.cc {
		q.registers = expect.registers("registers", 4, sha512.Size384)
	} else {
		q.registers = expect.registers("registers", 16, sha256.Size)
	}
	if b, ok := expect.boolean("secure_boot"); ok {
		q.secureBoot = &b
	}
	if expect.has("command_line") {
		s := expect.text("command_line")
		q.line = &s
	}
	for i, s := range o.texts("known_digests") {
		var d [48]byte
		o.unhex(fmt.Sprintf("known_digests[%d]", i), s, d[:])
		q.known = append(q.known, d)
	}
	if !q.cc && o.has("known_digests") {
		o.failf("known_digests are for flavour cc")
	}
	if err := j.waivers(); err != nil {
		return nil, err
	}
	return q, o.finish()
}

type logClaims struct {
	Flavour     string           `json:"flavour"`
	Padding     int              `json:"padding"` // bytes behind the log that were cut off, flavour cc
	Registers   map[string]hexed `json:"registers"`
	SecureBoot  string           `json:"secure_boot"` // "on", "off", "unknown"
	CommandLine *lineClaim       `json:"command_line,omitempty"`
	Events      []eventClaim     `json:"events"`

	line       func(string) bool // whether a command line is the measured one
	lineErr    error
	secureBoot bool
	bootErr    error
}

type lineClaim struct {
	Text   string `json:"text,omitempty"` // where it hashes to the digest
	Digest hexed  `json:"digest"`
}

// An eventClaim is one event that extends a register. Of its type and text
// nothing is measured but what binding names.
type eventClaim struct {
	Index    int    `json:"index"`
	Register int    `json:"register"` // PCR, or RTMR
	Type     string `json:"type"`
	Digest   hexed  `json:"digest"`
	Size     int    `json:"size"`
	Text     string `json:"text,omitempty"` // if it is one
	// Binding is "data" where the data hash to the digest, "text" where a string
	// after a label does (GRUB), "none" where the digest is of something else or
	// the data are not what was measured: they are then anybody's word.
	Binding string `json:"binding"`
}

func (c *logClaims) readTPM(q *logRequest) error {
	l, err := eventlog.Parse(q.log)
	if err != nil {
		return logError(q.log, err)
	}
	c.events(l.Events, 0, func(b []byte) []byte { s := sha256.Sum256(b); return s[:] })
	for i, v := range l.Replay() {
		c.Registers[strconv.Itoa(i)] = bytes.Clone(v[:])
	}
	c.boot(l.SecureBoot())
	text, err := l.CommandLine()
	if c.lineErr = err; err == nil {
		for _, e := range l.Events {
			if e.PCR == 12 { // the one event of that register
				c.CommandLine = &lineClaim{text, e.Digest}
			}
		}
		c.line = func(want string) bool { return want == text }
	}
	return nil
}

func (c *logClaims) readCC(q *logRequest) error {
	log := eventlog.TrimCC(q.log)
	c.Padding = len(q.log) - len(log)
	l, err := eventlog.ParseCC(log)
	if err != nil {
		return logError(log, err)
	}
	c.events(l.Events, 1, func(b []byte) []byte { s := sha512.Sum384(b); return s[:] })
	for i, v := range l.ReplayRTMRs() {
		c.Registers[strconv.Itoa(i)] = bytes.Clone(v[:])
	}
	c.boot(l.SecureBoot())
	if q.known == nil {
		c.lineErr = errors.New("no known_digests: which event of RTMR 2 is the command line is not known")
		return nil
	}
	line, err := l.CommandLine(q.known)
	if c.lineErr = err; err == nil {
		c.CommandLine = &lineClaim{line.Text, line.Digest[:]}
		c.line = func(want string) bool { return line.Is(want) || line.IsGRUB(want) }
	}
	return nil
}

func (c *logClaims) boot(on bool, err error) {
	c.secureBoot, c.bootErr = on, err
	switch {
	case err != nil:
		c.SecureBoot = "unknown"
	case on:
		c.SecureBoot = "on"
	default:
		c.SecureBoot = "off"
	}
}

// logError tells logs of TPM 1.2, and those without the bank that is read, from
// what is no log.
func logError(b []byte, err error) error {
	if len(b) > 48 && binary.LittleEndian.Uint32(b[4:]) != evNoAction && binary.LittleEndian.Uint32(b) < 24 {
		if size := binary.LittleEndian.Uint32(b[28:]); int64(size)+32 <= int64(len(b)) {
			return unsupported("event log in the format of TPM 1.2: no header, one SHA-1 digest an event")
		}
	}
	return &malformedError{refuse.LogFormat, err.Error()}
}

const evNoAction = 3

// eventNames are the types that logs are full of (PFP, Section 10.4.1).
var eventNames = map[uint32]string{
	0x01: "EV_POST_CODE", 0x04: "EV_SEPARATOR", 0x05: "EV_ACTION", 0x06: "EV_EVENT_TAG", 0x07: "EV_S_CRTM_CONTENTS", 0x08: "EV_S_CRTM_VERSION",
	0x09: "EV_CPU_MICROCODE", 0x0a: "EV_PLATFORM_CONFIG_FLAGS", 0x0b: "EV_TABLE_OF_DEVICES", 0x0c: "EV_COMPACT_HASH", 0x0d: "EV_IPL",
	0x0e: "EV_IPL_PARTITION_DATA", 0x0f: "EV_NONHOST_CODE", 0x10: "EV_NONHOST_CONFIG", 0x11: "EV_NONHOST_INFO", 0x12: "EV_OMIT_BOOT_DEVICE_EVENTS",
	0x80000001: "EV_EFI_VARIABLE_DRIVER_CONFIG", 0x80000002: "EV_EFI_VARIABLE_BOOT", 0x80000003: "EV_EFI_BOOT_SERVICES_APPLICATION",
	0x80000004: "EV_EFI_BOOT_SERVICES_DRIVER", 0x80000005: "EV_EFI_RUNTIME_SERVICES_DRIVER", 0x80000006: "EV_EFI_GPT_EVENT",
	0x80000007: "EV_EFI_ACTION", 0x80000008: "EV_EFI_PLATFORM_FIRMWARE_BLOB", 0x80000009: "EV_EFI_HANDOFF_TABLES",
	0x8000000a: "EV_EFI_PLATFORM_FIRMWARE_BLOB2", 0x8000000b: "EV_EFI_HANDOFF_TABLES2", 0x8000000c: "EV_EFI_VARIABLE_BOOT2",
	0x80000010: "EV_EFI_HCRTM_EVENT", 0x800000e0: "EV_EFI_VARIABLE_AUTHORITY", 0x800000e1: "EV_EFI_SPDM_FIRMWARE_BLOB",
	0x800000e2: "EV_EFI_SPDM_FIRMWARE_CONFIG",
}

func (c *logClaims) events(events []eventlog.Event, first int, sum func([]byte) []byte) {
	for i, e := range events {
		name := eventNames[e.Type]
		if name == "" {
			name = bits(uint64(e.Type))
		}
		claim := eventClaim{Index: i, Register: e.PCR - first, Type: name, Digest: e.Digest, Size: len(e.Data), Text: textOf(e.Data), Binding: "none"}
		switch {
		case bytes.Equal(sum(e.Data), e.Digest):
			claim.Binding = "data"
		case bytes.Equal(sum(grubText(e.Data)), e.Digest):
			claim.Binding = "text"
		}
		c.Events = append(c.Events, claim)
	}
}

// grubText returns what GRUB measures of an event: the text after its label
// ("grub_cmd: "), without the NUL.
func grubText(data []byte) []byte {
	_, text, ok := bytes.Cut(data, []byte(": "))
	if !ok {
		return data
	}
	return bytes.TrimSuffix(text, []byte{0})
}

// textOf returns an event's data where they are text: ASCII, or UTF-16 as UEFI
// has it, with at most one NUL at the end; else nothing.
func textOf(data []byte) string {
	if len(data) > 2*maxText || len(data) == 0 {
		return ""
	}
	if s := bytes.TrimSuffix(data, []byte{0}); len(s) <= maxText && plain(string(s)) {
		return string(s)
	}
	if len(data)%2 != 0 {
		return ""
	}
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(data[2*i:])
	}
	if units[len(units)-1] == 0 {
		units = units[:len(units)-1]
	}
	if s := string(utf16.Decode(units)); plain(s) {
		return s
	}
	return ""
}

func plain(s string) bool {
	for _, c := range s {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return s != ""
}

// acceptLog compares what a log leads to and says with what the request expects.
func (j *judgement) acceptLog(c *logClaims, q *logRequest) error {
	for _, i := range slices.Sorted(maps.Keys(q.registers)) {
		if got := c.Registers[strconv.Itoa(i)]; !slices.Equal(got, q.registers[i]) {
			return refuse.Differ(refuse.LogReplay, fmt.Sprintf("register %d as the log replays it", i), hex.EncodeToString(q.registers[i]), hex.EncodeToString(got))
		}
	}
	if q.registers == nil {
		j.gap("registers", "what the log leads to was compared with nothing: anybody can write such a log")
	}
	if q.secureBoot != nil {
		switch {
		case c.bootErr != nil:
			return fromLog(c.bootErr)
		case c.secureBoot != *q.secureBoot:
			return refuse.As(refuse.SecureBoot, "Secure Boot is %s", c.SecureBoot)
		}
	}
	if q.line == nil {
		return nil
	}
	if c.lineErr != nil {
		return fromLog(c.lineErr)
	}
	if !c.line(*q.line) {
		if c.CommandLine.Text == "" {
			return refuse.As(refuse.Cmdline, "the measured command line hashes to %x..", c.CommandLine.Digest[:16])
		}
		return refuse.Differ(refuse.Cmdline, "command line", *q.line, c.CommandLine.Text)
	}
	return nil
}

// fromLog gives the errors of the log's accessors their codes.
func fromLog(err error) error {
	if errors.Is(err, eventlog.ErrDigest) {
		return refuse.As(refuse.LogDigest, "%v", err)
	}
	return refuse.As(refuse.LogDerived, "%v", err)
}
