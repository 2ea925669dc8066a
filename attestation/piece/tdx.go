// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// Bits of a TD's attributes that a waiver is about (TDX module ABI, ATTRIBUTES).
const (
	attrsUntrusted = 0xff
	attrMigratable = 1 << 29
)

type tdxRequest struct {
	quote      []byte
	collateral *tdx.Collateral // nil: none
	values     []*tdxValue
	platform   []byte
	evaluation int
	allowed    []string // statuses beside UpToDate
	profile    *attestation.Policy
	grace      *time.Duration
}

// A tdxValue is a field of a quote that a request may expect.
type tdxValue struct {
	name  string
	code  refuse.Code
	field func(*tdx.Quote) []byte
	want  []byte // nil: not given
}

func tdxValues() []*tdxValue {
	out := []*tdxValue{
		{name: "report_data", code: refuse.Binding, field: func(q *tdx.Quote) []byte { return q.Data[:] }},
		{name: "mrtd", code: refuse.Image, field: func(q *tdx.Quote) []byte { return q.MRTD[:] }},
		{name: "mrseam", code: refuse.TDXModule, field: func(q *tdx.Quote) []byte { return q.MRSEAM[:] }},
		{name: "mrconfigid", code: refuse.Platform, field: func(q *tdx.Quote) []byte { return q.MRConfigID[:] }},
		{name: "mrowner", code: refuse.Platform, field: func(q *tdx.Quote) []byte { return q.MROwner[:] }},
		{name: "mrownerconfig", code: refuse.Platform, field: func(q *tdx.Quote) []byte { return q.MROwnerConfig[:] }},
		{name: "mrservicetd", code: refuse.Migrate, field: func(q *tdx.Quote) []byte { return q.MRServiceTD[:] }},
	}
	for i := range 4 {
		out = append(out, &tdxValue{name: fmt.Sprintf("rtmr%d", i), code: refuse.Image, field: func(q *tdx.Quote) []byte { return q.RTMR[i][:] }})
	}
	return out
}

func judgeTDX(j *judgement) error {
	q, err := readTDXRequest(j)
	if err != nil {
		return err
	}
	if err := j.trust(roots.Intel); err != nil {
		return err
	}
	if err := j.request.finish(); err != nil {
		return err
	}
	if err := knownQuote(q.quote); err != nil {
		return err
	}
	quote, err := tdx.ParseQuote(q.quote)
	if err != nil {
		return unread(err)
	}
	claims := tdxClaimsOf(quote)
	j.out.Claims = claims
	g, err := j.genuineTDX(q)
	if err != nil {
		return err
	}
	claims.genuine(g, q.collateral != nil)
	return j.acceptTDX(g, q)
}

// knownQuote tells quotes of other kinds, which another version may read.
func knownQuote(b []byte) error {
	if len(b) < 48 {
		return nil // not a quote: the parser says so
	}
	version, key, tee := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:]), binary.LittleEndian.Uint32(b[4:])
	switch {
	case version == 3 && key >= 2 && key <= 3, (version == 4 || version == 5) && tee == 0:
		return unsupported("quote of an SGX enclave")
	case version > 5 && version < 16:
		return unsupported("quote version %d, this version reads 4 and 5", version)
	case (version == 4 || version == 5) && key == 3:
		return unsupported("attestation key on P-384")
	}
	return nil
}

func readTDXRequest(j *judgement) (*tdxRequest, error) {
	o := j.request
	q := &tdxRequest{quote: o.needBlob("quote"), values: tdxValues(), allowed: o.texts("allow_status")}
	for _, s := range q.allowed {
		if !slices.Contains(tdx.Statuses(), tdx.Status(s)) {
			return nil, unsupported("no TCB status %.40q", s)
		}
		if s == string(tdx.Revoked) || s == string(tdx.NotSupported) {
			return nil, o.failf("allow_status: %s is never acceptable", s)
		}
	}
	if o.has("collateral") {
		q.collateral = readCollateral(o.object("collateral"))
	}
	if d, ok := o.duration("grace"); ok {
		q.grace = &d
	}
	n, _ := o.number("min_evaluation_number", math.MaxInt32)
	q.evaluation = int(n)
	expect := o.object("expect")
	for _, v := range q.values {
		if b := make([]byte, len(v.field(new(tdx.Quote)))); expect.hex(v.name, b) {
			v.want = b
		}
	}
	if b := make([]byte, 64); expect.hex("platform", b) {
		q.platform = b
	}
	var err error
	if q.profile, err = j.profile(); err != nil {
		return nil, err
	}
	return q, j.waivers("collateral", "debug", "migration")
}

