// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency/bundle"
	"github.com/sotto-project/sotto/transparency/release"
	rt "github.com/sotto-project/sotto/transparency/release/releasetest"
)

// signedAs is the digest under which a log has a statement.
func signedAs(statement string) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(bundle.PayloadType), bundle.PayloadType, len(statement), statement))
}

// watched is an auditor of a quiet statement log and of a SIMULATED release log.
type watched struct {
	*rig
	world *rt.World
	serve http.Handler
	asked map[string]int
}

func watch(t *testing.T, publisher release.Signer, own ...[32]byte) *watched {
	t.Helper()
	k := newKeys(t)
	m1, m2 := pair(k, chain(t, 3, nil))
	w := &watched{rig: newRig(t, k, m1, m2), world: rt.New(begin.Add(-time.Hour)), asked: map[string]int{}}
	w.serve = w.world.Handler(func() time.Time { return begin })
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked[r.URL.Path]++
		w.serve.ServeHTTP(rw, r)
	}))
	t.Cleanup(s.Close)
	trust := &release.Trust{TrustedRoot: w.world.TrustedRoot(), Repository: rt.Repository, Publisher: publisher, Policy: release.Policy{WithoutAge: true, WithoutReviewers: true}}
	l, err := NewRekorLog(s.URL, nil, trust, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	w.cfg.ReleaseLog, w.cfg.Own = l, own
	return w
}

func workflow() release.Signer {
	return release.Signer{Name: "releases", Workflow: rt.Workflow, Issuer: rt.Issuer, Repository: rt.Repository}
}

func keyed(k *ecdsa.PrivateKey) release.Signer {
	return release.Signer{Name: "releases", PublicKey: rt.PublicKey(k)}
}

// TestSomebodySignsReleasesAsUs is AT-43 for whoever owns the identity: a stolen
// workflow or key leaves an entry in the log, and the owner is told.
func TestSomebodySignsReleasesAsUs(t *testing.T) {
	key, other := rt.NewKey(), rt.NewKey()
	at := func(ref string) rt.Identity { return rt.WorkflowAt(rt.Repository, ref) }
	for name, c := range map[string]struct {
		who  release.Signer
		log  func(w *rt.World)
		want []Code
	}{
		"our workflow, and not us": {workflow(), func(w *rt.World) { w.Keyless([]byte("theirs"), at("refs/tags/v1.0.0"), begin) }, []Code{IdentityForeign}},
		"our workflow on a branch": {workflow(), func(w *rt.World) { w.Keyless([]byte("theirs"), at("refs/heads/main"), begin) }, []Code{IdentityForeign}},
		"our workflow, and us":     {workflow(), func(w *rt.World) { w.Keyless([]byte("ours"), at("refs/tags/v1.0.0"), begin) }, nil},
		"somebody else's workflow": {workflow(), func(w *rt.World) {
			w.Keyless([]byte("theirs"), rt.WorkflowAt(rt.Repository+"-fork", "refs/tags/v1.0.0"), begin)
		}, nil},
		"another issuer's word": {workflow(), func(w *rt.World) {
			id := at("refs/tags/v1")
			id.Ext[8] = "https://other.example"
			w.Keyless([]byte("theirs"), id, begin)
		}, nil},
		"our key, and not us":           {keyed(key), func(w *rt.World) { w.Keyed([]byte("theirs"), key, begin) }, []Code{IdentityForeign}},
		"our key, and us":               {keyed(key), func(w *rt.World) { w.Keyed([]byte("ours"), key, begin) }, nil},
		"somebody else's key":           {keyed(key), func(w *rt.World) { w.Keyed([]byte("theirs"), other, begin) }, nil},
		"an envelope, and not us":       {keyed(key), func(w *rt.World) { w.DSSE([]byte("theirs"), key, begin) }, []Code{IdentityForeign}},
		"an envelope, and us":           {keyed(key), func(w *rt.World) { w.DSSE([]byte("ours"), key, begin) }, nil},
		"a key where a name is watched": {workflow(), func(w *rt.World) { w.Keyed([]byte("theirs"), key, begin) }, nil},
		"what is no entry":              {keyed(key), func(w *rt.World) { w.Log([]byte("{}"), begin); w.Log([]byte{0}, begin) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t, c.who, signedAs("ours"), sha256.Sum256([]byte("ours")))
			c.log(w.world)
			w.mustStep().want(c.want...)
			w.open().mustStep().want() // once
		})
	}
	t.Run("a certificate that nobody trusted gave out", func(t *testing.T) {
		w := watch(t, workflow())
		stranger := rt.New(begin.Add(-time.Hour))
		var b struct {
			Material struct {
				Entries []struct{ CanonicalizedBody []byte } `json:"tlogEntries"`
			} `json:"verificationMaterial"`
		}
		if err := json.Unmarshal(stranger.Keyless([]byte("theirs"), at("refs/tags/v1.0.0"), begin), &b); err != nil {
			t.Fatal(err)
		}
		w.world.Log(b.Material.Entries[0].CanonicalizedBody, begin)
		w.mustStep().want()
	})
	t.Run("a signature that does not hold", func(t *testing.T) {
		w := watch(t, keyed(key))
		k := rt.PublicKey(key)
		w.world.Log(fmt.Appendf(nil, `{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256","digest":"%s="},"signature":{"content":"AAAA","verifier":{"keyDetails":"PKIX_ECDSA_P256_SHA_256","publicKey":{"rawBytes":%q}}}}}}`,
			strings.Repeat("A", 43), k), begin)
		w.mustStep().want()
	})
}

