// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package release_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/release"
)

var update = flag.Bool("update", false, "make the vectors anew, with new keys")

// vectors is testdata/vectors.json.
type vectors struct {
	Comment string   `json:"comment"`
	ID      string   `json:"id"`
	Digest  string   `json:"digest"`
	Public  string   `json:"public"`
	Cases   []vector `json:"cases"`
}

// A vector edits file or trust, once, and judges at a time.
type vector struct {
	Name  string    `json:"name"`
	At    time.Time `json:"at"`
	File  [2]string `json:"file,omitzero"`  // old, new
	Trust [2]string `json:"trust,omitzero"` // old, new
	Code  string    `json:"code,omitempty"` // absent: accepted
}

// TestVectors computes with what is published.
func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	file, trust := must(os.ReadFile("testdata/release.jsonl")), must(os.ReadFile("testdata/trust.json"))
	var v vectors
	if err := json.Unmarshal(must(os.ReadFile("testdata/vectors.json")), &v); err != nil {
		t.Fatal(err)
	}
	for _, c := range v.Cases {
		t.Run(c.Name, func(t *testing.T) {
			edited, tr := bytes.Replace(file, []byte(c.File[0]), []byte(c.File[1]), 1), bytes.Replace(trust, []byte(c.Trust[0]), []byte(c.Trust[1]), 1)
			if c.File[0] != "" && bytes.Equal(edited, file) || c.Trust[0] != "" && bytes.Equal(tr, trust) {
				t.Fatal("nothing to edit")
			}
			var r *release.Release
			parsed, err := release.ParseTrust(tr)
			if err == nil {
				r, err = release.Verify(edited, parsed, c.At)
			}
			if release.CodeOf(err) != transparency.Code(c.Code) {
				t.Fatalf("%v, want %q", err, c.Code)
			}
			if c.Code == "" && (hex.EncodeToString(r.ID[:]) != v.ID || hex.EncodeToString(r.Digest[:]) != v.Digest || r.Public.Format(time.RFC3339) != v.Public) {
				t.Errorf("%x, %x, %v", r.ID, r.Digest, r.Public)
			}
		})
	}
}

