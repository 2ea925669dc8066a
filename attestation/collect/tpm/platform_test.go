// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sotto-project/sotto/attestation/collect/tpm"
)

// The software TPMs play the clouds' here: their owner fills NV indices and
// makes keys persistent, as a paravisor or a cloud's firmware does.

func owner() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
}

// fill defines an NV index and writes data into it, unless it is nil.
func fill(t *testing.T, p *tap, index uint32, size int, data []byte, at tpm2.TPMANV) {
	t.Helper()
	at.OwnerWrite, at.NoDA = true, true
	pub := tpm2.TPMSNVPublic{NVIndex: tpm2.TPMHandle(index), NameAlg: tpm2.TPMAlgSHA256, Attributes: at, DataSize: uint16(size)}
	if _, err := (tpm2.NVDefineSpace{AuthHandle: owner(), PublicInfo: tpm2.New2B(pub)}).Execute(p.TPMCloser); err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(data); off += 512 {
		rsp, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}.Execute(p.TPMCloser)
		if err != nil {
			t.Fatal(err)
		}
		_, err = tpm2.NVWrite{
			AuthHandle: owner(), NVIndex: tpm2.NamedHandle{Handle: tpm2.TPMHandle(index), Name: rsp.NVName},
			Data: tpm2.TPM2BMaxNVBuffer{Buffer: data[off:min(len(data), off+512)]}, Offset: uint16(off),
		}.Execute(p.TPMCloser)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// persist makes a primary key of the endorsement hierarchy persistent.
func persist(t *testing.T, p *tap, handle uint32, template tpm2.TPMTPublic) {
	t.Helper()
	key, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)}, InPublic: tpm2.New2B(template),
	}.Execute(p.TPMCloser)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.EvictControl{
		Auth: owner(), ObjectHandle: tpm2.NamedHandle{Handle: key.ObjectHandle, Name: key.Name}, PersistentHandle: tpm2.TPMHandle(handle),
	}.Execute(p.TPMCloser)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: key.ObjectHandle}).Execute(p.TPMCloser); err != nil {
		t.Fatal(err)
	}
}

// rsaAK is a restricted RSA-2048 signing key, as Azure's and Google's.
func rsaAK(restricted bool) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true,
			Restricted: restricted, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			KeyBits: 2048,
			Scheme: tpm2.TPMTRSAScheme{
				Scheme:  tpm2.TPMAlgRSASSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: make([]byte, 256)}),
	}
}

// verifyRSA checks a quote by the key whose public area this is.
func verifyRSA(t *testing.T, public []byte, q *tpm.Quote) {
	t.Helper()
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](public)
	if err != nil {
		t.Fatal(err)
	}
	params, err := area.Parameters.RSADetail()
	if err != nil {
		t.Fatal(err)
	}
	unique, err := area.Unique.RSA()
	if err != nil {
		t.Fatal(err)
	}
	key, err := tpm2.RSAPub(params, unique)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := tpm2.Unmarshal[tpm2.TPMTSignature](q.Signature)
	if err != nil {
		t.Fatal(err)
	}
	ssa, err := sig.Signature.RSASSA()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(q.Attest)
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], ssa.Sig.Buffer); err != nil {
		t.Error(err)
	}
}

func TestReadNV(t *testing.T) {
	each(t, func(t *testing.T, o *tpm.TPM, p *tap) {
		want := bytes.Repeat([]byte("certificate "), 125) // 1500 bytes: three reads
		fill(t, p, tpm.NVEKCertRSA, len(want), want, tpm2.TPMANV{AuthRead: true})
		fill(t, p, tpm.NVAzureHCLReport, len(want), want, tpm2.TPMANV{OwnerRead: true})
		fill(t, p, 0x01500001, 8, nil, tpm2.TPMANV{OwnerRead: true})
		fill(t, p, 0x01500002, 8, want[:8], tpm2.TPMANV{PolicyRead: true})
		for _, index := range []uint32{tpm.NVEKCertRSA, tpm.NVAzureHCLReport} {
			got, err := o.ReadNV(t.Context(), index, 1500)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%#x: %d bytes, %v", index, len(got), err)
			}
			if _, err := o.ReadNV(t.Context(), index, 1499); err == nil {
				t.Errorf("%#x: read over the limit", index)
			}
		}
		for _, index := range []uint32{0x01500001, 0x01500009} { // never written; not there
			if _, err := o.ReadNV(t.Context(), index, 100); !errors.Is(err, tpm.ErrAbsent) {
				t.Errorf("%#x: %v", index, err)
			}
		}
		if _, err := o.ReadNV(t.Context(), 0x01500002, 100); err == nil {
			t.Error("read what asks for a policy")
		}
	})
}

