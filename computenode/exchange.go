// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"time"

	"github.com/sotto-project/sotto/computenode/internal/engine"
	"github.com/sotto-project/sotto/computenode/internal/filter"
	"github.com/sotto-project/sotto/computenode/internal/shape"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// An exchange is one opened request and its answer. It lives as long as its
// handler, whose context it therefore takes from r.
type exchange struct {
	n       *Node
	w       http.ResponseWriter
	r       *http.Request
	request *recipient.Request
	bill    *bill // nil: nobody pays
	tokens  int64 // most that the answer may have, of a paid request
}

// run reads the request to its verified end while the engine is given what may
// pass, and then answers inside the seal.
func (x *exchange) run() (outcome string, err error) {
	upload, refused, err := x.read()
	if err != nil {
		return "", err
	}
	if upload != nil {
		// Also on every way out below: Abort after Finish does nothing.
		defer upload.Abort()
	}
	if x.n.isDrained() {
		// Self check failed while the body came. Nothing ran, and nothing will.
		return "", errDraining
	}
	// The body's end was checked: only now may a byte leave.
	sealed, err := x.request.Respond(x.w)
	if errors.Is(err, recipient.ErrRandomness) {
		return "", errRandom
	} else if err != nil {
		return "", errAuth
	}
	x.w.Header().Set("Content-Type", typeResponse)
	x.w.Header().Set("Cache-Control", "no-store")
	if x.bill != nil {
		x.w.Header().Set("Trailer", wire.UsageTrailer)
	}
	out, err := shape.NewWriter(shape.Policy(x.request.Policy()), &sink{sealed, http.NewResponseController(x.w)})
	if err != nil {
		return "", errHeader
	}
	out.Start()
	defer out.Abort() // waits for the pump; after Close it changes nothing
	if refused == nil {
		outcome, refused, err = x.answer(out, upload)
	}
	if refused != nil {
		outcome, err = refused.outcome(), refused.write(out)
	}
	if err != nil {
		return outcomeCanceled, err
	}
	return outcome, out.Close()
}

// A sink joins the sealer with the connection's flush.
type sink struct {
	*recipient.ResponseWriter
	rc *http.ResponseController
}

func (s *sink) Flush() error { return s.rc.Flush() }

// read reads the body. It returns the upload, complete but for the engine's
// being told so; or a refusal, for inside the seal; or a *problem if the body
// did not come to its verified end.
func (x *exchange) read() (*engine.Upload, *refusal, error) {
	src := &deadlined{r: x.r.Body, until: time.Now().Add(x.n.cfg.UploadTime)}
	body := x.request.Body(src)
	message := bhttp.NewReader(body, bhttp.Limits{MaxHead: 8 << 10, MaxFields: 32, MaxContent: wireSize(x.n.cfg.MaxRequest)})
	defer message.Close()
	upload, err := x.pass(message)
	refused, err := sort(err)
	if err == nil && refused != nil {
		// The answer is keyed by the whole request, so its rest is read.
		_, err = io.Copy(io.Discard, body)
	}
	if (err != nil || refused != nil) && upload != nil {
		upload.Abort()
		upload = nil
	}
	if err != nil {
		return nil, nil, streamProblem(err)
	}
	return upload, refused, nil
}

// pass reads the inner message and gives the engine what may pass.
func (x *exchange) pass(message *bhttp.Reader) (*engine.Upload, error) {
	head, err := message.ReadRequest()
	if err != nil {
		return nil, err
	}
	salt, err := x.check(head)
	if err != nil {
		return nil, err
	}
	upload, err := x.n.engine.Begin(x.r.Context(), head.Path)
	if err != nil {
		return nil, refuse(http.StatusNotFound, "target")
	}
	o := filter.Options{
		MaxBytes: x.n.cfg.MaxRequest, Model: x.n.cfg.Model, EngineModel: x.n.cfg.Engine.Model,
		MaxTokens: x.n.cfg.MaxTokens, MaxChoices: x.n.cfg.MaxChoices, Salt: salt,
	}
	if x.n.cfg.Engine.Kind == "llama.cpp" {
		// It knows no salt: its cache is kept per slot and shared by prefix.
		o.Set = []filter.Member{{Name: "cache_prompt", JSON: "false"}}
	}
	if x.bill != nil {
		o.MaxChoices = 1
		o.Cap = func() int64 { return x.bill.cap(head.Path != engine.Embeddings) }
	}
	passed, err := filter.Copy(upload, x.bill.count(message.Body()), o)
	x.tokens = passed.Tokens
	var sunk *filter.SinkError
	if errors.As(err, &sunk) {
		// The engine stopped reading. If it said why, that is the answer.
		return upload, x.early(upload)
	}
	return upload, err
}

// early turns an engine's answer to half a request into a refusal.
func (x *exchange) early(upload *engine.Upload) error {
	a, err := upload.Finish()
	if err != nil {
		return err
	}
	defer a.Close()
	if a.Status == http.StatusRequestEntityTooLarge {
		return refuse(a.Status, string(filter.Size))
	}
	return engine.ErrProtocol
}

// conversationField carries a client's secret: see docs/spec/node.md, Salts.
const conversationField = "sotto-conversation"

