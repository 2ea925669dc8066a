// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bundle_test

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency/bundle"
)

var update = flag.Bool("update", false, "write testdata/request.json")

// TestPiece: one JSON document in, one out.
func TestPiece(t *testing.T) {
	s := newSigstore()
	request := func(change func(object)) []byte {
		r := object{"bundle": b64(printed(t, s.bundle(s.goodSpec()))), "trusted_root": b64(s.trustedRoot()), "identity": identity, "issuer": issuer,
			"artifact_sha256": hex.EncodeToString(artifact[:]), "time": s.now.Add(time.Hour).Format(time.RFC3339)}
		if change != nil {
			change(r)
		}
		return printed(t, r)
	}
	if *update {
		if err := os.WriteFile("testdata/request.json", append(request(nil), '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	keyed := func(r object) {
		sp := s.goodSpec()
		sp.key = newKey()
		delete(r, "identity")
		delete(r, "issuer")
		r["bundle"], r["public_key"] = b64(printed(t, s.bundle(sp))), b64(must(x509.MarshalPKIXPublicKey(sp.key.Public())))
	}
	for name, c := range map[string]struct {
		in      []byte
		exit    int
		verdict string
		code    string
	}{
		"accepted":        {request(nil), bundle.ExitAccepted, "accepted", ""},
		"saved":           {must(os.ReadFile("testdata/request.json")), bundle.ExitAccepted, "accepted", ""},
		"key":             {request(keyed), bundle.ExitAccepted, "accepted", ""},
		"AT-43 identity":  {request(func(r object) { r["identity"] = identity + "x" }), bundle.ExitRefused, "refused", "log.identity"},
		"other types":     {request(func(r object) { r["predicate_types"] = []string{"x"} }), bundle.ExitRefused, "refused", "bundle.type"},
		"other version":   {request(func(r object) { r["bundle"] = b64([]byte(`{"mediaType":"x"}`)) }), bundle.ExitUnsupported, "unsupported", "bundle.version"},
		"no bundle":       {request(func(r object) { delete(r, "bundle") }), bundle.ExitMalformed, "malformed", "piece.request"},
		"broken bundle":   {request(func(r object) { r["bundle"] = b64([]byte("{")) }), bundle.ExitMalformed, "malformed", "bundle.format"},
		"broken root":     {request(func(r object) { r["trusted_root"] = b64([]byte("{")) }), bundle.ExitMalformed, "malformed", "log.trust"},
		"no root":         {request(func(r object) { delete(r, "trusted_root") }), bundle.ExitMalformed, "malformed", "piece.request"},
		"AT-43 pattern":   {request(func(r object) { r["identity"] = ".*" }), bundle.ExitMalformed, "malformed", "log.trust"},
		"no time":         {request(func(r object) { delete(r, "time") }), bundle.ExitMalformed, "malformed", "piece.request"},
		"digest short":    {request(func(r object) { r["artifact_sha256"] = "00" }), bundle.ExitMalformed, "malformed", "piece.request"},
		"key broken":      {request(func(r object) { keyed(r); r["public_key"] = "AAAA" }), bundle.ExitMalformed, "malformed", "piece.request"},
		"unknown member":  {request(func(r object) { r["more"] = 1 }), bundle.ExitMalformed, "malformed", "piece.request"},
		"another case":    {request(func(r object) { r["Identity"] = "x" }), bundle.ExitMalformed, "malformed", "piece.request"},
		"wrong kind":      {request(func(r object) { r["identity"] = 1 }), bundle.ExitMalformed, "malformed", "piece.request"},
		"member twice":    {[]byte(`{"identity":"a",` + string(request(nil)[1:])), bundle.ExitMalformed, "malformed", "piece.request"},
		"two documents":   {append(request(nil), "{}"...), bundle.ExitMalformed, "malformed", "piece.request"},
		"empty":           {nil, bundle.ExitMalformed, "malformed", "piece.request"},
		"a list":          {[]byte("[]"), bundle.ExitMalformed, "malformed", "piece.request"},
		"AT-62 too long":  {make([]byte, 64<<20), bundle.ExitMalformed, "malformed", "piece.request"},
		"AT-62 deep":      {[]byte(strings.Repeat(`{"bundle":`, 1<<17)), bundle.ExitMalformed, "malformed", "piece.request"},
		"AT-62 in bundle": {request(func(r object) { r["bundle"] = b64(make([]byte, bundle.MaxBundle+1)) }), bundle.ExitMalformed, "malformed", "bundle.format"},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			out, exit := bundle.Piece(c.in)
			var r struct {
				Verdict, Code, Detail string
				Claims                map[string]any
			}
			if err := json.Unmarshal(out, &r); err != nil || exit != c.exit || r.Verdict != c.verdict || r.Code != c.code || out[len(out)-1] != '\n' {
				t.Errorf("exit %d: %s", exit, out)
			}
			if (r.Claims == nil) == (exit == 0) {
				t.Errorf("claims with exit %d: %s", exit, out)
			}
			t.Log(time.Since(start))
		})
	}
}

func FuzzPiece(f *testing.F) {
	f.Add(must(os.ReadFile("testdata/request.json")))
	f.Add([]byte(`{"bundle":""}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		out, exit := bundle.Piece(in)
		if !json.Valid(out) || exit == bundle.ExitInternal {
			t.Errorf("exit %d: %s", exit, out)
		}
	})
}

// FuzzVerify mutates bundles inside a valid frame: requests are mostly base64.
func FuzzVerify(f *testing.F) {
	var saved struct {
		Bundle      []byte
		TrustedRoot []byte `json:"trusted_root"`
		Time        time.Time
	}
	if err := json.Unmarshal(must(os.ReadFile("testdata/request.json")), &saved); err != nil {
		f.Fatal(err)
	}
	o := bundle.Options{TrustedRoot: saved.TrustedRoot, Identity: identity, Issuer: issuer, ArtifactSHA256: artifact, PredicateTypes: []string{bundle.DefaultPredicateType}}
	f.Add(saved.Bundle)
	f.Add(must(os.ReadFile("testdata/workflow.json")))
	f.Fuzz(func(t *testing.T, in []byte) {
		res, err := bundle.Verify(in, o, saved.Time)
		if (res == nil) == (err == nil) || err != nil && bundle.AsError(err) == nil {
			t.Errorf("%v, %v", res, err)
		}
		if res != nil && res.Identity != identity {
			t.Error("accepted another identity")
		}
	})
}
