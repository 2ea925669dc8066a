// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package snp_test

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/collect/snp"
)

// kernel stands in for configfs-tsm: one report entry whose answer a SIMULATED
// chip signs.
type kernel struct {
	chip     *attestationtest.Chip
	provider string
	aux      []byte
	in       []byte
	writes   int // the kernel counts them, to show who else wrote in between
	removed  bool
}

func (k *kernel) MkdirTemp(dir, _ string) (string, error) { return path.Join(dir, "entry"), nil }
func (k *kernel) ReadDir(string) ([]os.DirEntry, error)   { return nil, os.ErrNotExist }
func (k *kernel) RemoveAll(string) error                  { k.removed = true; return nil }

func (k *kernel) WriteFile(name string, b []byte) error {
	k.writes++
	if path.Base(name) == "inblob" {
		k.in = bytes.Clone(b)
	}
	return nil
}

func (k *kernel) ReadFile(name string) ([]byte, error) {
	switch path.Base(name) {
	case "generation":
		return fmt.Appendln(nil, k.writes), nil
	case "provider":
		return []byte(k.provider + "\n"), nil
	case "auxblob":
		return k.aux, nil
	case "outblob":
		e, err := k.chip.Endorse([64]byte(k.in))
		if err != nil {
			return nil, err
		}
		return e.Report, nil
	}
	return nil, os.ErrNotExist
}

func setup(t *testing.T) (*kernel, *attestationtest.Chip, snp.Config) {
	t.Helper()
	root, err := attestationtest.GenerateRoot()
	if err != nil {
		t.Fatal(err)
	}
	chip, err := root.NewChip("test")
	if err != nil {
		t.Fatal(err)
	}
	crl, err := root.CRL(time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	e, err := chip.Endorse([64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg := snp.Config{Cert: filepath.Join(dir, "vcek.pem"), CRL: filepath.Join(dir, "crl.der")}
	for name, b := range map[string][]byte{
		cfg.Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.Cert}),
		cfg.CRL:  crl,
	} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &kernel{chip: chip, provider: "sev_guest"}, chip, cfg
}

func TestReport(t *testing.T) {
	k, _, cfg := setup(t)
	r, err := snp.New(cfg, k)
	if err != nil {
		t.Fatal(err)
	}
	data := [64]byte{1, 2, 3}
	e, err := r.Report(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	const reportData = 0x50 // AMD 56860, ATTESTATION_REPORT
	if len(e) != 3 || !bytes.Equal(e[0].Data[reportData:reportData+64], data[:]) || len(e[1].Data) == 0 || len(e[2].Data) == 0 || !k.removed {
		t.Errorf("pieces %v, entry removed: %v", e, k.removed)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, says string
		spoil      func(*kernel, *snp.Config)
	}{
		{"no revocation list", "crl is required", func(_ *kernel, c *snp.Config) { c.CRL = "" }},
		{"revocation list gone", "no such file", func(_ *kernel, c *snp.Config) { os.Remove(c.CRL) }},
		{"another technology", "sev_guest", func(k *kernel, _ *snp.Config) { k.provider = "tdx_guest" }},
		{"no certificate from the host", "name the chip's certificate", func(_ *kernel, c *snp.Config) { c.Cert = "" }},
		{"a key in place of a certificate", "holds a PRIVATE KEY", func(_ *kernel, c *snp.Config) {
			os.WriteFile(c.Cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}), 0o600)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, _, cfg := setup(t)
			c.spoil(k, &cfg)
			r, err := snp.New(cfg, k)
			if err == nil {
				_, err = r.Report(t.Context(), [64]byte{})
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an error with %q", err, c.says)
			}
		})
	}
}
