// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// The exit codes of [Piece].
const (
	ExitAccepted    = 0
	ExitInternal    = 1
	ExitRefused     = 10
	ExitUnsupported = 20
	ExitMalformed   = 30
)

// maxRequest is room for a bundle and a trusted root in base64, and the rest.
const maxRequest = (MaxBundle+MaxTrustedRoot)/3*4 + 1<<16

// A request is the document that [Piece] reads. All members are required, but for
// the choice between identity with issuer and public_key, and predicate_types.
type request struct {
	Bundle         string   `json:"bundle"`          // base64
	TrustedRoot    string   `json:"trusted_root"`    // base64
	Identity       string   `json:"identity"`        // exactly
	Issuer         string   `json:"issuer"`          // exactly
	PublicKey      string   `json:"public_key"`      // base64 of a SubjectPublicKeyInfo
	ArtifactSHA256 string   `json:"artifact_sha256"` // hex
	PredicateTypes []string `json:"predicate_types"` // exactly; SLSA provenance v1 if absent
	Time           string   `json:"time"`            // RFC 3339
}

var requestMembers = []string{"bundle", "trusted_root", "identity", "issuer", "public_key", "artifact_sha256", "predicate_types", "time"}

// DefaultPredicateType is what [Piece] accepts if the request does not say.
const DefaultPredicateType = "https://slsa.dev/provenance/v1"

// A response is the document that [Piece] writes.
type response struct {
	Verdict string  `json:"verdict"` // "accepted", "refused", "unsupported", "malformed", "internal"
	Code    string  `json:"code,omitempty"`
	Detail  string  `json:"detail,omitempty"` // for people
	Claims  *claims `json:"claims,omitempty"` // of an accepted bundle
}

type claims struct {
	Identity       string          `json:"identity,omitempty"`
	Issuer         string          `json:"issuer,omitempty"`
	Source         *Source         `json:"source,omitempty"`
	ArtifactSHA256 string          `json:"artifact_sha256"`
	Subjects       []string        `json:"subjects"`
	PredicateType  string          `json:"predicate_type"`
	Statement      json.RawMessage `json:"statement"`
	Log            string          `json:"log"`
	LogIndex       uint64          `json:"log_index"`
	TreeSize       uint64          `json:"tree_size"`
	Signed         string          `json:"signed"` // RFC 3339
}

// Piece verifies one bundle for another program: a JSON document in, a JSON
// document and an exit code out. The response ends in a line feed.
func Piece(in []byte) (out []byte, exit int) {
	r, exit := judge(in)
	b, err := json.Marshal(r)
	if err != nil { // only a statement that is no JSON could do this, and that is refused
		return []byte(`{"verdict":"internal"}` + "\n"), ExitInternal
	}
	return append(b, '\n'), exit
}

func judge(in []byte) (*response, int) {
	b, o, at, problem := readRequest(in)
	if problem != "" {
		return &response{Verdict: "malformed", Code: "piece.request", Detail: problem}, ExitMalformed
	}
	res, err := Verify(b, o, at)
	if err == nil {
		return accepted(res, &o), ExitAccepted
	}
	e := AsError(err)
	if e == nil {
		return &response{Verdict: "internal", Detail: err.Error()}, ExitInternal
	}
	r := &response{Code: string(e.Code), Detail: e.Detail}
	switch e.Code {
	case CodeFormat, CodeTrust:
		r.Verdict = "malformed"
		return r, ExitMalformed
	case CodeVersion:
		r.Verdict = "unsupported"
		return r, ExitUnsupported
	}
	r.Verdict = "refused"
	return r, ExitRefused
}

func accepted(res *Result, o *Options) *response {
	c := &claims{
		Identity: res.Identity, Issuer: res.Issuer, ArtifactSHA256: hex.EncodeToString(o.ArtifactSHA256[:]), Subjects: res.Subjects,
		PredicateType: res.PredicateType, Statement: res.Statement, Log: res.Log, LogIndex: res.LogIndex, TreeSize: res.TreeSize,
		Signed: res.Signed.Format(time.RFC3339),
	}
	if res.Source != (Source{}) {
		c.Source = &res.Source
	}
	return &response{Verdict: "accepted", Claims: c}
}

// readRequest returns what is wrong with a request, or nothing.
func readRequest(in []byte) (b []byte, o Options, at time.Time, problem string) {
	if len(in) > maxRequest {
		return nil, o, at, "request too long"
	}
	members, ok := object(in)
	if !ok {
		return nil, o, at, "request is not one JSON object without repetition"
	}
	for name := range members {
		if !slices.Contains(requestMembers, name) { // encoding/json would take another case
			return nil, o, at, "unknown member " + strconv.Quote(name)
		}
	}
	var r request
	if err := json.Unmarshal(in, &r); err != nil {
		return nil, o, at, err.Error()
	}
	var err error
	if b, err = base64.StdEncoding.DecodeString(r.Bundle); err != nil || len(b) == 0 {
		return nil, o, at, "bundle is not base64"
	}
	if o.TrustedRoot, err = base64.StdEncoding.DecodeString(r.TrustedRoot); err != nil || len(o.TrustedRoot) == 0 {
		return nil, o, at, "trusted_root is not base64"
	}
	if r.PublicKey != "" {
		if o.PublicKey, err = publicKey(r.PublicKey); err != nil {
			return nil, o, at, "public_key is not base64 of a SubjectPublicKeyInfo"
		}
	}
	digest, err := hex.DecodeString(r.ArtifactSHA256)
	if err != nil || len(digest) != len(o.ArtifactSHA256) {
		return nil, o, at, "artifact_sha256 is not 64 hex digits"
	}
	if at, err = time.Parse(time.RFC3339, r.Time); err != nil {
		return nil, o, at, "time is not RFC 3339"
	}
	o.Identity, o.Issuer, o.ArtifactSHA256, o.PredicateTypes = r.Identity, r.Issuer, [32]byte(digest), r.PredicateTypes
	if o.PredicateTypes == nil {
		o.PredicateTypes = []string{DefaultPredicateType}
	}
	return b, o, at, ""
}

func publicKey(s string) (crypto.PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, err
	}
	return x509.ParsePKIXPublicKey(der)
}
