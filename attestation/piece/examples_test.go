// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/piece"
)

var (
	mintExamples   = flag.Bool("mint", false, "make new requests for docs/spec/verify/examples")
	updateExamples = flag.Bool("update", false, "write the responses in docs/spec/verify/examples")
)

const examples = "../../docs/spec/verify/examples"

// exampleRequests are what is minted for the document: one good request of each
// kind, and one that is refused.
func exampleRequests() map[string]doc {
	out := good()
	out["sev-snp"] = out["sev-snp"].with("floor", doc{"bootloader": 10, "snp": 25, "microcode": 84})
	out["sev-snp.no-crl"] = out["sev-snp"].with("crl", nil)
	return out
}

func pretty(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(b), "", "  "); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

// TestExamples runs the requests in docs/spec/verify/examples: the golden files
// of this package.
func TestExamples(t *testing.T) {
	if *mintExamples {
		for name, d := range exampleRequests() {
			if err := os.WriteFile(filepath.Join(examples, name+".request.json"), pretty(t, d.json(t)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	seen := 0
	for _, kind := range piece.Kinds() {
		files, err := filepath.Glob(filepath.Join(examples, kind+".*request.json"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: no example (%v)", kind, err)
		}
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) {
				seen++
				request := must(os.ReadFile(file))
				judge(t, kind, request)
				out, _ := piece.Run(kind, request, attestation.VendorRoots())
				golden := strings.Replace(file, "request.json", "response.json", 1)
				if *updateExamples || *mintExamples {
					if err := os.WriteFile(golden, pretty(t, out), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				if want := must(os.ReadFile(golden)); !bytes.Equal(want, pretty(t, out)) {
					t.Errorf("the answer is not that of %s; run: go test ./attestation/piece -run Examples -update", golden)
				}
			})
		}
	}
	if seen < len(piece.Kinds())+1 {
		t.Errorf("%d examples", seen)
	}
}

// TestDocument runs the sessions in docs/spec/piece.md: a command, what jq makes
// of the answer, and the exit code.
func TestDocument(t *testing.T) {
	page := string(must(os.ReadFile("../../docs/spec/piece.md")))
	session := regexp.MustCompile(`(?m)^\$ sotto verify piece (\S+) <(\S+) \| jq -c '\[\.verdict, \.code, \[\.gaps\[\]\.name\]\]'; echo "exit code \$\{PIPESTATUS\[0\]\}"\n(.*)\nexit code (.*)$`)
	found := map[string]bool{}
	for _, m := range session.FindAllStringSubmatch(page, -1) {
		kind, file, want, wantExit := m[1], m[2], m[3], m[4]
		found[kind] = true
		if kind == "sigstore-bundle" {
			continue // client/cli runs it
		}
		request := must(os.ReadFile(filepath.Join("../..", file)))
		out, exit := piece.Run(kind, request, attestation.VendorRoots())
		var a answer
		if err := json.Unmarshal(out, &a); err != nil {
			t.Fatal(err)
		}
		var code any
		if a.Code != "" {
			code = a.Code
		}
		if got := string(must(json.Marshal([]any{a.Verdict, code, a.gaps()}))); got != want || wantExit != string(must(json.Marshal(exit))) {
			t.Errorf("%s %s: %s, exit code %d; the page says %s, exit code %s", kind, file, got, exit, want, wantExit)
		}
	}
	for _, kind := range append(piece.Kinds(), "sigstore-bundle") {
		if !found[kind] {
			t.Errorf("%s: no session in the page", kind)
		}
	}
	if strings.Count(page, "$ sotto verify piece ") != len(session.FindAllString(page, -1)) {
		t.Error("a session is not in the form that is tested")
	}
}

// TestDocumentLists: kinds, waivers, codes and members of the claims are those
// of the page.
func TestDocumentLists(t *testing.T) {
	page := string(must(os.ReadFile("../../docs/spec/piece.md")))
	for _, word := range append(piece.Kinds(), piece.CodeRequest, piece.CodeUnsupported, piece.CodeInternal, piece.RootsBuiltIn, piece.RootsGiven, piece.RootsNone) {
		if !strings.Contains(page, "`"+word+"`") {
			t.Errorf("the page does not have %q", word)
		}
	}
	for _, kind := range piece.Kinds() {
		_, section, ok := strings.Cut(page, "\n### `"+kind+"`\n")
		if !ok {
			t.Errorf("%s: no section", kind)
			continue
		}
		section, _, _ = strings.Cut(section, "\n#")
		var schema struct{ Properties map[string]json.RawMessage }
		if err := json.Unmarshal(must(os.ReadFile("../../docs/spec/verify/"+kind+".request.schema.json")), &schema); err != nil {
			t.Fatal(err)
		}
		for name := range schema.Properties {
			if !slices.Contains([]string{"time", "roots", "waive", "expect", "grace", "profile"}, name) && !strings.Contains(section, "`"+name+"`") {
				t.Errorf("%s: nothing about the member %q", kind, name)
			}
		}
	}
}

// FuzzRun: whatever comes in, there is an answer of the documented shape.
func FuzzRun(f *testing.F) {
	kinds := piece.Kinds()
	for i, kind := range kinds {
		files, _ := filepath.Glob(filepath.Join(examples, kind+".*request.json"))
		for _, file := range files {
			f.Add(uint8(i), must(os.ReadFile(file)))
		}
		f.Add(uint8(i), []byte(`{"time":"2026-01-01T00:00:00Z"}`))
	}
	f.Fuzz(func(t *testing.T, i uint8, request []byte) {
		out, exit := piece.Run(kinds[int(i)%len(kinds)], request, attestation.VendorRoots())
		if !slices.Contains([]int{piece.ExitAccepted, piece.ExitRefused, piece.ExitUnsupported, piece.ExitMalformed}, exit) {
			t.Fatalf("exit code %d: %s", exit, out)
		}
		if err := validate(t, "response", out); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
}

// zeros are what may follow evidence.
var zeros = map[string]string{"tdx": "\x00"}

// FuzzEvidence changes one byte string of a good request: of each kind what its
// evidence is.
func FuzzEvidence(f *testing.F) {
	members := map[string]string{"event-log": "log", "ima-log": "log", "nitro": "document", "nvidia-gpu": "evidence", "sev-snp": "report", "tdx": "quote", "tpm-quote": "attest"}
	kinds, docs := piece.Kinds(), []doc{}
	for i, kind := range kinds {
		var d doc
		if err := json.Unmarshal(must(os.ReadFile(filepath.Join(examples, kind+".request.json"))), &d); err != nil {
			f.Fatal(err)
		}
		docs = append(docs, d)
		f.Add(uint8(i), must(base64decode(d[members[kind]].(string))))
	}
	f.Fuzz(func(t *testing.T, i uint8, evidence []byte) {
		kind, d := kinds[int(i)%len(kinds)], docs[int(i)%len(kinds)]
		if len(evidence) == 0 {
			return
		}
		out, exit := piece.Run(kind, d.with(members[kind], b64(evidence)).json(t), attestation.VendorRoots())
		if !slices.Contains([]int{piece.ExitAccepted, piece.ExitRefused, piece.ExitUnsupported, piece.ExitMalformed}, exit) {
			t.Fatalf("exit code %d: %s", exit, out)
		}
		switch kind {
		case "event-log": // a text that no decision reads is nobody's measurement
			return
		case "tdx":
			evidence = bytes.TrimRight(evidence, "\x00") // zero bytes behind a quote
		case "nitro":
			evidence = bytes.TrimPrefix(evidence, []byte{0xd2}) // COSE's tag
		}
		if exit == piece.ExitAccepted && !bytes.Equal(evidence, bytes.TrimRight(must(base64decode(d[members[kind]].(string))), zeros[kind])) {
			t.Fatalf("%s: other evidence than the good one was accepted", kind)
		}
	})
}