func readCollateral(c *object) *tdx.Collateral {
	issuers := func(name string) []byte {
		s := c.text(name)
		if s == "" {
			c.failf("%s is missing or empty", c.path+name)
		}
		return []byte(s)
	}
	return &tdx.Collateral{
		TCBInfo: c.needBlob("tcb_info"), TCBIssuers: issuers("tcb_info_issuers"),
		QEIdentity: c.needBlob("qe_identity"), QEIssuers: issuers("qe_identity_issuers"),
		PCKCRL: c.needBlob("pck_crl"), PCKCRLIssuers: issuers("pck_crl_issuers"), RootCRL: c.needBlob("root_crl"),
	}
}

// genuineTDX decides whether the quote is genuine. Collateral that came along is
// judged, whatever is waived.
func (j *judgement) genuineTDX(q *tdxRequest) (*tdx.Genuine, error) {
	if q.collateral == nil {
		g, err := tdx.VerifySignatures(q.quote, j.trusted, j.now)
		if err != nil {
			return nil, err
		}
		if !j.waived["collateral"] {
			return nil, refuse.As(refuse.CRL, "no collateral: no revocation lists, no TCB info, no QE identity")
		}
		j.gap("collateral", "signatures and chain alone: revocation, quoting enclave, TDX module and firmware status are not known")
		return g, nil
	}
	g, err := tdx.Verify(q.quote, *q.collateral, j.trusted, j.now, 0)
	grace := smallest(q.grace, q.profile, func(p *attestation.Policy) attestation.Duration { return p.TDX.CollateralGrace })
	if err != nil && grace > 0 {
		if g, late := tdx.Verify(q.quote, *q.collateral, j.trusted, j.now, grace); late == nil {
			j.gap("grace", "collateral is past its next update, by up to %v", grace)
			return g, nil
		}
	}
	return g, err
}

// acceptTDX compares what a genuine quote says with what the request expects.
func (j *judgement) acceptTDX(g *tdx.Genuine, q *tdxRequest) error {
	if err := j.statusTDX(g, q); err != nil {
		return err
	}
	seen, err := j.openTDX(g, q)
	if err != nil {
		return err
	}
	for _, v := range q.values {
		got := v.field(g.Quote)
		switch {
		case v.want != nil && !slices.Equal(v.want, got):
			return refuse.Differ(v.code, v.name, hex.EncodeToString(v.want), hex.EncodeToString(got))
		case v.want == nil && v.name == "report_data":
			j.gap("report_data", "REPORTDATA was compared with nothing: the quote may be anybody's, of any time")
		case v.want == nil && v.name == "mrtd":
			j.gap("mrtd", "MRTD was compared with nothing: the software may be any")
		}
	}
	id := g.PCK.ID()
	if q.platform != nil && !slices.Equal(q.platform, id[:]) {
		return refuse.Differ(refuse.Inventory, "platform", hex.EncodeToString(q.platform), hex.EncodeToString(id[:]))
	}
	if q.profile == nil {
		j.gap("profile", "TD attributes, values that the host chose and the platform were compared with nothing")
		return nil
	}
	return seen.Check(tdxLimits(&q.profile.TDX, seen, q))
}

