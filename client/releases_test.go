// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/transparency/release"
	rt "github.com/sotto-project/sotto/transparency/release/releasetest"
	"github.com/sotto-project/sotto/transparency/statement"
)

// asking makes a client ask for the releases of a world's maker.
func asking(w *world) func(*config) {
	return func(c *config) {
		t := w.Maker.Trust
		c.Releases = &t
	}
}

func old() time.Time { return time.Now().Add(-rt.MinAge - time.Hour) }

// TestReleased: what runs is in a release that the statement names, and the
// report says which, whose and since when.
func TestReleased(t *testing.T) {
	w := clienttest.Start(t, 3)
	w.Releases(w.Release(old()))
	w.Epoch(time.Now(), time.Hour)
	c := w.Client(asking(w))
	mustAsk(t, c)
	r, err := c.Verify(t.Context())
	if err != nil || len(r.Releases) != 1 {
		t.Fatalf("%v, %+v", err, r)
	}
	x := r.Releases[0]
	if x.Code != "" || x.Repository != rt.Repository || x.Commit != rt.Commit || x.Tag != rt.Tag || !strings.HasPrefix(x.Signer, rt.Workflow) ||
		time.Since(x.Public) < rt.MinAge || len(x.Reviews) != 1 || x.Reviews[0].Age > time.Hour || x.Emergency || x.Images != 1 || x.Models != 1 {
		t.Errorf("%+v", x)
	}
	for _, s := range []string{rt.Tag, "public      since", "reviewer    SIMULATED reviewer 1 (reviewed, ", "cooling-off as"} {
		if !strings.Contains(r.Text(), s) {
			t.Errorf("the report does not say %q:\n%s", s, r.Text())
		}
	}
	t.Run("nobody asks", func(t *testing.T) {
		r, err := w.Client().Verify(t.Context())
		if err != nil || len(r.Releases) != 0 || !slices.ContainsFunc(r.Gaps, func(g string) bool { return strings.HasPrefix(g, "releases not asked for") }) {
			t.Errorf("%v, gaps %q", err, r.Gaps)
		}
	})
	t.Run("saved", func(t *testing.T) {
		b, err := c.Save()
		if err != nil {
			t.Fatal(err)
		}
		s, err := client.ParseSaved(b)
		if err != nil {
			t.Fatal(err)
		}
		trust := w.Maker.Trust
		j := &client.Judge{Trust: w.Trust, Policy: w.Policy, Releases: &trust, At: s.Time}
		if r, err := j.Verify(s); err != nil || len(r.Releases) != 1 || r.Releases[0].Tag != rt.Tag {
			t.Errorf("%v", err)
		}
		other := rt.NewMaker(time.Now()).Trust
		j.Releases = &other
		if _, err := j.Verify(s); client.CodeOf(err) != "log.absent" {
			t.Errorf("under another trust: %v", err)
		}
	})
}

// TestEmergencyIsLoud: a release that is too young for the trust, let through by
// more reviewers, is said first.
func TestEmergencyIsLoud(t *testing.T) {
	w := clienttest.Start(t, 3)
	w.Releases(w.Maker.Endorse(w.Release(time.Now().Add(-2*rt.Emergency)), 1, time.Now().Add(-time.Minute)))
	w.Epoch(time.Now(), time.Hour)
	r, err := w.Client(asking(w)).Verify(t.Context())
	if err != nil || !r.Releases[0].Emergency || !strings.HasPrefix(r.Summary(), "EMERGENCY RELEASE") || !strings.Contains(r.Text(), "EMERGENCY RELEASE "+rt.Repository+" "+rt.Tag) {
		t.Fatalf("%v:\n%s", err, r.Text())
	}
}

