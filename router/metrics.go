// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/metrics"
)

// counts are sums since the start. They say how much, never which node, who or
// when.
type counts struct {
	requests, answered, skipped, refused, refusedByNode, cut, pollFails atomic.Uint64
	attests, verdicts, verdictsRefused                                  atomic.Uint64
	refunds, unsettled                                                  atomic.Uint64
	inFlight, nodesUp                                                   atomic.Int64
	pollDown                                                            atomic.Bool // the last poll failed: logged once
}

// Register registers the router's metrics, a fixed list, with reg.
func (r *Router) Register(reg *prometheus.Registry) {
	s, c := metrics.NewSet(reg, "router"), &r.counts
	s.CounterFunc("requests_total", "Requests taken on.", c.requests.Load)
	s.CounterFunc("answered_total", "Sealed answers passed on to their end.", c.answered.Load)
	s.CounterFunc("busy_receipts_total", "Valid busy receipts of nodes.", c.skipped.Load)
	s.CounterFunc("refused_total", "Requests answered by the router itself.", c.refused.Load)
	s.CounterFunc("refused_by_node_total", "Requests that a node refused before it opened them.", c.refusedByNode.Load)
	s.CounterFunc("cut_total", "Answers that broke off.", c.cut.Load)
	s.CounterFunc("poll_failures_total", "Looks at the publisher that failed.", c.pollFails.Load)
	s.CounterFunc("attests_total", "Challenges passed on to nodes.", c.attests.Load)
	s.CounterFunc("peer_verdicts_total", "Signed verdicts of nodes on one another.", c.verdicts.Load)
	s.CounterFunc("peer_verdicts_refused_total", "Verdicts that were not what was asked, or not signed as they must be.", c.verdictsRefused.Load)
	s.CounterFunc("usages_refused_total", "Usages that were not the node's own about its request, or out of bounds.", c.refunds.Load)
	s.CounterFunc("unsettled_total", "Payments that the bank did not settle when it was asked.", c.unsettled.Load)
	codes := []string{"pack.missing", "statement.format"}
	for _, c := range attestation.Codes() {
		codes = append(codes, string(c))
	}
	r.judge.refused.Store(s.Codes("node_refusals_total", "Nodes refused by the router's policy, by code, once for each evidence.", codes...))
	s.GaugeFunc("nodes_verified", "Nodes of the newest epoch that proved themselves to this router.", func() float64 { return float64(r.roster.Load().vetted(time.Now())) })
	s.GaugeFunc("requests_in_flight", "Requests under way.", func() float64 { return float64(c.inFlight.Load()) })
	s.GaugeFunc("nodes_up", "Nodes that answer at a configured address.", func() float64 { return float64(c.nodesUp.Load()) })
	s.GaugeFunc("epoch", "The newest epoch of the roster.", func() float64 { return float64(r.roster.Load().newest) })
}

// refuse answers for the router itself.
func (r *Router) refuse(w http.ResponseWriter, status int, code string) {
	r.counts.refused.Add(1)
	httpx.Problem(w, status, code)
}
