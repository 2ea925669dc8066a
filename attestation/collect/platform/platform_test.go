// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-tpm/tpm2"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/simtpm"
	"github.com/sotto-project/sotto/attestation/collect/certs"
	"github.com/sotto-project/sotto/attestation/collect/platform"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// A bench is a machine of every platform at once: a kernel that answers for
// configfs-tsm, a TPM simulator with what clouds put into one, and a directory
// with all the files.
type bench struct {
	dir      string
	provider string // of configfs-tsm
	writes   int
	options  map[string]string
	sim      *simtpm.Simulator
	tpm      *tpm.TPM
	cert     []byte // any certificate
}

func (b *bench) MkdirTemp(dir, _ string) (string, error) { return path.Join(dir, "entry"), nil }
func (b *bench) ReadDir(string) ([]os.DirEntry, error)   { return nil, os.ErrNotExist }
func (b *bench) RemoveAll(string) error                  { return nil }

func (b *bench) WriteFile(name string, data []byte) error {
	b.writes++
	b.options[path.Base(name)] = string(data)
	return nil
}

func (b *bench) ReadFile(name string) ([]byte, error) {
	switch path.Base(name) {
	case "generation":
		return fmt.Appendln(nil, b.writes), nil
	case "provider":
		return []byte(b.provider + "\n"), nil
	case "manifestblob":
		return []byte("manifest"), nil
	case "outblob":
		report := make([]byte, 1184)
		copy(report[0x50:], b.options["inblob"])
		return report, nil
	}
	return nil, os.ErrNotExist
}

// someCert is any certificate.
var someCert = sync.OnceValues(func() ([]byte, error) {
	root, err := attestationtest.GenerateRoot()
	if err != nil {
		return nil, err
	}
	return root.Issuer().Raw, nil
})

func newBench(t *testing.T) *bench {
	t.Helper()
	sim, err := simtpm.OpenSimulator()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{dir: t.TempDir(), provider: "sev_guest", options: map[string]string{}, sim: sim, tpm: tpm.New(sim)}
	t.Cleanup(func() { _ = b.tpm.Close() })
	if b.cert, err = someCert(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"log", "crl", "quote", "tdx-tcb-info.json", "tdx-tcb-info-issuers.pem", "tdx-qe-identity.json",
		"tdx-qe-identity-issuers.pem", "tdx-pck.crl", "tdx-pck-crl-issuers.pem", "tdx-root.crl"} {
		b.write(t, name, []byte(name))
	}
	b.write(t, "cert", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.cert}))
	return b
}

func (b *bench) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(b.path(name), content, 0o700); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// config is complete for every platform.
func (b *bench) config(name string) platform.Config {
	c := platform.Config{Platform: name, EventLog: b.path("log")}
	c.SNP.Cert, c.SNP.CRL = b.path("cert"), b.path("crl")
	c.TDX.Collateral, c.TDX.CCEL = b.dir, b.path("log")
	switch name {
	case platform.AzureSNP:
		c.Azure.Cert, c.Azure.CRL = b.path("cert"), b.path("crl")
	case platform.AzureTDX:
		c.Azure.Collateral, c.Azure.Quote = b.dir, []string{"/bin/cat", "-", b.path("quote")}
	case platform.TPM:
		c.Certs.AK, c.Certs.EK = certs.Source{File: b.path("cert")}, certs.Source{Index: tpm.NVEKCertRSA, File: b.path("cert")}
	case platform.GoogleSNP, platform.GoogleTDX:
		c.Certs.AK = certs.Source{File: b.path("cert")}
	}
	c.Nitro.Command = []string{"/bin/sh", "-c", `test "$1" = --user-data && cat "$2"`, "tool"}
	return c
}

func owner() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
}

// fill puts data into an NV index, as a platform's firmware does.
func (b *bench) fill(t *testing.T, index uint32, data []byte) {
	t.Helper()
	pub := tpm2.TPMSNVPublic{NVIndex: tpm2.TPMHandle(index), NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(len(data)),
		Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, AuthRead: true, NoDA: true}}
	if _, err := (tpm2.NVDefineSpace{AuthHandle: owner(), PublicInfo: tpm2.New2B(pub)}).Execute(b.sim); err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(data); off += 512 {
		rsp, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}.Execute(b.sim)
		if err != nil {
			t.Fatal(err)
		}
		_, err = tpm2.NVWrite{AuthHandle: owner(), NVIndex: tpm2.NamedHandle{Handle: tpm2.TPMHandle(index), Name: rsp.NVName},
			Data: tpm2.TPM2BMaxNVBuffer{Buffer: data[off:min(len(data), off+512)]}, Offset: uint16(off)}.Execute(b.sim)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// furnish puts what clouds put into a TPM: keys, certificates, an HCL report.
