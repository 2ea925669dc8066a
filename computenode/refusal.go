// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/sotto-project/sotto/computenode/internal/engine"
	"github.com/sotto-project/sotto/computenode/internal/filter"
	"github.com/sotto-project/sotto/computenode/internal/shape"
	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// incompleteField is the trailer that marks an answer which ended early; its
// value is the code.
const incompleteField = "sotto-incomplete"

// A refusal is an error inside the seal. Its texts are this package's own:
// nothing of the request or of the engine's words is in it.
type refusal struct {
	status int
	code   string
	param  string // a member of the API, or empty
}

func (r *refusal) Error() string { return "node: refused inside the seal: " + r.code }

func refuse(status int, code string) *refusal { return &refusal{status: status, code: code} }

func refuseBody(f *filter.Refusal) *refusal {
	r := &refusal{status: http.StatusBadRequest, code: string(f.Code), param: f.Member}
	switch f.Code {
	case filter.Size:
		r.status = http.StatusRequestEntityTooLarge
	case filter.Model:
		r.status = http.StatusNotFound
	}
	return r
}

func engineRefusal(e *engine.Error) *refusal {
	r := refuse(http.StatusBadGateway, outcomeEngine)
	if error(e) == engine.ErrSilent {
		r.status = http.StatusGatewayTimeout
	}
	return r
}

func (r *refusal) outcome() string {
	if r.code == outcomeEngine {
		return outcomeEngine
	}
	return outcomeRefused
}

// messages say what to do. They are for people; programs read the code.
var messages = map[string]string{
	string(filter.Syntax):    "The body is not one JSON object.",
	string(filter.UTF8):      "The body is not valid UTF-8.",
	string(filter.Duplicate): "The body has a member twice.",
	string(filter.Depth):     "The body is nested too deeply.",
	string(filter.Size):      "The body, or a part of it, is too large.",
	string(filter.Number):    "The body has a number out of range.",
	string(filter.Refused):   "The body has a member that is not allowed here.",
	string(filter.URL):       "Images and other media must be in the request itself, as data: URLs; nothing is fetched.",
	string(filter.Range):     "A member has the wrong type or a value out of range.",
	string(filter.Schema):    "A schema, grammar or regular expression is too complex, or refers outside the request.",
	string(filter.Model):     "This node does not serve that model.",
	"target":                 "Only POST to /v1/chat/completions, /v1/completions and /v1/embeddings is served.",
	"request.type":           "The body must be application/json, not compressed.",
	"request.conversation":   "A conversation secret has 16 to 256 characters.",
	outcomeEngine:            "The inference engine failed. What came before is incomplete; the request may be sent again.",
	errDraining.code:         "The node found itself changed and takes no more requests. This one was not run; it may be sent again.",
	"rng":                    "The node cannot draw random numbers.",
}

// kind is the OpenAI error type that SDKs branch on.
func (r *refusal) kind() string {
	switch {
	case r.code == outcomeEngine:
		return outcomeEngine
	case r.status >= 500:
		return "server_error"
	}
	return "invalid_request_error"
}

// json is the error as OpenAI's API spells it.
func (r *refusal) json() []byte {
	type body struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	}
	e := body{Message: messages[r.code], Type: r.kind(), Code: r.code}
	if e.Message == "" {
		e.Message = "The request is malformed."
	}
	if r.param != "" {
		e.Param = &r.param
	}
	b, err := json.Marshal(struct {
		Error body `json:"error"`
	}{e})
	if err != nil {
		return []byte(`{"error":{"message":"","type":"server_error","param":null,"code":"internal"}}`) // not reached
	}
	return b
}

// write sends the refusal as a whole answer.
func (r *refusal) write(out *shape.Writer) error {
	b := r.json()
	message, err := bhttp.NewResponseWriter(out, &bhttp.ResponseHead{Status: r.status, Fields: []bhttp.Field{
		{Name: "content-type", Value: "application/json"},
		{Name: "content-length", Value: strconv.Itoa(len(b))},
	}})
	if err != nil {
		return err
	}
	if _, err := message.Write(b); err != nil {
		return err
	}
	return message.Close(nil, 0)
}
