// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"fmt"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// tdxHeader is the length of a quote's header; the body follows (versions 4 and
// 5 alike, but for version 5's six bytes of type and size).
const (
	tdxHeader   = 48
	tdxV5Prefix = 6
)

func checkTDXGenuine(v *verification) (outcome, error) {
	c, err := tdxCollateral(v.piece(evidence.KindTDXCollateral))
	if err != nil {
		return outcome{}, err
	}
	g, err := tdx.Verify(v.piece(evidence.KindTDXQuote), c, v.p.Roots, v.now, time.Duration(v.p.TDX.CollateralGrace))
	if err != nil {
		return outcome{}, err
	}
	if g.Padding != 0 {
		// The kernel hands out its whole buffer; a node cuts it.
		return outcome{}, refuse.As(refuse.Format, "%d bytes after the quote", g.Padding)
	}
	v.tdx, v.launch = g, g.MRTD
	v.rtmrs = g.RTMR
	return outcome{got: fmt.Sprintf("quote version %d, FMSPC %x, TCB status %s of %s, collateral number %d",
		g.Version, g.PCK.FMSPC, g.Status, g.TCBDate.Format(time.DateOnly), g.Evaluation)}, nil
}

// tdxCollateral reads the piece: seven items in the order of the struct.
func tdxCollateral(b []byte) (tdx.Collateral, error) {
	l, err := evidence.ParseList(b)
	if err != nil || len(l) != 7 {
		return tdx.Collateral{}, refuse.As(refuse.TDXCollateral, "collateral is not a list of seven")
	}
	return tdx.Collateral{TCBInfo: l[0], TCBIssuers: l[1], QEIdentity: l[2], QEIssuers: l[3],
		PCKCRL: l[4], PCKCRLIssuers: l[5], RootCRL: l[6]}, nil
}

func checkTDXAcceptable(v *verification) (outcome, error) {
	p := &v.p.TDX
	l := &tdx.Limits{MinEvaluation: p.MinEvaluationNumber, AllowAnyChip: p.AllowAnyChip, AllowAnyModule: len(p.Modules) == 0,
		Waive: tdx.Waivers{SeptVE: p.AllowVE}, Data: v.reportData()}
	if l.MinEvaluation > 0 { // zero refuses, whatever the statement asks for
		l.MinEvaluation = max(l.MinEvaluation, v.refs.MinEvaluation)
	}
	for _, g := range p.StatusGrace {
		l.Graces = append(l.Graces, tdx.Grace{Status: tdx.Status(g.Status), Until: g.Until.End().Add(-time.Nanosecond)})
	}
	for _, c := range p.Chips {
		l.Chips = append(l.Chips, c)
	}
	for _, m := range p.Modules {
		l.Modules = append(l.Modules, m)
	}
	if err := v.tdx.Check(l); err != nil {
		return outcome{}, err
	}
	if v.hcl != nil {
		if err := v.checkTDREPORT(); err != nil {
			return outcome{}, err
		}
	}
	if err := v.restrict("TDX", v.tdx.PCK.ID(), true); err != nil {
		return outcome{}, err
	}
	var gaps []string
	if g, ok := v.tdx.Grace(l); ok {
		v.behind = true
		gaps = append(gaps, fmt.Sprintf("firmware: TCB status %s, accepted until %s (%s)", g.Status, g.Until.Format(time.DateOnly), reason(p.StatusGrace, g.Status)))
	}
	if p.AllowAnyChip {
		gaps = append(gaps, "chip inventory: any genuine platform is accepted")
	}
	if p.AllowVE {
		gaps = append(gaps, "platform: waived by policy: SEPT_VE_DISABLE")
	}
	return outcome{expected: fmt.Sprintf("UpToDate, collateral number at least %d, no debugging, no migration", p.MinEvaluationNumber),
		got: fmt.Sprintf("%s, advisories %v, attributes %#x", v.tdx.Status, v.tdx.Advisories, v.tdx.Attributes), gap: strings.Join(gaps, "; ")}, nil
}

func reason(graces []StatusGrace, s tdx.Status) string {
	for _, g := range graces {
		if g.Status == string(s) {
			return g.Reason
		}
	}
	return ""
}

// checkTDREPORT ties the report beside Azure's runtime data to the quote.
func (v *verification) checkTDREPORT() error {
	if err := v.hcl.CheckTD(); err != nil {
		return err
	}
	body := v.tdx.Signed()[tdxHeader:]
	if v.tdx.Version == 5 {
		body = body[tdxV5Prefix:]
	}
	return v.hcl.TD.CheckQuoteBody(body)
}
