// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/explain"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// A lab is one SIMULATED node with its evidence and reports about it.
type lab struct {
	root     string // folder with the root's certificates
	vendor   *attestationtest.Root
	ev       attestation.Evidence
	accepted *attestation.Report
	refused  *attestation.Report
}

// labDir is removed when all tests are done.
var labDir string

// made is the lab, once for all tests: its RSA keys are slow.
var made = sync.OnceValues(func() (*lab, error) {
	dir, err := os.MkdirTemp("", "explain")
	if err != nil {
		return nil, err
	}
	labDir = dir
	l := &lab{root: filepath.Join(dir, "root")}
	root, err := attestationtest.CreateRoot(l.root)
	if err != nil {
		return nil, err
	}
	l.vendor = root
	weights, now := sha256.Sum256([]byte("lab weights")), time.Now()
	config, err := attestationtest.Config("toy", weights).Append(nil)
	if err != nil {
		return nil, err
	}
	node, err := attestationtest.NewNode(root, attestationtest.NodeSpec{Name: "node", Config: config})
	if err != nil {
		return nil, err
	}
	early := attestation.Checkpoint{Hash: sha256.Sum256([]byte("checkpoint 40")), Time: now.Add(-time.Hour)}
	late := attestation.Checkpoint{Hash: sha256.Sum256([]byte("checkpoint now")), Time: now.Add(-time.Minute)}
	if l.ev.Epoch, err = node.Epoch(41, early.Hash); err != nil {
		return nil, err
	}
	if l.ev.Freshness, err = node.Freshness(l.ev.Epoch.Digest(), late.Hash); err != nil {
		return nil, err
	}
	refs, policy := node.References(l.ev.Epoch, 41, early, late), attestationtest.Policy(root)
	result, err := attestation.Verify(l.ev, policy, refs, now)
	if err != nil {
		return nil, err
	}
	l.accepted = result.Report
	refs.FreshCheckpoint.Hash[0] ^= 1
	_, err = attestation.Verify(l.ev, policy, refs, now)
	if refusal, ok := err.(*attestation.RefusalError); ok {
		l.refused = refusal.Report
	}
	return l, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if labDir != "" {
		os.RemoveAll(labDir)
	}
	os.Exit(code)
}

func theLab(t *testing.T) *lab {
	t.Helper()
	l, err := made()
	if err != nil {
		t.Fatal(err)
	}
	if l.refused == nil {
		t.Fatal("no refusal of a replayed freshness quote")
	}
	return l
}

// extracted writes what sotto verify --extract writes, and the issuers of the
// chip's certificate, which people get from its vendor.
func extracted(t *testing.T, l *lab) string {
	t.Helper()
	dir := t.TempDir()
	files, err := explain.Files(l.ev)
	if err != nil {
		t.Fatal(err)
	}
	var issuers bytes.Buffer
	for _, name := range []string{"SIMULATED-ask.der", "SIMULATED-ark.der"} {
		der, err := os.ReadFile(filepath.Join(l.root, name))
		if err != nil {
			t.Fatal(err)
		}
		pem.Encode(&issuers, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	for _, f := range append(files, explain.File{Name: "ask-ark.pem", Data: issuers.Bytes()}) {
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// onPlatform makes evidence of another platform, with an IMA log and a GPU.
func onPlatform(t *testing.T, l *lab, p attestation.Platform) *lab {
	t.Helper()
	config, err := attestationtest.Config("toy", sha256.Sum256([]byte("lab weights"))).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	node, err := attestationtest.NewNode(l.vendor, attestationtest.NodeSpec{Name: string(p), Config: config, Platform: p, IMA: true, GPU: &fakegpu.Spec{}})
	if err != nil {
		t.Fatal(err)
	}
	out := &lab{root: l.root}
	if out.ev.Epoch, err = node.Epoch(41, sha256.Sum256([]byte("checkpoint 40"))); err != nil {
		t.Fatal(err)
	}
	if out.ev.Freshness, err = node.Freshness(out.ev.Epoch.Digest(), sha256.Sum256([]byte("checkpoint now"))); err != nil {
		t.Fatal(err)
	}
	return out
}

var pieceName = regexp.MustCompile(`\b\d\d-[a-z-]+(-\d)?\.bin\b`)

// runByHand runs the commands of a topic in a folder, if what they need is there.
func runByHand(t *testing.T, dir, name string) string {
	t.Helper()
	topic, ok := explain.Find(name)
	if !ok {
		t.Fatalf("no topic %s", name)
	}
	for _, tool := range []string{"openssl", "xxd", "jq", "python3", "tpm2_print", "tpm2_eventlog", "tpm2_checkquote"} {
		if _, err := exec.LookPath(tool); err != nil && strings.Contains(topic.ByHand, tool) {
			t.Skipf("%s is not installed", tool)
		}
	}
	for _, line := range strings.Split(topic.ByHand, "\n") {
		for _, file := range pieceName.FindAllString(line, -1) {
			if _, err := os.Stat(filepath.Join(dir, file)); err != nil && !strings.HasPrefix(line, "#") {
				t.Skipf("this evidence has no %s", file)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "sh", "-eu")
	c.Dir, c.Stdin = dir, strings.NewReader(topic.ByHand)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// equalPairs are topics whose commands print values that must be equal: at least
// how many such pairs there are.
var equalPairs = map[string]int{
	"nonce": 1, "keys.statement": 2, "config": 1, "tpm.ak": 1, "tpm.quote": 1, "rek": 3, "snp.acceptable": 1, "boot.log": 7,
	"boot.ccel": 3, "svsm.binding": 2, "hcl.binding": 4, "runtime": 1, "gpu.genuine": 1, "gpu.acceptable": 1,
}

var (
	long   = regexp.MustCompile(`\b[0-9a-f]{64,}\b`)
	verify = regexp.MustCompile(`openssl dgst -sha\d+ -verify`)
)

// checkByHand runs the commands of a topic and looks at what they print.
func checkByHand(t *testing.T, dir, name string) {
	out := runByHand(t, dir, name)
	times, pairs := map[string]int{}, 0
	for _, v := range long.FindAllString(out, -1) {
		if times[v]++; times[v] == 2 {
			pairs++
		}
	}
	if want := equalPairs[name]; pairs < want {
		t.Errorf("%d pairs of equal values, want %d:\n%s", pairs, want, out)
	}
	topic, _ := explain.Find(name)
	if want := len(verify.FindAllString(topic.ByHand, -1)); want != strings.Count(out, "Verified OK") {
		t.Errorf("%d signatures to verify:\n%s", want, out)
	}
}

// TestByHand runs the commands that people are told to run, on evidence of the
// lab: what this program accepts, other people's tools accept too.
func TestByHand(t *testing.T) {
	l := theLab(t)
	dir := extracted(t, l)
	for _, topic := range explain.Topics() {
		if topic.ByHand == "" || strings.HasPrefix(topic.Name, "pcr-") && topic.Name != "pcr-4" {
			continue // those of the other registers differ in a number
		}
		t.Run(topic.Name, func(t *testing.T) { checkByHand(t, dir, topic.Name) })
	}
}

// TestByHandOnPlatforms runs what the first platform has no pieces for.
func TestByHandOnPlatforms(t *testing.T) {
	l := theLab(t)
	for platform, names := range map[attestation.Platform][]string{
		attestation.SNPSVSM:   {"svsm.binding", "runtime", "gpu.genuine", "gpu.acceptable"},
		attestation.AzureSNP:  {"hcl.binding", "tpm.quote", "rek", "freshness"},
		attestation.GoogleTDX: {"tpm.akcert", "boot.ccel", "tdx.genuine", "tdx.acceptable"},
		attestation.TPM:       {"tpm.ekcert", "tpm.akcert"},
		attestation.NitroTPM:  {"nitro.genuine", "nitro.acceptable"},
	} {
		dir := extracted(t, onPlatform(t, l, platform))
		for _, name := range names {
			t.Run(string(platform)+"/"+name, func(t *testing.T) { checkByHand(t, dir, name) })
		}
	}
}

// TestByHandSeesTampering: the commands are no decoration either.
func TestByHandSeesTampering(t *testing.T) {
	l := theLab(t)
	for file, topics := range map[string][]string{
		"05-quote.bin": {"tpm.quote"}, "13-sev-snp-report.bin": {"snp.genuine"}, "11-creation-certificate.bin": {"rek"}, "32-freshness-quote.bin": {"freshness"},
	} {
		dir := extracted(t, l)
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		b[60] ^= 1
		if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range topics {
			topic, _ := explain.Find(name)
			if _, err := exec.LookPath("tpm2_checkquote"); err != nil {
				t.Skip("tpm2-tools are not installed")
			}
			c := exec.Command("sh", "-eu")
			c.Dir, c.Stdin = dir, strings.NewReader(topic.ByHand)
			if out, err := c.CombinedOutput(); err == nil {
				t.Errorf("%s passes with a bit of %s flipped:\n%s", name, file, out)
			}
		}
	}
}

// TestByHandOnRecorded runs the commands for other platforms on evidence that
// was recorded on real hardware.
func TestByHandOnRecorded(t *testing.T) {
	base := os.Getenv("SOTTO_RECORDED_EVIDENCE")
	if base == "" {
		base = "../../../shared/evidence"
	}
	for _, c := range []struct {
		name, topic string
		files       map[string]string
	}{
		{"azure", "hcl.binding", map[string]string{"azure-snp-milan/hcl-report.bin": evidenceFile(evidence.KindHCLReport)}},
		{"azure", "tdx.genuine", map[string]string{"azure-tdx/td-quote.bin": evidenceFile(evidence.KindTDXQuote)}},
		{"azure", "tdx.acceptable", map[string]string{"azure-tdx/td-quote.bin": evidenceFile(evidence.KindTDXQuote)}},
	} {
		t.Run(c.topic, func(t *testing.T) {
			dir := t.TempDir()
			for from, to := range c.files {
				b, err := os.ReadFile(filepath.Join(base, from))
				if err != nil {
					t.Skip("no recorded evidence here; set SOTTO_RECORDED_EVIDENCE")
				}
				if err := os.WriteFile(filepath.Join(dir, to), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			// what the recordings lack; the commands only show it
			os.WriteFile(filepath.Join(dir, "04-attestation-key.bin"), make([]byte, 300), 0o600)
			os.WriteFile(filepath.Join(dir, "19-tdx-collateral-0.bin"), []byte("{}"), 0o600)
			out := runByHand(t, dir, c.topic)
			switch c.topic {
			case "hcl.binding":
				if digests := long.FindAllString(out, -1); len(digests) < 2 || !strings.HasPrefix(digests[1], digests[0]) {
					t.Errorf("runtime data and REPORT_DATA differ:\n%s", out)
				}
			case "tdx.genuine":
				if strings.Count(out, "Verified OK") != 2 || !strings.Contains(out, "pck-1.pem: OK") || !strings.Contains(out, "44:A0:19:6B") {
					t.Errorf("quote is not shown to be Intel's:\n%s", out)
				}
			}
		})
	}
}

func evidenceFile(k evidence.Kind) string { return explain.FileName(k) }

// TestFiles: each piece once, by its number; names are safe for a file system.
func TestFiles(t *testing.T) {
	l := theLab(t)
	files, err := explain.Files(l.ev)
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 + len(l.ev.Epoch.Pieces) + len(l.ev.Freshness.Pieces); len(files) != want {
		t.Errorf("%d files, want %d", len(files), want)
	}
	if sum := sha256.Sum256(files[0].Data); files[0].Name != "00-epoch-evidence.bin" || sum != l.ev.Epoch.Digest() {
		t.Error("the first file is not the epoch evidence")
	}
	for _, f := range files {
		if !regexp.MustCompile(`^\d\d-[a-z0-9-]+\.bin$`).MatchString(f.Name) {
			t.Errorf("file name %q", f.Name)
		}
	}
	list := evidence.List{[]byte("leaf"), []byte("issuer")}.Append(nil)
	files, err = explain.Files(attestation.Evidence{Epoch: &evidence.Bundle{Pieces: []evidence.Piece{{Kind: evidence.KindAKCerts, Data: list}}}})
	if err != nil || len(files) != 4 || files[3].Name != "21-attestation-key-certificate-1.bin" || string(files[3].Data) != "issuer" {
		t.Errorf("list: %v, %v", files, err)
	}
	if _, err := explain.Files(attestation.Evidence{Epoch: &evidence.Bundle{Pieces: []evidence.Piece{{Kind: 999}}}}); err == nil {
		t.Error("a bundle that does not print is cut into files")
	}
}

// TestNamesInCommandsExist: a command names a piece that there is.
func TestNamesInCommandsExist(t *testing.T) {
	names := []string{"00-epoch-evidence.bin", "31-freshness-evidence.bin"}
	for k := range evidence.Kind(64) {
		names = append(names, explain.FileName(k))
	}
	page, err := os.ReadFile("../byhand.go")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"byhand.go": string(page)}
	for _, topic := range explain.Topics() {
		texts[topic.Name] = topic.ByHand + topic.Expect + topic.Text
	}
	for where, text := range texts {
		for _, name := range pieceName.FindAllString(text, -1) {
			if !slices.Contains(names, regexp.MustCompile(`-\d\.bin$`).ReplaceAllString(name, ".bin")) {
				t.Errorf("%s: no piece is called %s", where, name)
			}
		}
	}
}

// TestReportsMatchTheSchema: real reports are what the schema says, and it is no
// schema that takes everything.
func TestReportsMatchTheSchema(t *testing.T) {
	const file = "../../docs/spec/verify/report.schema.json"
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	l := theLab(t)
	parse := func(r *attestation.Report) map[string]any {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.JSON()))
		if err != nil {
			t.Fatal(err)
		}
		return v.(map[string]any)
	}
	for name, r := range map[string]*attestation.Report{"accepted": l.accepted, "refused": l.refused} {
		if err := schema.Validate(parse(r)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	step := func(v map[string]any, i int) map[string]any { return v["steps"].([]any)[i].(map[string]any) }
	for name, spoil := range map[string]func(v map[string]any){
		"unknown member":  func(v map[string]any) { v["score"] = 10 },
		"no steps":        func(v map[string]any) { v["steps"] = []any{} },
		"no verdict":      func(v map[string]any) { delete(v, "verdict") },
		"unknown verdict": func(v map[string]any) { v["verdict"] = "fine" },
		"upper-case node": func(v map[string]any) { v["node"] = strings.Repeat("A", 64) },
		"tier 4":          func(v map[string]any) { v["tier"] = json.Number("4") },
		"verified with a failure": func(v map[string]any) {
			s := step(v, 0)
			s["verdict"], s["code"] = "failed", "att.policy"
			delete(s, "gap")
		},
		"verified over gaps":   func(v map[string]any) { v["verdict"] = "verified" },
		"gap without words":    func(v map[string]any) { s := step(v, 1); s["verdict"] = "verified with named gaps"; delete(s, "gap") },
		"unknown code":         func(v map[string]any) { s := step(v, 1); s["verdict"], s["code"] = "failed", "att.other" },
		"step without by_hand": func(v map[string]any) { delete(step(v, 1), "by_hand") },
		"unknown voucher":      func(v map[string]any) { step(v, 1)["vouches"] = "vendor" },
		"time that is none":    func(v map[string]any) { v["time"] = "noon" },
	} {
		v := parse(l.accepted)
		spoil(v)
		if schema.Validate(v) == nil {
			t.Errorf("%s passes", name)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Defs struct {
			Code struct{ Enum []refuse.Code }
		} `json:"$defs"`
		Properties struct {
			Platform struct{ Enum []attestation.Platform }
		}
	}
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Defs.Code.Enum, refuse.All()) || !slices.Equal(s.Properties.Platform.Enum, attestation.Platforms()) {
		t.Error("the schema's codes or platforms are not those of the code")
	}
}
