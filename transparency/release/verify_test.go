// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package release_test

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/release"
	rt "github.com/sotto-project/sotto/transparency/release/releasetest"
)

func TestVerify(t *testing.T) {
	f := newFixture(t)
	r, err := f.verify()
	if err != nil {
		t.Fatal(err)
	}
	if r.Tag != tag || r.Commit != rt.Commit || r.Publisher != rt.Workflow+"@"+ref || !r.Public.Equal(signed) || r.Emergency ||
		r.ID != f.file.ID() || r.Digest != sha256.Sum256(f.bytes()) || len(r.Endorsements) != 2 || len(r.Unused) != 0 {
		t.Errorf("%+v", r)
	}
	if len(r.Images) != 1 || r.Images[0].Digest != image || r.Images[0].Role != "node" || len(r.Models) != 1 || r.Models[0].Weights != weights || len(r.Artifacts) != 2 {
		t.Errorf("%+v", r)
	}
	if len(r.Gaps) != 1 || !strings.Contains(r.Gaps[0], "no witnesses") {
		t.Errorf("gaps %q", r.Gaps)
	}
	refs := release.Released(r)
	if len(refs.Images) != 2 || refs.Images[0].Release != rt.Repository+" "+tag || len(refs.Models) != 1 || refs.Models[0].Name != "toy" || refs.Models[0].Weights != weights {
		t.Errorf("%+v", refs)
	}
	if none := release.Released(); none == nil || len(none.Images)+len(none.Models) != 0 {
		t.Error("no releases allow something")
	}
}

// TestPublishers: the other ways to name who publishes.
func TestPublishers(t *testing.T) {
	f := newFixture(t)
	t.Run("whole identity", func(t *testing.T) {
		f.trust.Publisher = release.Signer{Name: "releases", Identity: rt.Workflow + "@" + ref, Issuer: rt.Issuer, Repository: rt.Repository, Ref: ref}
		if _, err := f.verify(); err != nil {
			t.Error(err)
		}
		f.trust.Publisher.Ref = "refs/tags/v1.2.4"
		f.refused(release.CodeIdentity)
	})
	t.Run("key", func(t *testing.T) {
		f := newFixture(t)
		key := rt.NewKey()
		f.trust.Publisher = release.Signer{Name: "releases", PublicKey: rt.PublicKey(key)}
		f.refused(release.CodeIdentity) // AT-43: a certificate where a key is pinned
		var bundles [][]byte
		for _, s := range f.items {
			bundles = append(bundles, f.w.Keyed(s, key, signed))
		}
		old := f.file
		f.file = must(release.NewFile(rt.Repository, rt.Commit, tag, bundles))
		if f.file.ID() != old.ID() {
			t.Error("who signs changes what is released")
		}
		f.file = must(f.file.Attach(old.Attachments...))
		r, err := f.verify()
		if err != nil || !strings.HasPrefix(r.Publisher, "key ") {
			t.Fatalf("%v", err)
		}
		f.trust.Repository = "https://git.simulated.example/sotto-project/other" // one key for two repositories
		f.refused(release.CodeIdentity)
		f.trust.Repository = rt.Repository
		f.trust.Publisher.PublicKey = rt.PublicKey(rt.NewKey())
		if _, err := f.verify(); err == nil {
			t.Error("AT-43: accepted under another key")
		}
		f.trust = newFixture(t).trust
		f.trust.TrustedRoot = f.w.TrustedRoot()
		f.refused(release.CodeIdentity) // AT-43: a key where a certificate is pinned
	})
}

// TestNeverLogged: signed, and kept from everybody else.
func TestNeverLogged(t *testing.T) {
	for _, kind := range []string{release.KindImage, release.KindModel, release.KindProvenance, release.KindSBOM} {
		t.Run("AT-42 "+kind, func(t *testing.T) {
			f := newFixture(t)
			f.edit(kind, func(b object) { delete(b["verificationMaterial"].(object), "tlogEntries") })
			f.refused(release.CodeAbsent)
		})
	}
	t.Run("AT-42 log that nobody trusts", func(t *testing.T) {
		f := newFixture(t)
		f.trust.TrustedRoot = rt.New(now.AddDate(0, -1, 0)).TrustedRoot()
		f.refused(release.CodeAbsent)
	})
}

