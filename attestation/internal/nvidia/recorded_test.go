// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/nvidia"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// recorded reads an H100's report and chain, leaf first, that were recorded on
// real hardware and are not part of the repository.
func recorded(t *testing.T) (report []byte, ders [][]byte) {
	t.Helper()
	dir := os.Getenv("SOTTO_RECORDED_EVIDENCE")
	if dir == "" {
		dir = "../../../../shared/evidence"
	}
	text, err := os.ReadFile(filepath.Join(dir, "nvidia-hopper", "hopper_coco_report1.txt"))
	if err != nil {
		t.Skipf("recorded evidence is not here (SOTTO_RECORDED_EVIDENCE): %v", err)
	}
	report, err = hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nvidia.ParseReport(report); code(err) != refuse.GPUReport {
		t.Errorf("a byte after the signature: %v", err)
	}
	if report, err = nvidia.Trim(report); err != nil || len(report) != 4129 {
		t.Fatalf("%d bytes, %v", len(report), err)
	}
	rest, err := os.ReadFile(filepath.Join(dir, "nvidia-hopper", "hopper_coco_certs1.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		ders = append(ders, block.Bytes)
	}
	if len(ders) != 5 {
		t.Fatalf("%d certificates", len(ders))
	}
	return report, ders
}

// trusted are NVIDIA's roots.
func trusted() roots.Set { return roots.New(false).With(roots.NVIDIA, nvidia.Roots()...) }

// assemble puts the recorded report into a piece, without answers: nobody
// recorded those.
func assemble(t *testing.T, report []byte, ders [][]byte) []byte {
	t.Helper()
	e := &nvidia.Evidence{Arch: nvidia.Hopper, Devices: []nvidia.Source{{Kind: nvidia.GPU, Report: report, Driver: 0xff, VBIOS: 0xff}}}
	for i, der := range ders {
		e.Certificates = append(e.Certificates, nvidia.Certificate{DER: der})
		e.Devices[0].Chain = append(e.Devices[0].Chain, byte(i))
	}
	b, err := e.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecordedHopper(t *testing.T) {
	report, ders := recorded(t)
	r, err := nvidia.ParseReport(report)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.Append(nil), report) {
		t.Error("report prints differently")
	}
	if r.Driver() != "580.95.05" || r.VBIOS() != "96.00.74.00.1A" || len(r.Blocks) != 64 || r.ProtectedPCIE() {
		t.Errorf("driver %q, VBIOS %q, %d blocks", r.Driver(), r.VBIOS(), len(r.Blocks))
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := nvidia.NewSession(trusted(), at, nvidia.Options{})
	chain, err := s.Chain(ders)
	if err != nil {
		t.Fatal(err)
	}
	if !nvidia.Signed(report, chain) {
		t.Fatal("the report is not signed by its chain")
	}
	t.Run("AT-14 nobody recorded the answers", func(t *testing.T) {
		_, err := nvidia.Verify(assemble(t, report, ders), trusted(), r.Nonce, at, nvidia.Options{})
		refused(t, err, refuse.GPUOCSP, "BROM")
	})
	t.Run("AT-57", func(t *testing.T) {
		_, err := nvidia.Verify(assemble(t, report, ders), trusted(), [32]byte{1}, at, nvidia.Options{})
		refused(t, err, refuse.GPUBinding, "nonce")
	})
	t.Run("AT-15", func(t *testing.T) {
		for _, set := range []roots.Set{{}, roots.New(false), roots.New(false).With(roots.Intel, nvidia.Roots()...), roots.New(false).With(roots.NVIDIA, nvidia.Roots()[1])} {
			_, err := nvidia.Verify(assemble(t, report, ders), set, r.Nonce, at, nvidia.Options{})
			refused(t, err, refuse.GPUChain, "trusted")
		}
		_, err := nvidia.Verify(assemble(t, report, ders), trusted(), r.Nonce, time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), nvidia.Options{})
		refused(t, err, refuse.GPUChain, "valid from")
	})
	t.Run("simulated roots do not take it", func(t *testing.T) {
		_, err := nvidia.Verify(assemble(t, report, ders), simulated(maker()), r.Nonce, at, nvidia.Options{})
		refused(t, err, refuse.Simulated, "NVIDIA")
	})
	t.Run("AT-66", func(t *testing.T) {
		for i := range report {
			if i%31 != 0 && testing.Short() || i%7 != 0 {
				continue
			}
			m := bytes.Clone(report)
			m[i] ^= 1 << (i % 8)
			if nvidia.Signed(m, chain) {
				t.Errorf("accepted with byte %#x flipped", i)
			}
		}
	})
}

// TestPublishedManifest verifies a manifest that NVIDIA published, and compares
// the recorded report with it where that is at hand.
func TestPublishedManifest(t *testing.T) {
	doc, err := os.ReadFile("testdata/1010_0200_882_960074001A.swidtag")
	if err != nil {
		t.Fatal(err)
	}
	version, golden, chain, err := nvidia.SignedManifest(doc)
	if err != nil {
		t.Fatal(err)
	}
	if version != "96.00.74.00.1A" || len(golden) != 12 {
		t.Errorf("version %q, %d measurements", version, len(golden))
	}
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := nvidia.NewSession(trusted(), at, nvidia.Options{}).ManifestChain(chain); err != nil {
		t.Error(err)
	}
	t.Run("AT-14 nobody recorded the answers", func(t *testing.T) {
		refused(t, nvidia.NewSession(trusted(), at, nvidia.Options{}).Manifest(nvidia.Manifest{SWID: doc}), refuse.GPUOCSP, "answers")
	})
	t.Run("AT-15 its signer ran out", func(t *testing.T) {
		refused(t, nvidia.NewSession(trusted(), at.AddDate(1, 0, 0), nvidia.Options{}).ManifestChain(chain), refuse.GPURIM, "valid from")
	})
	t.Run("a device root vouches for no manifest", func(t *testing.T) {
		set := roots.New(false).With(roots.NVIDIA, nvidia.Roots()[0])
		refused(t, nvidia.NewSession(set, at, nvidia.Options{}).ManifestChain(chain), refuse.GPURIM, "Root CA")
	})
	t.Run("measurements of the recorded report", func(t *testing.T) {
		report, _ := recorded(t)
		r, err := nvidia.ParseReport(report)
		if err != nil {
			t.Fatal(err)
		}
		var differ []int
		for index, values := range golden {
			if !slices.ContainsFunc(values, func(v []byte) bool { return bytes.Equal(v, r.Blocks[index].Value) }) {
				differ = append(differ, index)
			}
		}
		// The report is two years younger than this manifest. Eleven measurements
		// are as stated; a comparison refuses it for the twelfth.
		if !slices.Equal(differ, []int{9}) {
			t.Errorf("measurements %v differ", differ)
		}
	})
}

func TestRoots(t *testing.T) {
	want := []struct{ cn, sum, until string }{
		{"NVIDIA Device Identity CA", "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48", "9999-12-31"},
		{"NVIDIA CoRIM signing Root CA", "12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1", "2053-03-08"},
	}
	got := nvidia.Roots()
	if len(got) != len(want) {
		t.Fatalf("%d roots", len(got))
	}
	for i, c := range got {
		sum := sha256.Sum256(c.Raw)
		if c.Subject.CommonName != want[i].cn || hex.EncodeToString(sum[:]) != want[i].sum || c.NotAfter.Format(time.DateOnly) != want[i].until {
			t.Errorf("%s, %x, until %v", c.Subject.CommonName, sum, c.NotAfter)
		}
		if !c.IsCA || c.CheckSignatureFrom(c) != nil || c.PublicKeyAlgorithm != x509.ECDSA {
			t.Errorf("%s is no self-signed CA", c.Subject.CommonName)
		}
	}
	t.Run("the recorded chain ends in it", func(t *testing.T) {
		if _, ders := recorded(t); !bytes.Equal(ders[4], got[0].Raw) {
			t.Error("another root")
		}
	})
}
