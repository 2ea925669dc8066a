// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/statement"
)

// Releases judges the releases that statements name, by an identity that the
// auditor has pinned.
type Releases interface {
	// Release verifies what is known of a release as of a time. An error that is
	// [fs.ErrNotExist] means that nothing is known of it. It may be called from
	// several goroutines.
	Release(ctx context.Context, digest [32]byte, at time.Time) (*Release, error)
}

// A Release is what leads from a digest to the source. An empty field is what is
// missing.
type Release struct {
	Name       string `json:"name,omitempty"`
	Repository string `json:"repository,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Workflow   string `json:"workflow,omitempty"` // the identity that signed
	Provenance string `json:"provenance,omitempty"`
	SBOM       string `json:"sbom,omitempty"`
	Log        string `json:"log,omitempty"`
	LogIndex   string `json:"log_index,omitempty"`
	Image      string `json:"image,omitempty"` // SHA-256 of the image's bytes
	// Launches say from what the image's launch measurements were computed.
	Launches []ReleaseLaunch `json:"launches,omitempty"`

	// Verified is what was verified: what it allows restricts the nodes of the
	// epochs that name it.
	Verified *release.Release `json:"-"`
}

// A ReleaseLaunch is the recipe of one launch measurement. Only its holder's own
// files say whether it gives the measurement: sotto-release re-derive.
type ReleaseLaunch struct {
	Name   string `json:"name"` // of the measurements
	Recipe string `json:"recipe"`
}

// Missing names what does not lead on.
func (r *Release) Missing() []string {
	var out []string
	for _, f := range []struct{ name, value string }{
		{"repository", r.Repository}, {"commit", r.Commit}, {"provenance", r.Provenance}, {"SBOM", r.SBOM}, {"log index", r.LogIndex}, {"image digest", r.Image},
	} {
		if f.value == "" {
			out = append(out, f.name)
		}
	}
	return out
}

// A ReleaseLog lists entries of the release log under the project's identity.
type ReleaseLog interface {
	// Entries returns entries from an index on, in order, of at most some thousand
	// that there are. seen is the checkpoint that the page before had, empty for the
	// first: a log that does not go on from it is a [*ReleaseForkError]; of another
	// log the beginning is returned.
	Entries(ctx context.Context, from uint64, seen []byte) (*ReleasePage, error)
}

// A ReleasePage is a part of a release log that was proven to be in it.
type ReleasePage struct {
	Entries []ReleaseEntry
	Next    uint64 // where to go on
	Note    []byte // the checkpoint
	More    bool   // there are more entries now
}

// A ReleaseForkError is a release log that signed two worlds.
type ReleaseForkError struct{ First, Second []byte }

func (e *ReleaseForkError) Error() string {
	return "the release log signed two trees of which neither begins with the other"
}

// A ReleaseEntry is an entry that carries the project's identity.
type ReleaseEntry struct {
	Index    uint64
	Identity string
	Digests  [][32]byte // of the artifacts that it is about
}

// released tells of releases that are named for the first time, and of those
// that have no provenance that holds.
func (a *Auditor) released(ctx context.Context, rec *EpochRecord, st *statement.Statement, begun bool) {
	if st == nil || st.Empty {
		return
	}
	found := alarms{epoch: &rec.Epoch, now: a.cfg.Now().UTC(), list: rec.Alarms}
	for _, r := range st.Releases {
		if _, ok := a.state.Known.has(knownRelease, r.Digest); ok {
			continue
		}
		if !a.reader.remember(&found, knownRelease, r.Digest, sight{epoch: st.Epoch}) {
			break
		}
		id := hex.EncodeToString(r.Digest[:])
		if begun { // the first statement that is not empty is news to nobody, but judged
			found.add(ReleaseNew, id, "named %q for the first time", r.Name)
		}
		if a.cfg.Releases == nil {
			continue
		}
		_, err := a.cfg.Releases.Release(ctx, r.Digest, st.NotBefore)
		switch {
		case err == nil:
		case !absent(err):
			found.add(ReleaseRefused, id, "named %q: %v", r.Name, err)
			a.refused[id] = true
		case !found.now.Before(st.NotAfter): // of later ones each look tells
			found.add(ReleaseMissing, id, "named %q: %v", r.Name, err)
		}
	}
	rec.Alarms = found.list
}

// current judges, at each look, the releases of the epoch in force and of the next
// one: a file may come later than the statement that names it, be withdrawn, or
// grow old. While no epoch is in force nothing is over.
func (a *Auditor) current(ctx context.Context) {
	now := a.cfg.Now().UTC()
	list := slices.DeleteFunc(append(slices.Clone(a.newestTwo), a.reader.full), func(st *statement.Statement) bool {
		return st == nil || st.Empty || !now.Before(st.NotAfter)
	})
	if a.cfg.Releases == nil || len(list) == 0 {
		return
	}
	seen := map[string]bool{}
	for _, st := range list {
		at := now
		if at.Before(st.NotBefore) {
			at = st.NotBefore
		}
		for _, r := range st.Releases {
			id := hex.EncodeToString(r.Digest[:])
			if seen[id] {
				continue
			}
			seen[id] = true
			_, err := a.cfg.Releases.Release(ctx, r.Digest, at)
			if ctx.Err() != nil {
				return
			}
			detail := clean(fmt.Sprintf("named %q: %v", r.Name, err))
			missing := err != nil && absent(err)
			refused := err != nil && !missing
			a.condition(ReleaseMissing, id, missing, detail, a.cfg.Grace)
			if refused && a.refused[id] && !a.has(ReleaseRefused, id) && a.room(ReleaseRefused) {
				// The epoch's record has just told of it; what is left is that it goes on.
				a.state.Incidents = append(a.state.Incidents, Incident{Code: ReleaseRefused, Subject: id, Since: now.Truncate(time.Second), Told: true})
			}
			a.condition(ReleaseRefused, id, refused, detail, 0)
		}
	}
	a.state.Incidents = slices.DeleteFunc(a.state.Incidents, func(x Incident) bool {
		return (x.Code == ReleaseRefused || x.Code == ReleaseMissing) && !seen[x.Subject]
	})
}

// unjudged counts releases in force of which no file is there and which the alarm
// is not told of yet.
func (a *Auditor) unjudged() (n int) {
	for _, x := range a.state.Incidents {
		if x.Code == ReleaseMissing && !x.Told {
			n++
		}
	}
	return n
}

// allowed is what the releases that a statement names allow as of a time; nil
// where releases are not judged. One that is refused allows nothing, and is told
// of by itself.
func (a *Auditor) allowed(ctx context.Context, st *statement.Statement, at time.Time) *attestation.Released {
	if a.cfg.Releases == nil {
		return nil
	}
	var list []*release.Release
	for _, named := range st.Releases {
		if r, err := a.cfg.Releases.Release(ctx, named.Digest, at); err == nil && r.Verified != nil {
			list = append(list, r.Verified)
		}
	}
	return release.Released(list...)
}

// watchReleases looks for entries under our identity that are not ours.
func (a *Auditor) watchReleases(ctx context.Context) {
	if a.cfg.ReleaseLog == nil {
		return
	}
	for range 1 << 10 { // an endless log goes on in the next step
		page, err := a.releasePage(ctx)
		if two := new(ReleaseForkError); errors.As(err, &two) {
			a.releaseFork(two)
		}
		if ctx.Err() != nil {
			return
		}
		a.condition(MirrorDown, "release log", err != nil, fmt.Sprint("the release log cannot be read: ", err), a.cfg.Grace)
		if err != nil {
			return
		}
		for _, e := range page.Entries {
			own := len(e.Digests) > 0
			for _, d := range e.Digests {
				own = own && a.ours(d)
			}
			if !own {
				a.lasting(IdentityForeign, fmt.Sprintf("entry %d", e.Index), fmt.Sprintf("signed as %q, over %s, which is not on your list", clean(e.Identity), firstDigest(e.Digests)), "")
			}
		}
		a.state.ReleaseNext, a.state.ReleaseNote = page.Next, page.Note
		if !page.More {
			return
		}
	}
}

// ours reports whether a digest is on the list of what is ours, or in a release
// file that is there by now.
func (a *Auditor) ours(d [32]byte) bool {
	if slices.Contains(a.cfg.Own, d) {
		return true
	}
	f, ok := a.cfg.Releases.(interface{ Own() [][32]byte })
	return ok && slices.Contains(f.Own(), d)
}

func (a *Auditor) releasePage(ctx context.Context) (*ReleasePage, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	return a.cfg.ReleaseLog.Entries(ctx, a.state.ReleaseNext, a.state.ReleaseNote)
}

// releaseFork keeps both checkpoints, one after the other.
func (a *Auditor) releaseFork(e *ReleaseForkError) {
	name := evidenceName("release-log", [2][]byte{subject(e.First), subject(e.Second)})
	if a.has(LogFork, name) || !a.room(LogFork) {
		return
	}
	kept, err := a.store.keep(name, slices.Concat(e.First, []byte("\n"), e.Second))
	if err != nil {
		a.broken = err
		return
	}
	if kept {
		a.lasting(LogFork, name, e.Error(), name)
	}
}

func firstDigest(list [][32]byte) string {
	if len(list) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%x", list[0])
}
