// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bundle_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorv1 "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/bundle"
)

func refused(t *testing.T, err error, want transparency.Code) {
	t.Helper()
	e := bundle.AsError(err)
	if e == nil || e.Code != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func verify(t *testing.T, s *sigstore, b object) (*bundle.Result, error) {
	t.Helper()
	return bundle.Verify(printed(t, b), s.options(), s.now.Add(time.Hour))
}

func TestVerify(t *testing.T) {
	s := newSigstore()
	for name, change := range map[string]func(*spec){
		"tiles":               func(*spec) {},
		"first version":       func(sp *spec) { sp.v1, sp.stamped = true, nil },
		"both times":          func(sp *spec) { sp.v1 = true },
		"proof, no promise":   func(sp *spec) { sp.v1, sp.withoutSET = true, true },
		"no first extensions": func(sp *spec) { sp.extV1 = nil },
		"last leaf":           func(sp *spec) { sp.index = 7 },
	} {
		t.Run(name, func(t *testing.T) {
			sp := s.goodSpec()
			change(&sp)
			res, err := verify(t, s, s.bundle(sp))
			if err != nil {
				t.Fatal(err)
			}
			want := bundle.Source{Repository: repo, Ref: ref, Commit: commit, Trigger: "push", Runner: "github-hosted"}
			if res.Identity != identity || res.Issuer != issuer || res.Source != want || !slices.Equal(res.Subjects, []string{"sotto"}) ||
				string(res.Statement) != sp.statement || res.TreeSize != 8 || res.LogIndex != uint64(sp.index) || res.Log != logURL || !res.Signed.Equal(sp.logged) {
				t.Errorf("%+v", res)
			}
		})
	}
	t.Run("key", func(t *testing.T) {
		sp, o := s.goodSpec(), s.options()
		sp.key = newKey()
		o.Identity, o.Issuer, o.PublicKey = "", "", sp.key.Public()
		for _, v1 := range []bool{false, true} {
			sp.v1 = v1
			b := printed(t, s.bundle(sp))
			res, err := bundle.Verify(b, o, s.now.Add(time.Hour))
			if err != nil || res.Identity != "" || res.PredicateType != bundle.DefaultPredicateType {
				t.Errorf("%+v, %v", res, err)
			}
			_, err = bundle.Verify(b, s.options(), s.now.Add(time.Hour))
			refused(t, err, bundle.CodeIdentity)
			other := o
			other.PublicKey = newKey().Public()
			if _, err = bundle.Verify(b, other, s.now.Add(time.Hour)); err == nil {
				t.Error("accepted under another key")
			}
		}
		_, err := bundle.Verify(printed(t, s.bundle(s.goodSpec())), o, s.now.Add(time.Hour))
		refused(t, err, bundle.CodeIdentity)
	})
	t.Run("address", func(t *testing.T) { // a person's certificate: no workflow, no further extensions
		sp, o := s.goodSpec(), s.options()
		sp.name, sp.ext, sp.extV1 = "spiffe://example.org/signer", map[int]string{8: "https://issuer.example"}, nil
		o.Identity, o.Issuer = sp.name, "https://issuer.example"
		if _, err := bundle.Verify(printed(t, s.bundle(sp)), o, s.now.Add(time.Hour)); err != nil {
			t.Error(err)
		}
	})
}

// TestRecorded: bundles of the public instance, under its roots.
func TestRecorded(t *testing.T) {
	read := func(name string) []byte { return must(os.ReadFile("testdata/" + name)) }
	o := bundle.Options{
		TrustedRoot:    read("trusted-root.json"),
		Identity:       "https://github.com/too-legit/attest/.github/workflows/integration.yml@refs/heads/main",
		Issuer:         "https://token.actions.githubusercontent.com/hammer-time",
		ArtifactSHA256: [32]byte(must(hex.DecodeString("afa27b44d43b02a9fea41d13cedc2e4016cfcf87c5dbf990e593669aa8ce286d"))),
		PredicateTypes: []string{bundle.DefaultPredicateType},
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	res, err := bundle.Verify(read("workflow.json"), o, at)
	if err != nil {
		t.Fatal(err)
	}
	if res.Log != "https://rekor.sigstore.dev" || res.Signed.Format(time.DateOnly) != "2024-09-11" || res.Source.Repository != "https://github.com/too-legit/attest" {
		t.Errorf("%+v", res)
	}
	t.Run("before it was signed", func(t *testing.T) {
		_, err := bundle.Verify(read("workflow.json"), o, at.AddDate(-2, 0, 0))
		refused(t, err, bundle.CodeTime)
	})
	t.Run("AT-43", func(t *testing.T) {
		// The name is that of the workflow that was called, the source another's.
		o := o
		o.Identity = "https://github.com/github/artifact-attestations-workflows/.github/workflows/attest.yml@09b495c3f12c7881b3cc17209a327792065c1a1d"
		o.Issuer = issuer
		o.ArtifactSHA256 = [32]byte(must(hex.DecodeString("49a3aa6075e0f49f82843e74b5baa614ad2a588e6675612bf108a0a008c5ac25")))
		_, err := bundle.Verify(read("called-workflow.json"), o, at)
		refused(t, err, bundle.CodeIdentity)
		if err != nil && !strings.Contains(err.Error(), "called from another workflow") {
			t.Error(err)
		}
	})
}

// TestIdentity: who signed is not who should have. The user pins the release
// workflow of a tag.
func TestIdentity(t *testing.T) {
	s := newSigstore()
	workflow := func(repo, ref string) func(*spec) {
		return func(sp *spec) {
			sp.name = repo + "/.github/workflows/release.yml@" + ref
			sp.ext = maps.Clone(sp.ext)
			sp.ext[9], sp.ext[18], sp.ext[12], sp.ext[14], sp.extV1 = sp.name, sp.name, repo, ref, nil
		}
	}
	ext := func(n int, value string) func(*spec) {
		return func(sp *spec) { sp.ext[n] = value }
	}
	for name, change := range map[string]func(*spec){
		"another repository":               workflow("https://github.com/sotto-project/other", ref),
		"branch instead of tag":            workflow(repo, "refs/heads/main"),
		"branch named like the tag":        workflow(repo, "refs/heads/v1.2.3"),
		"another tag":                      workflow(repo, "refs/tags/v1.2.4"),
		"fork":                             workflow("https://github.com/mallory/sotto", ref),
		"pull request":                     workflow(repo, "refs/pull/7/merge"),
		"look-alike host":                  workflow("https://github.com.example/sotto-project/sotto", ref),
		"look-alike name":                  workflow("https://github.com/sott0-project/sotto", ref),
		"another case":                     workflow("https://GitHub.com/sotto-project/sotto", ref),
		"name with user":                   workflow("https://github.com@evil.example/sotto-project/sotto", ref),
		"another workflow":                 func(sp *spec) { sp.name = strings.Replace(sp.name, "release.yml", "test.yml", 1) },
		"longer name":                      func(sp *spec) { sp.name += "0" },
		"name and signer disagree":         ext(9, strings.Replace(identity, "release", "test", 1)),
		"name and top workflow":            ext(18, strings.Replace(identity, "sotto-project/sotto", "mallory/x", 1)),
		"name and repository":              ext(12, "https://github.com/mallory/sotto"),
		"name and repository cut":          ext(12, "https://github.com/sotto-project/sot"),
		"no repository":                    func(sp *spec) { delete(sp.ext, 12) },
		"name and ref":                     ext(14, "refs/heads/main"),
		"ref cut":                          ext(14, "v1.2.3"),
		"name and commit":                  ext(13, strings.Repeat("f", 40)),
		"no commit":                        func(sp *spec) { delete(sp.ext, 13) },
		"trigger pull_request":             ext(20, "pull_request"),
		"trigger pull_request_target":      ext(20, "pull_request_target"),
		"trigger issue_comment":            ext(20, "issue_comment"),
		"no trigger":                       func(sp *spec) { delete(sp.ext, 20) },
		"another issuer":                   func(sp *spec) { sp.ext[8], sp.extV1 = "https://token.actions.example", nil },
		"issuer with a slash":              func(sp *spec) { sp.ext[8], sp.extV1 = issuer+"/", nil },
		"two issuers":                      func(sp *spec) { sp.extV1[1] = "https://accounts.google.com" },
		"first extensions: another repo":   func(sp *spec) { sp.extV1[5] = "mallory/sotto" },
		"first extensions: another ref":    func(sp *spec) { sp.extV1[6] = "refs/heads/main" },
		"first extensions: another sha":    func(sp *spec) { sp.extV1[3] = strings.Repeat("f", 40) },
		"first extensions: pull request":   func(sp *spec) { sp.extV1[2] = "pull_request" },
		"first extensions only":            func(sp *spec) { sp.ext = nil },
		"no extensions":                    func(sp *spec) { sp.ext, sp.extV1 = nil, nil },
		"two names":                        func(sp *spec) { sp.moreNames = []string{"https://example.org"} },
		"certificate of another authority": func(sp *spec) { o := newSigstore(); sp.ca, sp.caKey = o.ca, o.caKey },
		"certificate not yet valid":        func(sp *spec) { sp.certFrom = s.now.Add(2 * time.Minute) },
		"certificate expired":              func(sp *spec) { sp.certFrom = s.now.Add(-20 * time.Minute) },
	} {
		t.Run("AT-43/"+name, func(t *testing.T) {
			sp := s.goodSpec()
			change(&sp)
			_, err := verify(t, s, s.bundle(sp))
			refused(t, err, bundle.CodeIdentity)
		})
	}
	t.Run("AT-43/virtual sigstore", virtual)
	t.Run("AT-43/certificate in no log", func(t *testing.T) {
		s := *s
		s.ctLog = true
		_, err := verify(t, &s, s.bundle(s.goodSpec()))
		refused(t, err, bundle.CodeIdentity)
	})
}

// virtual: sigstore-go's own test instance gives certificates whose issuer is in
// the extension of the first version only. All else of it is in order.
func virtual(t *testing.T) {
	v := must(ca.NewVirtualSigstore())
	sp := newSigstore().goodSpec()
	e := must(v.AttestHashedRekordV2("signer@example.org", issuer, []byte(sp.statement)))
	content, sig := must(e.VerificationContent()), must(e.SignatureContent())
	raw := sig.EnvelopeContent().RawEnvelope()
	b := &protobundle.Bundle{MediaType: bundle.MediaType, VerificationMaterial: &protobundle.VerificationMaterial{
		Content:                   &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: content.Certificate().Raw}},
		TlogEntries:               []*rekorv1.TransparencyLogEntry{must(e.TlogEntries())[0].TransparencyLogEntry()},
		TimestampVerificationData: &protobundle.TimestampVerificationData{},
	}}
	for _, s := range must(e.Timestamps()) {
		b.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps = append(b.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps,
			&protocommon.RFC3161SignedTimestamp{SignedTimestamp: s})
	}
	tree := object{}
	if err := json.Unmarshal(must(protojson.Marshal(b)), &tree); err != nil {
		t.Fatal(err)
	}
	tree["dsseEnvelope"] = object{"payload": raw.Payload, "payloadType": raw.PayloadType, "signatures": []any{object{"sig": raw.Signatures[0].Sig}}}
	logs := v.RekorLogs()
	for id, l := range logs {
		l.ID = must(hex.DecodeString(id))
	}
	tr := must(root.NewTrustedRoot(root.TrustedRootMediaType01, v.FulcioCertificateAuthorities(), nil, v.TimestampingAuthorities(), logs))
	o := bundle.Options{TrustedRoot: must(tr.MarshalJSON()), Identity: "signer@example.org", Issuer: issuer, ArtifactSHA256: artifact,
		PredicateTypes: []string{bundle.DefaultPredicateType}}
	_, err := bundle.Verify(printed(t, tree), o, time.Now().Add(time.Minute))
	refused(t, err, bundle.CodeIdentity)
	if err != nil && !strings.Contains(err.Error(), "1.8") {
		t.Error(err)
	}
}

