// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package ima

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakeima"
)

// vectorPCRs are those of the vectors: PCR i is the hash of the byte i.
func vectorPCRs() (pcrs [10][32]byte) {
	for i := range pcrs {
		pcrs[i] = sha256.Sum256([]byte{byte(i)})
	}
	return pcrs
}

// TestBootAggregateVectors holds both of the kernel's rules against what evmctl
// 1.4 (ima-evm-utils) says of the same registers: "evmctl ima_boot_aggregate
// --pcrs sha1,FILE --pcrs sha256,FILE". The SHA-1 rule is nothing this package
// offers; it is here to tell the two apart.
func TestBootAggregateVectors(t *testing.T) {
	const (
		evmctlSHA1   = "fb214c51a3884a3df237e2066c32ae4f92f04c8d"                         // PCRs 0 to 7
		evmctlSHA256 = "efbbac93ea2214b91bc2512d54c6b2a7237d60ac7263c64e1df4fce8f605f229" // PCRs 0 to 9
	)
	if got := BootAggregate(vectorPCRs()); hex.EncodeToString(got[:]) != evmctlSHA256 {
		t.Errorf("SHA-256 bank: %x", got)
	}
	var bank []byte
	for i := range 8 {
		pcr := sha1.Sum([]byte{byte(i)})
		bank = append(bank, pcr[:]...)
	}
	if got := sha1.Sum(bank); hex.EncodeToString(got[:]) != evmctlSHA1 {
		t.Errorf("SHA-1 bank: %x", got)
	}
	var eight [32]byte
	h := sha256.New()
	for _, v := range vectorPCRs() {
		if eight = [32]byte(h.Sum(nil)); v == vectorPCRs()[8] {
			break
		}
		h.Write(v[:])
	}
	l, err := Parse(fakeima.Log([]fakeima.Entry{{PCR: PCR, Template: "ima-ng", Algorithm: "sha256", Digest: eight[:], Name: "boot_aggregate"}}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Judge(new(Rules), BootAggregate(vectorPCRs())); code(err) != "att.ima.aggregate" {
		t.Errorf("the SHA-1 bank's rule in a SHA-256 bank: %v", err)
	}
}

// TestReplayVector is "evmctl ima_measurement --ignore-violations --pcrs
// sha256,FILE", which calculates PCR 10 of the SHA-256 bank from the same list
// with SHA-1 digests.
func TestReplayVector(t *testing.T) {
	const evmctl = "0f612d7a7d98e6e549baa4d28fd27985454124ebef652475ededab2dea746881"
	entries := append(fakeima.Node(vectorPCRs()), fakeima.Buffer("kexec-cmdline", []byte("SIMULATED line")), fakeima.Changed("/tmp/x"))
	l, err := Parse(fakeima.Log(entries))
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Replay([32]byte{}); hex.EncodeToString(got[:]) != evmctl {
		t.Errorf("PCR 10 is %x", got)
	}
	if fakeima.Register([32]byte{}, entries) != l.Replay([32]byte{}) {
		t.Error("the maker of lists extends otherwise")
	}
}

// TestKernelLines reads lines that real kernels printed: their template digests
// hold, so the data that is hashed here is the data that was hashed there.
func TestKernelLines(t *testing.T) {
	lines, err := os.ReadFile("testdata/keylime.txt")
	if err != nil {
		t.Fatal(err)
	}
	var entries []fakeima.Entry
	for _, line := range strings.Split(strings.TrimSpace(string(lines)), "\n") {
		f := append(strings.Fields(line), "")
		algorithm, digest, _ := strings.Cut(f[3], ":")
		e := fakeima.Entry{PCR: PCR, Template: f[2], Algorithm: algorithm, Digest: unhex(t, digest), Name: f[4], Extra: unhex(t, f[5])}
		if got := fakeima.LegacyLog([]fakeima.Entry{e})[4:24]; hex.EncodeToString(got) != f[1] {
			t.Errorf("%s: template digest %x, the kernel's is %s", e.Name, got, f[1])
		}
		entries = append(entries, e)
	}
	converted, err := Convert(fakeima.LegacyLog(entries))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(converted, fakeima.Log(entries)) {
		t.Error("Convert makes another list")
	}
	l, err := Parse(converted)
	if err != nil || len(l.Entries) != len(entries) {
		t.Fatalf("%d entries, %v", len(l.Entries), err)
	}
	for i, e := range l.Entries {
		want := entries[i]
		if e.Name != want.Name || string(e.Digest()) != want.Algorithm+":"+hex.EncodeToString(want.Digest) ||
			e.Template == "ima-sig" && e.Signature != string(want.Extra) {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
}

const (
	rsaPEM = `-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAy3IyiVqeQqN5t9pqEvwG
9QfUV+ljLo88pCPT/WEpPVVWQzphZlpHu0WjoE0aMFOaNLwlo2rj1m4ps4bHCG85
RCRG0QAOZYW0FgsgOpzWtuoBXR6Z0DjP2exGiO9U9sCRgRaS3fMPlIoDoamitopj
IchiCDktPc8ZdOOwah2YV3l7mR3yIsVzKZPU3YmXBuo5Up+p0XA2ZFq6XOZcQ5LG
1u0QOf5vSsyeji4TpjBFlfwrat0uqUUPfUTvCNCAojg++mNpRfujMAYZYVrNgFWW
zUjU6wyxbF3mNfqgrES8c/yNh5CkWGy1W2eoYj4wFTPZjMLP7YlNjpylKJY7pqZw
rwIDAQAB
-----END PUBLIC KEY-----`
	ecPEM = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEWxu21HgIC4K0iDmzn63TGQ2IGwJm
wMywwtgAkYGWvJPIuu+/99GAps7pEQ8ky4Y1397Dzy6IyVpLuUwa9EBf3w==
-----END PUBLIC KEY-----`
	signed = "SIMULATED signed module"
)

// TestSignatureVectors verifies what "evmctl ima_sign --hashalgo ALG --sigfile"
// (1.4) made of a file with the content above, under keys that were thrown away.
func TestSignatureVectors(t *testing.T) {
	rsaKey, ecKey := publicKey(t, rsaPEM), publicKey(t, ecPEM)
	rules := &Rules{Signers: signers(t, rsaKey, ecKey)}
	if rules.Signers[KeyID{0x83, 0x05, 0xa2, 0xd9}] == nil || rules.Signers[KeyID{0x6d, 0x12, 0x33, 0xf3}] == nil {
		t.Fatalf("key ids differ from evmctl's: %x", rules.Signers)
	}
	sum := map[string]func() []byte{
		"sha1":   func() []byte { h := sha1.Sum([]byte(signed)); return h[:] },
		"sha256": func() []byte { h := sha256.Sum256([]byte(signed)); return h[:] },
		"sha384": func() []byte { return sum(crypto.SHA384, signed) },
		"sha512": func() []byte { return sum(crypto.SHA512, signed) },
	}
	for _, v := range []struct {
		name, algorithm, signature string
		good                       bool
	}{
		{"RSA", "sha256", "0302048305a2d901009804ebbcec3a3a4595fc5b73fc9ae18b066b5577da31d6765979bff8bb555934738da1bec066fc8bf9b0e79c57a4ac95e894680e5dde0684e8d95f7b1285848b9c49b5efb20340f7c161ca1b1bac75cea163e8989090edfda54ed908b99525326471424c7fadc101938b51daa5156c8df4b7161df5a16764cc87480ff6a531a5fa9e7c725c48852f8a34d8d9f6e838ff980aea72523d6210d0f067db1c9c62b6f2b24f5374e2f8a8c30e8ba5f61b7e641285121b6f0d704673c112872988895ced6af7bdec369024ff862820dd6ae8f80006d7194bb77d22c2528bf2916a51a40803abb49627b9836b51e472adaebed72bec95dc5fdea314a11dcafd1e7b2501", true},
		{"ECDSA", "sha256", "0302046d1233f3004730450220168e39bbf550a5035faf224d9e5fc5ebddd5028df3bc0b44437bb110a1f6f772022100a57a0bc92c889963b060989d41d0ef4aeffb2723decf230c0752cea326c4623f", true},
		{"ECDSA", "sha384", "0302056d1233f30047304502207633195dddb3f7f33e7b79fd58dda85fa59a7eea4de174aecfb70b88a5ace230022100800cf8e17ec96baec1e612448a43daa05236ea2051be61aa372073e599b2e46c", true},
		{"ECDSA", "sha512", "0302066d1233f3004630440220160af46ecc89196167dd5be57505006883acc3a319221d657cc4887dc4774edb02200bf09133a661545e0f65d284923ee44322448c376213f1d17703ebb698571ecf", true},
		{"ECDSA, too weak a hash", "sha1", "0302026d1233f300453043021f14485a74f39b6b04ac446a864450d685a2c9993d4a2f24ede0b8ccdf8741710220186809d31fc4f1283f890c2f440c3a0673727a2992eeaaa563dd469abb2e72d1", false},
	} {
		t.Run(v.name+" "+v.algorithm, func(t *testing.T) {
			entry := fakeima.Entry{PCR: PCR, Template: "ima-sig", Algorithm: v.algorithm, Digest: sum[v.algorithm](), Name: "/m.ko", Extra: unhex(t, v.signature)}
			if got := growth(t, rules, entry); (got == "") != v.good {
				t.Errorf("%q, want good: %t", got, v.good)
			}
			stride := 1
			if testing.Short() {
				stride = 31
			}
			for bit := 0; bit < 8*len(entry.Extra); bit += stride {
				entry.Extra[bit/8] ^= 1 << (bit % 8)
				if got := growth(t, rules, entry); got == "" {
					t.Errorf("accepted with bit %d of byte %d flipped", bit%8, bit/8)
				}
				entry.Extra[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
}

func publicKey(t *testing.T, text string) crypto.PublicKey {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signers(t *testing.T, keys ...crypto.PublicKey) map[KeyID]crypto.PublicKey {
	t.Helper()
	out := map[KeyID]crypto.PublicKey{}
	for _, k := range keys {
		id, err := KeyIDOf(k)
		if err != nil {
			t.Fatal(err)
		}
		out[id] = k
	}
	return out
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