func TestWrongIdentity(t *testing.T) {
	with := func(change func(*rt.Identity)) rt.Identity {
		who := rt.WorkflowAt(rt.Repository, ref)
		who.Ext = maps.Clone(who.Ext)
		change(&who)
		return who
	}
	for name, who := range map[string]rt.Identity{
		"other repository":      rt.WorkflowAt("https://git.simulated.example/sotto-project/other", ref),
		"fork":                  rt.WorkflowAt("https://git.simulated.example/mallory/sotto", ref),
		"branch instead of tag": rt.WorkflowAt(rt.Repository, "refs/heads/main"),
		"branch like the tag":   rt.WorkflowAt(rt.Repository, "refs/heads/"+tag),
		"other tag":             rt.WorkflowAt(rt.Repository, "refs/tags/v1.2.4"),
		"longer tag":            rt.WorkflowAt(rt.Repository, ref+"0"),
		"pull-request run":      rt.WorkflowAt(rt.Repository, "refs/pull/7/merge"),
		"look-alike host":       rt.WorkflowAt("https://git.simulated.example.evil.example/sotto-project/sotto", ref),
		"look-alike user":       rt.WorkflowAt("https://git.simulated.example@evil.example/sotto-project/sotto", ref),
		"other case":            rt.WorkflowAt("https://git.simulated.example/Sotto-Project/sotto", ref),
		"other workflow":        with(func(i *rt.Identity) { i.Name = strings.Replace(i.Name, "release.yml", "test.yml", 1) }),
		"trigger pull_request":  with(func(i *rt.Identity) { i.Ext[20] = "pull_request" }),
		"trigger target":        with(func(i *rt.Identity) { i.Ext[20] = "pull_request_target" }),
		"other issuer":          with(func(i *rt.Identity) { i.Ext[8] = "https://token.evil.example" }),
		"name, other source":    with(func(i *rt.Identity) { i.Ext[12] = "https://git.simulated.example/mallory/sotto" }),
		"name, other ref":       with(func(i *rt.Identity) { i.Ext[14] = "refs/heads/main" }),
		"name, other signer":    with(func(i *rt.Identity) { i.Ext[9] = strings.Replace(i.Name, "release", "test", 1) }),
		"name, other commit":    with(func(i *rt.Identity) { i.Ext[13] = strings.Repeat("f", 40) }),
		"another commit": with(func(i *rt.Identity) {
			i.Ext[10], i.Ext[13], i.Ext[19] = strings.Repeat("f", 40), strings.Repeat("f", 40), strings.Repeat("f", 40)
		}),
		"old extensions only":   {Name: rt.Workflow + "@" + ref, Ext: map[int]string{1: rt.Issuer, 2: "push", 3: rt.Commit, 5: "sotto-project/sotto", 6: ref}},
		"no extensions":         {Name: rt.Workflow + "@" + ref},
		"two names":             with(func(i *rt.Identity) { i.More = []string{"https://example.org"} }),
		"a person":              alice,
		"a person by this name": {Name: rt.Workflow + "@" + ref, Ext: map[int]string{8: rt.Issuer}},
	} {
		t.Run("AT-43 "+name, func(t *testing.T) {
			f := newFixture(t)
			f.publish(who, signed)
			f.refused(release.CodeIdentity)
		})
	}
	t.Run("AT-43 certificate in no log", func(t *testing.T) {
		f := newFixture(t)
		f.w.CTLog = true
		f.trust.TrustedRoot = f.w.TrustedRoot()
		f.refused(release.CodeIdentity)
	})
	t.Run("AT-43 one statement by another", func(t *testing.T) {
		f := newFixture(t)
		good := must(release.NewFile(rt.Repository, rt.Commit, tag, f.file.Bundles))
		f.publish(rt.WorkflowAt("https://git.simulated.example/mallory/sotto", ref), signed)
		for i := range f.file.Bundles {
			mixed := *good
			mixed.Bundles = slices.Clone(good.Bundles)
			mixed.Bundles[i] = f.file.Bundles[i]
			r, err := release.Verify(must(mixed.Append(nil)), &f.trust, now)
			refused(t, r, err, release.CodeIdentity)
		}
	})
	t.Run("AT-43 release of another repository", func(t *testing.T) {
		f := newFixture(t)
		other := "https://git.simulated.example/sotto-project/other"
		f.trust.Repository, f.trust.Publisher.Repository, f.trust.Publisher.Workflow = other, other, other+"/.github/workflows/release.yml"
		f.refused(release.CodeIdentity)
	})
}

