// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"net/url"

	"github.com/sigstore/rekor-tiles/v2/pkg/note"
	tilesverify "github.com/sigstore/rekor-tiles/v2/pkg/verify"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

// A Root is a trusted root for whoever reads a whole log instead of one bundle.
type Root struct{ trusted *root.TrustedRoot }

// ReadRoot reads a trusted root. Refusal: [CodeTrust].
func ReadRoot(b []byte) (*Root, error) {
	if len(b) == 0 || len(b) > MaxTrustedRoot {
		return nil, refuse(CodeTrust, "trusted root of %d bytes", len(b))
	}
	tr, err := root.NewTrustedRootFromJSON(b)
	if err != nil {
		return nil, refuse(CodeTrust, "trusted root: %v", err)
	}
	if len(tr.RekorLogs()) == 0 {
		return nil, refuse(CodeTrust, "trusted root names no log")
	}
	return &Root{tr}, nil
}

// A Head is how far a log has come, by its own signature.
type Head struct {
	Log  string // the log's URL in the trusted root
	Size uint64
	Root [32]byte
}

// Head verifies a checkpoint of a log in tiles (Rekor 2). A log that has ended
// may still be read, so that its key's times are not asked.
func (r *Root) Head(checkpoint []byte) (h *Head, err error) {
	defer func() {
		if p := recover(); p != nil {
			h, err = nil, refuse(CodeFormat, "checkpoint cannot be read: %v", p)
		}
	}()
	if len(checkpoint) > maxEntry || !signatureLines(string(checkpoint)) {
		return nil, refuse(CodeFormat, "checkpoint: too long, or a malformed signature line")
	}
	for _, log := range r.trusted.RekorLogs() {
		u, err := url.Parse(log.BaseURL)
		if err != nil {
			continue
		}
		key, err := signature.LoadVerifier(log.PublicKey, log.SignatureHashFunc)
		if err != nil {
			continue
		}
		v, err := note.NewNoteVerifier(u.Hostname(), key)
		if err != nil {
			continue // of Rekor's first version: its origin is no host name
		}
		cp, err := tilesverify.VerifyCheckpoint(string(checkpoint), v)
		if err != nil {
			continue
		}
		if len(cp.Hash) != sha256.Size || cp.Size > 1<<48 {
			return nil, refuse(CodeFormat, "checkpoint of %d leaves with a root of %d bytes", cp.Size, len(cp.Hash))
		}
		return &Head{log.BaseURL, cp.Size, [32]byte(cp.Hash)}, nil
	}
	return nil, refuse(CodeSignature, "checkpoint is signed by no log in the trusted root")
}

// Identity says whom a certificate authority of the root vouched for. A log keeps
// whatever certificate it is given: most are of nobody here.
func (r *Root) Identity(cert *x509.Certificate) (name, issuer string, err error) {
	if _, err := verify.VerifyLeafCertificate(cert.NotBefore, cert, r.trusted); err != nil {
		return "", "", refuse(CodeIdentity, "certificate: %v", err)
	}
	if name, err = soleName(cert); err != nil {
		return "", "", err
	}
	ext, err := extensions(cert)
	if err != nil {
		return "", "", err
	}
	if issuer = ext[extIssuer]; issuer == "" {
		issuer = ext[extIssuerV1]
	}
	return name, issuer, nil
}

// An Entry is what a log in tiles holds of one signing.
type Entry struct {
	// Digest is SHA-256 of what was signed, or, of an entry of kind dsse, of the
	// envelope's payload.
	Digest  [32]byte
	Signers []Signer
}

// A Signer is a certificate or a bare key.
type Signer struct {
	Cert *x509.Certificate // nil for a key
	Key  crypto.PublicKey
}

// ParseEntry reads an entry of kind hashedrekord or dsse, version 0.0.2, as
// rekor-tiles writes it. Others are [CodeVersion]. A signature that is there and
// does not hold, where the digest is enough to tell, is [CodeSignature]: the log
// should not have taken it.
func ParseEntry(b []byte) (*Entry, error) {
	var e struct {
		APIVersion, Kind string
		Spec             struct {
			Hashed *struct {
				Data      hashOutput   `json:"data"`
				Signature logSignature `json:"signature"`
			} `json:"hashedRekordV002"`
			DSSE *struct {
				Payload    hashOutput     `json:"payloadHash"`
				Signatures []logSignature `json:"signatures"`
			} `json:"dsseV002"`
		}
	}
	if len(b) > maxEntry || json.Unmarshal(b, &e) != nil {
		return nil, refuse(CodeFormat, "log entry: not JSON, or over its cap")
	}
	switch h, d := e.Spec.Hashed, e.Spec.DSSE; {
	case e.APIVersion != "0.0.2":
	case e.Kind == "hashedrekord" && h != nil && d == nil:
		return entry(h.Data, true, h.Signature)
	case e.Kind == "dsse" && d != nil && h == nil:
		return entry(d.Payload, false, d.Signatures...)
	}
	return nil, refuse(CodeVersion, "log entry of kind %.40q %.20q", e.Kind, e.APIVersion)
}

type hashOutput struct {
	Algorithm string `json:"algorithm"`
	Digest    []byte `json:"digest"`
}

type logSignature struct {
	Content  []byte `json:"content"`
	Verifier struct {
		Key *struct {
			Raw []byte `json:"rawBytes"`
		} `json:"publicKey"`
		Cert *struct {
			Raw []byte `json:"rawBytes"`
		} `json:"x509Certificate"`
	} `json:"verifier"`
}

func entry(of hashOutput, whole bool, list ...logSignature) (*Entry, error) {
	if of.Algorithm != "SHA2_256" || len(of.Digest) != sha256.Size {
		return nil, refuse(CodeVersion, "log entry: digest %.20q of %d bytes", of.Algorithm, len(of.Digest))
	}
	e := &Entry{Digest: [32]byte(of.Digest)}
	for _, l := range list {
		s, err := l.signer()
		if err != nil {
			return nil, err
		}
		if k, ok := s.Key.(*ecdsa.PublicKey); whole && ok && !ecdsa.VerifyASN1(k, of.Digest, l.Content) {
			return nil, refuse(CodeSignature, "log entry: its signature does not hold")
		}
		e.Signers = append(e.Signers, s)
	}
	if len(e.Signers) == 0 {
		return nil, refuse(CodeFormat, "log entry without a signature")
	}
	return e, nil
}

func (l *logSignature) signer() (s Signer, err error) {
	switch v := l.Verifier; {
	case v.Cert != nil && v.Key == nil:
		if s.Cert, err = x509.ParseCertificate(v.Cert.Raw); err == nil {
			s.Key = s.Cert.PublicKey
		}
	case v.Key != nil && v.Cert == nil:
		s.Key, err = x509.ParsePKIXPublicKey(v.Key.Raw)
	default:
		return s, refuse(CodeFormat, "log entry: want a certificate or a key")
	}
	if err != nil {
		return s, refuse(CodeFormat, "log entry: verifier: %v", err)
	}
	return s, nil
}
