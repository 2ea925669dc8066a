// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/nvidia"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// nras is the issuer of NVIDIA's tokens.
const nras = "https://nras.attestation.nvidia.com"

// noManifest stands where a device has none.
const noManifest = 0xff

type gpuRequest struct {
	evidence []byte
	report   *gpuReport
	parts    *nvidia.Evidence // of evidence, or of a report and what belongs to it; nil: a token alone
	trimmed  int
	token    *nvidia.Token // the one beside a report, or alone
	nonce    *[32]byte
	options  nvidia.Options
	grace    time.Duration

	gpus, switches           *uint64
	chip, driver, minDriver  string
	vbios, minVBIOS          string
	protected, protectedSaid bool
}

func judgeGPU(j *judgement) error {
	q, err := readGPURequest(j)
	if err != nil {
		return err
	}
	if err := j.trust(roots.NVIDIA); err != nil {
		return err
	}
	if err := j.request.finish(); err != nil {
		return err
	}
	switch {
	case q.evidence != nil:
		if q.parts, err = nvidia.Parse(q.evidence); err != nil {
			return unread(err)
		}
	case q.report != nil:
		if err := q.assemble(); err != nil {
			return err
		}
	default:
		return j.tokenAlone(q)
	}
	claims := &gpuClaims{Arch: q.parts.Arch.String(), Trimmed: q.trimmed}
	for _, d := range q.parts.Devices {
		if nvidia.HasVersionedLayout(d.Report) {
			return unsupported("report with opaque data in the versioned layout")
		}
		r, err := nvidia.ParseReport(d.Report)
		if err != nil {
			return unread(err)
		}
		claims.Devices = append(claims.Devices, deviceOf(d.Kind, r))
	}
	j.out.Claims = claims
	if q.nonce == nil {
		q.nonce = (*[32]byte)(claims.Devices[0].Nonce)
		j.gap("nonce", "the nonce was compared with nothing: the report may be of any time")
	}
	g, err := j.genuineGPU(q)
	if err != nil {
		return err
	}
	claims.genuine(g)
	return j.acceptGPU(g, q)
}

func readGPURequest(j *judgement) (*gpuRequest, error) {
	o := j.request
	q := &gpuRequest{evidence: o.blob("evidence"), options: nvidia.Options{Issuer: nras, MaxAge: time.Hour}}
	if s := o.text("token_issuer"); s != "" {
		q.options.Issuer = s
	}
	if d, ok := o.duration("token_max_age"); ok {
		q.options.MaxAge = d
	}
	q.grace, _ = o.duration("grace")
	var nonce [32]byte
	if o.hex("nonce", nonce[:]) {
		q.nonce = &nonce
	}
	if err := j.readToken(q); err != nil {
		return nil, err
	}
	switch hasReport := o.has("report"); {
	case o.has("evidence") && (hasReport || q.token != nil):
		return nil, o.failf("evidence stands alone: its parts are in it")
	case hasReport:
		j.readReport(q)
	case len(q.evidence) == 0 && q.token == nil:
		return nil, o.failf("one of evidence, report and token has to be there")
	}
	j.readGPUExpectations(q)
	if err := j.waivers("ocsp", "rim"); err != nil {
		return nil, err
	}
	return q, o.fault()
}

// readToken reads a token and the keys that the caller pins.
func (j *judgement) readToken(q *gpuRequest) error {
	o := j.request
	if o.has("keys") {
		keys, err := nvidia.ParseKeys(raw(o.object("keys")))
		if err != nil {
			return o.failf("keys: %v", err)
		}
		q.options.Keys = keys
	}
	if !o.has("token") {
		return o.fault()
	}
	t := o.object("token")
	q.token = &nvidia.Token{Kind: nvidia.GPU, Overall: []byte(t.text("overall"))}
	for _, d := range t.texts("devices") {
		q.token.Devices = append(q.token.Devices, []byte(d))
	}
	switch k := t.text("kind"); k {
	case "", "gpu":
	case "switch":
		q.token.Kind = nvidia.Switch
	default:
		return unsupported("no kind of device %.20q; there are gpu and switch", k)
	}
	if q.options.Keys == nil {
		return o.failf("a token needs keys: those of the service, from elsewhere")
	}
	return o.fault()
}

