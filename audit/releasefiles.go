// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sotto-project/sotto/transparency/release"
)

// maxReleaseFiles is how many files of a folder are looked at.
const maxReleaseFiles = 4096

// ReleaseFiles are release files in a folder, found by what is in them. The folder
// is looked at, and a file verified, each time that one is asked for, under the
// auditor's own trust: what comes later, such as a withdrawal, counts from then on.
type ReleaseFiles struct {
	dir   string
	trust *release.Trust

	mu    sync.Mutex
	files map[string]releaseFile // by name
}

// A releaseFile is what a file was when it was last read.
type releaseFile struct {
	path    string
	size    int64
	changed time.Time
	digest  [32]byte // as statements name it; zero if it is no release file
	id      [32]byte // the release's own
	own     [][32]byte
}

// OpenReleaseFiles reads a folder. What is no release file there is left alone.
func OpenReleaseFiles(dir string, t *release.Trust) (*ReleaseFiles, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	f := &ReleaseFiles{dir: dir, trust: t}
	if _, err := f.scan(); err != nil {
		return nil, err
	}
	return f, nil
}

// scan lists the release files that are there now, by name. Only those that changed
// are read.
func (f *ReleaseFiles) scan() ([]releaseFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("release files: %s cannot be listed: %v", f.dir, err)
	}
	if len(entries) > maxReleaseFiles {
		return nil, fmt.Errorf("release files: more than %d in %s", maxReleaseFiles, f.dir)
	}
	files, list := map[string]releaseFile{}, []releaseFile{}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		now, err := f.look(e)
		if absent(err) {
			continue // gone meanwhile
		}
		if err != nil {
			return nil, err
		}
		files[e.Name()] = now
		if now.digest != [32]byte{} {
			list = append(list, now)
		}
	}
	f.files = files
	return list, nil
}

func (f *ReleaseFiles) look(e fs.DirEntry) (releaseFile, error) {
	info, err := e.Info()
	if err != nil {
		return releaseFile{}, fmt.Errorf("release files: %w", err)
	}
	old, ok := f.files[e.Name()]
	if ok && old.size == info.Size() && old.changed.Equal(info.ModTime()) {
		return old, nil
	}
	now := releaseFile{path: filepath.Join(f.dir, e.Name()), size: info.Size(), changed: info.ModTime()}
	b, err := readRelease(now.path)
	if err != nil {
		return now, err
	}
	if parsed, err := release.ParseFile(b); err == nil {
		now.digest, now.id, now.own = release.Digest(b), parsed.ID(), parsed.Logged()
	}
	return now, nil
}

// Own lists the digests under which a log has the statements in the files. They
// are those of files that you have put there, whoever signed them.
func (f *ReleaseFiles) Own() [][32]byte {
	var out [][32]byte
	list, err := f.scan()
	if err != nil {
		return nil // nothing is known to be one's own: what is found is told
	}
	for _, r := range list {
		out = append(out, r.own...)
	}
	return out
}

// readRelease reads no more than a release file may have.
func readRelease(path string) ([]byte, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("release files: %w", err)
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, release.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("release files: %w", err)
	}
	return b, nil
}

// Release implements [Releases]. The digest is that of a file, as statements name
// it, or a release's own, as reviewers do. A withdrawal in any file of the same
// release counts: a statement names the file as it was before.
func (f *ReleaseFiles) Release(_ context.Context, digest [32]byte, at time.Time) (*Release, error) {
	list, err := f.scan()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(r releaseFile) bool { return r.digest == digest })
	if i < 0 {
		i = slices.IndexFunc(list, func(r releaseFile) bool { return r.id == digest })
	}
	if i < 0 {
		return nil, fmt.Errorf("no release file in %s has digest %x: %w", f.dir, digest, fs.ErrNotExist)
	}
	named := list[i]
	b, err := readRelease(named.path)
	if err != nil {
		return nil, err
	}
	if release.Digest(b) != named.digest {
		return nil, fmt.Errorf("%s changed while it was read", named.path)
	}
	r, err := release.Verify(b, f.trust, at)
	if err != nil {
		return nil, err
	}
	out := described(b, r)
	for _, other := range list {
		if other.id != named.id || other.digest == named.digest {
			continue
		}
		b, err := readRelease(other.path)
		if err != nil {
			return nil, err
		}
		v, err := release.Verify(b, f.trust, at)
		switch {
		case err != nil && release.CodeOf(err) == release.CodeRevoked:
			return nil, err
		case err == nil && withdrawn(v) > withdrawn(out.Verified):
			out.Verified = v
		}
	}
	return out, nil
}

