// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package release_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/transparency/release"
	rt "github.com/sotto-project/sotto/transparency/release/releasetest"
)

func TestFilesHaveOneSpelling(t *testing.T) {
	f := newFixture(t)
	f.revoke("bob", release.KindNode, [32]byte{9}, now)
	whole := f.bytes()
	back, err := release.ParseFile(whole)
	if err != nil || !bytes.Equal(must(back.Append(nil)), whole) || back.ID() != f.file.ID() {
		t.Fatalf("%v", err)
	}
	all := slices.Concat(f.file.Attachments, f.file.Bundles, f.file.Attachments)
	if got := must(must(release.NewFile(rt.Repository, rt.Commit, tag, all)).Append(nil)); !bytes.Equal(got, whole) {
		t.Error("the order in which bundles come in changes the file")
	}
	lines := strings.SplitAfter(string(whole), "\n")
	lines = lines[:len(lines)-1]
	n := len(f.file.Index.Items)
	join := func(l ...[]string) string { return strings.Join(slices.Concat(l...), "") }
	swap := func(i, j int) string {
		l := slices.Clone(lines)
		l[i], l[j] = l[j], l[i]
		return join(l)
	}
	index := func(old, with string) string {
		if !strings.Contains(lines[0], old) {
			t.Fatalf("no %s", old)
		}
		return join([]string{strings.Replace(lines[0], old, with, 1)}, lines[1:])
	}
	for name, in := range map[string]string{
		"nothing":              "",
		"line feed":            "\n",
		"no line feed":         string(whole[:len(whole)-1]),
		"line feed too many":   string(whole) + "\n",
		"cut":                  string(whole[:len(whole)/2]) + "\n",
		"no index":             join(lines[1:]),
		"index alone":          lines[0],
		"item missing":         join(lines[:1], lines[2:]),
		"items swapped":        swap(1, 2),
		"attachments swapped":  swap(n+1, n+2),
		"attachment twice":     join(lines[:n+2], lines[n+1:]),
		"item twice":           join(lines[:2], lines[1:]),
		"item as attachment":   join(lines, lines[1:2]),
		"attachment not JSON":  string(whole) + "x\n",
		"attachment of others": string(whole) + "{}\n",
		"space in the index":   index(`{"version"`, `{ "version"`),
		"version 2":            index(`"version":1`, `"version":2`),
		"version 1.0":          index(`"version":1`, `"version":1.0`),
		"unknown member":       index(`"version":1`, `"version":1,"x":1`),
		"member twice":         index(`"version":1`, `"version":1,"version":1`),
		"other case":           index(`"version":1`, `"Version":1`),
		"null":                 index(`"version":1`, `"version":null`),
		"unknown kind":         index(`"kind":"image"`, `"kind":"imagf"`),
		"another digest":       index(`"sha256":"`, `"sha256":"`+strings.Repeat("0", 63)+`1","x":"`),
		"tag of another form":  index(tag, "1.2.3"),
		"tag with a path":      index(tag, "v1.2.3/../v1"),
		"tag with zeros":       index(tag, "v01.2.3"),
		"repository by http":   index("https://git", "http://git"),
		"repository in Greek":  index("sotto-project/sotto", "sottο-project/sotto"),
		"short commit":         index(rt.Commit, rt.Commit[:39]),
		"commit in capitals":   index(rt.Commit, strings.ToUpper(rt.Commit)),
		"carriage return":      strings.Replace(string(whole), "\n", "\r\n", 1),
		"bundle member twice":  join(lines[:1], []string{strings.Replace(lines[1], `{"`, `{"x":1,"x":1,"`, 1)}, lines[2:]),
		"latin":                join(lines[:1], []string{strings.Replace(lines[1], `{"`, "{\"x\":\"\xff\",\"", 1)}, lines[2:]),
	} {
		if x, err := release.ParseFile([]byte(in)); release.CodeOf(err) != release.CodeFormat || x != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := release.ParseFile(make([]byte, release.MaxFile+1)); release.CodeOf(err) != release.CodeFormat {
		t.Error("a file over its cap")
	}
}

// TestStatementsHaveOneMeaning: what two readers could take for two things is no
// statement of a release.
func TestStatementsHaveOneMeaning(t *testing.T) {
	good := string(statements(nil)[2])
	for name, edit := range map[string][2]string{
		"unknown member":          {`"role":"node"`, `"role":"node","roles":[]`},
		"unknown in a platform":   {`"platform":"snp"`, `"platform":"snp","x":1`},
		"member twice":            {`"role":"node"`, `"role":"node","role":"gateway"`},
		"twice in a platform":     {`"platform":"snp"`, `"platform":"snp","platform":"tdx"`},
		"other case":              {`"role"`, `"Role"`},
		"null":                    {`"role":"node"`, `"role":null`},
		"register written twice":  {`"11":"`, `"011":"`},
		"digest in capitals":      {`"sbom_sha256":"`, `"sbom_sha256":"A`},
		"statement of version 0":  {`in-toto.io/Statement/v1`, `in-toto.io/Statement/v0.1`},
		"type of another version": {release.TypeImage, release.TypeImage + ".1"},
		"no subject":              {`"subject":[{"name":"node"`, `"subject":[],"x":[{"name":"node"`},
		"subject without a name":  {`"subject":[{"name":"node"`, `"subject":[{"name":""`},
		"subject by SHA-1":        {`"digest":{"sha256"`, `"digest":{"sha1"`},
		"subject with control":    {`"subject":[{"name":"node"`, `"subject":[{"name":"no\u001bde"`},
		"predicate is a list":     {`"predicate":{`, `"predicate":[],"x":{`},
	} {
		in := strings.Replace(good, edit[0], edit[1], 1)
		if in == good {
			t.Errorf("%s: nothing to edit", name)
			continue
		}
		f := newFixture(t)
		f.trust.Policy = release.Policy{WithoutReviewers: true, WithoutAge: true}
		bundles := [][]byte{f.w.Keyless([]byte(in), rt.WorkflowAt(rt.Repository, ref), signed)}
		for _, s := range [][]byte{f.items[0], f.items[1], f.items[3]} {
			bundles = append(bundles, f.w.Keyless(s, rt.WorkflowAt(rt.Repository, ref), signed))
		}
		file, err := release.NewFile(rt.Repository, rt.Commit, tag, bundles)
		if err == nil {
			_, err = release.Verify(must(file.Append(nil)), &f.trust, now)
		}
		if release.CodeOf(err) != release.CodeFormat {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEveryByteCounts: a file of which one bit is another is refused, or says
// the same.
func TestEveryByteCounts(t *testing.T) {
	f := newFixture(t)
	whole := f.bytes()
	want, err := f.verify()
	if err != nil {
		t.Fatal(err)
	}
	step := 211 // prime; every byte takes minutes
	for i := 0; i < len(whole); i += step {
		m := bytes.Clone(whole)
		m[i] ^= 1 << (i % 8)
		r, err := release.Verify(m, &f.trust, now)
		if err != nil {
			continue
		}
		if r.ID != want.ID || len(r.Images) != len(want.Images) || r.Images[0].Digest != want.Images[0].Digest || r.Publisher != want.Publisher || !r.Public.Equal(want.Public) {
			t.Errorf("byte %d: accepted, and says something else: %.80q", i, whole[max(0, i-40):])
		}
	}
}

func FuzzParseFile(f *testing.F) {
	x := newFixture(&testing.T{})
	f.Add(x.bytes())
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		file, err := release.ParseFile(in)
		if err != nil {
			return
		}
		if out, err := file.Append(nil); err != nil || !bytes.Equal(in, out) {
			t.Errorf("accepted %q, printed %q (%v)", in, out, err)
		}
	})
}

func FuzzParseIndex(f *testing.F) {
	x := newFixture(&testing.T{})
	f.Add(must(x.file.Index.Append(nil)))
	f.Fuzz(func(t *testing.T, in []byte) {
		index, err := release.ParseIndex(in)
		if err != nil {
			return
		}
		if out, err := index.Append(nil); err != nil || !bytes.Equal(in, out) {
			t.Errorf("accepted %q, printed %q (%v)", in, out, err)
		}
	})
}

func FuzzParseTrust(f *testing.F) {
	x := newFixture(&testing.T{})
	f.Add(must(jsonOf(x.trust)))
	f.Fuzz(func(t *testing.T, in []byte) {
		trust, err := release.ParseTrust(in)
		if err != nil {
			return
		}
		again, err := release.ParseTrust(must(jsonOf(*trust)))
		if err != nil || !bytes.Equal(must(jsonOf(*again)), must(jsonOf(*trust))) {
			t.Errorf("accepted %q, which does not survive printing: %v", in, err)
		}
	})
}
