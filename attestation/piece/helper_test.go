// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakeima"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakenitro"
	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/piece"
)

// A doc is a request in the making.
type doc map[string]any

// with returns the document with a member replaced, "expect.mrtd" one level down;
// a value of nil removes it.
func (d doc) with(path string, value any) doc {
	out := maps.Clone(d)
	name, rest, deeper := strings.Cut(path, ".")
	if deeper {
		inner, _ := out[name].(doc)
		value = inner.with(rest, value)
	}
	if value == nil {
		delete(out, name)
		return out
	}
	if out == nil {
		out = doc{}
	}
	out[name] = value
	return out
}

func (d doc) json(t testing.TB) []byte {
	t.Helper()
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// An answer is a response as another program reads it.
type answer struct {
	Kind, Verdict, Code, Detail, Expected, Received, Hint, Roots, Time string
	Gaps                                                               []struct{ Name, Detail string }
	Simulated                                                          bool
	Claims                                                             map[string]any
	exit                                                               int
}

func (a *answer) gaps() []string {
	out := []string{}
	for _, g := range a.Gaps {
		out = append(out, g.Name)
	}
	return out
}

var exits = map[string]int{"accepted": 0, "internal": 1, "refused": 10, "unsupported": 20, "malformed": 30}

// judge runs a request and holds request and response against their schemas.
func judge(t testing.TB, kind string, request []byte) *answer {
	t.Helper()
	keep(t, kind, request)
	out, exit := piece.Run(kind, request, attestation.VendorRoots())
	a := &answer{exit: exit}
	if err := json.Unmarshal(out, a); err != nil {
		t.Fatalf("%v in %.200s", err, out)
	}
	if want, ok := exits[a.Verdict]; !ok || want != exit {
		t.Errorf("verdict %q, exit code %d", a.Verdict, exit)
	}
	if bytes.Count(out, []byte("\n")) != 1 || bytes.ContainsFunc(out[:len(out)-1], func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		t.Errorf("not one line of ASCII: %.200q", out)
	}
	if err := validate(t, "response", out); err != nil {
		t.Errorf("response: %v\n%.2000s", err, out)
	}
	if a.exit != piece.ExitUnsupported && a.Code != piece.CodeRequest {
		if err := validate(t, kind+".request", request); err != nil {
			t.Errorf("request: %v", err)
		}
	}
	return a
}

// keep writes a request into the folder SOTTO_PIECE_REQUESTS, if there is one, for
// the test of other builds in sdk/piece: what is judged here is judged there.
func keep(t testing.TB, kind string, request []byte) {
	t.Helper()
	dir := os.Getenv("SOTTO_PIECE_REQUESTS")
	if dir == "" {
		return
	}
	b, err := json.Marshal(map[string]any{"test": t.Name(), "kind": kind, "request": request})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%x.json", sha256.Sum256(b))), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

var schemas sync.Map

func validate(t testing.TB, name string, document []byte) error {
	t.Helper()
	s, ok := schemas.Load(name)
	if !ok {
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		compiled, err := c.Compile("../../docs/spec/verify/" + name + ".schema.json")
		if err != nil {
			t.Fatal(err)
		}
		s, _ = schemas.LoadOrStore(name, compiled)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return err
	}
	return s.(*jsonschema.Schema).Validate(v)
}

// expect runs a request and compares verdict and code, "accepted" or a code.
func expect(t testing.TB, kind string, d doc, want string) *answer {
	t.Helper()
	a := judge(t, kind, d.json(t))
	got := a.Code
	if a.Verdict == "accepted" {
		got = "accepted"
	}
	if got != want {
		t.Errorf("%s %s: %s, want %s", a.Verdict, a.Code, a.Detail, want)
	}
	return a
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
func hx(b []byte) string  { return hex.EncodeToString(b) }

func pems(certs ...*x509.Certificate) []string {
	var out []string
	for _, c := range certs {
		out = append(out, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))
	}
	return out
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A mint makes SIMULATED evidence of every kind, once for all tests, all of it
// good at now.
type mint struct {
	now      time.Time
	amd      *attestationtest.Root
	chip     *attestationtest.Chip
	intel    *faketdx.Root
	platform *faketdx.Platform
	gpu      *fakegpu.Maker
	aws      *fakenitro.Authority
}

var minted = sync.OnceValue(func() *mint {
	m := &mint{now: time.Now().Truncate(time.Second).UTC()}
	m.amd = must(attestationtest.GenerateRoot())
	m.chip = must(m.amd.MintChip(attestationtest.ChipSpec{Name: "piece", TCB: floorTCB()}))
	m.intel = must(faketdx.Generate())
	m.platform = must(m.intel.NewPlatform(faketdx.PlatformSpec{Name: "piece"}))
	m.gpu = must(fakegpu.Generate())
	m.aws = must(fakenitro.NewAuthority(m.now, nil))
	m.now = m.now.Add(2 * time.Second) // after whatever was made while this ran
	return m
})

func (m *mint) at() string { return m.now.Format(time.RFC3339) }

var reportData = [64]byte([]byte("SIMULATED report data of a test of pieces, sixty-four bytes long"))

// floorTCB is the firmware that the built-in policies ask for, evaluation the
// number of the collateral.
func floorTCB() attestation.TCB {
	return must(attestation.Profile("strict")).SNP.Floors[attestationtest.Product]
}

func evaluation() int { return must(attestation.Profile("strict")).TDX.MinEvaluationNumber }

func (m *mint) snp(tamper func([]byte)) doc { return m.snpOn(m.chip, tamper) }

func (m *mint) snpOn(chip *attestationtest.Chip, tamper func([]byte)) doc {
	c := *chip
	c.Tamper = func(b []byte) {
		tcb := attestationtest.TCBBytes(floorTCB())
		for _, at := range []int{attestationtest.OffCurrentTCB, attestationtest.OffReportedTCB, attestationtest.OffCommitted, attestationtest.OffLaunchTCB} {
			copy(b[at:], tcb[:])
		}
		if tamper != nil {
			tamper(b)
		}
	}
	e := must(c.Endorse(reportData))
	line, _ := m.amd.Roots().Line(attestationtest.Product)
	return doc{"time": m.at(), "report": b64(e.Report), "certificate": b64(e.Cert), "crl": b64(e.CRL),
		"roots": pems(line.ARK), "chain": pems(line.ASK, line.ASVK),
		"expect": doc{"report_data": hx(reportData[:]), "measurement": hx(measurement())}}
}

func (m *mint) tdx(q faketdx.QuoteSpec, c faketdx.CollateralSpec) doc {
	q.Data, q.MRTD = reportData, [48]byte{1}
	if c.Evaluation == 0 {
		c.Evaluation = evaluation()
	}
	if c.Issued.IsZero() {
		c.Issued, c.Next = m.now.Add(-time.Hour), m.now.Add(24*time.Hour)
	}
	quote, coll := must(m.platform.Quote(q)), must(m.platform.Collateral(c))
	return doc{"time": m.at(), "quote": b64(quote), "roots": pems(m.intel.Certs()...), "collateral": doc{
		"tcb_info": b64(coll.TCBInfo), "tcb_info_issuers": string(coll.TCBIssuers), "qe_identity": b64(coll.QEIdentity),
		"qe_identity_issuers": string(coll.QEIssuers), "pck_crl": b64(coll.PCKCRL), "pck_crl_issuers": string(coll.PCKCRLIssuers),
		"root_crl": b64(coll.RootCRL)}, "expect": doc{"report_data": hx(reportData[:]), "mrtd": hx(slices.Concat([]byte{1}, make([]byte, 47)))}}
}

var quotedPCRs = []int{0, 4, 7, 10}

// quote returns a request over a software TPM's quote; tamper changes what it
// signs.
func (m *mint) quote(tamper func(*attestationtest.SoftTPM)) doc {
	t := must(attestationtest.NewSoftTPM(nil))
	if _, err := attestationtest.Boot(context.Background(), t); err != nil {
		panic(err)
	}
	if tamper != nil {
		tamper(t)
	}
	q := must(t.Quote([]byte("SIMULATED nonce"), quotedPCRs))
	pcrs := doc{}
	for i, v := range q.PCRs {
		pcrs[strconv.Itoa(i)] = hx(v[:])
	}
	return doc{"time": m.at(), "attest": b64(q.Attest), "signature": b64(q.Signature), "public": b64(t.Public()),
		"nonce": hx([]byte("SIMULATED nonce")), "pcrs": pcrs, "expect": doc{"pcrs": doc{"4": pcrs["4"]}}}
}

func (m *mint) eventLog() doc {
	registers := attestationtest.Registers(attestationtest.Events())
	return doc{"time": m.at(), "log": b64(attestationtest.EventLog(attestationtest.Events())), "flavour": "tpm", "expect": doc{
		"registers": doc{"4": hx(registers[4][:]), "7": hx(registers[7][:]), "12": hx(registers[12][:])}, "secure_boot": true,
		"command_line": attestationtest.CommandLine}}
}

func (m *mint) ccLog() doc {
	events := attestationtest.CCEvents()
	registers := attestationtest.CCRegisters(events)
	var known []string
	for _, d := range attestationtest.ImageOn(attestation.TDX).RTMR2Events {
		known = append(known, hx(d[:]))
	}
	return doc{"time": m.at(), "log": b64(attestationtest.CCLog(events)), "flavour": "cc", "known_digests": known, "expect": doc{
		"registers": doc{"0": hx(registers[0][:]), "2": hx(registers[2][:])}, "secure_boot": true, "command_line": attestationtest.CommandLine}}
}

func bootPCRs() (pcrs [10][32]byte, named doc) {
	registers := attestationtest.Registers(attestationtest.Events())
	named = doc{}
	for i := range pcrs {
		pcrs[i] = registers[i]
		named[strconv.Itoa(i)] = hx(registers[i][:])
	}
	return pcrs, named
}

func (m *mint) ima(more ...fakeima.Entry) doc {
	pcrs, named := bootPCRs()
	good := fakeima.Node(pcrs)
	entries := append(slices.Clone(good), more...)
	pcr := fakeima.Register([32]byte{}, entries)
	return doc{"time": m.at(), "log": b64(fakeima.Log(entries)), "boot_pcrs": named, "expect": doc{"pcr10": hx(pcr[:])},
		"rules": doc{"files": fakeima.Files(good)}}
}

var gpuNonce = [32]byte{7, 5, 7}

func (m *mint) gpus(s fakegpu.Spec) doc {
	s.Now = m.now
	return doc{"time": m.at(), "evidence": b64(must(m.gpu.Evidence(gpuNonce, s))), "nonce": hx(gpuNonce[:]), "roots": pems(m.gpu.Certs()...),
		"expect": doc{"count": 1, "driver": fakegpu.Driver, "vbios": fakegpu.VBIOS}}
}

func (m *mint) nitro(s fakenitro.Spec) doc {
	s.Time = m.now
	if s.UserData == nil {
		s.UserData = reportData[:]
	}
	pcrs := fakenitro.PCRs()
	four := pcrs[4]
	d := doc{"time": m.at(), "document": b64(must(m.aws.Document(s))), "roots": pems(m.aws.Root()), "max_age": "5m",
		"expect": doc{"user_data": hx(reportData[:])}}
	if s.PCRs == nil {
		d = d.with("expect.pcrs", doc{"4": hx(four[:])})
	}
	return d
}

func measurement() []byte { m := attestationtest.Image().Measurement; return m[:] }
