// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
	"github.com/sotto-project/sotto/attestation/internal/sigcache"
)

// Simulated is what every name under a simulated root contains.
const Simulated = "SIMULATED"

// The two purposes that NVIDIA keeps apart by root, and how their names say so.
// A device's root vouches for no manifest, nor the reverse.
const (
	deviceRoot   = "Device Identity CA"
	manifestRoot = "RIM signing Root CA"
)

// oidFWID is tcg-dice-CompositeDeviceID's older identifier, as NVIDIA uses it
// (TCG DICE Attestation Architecture, Section 6.1).
var oidFWID = asn1.ObjectIdentifier{2, 23, 133, 5, 4, 1}

// A link is a certificate under an issuer, with the answer about it where there
// is one: all bytes that decide. NVIDIA's issuers are the same for every device
// and manifest, and are looked at once.
type link struct{ child, parent, answer string }

// A session is one verification: what is trusted, when, and what is known good.
type session struct {
	trusted roots.Set
	now     time.Time
	opts    Options
	fresh   map[link]bool // not revoked
	oldest  time.Time     // thisUpdate of the oldest answer
	sigs    *sigcache.Run
	pending []signature
}

func newSession(trusted roots.Set, now time.Time, o Options) *session {
	return &session{trusted: trusted, now: now, opts: o, fresh: map[link]bool{}, sigs: o.Signatures.Begin()}
}

// A signature is one that is still to be verified. A P-384 signature costs as
// much as reading everything else about a device does, so they come last.
type signature struct {
	key             *ecdsa.PublicKey
	form            sigcache.Form
	message, signed []byte
	refusal         func() error
}

// later notes a signature for [session.settle].
func (s *session) later(key *ecdsa.PublicKey, f sigcache.Form, message, signed []byte, refusal func() error) {
	s.pending = append(s.pending, signature{key, f, message, signed, refusal})
}

// settle verifies the signatures that were noted, in the order of noting, down to
// the first that does not hold.
func (s *session) settle() error {
	for len(s.pending) > 0 {
		p := &s.pending[0]
		if !s.sigs.Verify(p.key, p.form, p.message, p.signed) {
			clear(s.fresh) // what was noted on the word of this one
			return p.refusal()
		}
		s.pending = s.pending[1:]
	}
	return nil
}

// parseCertificate reads a P-384 certificate, DER and nothing after it, under
// the only algorithm that NVIDIA signs with.
func parseCertificate(der []byte, code refuse.Code) (*x509.Certificate, error) {
	if len(der) > maxCertificate {
		return nil, refuse.As(code, "certificate of %d bytes", len(der))
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, refuse.As(code, "certificate: %v", err)
	}
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P384() || c.SignatureAlgorithm != x509.ECDSAWithSHA384 || c.Version != 3 {
		return nil, refuse.As(code, "certificate %q is not P-384 with SHA-384", c.Subject.CommonName)
	}
	if len(c.UnhandledCriticalExtensions) != 0 {
		return nil, refuse.As(code, "certificate %q has a critical extension that nothing here reads", c.Subject.CommonName)
	}
	return c, nil
}

// claimsSimulated reports whether a certificate says that it is of no hardware.
func claimsSimulated(c *x509.Certificate) bool {
	return strings.Contains(c.Issuer.String()+c.Subject.String(), Simulated)
}

// checkChain looks at a chain, leaf first and root last: the root is, byte for
// byte, one that is trusted for the purpose; every other certificate is issued
// by the next, but for the signature, which is left for later; all are valid now.
// code names a failure.
func (s *session) checkChain(chain []*x509.Certificate, purpose string, code refuse.Code) error {
	leaf, last := chain[0], len(chain)-1
	if claims := claimsSimulated(leaf); claims != s.trusted.Simulated() {
		return refuse.As(refuse.Simulated, "certificate under %q, simulated roots: %t", leaf.Issuer.String(), s.trusted.Simulated())
	}
	if !s.isRoot(chain[last], purpose) {
		return refuse.As(code, "%q is no trusted %s", chain[last].Subject.String(), purpose)
	}
	if leaf.IsCA || leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return refuse.As(code, "%q may not sign", leaf.Subject.String())
	}
	for i := last; i >= 0; i-- {
		c := chain[i]
		if s.now.Before(c.NotBefore) || s.now.After(c.NotAfter) {
			return refuse.As(code, "%q is valid from %v to %v", c.Subject.String(), c.NotBefore, c.NotAfter)
		}
		if i == last {
			continue
		}
		// pathLen counts the issuers between a certificate and the leaf.
		if p := chain[i+1]; (p.MaxPathLen > 0 || p.MaxPathLenZero) && i > p.MaxPathLen {
			return refuse.As(code, "%q issues too long a chain", p.Subject.String())
		}
		if err := s.checkIssued(c, chain[i+1], code); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) isRoot(c *x509.Certificate, purpose string) bool {
	for _, root := range s.trusted.Of(roots.NVIDIA) {
		if strings.Contains(root.Subject.CommonName, purpose) && root.Equal(c) {
			return true
		}
	}
	return false
}