// raw prints an object as it came, but for the order of its members.
func raw(o *object) []byte {
	var plain func(v any) any
	plain = func(v any) any {
		switch v := v.(type) {
		case *object:
			out := map[string]any{}
			for name, m := range v.members {
				v.read[name] = true
				out[name] = plain(m)
			}
			return out
		case []any:
			for i := range v {
				v[i] = plain(v[i])
			}
		}
		return v
	}
	b, _ := json.Marshal(plain(o)) // what came out of JSON goes back into it
	return b
}

// A gpuReport is a report and what belongs to it, as NVIDIA's tools hand them
// out.
type gpuReport struct {
	report         []byte
	chain, answers [][]byte // certificates, leaf first; answers about those between leaf and root
	driver, vbios  *nvidia.Manifest
}

func (j *judgement) readReport(q *gpuRequest) {
	o := j.request
	r := &gpuReport{report: o.needBlob("report"), chain: o.certificates("certificates"), answers: o.blobs("ocsp")}
	if n := len(r.chain); n < 3 || n > 6 || len(r.answers) > n-2 {
		o.failf("%d certificates and %d answers about those between leaf and root", n, len(r.answers))
	}
	rims := o.object("rims")
	for _, m := range []struct {
		name string
		to   **nvidia.Manifest
	}{{"driver", &r.driver}, {"vbios", &r.vbios}} {
		if rims.has(m.name) {
			rim := rims.object(m.name)
			*m.to = &nvidia.Manifest{SWID: rim.needBlob("swid"), OCSP: rim.blobs("ocsp")}
		}
	}
	q.report = r
}

// assemble makes one device's evidence of a report.
func (q *gpuRequest) assemble() error {
	r := q.report
	if nvidia.HasVersionedLayout(r.report) {
		return unsupported("report with opaque data in the versioned layout")
	}
	cut, err := nvidia.Trim(r.report)
	if err != nil {
		return unread(err)
	}
	q.trimmed = len(r.report) - len(cut)
	d := nvidia.Source{Report: cut, Driver: noManifest, VBIOS: noManifest}
	e := &nvidia.Evidence{}
	var ok bool
	if e.Arch, d.Kind, ok = nvidia.ArchOf(r.chain[0]); !ok {
		return refuse.As(refuse.GPUChain, "certificate of an unknown chip, or none")
	}
	for i, der := range r.chain {
		c := nvidia.Certificate{DER: der}
		if i > 0 && i <= len(r.answers) {
			c.OCSP = r.answers[i-1]
		}
		e.Certificates = append(e.Certificates, c)
		d.Chain = append(d.Chain, byte(i))
	}
	for _, m := range []struct {
		manifest *nvidia.Manifest
		at       *uint8
	}{{r.driver, &d.Driver}, {r.vbios, &d.VBIOS}} {
		if m.manifest != nil {
			*m.at = uint8(len(e.Manifests))
			e.Manifests = append(e.Manifests, *m.manifest)
		}
	}
	e.Devices = []nvidia.Source{d}
	if q.token != nil {
		e.Tokens = []nvidia.Token{*q.token}
	}
	q.parts = e
	return nil
}

func (j *judgement) readGPUExpectations(q *gpuRequest) {
	e := j.request.object("expect")
	if n, ok := e.number("count", math.MaxUint8); ok {
		q.gpus = &n
	}
	if n, ok := e.number("switches", math.MaxUint8); ok {
		q.switches = &n
	}
	q.chip, q.driver, q.minDriver = e.text("chip"), e.text("driver"), e.text("min_driver")
	q.vbios, q.minVBIOS = e.text("vbios"), e.text("min_vbios")
	q.protected, q.protectedSaid = e.boolean("protected_pcie")
}