func TestReleaseLogIsFollowed(t *testing.T) {
	key := rt.NewKey()
	t.Run("in pages, and from where it was left", func(t *testing.T) {
		w := watch(t, keyed(key))
		for range releasePage {
			w.world.Log([]byte("{}"), begin)
		}
		w.world.Keyed([]byte("one"), key, begin)
		w.mustStep().want(IdentityForeign)
		if w.a.state.ReleaseNext != releasePage+1 {
			t.Errorf("%d", w.a.state.ReleaseNext)
		}
		clear(w.asked)
		w.world.Keyed([]byte("two"), key, begin)
		w.open().mustStep().want(IdentityForeign)
		for p := range w.asked {
			if strings.HasSuffix(p, "/entries/000") {
				t.Errorf("%s is read again", p)
			}
		}
		clear(w.asked)
		w.mustStep().want()
		if len(w.asked) != 1 {
			t.Errorf("nothing is new, and it asks for %v", w.asked)
		}
	})
	t.Run("that signs two worlds", func(t *testing.T) {
		w := watch(t, keyed(key))
		for range 5 {
			w.world.Log([]byte("{}"), begin)
		}
		w.mustStep().want()
		fork := w.world.Fork(4)
		for range 3 {
			fork.Log([]byte("[]"), begin)
		}
		fork.Keyed([]byte("one"), key, begin)
		w.serve = fork.Handler(time.Now)
		w.mustStep().want(LogFork)
		if w.a.state.ReleaseNext != 5 {
			t.Error("a fork was followed")
		}
		files, err := filepath.Glob(filepath.Join(w.cfg.Dir, "evidence", "release-log-*"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%v, %v", files, err)
		}
		b, err := os.ReadFile(files[0])
		if err != nil || strings.Count(string(b), rt.Host+"\n") != 2 {
			t.Errorf("%v\n%s", err, b)
		}
		w.open().mustStep().want() // once
	})
	t.Run("that goes back", func(t *testing.T) {
		w := watch(t, keyed(key))
		for range 5 {
			w.world.Log([]byte("{}"), begin)
		}
		w.mustStep().want()
		w.serve = w.world.Fork(4).Handler(time.Now)
		w.mustStep().want()
		w.now = w.now.Add(11 * time.Minute)
		for _, m := range w.cfg.Mirrors {
			m.(*fakeMirror).at = w.now
		}
		w.mustStep().want(MirrorDown)
	})
	for name, spoil := range map[string]func(path string, b []byte) []byte{
		"a leaf that is not in the tree": func(p string, b []byte) []byte {
			if strings.Contains(p, "entries") {
				b[9] ^= 1
			}
			return b
		},
		"a checkpoint of nobody": func(p string, b []byte) []byte {
			if strings.HasSuffix(p, "checkpoint") {
				b = []byte(strings.Replace(string(b), rt.Host, "log.other.example", 1))
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t, keyed(key))
			w.world.Keyed([]byte("one"), key, begin)
			honest := w.serve
			w.serve = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				honest.ServeHTTP(rec, r)
				rw.WriteHeader(rec.Code)
				rw.Write(spoil(r.URL.Path, rec.Body.Bytes()))
			})
			w.mustStep().want()
			if w.a.state.ReleaseNext != 0 {
				t.Error("it was believed")
			}
			w.serve = honest
			w.mustStep().want(IdentityForeign)
		})
	}
}

// TestReleaseFilesAreOwn: statements in the auditor's own release files are known
// under the digests that the log has them by.
func TestReleaseFilesAreOwn(t *testing.T) {
	b, err := os.ReadFile("../transparency/release/testdata/release.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "one"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	world := rt.New(begin)
	files, err := OpenReleaseFiles(dir, &release.Trust{TrustedRoot: world.TrustedRoot(), Repository: rt.Repository, Publisher: workflow(), Policy: release.Policy{WithoutAge: true, WithoutReviewers: true}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := release.ParseFile(b)
	if err != nil {
		t.Fatal(err)
	}
	own := map[[32]byte]bool{}
	for _, d := range files.Own() {
		own[d] = true
	}
	lines := append(f.Bundles, f.Attachments...)
	for _, line := range lines {
		var e struct {
			Envelope struct{ Payload []byte } `json:"dsseEnvelope"`
			Material struct {
				Entries []struct{ CanonicalizedBody []byte } `json:"tlogEntries"`
			} `json:"verificationMaterial"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		logged, err := bundle.ParseEntry(e.Material.Entries[0].CanonicalizedBody)
		if err != nil || !own[logged.Digest] || !own[sha256.Sum256(e.Envelope.Payload)] {
			t.Errorf("an entry of one's own is not known: %v", err)
		}
	}
	if len(lines) == 0 || len(own) != 2*len(lines) {
		t.Errorf("%d digests of %d statements", len(own), len(lines))
	}
	// A file that is replaced counts as it is now: here without its last line, and then not at all.
	trimmed := bytes.TrimSuffix(b, []byte("\n"))
	for text, n := range map[string]int{string(trimmed[:bytes.LastIndexByte(trimmed, '\n')+1]): len(lines) - 1, "noise": 0} {
		if err := os.WriteFile(filepath.Join(dir, "one"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := len(files.Own()); got != 2*n {
			t.Errorf("%d digests after the file was replaced, want %d", got, 2*n)
		}
	}
}
