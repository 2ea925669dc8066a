// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/nvidia"
)

// Sizes of what is worth an object of its own, and of the pieces that a log is
// cut into, in bytes.
const (
	leastCut = 256
	logCut   = 32 << 10
)

// Cuts says where to cut printed evidence so that what seldom changes, or what
// machines have in common, comes to lie in pieces of its own: certificate chains,
// revocation lists, collateral, event logs, what a GPU's maker signed. It judges
// nothing; wrong cuts cost room, and none are right for what does not parse.
func Cuts(raw []byte) []int {
	b, err := evidence.Parse(raw)
	if err != nil {
		return nil
	}
	head, err := (&evidence.Bundle{}).Append(nil)
	if err != nil {
		return nil
	}
	c := cutter{end: len(raw)}
	at := len(head)
	for _, p := range b.Pieces {
		at += pieceHead
		switch p.Kind {
		case evidence.KindKeyStatement: // the key is in the node's record, too
			c.span(at+rekAt, at+rekAt+evidence.REKSize)
		case evidence.KindSNPReport:
			c.span(at+measuredFrom, at+measuredTo)
			c.span(at+paddingFrom, at+paddingTo)
		case evidence.KindConfig, evidence.KindEventLog, evidence.KindAKPublic, evidence.KindPCRs, evidence.KindSNPCert, evidence.KindSNPCRL,
			evidence.KindSVSMManifest, evidence.KindTDXCollateral, evidence.KindCCEL, evidence.KindAKCerts, evidence.KindEKCerts:
			c.span(at, at+len(p.Data))
		case evidence.KindIMALog: // grows at its end
			for from := 0; from+logCut <= len(p.Data); from += logCut {
				c.span(at+from, at+from+logCut)
			}
		case evidence.KindGPU:
			if e, err := nvidia.Parse(p.Data); err == nil {
				certificates, manifests := e.Static()
				c.span(at+certificates[0], at+certificates[1])
				c.span(at+manifests[0], at+manifests[1])
			}
		}
		at += len(p.Data)
	}
	return c.cuts
}

// Offsets in a key statement and in a SEV-SNP report of version 2 and later (AMD
// 56860, Table 23): between REPORT_DATA and the signature stands what holds for a
// boot, and behind R and S there are 368 zero bytes.
const (
	rekAt        = 1 + 8 + 32
	measuredFrom = 0x90
	measuredTo   = 0x2a0
	paddingFrom  = 0x2a0 + 2*72
	paddingTo    = 0x4a0
)

// pieceHead is the length of a piece's kind and length (docs/spec/attestation.md,
// Section 2).
const pieceHead = 6

type cutter struct {
	cuts []int
	end  int
}

// span cuts before and after [from, to), which lies behind all spans so far.
func (c *cutter) span(from, to int) {
	if to-from < leastCut {
		return
	}
	for _, at := range []int{from, to} {
		if at > 0 && at < c.end && (len(c.cuts) == 0 || c.cuts[len(c.cuts)-1] < at) {
			c.cuts = append(c.cuts, at)
		}
	}
}
