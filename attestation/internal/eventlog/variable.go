// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
)

// separates reports whether an event ends the firmware's part of its register. An
// event's type is nobody's measurement, so it goes by its digest: a separator
// that was given another type still is one.
func (e *Event) separates(k *bank) bool {
	for _, s := range k.separators {
		if bytes.Equal(s, e.Digest) {
			return true
		}
	}
	return false
}

// secureBoot looks for the one SecureBoot variable before the separator. Because
// types are nobody's measurement either, an event of any type whose digest is
// that of a SecureBoot variable counts: one that was given another type or text
// makes two, and those are no answer.
func secureBoot(events []Event, k *bank, register int) (bool, error) {
	found, state, digests := false, false, 0
	states := secureBootDigests(k)
	for _, e := range events {
		if e.PCR != register {
			continue
		}
		if e.Type == typeSeparator || e.separates(k) {
			break // what follows is not the firmware speaking
		}
		for _, s := range states {
			if bytes.Equal(s, e.Digest) {
				digests++
			}
		}
		if e.Type != typeVariableConfig {
			continue
		}
		data, err := e.text(k)
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
	if !found || digests != 1 {
		return false, ErrAbsent
	}
	return state, nil
}

// secureBootDigests returns the digests of the variable where it is absent, off
// and on.
func secureBootDigests(k *bank) [][]byte {
	name := encode16("SecureBoot")
	var out [][]byte
	for _, value := range []string{"", "\x00", "\x01"} {
		b := append([]byte(nil), globalVariable...)
		b = binary.LittleEndian.AppendUint64(b, uint64(len(name)/2))
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
		out = append(out, k.sum(append(append(b, name...), value...)))
	}
	return out
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

// decodeLine reads a command line as UEFI's load options have it: UTF-16 with a
// terminating NUL. A lone surrogate would read like another character.
func decodeLine(b []byte) (line string, ok bool) {
	if len(b) > maxLineSize || len(b)%2 != 0 {
		return "", false
	}
	line = decode16(b)
	n := len(line)
	if n == 0 || line[n-1] != 0 || !bytes.Equal(encode16(line), b) {
		return "", false
	}
	return line[:n-1], true
}

// encodeLine is the reverse of [decodeLine].
func encodeLine(line string) []byte { return encode16(line + "\x00") }

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
