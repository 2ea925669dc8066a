// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"

	"github.com/sotto-project/sotto/client/internal/canon"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// paths are the routes of an engine that a request may name.
var paths = []string{"/v1/chat/completions", "/v1/completions", "/v1/embeddings"}

// spoolSize is how much of a body is held, in bytes: enough to find the model
// and to seal a request again after a failure. A larger body streams, once.
const spoolSize = 1 << 20

// A call is one request of the application in canonical form: what every
// Sotto client sends, whichever SDK made it, so that the node cannot tell
// applications apart by their headers or spelling (CL-08, CL-09).
type call struct {
	head  *bhttp.RequestHead
	src   io.Reader
	model string
	whole []byte    // the canonical body, if it fits the spool
	rest  io.Reader // else the body as the application wrote it, from the start; it can be sent once

	removed []string // members that name a person and do not leave; of a held body only
}

func newCall(req *http.Request) (*call, error) {
	u := req.URL
	if u == nil || u.Scheme != "https" || u.Host != Host || u.User != nil || req.Host != "" && req.Host != Host {
		return nil, refuse(CodeTarget, "requests go to %s; any other URL is refused so that nothing is sent in the clear", BaseURL).
			hint("set the base URL to " + BaseURL + " and the Sotto client as the HTTP transport")
	}
	if req.Method != http.MethodPost || !slices.Contains(paths, u.EscapedPath()) || u.RawQuery != "" {
		return nil, refuse(CodeTarget, "Sotto serves POST on %v", paths)
	}
	if media, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, refuse(CodeRequest, "the body must be application/json")
	}
	if req.Body == nil {
		return nil, refuse(CodeRequest, "no body")
	}
	conversation := req.Header.Get(ConversationHeader)
	if n := len(conversation); n > 0 && (n < 16 || n > 256) {
		return nil, refuse(CodeRequest, "%s has %d characters, want 16 to 256: it is a secret that tells conversations apart", ConversationHeader, n)
	}
	return &call{head: canonicalHead(u.Path, conversation), src: source{req.Body}}, nil
}

// ConversationHeader carries a secret of the conversation inside the seal.
// Requests with the same secret may share an engine's prefix cache; without it
// nothing is shared (TN-01).
const ConversationHeader = "Sotto-Conversation"

// RemovedHeader lists, on an answer, the members of the request that were left
// out because they name a person.
const RemovedHeader = "Sotto-Removed"

// canonicalHead is the same for every application: fixed fields in a fixed
// order, whatever headers the SDK set.
func canonicalHead(path, conversation string) *bhttp.RequestHead {
	h := &bhttp.RequestHead{
		Method: http.MethodPost, Scheme: "https", Authority: Host, Path: path,
		Fields: []bhttp.Field{{Name: "content-type", Value: "application/json"}},
	}
	if conversation != "" {
		h.Fields = append(h.Fields, bhttp.Field{Name: "sotto-conversation", Value: conversation})
	}
	return h
}

// spool reads the start of the body, finds the model, and keeps the canonical
// body if it is small. only is the model to take if the statement has just
// one.
func (c *call) spool(only string) error {
	buf := make([]byte, 0, 8<<10)
	for len(buf) < spoolSize {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, len(buf))
		}
		n, err := c.src.Read(buf[len(buf):min(cap(buf), spoolSize)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return c.keep(buf)
		}
		if err != nil {
			return err
		}
	}
	c.rest = io.MultiReader(bytes.NewReader(buf), c.src)
	c.model = canon.FindModel(buf)
	if c.model == "" {
		c.model = only
	}
	if c.model == "" {
		return refuse(CodeModel, "no model named within the first %d KiB of the body", spoolSize>>10).
			hint(`put "model" before the messages`)
	}
	return nil
}

func (c *call) keep(raw []byte) error {
	var out bytes.Buffer
	out.Grow(len(raw))
	res, err := canon.Copy(&out, bytes.NewReader(raw))
	if err != nil {
		return requestError(err)
	}
	if res.Model == "" {
		return refuse(CodeModel, "the body names no model").hint(`add "model"; GET /v1/models lists the names`)
	}
	c.whole, c.model, c.removed = out.Bytes(), res.Model, res.Removed
	return nil
}

// A source is the application's body; what ends it early has a code.
type source struct{ r io.Reader }

func (s source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	switch {
	case err == nil || err == io.EOF:
	case httpx.TooLarge(err):
		err = refuse(CodeTooLarge, "the request is over the largest size class of %d MiB", steps[len(steps)-1]>>20)
	case httpx.TooSlow(err):
		err = refuse(CodeSlow, "the body came too slowly")
	default:
		err = refuse(CodeRequest, "the body ended before it was complete")
	}
	return n, err
}

func requestError(err error) error {
	var bad *canon.Error
	if errors.As(err, &bad) {
		return refuse(CodeRequest, "%s", bad.Detail)
	}
	return err
}

// rewind reports whether the body can be sent again. One that streams cannot:
// whoever writes it may still be at it when an attempt fails.
func (c *call) rewind() bool { return c.rest == nil }

// copyBody writes the canonical body.
func (c *call) copyBody(w io.Writer) error {
	if c.rest == nil {
		for b := c.whole; len(b) > 0; {
			n := min(len(b), contentChunk)
			if _, err := w.Write(b[:n]); err != nil {
				return err
			}
			b = b[n:]
		}
		return nil
	}
	res, err := canon.Copy(w, c.rest)
	if err != nil {
		return requestError(err)
	}
	if res.Model != "" && res.Model != c.model {
		// The nodes were drawn for the statement's only model, before this
		// body said that it wants another.
		return &Error{Code: CodeModel, Detail: "the body names a model that no node of this epoch serves", Sent: true}
	}
	return nil
}
