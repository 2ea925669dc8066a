// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package piece judges one piece of evidence by itself, for auditors and for
// other programs: a report, a quote, a log or a document goes in with its
// collateral, the time to judge at and whatever the caller expects of it, and
// what it says comes out, or a refusal with a code. It is `sotto verify piece`;
// docs/spec/piece.md is its contract.
//
// It is not the door to a prompt: a genuine report proves nothing about a node
// until it is bound to the node's keys, which is the business of
// attestation.Verify, and of nothing in here. The checks are those of the same
// internal packages. Where a caller does without one, say a revocation list, it
// names that in its own request, and the response names it as a gap.
//
// The package computes and does nothing else: no network, no files, no clock.
package piece

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// MaxRequest is the most bytes a request may have.
const MaxRequest = 64 << 20

// The exit codes: how a judgement ended, for programs.
const (
	ExitAccepted    = 0
	ExitInternal    = 1
	ExitRefused     = 10
	ExitUnsupported = 20
	ExitMalformed   = 30
)

// A Verdict says how a judgement ended, in a word.
type Verdict string

// The verdicts, one for each exit code.
const (
	Accepted    Verdict = "accepted"
	Internal    Verdict = "internal"
	Refused     Verdict = "refused"
	Unsupported Verdict = "unsupported"
	Malformed   Verdict = "malformed"
)

// Exit returns the exit code of a verdict.
func (v Verdict) Exit() int {
	switch v {
	case Accepted:
		return ExitAccepted
	case Refused:
		return ExitRefused
	case Unsupported:
		return ExitUnsupported
	case Malformed:
		return ExitMalformed
	}
	return ExitInternal
}

// Codes beside those of refusals (docs/spec/refusal-codes.md): the evidence was
// not judged.
const (
	CodeRequest     = "piece.request"     // the request is not one of its kind
	CodeUnsupported = "piece.unsupported" // a kind, version or option that this version does not know
	CodeInternal    = "piece.internal"    // a fault of this program
)

// Whose roots a judgement rests on.
const (
	RootsBuiltIn = "built in"
	RootsGiven   = "given by the caller"
	RootsNone    = "none" // of kinds that no vendor signs, and where nothing was judged
)

// A Gap is something that an acceptance leaves open.
type Gap struct {
	Name   string `json:"name"` // stable; a waiver's gap has the waiver's name
	Detail string `json:"detail"`
}

// A Response is the document that comes out; docs/spec/verify/response.schema.json
// describes it.
type Response struct {
	Kind    string  `json:"kind"`
	Verdict Verdict `json:"verdict"`
	Code    string  `json:"code,omitempty"`
	Detail  string  `json:"detail,omitempty"` // for people; must not be parsed
	// Expected and Received are the two values that should have been equal, where
	// it came to that.
	Expected  string `json:"expected,omitempty"`
	Received  string `json:"received,omitempty"`
	Hint      string `json:"hint,omitempty"` // what to do next, for people
	Gaps      []Gap  `json:"gaps"`
	Simulated bool   `json:"simulated"` // the roots stand for no hardware
	Roots     string `json:"roots"`
	Time      string `json:"time,omitempty"` // judged at
	// Claims are what the evidence says. With any other verdict than accepted they
	// are what could be read and prove nothing.
	Claims any `json:"claims,omitempty"`
}

// Print returns the response as one line of JSON in ASCII: texts in it come from
// evidence and must not move a cursor.
func (r *Response) Print() []byte {
	if r.Gaps == nil {
		r.Gaps = []Gap{}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return []byte(`{"kind":"","verdict":"internal","code":"piece.internal","gaps":[],"simulated":false,"roots":"none"}` + "\n")
	}
	return ascii(b.Bytes())
}

// ascii escapes what is not printable ASCII in JSON text, but the last newline.
func ascii(b []byte) []byte {
	if !bytes.ContainsFunc(b, func(r rune) bool { return r >= 0x7f }) {
		return b
	}
	out := make([]byte, 0, len(b)+len(b)/8)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r < 0x7f:
			out = append(out, b[0])
		case r > 0xffff:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		b = b[n:]
	}
	return out
}

// judges has the kinds and what judges each. A judge fills in what it finds as it
// goes; its error decides the verdict.
var judges = map[string]func(*judgement) error{
	"event-log":  judgeEventLog,
	"ima-log":    judgeIMALog,
	"nitro":      judgeNitro,
	"nvidia-gpu": judgeGPU,
	"sev-snp":    judgeSNP,
	"tdx":        judgeTDX,
	"tpm-quote":  judgeQuote,
}

