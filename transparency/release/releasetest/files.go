// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package releasetest

import (
	"bytes"
	"encoding/binary"
)

// Firmware is a SIMULATED OVMF file of some pages: tables as in the build for
// confidential machines (sections, reset block, place for hashes), and no code.
func Firmware(pages int) []byte {
	le := binary.LittleEndian
	b := bytes.Repeat([]byte{0xff}, pages*4096)
	sections := []uint32{0x800000, 0x9000, 1, 0x80a000, 0x3000, 1, 0x80d000, 0x1000, 2, 0x80e000, 0x1000, 3, 0x810000, 0x1000, 0x10}
	head := append([]byte("ASEV"), le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, uint32(16+4*len(sections))), 1), uint32(len(sections)/3))...)
	for _, v := range sections {
		head = le.AppendUint32(head, v)
	}
	copy(b, head)
	var table []byte
	for _, e := range []struct {
		data []uint32
		id   string
	}{
		{[]uint32{uint32(len(b))}, "\x66\x65\x88\xdc\x4a\x98\x98\x47\xa7\x5e\x55\x85\xa7\xbf\x67\xcc"},
		{[]uint32{0x810c00, 0x400}, "\x1f\x37\x55\x72\x3b\x3a\x04\x4b\x92\x7b\x1d\xa6\xef\xa8\xd4\x54"},
		{[]uint32{0x80b004}, "\xde\x71\xf7\x00\x7e\x1a\xcb\x4f\x89\x0e\x68\xc7\x7e\x2f\xb4\x4e"},
	} {
		for _, v := range e.data {
			table = le.AppendUint32(table, v)
		}
		table = append(le.AppendUint16(table, uint16(4*len(e.data)+18)), e.id...)
	}
	table = append(le.AppendUint16(table, uint16(len(table)+18)), "\xde\x82\xb5\x96\xb2\x1f\xf7\x45\xba\xea\xa3\x66\xc5\x5a\x08\x2d"...)
	copy(b[len(b)-32-len(table):], table)
	return b
}

// UKI is a SIMULATED unified kernel image with a command line. It boots nothing.
func UKI(line string) []byte {
	le := binary.LittleEndian
	parts := []struct{ name, data string }{{".sdmagic", "#### LoaderInfo: systemd-stub 252 ####"}, {".cmdline", line}, {".linux", "SIMULATED kernel"}}
	head := make([]byte, 0x40)
	copy(head, "MZ")
	le.PutUint32(head[0x3c:], 0x40)
	head = append(head, "PE\x00\x00"...)
	head = le.AppendUint16(le.AppendUint16(head, 0x8664), uint16(len(parts)))
	head = append(head, make([]byte, 12)...)
	head = le.AppendUint16(le.AppendUint16(head, 240), 0x22)
	options := make([]byte, 240)
	le.PutUint16(options, 0x20b)
	le.PutUint32(options[60:], 1024) // of headers
	le.PutUint32(options[108:], 16)
	head = append(head, options...)
	var body []byte
	for i, p := range parts {
		s := make([]byte, 40)
		copy(s, p.name)
		le.PutUint32(s[8:], uint32(len(p.data)))
		le.PutUint32(s[12:], uint32(i+1)<<12)
		le.PutUint32(s[16:], 512)
		le.PutUint32(s[20:], uint32(1024+len(body)))
		head = append(head, s...)
		body = append(append(body, p.data...), make([]byte, 512-len(p.data))...)
	}
	return append(append(head, make([]byte, 1024-len(head))...), body...)
}
