// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"io"
	"net/http"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/sender"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp/bhttp"
	"github.com/sotto-project/sotto/ohttp/encap"
)

// The ladder of sizes (docs/spec/client.md): what leaves towards the relay is
// one of a few sizes, 8 KiB and then half as much again each step, so that the
// size of a prompt says little. The first step holds every short prompt with
// three candidates.
const (
	firstStep = 8 << 10
	// MaxStep bounds the ladder, in bytes: relays, gateways and routers take
	// no more. A request over the last step is refused rather than sent with a
	// size of its own.
	MaxStep = 64 << 20
)

// steps lists the sizes of the ladder, in bytes of the whole encapsulated
// request.
var steps = func() []int64 {
	s := []int64{firstStep}
	for next := s[0] * 3 / 2; next <= MaxStep; next = next * 3 / 2 {
		s = append(s, next)
	}
	return s
}()

// A step is one rung: every request on it has these sizes at each layer, so
// that the relay (encapsulated size), the gateway (message) and the router
// (content) see the rung and no more.
type step struct {
	message int64 // bytes of the padded outer message, which the gateway opens
	content int64 // bytes of routing block, header and sealed body, which the router passes on
	plain   int64 // bytes of the padded inner message, which the node opens
}

// A shape computes rungs for one outer suite and candidate count. Its size
// functions strictly increase, which makes the largest fitting size well
// defined.
type shape struct {
	encap  func(message int64) int64
	outer  func(content int64) int64
	sealed func(plain int64) int64
}

func newShape(suite hpke.Suite, candidates int) *shape {
	fixed := int64(wire.RoutingBlockSize + hpke.HeaderSize(hpke.NodeSuite, candidates))
	return &shape{
		encap:  func(n int64) int64 { return encap.Size(suite, n) },
		outer:  outerSize,
		sealed: func(n int64) int64 { return fixed + sender.SealedBodySize(n) },
	}
}

// messageTail is what ends a binary HTTP message of indeterminate length
// without trailers: the empty chunk and the empty field section.
const messageTail = 2

// outerHead is the head of every outer request for inference.
var outerHead = &bhttp.RequestHead{Method: http.MethodPost, Scheme: "https", Authority: wire.RouterAuthority, Path: "/v1/request"}

// outerHeadSize is its length on the wire, in bytes.
var outerHeadSize = func() int64 {
	w, err := bhttp.NewRequestWriter(io.Discard, outerHead)
	if err != nil {
		panic("client: internal error: " + err.Error())
	}
	if err := w.Flush(); err != nil {
		panic("client: internal error: " + err.Error())
	}
	return w.Written()
}()

// outerSize is the length of the outer message around n bytes of content that
// [blocks] cut into chunks.
func outerSize(n int64) int64 {
	full, rest := n/contentChunk, n%contentChunk
	size := outerHeadSize + full*(contentChunk+varintSize(contentChunk)) + messageTail
	if rest > 0 {
		size += rest + varintSize(rest)
	}
	return size
}

// varintSize is the length of a QUIC variable-length integer (RFC 9000,
// Section 16).
func varintSize(n int64) int64 {
	switch {
	case n < 1<<6:
		return 1
	case n < 1<<14:
		return 2
	}
	return 4
}

// rung returns the lowest rung that takes an inner message of n bytes.
func (s *shape) rung(n int64) (step, bool) {
	for _, limit := range steps {
		message := largest(limit, s.encap)
		content := largest(message, s.outer)
		if plain := largest(content, s.sealed); plain >= n {
			return step{message: message, content: s.sealed(plain), plain: plain}, true
		}
	}
	return step{}, false
}

// largest returns the largest n for which size(n) <= limit, or -1.
func largest(limit int64, size func(int64) int64) int64 {
	lo, hi := int64(-1), limit
	for lo < hi {
		mid := lo + (hi-lo+1)/2
		if size(mid) <= limit {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}
