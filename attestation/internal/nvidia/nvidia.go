// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package nvidia verifies what NVIDIA GPUs and NVSwitches in confidential mode
// say about themselves: SPDM 1.1 measurement reports (DMTF DSP0274), signed by a
// P-384 key whose chain ends in NVIDIA's device root; reference integrity
// manifests (TCG RIM, SWID tags under an XML signature) to compare with; OCSP
// for every certificate that has an answer; and, if the caller wants them,
// tokens of NVIDIA's remote attestation service (NRAS; EAT, RFC 9711).
//
// Genuine and acceptable are two functions. [Verify] says whether NVIDIA devices
// signed these reports over this nonce; [Genuine.Check] compares what they say
// with what the caller allows. Comparing with manifests is preferred to a token:
// it asks nobody, so nobody learns when a node is checked.
//
// Signatures and their containers are checked here on the standard library: no
// Go module for NVIDIA's evidence can be had, and the XML signature library that
// was tried (goxmldsig 1.6.1) reads ECDSA signatures as ASN.1, where XML
// signatures, and NVIDIA's, are r and s side by side.
//
// What a report says about confidential mode: no field says that the mode is on.
// It follows from there being a report, which the device's firmware signs in
// that mode, and from the measurements, which are others in developer mode, so
// that without a comparison by manifest or token nothing is acceptable.
package nvidia

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
	"github.com/sotto-project/sotto/attestation/internal/sigcache"
)

// Options are what a caller decides beforehand. Its zero value has no grace and
// trusts no token: evidence with a token is then refused, since a piece that
// nobody can judge does not belong.
type Options struct {
	Grace  time.Duration               // how long past its nextUpdate an OCSP answer counts
	Keys   map[string]*ecdsa.PublicKey // of the token service, by key id, pinned by the caller; see [ParseKeys]
	Issuer string                      // of tokens, exact: "https://nras.attestation.nvidia.com"
	MaxAge time.Duration               // of tokens, since iat

	// Devices is the most that there may be, where the caller knows; zero: what the
	// format can hold. Every device costs four signatures or so to verify.
	Devices int

	// Signatures, if not nil, are those that held in earlier evidence.
	Signatures *sigcache.Cache
}

// A Genuine is evidence that NVIDIA devices signed over the expected nonce.
type Genuine struct {
	Arch    Arch
	Devices []Device      // in the order of the evidence
	OCSPAge time.Duration // since thisUpdate of the oldest answer that counted

	overall map[Kind]claimSet
}

// A Device is one GPU or switch.
type Device struct {
	*Report
	Kind    Kind
	Chip    string // "GH100"
	UEID    string // serial number of the leaf certificate, decimal: the device's identity in NVIDIA's tokens
	Issuer  string // name of the device's own issuing certificate
	Project string // board: "1010_0200"

	driver, vbios *reference // nil: no manifest
	claims        claimSet   // nil: no token
}

// Stated returns how many measurements the device's manifests state; 0 without
// manifests. [Genuine.Check] compares every one of them if it is asked to.
func (d *Device) Stated() int {
	n := 0
	for _, r := range []*reference{d.driver, d.vbios} {
		if r != nil {
			n += len(r.golden)
		}
	}
	return n
}

// Vouched reports whether a genuine token is about the device; what it says is
// for [Genuine.Check].
func (d *Device) Vouched() bool { return d.claims != nil }

// devices returns the devices of a kind, to write to.
func (g *Genuine) devices(k Kind) (out []*Device) {
	for i := range g.Devices {
		if g.Devices[i].Kind == k {
			out = append(out, &g.Devices[i])
		}
	}
	return out
}

// Verify decides whether GPU evidence is genuine at now: every report is signed
// by a device whose chain ends in trusted, over nonce, which the caller
// computes itself; no device stands twice; every certificate in between has a
// good OCSP answer; manifests and tokens that came along are signed as they
// must be and belong to these devices. Everything that needs no signature is
// checked before the first one, and the first that does not hold ends it.
func Verify(evidence []byte, trusted roots.Set, nonce [32]byte, now time.Time, o Options) (*Genuine, error) {
	return newSession(trusted, now, o).verify(evidence, nonce)
}

func (s *session) verify(evidence []byte, nonce [nonceSize]byte) (*Genuine, error) {
	e, err := Parse(evidence)
	if err != nil {
		return nil, err
	}
	if n := len(e.Devices); s.opts.Devices > 0 && n > s.opts.Devices {
		return nil, refuse.As(refuse.GPUCount, "%d devices, want %d", n, s.opts.Devices)
	}
	return s.verifyParts(e, nonce)
}

// verifyParts is all of [Verify] but the parsing.
func (s *session) verifyParts(e *Evidence, nonce [nonceSize]byte) (*Genuine, error) {
	g, err := s.read(e, nonce)
	if err == nil {
		err = s.settle()
	}
	if err != nil {
		return nil, err
	}
	s.sigs.Keep()
	return g, nil
}