// TestTrustIsNotForOthersToChoose: whom to believe comes from the user alone.
func TestTrustIsNotForOthersToChoose(t *testing.T) {
	f := newFixture(t)
	whole := string(must(json.Marshal(f.trust)))
	if _, err := release.ParseTrust([]byte(whole)); err != nil {
		t.Fatal(err)
	}
	t.Run("AT-44", func(t *testing.T) {
		remote := strings.Replace(whole, `"trusted_root":{`, `"trusted_root":"https://operator.example/root.json","x":{`, 1)
		if _, err := release.ParseTrust([]byte(remote)); release.CodeOf(err) != "cfg.policy.remote" {
			t.Errorf("%v", err)
		}
		// Nor does a file bring its own: there is no place in it for a trust.
		for _, member := range []string{`"trusted_root":{}`, `"publisher":{}`, `"policy":{}`} {
			lines := strings.SplitAfterN(string(f.bytes()), "\n", 2)
			lines[0] = strings.Replace(lines[0], `{"version"`, `{`+member+`,"version"`, 1)
			r, err := release.Verify([]byte(lines[0]+lines[1]), &f.trust, now)
			refused(t, r, err, release.CodeFormat)
		}
	})
	var zero *release.Trust
	for _, trust := range []*release.Trust{zero, {}} {
		r, err := release.Verify(f.bytes(), trust, now)
		refused(t, r, err, release.CodeTrust)
	}
	for name, change := range map[string]func(*release.Trust){
		"no root":              func(t *release.Trust) { t.TrustedRoot = nil },
		"no repository":        func(t *release.Trust) { t.Repository = "" },
		"no publisher":         func(t *release.Trust) { t.Publisher = release.Signer{} },
		"publisher no issuer":  func(t *release.Trust) { t.Publisher.Issuer = "" },
		"pattern":              func(t *release.Trust) { t.Publisher.Workflow += ".*" },
		"workflow and key":     func(t *release.Trust) { t.Publisher.PublicKey = t.Reviewers[1].PublicKey },
		"workflow elsewhere":   func(t *release.Trust) { t.Publisher.Workflow = "https://evil.example/a/b/release.yml" },
		"workflow with ref":    func(t *release.Trust) { t.Publisher.Workflow += "@refs/heads/main" },
		"other repository":     func(t *release.Trust) { t.Publisher.Repository = "https://git.simulated.example/a/b" },
		"no age":               func(t *release.Trust) { t.MinAge = 0 },
		"age and waived":       func(t *release.Trust) { t.WithoutAge = true },
		"no k":                 func(t *release.Trust) { t.K = 0 },
		"k too large":          func(t *release.Trust) { t.K = 4 },
		"no reviewers":         func(t *release.Trust) { t.Reviewers = nil },
		"no age of endorsing":  func(t *release.Trust) { t.MaxAgeEndorsement = 0 },
		"reviewers and waived": func(t *release.Trust) { t.WithoutReviewers = true },
		"one reviewer twice":   func(t *release.Trust) { t.Reviewers[2].PublicKey = t.Reviewers[1].PublicKey },
		"one name twice":       func(t *release.Trust) { t.Reviewers[2].Name = "bob" },
		"publisher reviews": func(t *release.Trust) {
			t.Publisher = t.Reviewers[1]
			t.Publisher.Name = "releases"
		},
		"reviewer by workflow":      func(t *release.Trust) { t.Reviewers[0] = t.Publisher; t.Reviewers[0].Name = "x" },
		"emergency not shorter":     func(t *release.Trust) { t.Emergency.MinAge = t.MinAge },
		"emergency not more":        func(t *release.Trust) { t.Emergency.K = t.K },
		"emergency beyond all":      func(t *release.Trust) { t.Emergency.K = 4 },
		"quorum without witnesses":  func(t *release.Trust) { t.Quorum = 1 },
		"witnesses without quorum":  func(t *release.Trust) { t.Witnesses = []string{newFixtureWitness()} },
		"workflow identity, no ref": func(t *release.Trust) { t.Reviewers[0].Identity += "@refs/heads/main" },
		"public key":                func(t *release.Trust) { t.Reviewers[1].PublicKey = "AAAA" },
		"revoker":                   func(t *release.Trust) { t.Revokers = []release.Signer{{Name: "x"}} },
	} {
		t.Run("zero/"+name, func(t *testing.T) {
			f := newFixture(t)
			change(&f.trust)
			f.refused(release.CodeTrust)
		})
	}
	for name, s := range map[string]string{"unknown": strings.Replace(whole, `"k":2`, `"k":2,"kk":2`, 1), "twice": strings.Replace(whole, `"k":2`, `"k":2,"k":1`, 1),
		"other case": strings.Replace(whole, `"k":2`, `"K":2`, 1), "null": strings.Replace(whole, `"k":2`, `"k":null`, 1), "more": whole + "{}", "not": "x"} {
		if _, err := release.ParseTrust([]byte(s)); release.CodeOf(err) != release.CodeTrust {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func newFixtureWitness() string { return rt.New(now).AddWitness("w.simulated.example") }

// TestPromiseWithoutProof: the log says it will, and nobody can check.
func TestPromiseWithoutProof(t *testing.T) {
	for name, change := range map[string]func(object){
		"no proof":      func(e object) { delete(e, "inclusionProof") },
		"no checkpoint": func(e object) { delete(e["inclusionProof"].(object), "checkpoint") },
		"promise only": func(e object) {
			delete(e, "inclusionProof")
			e["inclusionPromise"] = object{"signedEntryTimestamp": "AAAA"}
		},
		"hashes cut":     func(e object) { p := e["inclusionProof"].(object); p["hashes"] = p["hashes"].([]any)[1:] },
		"another leaf":   func(e object) { e["inclusionProof"].(object)["logIndex"] = "0" },
		"smaller tree":   func(e object) { e["inclusionProof"].(object)["treeSize"] = "1" },
		"another root":   func(e object) { e["inclusionProof"].(object)["rootHash"] = strings.Repeat("A", 43) + "=" },
		"foreign signer": func(e object) { swapCheckpoint(e) },
	} {
		t.Run("AT-46 "+name, func(t *testing.T) {
			for _, kind := range []string{release.KindImage, release.KindModel} {
				f := newFixture(t)
				f.edit(kind, func(b object) { change(entry(b)) })
				f.refused(release.CodeInclusion)
			}
		})
	}
}

func swapCheckpoint(e object) {
	other := rt.New(now.AddDate(0, -1, 0))
	var b object
	if err := json.Unmarshal(other.Keyed([]byte("x"), rt.NewKey(), signed), &b); err != nil {
		panic(err)
	}
	e["inclusionProof"].(object)["checkpoint"] = entry(b)["inclusionProof"].(object)["checkpoint"]
}

func TestRevoked(t *testing.T) {
	for _, who := range []string{"publisher", "alice", "bob"} {
		t.Run("AT-51 release by "+who, func(t *testing.T) {
			f := newFixture(t)
			f.revoke(who, release.KindRelease, f.file.ID(), now.Add(-time.Minute))
			f.refused(release.CodeRevoked)
		})
	}
	t.Run("AT-51 everything in it", func(t *testing.T) {
		f := newFixture(t)
		f.revoke("bob", release.KindImage, image, now.Add(-time.Minute))
		r, err := f.verify()
		if err != nil || r.Images[0].Revoked != "writes prompts to disk" {
			t.Fatalf("%v", err)
		}
		if refs := release.Released(r); refs.Images[0].Revoked == "" || refs.Images[1].Revoked == "" || len(refs.Models) != 1 {
			t.Errorf("%+v", refs)
		}
		f.revoke("bob", release.KindModel, weights, now.Add(-time.Minute))
		f.refused(release.CodeRevoked)
	})
	t.Run("AT-51 from another release", func(t *testing.T) {
		old, err := newFixture(t).verify()
		if err != nil {
			t.Fatal(err)
		}
		f := newFixture(t)
		f.items = statements(func(m *release.ImageManifest) { m.Role = "gateway" })
		f.publish(rt.WorkflowAt(rt.Repository, ref), signed)
		f.endorse("alice", release.ClaimReviewed, now.Add(-time.Hour))
		f.endorse("bob", release.ClaimReviewed, now.Add(-time.Hour))
		f.revoke("publisher", release.KindRelease, old.ID, now.Add(-time.Minute))
		f.revoke("publisher", release.KindChip, [32]byte{1}, now.Add(-time.Minute))
		f.revoke("publisher", release.KindNode, [32]byte{2}, now.Add(-time.Minute))
		r, err := f.verify()
		if err != nil {
			t.Fatal(err)
		}
		refs := release.Released(old, r)
		if refs.Images[0].Revoked == "" || refs.Images[2].Revoked != "" || len(refs.Models) != 1 ||
			!slices.Equal(refs.RevokedChips, [][32]byte{{1}}) || !slices.Equal(refs.RevokedNodes, [][32]byte{{2}}) {
			t.Errorf("%+v", refs)
		}
	})
	t.Run("by a stranger", func(t *testing.T) {
		f := newFixture(t)
		f.keys["mallory"] = rt.NewKey()
		f.revoke("mallory", release.KindRelease, f.file.ID(), now.Add(-time.Minute))
		r, err := f.verify()
		if err != nil || len(r.Unused) != 1 || len(r.Revocations) != 0 {
			t.Fatalf("%v", err)
		}
		f.trust.Revokers = []release.Signer{{Name: "mallory", PublicKey: rt.PublicKey(f.keys["mallory"])}}
		f.refused(release.CodeRevoked)
	})
	t.Run("AT-42 revocation never logged", func(t *testing.T) {
		f := newFixture(t)
		f.revoke("bob", release.KindRelease, f.file.ID(), now.Add(-time.Minute))
		for i := range f.file.Attachments {
			var b object
			if err := json.Unmarshal(f.file.Attachments[i], &b); err != nil {
				t.Fatal(err)
			}
			delete(b["verificationMaterial"].(object), "tlogEntries")
			f.file.Attachments[i] = must(json.Marshal(b))
		}
		f.file = must(f.file.Attach())
		f.trust.Policy = release.Policy{WithoutReviewers: true, WithoutAge: true}
		r, err := f.verify()
		if err != nil || len(r.Unused) != 3 || len(r.Revocations)+len(r.Endorsements) != 0 {
			t.Errorf("%v", err)
		}
	})
}

func TestReviewers(t *testing.T) {
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		make func(*fixture)
		want transparency.Code
	}{
		"none": {func(f *fixture) { f.publish(rt.WorkflowAt(rt.Repository, ref), signed) }, release.CodeReviewers},
		"one":  {func(f *fixture) { bare(f); f.endorse("alice", release.ClaimReviewed, now.Add(-day)) }, release.CodeReviewers},
		"one twice": {func(f *fixture) {
			bare(f)
			f.endorse("alice", release.ClaimReviewed, now.Add(-day))
			f.endorse("alice", release.ClaimReviewed, now.Add(-day/2))
		}, release.CodeReviewers},
		"second is good only": {func(f *fixture) {
			bare(f)
			f.endorse("alice", release.ClaimReviewed, now.Add(-day))
			f.endorse("bob", release.ClaimGood, now.Add(-day))
		}, release.CodeReviewers},
		"of another release": {func(f *fixture) {
			bare(f)
			f.endorse("alice", release.ClaimReviewed, now.Add(-day))
			f.endorseID([32]byte{1}, "bob", release.ClaimReviewed, now.Add(-day))
		}, release.CodeReviewers},
		"by a stranger": {func(f *fixture) {
			bare(f)
			f.keys["mallory"] = rt.NewKey()
			f.endorse("alice", release.ClaimReviewed, now.Add(-day))
			f.endorse("mallory", release.ClaimReviewed, now.Add(-day))
		}, release.CodeReviewers},
		"publisher for itself": {func(f *fixture) {
			bare(f)
			f.endorse("alice", release.ClaimReviewed, now.Add(-day))
			f.endorse("publisher", release.ClaimReviewed, now.Add(-day))
		}, release.CodeReviewers},
		"one long ago": {func(f *fixture) {
			bare(f)
			f.endorse("alice", release.ClaimReviewed, now.Add(-day))
			f.endorse("bob", release.ClaimReviewed, now.Add(-49*time.Hour))
		}, release.CodeStale},
		"one long ago, still good": {func(f *fixture) {
			bare(f)
			f.endorse("alice", release.ClaimReviewed, now.Add(-day))
			f.endorse("bob", release.ClaimReviewed, now.Add(-4*day))
			f.endorse("bob", release.ClaimGood, now.Add(-day))
		}, ""},
		"just in time": {func(f *fixture) {
			bare(f)
			f.endorse("alice", release.ClaimReviewed, now.Add(-2*day))
			f.endorse("bob", release.ClaimReviewed, now.Add(-2*day))
		}, ""},
		"a second late": {func(f *fixture) {
			bare(f)
			f.endorse("alice", release.ClaimReviewed, now.Add(-2*day-time.Second))
			f.endorse("bob", release.ClaimReviewed, now.Add(-2*day))
		}, release.CodeStale},
		"expired": {func(f *fixture) {
			f.trust.MaxAgeEndorsement *= 100
			bare(f)
			f.endorse("alice", release.ClaimReviewed, now.Add(-31*day))
			f.endorse("bob", release.ClaimReviewed, now.Add(-day))
		}, release.CodeStale},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.w = rt.New(now.AddDate(-1, 0, 0))
			f.trust.TrustedRoot = f.w.TrustedRoot()
			f.publish(rt.WorkflowAt(rt.Repository, ref), signed)
			c.make(f)
			if r, err := f.verify(); release.CodeOf(err) != c.want || (err == nil) != (r != nil) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	t.Run("says it of the future", func(t *testing.T) {
		f := newFixture(t)
		bare(f)
		f.endorse("alice", release.ClaimReviewed, now.Add(-day))
		s := must(statement(release.TypeEndorsement, []release.Subject{release.NewSubject("release", f.file.ID())},
			release.Endorsement{Claim: release.ClaimReviewed, AsOf: now.AddDate(1, 0, 0), Expires: now.AddDate(2, 0, 0)}))
		f.attach("bob", s, now.Add(-3*day))
		f.refused(release.CodeStale)
	})
	t.Run("waived", func(t *testing.T) {
		f := newFixture(t)
		bare(f)
		f.trust.Policy = release.Policy{WithoutReviewers: true, WithoutAge: true}
		r, err := f.verify()
		if err != nil || len(r.Gaps) != 3 {
			t.Errorf("%v %q", err, r.Gaps)
		}
	})
}

// bare takes all endorsements away.
func bare(f *fixture) {
	f.file = must(release.NewFile(rt.Repository, rt.Commit, tag, f.file.Bundles))
}

func TestCoolingOff(t *testing.T) {
	publish := func(f *fixture, age time.Duration, reviewers ...string) {
		f.publish(rt.WorkflowAt(rt.Repository, ref), now.Add(-age))
		for _, r := range reviewers {
			f.endorse(r, release.ClaimReviewed, now.Add(-time.Minute))
		}
	}
	h := time.Hour
	for name, c := range map[string]struct {
		age       time.Duration
		reviewers []string
		want      transparency.Code
		emergency bool
	}{
		"old enough":             {72 * h, []string{"alice", "bob"}, "", false},
		"a second too young":     {72*h - time.Second, []string{"alice", "bob"}, release.CodeAge, false},
		"emergency":              {h, []string{"alice", "bob", "carol"}, "", true},
		"emergency, too young":   {h - time.Second, []string{"alice", "bob", "carol"}, release.CodeAge, false},
		"emergency, one short":   {71 * h, []string{"alice", "carol"}, release.CodeAge, false},
		"no emergency by age":    {73 * h, []string{"alice", "bob", "carol"}, "", false},
		"half a minute from now": {-30 * time.Second, []string{"alice", "bob"}, release.CodeAge, false},
		"from the future":        {-2 * h, []string{"alice", "bob"}, "log.time", false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			publish(f, c.age, c.reviewers...)
			r, err := f.verify()
			if release.CodeOf(err) != c.want || err == nil && r.Emergency != c.emergency {
				t.Fatalf("%v, want %q", err, c.want)
			}
			loud := err == nil && slices.ContainsFunc(r.Gaps, func(s string) bool { return strings.HasPrefix(s, "EMERGENCY RELEASE") })
			if loud != c.emergency {
				t.Errorf("gaps %q", r.Gaps)
			}
		})
	}
	t.Run("no emergency path", func(t *testing.T) {
		f := newFixture(t)
		f.trust.Emergency = nil
		publish(f, 2*h, "alice", "bob", "carol")
		f.refused(release.CodeAge)
	})
	t.Run("one young statement among old", func(t *testing.T) {
		f := newFixture(t)
		young := f.w.Keyless(f.items[0], rt.WorkflowAt(rt.Repository, ref), now.Add(-h))
		for i, it := range f.file.Index.Items {
			if it.Kind == release.KindSBOM {
				f.file.Bundles[i] = young
			}
		}
		f.refused(release.CodeAge)
	})
	t.Run("signed long ago, shown today", func(t *testing.T) { // timestamps say when, not where
		f := newFixture(t)
		f.trust.Witnesses, f.trust.Quorum = []string{f.w.AddWitness("w1.simulated.example"), f.w.AddWitness("w2.simulated.example")}, 2
		f.refused("log.witness") // logged before there were witnesses: nobody saw it
		publish(f, 72*h, "alice", "bob")
		r, err := f.verify()
		if err != nil || len(r.Gaps) != 0 || !r.Public.Equal(now.Add(-72*h)) {
			t.Fatalf("%v %+v", err, r)
		}
		f.trust.Witnesses[1] = newFixtureWitness()
		f.refused("log.witness")
	})
	// Three witnesses of which two are asked for; one lies about when it saw the log.
	for name, c := range map[string]struct {
		age  time.Duration
		lie  time.Duration // from the honest witnesses' time
		keep int           // how many honest lines a carrier leaves in
		want transparency.Code
	}{
		"new, a liar in the past":                   {time.Minute, -365 * 24 * h, 2, release.CodeAge},
		"new, a liar in the past, one honest":       {time.Minute, -365 * 24 * h, 1, release.CodeAge},
		"old enough, a liar in the past, one else":  {72 * h, -365 * 24 * h, 1, ""},
		"old enough, a liar in the future":          {72 * h, 365 * 24 * h, 2, ""},
		"old enough, a liar late, one honest":       {72 * h, 2 * h, 1, release.CodeAge},
		"old enough, a liar in the future, no more": {72 * h, 365 * 24 * h, 1, "log.witness"},
	} {
		t.Run("AT-49 "+name, func(t *testing.T) {
			f := newFixture(t)
			f.trust.Quorum = 2
			for i := range c.keep {
				f.trust.Witnesses = append(f.trust.Witnesses, f.w.AddWitness([]string{"w1", "w2"}[i]+".simulated.example"))
			}
			for len(f.trust.Witnesses) < 2 {
				f.trust.Witnesses = append(f.trust.Witnesses, newFixtureWitness())
			}
			f.trust.Witnesses = append(f.trust.Witnesses, f.w.AddLiar("w3.simulated.example", c.lie))
			publish(f, c.age, "alice", "bob")
			r, err := f.verify()
			if release.CodeOf(err) != c.want {
				t.Errorf("%v, want %q; %+v", err, c.want, r)
			}
		})
	}
}

// TestNewStatement: what nobody would read is not printed.
func TestNewStatement(t *testing.T) {
	subject := []release.Subject{release.NewSubject("x", image)}
	for _, c := range []struct {
		kind      string
		subjects  []release.Subject
		predicate any
		ok        bool
	}{
		{release.TypeRevocation, subject, release.Revocation{Kind: release.KindImage, Reason: "x", AsOf: now}, true},
		{release.TypeRevocation, subject, release.Revocation{Kind: release.KindImage, AsOf: now}, false},
		{release.TypeRevocation, subject, release.Revocation{Kind: "user", Reason: "x", AsOf: now}, false},
		{release.TypeRevocation, nil, release.Revocation{Kind: release.KindImage, Reason: "x", AsOf: now}, false},
		{release.TypeRevocation, append(subject, subject...), release.Revocation{Kind: release.KindImage, Reason: "x", AsOf: now}, false},
		{release.TypeEndorsement, subject, release.Endorsement{Claim: release.ClaimGood, AsOf: now, Expires: now}, false},
		{release.TypeEndorsement, subject, release.Endorsement{Claim: release.ClaimGood, AsOf: now, Expires: now.Add(time.Second)}, true},
		{release.TypeEndorsement, subject, release.Endorsement{Claim: release.ClaimGood, AsOf: now.Add(1), Expires: now.Add(time.Second)}, false},
		{release.TypeEndorsement, subject, release.Endorsement{Claim: "bad", AsOf: now, Expires: now.Add(time.Second)}, false},
		{release.TypeImage, subject, release.ImageManifest{}, false},
		{release.TypeModel, subject, release.ModelManifest{}, false},
		{release.TypeSBOM, subject, "x", false},
	} {
		if _, err := release.NewStatement(c.kind, c.subjects, c.predicate); (err == nil) != c.ok {
			t.Errorf("%s %+v: %v", c.kind, c.predicate, err)
		}
	}
}

// TestPiecesFit: each statement is in order, and together they are not.
func TestPiecesFit(t *testing.T) {
	make := func(t *testing.T, items ...[]byte) error {
		f := newFixture(t)
		f.items = items
		f.trust.Policy = release.Policy{WithoutReviewers: true, WithoutAge: true}
		f.publish(rt.WorkflowAt(rt.Repository, ref), signed)
		_, err := f.verify()
		return err
	}
	good := statements(nil)
	prov := func(commit string) []byte {
		return must(statement(release.TypeProvenance, []release.Subject{release.NewSubject("other", weights)},
			object{"buildDefinition": object{"resolvedDependencies": []any{object{"digest": object{"gitCommit": commit}}}}}))
	}
	for name, items := range map[string][][]byte{
		"no SBOM":              good[1:],
		"no provenance":        {good[0], good[2], good[3]},
		"SBOM alone":           good[:1],
		"other commit":         append(slices.Clone(good), prov(strings.Repeat("f", 40))),
		"image of another tag": statements(func(m *release.ImageManifest) { m.Tag = "v1.2.4" }),
		"of another commit":    statements(func(m *release.ImageManifest) { m.Commit = strings.Repeat("f", 40) }),
		"provenance of others": {good[0], prov(rt.Commit), statements(func(m *release.ImageManifest) { m.Provenance = sha256.Sum256(prov(rt.Commit)) })[2]},
		"image twice":          append(slices.Clone(good), statements(func(m *release.ImageManifest) { m.Role = "x" })[2]),
		"verity root":          statements(func(m *release.ImageManifest) { m.VerityRoot = strings.Repeat("a", 64) }),
		"register left open":   statements(func(m *release.ImageManifest) { delete(m.Measurements[0].PCRs, 11) }),
		"register not quoted":  statements(func(m *release.ImageManifest) { m.Measurements[0].PCRs[23] = attestation.Digest{} }),
		"no role":              statements(func(m *release.ImageManifest) { m.Role = "" }),
		"no recipe":            statements(func(m *release.ImageManifest) { m.Recipe.Command = "" }),
		"measured twice":       statements(func(m *release.ImageManifest) { m.Measurements[1].Name = m.Measurements[0].Name }),
		"model twice": append(slices.Clone(good), must(statement(release.TypeModel, []release.Subject{release.NewSubject("x", image)},
			release.ModelManifest{Name: "toy", Source: "https://x.example/", Revision: "1", Format: "gguf", Context: 1}))),
		"model without source": {must(statement(release.TypeModel, []release.Subject{release.NewSubject("x", image)},
			release.ModelManifest{Name: "toy", Source: "http://x.example/", Revision: "1", Format: "gguf", Context: 1}))},
	} {
		t.Run(name, func(t *testing.T) {
			if err := make(t, items...); release.CodeOf(err) != release.CodeFormat {
				t.Errorf("%v", err)
			}
		})
	}
	if err := make(t, good[3]); err != nil { // a model alone is a release
		t.Error(err)
	}
}
