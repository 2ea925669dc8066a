// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bhttp

// varintSize is the length in bytes of v's shortest encoding (RFC 9000, Section
// 16). v is below 2^62: every caller encodes the length of something in memory.
func varintSize(v uint64) int {
	switch {
	case v < 1<<6:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<30:
		return 4
	}
	return 8
}

// appendVarint appends v's shortest encoding. Readers take the longer ones too,
// as RFC 9000 allows them everywhere but in frame types.
func appendVarint(dst []byte, v uint64) []byte {
	switch varintSize(v) {
	case 1:
		return append(dst, byte(v))
	case 2:
		return append(dst, 0x40|byte(v>>8), byte(v))
	case 4:
		return append(dst, 0x80|byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
	return append(dst, 0xc0|byte(v>>56), byte(v>>48), byte(v>>40), byte(v>>32),
		byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}
