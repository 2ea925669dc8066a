// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakenitro"
	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/piece"
)

// good returns an acceptable request of every kind.
func good() map[string]doc {
	m := minted()
	return map[string]doc{
		"event-log": m.eventLog(), "ima-log": m.ima(), "nitro": m.nitro(fakenitro.Spec{}), "nvidia-gpu": m.gpus(fakegpu.Spec{NoTokens: true}),
		"sev-snp": m.snp(nil), "tdx": m.tdx(faketdx.QuoteSpec{}, faketdx.CollateralSpec{}), "tpm-quote": m.quote(nil),
	}
}

func TestAccepted(t *testing.T) {
	requests := good()
	if got := piece.Kinds(); len(got) != len(requests) || !slices.IsSorted(got) {
		t.Errorf("kinds %q", got)
	}
	for kind, d := range requests {
		t.Run(kind, func(t *testing.T) {
			a := expect(t, kind, d, "accepted")
			wantRoots := piece.RootsNone
			if d["roots"] != nil {
				wantRoots = piece.RootsGiven
			}
			if a.Kind != kind || a.Roots != wantRoots || a.Simulated != (d["roots"] != nil) || a.Time != minted().at() || len(a.Claims) == 0 {
				t.Errorf("%+v", a)
			}
			again, _ := piece.Run(kind, d.json(t), attestation.VendorRoots())
			once, _ := piece.Run(kind, d.json(t), attestation.VendorRoots())
			if !bytes.Equal(again, once) {
				t.Error("two answers to one request differ")
			}
		})
	}
}

// TestBuiltInRoots: without roots of its own, a request is judged under those of
// the program, which take nothing simulated.
func TestBuiltInRoots(t *testing.T) {
	for kind, d := range good() {
		if d["roots"] == nil {
			continue
		}
		t.Run(kind, func(t *testing.T) {
			a := expect(t, kind, d.with("roots", nil).with("chain", nil), "att.simulated")
			if a.Roots != piece.RootsBuiltIn || a.Simulated {
				t.Errorf("%+v", a)
			}
			vendor := strings.Join(pems(vendorCA(t)), "")
			if a := judge(t, kind, d.with("roots", vendor).with("chain", nil).json(t)); a.Code != "att.simulated" || a.Roots != piece.RootsGiven {
				t.Errorf("under a real root of the caller: %s %s", a.Code, a.Detail)
			}
		})
	}
}

// TestMalformed has documents that are no requests, for every kind alike.
func TestMalformed(t *testing.T) {
	for kind, d := range good() {
		whole := d.json(t)
		member := func(name string) string {
			for n := range d {
				if n != "time" && n != "expect" && n != "roots" && n != "waive" {
					return n
				}
			}
			return name
		}("time")
		for name, in := range map[string][]byte{
			"empty":             nil,
			"a list":            []byte("[]"),
			"a text":            []byte(`"x"`),
			"null":              []byte("null"),
			"cut":               whole[:len(whole)-1],
			"two documents":     slices.Concat(whole, whole),
			"text behind":       slices.Concat(whole, []byte("x")),
			"not UTF-8":         bytes.Replace(whole, []byte(`{`), []byte("{\"\xff\":1,"), 1),
			"a comma too many":  bytes.Replace(whole, []byte(`{`), []byte(`{,`), 1),
			"a comment":         bytes.Replace(whole, []byte(`{`), []byte(`{/**/`), 1),
			"member twice":      bytes.Replace(whole, []byte(`{`), []byte(`{"time":"2026-01-01T00:00:00Z",`), 1),
			"escaped twice":     bytes.Replace(whole, []byte(`{`), []byte(`{"\u0074ime":"2026-01-01T00:00:00Z",`), 1),
			"unknown member":    d.with("more", 1).json(t),
			"unknown below":     d.with("expect.more", 1).json(t),
			"another case":      d.with("Time", d["time"]).with("time", nil).json(t),
			"NUL in a name":     d.with("ti\x00me", "x").json(t),
			"NUL in a text":     d.with("time", "2026-01-01T00:00:00Z\x00").json(t),
			"no time":           d.with("time", nil).json(t),
			"time null":         bytes.Replace(d.with("time", nil).json(t), []byte(`{`), []byte(`{"time":null,`), 1),
			"time a number":     d.with("time", 1).json(t),
			"time with a space": d.with("time", "2026-01-01 00:00:00Z").json(t),
			"expect a list":     d.with("expect", []int{}).json(t),
			"waive a text":      d.with("waive", "crl").json(t),
			"waive a number":    d.with("waive", []int{1}).json(t),
			"a member a number": d.with(member, 1).json(t),
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				a := judge(t, kind, in)
				if a.exit != piece.ExitMalformed || a.Code != piece.CodeRequest || a.Detail == "" {
					t.Errorf("exit code %d, %s: %s", a.exit, a.Code, a.Detail)
				}
				if json.Valid(in) && !strings.HasSuffix(name, "twice") && !strings.HasPrefix(name, "NUL") && name != "not UTF-8" && validate(t, kind+".request", in) == nil {
					t.Error("the schema takes it")
				}
			})
		}
	}
}

