// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/bhttp"
	"github.com/sotto-project/sotto/ohttp/gateway/decap"
)

// serve answers POST /ohttp. Up to the end of this function nothing of the
// message is trusted, and all failures of opening it have one face (see
// refuseOutside); after it, errors travel inside the encapsulation.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	defer g.m.running.Add(-1)
	if g.m.running.Add(1) > int64(g.cfg.MaxInFlight) {
		g.refuseOutside(w, r, http.StatusServiceUnavailable, codeBusy)
		return
	}
	keys := g.keys.Load()
	if keys == nil {
		g.refuseOutside(w, r, http.StatusServiceUnavailable, codeBusy)
		return
	}
	types := r.Header["Content-Type"]
	if len(types) != 1 || ohttp.FormOf(types[0]) == 0 {
		g.refuseOutside(w, r, http.StatusUnsupportedMediaType, codeMedia)
		return
	}
	httpx.LimitBody(w, r, g.cfg.MaxRequest)

	q, err := decap.Open(r.Body, ohttp.FormOf(types[0]), g.cfg.MaxWhole, keys.find)
	switch {
	case errors.Is(err, ohttp.ErrKey):
		g.refuseOutside(w, r, http.StatusBadRequest, codeKey)
		return
	case errors.Is(err, ohttp.ErrSuite):
		g.refuseOutside(w, r, http.StatusBadRequest, codeSuite)
		return
	case err != nil:
		g.refuseOutside(w, r, http.StatusBadRequest, codeRefused)
		return
	}
	x := &exchange{g: g, w: w, r: r, q: q, rd: bhttp.NewReader(q, bhttp.Limits{MaxHead: 16 << 10, MaxFields: 64})}
	x.run(keys.byID[q.Header().KeyID].seen)
}