// statusTDX judges what Intel says of the firmware; nothing where collateral was
// waived.
func (j *judgement) statusTDX(g *tdx.Genuine, q *tdxRequest) error {
	if q.collateral == nil {
		return nil
	}
	if g.Status != tdx.UpToDate && q.profile == nil && !slices.Contains(q.allowed, string(g.Status)) {
		return refuse.As(refuse.TDXStatus, "%s: firmware %s, module %s, quoting enclave %s, of %s, advisories %v",
			g.Status, g.TCBStatus, g.ModuleStatus, g.QEStatus, g.TCBDate.Format(time.DateOnly), g.Advisories)
	}
	if g.Status != tdx.UpToDate {
		j.gap("status", "firmware is %s, of %s, advisories %v", g.Status, g.TCBDate.Format(time.DateOnly), g.Advisories)
	}
	if g.Evaluation < q.evaluation {
		return refuse.As(refuse.TDXCollateral, "tcbEvaluationDataNumber %d, want %d or more", g.Evaluation, q.evaluation)
	}
	if q.evaluation == 0 && q.profile == nil {
		j.gap("evaluation", "tcbEvaluationDataNumber %d was compared with nothing: newer recoveries may be unknown to this collateral", g.Evaluation)
	}
	return nil
}

// openTDX refuses TDs that are open to their host, and returns the quote as the
// profile is to see it: without what was waived.
func (j *judgement) openTDX(g *tdx.Genuine, q *tdxRequest) (*tdx.Genuine, error) {
	quote := *g.Quote
	seen := *g
	seen.Quote = &quote
	if g.Debug() {
		if !j.waived["debug"] {
			return nil, refuse.As(refuse.Debug, "TD attributes %#x: under debug or profiling", g.Attributes)
		}
		j.gap("debug", "the host can read the TD")
		quote.Attributes &^= attrsUntrusted
	}
	expected := slices.ContainsFunc(q.values, func(v *tdxValue) bool { return v.name == "mrservicetd" && v.want != nil })
	if g.Attributes&attrMigratable != 0 || g.MRServiceTD != [48]byte{} && !expected {
		if !j.waived["migration"] {
			return nil, refuse.As(refuse.Migrate, "TD attributes %#x, service TDs %x..: the TD may be moved", g.Attributes, g.MRServiceTD[:8])
		}
		j.gap("migration", "the TD may be moved")
		quote.Attributes &^= attrMigratable
	}
	if q.collateral == nil && q.profile != nil { // waived, with a gap that says so
		seen.Status, seen.Evaluation = tdx.UpToDate, q.profile.TDX.MinEvaluationNumber
	}
	return &seen, nil
}

// tdxLimits are those of a profile. What only a caller can know is taken from the
// request, or left to the gaps.
func tdxLimits(p *attestation.TDXPolicy, g *tdx.Genuine, q *tdxRequest) *tdx.Limits {
	l := &tdx.Limits{
		MinEvaluation: p.MinEvaluationNumber, AllowAnyChip: p.AllowAnyChip, AllowAnyModule: len(p.Modules) == 0,
		Waive: tdx.Waivers{SeptVE: p.AllowVE}, Data: g.Data, MRServiceTD: g.MRServiceTD,
	}
	for _, s := range p.StatusGrace {
		l.Graces = append(l.Graces, tdx.Grace{Status: tdx.Status(s.Status), Until: s.Until.End().Add(-time.Nanosecond)})
	}
	for _, c := range p.Chips {
		l.Chips = append(l.Chips, c)
	}
	for _, m := range p.Modules {
		l.Modules = append(l.Modules, m)
	}
	if q.platform != nil {
		l.Chips = append(l.Chips, [64]byte(q.platform))
	}
	for _, v := range q.values {
		if v.want == nil {
			continue
		}
		switch v.name {
		case "mrconfigid":
			l.MRConfigID = [48]byte(v.want)
		case "mrowner":
			l.MROwner = [48]byte(v.want)
		case "mrownerconfig":
			l.MROwnerConfig = [48]byte(v.want)
		}
	}
	return l
}

