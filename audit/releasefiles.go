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
	"time"

	"github.com/sotto-project/sotto/transparency/release"
)

// maxReleaseFiles is how many files of a folder are looked at.
const maxReleaseFiles = 4096

// ReleaseFiles are release files in a folder, found by what is in them. A file is
// verified each time that it is asked for, under the auditor's own trust.
type ReleaseFiles struct {
	dir   string
	trust *release.Trust
	paths map[[32]byte]string // by the digest that statements name
	alias map[[32]byte][32]byte
	own   [][32]byte // of statements, as a log has them
}

// OpenReleaseFiles reads a folder. What is no release file there is left alone.
func OpenReleaseFiles(dir string, t *release.Trust) (*ReleaseFiles, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("release files: %w", err)
	}
	f := &ReleaseFiles{dir: dir, trust: t, paths: map[[32]byte]string{}, alias: map[[32]byte][32]byte{}}
	for i, e := range entries {
		if i == maxReleaseFiles {
			return nil, fmt.Errorf("release files: more than %d in %s", maxReleaseFiles, dir)
		}
		if !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		b, err := readRelease(path)
		if err != nil {
			return nil, err
		}
		parsed, err := release.ParseFile(b)
		if err != nil {
			continue
		}
		d := release.Digest(b)
		f.paths[d] = path
		f.alias[parsed.ID()] = d
		f.own = append(f.own, parsed.Logged()...)
	}
	return f, nil
}

// Own lists the digests under which a log has the statements in the files. They
// are those of files that you have put there, whoever signed them.
func (f *ReleaseFiles) Own() [][32]byte { return f.own }

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
// it, or a release's own, as reviewers do.
func (f *ReleaseFiles) Release(_ context.Context, digest [32]byte, at time.Time) (*Release, error) {
	d, ok := f.alias[digest]
	if !ok {
		d = digest
	}
	path, ok := f.paths[d]
	if !ok {
		return nil, fmt.Errorf("no release file in %s has digest %x: %w", f.dir, digest, fs.ErrNotExist)
	}
	b, err := readRelease(path)
	if err != nil {
		return nil, err
	}
	if release.Digest(b) != d {
		return nil, fmt.Errorf("%s changed while it was read", path)
	}
	r, err := release.Verify(b, f.trust, at)
	if err != nil {
		return nil, err
	}
	return described(b, r), nil
}

// described says what leads from a verified release to its source.
func described(file []byte, r *release.Release) *Release {
	out := &Release{Verified: r, Name: clean(r.Tag), Repository: clean(r.Repository), Commit: clean(r.Commit), Workflow: clean(r.Publisher)}
	if len(r.Images) > 0 { // of several images the first; all are of one commit
		i := r.Images[0]
		out.Image = hex.EncodeToString(i.Digest[:])
		if i.SBOM != [32]byte{} {
			out.SBOM = hex.EncodeToString(i.SBOM[:])
		}
		if i.Provenance != [32]byte{} {
			out.Provenance = hex.EncodeToString(i.Provenance[:])
		}
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
	for d := range f.paths {
		b, rerr := readRelease(f.paths[d])
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
				out.Image, out.SBOM, out.Provenance = hex.EncodeToString(i.Digest[:]), hex.EncodeToString(i.SBOM[:]), hex.EncodeToString(i.Provenance[:])
				return out, nil
			}
		}
	}
	return nil, err
}
