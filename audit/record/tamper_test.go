// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/audit/record"
)

func decode(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func compact(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(s)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestBitFlips: every bit of a token. The list of meaningless ones is empty.
func TestBitFlips(t *testing.T) {
	key := testKey("a")
	token := sign(t, newRecord(t, goldenParams()), key)
	for i := range token {
		for bit := range 8 {
			mutant := bytes.Clone(token)
			mutant[i] ^= 1 << bit
			if _, err := record.Verify(mutant, public(key)); err == nil {
				t.Fatalf("byte %d, bit %d: accepted", i, bit)
			}
		}
	}
}

// TestLengths: every prefix, and bytes added anywhere.
func TestLengths(t *testing.T) {
	key := testKey("a")
	token := sign(t, newRecord(t, goldenParams()), key)
	for i := range token {
		if _, err := record.Verify(token[:i], public(key)); err == nil {
			t.Fatalf("accepted %d bytes of %d", i, len(token))
		}
	}
	for _, add := range []string{"\n", "\r\n", " ", "=", "==", ".", "A", "\x00"} {
		for i := 0; i <= len(token); i += 7 {
			if _, err := record.Verify([]byte(string(token[:i])+add+string(token[i:])), public(key)); err == nil {
				t.Fatalf("accepted %q at byte %d", add, i)
			}
		}
		if _, err := record.Verify([]byte(string(token)+add), public(key)); err == nil {
			t.Fatalf("accepted %q at the end", add)
		}
	}
	_, err := record.Verify(make([]byte, 64<<20), public(key))
	refused(t, err, record.CodeFormat)
}

// forge signs any header and claims.
func forge(key ed25519.PrivateKey, header, claims string) []byte {
	signed := encode(header) + "." + encode(claims)
	return []byte(signed + "." + encode(string(ed25519.Sign(key, []byte(signed)))))
}

func TestHeaders(t *testing.T) {
	key := testKey("a")
	r := newRecord(t, goldenParams())
	claims, kid := string(r.Claims()), r.KeyID
	good := `{"alg":"EdDSA","kid":"` + kid + `","typ":"eat+jwt"}`
	if _, err := record.Verify(forge(key, good, claims), public(key)); err != nil {
		t.Fatal(err)
	}
	for name, header := range map[string]string{
		"alg none":         `{"alg":"none","kid":"` + kid + `","typ":"eat+jwt"}`,
		"alg HS256":        `{"alg":"HS256","kid":"` + kid + `","typ":"eat+jwt"}`,
		"alg Ed25519":      `{"alg":"Ed25519","kid":"` + kid + `","typ":"eat+jwt"}`,
		"no kid":           `{"alg":"EdDSA","typ":"eat+jwt"}`,
		"no typ":           `{"alg":"EdDSA","kid":"` + kid + `"}`,
		"typ JWT":          `{"alg":"EdDSA","kid":"` + kid + `","typ":"JWT"}`,
		"another order":    `{"typ":"eat+jwt","alg":"EdDSA","kid":"` + kid + `"}`,
		"space":            `{"alg":"EdDSA", "kid":"` + kid + `","typ":"eat+jwt"}`,
		"alg twice":        `{"alg":"EdDSA","alg":"EdDSA","kid":"` + kid + `","typ":"eat+jwt"}`,
		"jwk":              `{"alg":"EdDSA","jwk":{},"kid":"` + kid + `","typ":"eat+jwt"}`,
		"jku":              `{"alg":"EdDSA","jku":"https://example.org/","kid":"` + kid + `","typ":"eat+jwt"}`,
		"crit":             `{"alg":"EdDSA","crit":["b64"],"kid":"` + kid + `","typ":"eat+jwt"}`,
		"kid is a path":    `{"alg":"EdDSA","kid":"../../../../dev/null","typ":"eat+jwt"}`,
		"kid with a quote": `{"alg":"EdDSA","kid":"` + kid[:42] + `"","typ":"eat+jwt"}`,
		"empty":            ``,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := record.Verify(forge(key, header, claims), public(key))
			refused(t, err, record.CodeFormat)
		})
	}
	t.Run("another key", func(t *testing.T) {
		_, err := record.Verify(forge(key, good, claims), public(testKey("b")))
		refused(t, err, record.CodeKey)
	})
	t.Run("another key under this name", func(t *testing.T) {
		_, err := record.Verify(forge(testKey("b"), good, claims), public(key))
		refused(t, err, record.CodeSignature)
	})
	t.Run("no key", func(t *testing.T) {
		_, err := record.Verify(forge(key, good, claims), nil)
		refused(t, err, record.CodeKey)
	})
	t.Run("no signature", func(t *testing.T) {
		_, err := record.Verify([]byte(encode(good)+"."+encode(claims)+"."), public(key))
		refused(t, err, record.CodeFormat)
	})
	t.Run("claims of another record", func(t *testing.T) {
		p := goldenParams()
		p.Name = "Somebody Else"
		parts := strings.Split(string(forge(key, good, claims)), ".")
		_, err := record.Verify([]byte(parts[0]+"."+encode(string(newRecord(t, p).Claims()))+"."+parts[2]), public(key))
		refused(t, err, record.CodeSignature)
	})
}

