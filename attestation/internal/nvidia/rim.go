// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/sigcache"
)

// Namespaces and the only algorithms that are taken: those that NVIDIA signs
// with. None is chosen by the document.
const (
	nsSWID   = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
	nsDSig   = "http://www.w3.org/2000/09/xmldsig#"
	nsSHA384 = "http://www.w3.org/2001/04/xmlenc#sha384"

	algC14N      = "http://www.w3.org/2006/12/xml-c14n11"
	algEnveloped = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
	algECDSA     = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
	algSHA384    = "http://www.w3.org/2001/04/xmldsig-more#sha384"
)

// maxAlternatives is the most values that a measurement may be allowed.
const maxAlternatives = 16

// A reference is a parsed manifest: what a driver or VBIOS of one version
// measures to. It is worth what its signature is.
type reference struct {
	version string           // of the driver or VBIOS
	product string           // chip: "GH100"
	golden  map[int][][]byte // active measurements by index, from 0
	chain   []*x509.Certificate

	signedInfo []byte // canonical
	signature  []byte
}

func errRIM(format string, args ...any) error { return refuse.As(refuse.GPURIM, format, args...) }

// parseRIM reads a manifest and checks that its digest is that of its content.
// Nothing of it may be used before [session.checkManifest] has verified the
// signature.
func parseRIM(doc []byte) (*reference, error) {
	root, ok := parseXML(doc)
	if !ok {
		return nil, errRIM("no XML of the kind that manifests are written in")
	}
	parts, ok := root.children()
	if !ok || !root.is(nsSWID, "SoftwareIdentity") || len(parts) != 4 || !parts[0].is(nsSWID, "Entity") ||
		!parts[1].is(nsSWID, "Meta") || !parts[2].is(nsSWID, "Payload") || !parts[3].is(nsDSig, "Signature") ||
		root.content[len(root.content)-1].child != parts[3] {
		return nil, errRIM("no SWID tag of Entity, Meta, Payload and Signature")
	}
	r := &reference{version: printable(parts[1].get("", "colloquialVersion")), product: printable(parts[1].get("", "product"))}
	if r.version == "" || r.product == "" {
		return nil, errRIM("manifest names no version or no product")
	}
	if err := r.readPayload(parts[2]); err != nil {
		return nil, err
	}
	return r, r.readSignature(root, parts[3])
}

// readPayload reads the measurements. A kind of entry or an attribute that is
// not known is refused: it may be a condition.
func (r *reference) readPayload(payload *element) error {
	resources, ok := payload.children()
	if !ok || len(resources) == 0 || len(payload.attributes) != 0 {
		return errRIM("payload malformed")
	}
	r.golden = map[int][][]byte{}
	seen := map[int]bool{}
	for _, e := range resources {
		index, values, ok := readResource(e)
		if !ok {
			return errRIM("entry %q malformed or of a kind that is not known", e.get("", "name"))
		}
		if seen[index] {
			return errRIM("two entries of index %d", index)
		}
		seen[index] = true
		if e.get("", "active") == "True" {
			r.golden[index] = values
		}
	}
	if len(r.golden) == 0 {
		return errRIM("manifest compares nothing")
	}
	return nil
}

func readResource(e *element) (index int, values [][]byte, ok bool) {
	if !e.is(nsSWID, "Resource") || len(e.content) != 0 || e.get("", "type") != "Measurement" || e.get("", "size") != "48" {
		return 0, nil, false
	}
	if active := e.get("", "active"); active != "True" && active != "False" {
		return 0, nil, false
	}
	index, okIndex := decimal(e.get("", "index"), 253)
	count, okCount := decimal(e.get("", "alternatives"), maxAlternatives)
	if !okIndex || !okCount || count == 0 || len(e.attributes) != 6+count || e.get("", "name") == "" {
		return 0, nil, false
	}
	for i := range count {
		text := e.get(nsSHA384, "Hash"+strconv.Itoa(i))
		v, err := hex.DecodeString(text)
		if err != nil || len(v) != sha512.Size384 || text != strings.ToLower(text) {
			return 0, nil, false
		}
		values = append(values, v)
	}
	return index, values, true
}

// decimal reads a number that is spelled as it is printed.
func decimal(s string, most int) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0 && n <= most && strconv.Itoa(n) == s
}

