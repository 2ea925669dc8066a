// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sigstore/sigstore-go/pkg/verify"
)

// A Source says from what a workflow was run, as the certificate authority
// recorded it. All of it agrees with the identity.
type Source struct {
	Repository string `json:"repository,omitempty"` // URL
	Ref        string `json:"ref,omitempty"`        // "refs/tags/v1.2.3"
	Commit     string `json:"commit,omitempty"`
	Trigger    string `json:"trigger,omitempty"`
	Runner     string `json:"runner,omitempty"` // "github-hosted"
}

// String prints repository, ref and commit.
func (s Source) String() string {
	if s.Repository == "" {
		return ""
	}
	return s.Repository + "@" + s.Ref + " (" + s.Commit + ")"
}

// Fulcio's extensions are under 1.3.6.1.4.1.57264.1; these are the last numbers.
// Those below 8 are of the first version: bare strings, of which some certificates
// have nothing else. Source: oid-info in the documents of Fulcio.
const (
	extIssuerV1  = 1
	extTriggerV1 = 2
	extCommitV1  = 3
	extRepoV1    = 5
	extRefV1     = 6

	extIssuer       = 8
	extSigner       = 9
	extSignerCommit = 10
	extRunner       = 11
	extRepo         = 12
	extCommit       = 13
	extRef          = 14
	extConfig       = 18
	extConfigCommit = 19
	extTrigger      = 20
)

// who checks the certificate: its chain at every time of signing, its presence
// in a certificate transparency log if the trusted root names any, and whose it
// is.
func (v *verification) who() error {
	if v.leaf == nil {
		return nil // signed answers for the key
	}
	for _, t := range v.times {
		chains, err := verify.VerifyLeafCertificate(t, v.leaf, v.trusted)
		if err != nil {
			return refuse(CodeIdentity, "certificate: %v at the time of signing", err)
		}
		if len(v.trusted.CTLogs()) > 0 {
			if err := verify.VerifySignedCertificateTimestamp(chains, 1, v.trusted); err != nil {
				return refuse(CodeIdentity, "certificate is in no trusted log: %v", err)
			}
		}
	}
	return v.identity(v.leaf)
}

func (v *verification) identity(cert *x509.Certificate) error {
	san, err := soleName(cert)
	if err != nil {
		return err
	}
	if san != v.o.Identity {
		return refuse(CodeIdentity, "signed by %q, want %q", san, v.o.Identity)
	}
	ext, err := extensions(cert)
	if err != nil {
		return err
	}
	issuer, ok := ext[extIssuer]
	switch {
	case !ok:
		return refuse(CodeIdentity, "certificate without the issuer extension 1.8: of the first version, or not of a trusted kind")
	case issuer != v.o.Issuer:
		return refuse(CodeIdentity, "vouched for by %q, want %q", issuer, v.o.Issuer)
	case differs(ext, extIssuerV1, issuer):
		return refuse(CodeIdentity, "certificate names two issuers")
	}
	v.res.Identity, v.res.Issuer = san, issuer
	if strings.Contains(san, "@refs/") || slices.ContainsFunc([]int{extSigner, extRepo, extRef, extConfig, extTrigger}, func(n int) bool { _, ok := ext[n]; return ok }) {
		return v.workflow(san, ext)
	}
	return nil
}

// triggers are the events that may start a release: those that take write access
// to the repository and run what is in it. "pull_request" and its kin are not.
var triggers = []string{"push", "release", "workflow_dispatch"}

// workflow checks a workflow's certificate against itself. The name alone is not
// enough: a workflow that others may call from their repositories has its own
// name whoever calls it, and the caller's repository in the extensions.
func (v *verification) workflow(san string, ext map[int]string) error {
	s := Source{Repository: ext[extRepo], Ref: ext[extRef], Commit: ext[extCommit], Trigger: ext[extTrigger], Runner: ext[extRunner]}
	bad := func(what string) error { return refuse(CodeIdentity, "%s, in the certificate of %q", what, san) }
	switch {
	case ext[extSigner] != san:
		return bad("build signer is another workflow")
	case ext[extConfig] != san:
		return bad("called from another workflow")
	case s.Repository == "" || !strings.HasPrefix(san, s.Repository+"/"):
		return bad("source is another repository")
	case !strings.HasPrefix(s.Ref, "refs/") || !strings.HasSuffix(san, "@"+s.Ref):
		return bad("source is another ref")
	case s.Commit == "" || ext[extSignerCommit] != s.Commit || ext[extConfigCommit] != s.Commit:
		return bad("source is another commit than the workflow's")
	case !slices.Contains(triggers, s.Trigger):
		return bad("started by " + s.Trigger)
	case differs(ext, extTriggerV1, s.Trigger) || differs(ext, extCommitV1, s.Commit) || differs(ext, extRefV1, s.Ref):
		return bad("extensions of the first version contradict the others")
	}
	if repo, ok := ext[extRepoV1]; ok && !strings.HasSuffix(s.Repository, "/"+repo) {
		return bad("extensions of the first version contradict the others")
	}
	v.res.Source = s
	return nil
}

// differs reports whether an extension is there and says something else.
func differs(ext map[int]string, n int, want string) bool {
	got, ok := ext[n]
	return ok && got != want
}

// soleName returns the one subject alternative name, which is a URI or an e-mail
// address. crypto/x509 would parse URIs and print them in another spelling.
func soleName(cert *x509.Certificate) (string, error) {
	oid := asn1.ObjectIdentifier{2, 5, 29, 17}
	for _, e := range cert.Extensions {
		if !e.Id.Equal(oid) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &names); err != nil || len(rest) != 0 {
			return "", refuse(CodeFormat, "certificate: malformed names")
		}
		const email, uri = 1, 6 // RFC 5280, Section 4.2.1.6, GeneralName
		if len(names) != 1 || names[0].Class != asn1.ClassContextSpecific || names[0].Tag != email && names[0].Tag != uri {
			return "", refuse(CodeIdentity, "certificate with %d names, want one URI or address", len(names))
		}
		return string(names[0].Bytes), nil
	}
	return "", refuse(CodeIdentity, "certificate without a name")
}

// extensions reads Fulcio's. crypto/x509 refuses certificates that have one
// twice.
func extensions(cert *x509.Certificate) (map[int]string, error) {
	out := map[int]string{}
	arc := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1}
	for _, e := range cert.Extensions {
		if len(e.Id) != len(arc)+1 || !slices.Equal(e.Id[:len(arc)], arc) {
			continue
		}
		n, value := e.Id[len(arc)], string(e.Value)
		if n >= extIssuer {
			var raw asn1.RawValue
			if rest, err := asn1.Unmarshal(e.Value, &raw); err != nil || len(rest) != 0 || raw.Class != asn1.ClassUniversal || raw.Tag != asn1.TagUTF8String {
				return nil, refuse(CodeFormat, "certificate: malformed extension 1.%d", n)
			}
			value = string(raw.Bytes)
		}
		if !utf8.ValidString(value) {
			return nil, refuse(CodeFormat, "certificate: malformed extension 1.%d", n)
		}
		out[n] = value
	}
	return out, nil
}