// TestClaims: edits that whoever holds the key could sign. A record has one
// spelling and does not contradict itself.
func TestClaims(t *testing.T) {
	claims := string(newRecord(t, goldenParams()).Claims())
	for name, edit := range map[string][2]string{
		"other profile":        {`rats/ear#04`, `rats/ear#05`},
		"better overall":       {`{"ear_status":"contraindicated"`, `{"ear_status":"affirming"`},
		"better node":          {`"ear_status":"warning"`, `"ear_status":"affirming"`},
		"verdict alone":        {`"verdict":"failed"`, `"verdict":"verified"`},
		"verdict unknown":      {`"verdict":"failed"`, `"verdict":"fine"`},
		"failed without code":  {`"code":"att.tdx.status",`, ``},
		"code unknown":         {`att.tdx.status`, `att.tdx.state`},
		"gaps gone":            {`"gaps":[`, `"gapz":[`},
		"gaps none":            {`"gaps":["chip unknown: signed by the VLEK of \"example\"","run time: no list of what ran since boot"],`, `"gaps":[],`},
		"gap empty":            {`"gaps":[`, `"gaps":["",`},
		"digest upper case":    {`"statement_sha256":"b`, `"statement_sha256":"B`},
		"digest short":         {`"statement_sha256":"b`, `"statement_sha256":"`},
		"digest zero":          {`"checkpoint_sha256":"`, `"checkpoint_sha256":"` + strings.Repeat("0", 64) + `","x":"`},
		"other policy":         {`ni:///sha-256;`, `ni:///sha-256;A`},
		"vector worse":         {`"executables":3`, `"executables":96`},
		"vector out of range":  {`"executables":3`, `"executables":128`},
		"vector zero":          {`"executables":3`, `"executables":0`},
		"vector order":         {`"executables":3,"hardware":-34`, `"hardware":-34,"executables":3`},
		"vector empty":         {`{"hardware":96}`, `{}`},
		"vector unknown":       {`{"hardware":96}`, `{"hardness":96}`},
		"member twice":         {`"epoch":41`, `"epoch":41,"epoch":41`},
		"member unknown":       {`"epoch":41`, `"epoch":41,"era":1`},
		"member order":         {`{"build":"v0.3.0 go1.26.8 linux/amd64","developer":"https://github.com/sotto-project/sotto"}`, `{"developer":"https://github.com/sotto-project/sotto","build":"v0.3.0 go1.26.8 linux/amd64"}`},
		"epoch float":          {`"epoch":41`, `"epoch":41.0`},
		"epoch exponent":       {`"epoch":41`, `"epoch":4e1`},
		"epoch leading zero":   {`"epoch":41`, `"epoch":041`},
		"epoch negative":       {`"epoch":41`, `"epoch":-41`},
		"epoch huge":           {`"epoch":41`, `"epoch":99999999999999999999`},
		"epoch zero":           {`"epoch":41`, `"epoch":0`},
		"epoch string":         {`"epoch":41`, `"epoch":"41"`},
		"iat zero":             {`"iat":1790856030`, `"iat":0`},
		"iat negative":         {`"iat":1790856030`, `"iat":-1`},
		"space":                {`"epoch":41`, `"epoch": 41`},
		"space before":         {`{"ear_status"`, ` {"ear_status"`},
		"escape":               {`Example Audits`, `Ex\u0061mple Audits`},
		"escape of a slash":    {`linux/amd64`, `linux\/amd64`},
		"control":              {`Example Audits`, "Example\nAudits"},
		"bidi":                 {`Example Audits`, "Example\u202eAudits"},
		"not UTF-8":            {`Example Audits`, "Example\xff"},
		"empty name":           {`Example Audits`, ``},
		"long name":            {`Example Audits`, strings.Repeat("a", 513)},
		"endless name":         {`Example Audits`, strings.Repeat("a", 5000)},
		"simulated false":      {`"platform":"tdx",`, `"platform":"tdx","simulated":false,`},
		"platform unknown":     {`"platform":"tdx"`, `"platform":"sgx"`},
		"tier where it failed": {`"tier":0`, `"tier":1`},
		"tier four":            {`"tier":2`, `"tier":4`},
		"nonce short":          {`"eat_nonce":"`, `"eat_nonce":"A`},
		"nonce zero":           {`"eat_profile":"tag:github`, `"eat_nonce":"` + strings.Repeat("A", 43) + `","eat_profile":"tag:github`},
		"own profile":          {`"eat_profile":"tag:github`, `"eat_profile":"tag:gitlab`},
		"leftover":             {`}}`, `}}}`},
		"null":                 {`"epoch":41`, `"epoch":null`},
	} {
		t.Run(name, func(t *testing.T) {
			mutant := strings.Replace(claims, edit[0], edit[1], 1)
			if mutant == claims {
				t.Fatalf("%q is not in the claims", edit[0])
			}
			_, err := record.Parse([]byte(mutant))
			refused(t, err, record.CodeFormat)
		})
	}
	t.Run("nodes", func(t *testing.T) {
		head, rest, _ := strings.Cut(claims, `"submods":{`)
		between := strings.Index(rest, `}},"`) + 2 // ends the first node
		end := strings.Index(rest, `}}},"`) + 2    // ends the second
		x, y, tail := rest[:between], rest[between+1:end], rest[end:]
		head += `"submods":{`
		if _, err := record.Parse([]byte(head + x + "," + y + tail)); err != nil {
			t.Fatalf("this test no longer finds the nodes: %v", err)
		}
		for name, nodes := range map[string]string{"swapped": y + "," + x, "one twice": x + "," + x, "none": ""} {
			t.Run(name, func(t *testing.T) {
				_, err := record.Parse([]byte(head + nodes + tail))
				refused(t, err, record.CodeFormat)
			})
		}
	})
	t.Run("every prefix", func(t *testing.T) {
		for i := range claims {
			if _, err := record.Parse([]byte(claims[:i])); err == nil {
				t.Fatalf("accepted %d bytes", i)
			}
		}
	})
}

