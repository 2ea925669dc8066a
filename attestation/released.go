// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Released is what the releases say that everybody is shown alike. It restricts
// beside the policy, never in its place: a machine must be allowed by the policy
// and be a released one. Its zero value has released nothing and refuses; a nil
// *Released in the references means that nobody asked.
//
// The caller has verified the releases; package transparency/release makes one
// of these from what it verified.
type Released struct {
	Images []ReleasedImage
	Models []ReleasedModel

	// What was withdrawn by name: SHA-256 of chip identifiers, and node ids.
	RevokedChips [][32]byte
	RevokedNodes [][32]byte
}

// A ReleasedImage is one [Image] as a release published it.
type ReleasedImage struct {
	Image
	Release string // for people: repository and tag
	Revoked string // why it was withdrawn; empty: it was not
}

// A ReleasedModel is a name and the weights that may be served under it.
type ReleasedModel struct {
	Name    string
	Weights [32]byte // SHA-256
}

// checkReleased looks for a release that is what runs here. The policy's own
// image was found before and has the same registers, so this can only tighten.
func checkReleased(v *verification) (outcome, error) {
	r := v.refs.Released
	if slices.Contains(r.RevokedNodes, v.refs.NodeID) {
		return outcome{}, refuse.As(refuse.Revocation, "node %x.. was withdrawn", v.refs.NodeID[:8])
	}
	if d, known := v.chipDigest(); known && slices.Contains(r.RevokedChips, d) {
		return outcome{}, refuse.As(refuse.Revocation, "chip %x.. was withdrawn", d[:8])
	}
	out := outcome{expected: fmt.Sprintf("one of %d released images, one of %d released models", len(r.Images), len(r.Models))}
	var found *ReleasedImage
	for i := range r.Images {
		image := &r.Images[i]
		if !v.is(image) {
			continue
		}
		if image.Revoked != "" { // one withdrawal outweighs any number of releases of the same bytes
			return out, refuse.As(refuse.Revocation, "image %q of %s was withdrawn: %s", image.Name, image.Release, image.Revoked)
		}
		if found == nil {
			found = image
		}
	}
	switch {
	case found == nil:
		return out, refuse.As(refuse.Unreleased, "what runs is in no release: %s, PCR 11 %x..", v.image.Name, first8(v.pcrs[11]))
	case !slices.Contains(r.Models, ReleasedModel{v.refs.Model, v.refs.WeightsDigest}):
		return out, refuse.As(refuse.Unreleased, "weights %x.. under the name %q are in no release", v.refs.WeightsDigest[:8], v.refs.Model)
	}
	out.got = fmt.Sprintf("%q of %s; weights %x..", found.Name, found.Release, v.refs.WeightsDigest[:8])
	return out, nil
}

func first8(b [32]byte) []byte { return b[:8] }

// is reports whether a released image is what was measured. One that leaves a
// register open which its platform needs, or states one that nothing compares,
// is nothing that could run.
func (v *verification) is(image *ReleasedImage) bool {
	i := &image.Image
	return i.Platform == v.platform && i.Incomplete() == "" &&
		i.Measurement == v.launch && v.compare(i) == nil &&
		// The policy must not be content with less than the release is.
		(i.TPMOutside || !v.image.TPMOutside) && (i.CPUOnly || !v.image.CPUOnly) &&
		(v.line == "" || slices.Contains(i.CommandLines, v.line))
}

// chipDigest is under what the statement and revocations name this chip.
func (v *verification) chipDigest() ([32]byte, bool) {
	switch {
	case v.genuine != nil && v.genuine.CSP == "":
		return sha256.Sum256(v.genuine.ChipID[:]), true
	case v.tdx != nil:
		id := v.tdx.PCK.ID()
		return sha256.Sum256(id[:]), true
	}
	return [32]byte{}, false
}

// VerityRoot is the value of the one roothash= option of a command line.
func VerityRoot(line string) (string, bool) {
	before, ok := cutRootHash(line)
	if !ok {
		return "", false
	}
	at := strings.Index(before, "roothash=") + len("roothash=")
	value, _, _ := strings.Cut(line[at:], " ")
	return value, true
}
