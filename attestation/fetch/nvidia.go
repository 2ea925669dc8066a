// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"

	"golang.org/x/crypto/ocsp"

	"github.com/sotto-project/sotto/attestation/internal/nvidia"
)

const (
	nvidiaRIM  = "https://rim.attestation.nvidia.com/v1/rim/"
	nvidiaOCSP = "https://ocsp.ndis.nvidia.com"
)

// manifestID is what a manifest may be called, as in collect/gpu: it becomes a
// file's name and a part of a URL.
var manifestID = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// Manifest gets a reference integrity manifest by its identifier, with an answer
// about each of its signers but the root: rim/ID.xml and rim/ID.ocsp-1 and so on.
func (f *Fetcher) Manifest(ctx context.Context, id string) ([]File, error) {
	if !manifestID.MatchString(id) {
		return nil, argument("%q is no identifier of a manifest", id)
	}
	address := nvidiaRIM + id
	b, _, err := f.get(ctx, address, 2*maxManifest)
	if err != nil {
		return nil, err
	}
	var answer struct {
		RIM []byte `json:"rim"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return nil, &ShapeError{address, err}
	}
	signers, err := nvidia.Signers(answer.RIM)
	if err != nil {
		return nil, &ShapeError{address, err}
	}
	out := []File{{"rim/" + id + ".xml", answer.RIM}}
	for i := range len(signers) - 1 {
		response, err := f.ocsp(ctx, signers[i], signers[i+1])
		if err != nil {
			return nil, err
		}
		out = append(out, File{fmt.Sprintf("rim/%s.ocsp-%d", id, i+1), response})
	}
	return out, nil
}

// Device gets the answers about the certificates of a device's chain, leaf first
// and root last, which have none themselves: ocsp/FINGERPRINT.der each.
func (f *Fetcher) Device(ctx context.Context, chain []*x509.Certificate) ([]File, error) {
	if len(chain) < 3 {
		return nil, argument("a chain of %d certificates", len(chain))
	}
	var out []File
	for i := 1; i < len(chain)-1; i++ {
		response, err := f.ocsp(ctx, chain[i], chain[i+1])
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(chain[i].Raw)
		out = append(out, File{"ocsp/" + hex.EncodeToString(sum[:]) + ".der", response})
	}
	return out, nil
}

// ocsp asks about a certificate (RFC 6960, Appendix A.1), without a nonce: the
// answer is shown to many. Whether it is good is for verifiers: a node whose
// certificate is revoked has to be able to say so.
func (f *Fetcher) ocsp(ctx context.Context, cert, issuer *x509.Certificate) ([]byte, error) {
	question, err := ocsp.CreateRequest(cert, issuer, &ocsp.RequestOptions{Hash: crypto.SHA384})
	if err != nil {
		return nil, argument("%v", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, nvidiaOCSP, bytes.NewReader(question))
	if err != nil {
		return nil, argument("%v", err)
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	req.Header.Set("Accept", "application/ocsp-response")
	b, _, err := f.do(req, maxSmall)
	if err != nil {
		return nil, err
	}
	if _, err := ocsp.ParseResponseForCert(b, cert, nil); err != nil {
		return nil, &ShapeError{nvidiaOCSP, fmt.Errorf("about %q: %w", cert.Subject.CommonName, err)}
	}
	return b, nil
}