func (s *session) checkIssued(child, parent *x509.Certificate, code refuse.Code) error {
	refusal := func() error {
		return refuse.As(code, "%q is not issued by %q", child.Subject.String(), parent.Subject.String())
	}
	// What [x509.Certificate.CheckSignatureFrom] asks of a parent (RFC 5280,
	// Sections 4.2.1.3 and 4.2.1.9).
	mayIssue := parent.BasicConstraintsValid && parent.IsCA && (parent.KeyUsage == 0 || parent.KeyUsage&x509.KeyUsageCertSign != 0)
	key, ok := parent.PublicKey.(*ecdsa.PublicKey)
	if !bytes.Equal(child.RawIssuer, parent.RawSubject) || !mayIssue || !ok || child.SignatureAlgorithm != x509.ECDSAWithSHA384 {
		return refusal()
	}
	s.later(key, sigcache.ASN1, child.RawTBSCertificate, child.Signature, refusal)
	return nil
}

// chips says what a chip is. A name that is not here is refused: its evidence
// was never seen.
var chips = map[string]struct {
	kind Kind
	arch Arch // of the GPUs beside it, for a switch
}{
	"GH100": {GPU, Hopper},
	"LS10":  {Switch, Hopper},
	"GB100": {GPU, Blackwell},
}

// chipOf returns the chip that a chain is for: the first word of the leaf's
// name, which every issuer but the root has in its name too. The leaf is issued
// by the device itself, so its word alone is not enough.
func chipOf(chain []*x509.Certificate) (string, error) {
	chip, _, _ := strings.Cut(chain[0].Subject.CommonName, " ")
	if _, ok := chips[chip]; !ok {
		return "", refuse.As(refuse.GPUChain, "certificate of an unknown chip: %q", chain[0].Subject.CommonName)
	}
	for _, c := range chain[1 : len(chain)-1] {
		if !strings.Contains(" "+c.Subject.CommonName+" ", " "+chip+" ") {
			return "", refuse.As(refuse.GPUChain, "%q vouches for a %s", c.Subject.CommonName, chip)
		}
	}
	return chip, nil
}

// checkFWID compares the firmware that the device's own issuer saw at start with
// the one the report names. As in NVIDIA's verifier, a report without the field
// is not compared: older firmware has none.
func checkFWID(r *Report, chain []*x509.Certificate) error {
	claimed, ok := r.Field(FieldFWID)
	if !ok {
		return nil
	}
	for _, e := range chain[0].Extensions {
		if !e.Id.Equal(oidFWID) {
			continue
		}
		key, fwid, ok := parseFWID(e.Value)
		switch {
		case !ok:
			return refuse.As(refuse.GPUChain, "firmware extension malformed")
		case !bytes.Equal(key, chain[1].RawSubjectPublicKeyInfo):
			return refuse.As(refuse.GPUChain, "firmware extension is for another device")
		case !bytes.Equal(fwid, claimed):
			return refuse.As(refuse.GPUReport, "report from firmware %x.., certificate for %x..", claimed[:min(8, len(claimed))], fwid[:8])
		}
		return nil
	}
	return refuse.As(refuse.GPUChain, "report names its firmware, its certificate does not")
}

// parseFWID reads a TCG DICE CompositeDeviceID:
//
//	SEQUENCE { version INTEGER, deviceID SubjectPublicKeyInfo, fwid SEQUENCE { OID, OCTET STRING } }
//
// and returns the device's key, as DER, and the digest.
func parseFWID(b []byte) (key, fwid []byte, ok bool) {
	in := cryptobyte.String(b)
	var seq, device, value cryptobyte.String
	var version int
	var alg asn1.ObjectIdentifier
	ok = in.ReadASN1(&seq, cbasn1.SEQUENCE) && in.Empty() && seq.ReadASN1Integer(&version) && version == 1
	if !ok {
		return nil, nil, false
	}
	ok = seq.ReadASN1Element(&device, cbasn1.SEQUENCE) && seq.ReadASN1(&value, cbasn1.SEQUENCE) && seq.Empty() &&
		value.ReadASN1ObjectIdentifier(&alg) && value.ReadASN1Bytes(&fwid, cbasn1.OCTET_STRING) && value.Empty()
	return device, fwid, ok && alg.Equal(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}) && len(fwid) == 48
}
