// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece

import (
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
	"time"

	"github.com/google/go-sev-guest/kds"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/snp"
)

// products are AMD's lines that can be read. Milan has to be named in a request.
var products = []string{"Genoa", "Milan", "Turin"}

var defaultProducts = []string{"Genoa", "Turin"}

const maxSNPVersion = 5

// snpRequest is what a request says beside its evidence. Pointers and lists that
// are nil were not given.
type snpRequest struct {
	products, vleks []string
	floor           *attestation.TCB
	profile         *attestation.Policy
	grace           *time.Duration
	vmpl            *uint64
	svn             *uint64
	values          []*snpValue
}

// An snpValue is a field of a report that a request may expect.
type snpValue struct {
	name  string
	size  int
	code  refuse.Code
	field func(*snp.Report) []byte
	want  []byte // nil: not given
}

func snpValues() []*snpValue {
	return []*snpValue{
		{name: "report_data", size: 64, code: refuse.Binding, field: func(r *snp.Report) []byte { return r.Data[:] }},
		{name: "measurement", size: 48, code: refuse.Image, field: func(r *snp.Report) []byte { return r.Measurement[:] }},
		{name: "host_data", size: 32, code: refuse.Image, field: func(r *snp.Report) []byte { return r.HostData[:] }},
		{name: "id_key_digest", size: 48, code: refuse.Image, field: func(r *snp.Report) []byte { return r.IDKey[:] }},
		{name: "author_key_digest", size: 48, code: refuse.Image, field: func(r *snp.Report) []byte { return r.AuthorKey[:] }},
		{name: "family_id", size: 16, code: refuse.Image, field: func(r *snp.Report) []byte { return r.FamilyID[:] }},
		{name: "image_id", size: 16, code: refuse.Image, field: func(r *snp.Report) []byte { return r.ImageID[:] }},
		{name: "chip_id", size: 64, code: refuse.Inventory, field: func(r *snp.Report) []byte { return r.ChipID[:] }},
	}
}

func judgeSNP(j *judgement) error {
	o := j.request
	report, crl := o.needBlob("report"), o.blob("crl")
	certs := o.ders("certificate", o.text("certificate"))
	if len(certs) == 0 || len(certs[0]) == 0 {
		return o.failf("certificate is missing or empty")
	}
	cert := certs[0]
	j.beside = certs[1:]
	q, err := readSNPRequest(j)
	if err != nil {
		return err
	}
	if err := j.trustAMD(); err != nil {
		return err
	}
	if len(report) >= 4 {
		if v := binary.LittleEndian.Uint32(report); v > maxSNPVersion && v < 256 {
			return unsupported("report version %d, this version reads up to %d", v, maxSNPVersion)
		}
	}
	r, err := snp.ParseReport(report)
	if err != nil {
		return unread(err)
	}
	claims := snpClaimsOf(r)
	j.out.Claims = claims
	if _, err := x509.ParseCertificate(cert); err != nil {
		return &malformedError{refuse.Format, "certificate: " + err.Error()}
	}
	g, err := j.genuineSNP(report, snp.Collateral{Cert: cert, CRL: crl}, q)
	if err != nil {
		return err
	}
	claims.genuine(g)
	return j.acceptSNP(g, q)
}

func readSNPRequest(j *judgement) (*snpRequest, error) {
	o := j.request
	q := &snpRequest{products: defaultProducts, vleks: o.texts("vleks"), values: snpValues()}
	if o.has("products") {
		q.products = o.texts("products")
	}
	for _, p := range q.products {
		if !slices.Contains(products, p) {
			return nil, unsupported("no product line %.40q; there are %q", p, products)
		}
	}
	if d, ok := o.duration("grace"); ok {
		q.grace = &d
	}
	expect := o.object("expect")
	for _, v := range q.values {
		if b := make([]byte, v.size); expect.hex(v.name, b) {
			v.want = b
		}
	}
	if n, ok := expect.number("vmpl", 3); ok {
		q.vmpl = &n
	}
	if n, ok := expect.number("guest_svn", math.MaxUint32); ok {
		q.svn = &n
	}
	if o.has("floor") {
		f := o.object("floor")
		part := func(name string) uint8 { n, _ := f.number(name, math.MaxUint8); return uint8(n) }
		q.floor = &attestation.TCB{Bootloader: part("bootloader"), TEE: part("tee"), SNP: part("snp"), Microcode: part("microcode"), FMC: part("fmc")}
	}
	var err error
	if q.profile, err = j.profile(); err != nil {
		return nil, err
	}
	return q, j.waivers("crl", "debug", "migration")
}

