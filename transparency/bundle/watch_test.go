// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bundle_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/bundle"
	rt "github.com/sotto-project/sotto/transparency/release/releasetest"
)

// logged makes an instance with one entry, and returns the entry and the log's
// checkpoint.
func logged(t testing.TB) (w *rt.World, entry, checkpoint []byte) {
	t.Helper()
	w = rt.New(time.Now().Add(-time.Hour))
	var b struct {
		Material struct {
			Entries []struct {
				Body  []byte                                         `json:"canonicalizedBody"`
				Proof struct{ Checkpoint struct{ Envelope string } } `json:"inclusionProof"`
			} `json:"tlogEntries"`
		} `json:"verificationMaterial"`
	}
	if err := json.Unmarshal(w.Keyless([]byte("x"), rt.WorkflowAt(rt.Repository, "refs/tags/v1.0.0"), time.Now()), &b); err != nil {
		t.Fatal(err)
	}
	return w, b.Material.Entries[0].Body, []byte(b.Material.Entries[0].Proof.Checkpoint.Envelope)
}

func code(err error) transparency.Code {
	if e := bundle.AsError(err); e != nil {
		return e.Code
	}
	return ""
}

func TestHeadOfALog(t *testing.T) {
	w, body, note := logged(t)
	r, err := bundle.ReadRoot(w.TrustedRoot())
	if err != nil {
		t.Fatal(err)
	}
	h, err := r.Head(note)
	if err != nil || h.Size != 1 || h.Root != sha256.Sum256(append([]byte{0}, body...)) || h.Log != "https://"+rt.Host {
		t.Fatalf("%+v, %v", h, err)
	}
	_, _, stranger := logged(t)
	for name, c := range map[string]struct {
		note []byte
		want transparency.Code
	}{
		"AT-46 another log's key":  {stranger, bundle.CodeSignature},
		"AT-46 another size":       {bytes.Replace(note, []byte("\n1\n"), []byte("\n2\n"), 1), bundle.CodeSignature},
		"AT-46 another origin":     {bytes.ReplaceAll(note, []byte(rt.Host), []byte("log.example")), bundle.CodeSignature},
		"no signature":             {note[:bytes.Index(note, []byte("\n\n"))+2], bundle.CodeFormat},
		"empty":                    {nil, bundle.CodeFormat},
		"too long":                 {append(bytes.Clone(note), bytes.Repeat([]byte("x"), 1<<16)...), bundle.CodeFormat},
		"base64 of another manner": {bytes.TrimRight(note, "=\n"), bundle.CodeFormat},
	} {
		if h, err := r.Head(c.note); h != nil || code(err) != c.want {
			t.Errorf("%s: %+v, %v; want %s", name, h, err, c.want)
		}
	}
	for name, b := range map[string][]byte{"empty": nil, "no log": []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`), "no JSON": []byte("x")} {
		if r, err := bundle.ReadRoot(b); r != nil || code(err) != bundle.CodeTrust {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEntriesOfALog(t *testing.T) {
	w, body, _ := logged(t)
	r, err := bundle.ReadRoot(w.TrustedRoot())
	if err != nil {
		t.Fatal(err)
	}
	e, err := bundle.ParseEntry(body)
	if err != nil || len(e.Signers) != 1 || e.Signers[0].Cert == nil {
		t.Fatalf("%+v, %v", e, err)
	}
	if name, issuer, err := r.Identity(e.Signers[0].Cert); err != nil || name != rt.Workflow+"@refs/tags/v1.0.0" || issuer != rt.Issuer {
		t.Errorf("%q by %q, %v", name, issuer, err)
	}
	stranger, _, _ := logged(t)
	if r, err = bundle.ReadRoot(stranger.TrustedRoot()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Identity(e.Signers[0].Cert); code(err) != bundle.CodeIdentity {
		t.Errorf("AT-43 an authority that nobody trusts: %v", err)
	}
	edit := func(old, new string) []byte { return []byte(strings.Replace(string(body), old, new, 1)) }
	for name, c := range map[string]struct {
		body []byte
		want transparency.Code
	}{
		"another version":     {edit(`"0.0.2"`, `"0.0.3"`), bundle.CodeVersion},
		"another kind":        {edit(`"hashedrekord"`, `"dsse"`), bundle.CodeVersion},
		"another hash":        {edit("SHA2_256", "SHA2_512"), bundle.CodeVersion},
		"a digest cut short":  {edit(`"digest":"`, `"digest":"AAAA","x":"`), bundle.CodeVersion},
		"another signature":   {edit(`"content":"`, `"content":"AAAA`), bundle.CodeSignature},
		"no verifier":         {edit("x509Certificate", "x"), bundle.CodeFormat},
		"no certificate":      {edit(`"x509Certificate":{"rawBytes":"`, `"x509Certificate":{"rawBytes":"AAAA`), bundle.CodeFormat},
		"a key as well":       {edit(`"x509Certificate"`, `"publicKey":{"rawBytes":"AAAA"},"x509Certificate"`), bundle.CodeFormat},
		"not JSON":            {body[1:], bundle.CodeFormat},
		"empty":               {nil, bundle.CodeFormat},
		"no signature at all": {[]byte(`{"apiVersion":"0.0.2","kind":"dsse","spec":{"dsseV002":{"payloadHash":{"algorithm":"SHA2_256","digest":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}}}`), bundle.CodeFormat},
	} {
		if e, err := bundle.ParseEntry(c.body); e != nil || code(err) != c.want {
			t.Errorf("%s: %+v, %v; want %s", name, e, err, c.want)
		}
	}
}

// FuzzParseEntry: what a log holds is anybody's bytes. An entry has a signer, or
// a reason why it is none.
func FuzzParseEntry(f *testing.F) {
	_, body, _ := logged(f)
	f.Add(body)
	f.Add([]byte(`{"apiVersion":"0.0.2","kind":"dsse","spec":{"dsseV002":{"payloadHash":{"algorithm":"SHA2_256","digest":"AA=="},"signatures":[{}]}}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		e, err := bundle.ParseEntry(in)
		if (e == nil) != (code(err) != "") || e != nil && len(e.Signers) == 0 {
			t.Errorf("%+v, %v", e, err)
		}
	})
}