// readSignature reads the enveloped signature (W3C XML Signature 1.1) and
// compares its digest with that of everything else in the document.
func (r *reference) readSignature(root, sig *element) error {
	parts, ok := sig.bare()
	if !ok || len(sig.attributes) != 0 || len(parts) != 3 || !parts[0].is(nsDSig, "SignedInfo") ||
		!parts[1].is(nsDSig, "SignatureValue") || len(parts[1].attributes) != 0 || !parts[2].is(nsDSig, "KeyInfo") {
		return errRIM("signature malformed")
	}
	want, ok := readSignedInfo(parts[0])
	if !ok {
		return errRIM("signature of another kind than enveloped, canonical XML 1.1, ECDSA with SHA-384")
	}
	sum := sha512.Sum384(root.canonical(nil, sig, nil))
	if !bytes.Equal(sum[:], want) {
		return errRIM("digest is not that of the content")
	}
	r.signedInfo = parts[0].canonical(nil, nil, append(append([]namespace(nil), root.declared...), sig.declared...))
	if r.signature, ok = readBase64(parts[1]); !ok || len(r.signature) != signatureSize {
		return errRIM("signature value malformed")
	}
	return r.readKeyInfo(parts[2])
}

// readSignedInfo returns the digest, if every algorithm is the expected one and
// the one reference is to the whole document.
func readSignedInfo(info *element) (digest []byte, ok bool) {
	p, ok := info.bare()
	if !ok || len(info.attributes) != 0 || len(p) != 3 || !method(p[0], "CanonicalizationMethod", algC14N) ||
		!method(p[1], "SignatureMethod", algECDSA) || !p[2].is(nsDSig, "Reference") || len(p[2].attributes) != 1 ||
		p[2].attributes[0] != (attribute{name: "URI", local: "URI"}) {
		return nil, false
	}
	ref, ok := p[2].bare()
	if !ok || len(ref) != 3 || !ref[0].is(nsDSig, "Transforms") || len(ref[0].attributes) != 0 ||
		!method(ref[1], "DigestMethod", algSHA384) || !ref[2].is(nsDSig, "DigestValue") || len(ref[2].attributes) != 0 {
		return nil, false
	}
	transforms, ok := ref[0].bare()
	if !ok || len(transforms) != 2 || !method(transforms[0], "Transform", algEnveloped) || !method(transforms[1], "Transform", algC14N) {
		return nil, false
	}
	return readBase64(ref[2])
}

func method(e *element, local, alg string) bool {
	return e.is(nsDSig, local) && len(e.content) == 0 && len(e.attributes) == 1 && e.get("", "Algorithm") == alg
}

// readKeyInfo reads the signer's chain, root included.
func (r *reference) readKeyInfo(info *element) error {
	data, ok := info.bare()
	if !ok || len(info.attributes) != 0 || len(data) != 1 || !data[0].is(nsDSig, "X509Data") || len(data[0].attributes) != 0 {
		return errRIM("no certificates in the signature")
	}
	certs, ok := data[0].bare()
	if !ok || len(certs) < 2 || len(certs) > maxChain {
		return errRIM("%d certificates in the signature", len(certs))
	}
	for _, e := range certs {
		der, ok := readBase64(e)
		if !ok || !e.is(nsDSig, "X509Certificate") || len(e.attributes) != 0 {
			return errRIM("certificate malformed")
		}
		c, err := parseCertificate(der, refuse.GPURIM)
		if err != nil {
			return err
		}
		r.chain = append(r.chain, c)
	}
	return nil
}

// readBase64 decodes the text of an element, in one line or in PEM's lines of
// 64, and in no third way.
func readBase64(e *element) ([]byte, bool) {
	text, ok := e.text()
	if !ok {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(strings.ReplaceAll(text, "\n", ""))
	if err != nil {
		return nil, false
	}
	line := base64.StdEncoding.EncodeToString(b)
	if text == line {
		return b, true
	}
	var lines strings.Builder
	for len(line) > 64 {
		lines.WriteString(line[:64] + "\n")
		line = line[64:]
	}
	return b, text == lines.String()+line+"\n"
}

// checkManifest looks at chain and revocation of a manifest and notes its
// signature.
func (s *session) checkManifest(m Manifest) (*reference, error) {
	r, err := parseRIM(m.SWID)
	if err != nil {
		return nil, err
	}
	if err := s.checkChain(r.chain, manifestRoot, refuse.GPURIM); err != nil {
		return nil, err
	}
	s.later(r.chain[0].PublicKey.(*ecdsa.PublicKey), sigcache.Raw, r.signedInfo, r.signature, func() error { // parseCertificate saw the key
		return errRIM("manifest of %s %s is not signed by %q", r.product, r.version, r.chain[0].Subject.CommonName)
	})
	if len(m.OCSP) != len(r.chain)-1 {
		return nil, refuse.As(refuse.GPUOCSP, "%d answers about the %d signers of a manifest", len(m.OCSP), len(r.chain)-1)
	}
	for i, answer := range m.OCSP {
		if err := s.checkOCSP(answer, r.chain[i], r.chain[i+1]); err != nil {
			return nil, err
		}
	}
	return r, nil
}
