// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package measure

// FirmwareOf is a firmware of which only the digest over its pages is known, as
// published values have it.
func FirmwareOf(code [48]byte, reset, hashes uint32, sections []Section) (*Firmware, error) {
	f := &Firmware{code: code, Reset: reset, Hashes: hashes, Sections: sections}
	return f, f.fit(page)
}

// Code is the digest over a firmware's pages.
func (f *Firmware) Code() [48]byte { return f.code }

// Normal and Zero are chains of pages.
func Normal(address uint64, b []byte) [48]byte {
	var c chain
	c.data(address, b)
	return c
}

func Zero(address, size uint32) [48]byte {
	var c chain
	c.empty(pageZero, Section{Address: address, Size: size})
	return c
}

// State is a processor's registers.
func (l *Launch) State(at uint32) []byte { return l.state(at) }

// Table is the table of hashes.
func (b *Boot) Table() []byte { return b.table() }
