// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/lab/engine/model"
	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/release/releasetest"
)

// The lab's nodes run an image that was released, by a SIMULATED workflow into a
// SIMULATED log, four days ago by the clock of a SIMULATED witness. Nobody built
// or reviewed anything: what is real is that clients ask. Its keys are gone once
// it is made, so what a hostile part or a drill shows is made along with it.
const (
	releaseTrust = "trust.json"
	goodRelease  = "release.jsonl"
	withdrawn    = "withdrawn.jsonl" // the same, its image withdrawn by a reviewer
	chipless     = "chipless.jsonl"  // the same, the first node's chip withdrawn by one
	unlogged     = "unlogged.jsonl"  // signed alike, and in no log
	listed       = "listed.jsonl"    // a copy of what the publisher lists
)

func releaseFile(dir, name string) string { return filepath.Join(dir, "releases", name) }

// releases makes a release, or takes that of an earlier run if clients would
// believe it for another day and it is of what runs now.
func (p *plan) releases() error {
	root, err := attestationtest.OpenRoot(filepath.Join(p.dir, "hardware"))
	if err != nil {
		return err
	}
	images, weights := attestationtest.LabPolicy(root).Images, sha256.Sum256(model.GGUF)
	now := time.Now()
	if !p.released(now) || !p.released(now.Add(24*time.Hour)) {
		m := releasetest.NewMaker(now)
		trust, err := json.MarshalIndent(&m.Trust, "", "  ")
		if err != nil {
			return err
		}
		file := m.Endorse(m.Make(releasetest.Repository, now.Add(-releasetest.MinAge-24*time.Hour), images, model.Name, weights), 0, now.Add(-time.Minute))
		revoked := m.Revoke(file, release.KindImage, releasetest.Image, "SIMULATED: writes prompts to disk", now.Add(-time.Minute))
		chip, err := root.NewChip(chipName(0))
		if err != nil {
			return err
		}
		stolen := m.Revoke(file, release.KindChip, sha256.Sum256(chip.ID[:]), "SIMULATED: its machine was opened", now.Add(-time.Minute))
		if err := os.MkdirAll(filepath.Join(p.dir, "releases"), 0o700); err != nil {
			return err
		}
		for name, b := range map[string][]byte{releaseTrust: trust, goodRelease: file, withdrawn: revoked, chipless: stolen, unlogged: releasetest.Unlogged(file)} {
			if err := os.WriteFile(releaseFile(p.dir, name), b, 0o644); err != nil {
				return err
			}
		}
	}
	return listRelease(p.dir, goodRelease)
}

// listRelease makes the publisher's next statement name a file.
func listRelease(dir, name string) error {
	b, err := os.ReadFile(releaseFile(dir, name))
	if err != nil {
		return err
	}
	return durable.WriteFile(releaseFile(dir, listed), b, 0o644)
}

// released reports whether the release at hand would be believed at a time, and
// is of what runs.
func (p *plan) released(at time.Time) bool {
	root, err := attestationtest.OpenRoot(filepath.Join(p.dir, "hardware"))
	if err != nil {
		return false
	}
	if _, err := os.Stat(releaseFile(p.dir, chipless)); err != nil { // of a lab that knew none
		return false
	}
	file, err1 := os.ReadFile(releaseFile(p.dir, goodRelease))
	b, err2 := os.ReadFile(releaseFile(p.dir, releaseTrust))
	if err1 != nil || err2 != nil {
		return false
	}
	trust, err := release.ParseTrust(b)
	if err != nil {
		return false
	}
	r, err := release.Verify(file, trust, at)
	if err != nil || len(r.Images) != 1 || len(r.Models) != 1 || r.Models[0].Weights != sha256.Sum256(model.GGUF) || r.Models[0].Name != model.Name {
		return false
	}
	is, err1 := json.Marshal(r.Images[0].Measurements)
	want, err2 := json.Marshal(attestationtest.LabPolicy(root).Images)
	return err1 == nil && err2 == nil && bytes.Equal(is, want)
}
