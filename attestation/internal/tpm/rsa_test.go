// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakecloud"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

func code(err error) refuse.Code {
	var e *refuse.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func rsaKey(t testing.TB, tamper func(*tpm2.TPMTPublic)) *fakecloud.RSAKey {
	t.Helper()
	k, err := fakecloud.NewRSAKey(tamper)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// attest prints a TPMS_ATTEST by key, whose qualified name says that it is a
// primary key of the endorsement hierarchy.
func attest(t testing.TB, k *fakecloud.RSAKey, extra []byte, typ tpm2.TPMST, body tpm2.TPMUAttest) (a, signature []byte) {
	t.Helper()
	sum := sha256.Sum256(append(binary.BigEndian.AppendUint32(nil, rhEndorse), k.Name()...))
	a = tpm2.Marshal(tpm2.TPMSAttest{Magic: tpm2.TPMGeneratedValue, Type: typ,
		QualifiedSigner: tpm2.TPM2BName{Buffer: append([]byte{0, 0x0b}, sum[:]...)}, ExtraData: tpm2.TPM2BData{Buffer: extra},
		ClockInfo: tpm2.TPMSClockInfo{Clock: 9, ResetCount: 1, Safe: true}, FirmwareVersion: 7, Attested: body})
	signature, err := k.Sign(a)
	if err != nil {
		t.Fatal(err)
	}
	return a, signature
}

func pcrSelection(pcrs []int) tpm2.TPMLPCRSelection {
	s, err := tpm2.Unmarshal[tpm2.TPMLPCRSelection](selection(pcrs))
	if err != nil {
		panic(err)
	}
	return *s
}

type quote struct {
	ak                *AK
	attest, signature []byte
	want              [32]byte
	set               []int
	values            map[int][32]byte
}

func (q *quote) check() error {
	_, err := q.ak.CheckQuote(q.attest, q.signature, q.want, q.set, q.values)
	return err
}

func rsaQuote(t testing.TB, k *fakecloud.RSAKey) *quote {
	t.Helper()
	ak, err := CheckAK(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	q := &quote{ak: ak, want: sha256.Sum256([]byte("challenge")), set: []int{0, 4, 11}, values: map[int][32]byte{0: {1}, 4: {2}, 11: {3}}}
	sum, _ := digestPCRs(q.set, q.values)
	q.attest, q.signature = attest(t, k, q.want[:], tpm2.TPMSTAttestQuote, tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote,
		&tpm2.TPMSQuoteInfo{PCRSelect: pcrSelection(q.set), PCRDigest: tpm2.TPM2BDigest{Buffer: sum[:]}}))
	return q
}

func TestRSAKeys(t *testing.T) {
	k := rsaKey(t, nil)
	ak, err := CheckAK(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	if ak.Kind() != KindRSASSA || !k.Key().Equal(ak.Key()) || !bytes.Equal(ak.Public.Name(), k.Name()) {
		t.Errorf("%s, name %x", ak.Kind(), ak.Public.Name())
	}
	params := func(change func(*tpm2.TPMSRSAParms)) func(*tpm2.TPMTPublic) {
		return func(p *tpm2.TPMTPublic) {
			d, _ := p.Parameters.RSADetail()
			change(d)
			p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, d)
		}
	}
	unique := func(change func([]byte) []byte) func(*tpm2.TPMTPublic) {
		return func(p *tpm2.TPMTPublic) {
			u, _ := p.Unique.RSA()
			p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: change(u.Buffer)})
		}
	}
	scheme := func(alg, hash tpm2.TPMAlgID) tpm2.TPMTRSAScheme {
		return tpm2.TPMTRSAScheme{Scheme: alg, Details: tpm2.NewTPMUAsymScheme(alg, &tpm2.TPMSSigSchemeRSAPSS{HashAlg: hash})}
	}
	for name, tamper := range map[string]func(*tpm2.TPMTPublic){
		"not restricted":  func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = false },
		"fixedTPM clear":  func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false },
		"fixedParent":     func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedParent = false },
		"imported":        func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SensitiveDataOrigin = false },
		"may not sign":    func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SignEncrypt = false },
		"may decrypt":     func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Decrypt = true },
		"may be exported": func(p *tpm2.TPMTPublic) { p.ObjectAttributes.EncryptedDuplication = true },
		"SHA-1 name":      func(p *tpm2.TPMTPublic) { p.NameAlg = tpm2.TPMAlgSHA1 },
		"PSS":             params(func(d *tpm2.TPMSRSAParms) { d.Scheme = scheme(tpm2.TPMAlgRSAPSS, tpm2.TPMAlgSHA256) }),
		"no scheme":       params(func(d *tpm2.TPMSRSAParms) { d.Scheme = tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgNull} }),
		"exponent 3":      params(func(d *tpm2.TPMSRSAParms) { d.Exponent = 3 }),
		"1024 bits":       params(func(d *tpm2.TPMSRSAParms) { d.KeyBits = 1024 }),
		"other length":    params(func(d *tpm2.TPMSRSAParms) { d.KeyBits = 3072 }),
		"storage key": params(func(d *tpm2.TPMSRSAParms) {
			r, _ := tpm2.RSAEKTemplate.Parameters.RSADetail()
			d.Symmetric = r.Symmetric
		}),
		"short modulus": unique(func(b []byte) []byte { return b[1:] }),
		"small modulus": unique(func(b []byte) []byte { b[0] &= 0x7f; return b }),
		"even modulus":  unique(func(b []byte) []byte { b[255] &^= 1; return b }),
		"no modulus":    unique(func(b []byte) []byte { return nil }),
	} {
		t.Run("AK/"+name, func(t *testing.T) {
			if _, err := CheckAK(rsaKey(t, tamper).Public()); code(err) != refuse.AK {
				t.Errorf("%v, want %s", err, refuse.AK)
			}
		})
	}
	t.Run("AK/explicit exponent", func(t *testing.T) {
		if _, err := CheckAK(rsaKey(t, params(func(d *tpm2.TPMSRSAParms) { d.Exponent = 65537 })).Public()); err != nil {
			t.Error(err)
		}
	})
	for n := range len(k.Public()) {
		if _, err := CheckAK(k.Public()[:n]); err == nil {
			t.Fatalf("accepted the first %d bytes", n)
		}
	}
	if _, err := CheckAK(append(k.Public(), 0)); code(err) != refuse.Format {
		t.Errorf("one byte more: %v", err)
	}
}

