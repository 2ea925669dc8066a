// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakecloud"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakeima"
)

func base64decode(s string) ([]byte, error) { return base64.StdEncoding.DecodeString(s) }

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func p384Key(t testing.TB) string {
	t.Helper()
	return pemText("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)).Public())))
}

func TestQuote(t *testing.T) {
	m := minted()
	base := m.quote(nil)
	softTPM := must(attestationtest.NewSoftTPM(nil))
	q := must(softTPM.Quote([]byte("n"), []int{0}))
	zero := strings.Repeat("00", 32)
	ofSoft := doc{"time": m.at(), "attest": b64(q.Attest), "signature": b64(q.Signature), "nonce": "6e", "pcrs": doc{"0": zero}, "expect": doc{"pcrs": doc{"0": zero}}}
	key := softTPM.Key().(*ecdsa.PublicKey)
	spki := must(x509.MarshalPKIXPublicKey(key))
	point := must(key.Bytes())
	url := base64.RawURLEncoding.EncodeToString
	ecJWK := doc{"kty": "EC", "crv": "P-256", "x": url(point[1:33]), "y": url(point[33:]), "kid": "a"}
	rsaKey := must(fakecloud.NewRSAKey(nil))
	rsaQuote := func() doc { // the attestation of the soft TPM, signed by a key of RSA
		sig := must(rsaKey.Sign(q.Attest))
		return ofSoft.with("signature", b64(sig))
	}
	rsaSPKI := must(x509.MarshalPKIXPublicKey(rsaKey.Key()))
	rsaJWK := doc{"kty": "RSA", "n": url(rsaKey.Key().N.Bytes()), "e": "AQAB"}
	rawRSA := rsaQuote().with("signature", b64(must(rsaKey.Sign(q.Attest))[6:])).with("signature_format", "raw")
	unrestricted := must(attestationtest.NewSoftTPM(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = false }))
	loose := must(unrestricted.Quote([]byte("n"), []int{0}))
	tampered := func(change func(*attestationtest.QuoteSpec)) doc {
		return m.quote(func(t *attestationtest.SoftTPM) { t.TamperQuote = change })
	}
	rest := []string{"attributes", "key"}
	judgeAll(t, "tpm-quote", []variant{
		{"everything", base, "accepted", []string{"key"}},
		{"nothing expected", base.with("expect", nil).with("nonce", nil).with("pcrs", nil), "accepted", []string{"key", "nonce", "pcrs", "expect"}},
		{"TPM2B_PUBLIC", base.with("public", b64(sized(must(base64decode(base["public"].(string)))))), "accepted", []string{"key"}},
		{"key in base64", ofSoft.with("public_key", b64(spki)), "accepted", rest},
		{"key in PEM", ofSoft.with("public_key", pemText("PUBLIC KEY", spki)), "accepted", rest},
		{"key as JWK", ofSoft.with("public_key", ecJWK), "accepted", rest},
		{"RSA in base64", rsaQuote().with("public_key", b64(rsaSPKI)), "accepted", rest},
		{"RSA as JWK", rsaQuote().with("public_key", rsaJWK), "accepted", rest},
		{"RSA, bare signature", rawRSA.with("public_key", b64(rsaSPKI)), "accepted", rest},
		{"RSA, public area", rsaQuote().with("public", b64(rsaKey.Public())), "accepted", []string{"key"}},
		{"P-256, bare signature", ofSoft.with("signature", b64(rawECDSA(t, q.Signature))).with("signature_format", "raw").with("public_key", b64(spki)), "accepted", rest},
		{"another key", ofSoft.with("public_key", b64(rsaSPKI)), "att.quote", nil},
		{"another key of the kind", ofSoft.with("public", base["public"]), "att.quote", nil},
		{"bare signature as TPMT", rawRSA.with("signature_format", "tpmt").with("public_key", b64(rsaSPKI)), "att.quote", nil},
		{"bare signature of another length", ofSoft.with("signature", "AAAA").with("signature_format", "raw").with("public_key", b64(spki)), "att.quote", nil},
		{"unrestricted key", ofSoft.with("attest", b64(loose.Attest)).with("signature", b64(loose.Signature)).with("public", b64(unrestricted.Public())), "att.ak", nil},
		{"AT-03", base.with("nonce", "00"), "att.nonce", nil},
		{"AT-03 empty", base.with("nonce", ""), "att.nonce", nil},
		{"a register more", base.with("pcrs.5", zero), "att.pcr.set", nil},
		{"AT-30 a register less", base.with("pcrs.7", nil), "att.pcr.set", nil},
		{"no registers", base.with("pcrs", doc{}), "att.pcr.set", nil},
		{"another value", base.with("pcrs.7", zero), "att.pcr.value", nil},
		{"AT-31 another bank", tampered(func(s *attestationtest.QuoteSpec) { s.Hash = tpm2.TPMAlgSHA1 }), "att.pcr.select", nil},
		{"AT-31 PCR 23 for 10", tampered(func(s *attestationtest.QuoteSpec) { s.Selected = []int{0, 4, 7, 23} }), "att.pcr.set", nil},
		{"no TPM made it", tampered(func(s *attestationtest.QuoteSpec) { s.Magic = 1 }), "att.quote", nil},
		{"expected value", base.with("expect.pcrs", doc{"7": zero}), "att.pcr.value", nil},
		{"expected value of another register", base.with("expect.pcrs", doc{"9": zero}), "att.pcr.set", nil},
		{"expected digest", base.with("expect.pcr_digest", zero), "att.pcr.value", nil},
		{"reset count", base.with("expect.reset_count", 7).with("expect.restart_count", 1), "accepted", nil},
		{"another reset", base.with("expect.reset_count", 8), "att.epoch", nil},
		{"another restart", base.with("expect.restart_count", 8), "att.epoch", nil},
		{"no key", base.with("public", nil), "piece.request", nil},
		{"two keys", base.with("public_key", b64(spki)), "piece.request", nil},
		{"key malformed", ofSoft.with("public_key", "AAAA"), "piece.request", nil},
		{"JWK with another member", ofSoft.with("public_key", ecJWK.with("d", "AA")), "piece.request", nil},
		{"JWK off the curve", ofSoft.with("public_key", ecJWK.with("x", url(make([]byte, 32)))), "piece.request", nil},
		{"JWK too short", ofSoft.with("public_key", ecJWK.with("x", "AA")), "piece.request", nil},
		{"register spelled otherwise", base.with("pcrs", doc{"+1": zero}), "piece.request", nil},
	})
	t.Run("AT-66", func(t *testing.T) {
		for _, member := range []string{"attest", "signature"} {
			b := must(base64decode(base[member].(string)))
			for i := range b {
				flipped := bytes.Clone(b)
				flipped[i] ^= 1 << (i % 8)
				if a := judge(t, "tpm-quote", base.with(member, b64(flipped)).json(t)); a.exit == 0 {
					t.Errorf("accepted with a bit of byte %d of %s flipped", i, member)
				}
			}
		}
	})
}