// profile returns the built-in policy that a request names, or nil.
func (j *judgement) profile() (*attestation.Policy, error) {
	if !j.request.has("profile") {
		return nil, nil
	}
	name := j.request.text("profile")
	p, err := attestation.Profile(name)
	if err != nil && j.request.fault() == nil {
		return nil, unsupported("no profile %.40q; there are %q", name, attestation.Profiles())
	}
	return p, nil
}

// smallest returns the shorter of the grace that a request states and the one of
// its profile; a request without either has none.
func smallest(given *time.Duration, profile *attestation.Policy, of func(*attestation.Policy) attestation.Duration) time.Duration {
	switch {
	case given != nil && profile != nil:
		return min(*given, time.Duration(of(profile)))
	case given != nil:
		return *given
	case profile != nil:
		return time.Duration(of(profile))
	}
	return 0
}

// genuineSNP decides whether the report is genuine. A list that came along is
// judged, whatever is waived.
func (j *judgement) genuineSNP(report []byte, c snp.Collateral, q *snpRequest) (*snp.Genuine, error) {
	if len(c.CRL) == 0 && j.waived["crl"] {
		g, err := snp.VerifyWithoutCRL(report, c.Cert, j.trusted, j.now)
		if err == nil {
			j.gap("crl", "no revocation list: the certificate may have been revoked")
		}
		return g, err
	}
	if len(c.CRL) == 0 {
		return nil, refuse.As(refuse.CRL, "no revocation list")
	}
	g, err := snp.Verify(report, c, j.trusted, j.now, 0)
	grace := smallest(q.grace, q.profile, func(p *attestation.Policy) attestation.Duration { return p.SNP.CRLGrace })
	if err != nil && grace > 0 {
		if g, late := snp.Verify(report, c, j.trusted, j.now, grace); late == nil {
			j.gap("grace", "the revocation list is past its next update, by up to %v", grace)
			return g, nil
		}
	}
	return g, err
}

// acceptSNP compares what a genuine report says with what the request expects.
func (j *judgement) acceptSNP(g *snp.Genuine, q *snpRequest) error {
	if !slices.Contains(q.products, g.Product) {
		return refuse.As(refuse.Product, "%s is not among %v", g.Product, q.products)
	}
	if q.profile != nil && !slices.Contains(q.profile.SNP.Products, g.Product) {
		return refuse.As(refuse.Product, "%s is not among %v of the profile %q", g.Product, q.profile.SNP.Products, q.profile.Profile)
	}
	if g.CSP != "" && !slices.Contains(q.vleks, g.CSP) {
		return refuse.As(refuse.SigningKey, "signed by a VLEK of %.60q, vleks has %q", g.CSP, q.vleks)
	}
	seen, err := j.openSNP(g)
	if err != nil {
		return err
	}
	if g.Reported != g.CertTCB {
		return snp.DifferentTCB(g)
	}
	if err := j.floorSNP(g, q); err != nil {
		return err
	}
	for _, v := range q.values {
		got := v.field(g.Report)
		switch {
		case v.want != nil && !slices.Equal(v.want, got):
			return refuse.Differ(v.code, v.name, hex.EncodeToString(v.want), hex.EncodeToString(got))
		case v.want == nil && v.name == "report_data":
			j.gap("report_data", "REPORT_DATA was compared with nothing: the report may be anybody's, of any time")
		case v.want == nil && v.name == "measurement":
			j.gap("measurement", "MEASUREMENT was compared with nothing: the software may be any")
		}
	}
	switch {
	case q.vmpl != nil && uint64(g.VMPL) != *q.vmpl:
		return refuse.As(refuse.VMPL, "report from VMPL %d, want %d", g.VMPL, *q.vmpl)
	case q.svn != nil && uint64(g.GuestSVN) != *q.svn:
		return refuse.As(refuse.Image, "guest SVN %d, want %d", g.GuestSVN, *q.svn)
	}
	if q.profile == nil {
		j.gap("profile", "platform and guest policy bits, chip and rollback were compared with nothing")
		return nil
	}
	return seen.Check(snpLimits(&q.profile.SNP, seen, q))
}

