// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sotto-project/sotto/attestation/collect/tpm"
)

func TestExchangeTakesTwoCommands(t *testing.T) {
	each(t, func(t *testing.T, owner *tpm.TPM, p *tap) {
		k := seal(t, owner)
		agree(t, k) // the first use starts the session
		for range 20 {
			p.take()
			before := owner.Commands()
			agree(t, k)
			if n := owner.Commands() - before; n != 2 {
				t.Fatalf("%d commands for a request, want 2", n)
			}
			if got := p.take(); !slices.Equal(got, []tpm2.TPMCC{tpm2.TPMCCPolicyPCR, tpm2.TPMCCECDHZGen}) {
				t.Fatalf("commands %x", got)
			}
		}
	})
}

func TestSessionServesTwoKeysInTurn(t *testing.T) {
	owner, _, _ := simulator(t)
	a, b := seal(t, owner), seal(t, owner)
	agree(t, a)
	before := owner.Commands()
	for range 5 {
		agree(t, a)
		agree(t, b)
	}
	if n := owner.Commands() - before; n != 20 {
		t.Errorf("%d commands for ten requests, want 20", n)
	}
}

// TestCreationProof checks what a verifier checks, with a verifier's means.
func TestCreationProof(t *testing.T) {
	each(t, func(t *testing.T, owner *tpm.TPM, _ *tap) {
		ak, err := owner.CreateAK(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		k := seal(t, owner)
		c, err := k.Certify(t.Context(), ak, []byte("qualifying"))
		if err != nil {
			t.Fatal(err)
		}
		verifySignature(t, ak, c.Attest, c.Signature)
		att := parse[tpm2.TPMSAttest](t, c.Attest)
		if att.Magic != tpm2.TPMGeneratedValue || att.Type != tpm2.TPMSTAttestCreation || string(att.ExtraData.Buffer) != "qualifying" {
			t.Error("attestation header differs")
		}
		info, err := att.Attested.Creation()
		if err != nil {
			t.Fatal(err)
		}
		name := nameOf(c.Public)
		if !bytes.Equal(info.ObjectName.Buffer, name) || !bytes.Equal(k.Name(), name) {
			t.Error("AT-24: certified name is not the key's")
		}
		if sum := sha256.Sum256(c.CreationData); !bytes.Equal(info.CreationHash.Buffer, sum[:]) {
			t.Error("creation data is not what was certified")
		}
		checkCreationData(t, c, k)
		checkAttributes(t, c, k)
	})
}

func checkCreationData(t *testing.T, c *tpm.Creation, k *tpm.SealKey) {
	t.Helper()
	data := parse[tpm2.TPMSCreationData](t, c.CreationData)
	digest := k.PCRDigest()
	if !bytes.Equal(data.PCRDigest.Buffer, digest[:]) {
		t.Error("creation pcr digest differs")
	}
	parent := nameOf(c.ParentPublic)
	if !bytes.Equal(data.ParentName.Buffer, parent) {
		t.Error("parent name differs")
	}
	// A primary's qualified name: H(handle of the hierarchy || name).
	sum := sha256.Sum256(append([]byte{0x40, 0, 0, 7}, parent...))
	if !bytes.Equal(data.ParentQualifiedName.Buffer, append([]byte{0, 0x0b}, sum[:]...)) {
		t.Error("parent is not a primary of the NULL hierarchy")
	}
}

func checkAttributes(t *testing.T, c *tpm.Creation, k *tpm.SealKey) {
	t.Helper()
	pub := parse[tpm2.TPMTPublic](t, c.Public)
	want := tpm2.TPMAObject{FixedTPM: true, STClear: true, FixedParent: true,
		SensitiveDataOrigin: true, AdminWithPolicy: true, Decrypt: true}
	if pub.ObjectAttributes != want {
		t.Errorf("AT-25, AT-26, AT-28: attributes %+v", pub.ObjectAttributes)
	}
	digest := k.PCRDigest()
	policy, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		t.Fatal(err)
	}
	sel := tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
		{Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{0x95, 0x3a, 0}}}}
	if err := policy.Update(tpm2.TPMCCPolicyPCR, sel, digest[:]); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(pub.AuthPolicy.Buffer, policy.Hash().Digest) {
		t.Error("AT-29: policy is not PolicyPCR over the seal PCRs")
	}
	parent := parse[tpm2.TPMTPublic](t, c.ParentPublic)
	wantParent := tpm2.TPMAObject{FixedTPM: true, STClear: true, FixedParent: true, SensitiveDataOrigin: true,
		UserWithAuth: true, NoDA: true, Restricted: true, Decrypt: true}
	if parent.ObjectAttributes != wantParent {
		t.Errorf("parent attributes %+v", parent.ObjectAttributes)
	}
}

