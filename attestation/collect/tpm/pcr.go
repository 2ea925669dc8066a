// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

const (
	pcrCount = 24 // PCRs of a PC Client TPM
	readMax  = 8  // PCRs that one TPM2_PCR_Read is sure to return
)

// Extend extends one PCR of the SHA-256 bank by digest.
func (t *TPM) Extend(ctx context.Context, pcr int, digest [32]byte) error {
	if pcr < 0 || pcr >= pcrCount {
		return errors.New("tpm: no such pcr")
	}
	if err := t.acquire(ctx); err != nil {
		return err
	}
	defer t.release()
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{
			{HashAlg: tpm2.TPMAlgSHA256, Digest: digest[:]},
		}},
	}.Execute(t.wire)
	if err != nil {
		return t.classify("extend", err)
	}
	return nil
}

// ReadPCRs returns the SHA-256 values of pcrs as they were at one moment. It
// fails with [ErrUnstable] when they never held still.
func (t *TPM) ReadPCRs(ctx context.Context, pcrs []int) (map[int][32]byte, error) {
	set, err := pcrSet(pcrs)
	if err != nil {
		return nil, err
	}
	if err := t.acquire(ctx); err != nil {
		return nil, err
	}
	defer t.release()
	return t.readPCRs(set)
}

// readPCRs reads a sorted set. A set that needs several commands is read again
// when the TPM's update counter moved in between.
func (t *TPM) readPCRs(set []int) (map[int][32]byte, error) {
	for range maxTries {
		values := make(map[int][32]byte, len(set))
		var counters []uint32
		for chunk := range slices.Chunk(set, readMax) {
			n, err := t.readChunk(chunk, values)
			if err != nil {
				return nil, err
			}
			counters = append(counters, n)
		}
		if len(slices.Compact(counters)) == 1 {
			return values, nil
		}
	}
	return nil, ErrUnstable
}

// readChunk adds the values of at most readMax PCRs and returns the TPM's
// update counter.
func (t *TPM) readChunk(chunk []int, values map[int][32]byte) (uint32, error) {
	want := selection(chunk)
	rsp, err := tpm2.PCRRead{PCRSelectionIn: want}.Execute(t.wire)
	if err != nil {
		return 0, t.classify("read pcrs", err)
	}
	// A TPM whose SHA-256 bank is off answers with fewer PCRs, not an error.
	if !bytes.Equal(tpm2.Marshal(rsp.PCRSelectionOut), tpm2.Marshal(want)) || len(rsp.PCRValues.Digests) != len(chunk) {
		return 0, errors.New("tpm: read pcrs: sha-256 bank not served")
	}
	for i, pcr := range chunk {
		d := rsp.PCRValues.Digests[i].Buffer
		if len(d) != sha256.Size {
			return 0, errors.New("tpm: read pcrs: odd digest size")
		}
		values[pcr] = [32]byte(d)
	}
	return rsp.PCRUpdateCounter, nil
}

// pcrSet sorts pcrs and refuses an empty set, duplicates and unknown indices:
// an empty selection would make a policy that always holds.
func pcrSet(pcrs []int) ([]int, error) {
	set := slices.Sorted(slices.Values(pcrs))
	if len(set) == 0 || set[0] < 0 || set[len(set)-1] >= pcrCount {
		return nil, errors.New("tpm: pcr set empty or out of range")
	}
	if len(slices.Compact(slices.Clone(set))) != len(set) {
		return nil, errors.New("tpm: pcr named twice")
	}
	return set, nil
}

// sealSet is [pcrSet] without the PCRs that software may reset (16 and 23 of
// the PC Client profile): a policy over those binds nothing.
func sealSet(pcrs []int) ([]int, error) {
	set, err := pcrSet(pcrs)
	if err != nil {
		return nil, err
	}
	for _, pcr := range []int{16, 23} {
		if slices.Contains(set, pcr) {
			return nil, fmt.Errorf("tpm: pcr %d can be reset and seals nothing", pcr)
		}
	}
	return set, nil
}

// selection names a set in the SHA-256 bank.
func selection(set []int) tpm2.TPMLPCRSelection {
	indices := make([]uint, len(set))
	for i, pcr := range set {
		indices[i] = uint(pcr)
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{
		Hash:      tpm2.TPMAlgSHA256,
		PCRSelect: tpm2.PCClientCompatible.PCRs(indices...),
	}}}
}

// pcrDigest is the digest that quotes, policies and creation data carry: over
// the values in ascending order of index (TPM 2.0 Part 1, 17.8).
func pcrDigest(set []int, values map[int][32]byte) []byte {
	h := sha256.New()
	for _, pcr := range set {
		v := values[pcr]
		h.Write(v[:])
	}
	return h.Sum(nil)
}