func sized(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

// rawECDSA prints r and s of a TPMT_SIGNATURE side by side.
func rawECDSA(t *testing.T, sig []byte) []byte {
	t.Helper()
	r := sig[6:][:binary.BigEndian.Uint16(sig[4:])]
	s := sig[6+len(r)+2:]
	return append(new(big.Int).SetBytes(r).FillBytes(make([]byte, 32)), new(big.Int).SetBytes(s).FillBytes(make([]byte, 32))...)
}

func TestEventLog(t *testing.T) {
	m := minted()
	base, cc := m.eventLog(), m.ccLog()
	of := func(events []attestationtest.Event) doc {
		return base.with("log", b64(attestationtest.EventLog(events))).with("expect.registers", nil)
	}
	friendly := attestationtest.Events()
	for i, e := range friendly {
		if e.PCR == 12 {
			friendly[i].Digest = sha256.Sum256(e.Data)
			friendly[i].Data = []byte(strings.Replace(string(e.Data), "r\x00o\x00", "r\x00w\x00", 1))
		}
	}
	off := attestationtest.Events()
	for i, e := range off {
		if bytes.Equal(e.Data, attestationtest.Variable("SecureBoot", []byte{1})) {
			off[i].Data = attestationtest.Variable("SecureBoot", []byte{0})
		}
	}
	grub := append(attestationtest.Events(), attestationtest.Event{PCR: 8, Type: 0x0d, Data: []byte("grub_cmd: boot\x00"), Digest: sha256.Sum256([]byte("boot"))})
	padded := append(must(base64decode(cc["log"].(string))), bytes.Repeat([]byte{0xff}, 500)...)
	zero := strings.Repeat("00", 32)
	judgeAll(t, "event-log", []variant{
		{"everything", base, "accepted", []string{}},
		{"nothing expected", base.with("expect", nil), "accepted", []string{"registers"}},
		{"TD", cc, "accepted", []string{}},
		{"TD, padded", cc.with("log", b64(padded)), "accepted", []string{}},
		{"TD, no known digests", cc.with("known_digests", nil), "att.log.derived", nil},
		{"TD, another register", cc.with("expect.registers", doc{"3": strings.Repeat("01", 48)}), "att.log.replay", nil},
		{"AT-38 TD, another line", cc.with("expect.command_line", "quiet"), "att.image.cmdline", nil},
		{"TD, a log of a TPM", cc.with("log", base["log"]), "att.log.format", nil},
		{"TPM, a log of a TD", base.with("log", cc["log"]).with("expect", nil), "att.log.format", nil},
		{"another value", base.with("expect.registers", doc{"4": zero}), "att.log.replay", nil},
		{"never extended", base.with("expect.registers", doc{"8": zero}), "accepted", nil},
		{"Secure Boot off", of(off), "att.secureboot", nil},
		{"Secure Boot off, as expected", of(off).with("expect.secure_boot", false), "accepted", nil},
		{"Secure Boot on, off expected", base.with("expect.secure_boot", false), "att.secureboot", nil},
		{"AT-32 friendly text", of(friendly), "att.log.digest", nil},
		{"AT-38 another line", base.with("expect.command_line", "quiet"), "att.image.cmdline", nil},
		{"GRUB", of(grub), "accepted", nil},
		{"no flavour", base.with("flavour", nil), "piece.request", nil},
		{"known digests of a TPM", base.with("known_digests", []string{}), "piece.request", nil},
		{"register of another size", base.with("expect.registers", doc{"4": strings.Repeat("00", 48)}), "piece.request", nil},
	})
	a := expect(t, "event-log", of(grub), "accepted")
	events := a.Claims["events"].([]any)
	seen := map[string]bool{}
	for _, v := range events {
		e := v.(map[string]any)
		seen[e["binding"].(string)] = true
		if e["type"] == "EV_SEPARATOR" && e["binding"] != "data" || e["text"] == "grub_cmd: boot" && e["binding"] != "text" {
			t.Errorf("%v", e)
		}
	}
	if len(events) != len(grub) || !seen["data"] || !seen["text"] || !seen["none"] || a.Claims["secure_boot"] != "on" {
		t.Errorf("%d events of %d, bindings %v", len(events), len(grub), seen)
	}
	if line := a.Claims["command_line"].(map[string]any)["text"]; line != attestationtest.CommandLine {
		t.Errorf("command line %q", line)
	}
}

func TestIMALog(t *testing.T) {
	m := minted()
	base := m.ima()
	pcrs, _ := bootPCRs()
	good := fakeima.Node(pcrs)
	legacy := base.with("log", b64(fakeima.LegacyLog(good)))
	zero := strings.Repeat("00", 32)
	grown := slices.Concat(good, []fakeima.Entry{good[1]})
	longer := base.with("log", b64(fakeima.Log(grown)))
	register := fakeima.Register([32]byte{}, good)
	after := fakeima.Register(register, grown[len(good):])
	growth := doc{"time": m.at(), "log": b64(fakeima.Log(grown[len(good):])), "start": hx(register[:]), "expect": doc{"pcr10": hx(after[:])}, "rules": base["rules"]}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	module := fakeima.Module()
	signed := must(fakeima.Signed(module, key))
	signer := []string{pemText("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(key.Public())))}
	moduleDigest := fakeima.Files([]fakeima.Entry{module})[module.Name]
	kexec := m.ima(good[0])
	judgeAll(t, "ima-log", []variant{
		{"everything", base, "accepted", []string{}},
		{"nothing expected", base.with("expect", nil).with("rules", nil).with("boot_pcrs", nil), "accepted", []string{"pcr10", "rules", "boot_aggregate"}},
		{"older kernel's list", legacy, "accepted", []string{}},
		{"AT-64 a module", m.ima(module), "att.ima.entry", nil},
		{"a module, without rules", m.ima(module).with("rules", nil), "accepted", []string{"rules"}},
		{"AT-64 a module, without boot_pcrs", m.ima(module).with("boot_pcrs", nil), "att.ima.entry", nil},
		{"by digest", m.ima(module).with("rules.digests", moduleDigest), "accepted", []string{}},
		{"by signature", m.ima(signed).with("rules.signers", signer), "accepted", []string{}},
		{"by nobody's signature", m.ima(signed), "att.ima.entry", nil},
		{"violation", m.ima(fakeima.Changed("/x")), "att.ima.entry", nil},
		{"violation allowed", m.ima(fakeima.Changed("/x")).with("rules.allow_violations", true), "accepted", []string{}},
		{"another aggregate", base.with("boot_pcrs.4", zero), "att.ima.aggregate", nil},
		{"another aggregate, no rules", base.with("boot_pcrs.4", zero).with("rules", nil), "att.ima.aggregate", nil},
		{"AT-64 kexec", kexec, "att.ima.aggregate", nil},
		{"kexec, no rules", kexec.with("rules", nil), "att.ima.aggregate", nil},
		{"kexec, no rules or registers", kexec.with("rules", nil).with("boot_pcrs", nil), "att.ima.aggregate", nil},
		{"kexec after an unknown entry, no rules", m.ima(module, good[0]).with("rules", nil), "att.ima.aggregate", nil},
		{"another value", base.with("expect.pcr10", zero), "att.ima.replay", nil},
		{"it grew since", longer, "att.ima.replay", nil},
		{"growth", growth, "accepted", []string{}},
		{"growth from elsewhere", growth.with("start", zero), "att.ima.replay", nil},
		{"growth with an aggregate", growth.with("log", b64(fakeima.Log(good))).with("expect", nil), "att.ima.aggregate", nil},
		{"growth with registers", growth.with("boot_pcrs", base["boot_pcrs"]), "piece.request", nil},
		{"a register is missing", base.with("boot_pcrs.9", nil), "piece.request", nil},
		{"a digest of SHA-1", base.with("rules.digests", []string{"sha1:" + strings.Repeat("00", 20)}), "piece.request", nil},
		{"a digest malformed", base.with("rules.digests", []string{"sha256:00"}), "piece.request", nil},
		{"a signer malformed", base.with("rules.signers", []string{"x"}), "piece.request", nil},
	})
	a := expect(t, "ima-log", longer, "att.ima.replay")
	if n := a.Claims["quoted_entries"]; n != float64(len(good)) || a.Expected != hx(register[:]) || a.Received == "" {
		t.Errorf("quoted entries %v, expected %s, received %s", n, a.Expected, a.Received)
	}
	a = expect(t, "ima-log", m.ima(module), "att.ima.entry")
	entries := a.Claims["entries"].([]any)
	status := func(i int) any { return entries[i].(map[string]any)["status"] }
	if len(entries) != len(good)+1 || status(0) != "aggregate" || status(1) != "allowed" || status(len(good)) != "unknown" {
		t.Errorf("%v", entries)
	}
	if a = expect(t, "ima-log", legacy, "accepted"); a.Claims["converted"] != true {
		t.Error("nothing says that the list was converted")
	}
}

// TestText: texts of evidence come out as ASCII that reads back the same.
func TestText(t *testing.T) {
	name := "/x\u202e\U0001f600\u00e9\x7f\x1b[2J"
	log := b64(fakeima.Log([]fakeima.Entry{fakeima.File(name, nil)}))
	a := expect(t, "ima-log", doc{"time": minted().at(), "log": log}, "accepted")
	if got := a.Claims["entries"].([]any)[0].(map[string]any)["name"]; got != name {
		t.Errorf("%q", got)
	}
	if b, err := json.Marshal(a.Claims); err != nil || len(b) == 0 {
		t.Error(err)
	}
}
