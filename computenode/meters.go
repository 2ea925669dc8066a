// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/internal/metrics"
)

// meters are the node's instruments, sotto_node_... The list is fixed: names,
// codes, and nothing of any request (ND-03).
type meters struct {
	requests *metrics.Codes
	rotated  prometheus.Counter
	checks   prometheus.Counter // self checks that found nothing
	unfit    prometheus.Counter // that drained the node: 0 or 1
	attested *metrics.Codes
	judged   *metrics.Codes // peers
}

func newMeters(reg *prometheus.Registry, n *Node) meters {
	s := metrics.NewSet(reg, "node")
	s.GaugeFunc("requests_inside", "Requests being read, queued or answered.", func() float64 { return float64(n.gate.count()) })
	s.GaugeFunc("requests_running", "Requests at the engine.", func() float64 { return float64(len(n.gate.slots)) })
	s.GaugeFunc("epoch", "Newest epoch with a key.", func() float64 { return float64(n.newest()) })
	s.CounterFunc("tpm_commands_total", "Commands sent to the TPM.", n.hw.TPM.Commands)
	return meters{
		requests: s.Codes("requests_total", "Requests by outcome. A refusal inside the seal counts as request.", outcomes()...),
		rotated:  s.Counter("epochs_total", "Epochs for which keys and evidence were made."),
		checks:   s.Counter("self_checks_total", "Self checks that found nothing."),
		unfit:    s.Counter("self_check_failures_total", "Self checks that drained this node and erased its keys."),
		attested: s.Codes("attests_total", "Challenges by outcome.", outcomeOK, codeBusy, "attest.format", "epoch", "epoch.evidence", errDraining.code),
		judged:   s.Codes("peers_judged_total", "Verdicts on other nodes, by refusal code.", judgedCodes()...),
	}
}
