// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package filter reads the JSON body of one inference request, decides whether
// an engine may be shown it, and copies it while it reads.
//
// It keeps no more than one buffer, the names of the objects that are open and
// one short value: a request of any size is filtered in the same memory. What
// it passes it passes byte for byte and in order, but for the members a node
// sets itself (the engine's model name, the prefix-cache salt).
//
// It is not a JSON library and does not normalise: a text that two parsers
// could read differently is refused rather than repaired. It has no network,
// clock, log or randomness of its own, and its errors hold nothing of what it
// read: only codes and names from its own tables.
package filter

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/sotto-project/sotto/internal/jsonstream"
)

// A Member is one top-level member that the node sets: the caller's own value
// is replaced where it stands, or the member is appended if there was none.
type Member struct {
	Name string // exact member name, which needs no JSON escape
	JSON string // the value as JSON text
}

// Options bound and rewrite one request. The zero Options refuse everything.
type Options struct {
	// MaxBytes is the largest JSON text accepted, in bytes.
	MaxBytes int64
	// Model is the only model name accepted: the one the statement names. A
	// request without a model gets it.
	Model string
	// EngineModel is what the engine calls it; Model if empty.
	EngineModel string
	// MaxTokens is the largest answer that may be asked for, in tokens.
	MaxTokens int64
	// MaxChoices is the largest n, and best_of.
	MaxChoices int64
	// Salt is the prefix-cache salt (vLLM's cache_salt). Never empty: without
	// one the time to the first token tells who asked the same before (TN-01).
	Salt string
	// Set are further members the node decides for this engine.
	Set []Member
	// Cap, where a request is paid, says how many tokens the payment lets an
	// answer have, once the whole text was read; negative if it does not even
	// cover the text. A request that asks for more is refused, one that does not
	// say gets the cap as max_tokens (if it is above 0), and several completions
	// of one request are refused: they multiply what it costs.
	Cap func() int64
}

// A Result says what a node needs to know of an accepted request.
type Result struct {
	Stream bool  // the answer was asked for as server-sent events
	Tokens int64 // the most that the answer can have; 0 without [Options.Cap]
}

// A Code says why a request was refused. The list is closed; the spec has it.
type Code string

// The codes of a [Refusal]. The first are those of package jsonstream.
const (
	Syntax    = Code(jsonstream.Syntax)
	UTF8      = Code(jsonstream.UTF8)
	Duplicate = Code(jsonstream.Duplicate)
	Depth     = Code(jsonstream.Depth)
	Size      = Code(jsonstream.Size)
	Number    = Code(jsonstream.Number)

	Refused Code = "request.member"    // a member that reaches into the engine or its host
	URL     Code = "request.url"       // media that is not in the request itself (data:)
	Range   Code = "request.range"     // a known member of the wrong type or out of range
	Schema  Code = "request.schema"    // a grammar, expression or schema that costs too much or refers outside
	Model   Code = "request.model"     // not the model this node serves
	Class   Code = "request.class"     // costs more than the class that was paid
	Unset   Code = "request.unlimited" // the options are incomplete: nothing may pass
)

// A Refusal is the error for every request that the filter will not pass. It
// holds nothing of the request: Member is a name of the filter's own tables.
type Refusal struct {
	Code   Code
	Member string
}

func (r *Refusal) Error() string {
	if r.Member == "" {
		return "request refused: " + string(r.Code)
	}
	return "request refused: " + string(r.Code) + ": " + r.Member
}

// A SinkError is the error of the writer, so that a caller can tell an engine
// that stopped reading from a client that stopped writing.
type SinkError = jsonstream.SinkError

// Copy reads one JSON object from src through io.EOF and writes what may pass
// to dst. The last brace is written only after src said io.EOF, so a text that
// ends in an unverified place is never a complete one for the engine.
//
// On any error dst holds a prefix that is no valid JSON: the caller aborts it.
// The error is a *[Refusal], a *[SinkError], or the error of src as it came.
func Copy(dst io.Writer, src io.Reader, o Options) (Result, error) {
	if o.MaxBytes <= 0 || o.Model == "" || o.MaxTokens <= 0 || o.MaxChoices <= 0 || o.Salt == "" {
		return Result{}, &Refusal{Code: Unset}
	}
	w := newWalker(dst, src, o)
	err := w.document()
	var bad *jsonstream.Error
	if errors.As(err, &bad) {
		err = &Refusal{Code: Code(bad.Code)}
	}
	if said := w.in.SourceError(); said != nil {
		err = said // what the source said explains more than where it left us
	}
	if err != nil {
		return Result{}, err
	}
	return Result{Stream: w.stream, Tokens: w.tokens}, nil
}

// The fixed bounds. They are wide of what honest requests use; what they stop
// is one request that takes a node's memory or an engine's parser with it.
const (
	maxDepth       = jsonstream.MaxDepth
	maxSchemaDepth = 32 // nesting below a tool, schema or response format (TN-08)
	maxName        = jsonstream.MaxName
	maxMembers     = jsonstream.MaxMembers
	maxNumber      = jsonstream.MaxNumber
	maxRegex       = 4096  // bytes of one regular expression
	maxGrammar     = 65536 // bytes of one grammar
	maxSchemaCount = 65536 // maxItems, minLength and their like
	maxBias        = 1024  // members of logit_bias
)

func newWalker(dst io.Writer, src io.Reader, o Options) *walker {
	w := &walker{in: jsonstream.NewReader(src, dst, o.MaxBytes), opt: o}
	engine := o.EngineModel
	if engine == "" {
		engine = o.Model
	}
	w.set = append(w.set, forced{Member: Member{"model", quote(engine)}}, forced{Member: Member{"cache_salt", quote(o.Salt)}})
	for _, m := range o.Set {
		w.set = append(w.set, forced{Member: m})
	}
	return w
}

// quote spells s as JSON. Its inputs are the node's own configuration.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""` // not reached: strings marshal
	}
	return string(b)
}
