// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpmcert

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakecloud"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

func code(err error) refuse.Code {
	var e *refuse.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// setup is a certificate of a key with everything in order.
type setup struct {
	t         testing.TB
	ca        *fakecloud.CA
	key, ek   crypto.PublicKey
	authority Authority
	c         Collateral
	l         Limits
	now       time.Time
	ofEK      bool
	tamper    func(*x509.Certificate)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newSetup(t testing.TB, owner roots.Vendor, ofEK bool) *setup {
	t.Helper()
	s := &setup{t: t, key: newKey(t).Public(), ek: newKey(t).Public(), now: time.Now(), ofEK: ofEK}
	var err error
	if s.ca, err = fakecloud.NewCA(owner); err != nil {
		t.Fatal(err)
	}
	s.authority = Authority{Owner: owner, Roots: s.ca.Roots(), Simulated: true}
	s.lists(-time.Hour, time.Hour)
	s.issue()
	return s
}

func (s *setup) issue() {
	s.t.Helper()
	var err error
	if s.ofEK {
		s.c.Certs, err = s.ca.EKCerts(s.ek, s.tamper)
	} else {
		s.c.Certs, err = s.ca.AKCerts(s.key, s.ek, s.tamper)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *setup) lists(this, next time.Duration, serials ...*big.Int) {
	s.t.Helper()
	var err error
	if s.c.CRLs, err = s.ca.CRLs(s.now.Add(this), s.now.Add(next), serials...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *setup) verify() error {
	if s.ofEK {
		_, err := VerifyEK(s.c, s.authority, s.l, s.now)
		return err
	}
	_, err := VerifyAK(s.c, s.key, s.authority, s.l, s.now)
	return err
}

func TestGood(t *testing.T) {
	for _, owner := range []roots.Vendor{roots.Google, roots.Microsoft, Enrolment} {
		s := newSetup(t, owner, false)
		ak, err := VerifyAK(s.c, s.key, s.authority, s.l, s.now)
		if err != nil {
			t.Fatalf("%s: %v", owner, err)
		}
		if ak.NoCRL || ak.CRLAge < time.Hour || ak.Owner != owner || (ak.Instance != nil) != (owner == roots.Google) {
			t.Errorf("%s: %+v", owner, ak)
		}
		if err := ak.CheckEK(s.ek); (err == nil) != (owner == Enrolment) || err != nil && code(err) != refuse.EK {
			t.Errorf("%s: endorsement key: %v", owner, err)
		}
		if err := ak.CheckEK(s.key); code(err) != refuse.EK {
			t.Errorf("%s: another endorsement key: %v", owner, err)
		}
		s.c.CRLs, s.l.AllowNoCRL = nil, true
		if ak, err = VerifyAK(s.c, s.key, s.authority, s.l, s.now); err != nil || !ak.NoCRL {
			t.Errorf("%s: without lists: %+v, %v", owner, ak, err)
		}
	}
	rsaEK, err := fakecloud.NewEK()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.PublicKey{newKey(t).Public(), rsaEK.Key()} {
		s := newSetup(t, roots.TPM, true)
		s.ek = key
		s.issue()
		ek, err := VerifyEK(s.c, s.authority, s.l, s.now)
		if err != nil {
			t.Fatal(err)
		}
		if ek.TPM != (Maker{"SIMU", "SIMULATED vTPM", "id:00010002"}) || !equal(ek.Key, key) {
			t.Errorf("%+v", ek.TPM)
		}
	}
	if s := (roots.Set{}); Of(s, roots.Google).Roots != nil {
		t.Error("nobody's roots are somebody's")
	}
}

func TestStored(t *testing.T) {
	s := newSetup(t, Enrolment, false)
	b, err := s.ca.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if s.ca, err = fakecloud.ParseCA(b); err != nil {
		t.Fatal(err)
	}
	s.issue()
	if err := s.verify(); err != nil {
		t.Error(err)
	}
}

func TestAttacks(t *testing.T) {
	cert := func(change func(*x509.Certificate)) func(*setup) {
		return func(s *setup) { s.tamper = change; s.issue() }
	}
	usage := func(u x509.KeyUsage) func(*setup) {
		return cert(func(c *x509.Certificate) { c.KeyUsage = u })
	}
	purpose := func(ids ...asn1.ObjectIdentifier) func(*setup) {
		return cert(func(c *x509.Certificate) { c.UnknownExtKeyUsage = ids })
	}
	name := func(maker, model, version string) func(*setup) {
		return cert(func(c *x509.Certificate) { c.ExtraExtensions[0].Value = fakecloud.TPMName(maker, model, version) })
	}
	otherCA := func(s *setup) *fakecloud.CA {
		ca, err := fakecloud.NewCA(s.ca.Owner)
		if err != nil {
			s.t.Fatal(err)
		}
		return ca
	}
	for _, c := range []struct {
		id, name string
		owner    roots.Vendor
		ek       bool
		want     refuse.Code
		change   func(*setup)
	}{
		{"AT-06", "certificate of another key", Enrolment, false, refuse.AKCert, func(s *setup) { s.key = newKey(s.t).Public() }},
		{"AT-06", "certificate of an RSA key", Enrolment, false, refuse.AKCert, func(s *setup) { s.key = &rsa.PublicKey{N: big.NewInt(1), E: 3} }},
		{"AT-15", "self-made root of the same name", Enrolment, false, refuse.AKCert, func(s *setup) { s.ca = otherCA(s); s.issue() }},
		{"AT-15", "self-made root of the same name, EK", roots.TPM, true, refuse.EK, func(s *setup) { s.ca = otherCA(s); s.issue() }},
		{"AT-15", "no roots", roots.Google, false, refuse.AKCert, func(s *setup) { s.authority.Roots = nil }},
		{"AT-15", "no intermediate", roots.Google, false, refuse.AKCert, func(s *setup) { s.c.Certs = s.c.Certs[:1] }},
		{"AT-15", "the root comes along", roots.Google, false, refuse.AKCert, func(s *setup) { s.c.Certs = append(s.c.Certs, s.ca.Roots()[0].Raw) }},
		{"AT-15", "a certificate too many", roots.Google, false, refuse.AKCert, func(s *setup) { s.c.Certs = append(s.c.Certs, otherCA(s).Intermediate().Raw) }},
		{"AT-15", "swapped", roots.Google, false, refuse.AKCert, func(s *setup) { slices.Reverse(s.c.Certs) }},
		{"AT-15", "leaf twice", roots.Google, false, refuse.AKCert, func(s *setup) { s.c.Certs = [][]byte{s.c.Certs[0], s.c.Certs[0], s.c.Certs[1]} }},
		{"AT-15", "expired", roots.Google, false, refuse.AKCert, func(s *setup) { s.now = s.now.AddDate(8, 0, 0) }},
		{"AT-15", "not yet valid", roots.Google, false, refuse.AKCert, func(s *setup) { s.now = s.now.AddDate(0, 0, -2) }},
		{"AT-15", "an authority", roots.Google, false, refuse.AKCert, cert(func(c *x509.Certificate) { c.IsCA = true })},
		{"AT-15", "unknown critical extension", Enrolment, false, refuse.AKCert, cert(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		})},
		{"AT-15", "authority of nobody we know", "somebody", false, refuse.AKCert, func(s *setup) {}},
		{"AT-15", "maker's certificate for an AK", roots.TPM, false, refuse.AKCert, func(s *setup) {}},
		{"simulated", "real roots, simulated certificate", roots.Google, false, refuse.Simulated, func(s *setup) { s.authority.Simulated = false }},
		{"simulated", "real roots, simulated certificate, EK", roots.TPM, true, refuse.Simulated, func(s *setup) { s.authority.Simulated = false }},
		{"purpose", "no EKU", Enrolment, false, refuse.AKCert, purpose()},
		{"purpose", "EK's EKU, Microsoft", roots.Microsoft, false, refuse.AKCert, purpose(oidEK)},
		{"purpose", "another EKU, Google", roots.Google, false, refuse.AKCert, purpose(asn1.ObjectIdentifier{2, 23, 133, 8, 2})},
		{"purpose", "TLS", Enrolment, false, refuse.AKCert, cert(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })},
		{"purpose", "TLS, Google", roots.Google, false, refuse.AKCert, cert(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} })},
		{"purpose", "AK that enciphers", roots.Google, false, refuse.AKCert, usage(x509.KeyUsageKeyEncipherment)},
		{"purpose", "AK of no usage", roots.Google, false, refuse.AKCert, usage(0)},
		{"purpose", "EK that signs", roots.TPM, true, refuse.EK, usage(x509.KeyUsageDigitalSignature)},
		{"purpose", "AK's EKU for an EK", roots.TPM, true, refuse.EK, purpose(oidAK)},
		{"purpose", "EK without EKU", roots.TPM, true, refuse.EK, purpose()},
		{"EK", "weak RSA", roots.TPM, true, refuse.EK, func(s *setup) {
			n, _ := new(big.Int).SetString(strings.Repeat("f", 250)+"3", 16)
			s.ek = &rsa.PublicKey{N: n, E: 65537}
			s.issue()
		}},
		{"EK", "P-521", roots.TPM, true, refuse.EK, func(s *setup) {
			k, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
			s.ek = k.Public()
			s.issue()
		}},
		{"EK", "no maker", roots.TPM, true, refuse.EK, name("", "m", "v")},
		{"EK", "no model", roots.TPM, true, refuse.EK, name("id:49465800", "", "v")},
		{"EK", "no version", roots.TPM, true, refuse.EK, name("id:49465800", "m", "")},
		{"EK", "no name at all", roots.TPM, true, refuse.EK, cert(func(c *x509.Certificate) { c.ExtraExtensions = nil })},
		{"EK", "malformed name", roots.TPM, true, refuse.EK, cert(func(c *x509.Certificate) { v := &c.ExtraExtensions[0].Value; *v = append(*v, 0) })},
		{"EK", "long name", roots.TPM, true, refuse.EK, name("id:49465800", strings.Repeat("m", 129), "v")},
		{"Google", "no instance", roots.Google, false, refuse.AKCert, cert(func(c *x509.Certificate) { c.ExtraExtensions = nil })},
		{"Google", "not in production", roots.Google, false, refuse.AKCert, cert(func(c *x509.Certificate) { c.ExtraExtensions[0].Value = fakecloud.Instance(false) })},
		{"Google", "malformed instance", roots.Google, false, refuse.AKCert, cert(func(c *x509.Certificate) { c.ExtraExtensions[0].Value = []byte{0x30, 0} })},
		{"enrolment", "names no EK", Enrolment, false, refuse.AKCert, cert(func(c *x509.Certificate) { c.Subject.SerialNumber = "" })},
		{"enrolment", "names an EK in upper case", Enrolment, false, refuse.AKCert, cert(func(c *x509.Certificate) { c.Subject.SerialNumber = strings.Repeat("AB", 32) })},
		{"AT-13", "leaf revoked", Enrolment, false, refuse.Revoked, func(s *setup) {
			leaf, _ := x509.ParseCertificate(s.c.Certs[0])
			s.lists(-time.Hour, time.Hour, leaf.SerialNumber)
		}},
		{"AT-13", "intermediate revoked", roots.TPM, true, refuse.Revoked, func(s *setup) { s.lists(-time.Hour, time.Hour, s.ca.Intermediate().SerialNumber) }},
		{"AT-14", "missing", Enrolment, false, refuse.CRL, func(s *setup) { s.c.CRLs = nil }},
		{"AT-14", "of the root missing", Enrolment, false, refuse.CRL, func(s *setup) { s.c.CRLs = s.c.CRLs[:1] }},
		{"AT-14", "of the intermediate missing", Enrolment, false, refuse.CRL, func(s *setup) { s.c.CRLs = s.c.CRLs[1:] }},
		{"AT-14", "stale", Enrolment, false, refuse.CRL, func(s *setup) { s.lists(-time.Hour, -2*time.Second) }},
		{"AT-14", "stale though not needed", Enrolment, false, refuse.CRL, func(s *setup) { s.l.AllowNoCRL = true; s.lists(-time.Hour, -2*time.Second) }},
		{"AT-14", "past its grace", Enrolment, false, refuse.CRL, func(s *setup) { s.l.CRLGrace = time.Minute; s.lists(-time.Hour, -62*time.Second) }},
		{"AT-14", "from the future", Enrolment, false, refuse.CRL, func(s *setup) { s.lists(time.Hour, 2*time.Hour) }},
		{"AT-14", "twice", Enrolment, false, refuse.CRL, func(s *setup) { s.c.CRLs[1] = s.c.CRLs[0] }},
		{"AT-14", "not a list", Enrolment, false, refuse.CRL, func(s *setup) { s.c.CRLs[0] = []byte{0x30, 0} }},
		{"AT-14", "bytes after the list", Enrolment, false, refuse.CRL, func(s *setup) { s.c.CRLs[0] = append(s.c.CRLs[0], 0) }},
		{"AT-14", "of another authority of the same name", Enrolment, false, refuse.CRL, func(s *setup) {
			s.l.AllowNoCRL = true
			s.c.CRLs, _ = otherCA(s).CRLs(s.now.Add(-time.Hour), s.now.Add(time.Hour))
		}},
		{"AT-14", "delta", Enrolment, false, refuse.CRL, func(s *setup) {
			s.ca.TamperCRL = func(l *x509.RevocationList) {
				l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}
			}
			s.lists(-time.Hour, time.Hour)
		}},
		{"AT-14", "indirect", Enrolment, false, refuse.CRL, func(s *setup) {
			s.ca.TamperCRL = func(l *x509.RevocationList) {
				l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: big.NewInt(9), RevocationTime: s.now,
					ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}}}}
			}
			s.lists(-time.Hour, time.Hour)
		}},
		{"AT-62", "no certificate", Enrolment, false, refuse.AKCert, func(s *setup) { s.c.Certs = nil }},
		{"AT-62", "100 certificates", Enrolment, false, refuse.AKCert, func(s *setup) { s.c.Certs = slices.Repeat(s.c.Certs, 50) }},
		{"AT-62", "large certificate", Enrolment, false, refuse.AKCert, func(s *setup) { s.c.Certs[0] = make([]byte, maxCert+1) }},
		{"AT-62", "100 lists", Enrolment, false, refuse.CRL, func(s *setup) { s.c.CRLs = slices.Repeat(s.c.CRLs, 50) }},
		{"AT-62", "large list", Enrolment, false, refuse.CRL, func(s *setup) { s.c.CRLs[0] = make([]byte, maxCRL+1) }},
	} {
		t.Run(c.id+"/"+c.name, func(t *testing.T) {
			s := newSetup(t, c.owner, c.ek)
			c.change(s)
			if err := s.verify(); code(err) != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
	t.Run("AT-14/within its grace", func(t *testing.T) {
		s := newSetup(t, Enrolment, false)
		s.l.CRLGrace = time.Minute
		s.lists(-time.Hour, -10*time.Second)
		if err := s.verify(); err != nil {
			t.Error(err)
		}
	})
}

// TestTotality is AT-66: every bit of every certificate and list is refused when
// it flips. No range is meaningless. Lists are flipped where they are needed and
// where they are not.
func TestTotality(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 5
	}
	for _, ofEK := range []bool{false, true} {
		name := map[bool]string{false: "AK", true: "EK"}[ofEK]
		t.Run("AT-66/"+name, func(t *testing.T) {
			owner := map[bool]roots.Vendor{false: Enrolment, true: roots.TPM}[ofEK]
			s := newSetup(t, owner, ofEK)
			for i, b := range slices.Concat(s.c.Certs, s.c.CRLs) {
				for bit := 0; bit < 8*len(b); bit += step {
					b[bit/8] ^= 1 << (bit % 8)
					if s.verify() == nil {
						t.Errorf("accepted with bit %d of byte %d of piece %d flipped", bit%8, bit/8, i)
					}
					b[bit/8] ^= 1 << (bit % 8)
				}
			}
			if err := s.verify(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRoots holds the embedded roots against their owners' fingerprints.
func TestRoots(t *testing.T) {
	var lines []string
	for _, c := range slices.Concat(Google(), Microsoft(), TPM()) {
		sum := sha256.Sum256(c.Raw)
		lines = append(lines, hex.EncodeToString(sum[:])+" "+c.NotAfter.UTC().Format(time.DateOnly)+" "+c.Subject.CommonName)
		if !c.IsCA || c.CheckSignatureFrom(c) != nil || strings.Contains(c.Subject.String(), simulated) {
			t.Errorf("%s is no root", c.Subject.CommonName)
		}
	}
	want := []string{
		"594759594b9b61524f6c8ef668f7177f7b9066bc0674f2f49fe9e052be78beb2 2122-07-08 EK/AK CA Root",
		"9bd5285f8fb18502a7947e621ffd470266f49fcd3b73e19a190f690ad32a7caf 2118-04-06 tpm_ek_v1_cloud_host_root-signer-0-2018-04-06T10:58:26-07:00 K:1, 1:Pw003HsFYO4:0:18",
		"e6c596b17f8ffefba5c300f714cfb1260c6028704ecf7becc4ab5018efb00e95 2048-06-01 Azure Virtual TPM Root Certificate Authority 2023",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("%s", strings.Join(lines, "\n"))
	}
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatalf("%s is no PEM", name)
		return nil
	}
	return block.Bytes
}

// TestRecorded verifies certificates that Google issued to real vTPMs. Nobody
// recorded a revocation list.
func TestRecorded(t *testing.T) {
	a := Of(roots.New(false).With(roots.Google, Google()...), roots.Google)
	now := time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC)
	waive := Limits{AllowNoCRL: true}
	for _, c := range []struct {
		leaf, intermediate string
		ak                 bool
		instance           string
	}{
		{"pca_tpm_ecc_sign_cert.pem", "gcp_ek_ak_ca_intermediate_v3.pem", true, "cs-debug-pca"},
		{"pca_tpm_rsa_sign_cert.pem", "gcp_ek_ak_ca_intermediate_v3.pem", true, "cs-debug-pca"},
		{"pca_tpm_rsa_enc_cert.pem", "gcp_ek_ak_ca_intermediate_v3.pem", false, ""},
		{"uca_tpm_ecc_sign_cert.pem", "tpm_ek_intermediate_3.pem", true, "cs-debug"},
		{"uca_tpm_rsa_sign_cert.pem", "tpm_ek_intermediate_3.pem", true, "cs-debug"},
		{"uca_tpm_rsa_enc_cert.pem", "tpm_ek_intermediate_3.pem", false, ""},
		{"uca_tpm_ecc_enc_cert.pem", "tpm_ek_intermediate_3.pem", false, ""},
	} {
		t.Run(c.leaf, func(t *testing.T) {
			col := Collateral{Certs: [][]byte{testdata(t, c.leaf), testdata(t, c.intermediate)}}
			leaf, err := x509.ParseCertificate(col.Certs[0])
			if err != nil {
				t.Fatal(err)
			}
			ak, err := VerifyAK(col, leaf.PublicKey, a, waive, now)
			if !c.ak {
				if code(err) != refuse.AKCert {
					t.Errorf("an endorsement key attests: %v", err)
				}
				ek, err := VerifyEK(col, a, waive, now)
				// Google's newer authority names neither purpose nor TPM.
				if strings.HasPrefix(c.leaf, "uca") {
					if err != nil || ek.TPM != (Maker{"GOOG", "vTPM", "id:20160511"}) {
						t.Errorf("%+v, %v", ek, err)
					}
				} else if code(err) != refuse.EK {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if ak.Instance.Name != c.instance || ak.Instance.Zone != "us-central1-a" || ak.Instance.ProjectID != "google.com:wuale-gcp-testing" ||
				!ak.Instance.Production || ak.Instance.ID == 0 || ak.Instance.ProjectNumber == 0 || !ak.NoCRL {
				t.Errorf("%+v", ak.Instance)
			}
			if _, err := VerifyAK(col, leaf.PublicKey, a, Limits{}, now); code(err) != refuse.CRL {
				t.Errorf("without a list: %v", err)
			}
			if _, err := VerifyAK(col, newKey(t).Public(), a, waive, now); code(err) != refuse.AKCert {
				t.Errorf("another key: %v", err)
			}
			if _, err := VerifyAK(col, leaf.PublicKey, Of(roots.New(false).With(roots.Google, Microsoft()...), roots.Google), waive, now); code(err) != refuse.AKCert {
				t.Errorf("another owner's root: %v", err)
			}
			if _, err := VerifyAK(col, leaf.PublicKey, a, waive, now.AddDate(30, 0, 0)); code(err) != refuse.AKCert {
				t.Errorf("expired: %v", err)
			}
			for i := range col.Certs[0] {
				mutant := bytes.Clone(col.Certs[0])
				mutant[i] ^= 1
				if _, err := VerifyAK(Collateral{Certs: [][]byte{mutant, col.Certs[1]}}, leaf.PublicKey, a, waive, now); err == nil {
					t.Errorf("accepted with byte %d flipped", i)
				}
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	s := newSetup(f, roots.Google, false)
	e := newSetup(f, roots.TPM, true)
	f.Add(s.c.Certs[0], s.c.Certs[1], s.c.CRLs[0])
	f.Add(e.c.Certs[0], e.c.Certs[1], e.c.CRLs[0])
	f.Add(testdata(f, "uca_tpm_rsa_enc_cert.pem"), testdata(f, "tpm_ek_intermediate_3.pem"), []byte{})
	f.Fuzz(func(t *testing.T, leaf, ca, crl []byte) {
		c := Collateral{Certs: [][]byte{leaf, ca}, CRLs: [][]byte{crl}}
		for _, a := range []Authority{s.authority, e.authority} {
			ak, err := VerifyAK(c, s.key, a, Limits{AllowNoCRL: true}, s.now)
			if (ak == nil) == (err == nil) || err != nil && code(err) == "" {
				t.Fatalf("%v, %v", ak, err)
			}
			ek, err := VerifyEK(c, a, Limits{AllowNoCRL: true}, s.now)
			if (ek == nil) == (err == nil) || err != nil && code(err) == "" {
				t.Fatalf("%v, %v", ek, err)
			}
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add(fakecloud.TPMName("id:474F4F47", "vTPM", "id:20160511"))
	f.Add(fakecloud.Instance(true))
	f.Fuzz(func(t *testing.T, in []byte) {
		cert := &x509.Certificate{Extensions: []pkix.Extension{{Id: oidSubjectAltName, Value: in}}}
		if m, err := parseMaker(cert); err == nil && len(m.ID+m.Model+m.Version) > 3*maxName {
			t.Fatalf("%+v", m)
		}
		if i, err := readInstance(in); (i == nil) == (err == nil) {
			t.Fatalf("%+v, %v", i, err)
		}
	})
}

func BenchmarkVerifyAK(b *testing.B) {
	s := newSetup(b, Enrolment, false)
	for b.Loop() {
		if err := s.verify(); err != nil {
			b.Fatal(err)
		}
	}
}
