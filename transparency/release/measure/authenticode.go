// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Authenticode is the SHA-256 of a PE image as firmware measures and Secure Boot
// verifies it: everything but the checksum, the entry of the certificate table
// and that table itself; sections in the order of their place in the file.
func Authenticode(b []byte) (d [32]byte, err error) {
	f, err := pe.NewFile(bytes.NewReader(b))
	if err != nil {
		return d, fmt.Errorf("image: %v", err)
	}
	if len(b) < 0x40 || b[0] != 'M' || b[1] != 'Z' {
		return d, errors.New("image: no DOS header")
	}
	opt := int64(binary.LittleEndian.Uint32(b[0x3c:])) + 4 + 20 // after signature and file header
	var headers uint32
	var directories int64 // offset of the data directories
	var count uint32
	switch h := f.OptionalHeader.(type) {
	case *pe.OptionalHeader64:
		headers, directories, count = h.SizeOfHeaders, opt+112, h.NumberOfRvaAndSizes
	case *pe.OptionalHeader32:
		headers, directories, count = h.SizeOfHeaders, opt+96, h.NumberOfRvaAndSizes
	default:
		return d, errors.New("image: no optional header")
	}
	const security, entry = 4, 8
	checksum, table := opt+64, directories+security*entry
	end := int64(len(b)) // of what is measured
	var certs int64
	if count > security {
		if table+entry > int64(headers) {
			return d, errors.New("image: headers")
		}
		at := int64(binary.LittleEndian.Uint32(b[table:]))
		if certs = int64(binary.LittleEndian.Uint32(b[table+4:])); certs > 0 && at+certs != end {
			return d, errors.New("image: the certificate table is not at its end")
		}
		end -= certs
	}
	if int64(headers) > end || checksum+4 > int64(headers) {
		return d, errors.New("image: headers")
	}
	h := sha256.New()
	h.Write(b[:checksum])
	if count > security {
		h.Write(b[checksum+4 : table])
		h.Write(b[table+entry : headers])
	} else {
		h.Write(b[checksum+4 : headers])
	}
	list := slices.DeleteFunc(slices.Clone(f.Sections), func(s *pe.Section) bool { return s.Size == 0 })
	slices.SortStableFunc(list, func(x, y *pe.Section) int { return cmp.Compare(x.Offset, y.Offset) })
	done := int64(headers)
	for _, s := range list {
		from, to := int64(s.Offset), int64(s.Offset)+int64(s.Size)
		if from < done || to > end {
			return d, fmt.Errorf("image: section %s overlaps another, or ends beyond the file", s.Name)
		}
		h.Write(b[from:to])
		done += to - from
	}
	if done > end {
		return d, errors.New("image: sections")
	}
	h.Write(b[done:end])
	return [32]byte(h.Sum(nil)), nil
}
