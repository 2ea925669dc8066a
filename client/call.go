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
	rest  io.Reader // else the body as the application wrote it, from the start
	used  bool      // rest was read from; it cannot be sent again
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
	return &call{head: canonicalHead(u.Path, req.Header.Get(ConversationHeader)), src: req.Body}, nil
}

// ConversationHeader carries a secret of the conversation inside the seal.
// Requests with the same secret may share an engine's prefix cache; without it
// nothing is shared (TN-01).
const ConversationHeader = "Sotto-Conversation"

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
			return refuse(CodeRequest, "reading the body: %v", err)
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
	c.whole, c.model = out.Bytes(), res.Model
	return nil
}

func requestError(err error) error {
	var bad *canon.Error
	if errors.As(err, &bad) {
		return refuse(CodeRequest, "%s", bad.Detail)
	}
	return err
}

// rewind reports whether the body can be sent again.
func (c *call) rewind() bool { return c.whole != nil || !c.used }

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
	c.used = true
	_, err := canon.Copy(w, c.rest)
	return requestError(err)
}
