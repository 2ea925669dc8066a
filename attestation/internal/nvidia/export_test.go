// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia

import (
	"crypto/ecdsa"
	"crypto/x509"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
	"github.com/sotto-project/sotto/attestation/internal/sigcache"
)

// A Session is one verification whose parts tests call alone. What it has found
// good stays known, so that a mutant costs only what was mutated.
type Session struct{ s *session }

func NewSession(trusted roots.Set, now time.Time, o Options) Session {
	return Session{newSession(trusted, now, o)}
}

func (s Session) Verify(evidence []byte, nonce [32]byte) (*Genuine, error) {
	return s.s.verify(evidence, nonce)
}

func (s Session) Answer(der []byte, cert, issuer *x509.Certificate) error {
	return s.settled(s.s.checkOCSP(der, cert, issuer))
}

// settled verifies the signatures of a part that was well otherwise.
func (s Session) settled(err error) error {
	if err == nil {
		err = s.s.settle()
	}
	s.s.pending = nil
	return err
}

func (s Session) Manifest(m Manifest) error { _, err := s.s.checkManifest(m); return s.settled(err) }

func (s Session) Token(t Token, g *Genuine, nonce [32]byte) error {
	return s.settled(s.s.checkToken(t, g, nonce))
}

// Chain verifies a device chain.
func (s Session) Chain(ders [][]byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for _, der := range ders {
		c, err := parseCertificate(der, refuse.GPUChain)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	return chain, s.settled(s.s.checkChain(chain, deviceRoot, refuse.GPUChain))
}

// Signed verifies a report's signature and its firmware.
func Signed(report []byte, chain []*x509.Certificate) bool {
	r, err := ParseReport(report)
	n := len(report) - signatureSize
	return err == nil && new(sigcache.Cache).Begin().Verify(chain[0].PublicKey.(*ecdsa.PublicKey), sigcache.Raw, report[:n], report[n:]) && checkFWID(r, chain) == nil
}

// SignedManifest reads a manifest and verifies its signature by the first
// certificate inside, whoever that is.
func SignedManifest(doc []byte) (version string, golden map[int][][]byte, chain []*x509.Certificate, err error) {
	r, err := parseRIM(doc)
	if err != nil {
		return "", nil, nil, err
	}
	if !new(sigcache.Cache).Begin().Verify(r.chain[0].PublicKey.(*ecdsa.PublicKey), sigcache.Raw, r.signedInfo, r.signature) {
		return "", nil, nil, errRIM("signature")
	}
	return r.version, r.golden, r.chain, nil
}

// ManifestChain verifies the chain of a manifest.
func (s Session) ManifestChain(chain []*x509.Certificate) error {
	return s.settled(s.s.checkChain(chain, manifestRoot, refuse.GPURIM))
}

// ParseJWS reads a token as openJWS does, without keys.
func ParseJWS(b []byte) error { _, err := new(session).openJWS(b); return err }