// FuzzParse: what is accepted is printed as it was; nothing panics.
func FuzzParse(f *testing.F) {
	claims := newRecord(f, goldenParams()).Claims()
	f.Add(claims)
	f.Add(manyNodes(f, 3).Claims())
	f.Add([]byte(`{"ear_status":"none"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := record.Parse(in)
		if err != nil {
			if r != nil {
				t.Error("a record and an error")
			}
			return
		}
		if !bytes.Equal(r.Claims(), in) {
			t.Errorf("accepted %s\nprinted  %s", in, r.Claims())
		}
		r.Rows()
	})
}

// FuzzVerify: only the token itself is accepted.
func FuzzVerify(f *testing.F) {
	key := testKey("a")
	token := sign(f, newRecord(f, goldenParams()), key)
	f.Add(token)
	f.Add([]byte("a.b.c"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := record.Verify(in, public(key)); (err == nil) != bytes.Equal(in, token) {
			t.Errorf("%v for %s", err, in)
		}
		record.Signer(in)
	})
}

func FuzzKeys(f *testing.F) {
	private, _ := record.MarshalKey(testKey("a"))
	pub, _ := record.MarshalPublicKey(public(testKey("a")))
	f.Add(private)
	f.Add(pub)
	f.Fuzz(func(t *testing.T, in []byte) {
		if k, err := record.ParseKey(in); err == nil {
			if out, _ := record.MarshalKey(k); !bytes.Equal(out, in) {
				t.Error("another spelling was accepted")
			}
		}
		if k, err := record.ParsePublicKey(in); err == nil {
			if out, _ := record.MarshalPublicKey(k); !bytes.Equal(out, in) {
				t.Error("another spelling was accepted")
			}
		}
	})
}

func TestKeys(t *testing.T) {
	key := testKey("a")
	private, err := record.MarshalKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := record.MarshalPublicKey(public(key))
	if err != nil {
		t.Fatal(err)
	}
	if back, err := record.ParseKey(private); err != nil || !back.Equal(key) {
		t.Errorf("private key: %v", err)
	}
	if back, err := record.ParsePublicKey(pub); err != nil || !back.Equal(public(key)) {
		t.Errorf("public key: %v", err)
	}
	for name, in := range map[string]string{
		"empty": "", "text before": "x\n" + string(private), "text after": string(private) + "x", "twice": string(private) + string(private),
		"public for private": string(pub), "cut": string(private[:40]), "without line end": string(private[:len(private)-1]),
		"CRLF": strings.ReplaceAll(string(private), "\n", "\r\n"), "header": strings.Replace(string(private), "-----\n", "-----\nA: b\n\n", 1),
	} {
		t.Run(name, func(t *testing.T) {
			k, err := record.ParseKey([]byte(in))
			refused(t, err, record.CodeKey)
			if k != nil || err != nil && strings.Contains(err.Error(), encode(string(key.Seed()))[:8]) {
				t.Error("something of the key came back")
			}
			if name != "public for private" {
				_, err = record.ParsePublicKey([]byte(in))
				refused(t, err, record.CodeKey)
			}
		})
	}
	_, err = record.MarshalKey(nil)
	refused(t, err, record.CodeKey)
	_, err = record.MarshalPublicKey(nil)
	refused(t, err, record.CodeKey)
}

func BenchmarkVerify(b *testing.B) {
	key := testKey("a")
	for _, n := range []int{1, 1000, record.MaxNodes} {
		token := sign(b, manyNodes(b, n), key)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := record.Verify(token, public(key)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