func TestPersistentAK(t *testing.T) {
	each(t, func(t *testing.T, o *tpm.TPM, p *tap) {
		if _, err := o.OpenAK(t.Context(), tpm.AzureAK); !errors.Is(err, tpm.ErrAbsent) {
			t.Fatalf("absent key: %v", err)
		}
		persist(t, p, tpm.AzureAK.Handle, rsaAK(true))
		ak, err := o.OpenAK(t.Context(), tpm.AzureAK)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := o.CreateAK(t.Context()); again != ak || err != nil {
			t.Errorf("another key beside it: %v", err)
		}
		if _, err := o.OpenAK(t.Context(), tpm.AKSource{}); err == nil {
			t.Error("opened a second attestation key")
		}
		q, err := o.Quote(t.Context(), ak, []byte("challenge"), quotePCRs)
		if err != nil {
			t.Fatal(err)
		}
		verifyRSA(t, ak.Public(), q)
		k := seal(t, o) // takes the slots in between
		if _, err := k.Certify(t.Context(), ak, []byte("challenge")); err != nil {
			t.Error(err)
		}
		agree(t, k)
	})
}

func TestAKThatSoftwareCouldForge(t *testing.T) {
	each(t, func(t *testing.T, o *tpm.TPM, p *tap) {
		persist(t, p, tpm.AzureAK.Handle, rsaAK(false))
		if _, err := o.OpenAK(t.Context(), tpm.AzureAK); err == nil {
			t.Error("opened a key that signs anything")
		}
		if _, err := o.OpenAK(t.Context(), tpm.AKSource{Handle: 1, Template: 1}); err == nil {
			t.Error("opened two keys")
		}
	})
}

func TestTemplateAK(t *testing.T) {
	each(t, func(t *testing.T, o *tpm.TPM, p *tap) {
		template := tpm2.Marshal(rsaAK(true))
		fill(t, p, tpm.GoogleAKRSA.Template, len(template), template, tpm2.TPMANV{OwnerRead: true, AuthRead: true})
		ak, err := o.OpenAK(t.Context(), tpm.GoogleAKRSA)
		if err != nil {
			t.Fatal(err)
		}
		seal(t, o)
		q, err := o.Quote(t.Context(), ak, []byte("challenge"), quotePCRs)
		if err != nil {
			t.Fatal(err)
		}
		verifyRSA(t, ak.Public(), q)
	})
}

func TestEnrolment(t *testing.T) {
	each(t, func(t *testing.T, o *tpm.TPM, _ *tap) {
		ak, err := o.CreateAK(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		secret := []byte("a secret of the authority, 32 b.")
		for _, kind := range []tpm.EKKind{tpm.EKRSA, tpm.EKECC} {
			e, err := o.Enrol(t.Context(), ak, kind)
			if err != nil {
				t.Fatal(err)
			}
			c, err := tpm.MakeChallenge(e, secret)
			if err != nil {
				t.Fatal(err)
			}
			got, err := o.Answer(t.Context(), ak, kind, c)
			if err != nil || !bytes.Equal(got, secret) {
				t.Errorf("%s: %q, %v", kind, got, err)
			}
			// For another attestation key the TPM keeps the secret.
			other := tpm.Enrolment{EK: e.EK, AK: tpm2.Marshal(rsaAK(true))}
			if c, err = tpm.MakeChallenge(other, secret); err != nil {
				t.Fatal(err)
			}
			if _, err := o.Answer(t.Context(), ak, kind, c); err == nil {
				t.Errorf("%s: answered for a key of somebody else", kind)
			}
		}
		if _, err := o.Enrol(t.Context(), ak, "x"); err == nil || tpm.EKKind("x").CertIndex() != 0 {
			t.Errorf("unknown kind: %v", err)
		}
		seal(t, o) // no slot was left behind
	})
}

// TestChallengeRefuses: what an authority must not certify.
func TestChallengeRefuses(t *testing.T) {
	ek, ak := tpm2.Marshal(tpm2.RSAEKTemplate), tpm2.Marshal(rsaAK(true))
	secret := make([]byte, 32)
	movable := rsaAK(true)
	movable.ObjectAttributes.FixedTPM = false
	for name, c := range map[string]struct {
		ek, ak, secret []byte
	}{
		"ak that signs anything":    {ek, tpm2.Marshal(rsaAK(false)), secret},
		"ak that can move":          {ek, tpm2.Marshal(movable), secret},
		"ak that decrypts":          {ek, ek, secret},
		"no ak":                     {ek, nil, secret},
		"signing key for an ek":     {ak, ak, secret},
		"no ek":                     {nil, ak, secret},
		"short secret":              {ek, ak, secret[:15]},
		"long secret":               {ek, ak, make([]byte, 33)},
		"ek with bytes behind":      {append(bytes.Clone(ek), 0), ak, secret},
		"ak with bytes behind":      {ek, append(bytes.Clone(ak), 0), secret},
		"storage key without fixed": {tpm2.Marshal(unfixed()), ak, secret},
	} {
		if _, err := tpm.MakeChallenge(tpm.Enrolment{EK: c.ek, AK: c.ak}, c.secret); err == nil {
			t.Errorf("%s: challenged", name)
		}
	}
}

func unfixed() tpm2.TPMTPublic {
	p := tpm2.RSAEKTemplate
	p.ObjectAttributes.FixedParent = false
	return p
}

func TestCounters(t *testing.T) {
	o, _, sim := simulator(t)
	before, err := o.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Reset(); err != nil {
		t.Fatal(err)
	}
	after, err := o.Counters(t.Context())
	if err != nil || after.Reset != before.Reset+1 {
		t.Errorf("%+v after %+v: %v", after, before, err)
	}
}