// withdrawn counts what of a release was withdrawn.
func withdrawn(r *release.Release) (n int) {
	for _, i := range r.Images {
		if i.Revoked != "" {
			n++
		}
	}
	for _, m := range r.Models {
		if m.Revoked != "" {
			n++
		}
	}
	return n + len(r.Revocations)
}

// described says what leads from a verified release to its source.
func described(file []byte, r *release.Release) *Release {
	out := &Release{Verified: r, Name: clean(r.Tag), Repository: clean(r.Repository), Commit: clean(r.Commit), Workflow: clean(r.Publisher)}
	if len(r.Images) > 0 { // of several images the first; all are of one commit
		out.describe(&r.Images[0])
	}
	f, err := release.ParseFile(file)
	if err != nil {
		return out
	}
	for i, it := range f.Index.Items {
		if it.Kind == release.KindImage && out.LogIndex == "" {
			out.LogIndex = logIndex(f.Bundles[i])
		}
	}
	return out
}

// describe says what is known of one image.
func (r *Release) describe(i *release.Image) {
	r.Image, r.SBOM, r.Provenance, r.Launches = hex.EncodeToString(i.Digest[:]), "", "", nil
	if i.SBOM != [32]byte{} {
		r.SBOM = hex.EncodeToString(i.SBOM[:])
	}
	if i.Provenance != [32]byte{} {
		r.Provenance = hex.EncodeToString(i.Provenance[:])
	}
	for _, m := range i.Measurements {
		if recipe, ok := i.Recipe.Inputs[release.LaunchInput(m.Name)]; ok {
			r.Launches = append(r.Launches, ReleaseLaunch{clean(m.Name), clean(recipe)})
		}
	}
}

// logIndex reads where in its log a bundle says that it is. The bundle was
// verified, proof and all.
func logIndex(bundle []byte) string {
	var b struct {
		VerificationMaterial struct {
			TlogEntries []struct {
				LogIndex json.Number `json:"logIndex"`
			} `json:"tlogEntries"`
		} `json:"verificationMaterial"`
	}
	if json.Unmarshal(bundle, &b) != nil || len(b.VerificationMaterial.TlogEntries) != 1 {
		return ""
	}
	if n := b.VerificationMaterial.TlogEntries[0].LogIndex.String(); n != "" {
		return n
	}
	return "0" // JSON of protocol buffers leaves zero out
}

// Find is [ReleaseFiles.Release] for a digest of any kind: of a file, a release,
// or an image in one that verifies.
func (f *ReleaseFiles) Find(ctx context.Context, digest [32]byte, at time.Time) (*Release, error) {
	r, err := f.Release(ctx, digest, at)
	if err == nil || !absent(err) {
		return r, err
	}
	list, serr := f.scan()
	if serr != nil {
		return nil, serr
	}
	for _, file := range list {
		b, rerr := readRelease(file.path)
		if rerr != nil {
			return nil, rerr
		}
		v, verr := release.Verify(b, f.trust, at)
		if verr != nil {
			continue
		}
		for _, i := range v.Images {
			if i.Digest == digest {
				out := described(b, v)
				out.describe(&i)
				return out, nil
			}
		}
	}
	return nil, err
}
