// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestationtest_test

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// TestProcessesShareARoot: one process makes the root, another the chip, a third
// verifies.
func TestProcessesShareARoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	if _, err := attestationtest.OpenRoot(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened nothing: %v", err)
	}
	if _, err := attestationtest.CreateRoot(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := attestationtest.CreateRoot(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("overwrote a root: %v", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 || !strings.Contains(f.Name(), "SIMULATED") {
			t.Errorf("%s: %v %v", f.Name(), info.Mode(), err)
		}
	}
	node, verifier := open(t, dir), open(t, dir)
	config, err := attestationtest.Config("toy", sha256.Sum256(nil)).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := attestationtest.NewNode(node, attestationtest.NodeSpec{Name: "a", Config: config})
	if err != nil {
		t.Fatal(err)
	}
	early := attestation.Checkpoint{Hash: [32]byte{1}, Time: time.Now()}
	late := attestation.Checkpoint{Hash: [32]byte{2}, Time: time.Now()}
	epoch, err := n.Epoch(5, early.Hash)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := n.Freshness(epoch.Digest(), late.Hash)
	if err != nil {
		t.Fatal(err)
	}
	ev := attestation.Evidence{Epoch: epoch, Freshness: fresh}
	if _, err := attestation.Verify(ev, attestationtest.Policy(verifier), n.References(epoch, 5, early, late), time.Now()); err != nil {
		t.Error(err)
	}
}

func open(t *testing.T, dir string) *attestationtest.Root {
	r, err := attestationtest.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestEverythingSaysSimulated: no certificate, report or image of ours can be
// taken for a vendor's by whoever reads it.
func TestEverythingSaysSimulated(t *testing.T) {
	r, err := attestationtest.GenerateRoot()
	if err != nil {
		t.Fatal(err)
	}
	chip, err := r.NewChip("a")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(chip.Cert)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*x509.Certificate{leaf, r.Issuer(), r.VLEKIssuer()} {
		if !strings.Contains(c.Subject.String(), "SIMULATED") || !strings.Contains(c.Issuer.String(), "SIMULATED") {
			t.Errorf("%v, issued by %v", c.Subject, c.Issuer)
		}
	}
	if !r.Roots().Simulated() || !strings.Contains(attestationtest.Image().Name, "SIMULATED") || !attestationtest.Config("m", [32]byte{1}).Simulated {
		t.Error("something does not say so")
	}
	if pcrs := attestationtest.Registers(attestationtest.Events()); pcrs[evidence.ConfigPCR] != [32]byte{} || pcrs[10] != [32]byte{} {
		t.Error("the boot touches registers of the running system")
	}
}