// read does everything but the signatures, which it leaves to [session.settle].
// What it returns is claims until then.
func (s *session) read(e *Evidence, nonce [nonceSize]byte) (*Genuine, error) {
	g := &Genuine{Arch: e.Arch, overall: map[Kind]claimSet{}}
	for _, d := range e.Devices {
		r, err := ParseReport(d.Report)
		if err != nil {
			return nil, err
		}
		if r.Nonce != nonce {
			return nil, refuse.As(refuse.GPUBinding, "report over nonce %x.., want %x..", r.Nonce[:8], nonce[:8])
		}
		g.Devices = append(g.Devices, Device{Report: r, Kind: d.Kind, Project: board(r)})
	}
	if err := s.checkDevices(e, g); err != nil {
		return nil, err
	}
	if err := s.checkManifests(e, g); err != nil {
		return nil, err
	}
	for _, t := range e.Tokens {
		if err := s.checkToken(t, g, nonce); err != nil {
			return nil, err
		}
	}
	if !s.oldest.IsZero() {
		g.OCSPAge = s.now.Sub(s.oldest)
	}
	return g, nil
}

// board names the board in the way that manifests are filed under.
func board(r *Report) string {
	a, _ := r.Field(FieldProject)
	b, _ := r.Field(FieldProjectSKU)
	trim := func(b []byte) string { return printable(strings.TrimRight(string(b), "\x00")) }
	return trim(a) + "_" + trim(b)
}

// checkDevices looks at chains, reports and revocation, each certificate once.
// Chains and reports of all devices come before the first answer: who lacks one
// device is refused by those.
func (s *session) checkDevices(e *Evidence, g *Genuine) error {
	certs := make([]*x509.Certificate, len(e.Certificates))
	for i, c := range e.Certificates {
		var err error
		if certs[i], err = parseCertificate(c.DER, refuse.GPUChain); err != nil {
			return err
		}
	}
	chains := make([][]*x509.Certificate, len(e.Devices))
	for i, source := range e.Devices {
		chain := make([]*x509.Certificate, len(source.Chain))
		for j, k := range source.Chain {
			chain[j] = certs[k]
		}
		chains[i] = chain
		d := &g.Devices[i]
		d.UEID, d.Issuer = chain[0].SerialNumber.String(), chain[1].Subject.String()
		for j := range g.Devices[:i] {
			// The leaf's issuer is the device too: it renews its leaf at start.
			if before := certs[e.Devices[j].Chain[1]]; before == chain[1] || bytes.Equal(before.RawSubjectPublicKeyInfo, chain[1].RawSubjectPublicKeyInfo) {
				return refuse.As(refuse.GPUCount, "devices %d and %d are one", j, i)
			}
		}
		if err := s.checkChain(chain, deviceRoot, refuse.GPUChain); err != nil {
			return err
		}
		chip, err := chipOf(chain)
		if err != nil {
			return err
		}
		if want := chips[chip]; want.kind != d.Kind || want.arch != e.Arch {
			return refuse.As(refuse.GPU, "a %s is no %v of architecture %v", chip, d.Kind, e.Arch)
		}
		d.Chip = chip
		if err := checkFWID(d.Report, chain); err != nil {
			return err
		}
		body, sig := source.Report[:len(source.Report)-signatureSize], source.Report[len(source.Report)-signatureSize:]
		s.later(chain[0].PublicKey.(*ecdsa.PublicKey), sigcache.Raw, body, sig, func() error { // parseCertificate saw the key
			return errReport("report is not signed by %q", chain[0].Subject.String())
		})
	}
	for i, source := range e.Devices {
		if err := s.checkAnswers(e, source, chains[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkAnswers looks every certificate up but root and leaf, for which there is
// no answer and may be none.
func (s *session) checkAnswers(e *Evidence, source Source, chain []*x509.Certificate) error {
	for j, k := range source.Chain {
		answer := e.Certificates[k].OCSP
		if j == 0 || j == len(chain)-1 {
			if len(answer) != 0 {
				return refuse.As(refuse.GPU, "an answer about %q, which has none", chain[j].Subject.String())
			}
			continue
		}
		if err := s.checkOCSP(answer, chain[j], chain[j+1]); err != nil {
			return err
		}
	}
	return nil
}

// checkManifests looks at the manifests and that each is of the chip, and of the
// driver or VBIOS, of the devices that name it.
func (s *session) checkManifests(e *Evidence, g *Genuine) error {
	refs := make([]*reference, len(e.Manifests))
	for i, m := range e.Manifests {
		var err error
		if refs[i], err = s.checkManifest(m); err != nil {
			return err
		}
	}
	for i, source := range e.Devices {
		d := &g.Devices[i]
		if source.Driver != none {
			d.driver = refs[source.Driver]
			if err := d.driver.of(d.Chip, "driver", d.Driver()); err != nil {
				return err
			}
		}
		if source.VBIOS != none {
			d.vbios = refs[source.VBIOS]
			if err := d.vbios.of(d.Chip, "VBIOS", d.VBIOS()); err != nil {
				return err
			}
		}
		if d.driver == nil || d.vbios == nil {
			continue
		}
		for index := range d.driver.golden {
			if d.vbios.golden[index] != nil {
				return errRIM("driver and VBIOS manifest both state measurement %d", index)
			}
		}
	}
	return nil
}

// of decides whether a manifest is about a chip and a version.
func (r *reference) of(chip, what, version string) error {
	if version == "" || r.product != chip || !strings.EqualFold(r.version, version) {
		return errRIM("manifest of %s %s for a %s with %s %q", r.product, r.version, chip, what, version)
	}
	return nil
}