// genuineGPU decides whether the evidence is genuine. An answer that came along
// is judged, whatever is waived.
func (j *judgement) genuineGPU(q *gpuRequest) (*nvidia.Genuine, error) {
	verify := func(o nvidia.Options) (*nvidia.Genuine, int, error) {
		if j.waived["ocsp"] {
			return nvidia.VerifyWithoutOCSP(q.parts, j.trusted, *q.nonce, j.now, o)
		}
		b := q.evidence
		if b == nil {
			var err error
			if b, err = q.parts.Append(nil); err != nil {
				return nil, 0, unread(err)
			}
		}
		g, err := nvidia.Verify(b, j.trusted, *q.nonce, j.now, o)
		return g, 0, err
	}
	g, absent, err := verify(q.options)
	if err != nil && q.grace > 0 {
		late := q.options
		late.Grace = q.grace
		if g2, n, err2 := verify(late); err2 == nil {
			j.gap("grace", "an answer is past its next update, by up to %v", q.grace)
			g, absent, err = g2, n, nil
		}
	}
	if err == nil && absent > 0 {
		j.gap("ocsp", "no answer about %d certificates: they may have been revoked", absent)
	}
	return g, err
}

// acceptGPU compares what genuine devices say with what the request expects.
// What it expects nothing of is expected to be as it is.
func (j *judgement) acceptGPU(g *nvidia.Genuine, q *gpuRequest) error {
	l := &nvidia.Limits{ProtectedPCIE: q.protected, Token: len(q.parts.Tokens) > 0, Manifests: true}
	for i, d := range g.Devices {
		s := q.parts.Devices[i]
		if s.VBIOS == noManifest || d.Kind == nvidia.GPU && s.Driver == noManifest {
			l.Manifests = false
		}
		fill(&l.Chips, q.chip, "", d.Chip)
		if d.Kind == nvidia.Switch {
			l.Switches++
			fill(&l.SwitchBIOS, "", "", d.VBIOS())
			continue
		}
		l.GPUs++
		fill(&l.Drivers, q.driver, q.minDriver, d.Driver())
		fill(&l.VBIOS, q.vbios, q.minVBIOS, d.VBIOS())
		if !q.protectedSaid {
			l.ProtectedPCIE = d.ProtectedPCIE()
		}
	}
	l.MinDriver, l.MinVBIOS = q.minDriver, q.minVBIOS
	if q.gpus != nil {
		l.GPUs = int(*q.gpus)
	}
	if q.switches != nil {
		l.Switches = int(*q.switches)
	}
	j.versionGap(q)
	if !l.Manifests {
		if !j.waived["rim"] {
			return refuse.As(refuse.GPURIM, "no manifest of driver or VBIOS to compare measurements with")
		}
		j.gap("rim", "measurements were not compared with NVIDIA's manifests: a device in developer mode would pass")
		if !l.Token || l.GPUs == 0 {
			return g.CheckWithoutReferences(l)
		}
	}
	if l.GPUs == 0 { // switches alone: Check asks for a GPU
		return refuse.As(refuse.GPUCount, "evidence of %d switches and no GPU", l.Switches)
	}
	return g.Check(l)
}

// versionGap names what a request that expects no versions leaves open.
func (j *judgement) versionGap(q *gpuRequest) {
	if q.driver == "" && q.minDriver == "" || q.vbios == "" && q.minVBIOS == "" {
		j.gap("versions", "driver and VBIOS versions were not both compared: they may be old")
	}
}

// fill adds what is allowed: the expected value, or what was found if neither a
// value nor a least one is expected.
func fill(list *[]string, want, least, found string) {
	v := want
	if want == "" && least == "" {
		v = found
	}
	if v != "" && !slices.Contains(*list, v) {
		*list = append(*list, v)
	}
}