func writeVectors(t *testing.T) {
	f := newFixture(t)
	r := must(f.verify())
	file, trust := f.bytes(), must(json.MarshalIndent(f.trust, "", "  "))
	key := release.Signer{PublicKey: f.trust.Reviewers[1].PublicKey}.PublicKey
	v := vectors{Comment: "SIMULATED keys. Each case replaces the first occurrence of the first string by the second, then parses the trust and judges the file.",
		ID: hex.EncodeToString(r.ID[:]), Digest: hex.EncodeToString(r.Digest[:]), Public: r.Public.Format(time.RFC3339), Cases: []vector{
			{Name: "accepted", At: now},
			{Name: "before anybody endorsed it", At: signed.Add(72*time.Hour - time.Second), Code: "release.reviewers"},
			{Name: "endorsements two days later", At: now.Add(2 * 24 * time.Hour), Code: "release.stale"},
			{Name: "before it was signed", At: signed.Add(-time.Hour), Code: "log.time"},
			{Name: "other repository pinned", At: now, Trust: [2]string{`"repository": "https://git.simulated.example/sotto-project/sotto",`, `"repository": "https://git.simulated.example/mallory/sotto",`}, Code: "log.trust"},
			{Name: "other issuer pinned", At: now, Trust: [2]string{"https://token.actions", "https://tokens.actions"}, Code: "log.identity"},
			{Name: "trusted root by URL", At: now, Trust: [2]string{`"trusted_root": {`, `"trusted_root": "https://operator.example/root.json", "x": {`}, Code: "cfg.policy.remote"},
			{Name: "longer cooling-off", At: now, Trust: [2]string{`"min_age": "72h0m0s"`, `"min_age": "97h0m0s"`}, Code: "release.age"},
			{Name: "three reviewers asked for", At: now, Trust: [2]string{"\"k\": 2,", "\"k\": 3,"}, Code: "log.trust"},
			{Name: "another reviewer", At: now, Trust: [2]string{key, f.trust.Reviewers[2].PublicKey[:60] + key[60:]}, Code: "log.trust"},
			{Name: "index with a space", At: now, File: [2]string{`{"version"`, `{ "version"`}, Code: "release.format"},
			{Name: "another tag in the index", At: now, File: [2]string{tag, "v1.2.4"}, Code: "log.identity"},
			{Name: "proof cut", At: now, File: [2]string{`"hashes":[`, `"hashes":[],"x":[`}, Code: "bundle.format"},
			{Name: "no log entry", At: now, File: [2]string{`"tlogEntries":[`, `"tlogEntries":[],"x":[`}, Code: "bundle.format"},
		}}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"release.jsonl": file, "trust.json": append(trust, '\n'), "vectors.json": out.Bytes()} {
		if err := os.WriteFile("testdata/"+name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func schema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("../../docs/spec/release/" + name + ".schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSchemas holds the published schemas and what is parsed together.
func TestSchemas(t *testing.T) {
	f := newFixture(t)
	f.revoke("bob", release.KindImage, image, now)
	validate := func(name string, document []byte) error {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
		if err != nil {
			return err
		}
		return schema(t, name).Validate(v)
	}
	payload := func(line []byte) []byte {
		var b struct {
			Envelope struct{ Payload string } `json:"dsseEnvelope"`
		}
		if err := json.Unmarshal(line, &b); err != nil {
			t.Fatal(err)
		}
		return must(base64.StdEncoding.DecodeString(b.Envelope.Payload))
	}
	documents := map[string][]byte{"image": f.items[2], "model": f.items[3], "trust": must(json.Marshal(f.trust)), "index": must(f.file.Index.Append(nil))}
	for _, a := range f.file.Attachments {
		p := payload(a)
		documents[map[bool]string{true: "revocation", false: "endorsement"}[bytes.Contains(p, []byte(release.TypeRevocation))]] = p
	}
	if len(documents) != 6 {
		t.Fatal("not every kind is there")
	}
	for name, b := range documents {
		if err := validate(name, b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		more := bytes.Replace(b, []byte(`{`), []byte(`{"x":1,`), 1)
		if err := validate(name, more); err == nil {
			t.Errorf("%s: the schema takes an unknown member", name)
		}
	}
	for name, edit := range map[string][2]string{
		"index": {`"version":1`, `"version":2`}, "image": {`"role":"node"`, `"role":"No"`}, "model": {`"context_tokens":512`, `"context_tokens":0`},
		"revocation": {`"kind":"image"`, `"kind":"user"`}, "endorsement": {`"claim":"reviewed"`, `"claim":"fine"`}, "trust": {`"k":2`, `"k":0`},
	} {
		bad := strings.Replace(string(documents[name]), edit[0], edit[1], 1)
		if bad == string(documents[name]) || validate(name, []byte(bad)) == nil {
			t.Errorf("%s: the schema takes %s", name, edit[1])
		}
	}
	for name, typ := range map[string]reflect.Type{"index": reflect.TypeFor[release.Index](), "trust": reflect.TypeFor[release.Trust]()} {
		complete(t, name, typ, "")
	}
	for name, typ := range map[string]reflect.Type{"image": reflect.TypeFor[release.ImageManifest](), "model": reflect.TypeFor[release.ModelManifest](),
		"endorsement": reflect.TypeFor[release.Endorsement](), "revocation": reflect.TypeFor[release.Revocation]()} {
		complete(t, name, typ, "predicate")
	}
}

// complete compares members with fields, both ways.
func complete(t *testing.T, name string, typ reflect.Type, under string) {
	t.Helper()
	var s struct{ Properties map[string]json.RawMessage }
	if err := json.Unmarshal(must(os.ReadFile("../../docs/spec/release/"+name+".schema.json")), &s); err != nil {
		t.Fatal(err)
	}
	if under != "" {
		if err := json.Unmarshal(s.Properties[under], &s); err != nil {
			t.Fatal(err)
		}
		delete(s.Properties, "_type")
		for _, outer := range []string{"subject", "predicateType", under} {
			delete(s.Properties, outer)
		}
	}
	fields := map[string]bool{}
	for _, f := range reflect.VisibleFields(typ) {
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag != "" {
			fields[tag] = true
		}
	}
	for f := range fields {
		if s.Properties[f] == nil {
			t.Errorf("%s: %s is not in the schema", name, f)
		}
	}
	for p := range s.Properties {
		if !fields[p] {
			t.Errorf("%s: %s is in the schema only", name, p)
		}
	}
}