// TestHostile has requests made to be expensive.
func TestHostile(t *testing.T) {
	for _, c := range []struct{ id, name, in string }{
		{"AT-62", "deep lists", strings.Repeat("[", 1<<20)},
		{"AT-62", "deep lists, closed", strings.Repeat("[", 1<<12) + strings.Repeat("]", 1<<12)},
		{"AT-62", "deep objects", strings.Repeat(`{"a":`, 1<<20)},
		{"AT-62", "many values", `{"waive":[` + strings.Repeat("1,", 1<<21) + "1]}"},
		{"AT-62", "many members", func() string {
			var b strings.Builder
			b.WriteString("{")
			for i := range 1 << 18 {
				fmt.Fprintf(&b, `"%d":0,`, i)
			}
			return b.String() + `"x":0}`
		}()},
		{"AT-62", "too long", strings.Repeat(" ", piece.MaxRequest+1)},
		{"AT-62", "a long text", `{"time":"` + strings.Repeat("x", 8<<20) + `"}`},
		{"AT-62", "a long number", `{"time":` + strings.Repeat("1", 8<<20) + `}`},
	} {
		t.Run(c.id+"/"+c.name, func(t *testing.T) {
			start := time.Now()
			for _, kind := range []string{"sev-snp", "ima-log"} {
				out, exit := piece.Run(kind, []byte(c.in), attestation.VendorRoots())
				if exit != piece.ExitMalformed || len(out) > 4096 {
					t.Errorf("exit code %d, %d bytes", exit, len(out))
				}
			}
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestUnsupported(t *testing.T) {
	m := minted()
	all := good()
	for _, kind := range []string{"", "sigstore-bundle", "SEV-SNP", "x\x00y", strings.Repeat("k", 1000)} {
		if a := judge(t, kind, []byte("{}")); a.exit != piece.ExitUnsupported || a.Code != piece.CodeUnsupported || len(a.Kind) > 64 {
			t.Errorf("kind %.20q: %+v", kind, a)
		}
	}
	for name, c := range map[string]struct {
		kind string
		d    doc
	}{
		"a waiver":              {"sev-snp", all["sev-snp"].with("waive", []string{"signature"})},
		"no waivers at all":     {"ima-log", all["ima-log"].with("waive", []string{"crl"})},
		"a profile":             {"tdx", all["tdx"].with("profile", "relaxed")},
		"a product":             {"sev-snp", all["sev-snp"].with("products", []string{"Venice"})},
		"a report version":      {"sev-snp", m.snp(func(b []byte) { b[0] = 6 })},
		"a quote version":       {"tdx", all["tdx"].with("quote", b64(slices.Concat([]byte{6, 0}, make([]byte, 100))))},
		"an SGX quote":          {"tdx", all["tdx"].with("quote", b64(slices.Concat([]byte{3, 0, 2, 0}, make([]byte, 100))))},
		"a quote of P-384":      {"tdx", all["tdx"].with("quote", b64(slices.Concat([]byte{4, 0, 3, 0, 0x81}, make([]byte, 100))))},
		"a status":              {"tdx", all["tdx"].with("allow_status", []string{"Fine"})},
		"a bank":                {"tpm-quote", all["tpm-quote"].with("bank", "sha1")},
		"a signature format":    {"tpm-quote", all["tpm-quote"].with("signature_format", "der")},
		"a curve":               {"tpm-quote", all["tpm-quote"].with("public", nil).with("public_key", doc{"kty": "EC", "crv": "P-384"})},
		"a key type":            {"tpm-quote", all["tpm-quote"].with("public", nil).with("public_key", doc{"kty": "OKP"})},
		"a key":                 {"tpm-quote", all["tpm-quote"].with("public", nil).with("public_key", p384Key(t))},
		"a flavour":             {"event-log", all["event-log"].with("flavour", "dtpm")},
		"a flavour of Nitro":    {"nitro", all["nitro"].with("expect.flavour", "vm")},
		"a template":            {"ima-log", all["ima-log"].with("log", b64(append(make([]byte, 36), "\x08\x00\x00\x00ima-ngv2\x00\x00\x00\x00"...)))},
		"a kind of device":      {"nvidia-gpu", m.token().with("token.kind", "dpu")},
		"a layout of a report":  {"nvidia-gpu", m.report(fakegpu.Spec{NoTokens: true, Sealed: versioned})},
		"a layout, in evidence": {"nvidia-gpu", m.gpus(fakegpu.Spec{NoTokens: true, Sealed: versioned})},
	} {
		t.Run(name, func(t *testing.T) {
			if a := judge(t, c.kind, c.d.json(t)); a.exit != piece.ExitUnsupported || a.Code != piece.CodeUnsupported || a.Detail == "" {
				t.Errorf("exit code %d, %s: %s", a.exit, a.Code, a.Detail)
			}
		})
	}
}

// TestUnread has evidence that is not in its format at all: malformed, with the
// code of its format.
func TestUnread(t *testing.T) {
	all := good()
	long := b64(make([]byte, 5<<20))
	for name, c := range map[string]struct {
		kind, member string
		value        any
		code         string
	}{
		"report":               {"sev-snp", "report", "AAAA", "att.format"},
		"certificate":          {"sev-snp", "certificate", "AAAA", "att.format"},
		"chain":                {"sev-snp", "chain", []string{"AAAA"}, "att.format"},
		"quote":                {"tdx", "quote", "AAAA", "att.format"},
		"quote too long":       {"tdx", "quote", long, "att.size"},
		"attest":               {"tpm-quote", "attest", "AAAA", "att.quote"},
		"public":               {"tpm-quote", "public", "AAAA", "att.format"},
		"event log":            {"event-log", "log", "AAAA", "att.log.format"},
		"event log too long":   {"event-log", "log", long, "att.size"},
		"IMA log":              {"ima-log", "log", "AAAA", "att.ima.format"},
		"IMA log too long":     {"ima-log", "log", long, "att.size"},
		"GPU evidence":         {"nvidia-gpu", "evidence", "AAAA", "att.gpu"},
		"Nitro document":       {"nitro", "document", "AAAA", "att.format"},
		"Nitro too long":       {"nitro", "document", long, "att.size"},
		"zeros for a document": {"nitro", "document", b64(make([]byte, 100)), "att.format"},
	} {
		t.Run(name, func(t *testing.T) {
			if a := judge(t, c.kind, all[c.kind].with(c.member, c.value).json(t)); a.exit != piece.ExitMalformed || a.Code != c.code {
				t.Errorf("exit code %d, %s: %s", a.exit, a.Code, a.Detail)
			}
		})
	}
}

// TestInternal: what no request should bring about has its own exit code.
func TestInternal(t *testing.T) {
	r := piece.Response{Kind: "tdx", Claims: func() {}} // what JSON cannot print
	var a answer
	if err := json.Unmarshal(r.Print(), &a); err != nil || a.Verdict != "internal" || a.Code != piece.CodeInternal {
		t.Errorf("%v, %+v", err, a)
	}
	for verdict, want := range exits {
		if got := piece.Verdict(verdict).Exit(); got != want {
			t.Errorf("%s: %d", verdict, got)
		}
	}
	if piece.Verdict("").Exit() != piece.ExitInternal {
		t.Error("no verdict is no error")
	}
}

// TestLooseStaysHere: what skips a check is called by this package and by no
// other, so that attestation.Verify has no way to it.
func TestLooseStaysHere(t *testing.T) {
	loose := []string{"snp.VerifyWithoutCRL", "tdx.VerifySignatures", "tpm.VerifyQuote", "nvidia.VerifyWithoutOCSP", "nvidia.VerifyToken",
		"g.CheckWithoutReferences"}
	root, found := "../..", 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "loose.go" {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil // another's work in progress
		}
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			on, _ := s.X.(*ast.Ident)
			if on == nil || !slices.Contains(loose, on.Name+"."+s.Sel.Name) && s.Sel.Name != "CheckWithoutReferences" {
				return true
			}
			if found++; filepath.Dir(path) != filepath.Join(root, "attestation", "piece") {
				t.Errorf("%s calls %s", path, s.Sel.Name)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 6 {
		t.Errorf("%d calls found, there are more", found)
	}
}