func TestRSAQuotes(t *testing.T) {
	k := rsaKey(t, nil)
	good := rsaQuote(t, k)
	a, err := good.ak.CheckQuote(good.attest, good.signature, good.want, good.set, good.values)
	if err != nil {
		t.Fatal(err)
	}
	if !good.ak.SignedAsPrimary(a) {
		t.Error("the signer's qualified name does not fit")
	}
	other, err := CheckAK(rsaKey(t, nil).Public())
	if err != nil {
		t.Fatal(err)
	}
	if other.SignedAsPrimary(a) {
		t.Error("another key's qualified name fits")
	}
	ecdsaSig := tpm2.Marshal(tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA,
		&tpm2.TPMSSignatureECC{Hash: tpm2.TPMAlgSHA256, SignatureR: tpm2.TPM2BECCParameter{Buffer: []byte{1}}, SignatureS: tpm2.TPM2BECCParameter{Buffer: []byte{1}}})})
	for _, c := range []struct {
		id, name string
		want     refuse.Code
		change   func(*quote)
	}{
		{"AT-06", "another TPM's key", refuse.Quote, func(q *quote) { q.ak = other }},
		{"AT-03", "another challenge", refuse.Nonce, func(q *quote) { q.want[31] ^= 1 }},
		{"AT-30", "another set", refuse.PCRSet, func(q *quote) { q.set = []int{0, 4} }},
		{"AT-31", "relabelled", refuse.PCRSelect, func(q *quote) { q.values = map[int][32]byte{0: {1}, 4: {2}, 12: {3}} }},
		{"value", "another value", refuse.PCRValue, func(q *quote) { q.values = map[int][32]byte{0: {1}, 4: {2}, 11: {4}} }},
		{"signature", "of ECDSA", refuse.Quote, func(q *quote) { q.signature = ecdsaSig }},
		{"signature", "cut", refuse.Quote, func(q *quote) { q.signature = q.signature[:len(q.signature)-1] }},
		{"signature", "longer", refuse.Quote, func(q *quote) { q.signature = append(q.signature, 0) }},
		{"signature", "SHA-1", refuse.Quote, func(q *quote) { q.signature[3] = 4 }},
		{"signature", "PSS", refuse.Quote, func(q *quote) { q.signature[1] = 0x16 }},
	} {
		t.Run(c.id+"/"+c.name, func(t *testing.T) {
			q := *good
			q.attest, q.signature = bytes.Clone(good.attest), bytes.Clone(good.signature)
			c.change(&q)
			if err := q.check(); code(err) != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
	t.Run("AT-66", func(t *testing.T) {
		q := *good
		for _, b := range []*[]byte{&q.attest, &q.signature} {
			*b = bytes.Clone(*b)
			for bit := range 8 * len(*b) {
				(*b)[bit/8] ^= 1 << (bit % 8)
				if q.check() == nil {
					t.Errorf("accepted with bit %d flipped", bit)
				}
				(*b)[bit/8] ^= 1 << (bit % 8)
			}
		}
	})
}

// TestRSAVouchesForREK: the REK stays a key of P-256, whoever vouches for it.
func TestRSAVouchesForREK(t *testing.T) {
	k := rsaKey(t, nil)
	ak, err := CheckAK(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	c := creation(t, k)
	if _, err := ak.CheckREK(c); err != nil {
		t.Fatal(err)
	}
	t.Run("AT-24", func(t *testing.T) {
		other := *creation(t, k)
		other.Attest, other.Signature = c.Attest, c.Signature
		if _, err := ak.CheckREK(&other); code(err) != refuse.REKName {
			t.Errorf("%v", err)
		}
	})
	t.Run("AT-28/RSA", func(t *testing.T) {
		other := *c
		other.Public = tpm2.Marshal(tpm2.RSASRKTemplate)
		if _, err := ak.CheckREK(&other); code(err) != refuse.REKKind {
			t.Errorf("%v", err)
		}
	})
	t.Run("creation signed by another key", func(t *testing.T) {
		other := *c
		if other.Signature, err = rsaKey(t, nil).Sign(c.Attest); err != nil {
			t.Fatal(err)
		}
		if _, err := ak.CheckREK(&other); code(err) != refuse.REKCreate {
			t.Errorf("%v", err)
		}
	})
	t.Run("AT-66", func(t *testing.T) {
		other := *c
		for _, b := range []*[]byte{&other.Public, &other.Parent, &other.Data, &other.Attest, &other.Signature} {
			*b = bytes.Clone(*b)
			for bit := range 8 * len(*b) {
				(*b)[bit/8] ^= 1 << (bit % 8)
				if _, err := ak.CheckREK(&other); err == nil {
					t.Errorf("accepted with bit %d flipped", bit)
				}
				(*b)[bit/8] ^= 1 << (bit % 8)
			}
		}
	})
}

// creation makes a REK and its certificate of creation.
func creation(t *testing.T, k *fakecloud.RSAKey) *Creation {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &Creation{Point: key.PublicKey().Bytes(), SealPCRs: []int{0, 11}, Values: map[int][32]byte{0: {1}, 11: {2}}, Qualifier: [32]byte{7}}
	sum, _ := digestPCRs(c.SealPCRs, c.Values)
	policy := policyPCR(c.SealPCRs, sum)
	point := func(b []byte) tpm2.TPMUPublicID {
		return tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: b[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: b[33:]}})
	}
	rek := tpm2.TPMTPublic{Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, STClear: true, FixedParent: true, SensitiveDataOrigin: true, AdminWithPolicy: true, Decrypt: true},
		AuthPolicy:       tpm2.TPM2BDigest{Buffer: policy[:]},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256, Scheme: tpm2.TPMTECCScheme{
			Scheme: tpm2.TPMAlgECDH, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDH, &tpm2.TPMSKeySchemeECDH{HashAlg: tpm2.TPMAlgSHA256})}}),
		Unique: point(c.Point)}
	parent := tpm2.ECCSRKTemplate
	parent.Unique = point(c.Point)
	c.Public, c.Parent = tpm2.Marshal(rek), tpm2.Marshal(parent)
	p, err := ParsePublic(c.Parent)
	if err != nil {
		t.Fatal(err)
	}
	c.Data = tpm2.Marshal(tpm2.TPMSCreationData{PCRSelect: pcrSelection(c.SealPCRs), PCRDigest: tpm2.TPM2BDigest{Buffer: sum[:]},
		Locality: tpm2.TPMALocality{TPMLocZero: true}, ParentNameAlg: tpm2.TPMAlgSHA256, ParentName: tpm2.TPM2BName{Buffer: p.Name()},
		ParentQualifiedName: tpm2.TPM2BName{Buffer: p.qualifiedName(rhNull)}})
	r, err := ParsePublic(c.Public)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(c.Data)
	c.Attest, c.Signature = attest(t, k, c.Qualifier[:], tpm2.TPMSTAttestCreation, tpm2.NewTPMUAttest(tpm2.TPMSTAttestCreation,
		&tpm2.TPMSCreationInfo{ObjectName: tpm2.TPM2BName{Buffer: r.Name()}, CreationHash: tpm2.TPM2BDigest{Buffer: hash[:]}}))
	return c
}