// TestNewReleasesAreSaid: a client with a memory says since when it knows a
// release, and that one is new.
func TestNewReleasesAreSaid(t *testing.T) {
	w := clienttest.Start(t, 3)
	dir := t.TempDir()
	now := time.Now()
	look := func(at time.Time) *client.Report {
		t.Helper()
		c := w.Client(asking(w), func(c *config) { c.State, c.Now = dir, func() time.Time { return at } })
		r, err := c.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := w.Release(old())
	w.Releases(first)
	w.Epoch(now, time.Hour)
	if r := look(now); r.Releases[0].New || r.Releases[0].Known.IsZero() || strings.Contains(r.Text(), "NEW ") {
		t.Errorf("the first that this client met: %+v", r.Releases[0])
	}
	// Another word about the same release, and another release of the same bytes.
	w.Releases(w.Maker.Endorse(first, 1, now.Add(-time.Minute)), w.Release(old()))
	w.Epoch(now, time.Hour)
	r := look(now.Add(2 * time.Second))
	for _, x := range r.Releases {
		if x.New {
			t.Errorf("the same index is another release: %+v", x)
		}
	}
	other := w.Maker.Endorse(w.Maker.Make(rt.Repository, old(), w.Policy.Images, clienttest.Model+"-2", sha256.Sum256(nil)), 0, now.Add(-time.Minute))
	w.Releases(first, other)
	w.Epoch(now, time.Hour)
	r = look(now.Add(3 * time.Second))
	if r.Releases[0].New == r.Releases[1].New || !strings.Contains(r.Text(), "NEW ") || !strings.Contains(r.Summary(), "new release "+rt.Tag) {
		t.Errorf("%+v\n%s", r.Releases, r.Text())
	}
}

// TestUnreleased: no release, no prompt. Each fault is what an operator could
// put into a statement.
func TestUnreleased(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: nothing here happens at the same time; the race detector learns nothing new")
	}
	w := clienttest.Start(t, 3)
	good, young := w.Release(old()), w.Release(time.Now().Add(-time.Minute))
	now := time.Now()
	reviewed := func(b []byte) []byte { return w.Maker.Endorse(b, 0, now.Add(-time.Minute)) }
	make := func(repository string, images int, model string, weights [32]byte) []byte {
		measured := slices.Clone(w.Policy.Images[:1])
		if images == 0 { // another image than what runs
			measured[0].PCRs = map[int]attestation.Digest{}
			for i, v := range w.Policy.Images[0].PCRs {
				v[0] ^= 1
				measured[0].PCRs[i] = v
			}
		}
		return reviewed(w.Maker.Make(repository, old(), measured, model, weights))
	}
	weights := sha256.Sum256([]byte("SIMULATED weights"))
	servers := rt.NewMaker(now)
	for _, x := range []struct {
		row, name string
		code      string
		files     [][]byte
		edit      edit
	}{
		{"AT-42", "no release is named", "log.absent", nil, edit{}},
		{"AT-42", "signed and never logged", "log.absent", [][]byte{rt.Unlogged(good)}, edit{}},
		{"AT-42", "named and not shown", "log.absent", [][]byte{good}, edit{Statement: func(s *statement.Statement, _ *statement.Pack) { s.Releases[0].Digest[0] ^= 1 }}},
		{"AT-42", "an image that is not what runs", "log.absent", [][]byte{make(rt.Repository, 0, clienttest.Model, weights)}, edit{}},
		{"AT-42", "other weights", "log.absent", [][]byte{make(rt.Repository, 1, clienttest.Model, sha256.Sum256(nil))}, edit{}},
		{"AT-42", "the weights under another name", "log.absent", [][]byte{make(rt.Repository, 1, "other", weights)}, edit{}},
		{"AT-42", "one of two was never logged", "log.absent", [][]byte{good, rt.Unlogged(young)}, edit{}},
		{"AT-43", "another repository's workflow", "log.identity", [][]byte{make("https://git.simulated.example/other/sotto", 1, clienttest.Model, weights)}, edit{}},
		{"AT-44", "a log and an authority of the server's own", "log.absent", [][]byte{servers.Endorse(servers.Make(rt.Repository, old(), w.Policy.Images, clienttest.Model, weights), 0, now)}, edit{}},
		{"CL-11", "a trust beside the statement", "log.absent", [][]byte{servers.Endorse(servers.Make(rt.Repository, old(), w.Policy.Images, clienttest.Model, weights), 0, now)},
			edit{Statement: func(_ *statement.Statement, p *statement.Pack) { p.Add(servers.TrustedRoot()) }}},
		{"AT-46", "an entry without proof", "log.inclusion", [][]byte{rt.Unproven(good)}, edit{}},
		{"AT-51", "the image was withdrawn", "att.image.revoked", [][]byte{w.Maker.Revoke(w.Maker.Revoke(good, release.KindImage, rt.Image, "writes prompts to disk", now), release.KindModel, weights, "x", now)}, edit{}},
		{"AT-51", "the image was withdrawn, the model was not", "att.image.revoked", [][]byte{w.Maker.Revoke(good, release.KindImage, rt.Image, "writes prompts to disk", now)}, edit{}},
		{"AT-51", "the release was withdrawn", "att.image.revoked", [][]byte{w.Maker.Revoke(good, release.KindRelease, rt.ID(good), "x", now)}, edit{}},
		{"AT-51", "another release's file withdraws it", "att.image.revoked", [][]byte{good, w.Maker.Revoke(young, release.KindImage, rt.Image, "x", now)}, edit{}},
		{"AT-51", "the reviewers are silent", "release.stale", [][]byte{w.Maker.Endorse(w.Maker.Make(rt.Repository, old(), w.Policy.Images, clienttest.Model, weights), 0, now.Add(-rt.MaxWord-time.Hour))}, edit{}},
		{"H-57", "cooling off", "release.age", [][]byte{young}, edit{}},
		{"H-57", "reviewed by nobody", "release.reviewers", [][]byte{w.Maker.Make(rt.Repository, old(), w.Policy.Images, clienttest.Model, weights)}, edit{}},
	} {
		t.Run(x.row+"/"+x.name, func(t *testing.T) {
			w.Releases(x.files...)
			w.Epoch(time.Now(), time.Hour, x.edit)
			c := w.Client(asking(w))
			w.NoSend(t, func() {
				_, err := ask(t, c)
				refused(t, err, x.code)
			})
		})
	}
	t.Run("AT-51/nodes by name", func(t *testing.T) {
		w.Releases(w.Maker.Revoke(good, release.KindNode, w.Nodes[1].ID(), "stolen", now))
		w.Epoch(time.Now(), time.Hour)
		r, _ := w.Client(asking(w)).Verify(t.Context())
		for i, n := range r.Nodes {
			if want := map[bool]string{true: "att.image.revoked"}[strings.HasPrefix(n.ID, idHex(w, 1))]; n.Code != want {
				t.Errorf("node %d: %q, want %q", i, n.Code, want)
			}
		}
	})
	t.Run("a younger one beside it", func(t *testing.T) { // allows nothing yet, and stops nobody
		w.Releases(good, young)
		w.Epoch(time.Now(), time.Hour)
		c := w.Client(asking(w))
		mustAsk(t, c)
		r := c.Report()
		if len(r.Releases) != 2 || r.Releases[0].Code+r.Releases[1].Code != "release.age" {
			t.Errorf("%+v", r.Releases)
		}
	})
	t.Run("AT-51/while the client runs", func(t *testing.T) {
		w.Releases(good)
		w.Epoch(time.Now(), time.Hour)
		c := w.Client(asking(w))
		mustAsk(t, c)
		w.Releases(w.Maker.Revoke(good, release.KindRelease, rt.ID(good), "x", time.Now()))
		w.Epoch(time.Now(), time.Hour)
		w.NoSend(t, func() {
			_, err := c.Verify(t.Context())
			refused(t, err, "att.image.revoked")
		})
	})
	t.Run("AT-51/words grow old while the client runs", func(t *testing.T) {
		w.Releases(good)
		w.Epoch(time.Now(), time.Hour)
		tr := w.Maker.Trust
		j, err := release.NewJudge(&tr, 4)
		if err != nil {
			t.Fatal(err)
		}
		named := []release.Named{{Digest: release.Digest(good), Name: "x"}}
		find := func([32]byte) ([]byte, bool) { return good, true }
		if _, err := j.Judge(named, find, now); err != nil {
			t.Fatal(err)
		}
		gone := func([32]byte) ([]byte, bool) { return nil, false }
		if _, err := j.Judge(named, gone, now.Add(time.Minute)); err != nil {
			t.Errorf("looked at again: %v", err)
		}
		if _, err := j.Judge(named, find, now.Add(rt.MaxWord)); release.CodeOf(err) != release.CodeStale {
			t.Errorf("%v", err)
		}
	})
}

func idHex(w *world, i int) string {
	id := w.Nodes[i].ID()
	return hex.EncodeToString(id[:8])
}

// TestTrustInReleasesIsTheUsers: a client does not begin with one that somebody
// else would choose, or that asks for nothing.
func TestTrustInReleasesIsTheUsers(t *testing.T) {
	w := clienttest.Start(t, 1)
	t.Run("AT-44/zero", func(t *testing.T) {
		cfg := w.Config()
		cfg.Releases = &release.Trust{}
		if _, err := client.New(cfg); client.CodeOf(err) != client.CodeConfig {
			t.Errorf("%v", err)
		}
	})
	t.Run("AT-44/to be fetched", func(t *testing.T) {
		if _, err := release.ParseTrust([]byte(`{"trusted_root":"https://sotto.example/root.json"}`)); release.CodeOf(err) != release.CodeRemote {
			t.Errorf("%v", err)
		}
	})
}
