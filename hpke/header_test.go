// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package hpke_test

import (
	"bytes"
	"testing"

	"github.com/sotto-project/sotto/hpke"
)

// plainHeader is a header of k entries in which nothing is sealed: the codec
// does not care.
func plainHeader(k int) *hpke.Header {
	h := &hpke.Header{Common: hpke.Common{
		Suite: hpke.NodeSuite, Epoch: 0x0102030405060708, K: uint8(k), MediaType: 1, Policy: 2,
		BodyNonce: [32]byte{1}, Commitment: [32]byte{3},
	}}
	for i := range k {
		h.Entries = append(h.Entries, hpke.Entry{
			NodeID: [32]byte{byte(i + 1)}, Enc: bytes.Repeat([]byte{byte(i)}, 1153), SealedDEK: make([]byte, 48),
		})
	}
	h.Common.CandidatesHash = hpke.CandidatesHash(h.CandidateIDs())
	return h
}

func TestHeaderCodec(t *testing.T) {
	for k := 0; k <= hpke.MaxCandidates+1; k++ {
		h := plainHeader(k)
		printed := h.Append(nil)
		if len(printed) != hpke.HeaderSize(hpke.NodeSuite, k) {
			t.Errorf("k=%d: %d bytes", k, len(printed))
		}
		rd := bytes.NewReader(append(printed, "body"...))
		got, err := hpke.ReadHeader(rd)
		if k == 0 || k > hpke.MaxCandidates {
			if err != hpke.ErrHeader {
				t.Errorf("k=%d: %v", k, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if rd.Len() != len("body") {
			t.Errorf("k=%d: read into the body", k)
		}
		if got.Hash() != h.Hash() || !bytes.Equal(got.Append(nil), printed) {
			t.Errorf("k=%d: not what was printed", k)
		}
		for i := range k {
			f := got.Forward(i)
			b := f.Append(nil)
			if len(b) != hpke.ForwardedSize(hpke.NodeSuite, k) {
				t.Errorf("k=%d: forwarded as %d bytes", k, len(b))
			}
			back, err := hpke.ReadForwarded(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if hash, err := back.Hash(); err != nil || hash != h.Hash() {
				t.Errorf("k=%d, entry %d: another header hash, %v", k, i, err)
			}
		}
	}
}

func TestHeaderRefusals(t *testing.T) {
	twice := plainHeader(3)
	twice.Entries[2].NodeID = twice.Entries[0].NodeID
	twice.Common.CandidatesHash = hpke.CandidatesHash(twice.CandidateIDs())
	reordered := plainHeader(3)
	reordered.Entries[0], reordered.Entries[1] = reordered.Entries[1], reordered.Entries[0]
	renamed := plainHeader(3)
	renamed.Entries[1].NodeID[5] ^= 1
	for name, h := range map[string]*hpke.Header{"twice": twice, "reordered": reordered, "renamed": renamed} {
		if _, err := hpke.ReadHeader(bytes.NewReader(h.Append(nil))); err != hpke.ErrHeader {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := plainHeader(3).Forward(1)
	for _, index := range []uint8{3, 8, 255} {
		f.Index = index
		if _, err := hpke.ReadForwarded(bytes.NewReader(f.Append(nil))); err != hpke.ErrHeader {
			t.Errorf("index %d: %v", index, err)
		}
		if _, err := f.Hash(); err != hpke.ErrRefused {
			t.Errorf("hash at index %d: %v", index, err)
		}
	}
	if _, err := (&hpke.Forwarded{}).Hash(); err != hpke.ErrRefused {
		t.Errorf("zero value: %v", err)
	}
}

func FuzzReadHeader(f *testing.F) {
	for _, k := range []int{1, 3, 8} {
		f.Add(plainHeader(k).Append(nil))
	}
	f.Add(plainHeader(2).Append(nil)[:200])
	f.Fuzz(func(t *testing.T, in []byte) {
		rd := bytes.NewReader(in)
		h, err := hpke.ReadHeader(rd)
		if err != nil {
			return
		}
		if out := h.Append(nil); !bytes.Equal(out, in[:len(in)-rd.Len()]) {
			t.Errorf("accepted %x, printed %x", in, out)
		}
		for i := range h.Entries {
			if hash, err := h.Forward(i).Hash(); err != nil || hash != h.Hash() {
				t.Errorf("forwarded %d does not hash to the header hash: %v", i, err)
			}
		}
	})
}

func FuzzReadForwarded(f *testing.F) {
	f.Add(plainHeader(1).Forward(0).Append(nil))
	f.Add(plainHeader(8).Forward(7).Append(nil))
	f.Add(plainHeader(3).Forward(1).Append(nil)[:300])
	f.Fuzz(func(t *testing.T, in []byte) {
		rd := bytes.NewReader(in)
		h, err := hpke.ReadForwarded(rd)
		if err != nil {
			return
		}
		if out := h.Append(nil); !bytes.Equal(out, in[:len(in)-rd.Len()]) {
			t.Errorf("accepted %x, printed %x", in, out)
		}
		h.Hash() // whatever was accepted can be hashed or refused
	})
}