// Kinds returns the kinds that [Run] knows, sorted.
func Kinds() []string {
	var out []string
	for k := range judges {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// A judgement is one call of [Run]: the request, what is trusted, and the
// response in the making.
type judgement struct {
	request *object
	trusted roots.Set
	now     time.Time
	waived  map[string]bool
	beside  [][]byte // certificates that came with the one of a report
	out     *Response
}

// Run judges one request of a kind under the given roots, which the request may
// replace by its own. It returns the response, one line of JSON, and the exit
// code that belongs to it.
func Run(kind string, request []byte, trusted attestation.Roots) (response []byte, exit int) {
	out := &Response{Kind: kind, Roots: RootsNone}
	// The libraries beneath read formats that others made. A panic there must not
	// look like anything but what it is.
	defer func() {
		if p := recover(); p != nil {
			out = &Response{Kind: kind, Verdict: Internal, Code: CodeInternal, Detail: fmt.Sprintf("panic: %v", p), Roots: RootsNone}
			response, exit = out.Print(), ExitInternal
		}
	}()
	out.settle(run(kind, request, trusted, out))
	return out.Print(), out.Verdict.Exit()
}

func run(kind string, request []byte, trusted roots.Set, out *Response) error {
	judge, ok := judges[kind]
	if !ok {
		if out.Kind = kind; len(kind) > 64 {
			out.Kind = kind[:64]
		}
		return unsupported("no kind %.64q", kind)
	}
	o, err := parse(request)
	if err != nil {
		return err
	}
	j := &judgement{request: o, trusted: trusted, out: out}
	if j.now = o.needTime("time"); o.fault() == nil {
		out.Time = j.now.UTC().Format(time.RFC3339Nano)
	}
	return judge(j)
}

// settle writes the verdict that an error stands for.
func (r *Response) settle(err error) {
	var asked *requestError
	var unknown *unsupportedError
	var broken *malformedError
	var refused *refuse.Error
	switch {
	case err == nil:
		r.Verdict = Accepted
	case errors.As(err, &asked):
		r.Verdict, r.Code, r.Detail = Malformed, CodeRequest, asked.detail
	case errors.As(err, &unknown):
		r.Verdict, r.Code, r.Detail = Unsupported, CodeUnsupported, unknown.detail
	case errors.As(err, &broken):
		r.Verdict, r.Code, r.Detail = Malformed, string(broken.code), broken.detail
	case errors.As(err, &refused):
		r.Verdict, r.Code, r.Detail = Refused, string(refused.Code), refused.Detail
		r.Expected, r.Received, r.Hint = refused.Want, refused.Got, hints[r.Kind+" "+r.Code]
	default:
		r.Verdict, r.Code, r.Detail = Internal, CodeInternal, err.Error()
	}
	if r.Code == CodeRequest || r.Code == CodeUnsupported || r.Code == CodeInternal { // nothing was judged
		r.Roots, r.Simulated, r.Gaps = RootsNone, false, nil
	}
}

// A requestError is a fault of the caller's document.
type requestError struct{ detail string }

func (e *requestError) Error() string { return CodeRequest + ": " + e.detail }

// An unsupportedError is about what another version may know.
type unsupportedError struct{ detail string }

func (e *unsupportedError) Error() string { return CodeUnsupported + ": " + e.detail }

func unsupported(format string, args ...any) error {
	return &unsupportedError{fmt.Sprintf(format, args...)}
}

// A malformedError is about evidence that is not in its format at all.
type malformedError struct {
	code   refuse.Code
	detail string
}

func (e *malformedError) Error() string { return string(e.code) + ": " + e.detail }

// unread turns the error of a parser into one about evidence that could not be
// read; other errors stay.
func unread(err error) error {
	var r *refuse.Error
	if errors.As(err, &r) {
		return &malformedError{r.Code, r.Detail}
	}
	return err
}

// gap names something that an acceptance leaves open.
func (j *judgement) gap(name, format string, args ...any) {
	j.out.Gaps = append(j.out.Gaps, Gap{name, fmt.Sprintf(format, args...)})
}

// waivers reads the waivers of a request. One that the kind does not have is an
// option of another version.
func (j *judgement) waivers(known ...string) error {
	j.waived = map[string]bool{}
	for _, w := range j.request.texts("waive") {
		if j.waived[w] {
			return j.request.failf("waive: %.40q twice", w)
		}
		if !slices.Contains(known, w) {
			return unsupported("no waiver %.40q; there are %q", w, known)
		}
		j.waived[w] = true
	}
	return nil
}

// hints say what to do next, by kind and code.
var hints = map[string]string{
	"sev-snp att.crl":         "put AMD's list for the product line into crl (https://kdsintf.amd.com/vcek/v1/PRODUCT/crl), or name crl in waive",
	"sev-snp att.product":     "name the product line in products if its known attacks are acceptable to you",
	"sev-snp att.signingkey":  "name the provider in vleks if it may vouch for its machines",
	"sev-snp att.debug":       "the host can read this guest; name debug in waive to look at its report all the same",
	"sev-snp att.simulated":   "simulated evidence has no vendor; put the certificates of whoever made it into roots",
	"tdx att.crl":             "put what Intel's service answers into collateral, or name collateral in waive",
	"tdx att.tdx.status":      "name the status in allow_status if its advisories are acceptable to you",
	"tdx att.debug":           "the host can read this guest; name debug in waive to look at its quote all the same",
	"tdx att.simulated":       "simulated evidence has no vendor; put the certificates of whoever made it into roots",
	"nvidia-gpu att.gpu.ocsp": "put the answers of NVIDIA's responder into the evidence, or name ocsp in waive",
	"nvidia-gpu att.gpu.rim":  "put NVIDIA's manifests for driver and VBIOS into rims, or name rim in waive",
	"nitro att.chain":         "the certificates live for hours: time is to be when the document was received",
	"nitro att.debug":         "the instance can read this enclave; name debug in waive to look at its document all the same",
	"ima-log att.ima.replay":  "a list that was read after the quote is longer: see quoted_entries in the claims",
}
