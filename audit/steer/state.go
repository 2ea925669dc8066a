// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package steer

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// ErrState is for bytes that are no meter's.
var ErrState = errors.New("steer: malformed state")

// stateLabel begins a meter's bytes and ends with its version.
const stateLabel = "sotto steering\x03"

const (
	stateHead = len(stateLabel) + 6*8 + 2
	stateNode = 32 + 9*8
)

// MaxState is the size of the largest state, in bytes.
const MaxState = stateHead + MaxNodes*stateNode

// Append appends the meter's bytes to b:
//
//	struct {
//	    opaque label[15] = "sotto steering" 0x03;
//	    uint64 hour, requests, failed, retries, skips, standing;
//	    uint16 n;
//	    struct {
//	        opaque id[32];
//	        int64  set[3], answers[3], failures[3];
//	    } nodes[n];          /* by ascending id */
//	} Meter;
//
// It names nodes and no time but the hour of the last request, nothing of a request, and belongs
// into the client's own state: who reads it learns roughly how much was asked.
func (m *Meter) Append(b []byte) []byte {
	b = append(b, stateLabel...)
	for _, v := range []uint64{m.hour, m.requests, m.failed, m.retries, m.skips, m.standing} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.nodes)))
	for i := range m.nodes {
		c := &m.nodes[i]
		b = append(b, c.id[:]...)
		for _, s := range []*score{&c.set, &c.answers, &c.failures} {
			for _, v := range s {
				b = binary.BigEndian.AppendUint64(b, uint64(v))
			}
		}
	}
	return b
}

// Parse reads exactly one meter, in the one spelling that Append writes.
func Parse(b []byte) (*Meter, error) {
	if len(b) < stateHead || string(b[:len(stateLabel)]) != stateLabel {
		return nil, ErrState
	}
	b = b[len(stateLabel):]
	m := &Meter{}
	for i, v := range []*uint64{&m.hour, &m.requests, &m.failed, &m.retries, &m.skips, &m.standing} {
		*v = binary.BigEndian.Uint64(b[8*i:])
	}
	n := int(binary.BigEndian.Uint16(b[48:]))
	b = b[50:]
	if n > MaxNodes || len(b) != n*stateNode || m.failed > m.requests || m.skips > m.requests || m.standing > uint64(limit) {
		return nil, ErrState
	}
	for i := range n {
		c := count{id: [32]byte(b)}
		if i > 0 && bytes.Compare(m.nodes[i-1].id[:], c.id[:]) >= 0 {
			return nil, ErrState
		}
		b = b[32:]
		for _, s := range []*score{&c.set, &c.answers, &c.failures} {
			for j := range s {
				if s[j] = int64(binary.BigEndian.Uint64(b)); s[j] > limit || s[j] < -limit {
					return nil, ErrState
				}
				b = b[8:]
			}
		}
		m.nodes = append(m.nodes, c)
	}
	return m, nil
}
