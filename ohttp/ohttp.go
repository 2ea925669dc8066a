// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package ohttp holds the wire values of Oblivious HTTP (RFC 9458) and of its
// chunked form (draft-ietf-ohai-chunked-ohttp-08): key configurations, the
// request header, media types and labels.
//
// It parses and prints; it does not encrypt, dial or log. The client's half of
// the encryption lives in ohttp/encap, the gateway's in ohttp/gateway/decap.
package ohttp

// Media types. They are compared exactly: Sotto never answers one form with
// the other, because a gateway that could talk some clients into the other
// form would split them into groups it can tell apart (draft-08, Section 7).
const (
	TypeKeys            = "application/ohttp-keys"     // RFC 9458, Section 3.2
	TypeRequest         = "message/ohttp-req"          // RFC 9458, Section 4
	TypeResponse        = "message/ohttp-res"          // RFC 9458, Section 4
	TypeChunkedRequest  = "message/ohttp-chunked-req"  // draft-08, Section 3
	TypeChunkedResponse = "message/ohttp-chunked-res"  // draft-08, Section 3
	GatewayPath         = "/.well-known/ohttp-gateway" // RFC 9540, Section 4
	IncrementalField    = "Incremental"                // asks hops not to buffer
	IncrementalValue    = "?1"                         // structured-field true
)

// Problem types that a gateway may answer before decapsulation (RFC 9458,
// Section 5.2 and 5.3). All other early failures look alike.
const (
	ProblemKey  = "https://iana.org/assignments/http-problem-types#ohttp-key"
	ProblemDate = "https://iana.org/assignments/http-problem-types#date"
)

// MaxChunk is the largest plaintext of one chunk, in bytes, that Sotto sends
// or takes: the size every receiver of chunks must support (draft-08,
// Section 3). Larger chunks are refused, so that one chunk bounds a buffer.
const MaxChunk = 16384

// A Form is one of the two encapsulations. Its labels enter the key schedule,
// so a message sealed in one form does not open in the other.
type Form uint8

const (
	Chunked Form = 1 + iota // draft-ietf-ohai-chunked-ohttp-08
	Whole                   // RFC 9458, one AEAD message each way
)

// FormOf returns the form that a request's Content-Type announces, or 0. Only
// the exact media type counts: no parameters, no other letter case.
func FormOf(contentType string) Form {
	switch contentType {
	case TypeChunkedRequest:
		return Chunked
	case TypeRequest:
		return Whole
	}
	return 0
}

// RequestType returns the media type of a request in this form.
func (f Form) RequestType() string {
	if f == Chunked {
		return TypeChunkedRequest
	}
	return TypeRequest
}

// ResponseType returns the media type of the only acceptable answer to a
// request in this form.
func (f Form) ResponseType() string {
	if f == Chunked {
		return TypeChunkedResponse
	}
	return TypeResponse
}

// ResponseLabel is the exporter context of the response secret (RFC 9458,
// Section 4.4; draft-08, Section 6.2).
func (f Form) ResponseLabel() string {
	if f == Chunked {
		return "message/bhttp chunked response"
	}
	return "message/bhttp response"
}

func (f Form) requestLabel() string {
	if f == Chunked {
		return "message/bhttp chunked request"
	}
	return "message/bhttp request"
}
