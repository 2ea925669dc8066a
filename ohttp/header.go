// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package ohttp

import (
	"encoding/binary"

	"github.com/sotto-project/sotto/hpke"
)

// HeaderSize is the size of a [Header] in bytes.
const HeaderSize = 7

// A Header opens every encapsulated request, in either form (RFC 9458,
// Section 4.1; draft-08, Section 4). The encapsulated key follows it.
//
//	struct {
//	    uint8  key_id;
//	    uint16 kem_id;
//	    uint16 kdf_id;
//	    uint16 aead_id;
//	} Header;
type Header struct {
	KeyID uint8
	Suite hpke.Suite
}

// ParseHeader reads a header from exactly [HeaderSize] bytes. Every value of
// them is a header; whether it is acceptable is the receiver's question.
func ParseHeader(b []byte) (Header, error) {
	if len(b) != HeaderSize {
		return Header{}, ErrShort
	}
	return Header{KeyID: b[0], Suite: hpke.Suite{
		KEM:  binary.BigEndian.Uint16(b[1:]),
		KDF:  binary.BigEndian.Uint16(b[3:]),
		AEAD: binary.BigEndian.Uint16(b[5:]),
	}}, nil
}

// Append appends the header's bytes to b.
func (h Header) Append(b []byte) []byte {
	b = append(b, h.KeyID)
	b = binary.BigEndian.AppendUint16(b, h.Suite.KEM)
	b = binary.BigEndian.AppendUint16(b, h.Suite.KDF)
	return binary.BigEndian.AppendUint16(b, h.Suite.AEAD)
}

// Info returns the HPKE info string of a request in form f:
//
//	info = request label || 0x00 || header
//
// The label differs between the forms: that, not the Content-Type that
// anybody on the way can rewrite, is what decides how a message opens.
func (h Header) Info(f Form) []byte {
	label := f.requestLabel()
	b := make([]byte, 0, len(label)+1+HeaderSize)
	b = append(b, label...)
	b = append(b, 0)
	return h.Append(b)
}
