// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package bundle verifies Sigstore bundles, version 0.3: an in-toto statement
// about an artifact, signed by an identity that a certificate authority vouches
// for or by a given key, and in a transparency log.
//
// It is pure in what it does: bytes and a time in, a result or a refusal out. It
// fetches no trusted root, asks no log and reads no clock; what it is to trust
// comes from the caller. The cryptography and the formats are those of
// sigstore-go, which is told what to check step by step; what that library
// leaves open is decided here and always in one way: a proof of inclusion is
// required and a promise is not enough, identities are compared byte by byte,
// and certificate, claims and statement must not contradict each other.
//
// Sources: Sigstore client specification; protobuf-specs, sigstore_bundle.proto;
// Fulcio's list of extensions (oid-info); in-toto attestation framework, v1.
package bundle

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/sotto-project/sotto/transparency"
)

// MediaType is that of the one version of bundles that is read.
const MediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// PayloadType is that of the one kind of DSSE payload that is read.
const PayloadType = "application/vnd.in-toto+json"

// StatementType is that of the one version of in-toto statements that is read.
const StatementType = "https://in-toto.io/Statement/v1"

// The codes of this package's refusals, all as [*transparency.Error].
const (
	CodeTrust     = transparency.CodeTrust               // "log.trust": our own options or trusted root are unusable
	CodeInclusion = transparency.CodeInclusion           // "log.inclusion": no proof, or one that does not lead to a signed checkpoint
	CodeSignature = transparency.CodeSignature           // "log.signature": the statement or the log's promise is not signed as it must be
	CodeAbsent    = transparency.Code("log.absent")      // in no log that is trusted
	CodeIdentity  = transparency.Code("log.identity")    // signed by another identity, or by one that contradicts itself
	CodeTime      = transparency.Code("log.time")        // nobody trusted says when it was signed, or in the future
	CodeFormat    = transparency.Code("bundle.format")   // not a bundle, or over a cap
	CodeVersion   = transparency.Code("bundle.version")  // a kind or version of bundle that is not read here
	CodeArtifact  = transparency.Code("bundle.artifact") // a statement about other artifacts
	CodeStatement = transparency.Code("bundle.type")     // a statement of another type than asked for
)

// Caps. A bundle is refused by its length and by how much structure it has before
// anything is parsed. A bundle with a provenance statement has about 12 kB and 15
// objects; the statement is in it as one string.
const (
	MaxBundle      = 256 << 10
	MaxTrustedRoot = 256 << 10
	maxObjects     = 64
	maxCommas      = 512
	maxEntry       = 64 << 10 // body of the log entry
	maxTimestamps  = 4
	maxHashes      = 63
	maxSubjects    = 1024
)

// MaxSkew is how far behind the times of signers the given time may be.
const MaxSkew = time.Minute

// Options say what to require. All are required but the choice between Identity
// with Issuer and PublicKey; the zero Options refuse everything.
type Options struct {
	// TrustedRoot is a Sigstore trusted root in JSON (media type
	// application/vnd.dev.sigstore.trustedroot+json;version=0.1): the logs,
	// certificate authorities and timestamp authorities to believe. If it names
	// certificate transparency logs, certificates must be in one of them.
	TrustedRoot []byte

	// Identity is the certificate's one subject alternative name, Issuer who
	// authenticated it; both byte for byte. Patterns are refused.
	Identity, Issuer string
	// PublicKey verifies bundles that were signed without a certificate.
	PublicKey crypto.PublicKey

	ArtifactSHA256 [32]byte
	PredicateTypes []string // that are acceptable, exactly
}

// A Result says what was verified.
type Result struct {
	Identity, Issuer string    // empty for a bundle that was signed by PublicKey
	Source           Source    // of identities that are workflows
	PredicateType    string    // one of those asked for
	Subjects         []string  // names of the subjects with the artifact's digest
	Statement        []byte    // as signed: the DSSE payload
	Log              string    // the log's URL in the trusted root
	LogIndex         uint64    // in the tree of the proof
	TreeSize         uint64    // of the checkpoint
	Checkpoint       []byte    // the note that the log signed, with whatever else signed it
	Signed           time.Time // the earliest time that somebody trusted gives
}

// Verify judges a bundle as of a time. Errors are [*transparency.Error] with one
// of the codes above; on any error there is no result.
func Verify(b []byte, o Options, at time.Time) (res *Result, err error) {
	// The libraries beneath parse five formats that others made. A panic there is
	// a bundle that cannot be judged, not a reason for the caller to end.
	defer func() {
		if p := recover(); p != nil {
			res, err = nil, transparency.Refuse(CodeFormat, "bundle cannot be read: %v", p)
		}
	}()
	v := &verification{o: &o, at: at}
	for _, step := range []func() error{v.options, func() error { return v.parse(b) }, v.inLog, v.when, v.who, v.signed, v.about} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &v.res, nil
}

