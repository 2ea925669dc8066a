// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/internal/metrics"
)

// The codes by which requests are counted, each the outcome of one request.
// They are also what the problem documents carry.
const (
	codeOK        = "ok"
	codeMedia     = "media"            // not a media type of Oblivious HTTP; outside
	codeKey       = "key"              // a key that is not held; outside
	codeSuite     = "suite"            // a suite that is not offered; outside
	codeRefused   = "refused"          // did not open, for whatever reason; outside
	codeBusy      = "busy"             // too many requests at once; outside
	codeReplay    = "replay"           // seen before
	codeDate      = "date"             // the date inside is too far off
	codeTarget    = "target"           // not a place requests may go to
	codeBHTTP     = "bhttp.format"     // not binary HTTP
	codeField     = "bhttp.field"      // a field that HTTP forbids
	codeTruncated = "stream.truncated" // cut on its way in
	codeAuth      = "stream.auth"      // tampered with on its way in
	codeSize      = "size"             // over a limit
	codeOrigin    = "origin"           // the origin did not answer
	codeCut       = "origin.cut"       // the origin died in its answer
	codeGone      = "gone"             // the client went away
)

// instruments is the fixed list of what the gateway measures. None has a label
// that a request could choose.
type instruments struct {
	reg                  *prometheus.Registry
	requests             *metrics.Codes
	outer, inner, reload prometheus.Counter
	in, out              prometheus.Counter
	running              atomic.Int64
}

func newInstruments(keys func() *keySet) *instruments {
	reg := prometheus.NewRegistry()
	s := metrics.NewSet(reg, "gateway")
	m := &instruments{
		reg: reg,
		requests: s.Codes("requests_total", "Requests by outcome.",
			codeOK, codeMedia, codeKey, codeSuite, codeRefused, codeBusy, codeReplay, codeDate, codeTarget, codeBHTTP,
			codeField, codeTruncated, codeAuth, codeSize, codeOrigin, codeCut, codeGone),
		outer:  s.Counter("outer_fields_dropped_total", "Fields that a relay added and should not have: an alarm."),
		inner:  s.Counter("inner_fields_dropped_total", "Fields inside requests that were not passed on."),
		reload: s.Counter("key_reload_errors_total", "Key files that did not load; the old keys stay in force."),
		in:     s.Counter("request_bytes_total", "Content bytes passed to origins."),
		out:    s.Counter("answer_bytes_total", "Content bytes passed to clients."),
	}
	s.GaugeFunc("requests_running", "Requests under way.", func() float64 { return float64(m.running.Load()) })
	s.GaugeFunc("replay_entries", "Requests remembered against replay.", func() float64 {
		if k := keys(); k != nil {
			return float64(k.remembered())
		}
		return 0
	})
	s.GaugeFunc("keys", "Keys in force.", func() float64 {
		if k := keys(); k != nil {
			return float64(k.n)
		}
		return 0
	})
	return m
}