// refuseOutside answers without having opened anything. A relay can read it:
// it says no more than the relay knows. The two problems with the cleartext
// header have RFC 9458's type, which tells a client to fetch the keys again.
func (g *Gateway) refuseOutside(w http.ResponseWriter, r *http.Request, status int, code string) {
	settle(w, r)
	g.m.requests.Inc(code)
	if code != codeKey && code != codeSuite {
		httpx.Problem(w, status, code)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(problem(ohttp.ProblemKey, status, code))
}

// maxDrain is how much of a refused request is read and dropped so that its
// connection can carry another, in bytes: what net/http does too.
const maxDrain = 256 << 10

// settle brings a request that will not be read any further to its end, before
// it is answered: so all refusals take the same road, whatever they had read,
// and the next request on the connection is not mixed up with this one's rest.
func settle(w http.ResponseWriter, r *http.Request) {
	if _, err := io.CopyN(io.Discard, r.Body, maxDrain); err != io.EOF {
		w.Header().Set("Connection", "close")
	}
}

// An exchange is one request that was opened, and its answer.
type exchange struct {
	g  *Gateway
	w  http.ResponseWriter
	r  *http.Request
	q  *decap.Request
	rd *bhttp.Reader
	up *upload // content that streams; nil while none does
}

// refusal is an error answered inside the encapsulation.
type refusal struct {
	status int
	code   string
	kind   string // problem type; about:blank if empty
}

func (x *exchange) run(seen *replayCache) {
	if !seen.add(x.q.Enc()) {
		x.refuse(&refusal{status: http.StatusConflict, code: codeReplay})
		return
	}
	head, err := x.rd.ReadRequest()
	if err != nil {
		x.refuse(classify(err))
		return
	}
	name := target(head)
	o := x.g.origins.Load().byName[name]
	if o == nil {
		x.refuse(&refusal{status: http.StatusForbidden, code: codeTarget})
		return
	}
	if x.stale(head) {
		x.refuse(&refusal{status: http.StatusBadRequest, code: codeDate, kind: ohttp.ProblemDate})
		return
	}
	ctx, cancel := context.WithCancel(x.r.Context())
	defer cancel()
	req, bad := x.forward(ctx, o, name, head)
	if bad != nil {
		x.refuse(bad)
		return
	}
	resp, err := o.transport.RoundTrip(req)
	if err != nil {
		x.refuse(x.blame())
		return
	}
	defer resp.Body.Close()
	x.answer(cancel, resp)
}

// stale reports a date field that is no date or too far off. A request need
// not have one, and Sotto's own do not.
func (x *exchange) stale(head *bhttp.RequestHead) bool {
	i := slices.IndexFunc(head.Fields, func(f bhttp.Field) bool { return f.Name == "date" })
	if i < 0 {
		return false
	}
	t, err := http.ParseTime(head.Fields[i].Value)
	return err != nil || time.Since(t).Abs() > x.g.cfg.DateWindow
}

// small is the content up to which a request is read to its verified end
// before the origin hears of it, and sent with its length in one write.
const small = 32 << 10

var scratch = sync.Pool{New: func() any { return new([small]byte) }}

// forward makes the request to the origin. Content of up to small bytes is in
// it; longer content streams.
func (x *exchange) forward(ctx context.Context, o *origin, name string, head *bhttp.RequestHead) (*http.Request, *refusal) {
	buf := scratch.Get().(*[small]byte)
	defer scratch.Put(buf)
	body := x.rd.Body()
	n, err := io.ReadFull(body, buf[:])
	end := err == io.EOF || err == io.ErrUnexpectedEOF // ReadFull's own: every cut has another name
	if err != nil && !end {
		return nil, classify(err)
	}
	if head.Method == http.MethodGet && (n > 0 || !end) {
		return nil, &refusal{status: http.StatusBadRequest, code: codeBHTTP}
	}
	// A copy: the transport may still read it when this handler is gone.
	prefix := bytes.Clone(buf[:n])
	var content io.Reader
	switch {
	case !end:
		x.up = &upload{prefix: prefix, body: body, out: x.g.m.in.Add}
		content = x.up
		// The origin may answer before the whole request is here. Without
		// this, net/http would first read the rest of the request itself.
		http.NewResponseController(x.w).EnableFullDuplex()
	case n > 0:
		content = bytes.NewReader(prefix)
		x.g.m.in.Add(float64(n))
	}
	req, err := http.NewRequestWithContext(ctx, head.Method, o.url+head.Path, content)
	if err != nil {
		return nil, &refusal{status: http.StatusForbidden, code: codeTarget}
	}
	if !end {
		req.ContentLength = -1 // chunked: the end is sent only once it is verified
	}
	req.Host = name
	var dropped int
	if req.Header, dropped = innerHeader(head.Fields); dropped > 0 {
		x.g.m.inner.Add(float64(dropped))
	}
	return req, nil
}

// An upload is request content on its way to an origin, read by the
// transport's goroutine. It ends with io.EOF only after the final chunk of the
// encapsulation was verified; any other end makes the transport cut its
// connection, so that the origin cannot take a part for the whole.
type upload struct {
	prefix   []byte // read, and not yet passed on
	body     io.Reader
	out      func(float64)
	large    bool                  // the last piece was
	finished atomic.Bool           // at its verified end
	failed   atomic.Pointer[error] // why it ended otherwise
}

const (
	// uploadPiece is how much is handed to the transport at a time, in bytes.
	// The transport sends each piece as one chunk of HTTP; with its 8 bytes of
	// framing this one fills a TLS record.
	uploadPiece = 16<<10 - 8
	// uploadScrap is how short a rest is, in bytes, that waits for what follows.
	uploadScrap = 4 << 10
)

func (u *upload) Read(p []byte) (int, error) {
	p = p[:min(len(p), uploadPiece)]
	if len(u.prefix) > 0 {
		n := copy(p, u.prefix)
		u.prefix = u.prefix[n:]
		u.out(float64(n))
		return n, nil
	}
	n, err := u.body.Read(p)
	if err == nil && u.large && n < uploadScrap {
		// The rest of a full chunk of the encapsulation, which is a little
		// larger than a piece: by itself it would cost a tiny record after
		// each full one, over every leg to the node.
		var m int
		m, err = u.body.Read(p[n:])
		n += m
	}
	u.large = n > uploadPiece/2
	u.out(float64(n))
	switch {
	case err == io.EOF:
		u.finished.Store(true)
	case err != nil:
		u.failed.Store(&err)
	}
	return n, err
}

// blame says whose fault it is that an origin did not answer.
func (x *exchange) blame() *refusal {
	if x.up != nil {
		if err := x.up.failed.Load(); err != nil {
			return classify(*err)
		}
	}
	return &refusal{status: http.StatusBadGateway, code: codeOrigin}
}

// overtaken reports whether the answer is there before the request was read
// to its end.
func (x *exchange) overtaken() bool { return x.up != nil && !x.up.finished.Load() }

// classify says what is wrong with a request that was opened but does not read
// as one.
func classify(err error) *refusal {
	var b *bhttp.Error
	switch {
	case httpx.TooLarge(err):
		return &refusal{status: http.StatusRequestEntityTooLarge, code: codeSize}
	case errors.Is(err, ohttp.ErrTruncated):
		return &refusal{status: http.StatusBadRequest, code: codeTruncated}
	case errors.Is(err, ohttp.ErrRefused), errors.Is(err, ohttp.ErrLimit):
		return &refusal{status: http.StatusBadRequest, code: codeAuth}
	case errors.As(err, &b) && b.Code == bhttp.CodeField:
		return &refusal{status: http.StatusBadRequest, code: codeField}
	case errors.As(err, &b) && b.Code == bhttp.CodeLimit:
		return &refusal{status: http.StatusRequestEntityTooLarge, code: codeSize}
	}
	return &refusal{status: http.StatusBadRequest, code: codeBHTTP}
}