// TestExchangeRefusals plays everyone who wants the key used otherwise than by
// its policy.
func TestExchangeRefusals(t *testing.T) {
	t.Run("AT-26", func(t *testing.T) { // with a password
		each(t, func(t *testing.T, owner *tpm.TPM, p *tap) {
			k := seal(t, owner)
			raw := peer(t).PublicKey().Bytes()
			for _, password := range [][]byte{nil, []byte("x")} {
				zgen := tpm2.ECDHZGen{
					KeyHandle: tpm2.AuthHandle{Handle: handleOf(t, p, k), Name: tpm2.TPM2BName{Buffer: k.Name()}, Auth: tpm2.PasswordAuth(password)},
					InPoint: tpm2.New2B(tpm2.TPMSECCPoint{
						X: tpm2.TPM2BECCParameter{Buffer: raw[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: raw[33:]}}),
				}
				_, err := zgen.Execute(p.TPMCloser)
				if errors.Is(err, tpm2.TPMRCRetry) { // swtpm, before it first notes the use of a lockable key
					_, err = zgen.Execute(p.TPMCloser)
				}
				if !errors.Is(err, tpm2.TPMRCAuthUnavailable) {
					t.Errorf("password: %v, want TPM_RC_AUTH_UNAVAILABLE", err)
				}
			}
			agree(t, k)
		})
	})
	t.Run("AT-64", func(t *testing.T) { // after the software changed
		each(t, func(t *testing.T, owner *tpm.TPM, p *tap) {
			k := seal(t, owner)
			agree(t, k)
			p.extend(t, 11)
			for range 2 {
				if _, err := k.ECDH(peer(t).PublicKey()); !errors.Is(err, tpm.ErrPCRMoved) {
					t.Fatalf("after extend: %v, want ErrPCRMoved", err)
				}
			}
			sent := owner.Commands()
			if _, err := k.ECDH(peer(t).PublicKey()); !errors.Is(err, tpm.ErrPCRMoved) || owner.Commands() != sent {
				t.Error("a dead key still goes to the TPM")
			}
			if err := k.Erase(t.Context()); err != nil {
				t.Fatal(err)
			}
			agree(t, seal(t, owner)) // a key for the new state works
		})
	})
	t.Run("erased", func(t *testing.T) {
		owner, p, _ := simulator(t)
		k := seal(t, owner)
		agree(t, k)
		p.take()
		for range 2 {
			if err := k.Erase(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := count(p.take(), tpm2.TPMCCFlushContext); n != 1 {
			t.Errorf("flushed %d times", n)
		}
		if _, err := k.ECDH(peer(t).PublicKey()); !errors.Is(err, tpm.ErrErased) {
			t.Errorf("got %v, want ErrErased", err)
		}
	})
	t.Run("wrong curve", func(t *testing.T) {
		owner, _, _ := simulator(t)
		if _, err := seal(t, owner).ECDH(nil); err == nil {
			t.Error("nil key accepted")
		}
	})
}

// TestPCRRaces moves PCRs between the two commands of a request.
func TestPCRRaces(t *testing.T) {
	each(t, func(t *testing.T, owner *tpm.TPM, p *tap) {
		k := seal(t, owner)
		agree(t, k)
		moves := 0
		move := func(pcr, times int) {
			moves = 0
			p.set(func(cc tpm2.TPMCC, _ []byte) {
				if cc == tpm2.TPMCCECDHZGen && moves < times {
					moves++
					p.extend(t, pcr)
				}
			})
		}
		move(10, 3)
		agree(t, k)
		if moves != 3 {
			t.Errorf("redone %d times, want 3", moves)
		}
		move(10, 1000)
		if _, err := k.ECDH(peer(t).PublicKey()); !errors.Is(err, tpm.ErrUnstable) || moves > 10 {
			t.Errorf("got %v after %d tries, want ErrUnstable after a few", err, moves)
		}
		p.set(nil)
		agree(t, k) // unstable is not for good, and the session was cleaned
		before := owner.Commands()
		agree(t, k)
		if n := owner.Commands() - before; n != 2 {
			t.Errorf("%d commands after recovery, want 2", n)
		}
		move(12, 1)
		if _, err := k.ECDH(peer(t).PublicKey()); !errors.Is(err, tpm.ErrPCRMoved) {
			t.Errorf("seal pcr moved between the commands: %v, want ErrPCRMoved", err)
		}
	})
}

func TestCreationNoticesMovingPCRs(t *testing.T) {
	owner, p, _ := simulator(t)
	left := 2
	p.set(func(cc tpm2.TPMCC, _ []byte) {
		if cc == tpm2.TPMCCCreate && left > 0 {
			left--
			p.extend(t, 13)
		}
	})
	agree(t, seal(t, owner))
	left = 1000
	if _, err := owner.CreateSealKey(t.Context(), sealPCRs); !errors.Is(err, tpm.ErrUnstable) {
		t.Errorf("got %v, want ErrUnstable", err)
	}
	left = 0
	agree(t, seal(t, owner)) // the failed attempts left no slot taken
}

func TestResetEndsKeys(t *testing.T) {
	t.Run("used at once", func(t *testing.T) {
		owner, _, sim := simulator(t)
		k := seal(t, owner)
		agree(t, k)
		reset(t, sim)
		if _, err := k.ECDH(peer(t).PublicKey()); !errors.Is(err, tpm.ErrReset) {
			t.Errorf("got %v, want ErrReset", err)
		}
	})
	// After a reset handles start over: the old key's names the new one.
	t.Run("handle recycled", func(t *testing.T) {
		owner, _, sim := simulator(t)
		ak, err := owner.CreateAK(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		old := seal(t, owner)
		agree(t, old)
		reset(t, sim)
		fresh := seal(t, owner)
		agree(t, fresh)
		if _, err := old.ECDH(peer(t).PublicKey()); !errors.Is(err, tpm.ErrReset) {
			t.Errorf("got %v, want ErrReset", err)
		}
		if err := old.Erase(t.Context()); err != nil {
			t.Error(err)
		}
		agree(t, fresh) // not flushed by the old key's Erase
		if _, err := old.Certify(t.Context(), ak, nil); err == nil {
			t.Error("an old key was certified")
		}
		if _, err := fresh.Certify(t.Context(), ak, nil); err != nil {
			t.Error(err)
		}
	})
}

// TestNothingLeftToReload plays the owner of the node's memory after the key
// was made: everything but the parent's random template is theirs.
func TestNothingLeftToReload(t *testing.T) {
	owner, p, _ := simulator(t)
	var blob tpm2.TPM2BPrivate
	var public tpm2.TPM2BPublic
	var wires [][]byte
	p.before = func(cc tpm2.TPMCC, cmd []byte) {
		if cc == tpm2.TPMCCLoad {
			// header, parent handle, sized authorization area, blob, public area
			rest := cmd[18+binary.BigEndian.Uint32(cmd[14:]):]
			n := 2 + binary.BigEndian.Uint16(rest)
			blob = tpm2.TPM2BPrivate{Buffer: bytes.Clone(rest[2:n])}
			public = tpm2.BytesAs2B[tpm2.TPMTPublic](bytes.Clone(rest[n+2:]))
			wires = append(wires, cmd)
		}
	}
	p.after = func(cc tpm2.TPMCC, rsp []byte) {
		if cc == tpm2.TPMCCCreate {
			wires = append(wires, rsp)
		}
	}
	k := seal(t, owner)
	codes := p.take()
	for _, cc := range []tpm2.TPMCC{tpm2.TPMCCContextSave, tpm2.TPMCCEvictControl, tpm2.TPMCCDuplicate} {
		if count(codes, cc) != 0 {
			t.Errorf("command %x sent", cc)
		}
	}
	if i := slices.Index(codes, tpm2.TPMCCLoad); i < 0 || !slices.Contains(codes[i:], tpm2.TPMCCFlushContext) {
		t.Error("parent not flushed after load")
	}
	if len(wires) != 2 {
		t.Fatalf("%d buffers seen", len(wires))
	}
	for _, b := range wires {
		if !bytes.Equal(b, make([]byte, len(b))) {
			t.Error("a buffer that held the private blob was not wiped")
		}
	}
	if err := k.Erase(t.Context()); err != nil {
		t.Fatal(err)
	}
	parent, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHNull, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(tpm.ParentTemplate(make([]byte, 32), make([]byte, 32))),
	}.Execute(p.TPMCloser)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.Load{
		ParentHandle: tpm2.AuthHandle{Handle: parent.ObjectHandle, Name: parent.Name, Auth: tpm2.PasswordAuth(nil)},
		InPrivate:    blob, InPublic: public,
	}.Execute(p.TPMCloser)
	if !errors.Is(err, tpm2.TPMRCIntegrity) {
		t.Errorf("blob under another parent: %v, want TPM_RC_INTEGRITY", err)
	}
}

func TestParentsDiffer(t *testing.T) {
	owner, _, _ := simulator(t)
	ak, err := owner.CreateAK(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var parents [][]byte
	for range 2 {
		c, err := seal(t, owner).Certify(t.Context(), ak, nil)
		if err != nil {
			t.Fatal(err)
		}
		parents = append(parents, c.ParentPublic)
	}
	if bytes.Equal(parents[0], parents[1]) {
		t.Error("two keys have one parent")
	}
}

func TestThirdKeyIsRefusedUntilOneIsErased(t *testing.T) {
	owner, _, _ := simulator(t)
	first, second := seal(t, owner), seal(t, owner)
	if _, err := owner.CreateSealKey(t.Context(), sealPCRs); !errors.Is(err, tpm.ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	agree(t, second)
	if err := first.Erase(t.Context()); err != nil {
		t.Fatal(err)
	}
	agree(t, seal(t, owner))
	agree(t, second)
}

func TestSealSetRefusals(t *testing.T) {
	owner := tpm.New(deaf{})
	for name, set := range map[string][]int{
		"empty": nil, "twice": {1, 1}, "negative": {-1}, "beyond": {24}, "debug": {16}, "resettable": {0, 23},
	} {
		if _, err := owner.CreateSealKey(t.Context(), set); err == nil || owner.Commands() != 0 {
			t.Errorf("%s: %v after %d commands", name, err, owner.Commands())
		}
	}
}

// handleOf finds the key's handle as a program beside the owner would.
func handleOf(t *testing.T, p *tap, k *tpm.SealKey) tpm2.TPMHandle {
	t.Helper()
	for h := tpm2.TPMHandle(0x80000000); h < 0x80000003; h++ {
		rsp, err := tpm2.ReadPublic{ObjectHandle: h}.Execute(p.TPMCloser)
		if err == nil && bytes.Equal(rsp.Name.Buffer, k.Name()) {
			return h
		}
	}
	t.Fatal("key not loaded")
	return 0
}

func reset(t *testing.T, sim interface{ Reset() error }) {
	t.Helper()
	if err := sim.Reset(); err != nil {
		t.Fatal(err)
	}
}

func count(codes []tpm2.TPMCC, cc tpm2.TPMCC) (n int) {
	for _, c := range codes {
		if c == cc {
			n++
		}
	}
	return n
}

func parse[T tpm2.Marshallable, P interface {
	*T
	tpm2.Unmarshallable
}](t *testing.T, b []byte) *T {
	t.Helper()
	v, err := tpm2.Unmarshal[T, P](b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tpm2.Marshal(*v), b) {
		t.Fatal("bytes left over")
	}
	return v
}

func nameOf(public []byte) []byte {
	sum := sha256.Sum256(public)
	return append([]byte{0, 0x0b}, sum[:]...)
}

func verifySignature(t *testing.T, ak *tpm.AK, attest, signature []byte) {
	t.Helper()
	pub := parse[tpm2.TPMTPublic](t, ak.Public())
	if !bytes.Equal(nameOf(ak.Public()), ak.Name()) {
		t.Error("attestation key's name differs")
	}
	want := tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
		UserWithAuth: true, NoDA: true, Restricted: true, SignEncrypt: true}
	if pub.ObjectAttributes != want {
		t.Errorf("attestation key attributes %+v", pub.ObjectAttributes)
	}
	p, err := pub.Unique.ECC()
	if err != nil {
		t.Fatal(err)
	}
	sig, err := parse[tpm2.TPMTSignature](t, signature).Signature.ECDSA()
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, 65)
	raw[0] = 4
	copy(raw[33-len(p.X.Buffer):], p.X.Buffer)
	copy(raw[65-len(p.Y.Buffer):], p.Y.Buffer)
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(attest)
	if !ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(sig.SignatureR.Buffer), new(big.Int).SetBytes(sig.SignatureS.Buffer)) {
		t.Error("signature refused")
	}
}