// check judges the inner head and decides the salt.
func (x *exchange) check(head *bhttp.RequestHead) (salt string, err error) {
	if !engine.Allowed(head.Path) {
		return "", refuse(http.StatusNotFound, "target")
	}
	if head.Method != http.MethodPost {
		return "", refuse(http.StatusMethodNotAllowed, "target")
	}
	json, conversation := false, ""
	for _, f := range head.Fields {
		switch f.Name {
		case "content-type":
			mt, _, err := mime.ParseMediaType(f.Value)
			json = err == nil && mt == "application/json"
		case "content-encoding":
			return "", refuse(http.StatusUnsupportedMediaType, "request.type")
		case conversationField:
			if len(f.Value) < 16 || len(f.Value) > 256 || conversation != "" {
				return "", refuse(http.StatusBadRequest, "request.conversation")
			}
			conversation = f.Value
		}
	}
	if !json {
		return "", refuse(http.StatusUnsupportedMediaType, "request.type")
	}
	if conversation != "" {
		return filter.ConversationSalt([]byte(conversation)), nil
	}
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", refuse(http.StatusInternalServerError, "rng")
	}
	return filter.FreshSalt(random, x.request.HeaderHash()), nil
}

// sort tells refusals, which are answered inside the seal, from a body that did
// not open or end.
func sort(err error) (*refusal, error) {
	var (
		own    *refusal
		body   *filter.Refusal
		format *bhttp.Error
		broken *engine.Error
		sealed *hpke.Error
	)
	switch {
	case err == nil:
		return nil, nil
	case errors.As(err, &sealed), httpx.TooLarge(err), httpx.TooSlow(err):
		return nil, err
	case errors.As(err, &own):
		return own, nil
	case errors.As(err, &body):
		return refuseBody(body), nil
	case errors.As(err, &format):
		return refuse(http.StatusBadRequest, string(format.Code)), nil
	case errors.As(err, &broken):
		return engineRefusal(broken), nil
	}
	return nil, err
}

// maxHeld is the largest answer of known length that is held until it is whole,
// in bytes, so that an engine that dies within it is an error status and not
// half a document.
const maxHeld = 64 << 10

// answer has the engine run the request and passes on what it says.
func (x *exchange) answer(out *shape.Writer, upload *engine.Upload) (string, *refusal, error) {
	ctx := x.r.Context()
	if err := x.n.gate.run(ctx); err != nil {
		return outcomeCanceled, nil, err
	}
	defer x.n.gate.done()
	if x.n.isDrained() { // while it waited for its turn
		return "", refuse(errDraining.status, errDraining.code), nil
	}
	x.bill.start(x.tokens)
	a, err := upload.Finish()
	if err != nil {
		if ctx.Err() == nil {
			x.bill.refused()
		}
		return engineError(ctx, err)
	}
	defer a.Close()
	if a.Status >= http.StatusBadRequest {
		x.bill.refused()
	}
	head := &bhttp.ResponseHead{Status: a.Status, Fields: []bhttp.Field{{Name: "content-type", Value: a.ContentType}}}
	message, err := bhttp.NewResponseWriter(out, head)
	if err != nil {
		return outcomeEngine, refuse(http.StatusBadGateway, outcomeEngine), nil
	}
	if a.Length >= 0 && a.Length <= maxHeld {
		whole, err := io.ReadAll(a)
		if err != nil {
			if ctx.Err() == nil {
				x.bill.refused()
			}
			return engineError(ctx, err)
		}
		x.bill.write(whole, false)
		if _, err := message.Write(whole); err != nil {
			return "", nil, err
		}
		return outcomeOK, nil, message.Close(nil, 0)
	}
	return x.stream(out, message, a)
}

func engineError(ctx context.Context, err error) (string, *refusal, error) {
	var broken *engine.Error
	if ctx.Err() != nil || !errors.As(err, &broken) {
		return outcomeCanceled, nil, err
	}
	return outcomeEngine, engineRefusal(broken), nil
}

// copySize makes a full read and its chunk header one frame (hpke.ChunkSize).
const copySize = 16<<10 - 4

// stream copies an answer as it comes. An engine that fails within it is told
// inside the seal: as an event where events are what is read, and by a trailer
// in any case.
func (x *exchange) stream(out *shape.Writer, message *bhttp.Writer, a *engine.Answer) (string, *refusal, error) {
	buf := make([]byte, copySize)
	defer clear(buf)
	for {
		m, err := a.Read(buf)
		if m > 0 {
			x.bill.write(buf[:m], a.ContentType == engine.Events)
			if _, err := message.Write(buf[:m]); err != nil {
				return "", nil, err
			}
			if m < len(buf) && a.Length < 0 {
				if err := out.Flush(); err != nil {
					return "", nil, err
				}
			}
		}
		var broken *engine.Error
		switch {
		case err == nil:
			continue
		case err == io.EOF:
			return outcomeOK, nil, message.Close(nil, 0)
		case x.r.Context().Err() != nil || !errors.As(err, &broken):
			return "", nil, err
		}
		if a.ContentType == engine.Events {
			// A blank line first: the event before it may have been cut between lines.
			event := fmt.Sprintf("\n\ndata: %s\n\n", engineRefusal(broken).json())
			if _, err := message.Write([]byte(event)); err != nil {
				return "", nil, err
			}
		}
		return outcomeEngine, nil, message.Close([]bhttp.Field{{Name: incompleteField, Value: outcomeEngine}}, 0)
	}
}

// deadlined ends a body that takes too long altogether; that it does not stand
// still is seen to below it.
type deadlined struct {
	r     io.Reader
	until time.Time
}

func (d *deadlined) Read(p []byte) (int, error) {
	if time.Now().After(d.until) {
		return 0, os.ErrDeadlineExceeded
	}
	return d.r.Read(p)
}
