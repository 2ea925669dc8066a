// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece

import (
	"encoding/hex"
	"fmt"
	"time"
)

// A hexed value prints as lower-case hex.
type hexed []byte

// MarshalText prints the value.
func (h hexed) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// bits prints a field of bits as hexadecimal text: JSON numbers end at 2^53.
func bits(v uint64) string { return fmt.Sprintf("0x%x", v) }

// stamp prints a time; nothing for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// seconds prints an age.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }
