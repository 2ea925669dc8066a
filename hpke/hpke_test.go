// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package hpke_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/hpke/sender"
)

// A bin is bytes that JSON has in hexadecimal.
type bin []byte

func (b bin) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }
func (b *bin) UnmarshalText(t []byte) (err error) {
	*b, err = hex.DecodeString(string(t))
	return err
}

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// TestPublishedVectors pins what the identifiers mean: the PQ draft may still
// move, and a new Go release with it.
func TestPublishedVectors(t *testing.T) {
	var vectors []struct {
		Source      string
		KEM         uint16 `json:"kem_id"`
		KDF         uint16 `json:"kdf_id"`
		AEAD        uint16 `json:"aead_id"`
		Info        bin
		SK          bin `json:"skRm"`
		PK          bin `json:"pkRm"`
		Enc         bin
		Encryptions []struct{ AAD, CT, PT bin }
		Exports     []struct {
			Context bin `json:"exporter_context"`
			L       int
			Value   bin `json:"exported_value"`
		}
	}
	readJSON(t, "testdata/hpke.json", &vectors)
	seen := map[uint16]bool{}
	for _, v := range vectors {
		s := hpke.Suite{KEM: v.KEM, KDF: v.KDF, AEAD: v.AEAD}
		t.Run(s.String(), func(t *testing.T) {
			seen[v.KEM] = true
			if !s.Supported() || s.EncSize() != len(v.Enc) || s.PublicKeySize() != len(v.PK) {
				t.Fatalf("sizes %d, %d; want %d, %d", s.EncSize(), s.PublicKeySize(), len(v.Enc), len(v.PK))
			}
			key, err := recipient.ParsePrivateKey(v.KEM, v.SK)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(key.PublicKey().Bytes(), v.PK) {
				t.Error("public key differs")
			}
			ctx, err := recipient.Setup(s, key, v.Enc, v.Info)
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range v.Encryptions {
				pt, err := ctx.Open(e.AAD, e.CT)
				// The PQ vectors have the plaintext in hexadecimal twice.
				if once, _ := hex.DecodeString(string(e.PT)); err != nil || !bytes.Equal(pt, e.PT) && !bytes.Equal(pt, once) {
					t.Errorf("message %d: %x, %v", i, pt, err)
				}
			}
			for _, e := range v.Exports {
				if got, err := ctx.Export(e.Context, e.L); err != nil || !bytes.Equal(got, e.Value) {
					t.Errorf("export %x: %x, %v", e.Context, got, err)
				}
			}
		})
	}
	for _, kem := range []uint16{hpke.KEMX25519, hpke.KEMXWing, hpke.KEMMLKEM768P256} {
		if !seen[kem] {
			t.Errorf("no vector for KEM 0x%04x", kem)
		}
	}
}

func TestContextsOfEverySuite(t *testing.T) {
	for _, kem := range []uint16{hpke.KEMX25519, hpke.KEMXWing, hpke.KEMMLKEM768P256} {
		key, err := recipient.GenerateKey(kem)
		if err != nil {
			t.Fatal(err)
		}
		again, err := hpke.ParsePublicKey(kem, key.PublicKey().Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, aead := range []uint16{hpke.AEADAES128GCM, hpke.AEADAES256GCM, hpke.AEADChaCha20Poly1305} {
			s := hpke.Suite{KEM: kem, KDF: hpke.KDFHKDFSHA256, AEAD: aead}
			enc, from, err := sender.Setup(s, again, []byte("info"))
			if err != nil || len(enc) != s.EncSize() {
				t.Fatalf("%v: %d bytes, %v", s, len(enc), err)
			}
			to, err := recipient.Setup(s, key, enc, []byte("info"))
			if err != nil {
				t.Fatal(err)
			}
			ct, _ := from.Seal([]byte("aad"), []byte("sotto"))
			if len(ct) != 5+s.TagSize() {
				t.Errorf("%v: ciphertext of %d bytes", s, len(ct))
			}
			if _, err := to.Open([]byte("AAD"), ct); err != recipient.ErrRefused {
				t.Errorf("%v: other aad: %v", s, err)
			}
			if pt, err := to.Open([]byte("aad"), ct); err != nil || string(pt) != "sotto" {
				t.Errorf("%v: %q, %v", s, pt, err)
			}
			a, _ := from.Export([]byte("x"), 42)
			b, _ := to.Export([]byte("x"), 42)
			if len(a) != 42 || !bytes.Equal(a, b) {
				t.Errorf("%v: exports differ", s)
			}
		}
	}
}

func TestSuitesNotSpoken(t *testing.T) {
	key, err := recipient.GenerateKey(hpke.KEMX25519)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []hpke.Suite{
		{}, {0x0010, 1, 1}, {0x0041, 1, 1}, {hpke.KEMX25519, 2, 1}, {hpke.KEMX25519, 1, 0xffff}, {hpke.KEMX25519, 1, 0}, {hpke.KEMXWing, 1, 1},
	} {
		if _, _, err := sender.Setup(s, key.PublicKey(), nil); err != hpke.ErrSuite {
			t.Errorf("sender, %v: %v", s, err)
		}
		if _, err := recipient.Setup(s, key, make([]byte, 32), nil); err != hpke.ErrSuite {
			t.Errorf("recipient, %v: %v", s, err)
		}
	}
	if _, err := hpke.ParsePublicKey(0x0010, make([]byte, 65)); err != hpke.ErrSuite {
		t.Errorf("public key of a KEM not spoken: %v", err)
	}
	if _, err := recipient.ParsePrivateKey(0x0041, make([]byte, 64)); err != hpke.ErrSuite {
		t.Errorf("private key of a KEM not spoken: %v", err)
	}
	if _, _, err := sender.Setup(hpke.NodeSuite, nil, nil); err != hpke.ErrSuite {
		t.Errorf("no key: %v", err)
	}
	for n := range 34 {
		if _, err := hpke.ParsePublicKey(hpke.KEMX25519, make([]byte, n)); (err == nil) != (n == 32) {
			t.Errorf("public key of %d bytes: %v", n, err)
		}
	}
}

func TestErrorsHaveOneFace(t *testing.T) {
	codes := map[error]string{
		hpke.ErrRefused: "stream.auth", hpke.ErrTruncated: "stream.truncated", hpke.ErrShort: "stream.short",
		hpke.ErrLimit: "stream.limit", hpke.ErrRandomness: "rng", hpke.ErrSuite: "suite", hpke.ErrHeader: "header",
	}
	for err, code := range codes {
		if coded := (*hpke.Error)(nil); !errors.As(err, &coded) || coded.Code() != code {
			t.Errorf("%v: want code %s", err, code)
		}
		if errors.Is(err, hpke.ErrTruncated) != (err == hpke.ErrTruncated || err == hpke.ErrShort) {
			t.Errorf("%v: is it a truncation?", err)
		}
	}
	if hpke.ErrRefused.Error() != "hpke: message refused" {
		t.Errorf("the refusal says %q", hpke.ErrRefused)
	}
}
