// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package fakeima

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"testing"
)

// registers is a bank of PCRs that stops after some extends.
type registers struct {
	pcrs [24][32]byte
	left int
}

var errStopped = errors.New("stopped")

func (r *registers) Extend(_ context.Context, pcr int, digest [32]byte) error {
	if r.left--; r.left < 0 {
		return errStopped
	}
	r.pcrs[pcr] = sha256.Sum256(append(r.pcrs[pcr][:], digest[:]...))
	return nil
}

func TestPlay(t *testing.T) {
	entries := append(Node([10][32]byte{}), Changed("/x"))
	r := registers{left: len(entries)}
	log, err := Play(context.Background(), &r, entries)
	if err != nil || !bytes.Equal(log, Log(entries)) {
		t.Fatalf("%d bytes, %v", len(log), err)
	}
	if r.pcrs[PCR] != Register([32]byte{}, entries) {
		t.Error("Register and Play differ")
	}
	if log, err := Play(context.Background(), &registers{left: 2}, entries); !errors.Is(err, errStopped) || log != nil {
		t.Errorf("a TPM that stops: %v", err)
	}
}

func TestTamper(t *testing.T) {
	entries := Node([10][32]byte{})
	good := Log(entries)
	for _, c := range Tamperings() {
		b, err := Tamper(c.Name, entries)
		if err != nil || bytes.Equal(b, good) {
			t.Errorf("%s: changes nothing, %v", c.Name, err)
		}
		if !bytes.Equal(Log(entries), good) {
			t.Fatalf("%s changed what it was given", c.Name)
		}
	}
	if _, err := Tamper("nonsense", entries); err == nil {
		t.Error("an unknown tampering")
	}
	if Files(entries)["boot_aggregate"] != nil || len(Files(entries)) != len(entries)-1 {
		t.Errorf("reference values %v", Files(entries))
	}
}