func (b *bench) furnish(t *testing.T) {
	t.Helper()
	template := tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true,
			NoDA: true, Restricted: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256,
			Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})}}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	}
	key, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic: tpm2.New2B(template)}.Execute(b.sim)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.EvictControl{Auth: owner(), ObjectHandle: tpm2.NamedHandle{Handle: key.ObjectHandle, Name: key.Name},
		PersistentHandle: tpm2.TPMHandle(tpm.AzureAK.Handle)}.Execute(b.sim)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: key.ObjectHandle}).Execute(b.sim); err != nil {
		t.Fatal(err)
	}
	b.fill(t, tpm.GoogleAKECC.Template, tpm2.Marshal(template))
	b.fill(t, tpm.NVGoogleAKCertECC, b.cert)
	b.fill(t, tpm.NVEKCertRSA, append(bytes.Clone(b.cert), bytes.Repeat([]byte{0xff}, 100)...))
	b.fill(t, tpm.NVAzureHCLReport, bytes.Repeat([]byte("HCLA"), 300))
}

// TestPlatforms collects on each, and holds the pieces against what a verifier
// asks of that platform.
func TestPlatforms(t *testing.T) {
	data := [64]byte(sha512.New().Sum(nil))
	for _, name := range attestation.Platforms() {
		t.Run(string(name), func(t *testing.T) {
			b := newBench(t)
			b.furnish(t)
			if strings.HasSuffix(string(name), "tdx") {
				b.provider = "tdx_guest"
			}
			m, err := platform.New(t.Context(), b.config(string(name)), b.tpm, func() (configfsi.Client, error) { return b, nil })
			if err != nil {
				t.Fatal(err)
			}
			pieces, err := m.Reporter.Report(t.Context(), data)
			if err != nil {
				t.Fatal(err)
			}
			if m.CCEL != nil { // the collector's, see collect.Collector
				pieces = append(pieces, evidence.Piece{Kind: evidence.KindCCEL, Data: m.CCEL})
			}
			var got []evidence.Kind
			for _, p := range pieces {
				got = append(got, p.Kind)
				if len(p.Data) == 0 {
					t.Errorf("%v is empty", p.Kind)
				}
			}
			slices.Sort(got)
			if want := own(name); !slices.Equal(got, want) {
				t.Errorf("pieces %v, want %v", got, want)
			}
			b.check(t, string(name), pieces, data)
		})
	}
}

// own returns what a platform has that no other has.
func own(p attestation.Platform) []evidence.Kind {
	common, _ := attestation.TPM.Pieces()
	must, _ := p.Pieces()
	out := slices.DeleteFunc(must, func(k evidence.Kind) bool {
		return slices.Contains(common, k) && k != evidence.KindAKCerts && k != evidence.KindEKCerts
	})
	slices.Sort(out)
	return out
}

// check looks at what stands in the pieces.
func (b *bench) check(t *testing.T, name string, pieces []evidence.Piece, data [64]byte) {
	t.Helper()
	get := func(k evidence.Kind) []byte {
		d, _ := (&evidence.Bundle{Pieces: pieces}).Get(k)
		return d
	}
	list := func(k evidence.Kind) evidence.List {
		l, err := evidence.ParseList(get(k))
		if err != nil {
			t.Error(err)
		}
		return l
	}
	switch name {
	case platform.SNPSVSM:
		if b.options["service_provider"] != "svsm" || string(get(evidence.KindSVSMManifest)) != "manifest" {
			t.Errorf("options %v", b.options)
		}
	case platform.TDX, platform.GoogleTDX:
		if q := get(evidence.KindTDXQuote); !bytes.Equal(q[0x50:0x50+64], data[:]) || len(list(evidence.KindTDXCollateral)) != 7 {
			t.Error("quote over something else, or collateral of another shape")
		}
	case platform.AzureTDX:
		// The tool here prints its input, the TDREPORT, and a file.
		if q := get(evidence.KindTDXQuote); len(q) != 1024+len("quote") || !bytes.Equal(q[:4], []byte("HCLA")) {
			t.Errorf("quote of %d bytes", len(q))
		}
	case platform.TPM:
		ak, ek := list(evidence.KindAKCerts), list(evidence.KindEKCerts)
		if len(ak) != 1 || len(ek) != 2 || !bytes.Equal(ek[0], b.cert) {
			t.Errorf("%d and %d certificates", len(ak), len(ek))
		}
	case platform.NitroTPM:
		if !bytes.Equal(get(evidence.KindNitroDoc), data[:]) {
			t.Error("document over something else")
		}
	}
	if name == platform.GoogleSNP || name == platform.GoogleTDX {
		if l := list(evidence.KindAKCerts); len(l) != 2 || !bytes.Equal(l[0], b.cert) {
			t.Errorf("%d certificates", len(l))
		}
	}
}