func TestEndorsementKeys(t *testing.T) {
	for name, make := range map[string]func() (*fakecloud.EK, error){"RSA": fakecloud.NewEK, "P-256": fakecloud.NewECCEK} {
		ek, err := make()
		if err != nil {
			t.Fatal(err)
		}
		p, err := CheckEK(ek.Public())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if key, err := p.Key(); err != nil || !reflect.DeepEqual(key, ek.Key()) {
			t.Errorf("%s: another key (%v)", name, err)
		}
		if _, err := CheckAK(ek.Public()); code(err) != refuse.AK {
			t.Errorf("%s: an endorsement key may attest: %v", name, err)
		}
	}
	for name, area := range map[string]func(*tpm2.TPMTPublic){
		"signs":          func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SignEncrypt = true },
		"not restricted": func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = false },
		"no key":         func(p *tpm2.TPMTPublic) {},
	} {
		p := tpm2.ECCEKTemplate
		area(&p)
		if _, err := CheckEK(tpm2.Marshal(p)); code(err) != refuse.EK {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := CheckEK(rsaKey(t, nil).Public()); code(err) != refuse.EK {
		t.Errorf("an attestation key is an endorsement key: %v", err)
	}
}

func BenchmarkCheckQuote(b *testing.B) {
	q := rsaQuote(b, rsaKey(b, nil))
	b.Run("RSA-2048", func(b *testing.B) {
		for b.Loop() {
			if err := q.check(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