// tokenAlone judges a token of NVIDIA's service without the reports it is about.
func (j *judgement) tokenAlone(q *gpuRequest) error {
	if q.nonce == nil {
		return j.request.failf("nonce is missing: a token is over one")
	}
	found, err := nvidia.VerifyToken(*q.token, j.trusted, *q.nonce, j.now, q.options)
	if err != nil {
		return err
	}
	claims := &gpuClaims{}
	for _, t := range found {
		claims.Devices = append(claims.Devices, deviceClaim{Kind: q.token.Kind.String(), UEID: t.UEID, Driver: t.Driver, VBIOS: t.VBIOS, Token: true})
	}
	j.out.Claims = claims
	j.gap("report", "on the word of NVIDIA's service: no report was seen here")
	j.versionGap(q)
	if q.gpus != nil && int(*q.gpus) != len(found) {
		return refuse.As(refuse.GPUCount, "token about %d devices, want %d", len(found), *q.gpus)
	}
	if q.minDriver != "" || q.minVBIOS != "" || q.chip != "" || q.protectedSaid || q.switches != nil {
		return unsupported("of a token alone, only count, driver and vbios can be expected")
	}
	for _, t := range found {
		switch {
		case q.driver != "" && t.Driver != q.driver:
			return refuse.Differ(refuse.GPUClaims, "driver of "+t.Name, q.driver, t.Driver)
		case q.vbios != "" && !strings.EqualFold(t.VBIOS, q.vbios):
			return refuse.Differ(refuse.GPUClaims, "VBIOS of "+t.Name, q.vbios, t.VBIOS)
		}
	}
	return nil
}

type gpuClaims struct {
	Arch    string        `json:"arch,omitempty"`
	Trimmed int           `json:"trimmed,omitempty"` // zero bytes behind the report that were cut off
	Devices []deviceClaim `json:"devices"`
	OCSPAge *int64        `json:"ocsp_age_seconds,omitempty"` // of the oldest answer
}

type deviceClaim struct {
	Kind          string        `json:"kind"`
	Chip          string        `json:"chip,omitempty"` // this and what follows once genuine: chip, ueid, issuer, stated
	UEID          string        `json:"ueid,omitempty"`
	Issuer        string        `json:"issuer,omitempty"`
	Driver        string        `json:"driver,omitempty"`
	VBIOS         string        `json:"vbios,omitempty"`
	Project       string        `json:"project,omitempty"`
	ProtectedPCIE bool          `json:"protected_pcie"`
	Nonce         hexed         `json:"nonce,omitempty"`
	Measurements  []measurement `json:"measurements,omitempty"`
	Stated        int           `json:"stated"` // measurements that manifests state
	Token         bool          `json:"token"`  // a genuine token is about the device
}

type measurement struct {
	Index int   `json:"index"` // from 0, as manifests count
	Value hexed `json:"value"`
}

func deviceOf(k nvidia.Kind, r *nvidia.Report) deviceClaim {
	c := deviceClaim{Kind: k.String(), Driver: r.Driver(), VBIOS: r.VBIOS(), ProtectedPCIE: r.ProtectedPCIE(), Nonce: slices.Clone(r.Nonce[:])}
	for _, b := range r.Blocks {
		c.Measurements = append(c.Measurements, measurement{int(b.Index) - 1, b.Value})
	}
	return c
}

// genuine adds what chains and manifests say.
func (c *gpuClaims) genuine(g *nvidia.Genuine) {
	for i := range g.Devices {
		d, out := &g.Devices[i], &c.Devices[i]
		out.Chip, out.UEID, out.Issuer, out.Project = d.Chip, d.UEID, d.Issuer, d.Project
		out.Stated, out.Token = d.Stated(), d.Vouched()
	}
	if g.OCSPAge > 0 {
		age := seconds(g.OCSPAge)
		c.OCSPAge = &age
	}
}