// openSNP refuses guests that are open to their host, and returns the report as
// the profile is to see it: without what was waived.
func (j *judgement) openSNP(g *snp.Genuine) (*snp.Genuine, error) {
	report := *g.Report
	seen := *g
	seen.Report = &report
	noAgent := [32]byte(slices.Repeat([]byte{0xff}, 32))
	if g.Policy.Debug {
		if !j.waived["debug"] {
			return nil, refuse.As(refuse.Debug, "guest policy bit 19 lets the host read the guest")
		}
		j.gap("debug", "the host can read the guest")
		report.Policy.Debug = false
	}
	if g.Policy.MigrateMA || g.ReportIDMA != noAgent {
		if !j.waived["migration"] {
			return nil, refuse.As(refuse.Migrate, "a migration agent is allowed or attached")
		}
		j.gap("migration", "a migration agent may move the guest")
		report.Policy.MigrateMA, report.ReportIDMA = false, noAgent
	}
	return &seen, nil
}

// floorSNP holds all four TCB versions against the request's floor.
func (j *judgement) floorSNP(g *snp.Genuine, q *snpRequest) error {
	if q.floor == nil {
		if q.profile == nil {
			j.gap("floor", "firmware versions were compared with nothing")
		}
		return nil
	}
	for _, v := range []struct {
		name string
		tcb  kds.TCBParts
	}{{"reported", g.Reported}, {"current", g.Current}, {"committed", g.Committed}, {"launch", g.Launch}} {
		if t := v.tcb; t.BlSpl < q.floor.Bootloader || t.TeeSpl < q.floor.TEE || t.SnpSpl < q.floor.SNP || t.UcodeSpl < q.floor.Microcode || t.Spl4 < q.floor.FMC {
			return refuse.As(refuse.TCB, "%s TCB below the floor: %s", v.name, snp.Levels(t))
		}
	}
	return nil
}

// snpLimits are those of a profile. What only a caller can know (the data, chips
// of its own) is taken from the request, or left to the gaps.
func snpLimits(p *attestation.SNPPolicy, g *snp.Genuine, q *snpRequest) *snp.Limits {
	l := &snp.Limits{
		Products: p.Products, Floors: map[string]kds.TCBParts{}, AllowAnyChip: p.AllowAnyChip, VMPL: p.VMPL, VLEKs: p.VLEKs,
		Waive: snp.Waivers{SMT: p.AllowSMT, CXL: p.AllowCXL, MultiSocket: p.AllowMultiSocket, AES128: p.AllowAES128,
			RAPL: p.AllowRAPL, NoCiphertextHiding: p.AllowNoCiphertextHiding, PageSwap: p.AllowPageSwap,
			NoECC: p.AllowNoECC, NoAliasCheck: p.AllowNoAliasCheck, Rollback: p.AllowRollback},
		Data: g.Data, LaunchMitigations: p.LaunchMitigations, CurrentMitigations: p.CurrentMitigations,
	}
	for name, f := range p.Floors {
		l.Floors[name] = kds.TCBParts{BlSpl: f.Bootloader, TeeSpl: f.TEE, SnpSpl: f.SNP, UcodeSpl: f.Microcode, Spl4: f.FMC}
	}
	for _, c := range p.Chips {
		l.Chips = append(l.Chips, c)
	}
	for _, v := range q.values {
		if v.name == "chip_id" && v.want != nil {
			l.Chips = append(l.Chips, [64]byte(v.want))
		}
	}
	for _, k := range p.IDKeys {
		l.IDKeys = append(l.IDKeys, k)
	}
	for _, k := range p.AuthorKeys {
		l.AuthorKeys = append(l.AuthorKeys, k)
	}
	return l
}

