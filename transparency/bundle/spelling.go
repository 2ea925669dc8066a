// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
)

// mediaType looks at the one member that says how to read the others.
func mediaType(b []byte) error {
	members, ok := object(b)
	if !ok {
		return refuse(CodeFormat, "not one JSON object without repetition")
	}
	var s string
	if err := json.Unmarshal(members["mediaType"], &s); err != nil {
		return refuse(CodeFormat, "no mediaType")
	}
	if s != MediaType {
		return refuse(CodeVersion, "bundle of type %q, want %q", s, MediaType)
	}
	return nil
}

// object splits a JSON object into its members, by their exact names, and
// refuses one that has a name twice: encoding/json would take the last, and a
// name in another case, too.
func object(b []byte) (map[string]json.RawMessage, bool) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	out := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if _, twice := out[name]; err != nil || !ok || twice {
			return nil, false
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, false
		}
		out[name] = raw
	}
	if _, err := d.Token(); err != nil {
		return nil, false
	}
	_, err := d.Token()
	return out, err == io.EOF
}

// spelled reports whether every byte string of the bundle stands in the JSON in
// padded base64 with its unused bits zero, as every writer of bundles has it. The
// parser of protobuf's JSON takes other spellings, too.
func spelled(in []byte, b *protobundle.Bundle) bool {
	found := map[string]bool{}
	d := json.NewDecoder(bytes.NewReader(in))
	for {
		t, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return false
		}
		if s, ok := t.(string); ok {
			found[s] = true
		}
	}
	m := b.GetVerificationMaterial()
	fields := [][]byte{m.GetCertificate().GetRawBytes(), b.GetDsseEnvelope().GetPayload()}
	for _, s := range b.GetDsseEnvelope().GetSignatures() {
		fields = append(fields, s.Sig)
	}
	for _, e := range m.GetTlogEntries() {
		fields = append(fields, e.GetLogId().GetKeyId(), e.GetCanonicalizedBody(), e.GetInclusionPromise().GetSignedEntryTimestamp(), e.GetInclusionProof().GetRootHash())
		fields = append(fields, e.GetInclusionProof().GetHashes()...)
	}
	for _, s := range m.GetTimestampVerificationData().GetRfc3161Timestamps() {
		fields = append(fields, s.SignedTimestamp)
	}
	for _, f := range fields {
		if len(f) > 0 && !found[base64.StdEncoding.EncodeToString(f)] {
			return false
		}
	}
	return true
}
