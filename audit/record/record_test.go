// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/audit/record"
)

var update = flag.Bool("update", false, "write the golden files")

// testKey is for tests only: its seed stands here.
func testKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("audit/record test key " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func hash(s string) [32]byte { return sha256.Sum256([]byte(s)) }

// goldenParams are two nodes, one accepted with gaps and one refused, with every
// member that a record can have.
func goldenParams() record.Params {
	at := time.Date(2026, 10, 1, 12, 0, 30, 0, time.UTC)
	good := &attestation.Report{
		Node: hash("node a"), Time: at.Add(-30 * time.Second), Verdict: attestation.VerifiedWithGaps, Platform: attestation.SNP,
		Tier: 2, TierWhy: "physical attacks on memory are not covered", Steps: []attestation.Step{
			{ID: "tpm.quote", Verdict: attestation.Verified},
			{ID: "snp.genuine", Verdict: attestation.Verified},
			{ID: "snp.acceptable", Verdict: attestation.VerifiedWithGaps, Gap: `chip unknown: signed by the VLEK of "example"`},
			{ID: "runtime", Verdict: attestation.VerifiedWithGaps, Gap: "run time: no list of what ran since boot"},
		},
	}
	bad := &attestation.Report{
		Node: hash("node b"), Time: at.Add(-20 * time.Second), Verdict: attestation.Failed, Platform: attestation.TDX, Steps: []attestation.Step{
			{ID: "tdx.acceptable", Verdict: attestation.Failed, Code: "att.tdx.status"},
		},
	}
	return record.Params{
		Key: public(testKey("a")), Name: "Example Audits", Build: "v0.3.0 go1.26.8 linux/amd64", Time: at, Policy: hash("policy"),
		Epoch: 41, Statement: hash("statement"), Checkpoint: hash("checkpoint"),
		Nodes: []record.NodeParams{
			{Report: good, Evidence: hash("evidence a"), Freshness: hash("freshness a"), Challenge: hash("challenge")},
			{Report: bad, Evidence: hash("evidence b")},
		},
	}
}

func newRecord(t testing.TB, p record.Params) *record.Record {
	t.Helper()
	r, err := record.New(p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// golden is the record that the specification shows. What a report looks like
// in full is another document's business.
func golden(t testing.TB) *record.Record {
	r := newRecord(t, goldenParams())
	r.Nodes[0].Report, r.Nodes[1].Report = hash("report 0"), hash("report 1")
	return r
}

func sign(t testing.TB, r *record.Record, k ed25519.PrivateKey) []byte {
	t.Helper()
	token, err := r.Sign(k)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func refused(t *testing.T, err error, want record.Code) {
	t.Helper()
	var e *record.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestGolden(t *testing.T) {
	r := golden(t)
	token := sign(t, r, testKey("a"))
	for file, got := range map[string][]byte{"testdata/record.json": r.Claims(), "testdata/record.jwt": token} {
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs: run with -update and look at the difference", file)
		}
	}
	back, err := record.Verify(token, public(testKey("a")))
	if err != nil {
		t.Fatal(err)
	}
	if diff := record.Compare(r, back); diff != nil || back.KeyID != r.KeyID || back.Name != r.Name || !slices.Equal(back.Rows(), r.Rows()) {
		t.Errorf("record read back differs: %v", diff)
	}
	if id, err := record.Signer(token); err != nil || id != r.KeyID {
		t.Errorf("signer %q, %v", id, err)
	}
	if r.Status() != "contraindicated" {
		t.Errorf("status %q", r.Status())
	}
}

// TestRFC8037 holds the key identifier to the published example: RFC 8037,
// Appendix A.3.
func TestRFC8037(t *testing.T) {
	pub := decode(t, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if got, want := record.KeyID(pub), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"; got != want {
		t.Errorf("thumbprint %s, want %s", got, want)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		code   record.Code
		change func(*record.Params)
	}{
		"no key":             {record.CodeKey, func(p *record.Params) { p.Key = nil }},
		"no build":           {record.CodeFormat, func(p *record.Params) { p.Build = "" }},
		"no policy":          {record.CodeFormat, func(p *record.Params) { p.Policy = [32]byte{} }},
		"no time":            {record.CodeFormat, func(p *record.Params) { p.Time = time.Time{} }},
		"no nodes":           {record.CodeFormat, func(p *record.Params) { p.Nodes = nil }},
		"too many nodes":     {record.CodeFormat, func(p *record.Params) { p.Nodes = make([]record.NodeParams, record.MaxNodes+1) }},
		"no report":          {record.CodeFormat, func(p *record.Params) { p.Nodes[0].Report = nil }},
		"no node":            {record.CodeFormat, func(p *record.Params) { p.Nodes[0].Report.Node = [32]byte{} }},
		"one node twice":     {record.CodeFormat, func(p *record.Params) { p.Nodes[1] = p.Nodes[0] }},
		"epoch alone":        {record.CodeFormat, func(p *record.Params) { p.Statement = [32]byte{} }},
		"epoch too large":    {record.CodeFormat, func(p *record.Params) { p.Epoch = 1 << 53 }},
		"other policy":       {record.CodeFormat, func(p *record.Params) { p.Nodes[0].Report.Policy = strings.Repeat("00", 32) }},
		"other evidence":     {record.CodeFormat, func(p *record.Params) { p.Nodes[0].Report.Evidence = strings.Repeat("11", 32) }},
		"evidence not hex":   {record.CodeFormat, func(p *record.Params) { p.Nodes[0].Report.Evidence = "x" }},
		"accepted nothing":   {record.CodeFormat, func(p *record.Params) { p.Nodes[0].Evidence = [32]byte{} }},
		"tier of its own":    {record.CodeFormat, func(p *record.Params) { p.Nodes[0].Report.Tier = 4 }},
		"platform unknown":   {record.CodeFormat, func(p *record.Params) { p.Nodes[0].Report.Platform = "sgx" }},
		"failed, no step":    {record.CodeFormat, func(p *record.Params) { p.Nodes[1].Report.Steps = nil }},
		"failed, no code":    {record.CodeFormat, func(p *record.Params) { p.Nodes[1].Report.Steps[0].Code = "" }},
		"failed, new code":   {record.CodeFormat, func(p *record.Params) { p.Nodes[1].Report.Steps[0].Code = "att.new" }},
		"verified, gaps":     {record.CodeFormat, func(p *record.Params) { p.Nodes[0].Report.Verdict = attestation.Verified }},
		"verdict of its own": {record.CodeFormat, func(p *record.Params) { p.Nodes[0].Report.Verdict = 9 }},
	} {
		t.Run(name, func(t *testing.T) {
			p := goldenParams()
			c.change(&p)
			_, err := record.New(p)
			refused(t, err, c.code)
		})
	}
}

// TestCleanTexts: what a report quotes from evidence can neither break the
// record nor steer a terminal.
func TestCleanTexts(t *testing.T) {
	p := goldenParams()
	p.Name = "a\x1b[31mb\u202ec\n\xff"
	p.Nodes[0].Report.Steps[2].Gap = strings.Repeat("é", 1000) + `"\`
	r := newRecord(t, p)
	if r.Name != "a�[31mb�c��" {
		t.Errorf("name %q", r.Name)
	}
	if len(r.Nodes[0].Gaps)+len(r.Nodes[1].Gaps) != 2 {
		t.Error("gaps lost")
	}
	if _, err := record.Verify(sign(t, r, testKey("a")), p.Key); err != nil {
		t.Error(err)
	}
}

func TestManyNodes(t *testing.T) {
	r := manyNodes(t, record.MaxNodes)
	token := sign(t, r, testKey("a"))
	if _, err := record.Verify(token, public(testKey("a"))); err != nil {
		t.Error(err)
	}
	t.Logf("%d nodes: %d bytes", record.MaxNodes, len(token))
}

func manyNodes(t testing.TB, n int) *record.Record {
	p := goldenParams()
	one := p.Nodes[0]
	p.Nodes = nil
	for i := range n {
		r := *one.Report
		r.Node = sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		p.Nodes = append(p.Nodes, record.NodeParams{Report: &r, Evidence: one.Evidence, Freshness: one.Freshness})
	}
	return newRecord(t, p)
}

func TestSignRefuses(t *testing.T) {
	r := newRecord(t, goldenParams())
	for name, k := range map[string]ed25519.PrivateKey{"none": nil, "another": testKey("b"), "short": testKey("a")[:32]} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Sign(k)
			refused(t, err, record.CodeKey)
		})
	}
	r.Nodes[0].Gaps = nil
	_, err := r.Sign(testKey("a"))
	refused(t, err, record.CodeFormat)
}

// TestVector: every refusal code and every verdict has a category, and none
// says more than the verdict.
func TestVector(t *testing.T) {
	for _, code := range attestation.Codes() {
		p := goldenParams()
		p.Nodes[1].Report.Steps[0].Code = code
		r := newRecord(t, p)
		i := slices.IndexFunc(r.Nodes, func(n record.Node) bool { return n.Code != "" })
		if v := r.Nodes[i].Vector; v == (record.Vector{}) {
			t.Errorf("%s: no category", code)
		}
	}
	step := func(id, gap string) attestation.Step {
		return attestation.Step{ID: id, Gap: gap, Verdict: attestation.Verified}
	}
	for name, c := range map[string]struct {
		report attestation.Report
		want   string
	}{
		"all": {attestation.Report{Platform: attestation.SNP, Tier: 2, Steps: []attestation.Step{step("runtime", "")}},
			"configuration 2, executables 2, hardware 2, instance-identity 2, runtime-opaque 2"},
		"no run time": {attestation.Report{Platform: attestation.SNP, Tier: 2},
			"configuration 2, executables 3, hardware 2, instance-identity 2, runtime-opaque 2"},
		"tier 1": {attestation.Report{Platform: attestation.GoogleSNP, Tier: 1},
			"configuration 2, hardware 2, instance-identity 2"},
		"tpm": {attestation.Report{Platform: attestation.TPM, Tier: 1},
			"configuration 2, executables 3, hardware 2, instance-identity 2"},
		"simulated": {attestation.Report{Platform: attestation.SNP, Tier: 2, Simulated: true, Steps: []attestation.Step{step("policy", "simulated hardware")}},
			"configuration 2, executables 3, hardware -33, instance-identity 2"},
		"chip": {attestation.Report{Platform: attestation.SNP, Tier: 2, Steps: []attestation.Step{step("snp.acceptable", "chip inventory: any")}},
			"configuration 2, executables 3, hardware -34, runtime-opaque 2"},
		"secure boot": {attestation.Report{Platform: attestation.SNP, Tier: 2, Steps: []attestation.Step{step("boot.secureboot", "off")}},
			"configuration -34, executables 3, hardware 2, instance-identity 2, runtime-opaque 2"},
		"image": {attestation.Report{Platform: attestation.SNP, Tier: 1, Steps: []attestation.Step{step("image.measurement", "vTPM outside"), step("runtime", "no list")}},
			"configuration 2, executables -34, hardware 2, instance-identity 2"},
	} {
		t.Run(name, func(t *testing.T) {
			p := goldenParams()
			c.report.Node, c.report.Time, c.report.Verdict = hash("node a"), p.Time, attestation.Verified
			if slices.ContainsFunc(c.report.Steps, func(s attestation.Step) bool { return s.Gap != "" }) {
				c.report.Verdict = attestation.VerifiedWithGaps
			}
			p.Nodes = []record.NodeParams{{Report: &c.report, Evidence: hash("e")}}
			r := newRecord(t, p)
			if got := r.Nodes[0].Vector.String(); got != c.want {
				t.Errorf("vector %s, want %s", got, c.want)
			}
		})
	}
	t.Run("not checked", func(t *testing.T) {
		p := goldenParams()
		p.Nodes = []record.NodeParams{{Report: &attestation.Report{Node: hash("n")}}}
		r := newRecord(t, p)
		if r.Status() != "none" || !strings.Contains(string(r.Claims()), `"ear_trustworthiness_vector":{"hardware":0}`) {
			t.Errorf("%s", r.Claims())
		}
		if _, err := record.Parse(r.Claims()); err != nil {
			t.Error(err)
		}
	})
}

// TestDocument: the example in the specification is the golden record.
func TestDocument(t *testing.T) {
	page, err := os.ReadFile("../../docs/spec/audit-record.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "```json\n")
	example, _, end := strings.Cut(rest, "```")
	if !ok || !end {
		t.Fatal("no example")
	}
	if compact(t, example) != string(golden(t).Claims()) {
		t.Error("example differs from testdata/record.json")
	}
	for _, c := range []record.Code{record.CodeFormat, record.CodeSignature, record.CodeKey} {
		if !strings.Contains(string(page), "`"+string(c)+"`") {
			t.Errorf("%s is not documented", c)
		}
	}
	token, err := os.ReadFile("testdata/record.jwt")
	if err != nil || !strings.Contains(string(page), string(token[:60])) {
		t.Errorf("token is not in the page: %v", err)
	}
}

func TestRows(t *testing.T) {
	rows := newRecord(t, goldenParams()).Rows()
	var sections []string
	for _, r := range rows {
		if r.Name == "" || r.Value == "" {
			t.Errorf("empty row %+v", r)
		}
		if !slices.Contains(sections, r.Section) {
			sections = append(sections, r.Section)
		}
	}
	if len(sections) != 3 {
		t.Errorf("sections %v", sections)
	}
}