type tcbClaims struct {
	Bootloader uint8 `json:"bootloader"`
	TEE        uint8 `json:"tee"`
	SNP        uint8 `json:"snp"`
	Microcode  uint8 `json:"microcode"`
	FMC        uint8 `json:"fmc,omitempty"`
}

func tcbOf(t kds.TCBParts) tcbClaims {
	return tcbClaims{t.BlSpl, t.TeeSpl, t.SnpSpl, t.UcodeSpl, t.Spl4}
}

type snpClaims struct {
	Version     uint32 `json:"version"`
	Product     string `json:"product,omitempty"`
	Signer      string `json:"signer"`        // "VCEK", "VLEK", "none"
	CSP         string `json:"csp,omitempty"` // of a VLEK
	ReportData  hexed  `json:"report_data"`
	Measurement hexed  `json:"measurement"`
	HostData    hexed  `json:"host_data"`
	IDKey       hexed  `json:"id_key_digest"`
	AuthorKey   hexed  `json:"author_key_digest"`
	FamilyID    hexed  `json:"family_id"`
	ImageID     hexed  `json:"image_id"`
	GuestSVN    uint32 `json:"guest_svn"`
	VMPL        uint32 `json:"vmpl"`
	ChipID      hexed  `json:"chip_id"`
	ReportIDMA  hexed  `json:"report_id_ma"`

	Policy   map[string]bool      `json:"guest_policy"`
	Platform map[string]bool      `json:"platform_info"`
	TCB      map[string]tcbClaims `json:"tcb"` // reported, current, committed, launch; certificate once genuine

	LaunchMitigations  string `json:"launch_mitigations"`
	CurrentMitigations string `json:"current_mitigations"`
	CRLAge             *int64 `json:"crl_age_seconds,omitempty"`
}

func snpClaimsOf(r *snp.Report) *snpClaims {
	return &snpClaims{
		Version: r.Version, Product: r.Product, Signer: r.Signer.SigningKey.String(), ReportData: r.Data[:], Measurement: r.Measurement[:],
		HostData: r.HostData[:], IDKey: r.IDKey[:], AuthorKey: r.AuthorKey[:], FamilyID: r.FamilyID[:], ImageID: r.ImageID[:],
		GuestSVN: r.GuestSVN, VMPL: r.VMPL, ChipID: r.ChipID[:], ReportIDMA: r.ReportIDMA[:],
		Policy: map[string]bool{
			"debug": r.Policy.Debug, "migration_agent": r.Policy.MigrateMA, "smt": r.Policy.SMT, "single_socket": r.Policy.SingleSocket,
			"cxl": r.Policy.CXLAllowed, "aes_256_xts": r.Policy.MemAES256XTS, "rapl_disabled": r.Policy.RAPLDis,
			"ciphertext_hiding": r.Policy.CipherTextHidingDRAM, "page_swap_disabled": r.Policy.PageSwapDisable,
		},
		Platform: map[string]bool{
			"smt": r.Platform.SMTEnabled, "ecc": r.Platform.ECCEnabled, "rapl_disabled": r.Platform.RAPLDisabled,
			"ciphertext_hiding": r.Platform.CiphertextHidingDRAMEnabled, "alias_check": r.Platform.AliasCheckComplete,
		},
		TCB: map[string]tcbClaims{"reported": tcbOf(r.Reported), "current": tcbOf(r.Current), "committed": tcbOf(r.Committed), "launch": tcbOf(r.Launch)},

		LaunchMitigations: bits(r.LaunchMitigations), CurrentMitigations: bits(r.CurrentMitigations),
	}
}

// genuine adds what the certificate says.
func (c *snpClaims) genuine(g *snp.Genuine) {
	c.Product, c.CSP = g.Product, g.CSP
	c.TCB["certificate"] = tcbOf(g.CertTCB)
	if g.CRLAge > 0 {
		age := seconds(g.CRLAge)
		c.CRLAge = &age
	}
}