// TestRefusals: a configuration that cannot make evidence is told at start.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, platform, says string
		spoil                func(*platform.Config)
	}{
		{"unknown", "sgx", "not a platform", nil},
		{"no event log", platform.SNP, "event log", func(c *platform.Config) { c.EventLog += ".gone" }},
		{"ima file without ima", platform.SNP, "ima is off", func(c *platform.Config) { c.IMALog = "x" }},
		{"snp without crl", platform.SNP, "crl is required", func(c *platform.Config) { c.SNP.CRL = "" }},
		{"tdx without collateral", platform.TDX, "collateral is required", func(c *platform.Config) { c.TDX.Collateral = "" }},
		{"azure with neither", platform.AzureTDX, "are required", func(c *platform.Config) { c.Azure.Quote, c.Azure.Collateral = nil, "" }},
		{"azure with half", platform.AzureTDX, "both required", func(c *platform.Config) { c.Azure.Quote = nil }},
		{"azure with the other half", platform.AzureSNP, "both required", func(c *platform.Config) { c.Azure.CRL = "" }},
		{"azure of the other kind", platform.AzureTDX, "belongs to", func(c *platform.Config) { c.Azure.Cert = "x" }},
		{"google with another index", platform.GoogleSNP, "none of Google's", func(c *platform.Config) { c.Certs.AK.Index = 5 }},
		{"google without its key", platform.GoogleSNP, "no such index", nil},
		{"azure without its key", platform.AzureSNP, "no such index", nil},
		{"tpm without certificates", platform.TPM, "ak or ek", func(c *platform.Config) { c.Certs = certs.Config{} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			cfg := b.config(c.platform)
			if c.spoil != nil {
				c.spoil(&cfg)
			}
			_, err := platform.New(t.Context(), cfg, b.tpm, func() (configfsi.Client, error) { return b, nil })
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an error with %q", err, c.says)
			}
		})
	}
	t.Run("no configfs-tsm", func(t *testing.T) {
		b := newBench(t)
		_, err := platform.New(t.Context(), b.config(platform.SNP), b.tpm, func() (configfsi.Client, error) { return nil, errors.New("no module") })
		if err == nil || !strings.Contains(err.Error(), "6.7") {
			t.Errorf("%v", err)
		}
	})
}

// TestReports that fail: what a node sees when a source dries up.
func TestReportFails(t *testing.T) {
	for _, c := range []struct {
		name, platform, says string
		spoil                func(*testing.T, *bench)
	}{
		{"another technology", platform.TDX, "tdx_guest", func(*testing.T, *bench) {}},
		{"collateral gone", platform.GoogleTDX, "tdx-root.crl", func(t *testing.T, b *bench) {
			b.provider = "tdx_guest"
			os.Remove(b.path("tdx-root.crl"))
		}},
		{"certificate gone", platform.AzureSNP, "no such file", func(t *testing.T, b *bench) { os.Remove(b.path("cert")) }},
		{"quote tool fails", platform.AzureTDX, "exit status", func(t *testing.T, b *bench) { os.Remove(b.path("quote")) }},
		{"index of another thing", platform.TPM, "no certificate", func(t *testing.T, b *bench) {
			undefine(t, b, tpm.NVEKCertRSA)
			b.fill(t, tpm.NVEKCertRSA, []byte("hello"))
		}},
		{"index of two things", platform.TPM, "more than a certificate", func(t *testing.T, b *bench) {
			undefine(t, b, tpm.NVEKCertRSA)
			b.fill(t, tpm.NVEKCertRSA, append(bytes.Clone(b.cert), 1, 2))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.furnish(t)
			m, err := platform.New(t.Context(), b.config(c.platform), b.tpm, func() (configfsi.Client, error) { return b, nil })
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(t, b)
			if _, err := m.Reporter.Report(t.Context(), [64]byte{1}); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an error with %q", err, c.says)
			}
		})
	}
}

func undefine(t *testing.T, b *bench, index uint32) {
	t.Helper()
	rsp, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}.Execute(b.sim)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.NVUndefineSpace{AuthHandle: owner(), NVIndex: tpm2.NamedHandle{Handle: tpm2.TPMHandle(index), Name: rsp.NVName}}.Execute(b.sim)
	if err != nil {
		t.Fatal(err)
	}
}