type tdxClaims struct {
	Version        uint16  `json:"version"`
	BodyType       uint16  `json:"body_type"` // 2: TDX 1.0, 3: TDX 1.5
	ReportData     hexed   `json:"report_data"`
	MRTD           hexed   `json:"mrtd"`
	RTMR           []hexed `json:"rtmrs"`
	MRSEAM         hexed   `json:"mrseam"`
	MRSignerSEAM   hexed   `json:"mrsignerseam"`
	MRConfigID     hexed   `json:"mrconfigid"`
	MROwner        hexed   `json:"mrowner"`
	MROwnerConfig  hexed   `json:"mrownerconfig"`
	MRServiceTD    hexed   `json:"mrservicetd"`
	TEETCBSVN      hexed   `json:"tee_tcb_svn"`
	TEETCBSVN2     hexed   `json:"tee_tcb_svn_2"`
	Attributes     string  `json:"td_attributes"`
	SEAMAttributes string  `json:"seam_attributes"`
	XFAM           string  `json:"xfam"`
	Debug          bool    `json:"debug"`
	Migratable     bool    `json:"migratable"`
	Padding        int     `json:"padding"` // zero bytes after the quote
	QE             qeClaim `json:"quoting_enclave"`

	PCK *pckClaims `json:"pck,omitempty"` // once genuine
	TCB *statusTDX `json:"tcb,omitempty"` // once judged by collateral
}

type qeClaim struct {
	MRSigner hexed  `json:"mrsigner"`
	ProdID   uint16 `json:"isvprodid"`
	SVN      uint16 `json:"isvsvn"`
}

type pckClaims struct {
	Platform hexed  `json:"platform"` // under which it is enrolled
	FMSPC    hexed  `json:"fmspc"`
	PCEID    hexed  `json:"pceid"`
	PPID     hexed  `json:"ppid"`
	CPUSVN   hexed  `json:"cpusvn"`
	PCESVN   uint16 `json:"pcesvn"`
}

type statusTDX struct {
	Status     string   `json:"status"`
	Firmware   string   `json:"firmware_status"`
	Module     string   `json:"module_status"`
	QE         string   `json:"quoting_enclave_status"`
	Date       string   `json:"tcb_date,omitempty"`
	Advisories []string `json:"advisories"`
	Evaluation int      `json:"evaluation_number"`
	Next       string   `json:"next_update"`
}

func tdxClaimsOf(q *tdx.Quote) *tdxClaims {
	c := &tdxClaims{
		Version: q.Version, BodyType: q.Type, ReportData: q.Data[:], MRTD: q.MRTD[:], MRSEAM: q.MRSEAM[:], MRSignerSEAM: q.MRSignerSEAM[:],
		MRConfigID: q.MRConfigID[:], MROwner: q.MROwner[:], MROwnerConfig: q.MROwnerConfig[:], MRServiceTD: q.MRServiceTD[:],
		TEETCBSVN: q.TEETCBSVN[:], TEETCBSVN2: q.TEETCBSVN2[:], Attributes: bits(q.Attributes), SEAMAttributes: bits(q.SEAMAttributes),
		XFAM: bits(q.XFAM), Debug: q.Debug(), Migratable: q.Migratable(), Padding: q.Padding,
		QE: qeClaim{q.QE.MRSigner[:], q.QE.ProdID, q.QE.SVN},
	}
	for i := range q.RTMR {
		c.RTMR = append(c.RTMR, q.RTMR[i][:])
	}
	return c
}

// genuine adds what the certificate says, and Intel about the platform.
func (c *tdxClaims) genuine(g *tdx.Genuine, judged bool) {
	id := g.PCK.ID()
	c.PCK = &pckClaims{id[:], g.PCK.FMSPC[:], g.PCK.PCEID[:], g.PCK.PPID[:], g.PCK.CPUSVN[:], g.PCK.PCESVN}
	if judged {
		advisories := g.Advisories
		if advisories == nil {
			advisories = []string{}
		}
		c.TCB = &statusTDX{string(g.Status), string(g.TCBStatus), string(g.ModuleStatus), string(g.QEStatus), stamp(g.TCBDate),
			advisories, g.Evaluation, stamp(g.NextUpdate)}
	}
}
