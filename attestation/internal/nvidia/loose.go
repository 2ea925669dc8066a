// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// This file is for looking at GPU evidence by itself, with things left out that
// its caller names. attestation.Verify has no way to it.

// VerifyWithoutOCSP is [Verify] for evidence in parts, whose certificates need no
// answer about them. An answer that is there is judged all the same: answers
// counts those, absent the certificates without one.
func VerifyWithoutOCSP(e *Evidence, trusted roots.Set, nonce [32]byte, now time.Time, o Options) (g *Genuine, absent int, err error) {
	s := newSession(trusted, now, o)
	if absent, e, err = s.excuse(e); err != nil {
		return nil, 0, err
	}
	g, err = s.verifyParts(e, nonce)
	return g, absent, err
}

// excuse notes every certificate without an answer as known good, which is how a
// session remembers answers. It returns e with an empty answer for every signer
// of a manifest that has none.
func (s *session) excuse(e *Evidence) (absent int, out *Evidence, err error) {
	parts := *e
	out = &parts
	for _, d := range e.Devices {
		for j := 1; j < len(d.Chain)-1; j++ {
			child, parent := e.Certificates[d.Chain[j]], e.Certificates[d.Chain[j+1]]
			if pair := (link{child: string(child.DER), parent: string(parent.DER)}); len(child.OCSP) == 0 && !s.fresh[pair] {
				s.fresh[pair] = true
				absent++
			}
		}
	}
	out.Manifests = append([]Manifest(nil), e.Manifests...)
	for i, m := range out.Manifests {
		if len(m.OCSP) != 0 {
			continue
		}
		r, err := parseRIM(m.SWID)
		if err != nil {
			return 0, nil, err
		}
		for j := range len(r.chain) - 1 {
			if pair := (link{child: string(r.chain[j].Raw), parent: string(r.chain[j+1].Raw)}); !s.fresh[pair] {
				s.fresh[pair] = true
				absent++
			}
		}
		out.Manifests[i].OCSP = make([][]byte, len(r.chain)-1)
	}
	return absent, out, nil
}

// CheckWithoutReferences is [Genuine.Check] without any comparison of
// measurements: by number, chip and version alone. A device in developer mode
// passes.
func (g *Genuine) CheckWithoutReferences(l *Limits) error {
	if n, m := len(g.devices(GPU)), len(g.devices(Switch)); n != l.GPUs || m != l.Switches {
		return refuse.As(refuse.GPUCount, "%d GPUs and %d switches, want %d and %d", n, m, l.GPUs, l.Switches)
	}
	bare := *l
	bare.Manifests, bare.Token = false, false
	for i := range g.Devices {
		if err := g.Devices[i].check(&bare); err != nil {
			return err
		}
	}
	return nil
}

// HasVersionedLayout reports whether the opaque data of a report are in the
// layout of drivers from CUDA 13.5 on, which this version does not read.
func HasVersionedLayout(report []byte) bool {
	const head = requestSize + responseHeadSize
	if len(report) < head {
		return false
	}
	size := binary.LittleEndian.Uint32(append(bytes.Clone(report[head-3:head]), 0))
	if at := int(size) + head + nonceSize + 2; at < len(report) {
		return bytes.HasPrefix(report[at:], []byte("NVDAOD"))
	}
	return false
}

// ArchOf returns the architecture that a leaf certificate is of; ok is false for
// a chip that is not known.
func ArchOf(leaf []byte) (a Arch, k Kind, ok bool) {
	c, err := parseCertificate(leaf, refuse.GPUChain)
	if err != nil {
		return 0, 0, false
	}
	name, _, _ := bytes.Cut([]byte(c.Subject.CommonName), []byte(" "))
	chip, ok := chips[string(name)]
	return chip.arch, chip.kind, ok
}

// A TokenClaim is what a token says about one device.
type TokenClaim struct {
	Name, UEID, Driver, VBIOS string
}

// VerifyToken verifies what NVIDIA's service said about devices of a kind whose
// reports are not at hand: signed by a pinned key, by the expected issuer, now,
// over this nonce, and that every check it lists came out well. Which devices
// they are, the token alone says.
func VerifyToken(t Token, trusted roots.Set, nonce [32]byte, now time.Time, o Options) ([]TokenClaim, error) {
	s := newSession(trusted, now, o)
	overall, err := s.openJWS(t.Overall)
	if err != nil {
		return nil, err
	}
	if err := s.checkEnvelope(overall, nonce); err != nil {
		return nil, err
	}
	submods, ok := parseClaims(overall["submods"])
	if !ok || len(submods) != len(t.Devices) {
		return nil, errToken("submods do not list the %d devices", len(t.Devices))
	}
	if !overall.isTrue("x-nvidia-overall-att-result") {
		return nil, errClaims("x-nvidia-overall-att-result is %.40s", overall["x-nvidia-overall-att-result"])
	}
	var out []TokenClaim
	for i, token := range t.Devices {
		name := map[Kind]string{GPU: "GPU-", Switch: "SWITCH-"}[t.Kind] + strconv.Itoa(i)
		sum := sha256.Sum256(token)
		if digest, ok := submodDigest(submods[name]); !ok || digest != hex.EncodeToString(sum[:]) {
			return nil, errToken("token of %s is not the one listed", name)
		}
		claims, err := s.openJWS(token)
		if err != nil {
			return nil, err
		}
		if err := s.checkEnvelope(claims, nonce); err != nil {
			return nil, err
		}
		c := claims.named(name, t.Kind)
		if err := c.device(t.Kind, claims).checkClaims(); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if err := s.settle(); err != nil {
		return nil, err
	}
	return out, nil
}

func (c claimSet) named(name string, k Kind) TokenClaim {
	out := TokenClaim{Name: name, UEID: c.text("ueid"), VBIOS: c.text("x-nvidia-switch-bios-version")}
	if k == GPU {
		out.Driver, out.VBIOS = c.text("x-nvidia-gpu-driver-version"), c.text("x-nvidia-gpu-vbios-version")
	}
	return out
}

// device stands in for the one that the token is about, as the token names it.
func (t *TokenClaim) device(k Kind, claims claimSet) *Device {
	r := &Report{Fields: []Field{{FieldDriver, []byte(t.Driver)}}}
	var v []byte
	if b, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(t.VBIOS), []byte("."), nil))); err == nil && len(b) == 5 {
		v = []byte{b[3], b[2], b[1], b[0], b[4], 0, 0, 0}
	}
	r.Fields = append(r.Fields, Field{FieldVBIOS, v})
	return &Device{Report: r, Kind: k, UEID: t.UEID, claims: claims}
}

// Signers returns the certificates inside a manifest's signature, signer first
// and root last. Nothing about them is verified.
func Signers(swid []byte) ([]*x509.Certificate, error) {
	r, err := parseRIM(swid)
	if err != nil {
		return nil, err
	}
	return r.chain, nil
}