// TestLog: signed, but not in the log as it must be.
func TestLog(t *testing.T) {
	s := newSigstore()
	hashes := func(b object) []any { return at(entry(b), "inclusionProof", "hashes").([]any) }
	for name, c := range map[string]struct {
		code   transparency.Code
		spec   func(*spec)
		change func(object)
	}{
		"AT-42/signed, never logged":                  {bundle.CodeAbsent, nil, func(b object) { delete(b["verificationMaterial"].(object), "tlogEntries") }},
		"AT-42/empty list":                            {bundle.CodeAbsent, nil, func(b object) { b["verificationMaterial"].(object)["tlogEntries"] = []any{} }},
		"AT-42/log of somebody":                       {bundle.CodeAbsent, nil, func(b object) { entry(b)["logId"] = object{"keyId": b64(make([]byte, 32))} }},
		"AT-46/promise only":                          {bundle.CodeInclusion, v1, func(b object) { delete(entry(b), "inclusionProof") }},
		"AT-46/neither":                               {bundle.CodeInclusion, nil, func(b object) { delete(entry(b), "inclusionProof") }},
		"AT-46/proof of another leaf":                 {bundle.CodeInclusion, nil, func(b object) { entry(b)["inclusionProof"] = s.proof([]byte("another"), 3, false) }},
		"AT-46/v1: proof of another":                  {bundle.CodeInclusion, v1, func(b object) { entry(b)["inclusionProof"] = s.proof([]byte("another"), 3, true) }},
		"AT-46/another index":                         {bundle.CodeInclusion, nil, func(b object) { at(entry(b), "inclusionProof").(object)["logIndex"] = "2" }},
		"AT-46/another index throughout":              {bundle.CodeInclusion, nil, func(b object) { entry(b)["logIndex"] = "2"; at(entry(b), "inclusionProof").(object)["logIndex"] = "2" }},
		"AT-46/v1: another index":                     {bundle.CodeInclusion, v1, func(b object) { at(entry(b), "inclusionProof").(object)["logIndex"] = "2" }},
		"AT-46/v1: another root":                      {bundle.CodeInclusion, v1, func(b object) { at(entry(b), "inclusionProof").(object)["rootHash"] = b64(make([]byte, 32)) }},
		"AT-46/tiles entry of another, v1 checkpoint": {bundle.CodeInclusion, nil, func(b object) { mixed(s, b) }},
		"AT-46/v1 entry, tiles checkpoint":            {bundle.CodeInclusion, v1, func(b object) { reprove(s, entry(b), false) }},
		"AT-46/another size":                          {bundle.CodeInclusion, nil, func(b object) { at(entry(b), "inclusionProof").(object)["treeSize"] = "7" }},
		"AT-46/index beyond size":                     {bundle.CodeInclusion, nil, func(b object) { at(entry(b), "inclusionProof").(object)["logIndex"] = "8" }},
		"AT-46/another root":                          {bundle.CodeInclusion, nil, func(b object) { at(entry(b), "inclusionProof").(object)["rootHash"] = b64(make([]byte, 32)) }},
		"AT-46/hashes cut":                            {bundle.CodeInclusion, nil, func(b object) { at(entry(b), "inclusionProof").(object)["hashes"] = hashes(b)[:2] }},
		"AT-46/v1: hashes cut":                        {bundle.CodeInclusion, v1, func(b object) { at(entry(b), "inclusionProof").(object)["hashes"] = hashes(b)[:2] }},
		"AT-46/hashes gone":                           {bundle.CodeInclusion, nil, func(b object) { at(entry(b), "inclusionProof").(object)["hashes"] = []any{} }},
		"AT-46/hashes swapped":                        {bundle.CodeInclusion, nil, func(b object) { h := hashes(b); h[0], h[1] = h[1], h[0] }},
		"AT-46/hash added":                            {bundle.CodeInclusion, nil, func(b object) { at(entry(b), "inclusionProof").(object)["hashes"] = append(hashes(b), hashes(b)[0]) }},
		"AT-46/no checkpoint":                         {bundle.CodeInclusion, nil, func(b object) { delete(at(entry(b), "inclusionProof").(object), "checkpoint") }},
		"AT-46/checkpoint of another": {bundle.CodeInclusion, nil, func(b object) {
			at(entry(b), "inclusionProof").(object)["checkpoint"] = at(newSigstore().proof([]byte("x"), 3, false), "checkpoint")
		}},
		"AT-46/entry of another bundle": {bundle.CodeInclusion, nil, func(b object) {
			at(b, "verificationMaterial", "tlogEntries").([]any)[0] = entry(s.bundle(s.goodSpec()))
		}},
		"AT-46/v1: entry of another": {bundle.CodeInclusion, v1, func(b object) {
			sp := s.goodSpec()
			sp.v1 = true
			at(b, "verificationMaterial", "tlogEntries").([]any)[0] = entry(s.bundle(sp))
		}},
		"AT-46/promise at another time": {bundle.CodeSignature, v1, func(b object) { entry(b)["integratedTime"] = "1790856100" }},
		"AT-46/promise of another": {bundle.CodeSignature, v1, func(b object) {
			entry(b)["inclusionPromise"] = object{"signedEntryTimestamp": b64(sign(newKey(), nil))}
		}},
		"two entries": {bundle.CodeFormat, nil, func(b object) {
			m := b["verificationMaterial"].(object)
			m["tlogEntries"] = []any{entry(b), entry(s.bundle(s.goodSpec()))}
		}},
		"no time":                        {bundle.CodeTime, func(sp *spec) { sp.stamped = nil }, nil},
		"v1: proof, no time":             {bundle.CodeTime, func(sp *spec) { sp.v1, sp.withoutSET, sp.stamped = true, true, nil }, nil},
		"timestamp over another":         {bundle.CodeTime, nil, func(b object) { stamp(b, s.timestamp([]byte("x"), s.now)) }},
		"timestamp of another authority": {bundle.CodeTime, nil, func(b object) { stamp(b, newSigstore().timestamp([]byte("x"), s.now)) }},
		"one timestamp of two":           {bundle.CodeTime, func(sp *spec) { sp.v1 = true }, func(b object) { stamp(b, []byte("x")) }},
		"before the log's key":           {bundle.CodeTime, func(sp *spec) { sp.stamped[0] = s.now.Add(-2 * time.Hour); sp.certFrom = sp.stamped[0] }, nil},
		"too many timestamps":            {bundle.CodeFormat, func(sp *spec) { sp.stamped = slices.Repeat(sp.stamped, 5) }, nil},
		"signature of another": {bundle.CodeInclusion, nil, func(b object) {
			at(b, "dsseEnvelope").(object)["signatures"] = []any{object{"sig": b64(sign(newKey(), nil))}}
		}},
		"two signatures": {bundle.CodeVersion, nil, func(b object) {
			s := at(b, "dsseEnvelope", "signatures", 0)
			at(b, "dsseEnvelope").(object)["signatures"] = []any{s, s}
		}},
		"other payload":                  {bundle.CodeInclusion, nil, func(b object) { at(b, "dsseEnvelope").(object)["payload"] = b64([]byte("{}")) }},
		"v1: other payload":              {bundle.CodeInclusion, v1, func(b object) { at(b, "dsseEnvelope").(object)["payload"] = b64([]byte("{}")) }},
		"other payload type":             {bundle.CodeVersion, nil, func(b object) { at(b, "dsseEnvelope").(object)["payloadType"] = "application/json" }},
		"other payload type, signed":     {bundle.CodeVersion, func(sp *spec) { sp.payload = "application/vnd.in-toto+json; v=1" }, nil},
		"other statement type":           {bundle.CodeStatement, func(sp *spec) { sp.statement = strings.Replace(sp.statement, "Statement/v1", "Statement/v0.1", 1) }, nil},
		"other predicate type":           {bundle.CodeStatement, func(sp *spec) { sp.statement = strings.Replace(sp.statement, "provenance/v1", "provenance/v0.2", 1) }, nil},
		"two predicate types":            {bundle.CodeFormat, func(sp *spec) { sp.statement = `{"predicateType":"x",` + sp.statement[1:] }, nil},
		"predicate type in another case": {bundle.CodeFormat, func(sp *spec) { sp.statement = strings.Replace(sp.statement, "predicateType", "PredicateType", 1) }, nil},
		"statement and more":             {bundle.CodeFormat, func(sp *spec) { sp.statement += "{}" }, nil},
		"statement is no JSON":           {bundle.CodeFormat, func(sp *spec) { sp.statement = "x" }, nil},
		"other artifact": {bundle.CodeArtifact, func(sp *spec) {
			sp.statement = statement(bundle.StatementType, bundle.DefaultPredicateType, strings.Repeat("0", 64))
		}, nil},
		"digest under another name": {bundle.CodeArtifact, func(sp *spec) { sp.statement = strings.ReplaceAll(sp.statement, `"sha256"`, `"sha512"`) }, nil},
		"bundle of another version": {bundle.CodeVersion, nil, func(b object) { b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2" }},
		"bundle of a later version": {bundle.CodeVersion, nil, func(b object) { b["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.4+json" }},
		"message signature":         {bundle.CodeVersion, nil, message},
		"unknown member":            {bundle.CodeFormat, nil, func(b object) { b["more"] = 1 }},
		"no certificate":            {bundle.CodeFormat, nil, func(b object) { delete(b["verificationMaterial"].(object), "certificate") }},
		"certificate chain":         {bundle.CodeFormat, nil, chain},
		"certificate of another": {bundle.CodeInclusion, nil, func(b object) {
			b["verificationMaterial"].(object)["certificate"] = at(s.bundle(s.goodSpec()), "verificationMaterial", "certificate")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			sp := s.goodSpec()
			if c.spec != nil {
				c.spec(&sp)
			}
			b := s.bundle(sp)
			if c.change != nil {
				c.change(b)
			}
			_, err := verify(t, s, b)
			refused(t, err, c.code)
		})
	}
	t.Run("in the future", func(t *testing.T) {
		_, err := bundle.Verify(printed(t, s.bundle(s.goodSpec())), s.options(), s.now.Add(-time.Minute))
		refused(t, err, bundle.CodeTime)
	})
	t.Run("without timestamp authority", func(t *testing.T) {
		s := *s
		s.noTSA = true
		_, err := verify(t, &s, s.bundle(s.goodSpec()))
		refused(t, err, bundle.CodeTime)
	})
	t.Run("another instance", func(t *testing.T) {
		_, err := verify(t, newSigstore(), s.bundle(s.goodSpec()))
		refused(t, err, bundle.CodeAbsent)
	})
}

// reprove gives an entry a proof under a checkpoint of another kind of log.
func reprove(s *sigstore, e object, v1 bool) {
	e["inclusionProof"] = s.proof(must(base64.StdEncoding.DecodeString(e["canonicalizedBody"].(string))), 3, v1)
}

// mixed takes the entry of another bundle and a checkpoint under which sigstore-go
// does not compare that entry with this bundle.
func mixed(s *sigstore, b object) {
	other := entry(s.bundle(s.goodSpec()))
	reprove(s, other, true)
	at(b, "verificationMaterial", "tlogEntries").([]any)[0] = other
}

func v1(sp *spec) { sp.v1, sp.stamped = true, nil }

func stamp(b object, raw []byte) {
	b["verificationMaterial"].(object)["timestampVerificationData"] = object{"rfc3161Timestamps": []any{object{"signedTimestamp": b64(raw)}}}
}

func message(b object) {
	delete(b, "dsseEnvelope")
	b["messageSignature"] = object{"messageDigest": object{"algorithm": "SHA2_256", "digest": b64(artifact[:])}, "signature": b64([]byte("x"))}
}

func chain(b object) {
	m := b["verificationMaterial"].(object)
	m["x509CertificateChain"] = object{"certificates": []any{m["certificate"]}}
	delete(m, "certificate")
}

// TestOptions: what the caller brings is complete and no pattern.
func TestOptions(t *testing.T) {
	s := newSigstore()
	b := printed(t, s.bundle(s.goodSpec()))
	for name, change := range map[string]func(*bundle.Options){
		"zero":                func(o *bundle.Options) { *o = bundle.Options{} },
		"no trusted root":     func(o *bundle.Options) { o.TrustedRoot = nil },
		"trusted root broken": func(o *bundle.Options) { o.TrustedRoot = o.TrustedRoot[:100] },
		"trusted root empty":  func(o *bundle.Options) { o.TrustedRoot = []byte("{}") },
		"trusted root long":   func(o *bundle.Options) { o.TrustedRoot = make([]byte, bundle.MaxTrustedRoot+1) },
		"no identity":         func(o *bundle.Options) { o.Identity = "" },
		"no issuer":           func(o *bundle.Options) { o.Issuer = "" },
		"AT-43 pattern":       func(o *bundle.Options) { o.Identity = "https://github.com/sotto-project/.*" },
		"AT-43 anchored":      func(o *bundle.Options) { o.Identity = "^" + identity + "$" },
		"AT-43 issuer":        func(o *bundle.Options) { o.Issuer = "https://.*" },
		"both":                func(o *bundle.Options) { o.PublicKey = newKey().Public() },
		"key of a kind":       func(o *bundle.Options) { o.Identity, o.Issuer, o.PublicKey = "", "", "key" },
		"no artifact":         func(o *bundle.Options) { o.ArtifactSHA256 = [32]byte{} },
		"no types":            func(o *bundle.Options) { o.PredicateTypes = nil },
		"empty type":          func(o *bundle.Options) { o.PredicateTypes = []string{""} },
	} {
		t.Run(name, func(t *testing.T) {
			o := s.options()
			change(&o)
			_, err := bundle.Verify(b, o, s.now.Add(time.Hour))
			refused(t, err, bundle.CodeTrust)
		})
	}
	t.Run("no time", func(t *testing.T) {
		_, err := bundle.Verify(b, s.options(), time.Time{})
		refused(t, err, bundle.CodeTrust)
	})
}

func BenchmarkVerify(b *testing.B) {
	s := newSigstore()
	for name, change := range map[string]func(*spec){"tiles": func(*spec) {}, "v1": v1} {
		sp := s.goodSpec()
		change(&sp)
		in, o := printed(b, s.bundle(sp)), s.options()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bundle.Verify(in, o, s.now.Add(time.Hour)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
