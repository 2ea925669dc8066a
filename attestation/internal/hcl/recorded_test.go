// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package hcl

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/snp"
	"github.com/sotto-project/sotto/attestation/internal/tpm"
)

// recorded reads evidence that was recorded on real hardware and is not part of
// the repository.
func recorded(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("SOTTO_RECORDED_EVIDENCE")
	if dir == "" {
		dir = "../../../../shared/evidence"
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Skipf("recorded evidence is not here (SOTTO_RECORDED_EVIDENCE): %v", err)
	}
	return b
}

// combined is the JSON in which a machine's report and quote were recorded.
type combined struct {
	HCL   string `json:"hcl_report"`
	TD    string `json:"td_quote"`
	Quote struct {
		Message, Signature string
		PCRs               []string
	} `json:"tpm_quote"`
}

func (c *combined) bytes(t *testing.T) (report, quote []byte) {
	t.Helper()
	report, err := base64.URLEncoding.DecodeString(c.HCL)
	if err != nil {
		t.Fatal(err)
	}
	if quote, err = base64.URLEncoding.DecodeString(c.TD); err != nil {
		t.Fatal(err)
	}
	return report, quote
}

// azureAK makes the public area that the paravisor gives its attestation key,
// around a modulus. The recorded quotes name it.
func azureAK(t *testing.T, modulus []byte) *tpm.AK {
	t.Helper()
	ak, err := tpm.CheckAK(tpm2.Marshal(tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, Restricted: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: 2048, Scheme: tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgRSASSA,
			Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256})}}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: modulus}),
	}))
	if err != nil {
		t.Fatal(err)
	}
	return ak
}

// checkQuote verifies a recorded quote. It is over the text "challenge" where
// ours are over 32 bytes, so it goes as far as the nonce and no further.
func checkQuote(t *testing.T, ak *tpm.AK, c *combined) {
	t.Helper()
	message, err := hex.DecodeString(c.Quote.Message)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := hex.DecodeString(c.Quote.Signature)
	if err != nil {
		t.Fatal(err)
	}
	signature := tpm2.Marshal(tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgRSASSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgRSASSA,
		&tpm2.TPMSSignatureRSA{Hash: tpm2.TPMAlgSHA256, Sig: tpm2.TPM2BPublicKeyRSA{Buffer: sig}})})
	values, set := map[int][32]byte{}, []int{}
	for i, text := range c.Quote.PCRs {
		v, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		values[i], set = [32]byte(v), append(set, i)
	}
	if _, err := ak.CheckQuote(message, signature, [32]byte{}, set, values); code(err) != refuse.Nonce {
		t.Errorf("%v, want %s: signature and structure stand", err, refuse.Nonce)
	}
	a, err := tpm2.Unmarshal[tpm2.TPMSAttest](message)
	if err != nil {
		t.Fatal(err)
	}
	if string(a.ExtraData.Buffer) != "challenge" {
		t.Errorf("challenge %q", a.ExtraData.Buffer)
	}
	if !ak.SignedAsPrimary(&tpm.Attest{Signer: a.QualifiedSigner.Buffer}) {
		t.Error("the TPM names another public area than the paravisor's template")
	}
	q, err := a.Attested.Quote()
	if err != nil {
		t.Fatal(err)
	}
	if digest, err := tpm.DigestPCRs(set, values); err != nil || !bytes.Equal(digest[:], q.PCRDigest.Buffer) {
		t.Errorf("PCRs hash to %x, quoted %x (%v)", digest, q.PCRDigest.Buffer, err)
	}
	sig[200] ^= 1
	copy(signature[6:], sig)
	if _, err := ak.CheckQuote(message, signature, [32]byte{}, set, values); code(err) != refuse.Quote {
		t.Errorf("signature with a bit flipped: %v", err)
	}
}

func TestRecordedSNP(t *testing.T) {
	var c combined
	if err := json.Unmarshal(recorded(t, "azure-snp-milan/evidence-v1.json"), &c); err != nil {
		t.Fatal(err)
	}
	one, _ := c.bytes(t)
	two := recorded(t, "azure-snp-milan/hcl-report.bin")
	var keys []*tpm.AK
	for _, b := range [][]byte{one, two} {
		r, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		s, err := snp.ParseReport(r.Hardware)
		if err != nil {
			t.Fatal(err)
		}
		if r.Kind != SNP || s.Data != r.ReportData() || s.VMPL != 0 {
			t.Errorf("%v from VMPL %d over %x, runtime data hash to %x", r.Kind, s.VMPL, s.Data, r.ReportData())
		}
		ak := azureAK(t, r.Runtime.AK.N.Bytes())
		if err := r.CheckAK(ak); err != nil {
			t.Error(err)
		}
		if r.Runtime.EK == nil || !r.Runtime.SecureBoot || !r.Runtime.TPM || r.Runtime.VMID == "" {
			t.Errorf("%+v", r.Runtime)
		}
		if err := r.Check(Limits{}); code(err) != refuse.Platform {
			t.Errorf("%v, want a console to be named", err)
		}
		if err := r.Check(Limits{AllowConsole: true}); err != nil {
			t.Error(err)
		}
		keys = append(keys, ak)
	}
	checkQuote(t, keys[0], &c)
	t.Run("AT-06", func(t *testing.T) {
		r, err := Parse(one)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.CheckAK(keys[1]); code(err) != refuse.Binding {
			t.Errorf("key of another machine: %v", err)
		}
		// The quote that lies beside the reports is of a third machine.
		sig := append([]byte{0, 0x14, 0, 0x0b, 1, 0}, recorded(t, "azure-snp-milan/tpm-quote.sig")...)
		for _, ak := range keys {
			if _, err := ak.CheckQuote(recorded(t, "azure-snp-milan/tpm-quote.msg"), sig, [32]byte{}, nil, nil); code(err) != refuse.Quote {
				t.Errorf("quote of another machine: %v", err)
			}
		}
	})
}

func TestRecordedTDX(t *testing.T) {
	var c combined
	if err := json.Unmarshal(recorded(t, "azure-tdx/evidence-v1.json"), &c); err != nil {
		t.Fatal(err)
	}
	b, quote := c.bytes(t)
	if !bytes.Equal(b, recorded(t, "azure-tdx/hcl-report.bin")) || !bytes.Equal(quote, recorded(t, "azure-tdx/td-quote.bin")) {
		t.Fatal("the files differ")
	}
	r, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	body := quote[48 : 48+quoteBodySize]
	if r.Kind != TDX || r.CheckTD() != nil {
		t.Errorf("%v, %v", r.Kind, r.CheckTD())
	}
	if err := r.TD.CheckQuoteBody(body); err != nil {
		t.Error(err)
	}
	if data := r.ReportData(); !bytes.Equal(body[520:], data[:]) {
		t.Errorf("quote over %x", body[520:])
	}
	ak := azureAK(t, r.Runtime.AK.N.Bytes())
	if err := r.CheckAK(ak); err != nil {
		t.Error(err)
	}
	checkQuote(t, ak, &c)
	if r.Runtime.Configuration["tpm-persisted"] != "false" || r.Runtime.Configuration["root-cert-thumbprint"] == "" {
		t.Errorf("%v", r.Runtime.Configuration)
	}
	t.Run("AT-66", func(t *testing.T) {
		for i := range body {
			mutant := bytes.Clone(body)
			mutant[i] ^= 1
			if r.TD.CheckQuoteBody(mutant) == nil {
				t.Errorf("accepted a quote with byte %d flipped", i)
			}
		}
	})
}
