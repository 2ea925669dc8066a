// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// recordedQuote is a TPMS_ATTEST that a TPM of a cloud machine signed over the
// text "challenge" (confidential-containers/trustee, Apache-2.0).
const recordedQuote = "ff544347801800" + "22000bcb7db80a611e921d7f0be5393e5a84d23f40a2d4dfc3bb1efa7a388b9ee401c5" +
	"00096368616c6c656e6765000000003356d0fd000000030000000001202003120012000300000001000b03ff40000020" +
	"9d608cf40eb5bc7454c6cbc0985c17c2efa45d5e5b28004aa7d77c1285d2fa5d"

func TestParsesRecordedQuote(t *testing.T) {
	b, err := hex.DecodeString(recordedQuote)
	if err != nil {
		t.Fatal(err)
	}
	a, err := parseAttest(b)
	if err != nil {
		t.Fatal(err)
	}
	if string(a.ExtraData) != "challenge" || a.Type != stQuote || len(a.Selections) != 1 || a.Selections[0].Hash != algSHA256 ||
		!bytes.Equal(a.Selections[0].Bits, []byte{0xff, 0x40, 0}) || a.Clock.Reset != 3 || len(a.Digest) != 32 {
		t.Errorf("%+v", a)
	}
	for n := range b {
		if _, err := parseAttest(b[:n]); err == nil {
			t.Errorf("accepted the first %d bytes", n)
		}
	}
	if _, err := parseAttest(append(b, 0)); err == nil {
		t.Error("accepted a byte more")
	}
}

// TestAgreesWithGoTPM has go-tpm read what this parser read.
func TestAgreesWithGoTPM(t *testing.T) {
	b, _ := hex.DecodeString(recordedQuote)
	theirs, err := tpm2.Unmarshal[tpm2.TPMSAttest](b)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := parseAttest(b)
	if err != nil {
		t.Fatal(err)
	}
	q, err := theirs.Attested.Quote()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours.Digest, q.PCRDigest.Buffer) || !bytes.Equal(ours.ExtraData, theirs.ExtraData.Buffer) ||
		ours.Clock.Clock != theirs.ClockInfo.Clock || ours.Clock.FirmwareVersion != theirs.FirmwareVersion {
		t.Error("the two parsers differ")
	}
	for _, template := range []tpm2.TPMTPublic{tpm2.ECCSRKTemplate, tpm2.ECCEKTemplate} {
		raw := tpm2.Marshal(template)
		p, err := ParsePublic(raw)
		if err != nil {
			t.Fatal(err)
		}
		name, err := tpm2.ObjectName(&template)
		if err != nil || !bytes.Equal(name.Buffer, p.Name()) {
			t.Errorf("name %x, want %x (%v)", p.Name(), name.Buffer, err)
		}
	}
}

func FuzzParsePublic(f *testing.F) {
	f.Add(tpm2.Marshal(tpm2.ECCSRKTemplate))
	f.Add(tpm2.Marshal(tpm2.RSASRKTemplate))
	f.Add(tpm2.Marshal(tpm2.RSAEKTemplate))
	f.Add(rsaKey(f, nil).Public())
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := ParsePublic(in)
		if (p == nil) == (err == nil) {
			t.Fatal("a key and an error, or neither")
		}
		if err != nil {
			return
		}
		p.Name()
		if point, ok := p.Point(); ok && len(point) != 65 {
			t.Fatalf("point of %d bytes", len(point))
		}
		_, _ = p.ECDSA()
		_, _ = p.RSA()
		_, _ = CheckAK(in)
		_, _ = CheckEK(in)
	})
}

func FuzzParseAttest(f *testing.F) {
	b, _ := hex.DecodeString(recordedQuote)
	f.Add(b)
	f.Add(b[:30])
	f.Fuzz(func(t *testing.T, in []byte) {
		a, err := parseAttest(in)
		if (a == nil) == (err == nil) {
			t.Fatal("a structure and an error, or neither")
		}
		if d, err := parseCreationData(in); (d == nil) == (err == nil) {
			t.Fatal("creation data and an error, or neither")
		}
	})
}
