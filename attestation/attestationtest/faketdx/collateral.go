// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package faketdx

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// CollateralSpec says what Intel's service answers for a platform. Zero is the
// ordinary thing: everything up to date, issued an hour ago, valid for 30 days.
type CollateralSpec struct {
	Issued, Next time.Time  // of all pieces
	Status       tdx.Status // of the level that an ordinary platform reaches
	ModuleStatus tdx.Status
	QEStatus     tdx.Status
	Evaluation   int // default 17
	Advisories   []string

	RevokePCK, RevokeCA, RevokeSigner bool

	// Tamper changes the documents before they are signed, as objects with
	// Intel's member names; Edit changes their bytes.
	TamperTCBInfo, TamperQEIdentity func(doc map[string]any)
	EditTCBInfo, EditQEIdentity     func(doc []byte) []byte
}

// Evaluation is the ordinary tcbEvaluationDataNumber.
const Evaluation = 17

// Collateral mints all seven pieces for the platform.
func (p *Platform) Collateral(s CollateralSpec) (tdx.Collateral, error) {
	var c tdx.Collateral
	s = s.withDefaults()
	var err error
	if c.TCBInfo, err = p.root.signed("tcbInfo", p.tcbInfo(s), s.TamperTCBInfo, s.EditTCBInfo); err != nil {
		return c, err
	}
	if c.QEIdentity, err = p.root.signed("enclaveIdentity", qeIdentity(s), s.TamperQEIdentity, s.EditQEIdentity); err != nil {
		return c, err
	}
	var rootList, pckList []*big.Int
	if s.RevokePCK {
		pckList = append(pckList, p.Cert.SerialNumber)
	}
	if s.RevokeCA {
		rootList = append(rootList, p.root.ca.SerialNumber)
	}
	if s.RevokeSigner {
		rootList = append(rootList, p.root.signer.SerialNumber)
	}
	if c.RootCRL, err = crl(p.root.root, p.root.rootKey, s, rootList); err != nil {
		return c, err
	}
	if c.PCKCRL, err = crl(p.root.ca, p.root.caKey, s, pckList); err != nil {
		return c, err
	}
	c.TCBIssuers = chainPEM(p.root.signer, p.root.root)
	c.QEIssuers = c.TCBIssuers
	c.PCKCRLIssuers = chainPEM(p.root.ca, p.root.root)
	return c, nil
}

func (s CollateralSpec) withDefaults() CollateralSpec {
	if s.Issued.IsZero() {
		s.Issued = time.Now().Add(-time.Hour)
	}
	if s.Next.IsZero() {
		s.Next = s.Issued.Add(30 * 24 * time.Hour)
	}
	for _, status := range []*tdx.Status{&s.Status, &s.ModuleStatus, &s.QEStatus} {
		if *status == "" {
			*status = tdx.UpToDate
		}
	}
	if s.Evaluation == 0 {
		s.Evaluation = Evaluation
	}
	return s
}

func crl(issuer *x509.Certificate, key *ecdsa.PrivateKey, s CollateralSpec, serials []*big.Int) ([]byte, error) {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: s.Issued, NextUpdate: s.Next}
	for _, n := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: s.Issued})
	}
	return x509.CreateRevocationList(rand.Reader, list, issuer, key)
}

// signed prints a document as Intel's service does: one member with what is
// signed, and the signature in hexadecimal.
func (r *Root) signed(member string, doc map[string]any, tamper func(map[string]any), edit func([]byte) []byte) ([]byte, error) {
	if tamper != nil {
		tamper(doc)
	}
	inner, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	if edit != nil {
		inner = edit(inner)
	}
	return r.SignDocument(member, inner)
}

// SignDocument prints a signed document around the given bytes.
func (r *Root) SignDocument(member string, inner []byte) ([]byte, error) {
	sig, err := sign(r.key, inner)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `{%q:%s,"signature":"%x"}`, member, inner, sig)
	return out.Bytes(), nil
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func hexUpper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

// components prints the SVNs of a level.
func components(svn [16]byte) []any {
	out := make([]any, len(svn))
	for i, v := range svn {
		out[i] = map[string]any{"svn": v}
	}
	return out
}

func verdict(status tdx.Status, s CollateralSpec, tcb map[string]any) map[string]any {
	out := map[string]any{"tcb": tcb, "tcbDate": date(s.Issued.Add(-24 * time.Hour)), "tcbStatus": status}
	if status != tdx.UpToDate {
		out["advisoryIDs"] = append([]string{"INTEL-SA-SIMULATED"}, s.Advisories...)
	}
	return out
}

// tcbInfo has two levels: that of an ordinary platform, and all below it, out of
// date. Components 0 and 1 of the TDX SVNs are the module's, whose version 1 has
// an identity of its own.
func (p *Platform) tcbInfo(s CollateralSpec) map[string]any {
	module := func(id string, levels ...any) map[string]any {
		m := map[string]any{"mrsigner": strings.Repeat("00", 48), "attributes": strings.Repeat("00", 8), "attributesMask": strings.Repeat("FF", 8)}
		if id != "" {
			m["id"], m["tcbLevels"] = id, levels
		}
		return m
	}
	tee := LabTEESVN
	tee[1] = 0
	level := func(status tdx.Status, svn, tee [16]byte, pcesvn int) map[string]any {
		return verdict(status, s, map[string]any{"sgxtcbcomponents": components(svn), "pcesvn": pcesvn, "tdxtcbcomponents": components(tee)})
	}
	isvsvn := func(n int) map[string]any { return map[string]any{"isvsvn": n} }
	return map[string]any{
		"id": "TDX", "version": 3, "issueDate": date(s.Issued), "nextUpdate": date(s.Next), "fmspc": hexUpper(p.spec.FMSPC[:]),
		"pceId": hexUpper(p.spec.PCEID[:]), "tcbType": 0, "tcbEvaluationDataNumber": s.Evaluation,
		"tdxModule": module(""),
		"tdxModuleIdentities": []any{
			module("TDX_01", verdict(s.ModuleStatus, s, isvsvn(int(LabTEESVN[0]))), verdict(tdx.OutOfDate, s, isvsvn(2))),
		},
		"tcbLevels": []any{
			level(s.Status, LabSVN, tee, labPCESVN),
			level(tdx.OutOfDate, [16]byte{3, 3, 2, 2, 2, 1, 0, 2}, [16]byte{3}, 5),
		},
	}
}

func qeIdentity(s CollateralSpec) map[string]any {
	return map[string]any{
		"id": "TD_QE", "version": 2, "issueDate": date(s.Issued), "nextUpdate": date(s.Next), "tcbEvaluationDataNumber": s.Evaluation,
		"miscselect": "00000000", "miscselectMask": "FFFFFFFF",
		"attributes": "11" + strings.Repeat("00", 15), "attributesMask": "FB" + strings.Repeat("FF", 7) + strings.Repeat("00", 8),
		"mrsigner": hexUpper(labMRSigner[:]), "isvprodid": labProdID,
		"tcbLevels": []any{
			verdict(s.QEStatus, s, map[string]any{"isvsvn": labQESVN}),
			verdict(tdx.OutOfDate, s, map[string]any{"isvsvn": 4}),
		},
	}
}