// A verification is one call of [Verify]; each step may rely on those before.
type verification struct {
	o  *Options
	at time.Time

	trusted root.TrustedMaterial
	entity  *bundle.Bundle
	content verify.VerificationContent
	sig     verify.SignatureContent
	leaf    *x509.Certificate // nil for a bundle that was signed by a key
	payload []byte
	times   []time.Time

	res Result
}

func refuse(c transparency.Code, format string, args ...any) error {
	return transparency.Refuse(c, format, args...)
}

// options checks what the caller brings.
func (v *verification) options() error {
	o := v.o
	keyed := o.PublicKey != nil
	switch {
	case len(o.TrustedRoot) == 0 || len(o.TrustedRoot) > MaxTrustedRoot:
		return refuse(CodeTrust, "trusted root of %d bytes", len(o.TrustedRoot))
	case keyed == (o.Identity != "" || o.Issuer != ""):
		return refuse(CodeTrust, "want an identity with its issuer, or a public key")
	case !keyed && (o.Identity == "" || o.Issuer == ""):
		return refuse(CodeTrust, "an identity without its issuer says nothing, nor does an issuer alone")
	case strings.ContainsAny(o.Identity+o.Issuer, "*^$()[]{}|\\ \t\n"):
		return refuse(CodeTrust, "identity or issuer is a pattern: they are compared byte for byte")
	case o.ArtifactSHA256 == [32]byte{}:
		return refuse(CodeTrust, "no artifact")
	case len(o.PredicateTypes) == 0 || slices.Contains(o.PredicateTypes, ""):
		return refuse(CodeTrust, "no predicate types")
	case v.at.IsZero():
		return refuse(CodeTrust, "no time to judge at")
	}
	tr, err := root.NewTrustedRootFromJSON(o.TrustedRoot)
	if err != nil {
		return refuse(CodeTrust, "trusted root: %v", err)
	}
	if len(tr.RekorLogs()) == 0 || !keyed && len(tr.FulcioCertificateAuthorities()) == 0 {
		return refuse(CodeTrust, "trusted root names no log or no certificate authority")
	}
	v.trusted = tr
	if keyed {
		verifier, err := signature.LoadVerifier(o.PublicKey, crypto.SHA256)
		if err != nil {
			return refuse(CodeTrust, "public key: %v", err)
		}
		key := root.NewExpiringKey(verifier, time.Time{}, time.Time{})
		// The bundle's hint is not asked: there is one key.
		keys := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) { return key, nil })
		v.trusted = root.TrustedMaterialCollection{tr, keys}
	}
	return nil
}

// parse reads the bundle and refuses kinds of it that are not judged here.
func (v *verification) parse(b []byte) error {
	if len(b) == 0 || len(b) > MaxBundle {
		return refuse(CodeFormat, "bundle of %d bytes, allowed are %d", len(b), MaxBundle)
	}
	if bytes.Count(b, []byte("{"))+bytes.Count(b, []byte("[")) > maxObjects || bytes.Count(b, []byte(",")) > maxCommas {
		return refuse(CodeFormat, "bundle of too many parts")
	}
	if err := mediaType(b); err != nil {
		return err
	}
	v.entity = new(bundle.Bundle)
	if err := v.entity.UnmarshalJSON(b); err != nil {
		// sigstore-go refuses some bundles without a proof as malformed.
		if e := v.entity.Bundle.GetVerificationMaterial().GetTlogEntries(); len(e) > 0 && e[0].GetInclusionProof().GetCheckpoint() == nil {
			return refuse(CodeInclusion, "a promise of inclusion without a proof")
		}
		return refuse(CodeFormat, "%v", err)
	}
	if !spelled(b, v.entity.Bundle) {
		return refuse(CodeFormat, "base64 in another spelling than its own")
	}
	env := v.entity.GetDsseEnvelope()
	if env == nil {
		return refuse(CodeVersion, "signature over an artifact without a statement")
	}
	if env.PayloadType != PayloadType || len(env.Signatures) != 1 {
		return refuse(CodeVersion, "payload type %q with %d signatures", env.PayloadType, len(env.Signatures))
	}
	v.payload = env.Payload
	var err error
	if v.content, err = v.entity.VerificationContent(); err != nil {
		return refuse(CodeFormat, "%v", err)
	}
	if v.sig, err = v.entity.SignatureContent(); err != nil {
		return refuse(CodeFormat, "%v", err)
	}
	v.leaf = v.content.Certificate()
	switch keyed := v.o.PublicKey != nil; {
	case keyed && v.leaf != nil:
		return refuse(CodeIdentity, "signed with a certificate, want the given key")
	case !keyed && v.leaf == nil:
		return refuse(CodeIdentity, "signed with a bare key, want identity %q", v.o.Identity)
	}
	return nil
}

// signed checks the signature over the statement.
func (v *verification) signed() error {
	if err := verify.VerifySignature(v.sig, v.content, v.trusted); err != nil {
		return refuse(CodeSignature, "statement: %v", err)
	}
	v.res.Statement = v.payload
	return nil
}

// AsError returns the refusal in err, or nil.
func AsError(err error) *transparency.Error {
	var e *transparency.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}
