// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sotto-project/sotto/attestation/piece"
)

var updatePiece = flag.Bool("update-piece", false, "write docs/spec/verify/examples/sigstore-bundle.response.json")

const verifyDocs = "../../docs/spec/verify"

// runPiece runs the command and returns what it wrote and the error it ended with.
func runPiece(t *testing.T, in []byte, args ...string) ([]byte, error) {
	t.Helper()
	cmd := (&env{}).piece()
	var out, errs bytes.Buffer
	cmd.SetIn(bytes.NewReader(in))
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.Execute()
	if errs.Len() != 0 {
		t.Errorf("on standard error: %s", errs.Bytes())
	}
	return out.Bytes(), err
}

func schemaOf(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(filepath.Join(verifyDocs, name+".schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validPiece(t *testing.T, s *jsonschema.Schema, b []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err == nil {
		err = s.Validate(v)
	}
	if err != nil {
		t.Errorf("%v: %.300s", err, b)
	}
}

func readPiece(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(verifyDocs, "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPieceExamples runs every published example through the command.
func TestPieceExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(verifyDocs, "examples", "*.request.json"))
	if err != nil || len(files) < len(pieceKinds()) {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	response := schemaOf(t, "response")
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			kind, _, _ := strings.Cut(name, ".")
			request := readPiece(t, name)
			validPiece(t, schemaOf(t, kind+".request"), request)
			out, err := runPiece(t, request, kind)
			validPiece(t, response, out)
			var e *pieceError
			if refused := strings.Contains(name, ".no-"); refused != errors.As(err, &e) || refused && e.ExitCode() != piece.ExitRefused {
				t.Errorf("%v", err)
			}
			var indented bytes.Buffer
			if err := json.Indent(&indented, out, "", "  "); err != nil {
				t.Fatal(err)
			}
			golden := strings.Replace(name, "request", "response", 1)
			if *updatePiece && kind == kindBundle {
				if err := os.WriteFile(filepath.Join(verifyDocs, "examples", golden), indented.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(indented.Bytes(), readPiece(t, golden)) {
				t.Errorf("the answer is not that of %s", golden)
			}
		})
	}
}

// TestPieceExits has each way in which the command ends.
func TestPieceExits(t *testing.T) {
	bundle := readPiece(t, "sigstore-bundle.request.json")
	var request map[string]any
	if err := json.Unmarshal(bundle, &request); err != nil {
		t.Fatal(err)
	}
	with := func(name string, value any) []byte {
		changed := map[string]any{}
		for k, v := range request {
			changed[k] = v
		}
		changed[name] = value
		b, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	response := schemaOf(t, "response")
	for name, c := range map[string]struct {
		kind string
		in   []byte
		exit int
		code string
	}{
		"accepted":                 {"tdx", readPiece(t, "tdx.request.json"), piece.ExitAccepted, ""},
		"refused":                  {"sev-snp", readPiece(t, "sev-snp.no-crl.request.json"), piece.ExitRefused, "att.crl"},
		"unsupported":              {"sgx", nil, piece.ExitUnsupported, piece.CodeUnsupported},
		"malformed":                {"tdx", []byte("{"), piece.ExitMalformed, piece.CodeRequest},
		"too long":                 {"tdx", make([]byte, piece.MaxRequest+10), piece.ExitMalformed, piece.CodeRequest},
		"bundle accepted":          {kindBundle, bundle, piece.ExitAccepted, ""},
		"AT-43 bundle refused":     {kindBundle, with("identity", "https://example.org/somebody-else"), piece.ExitRefused, "log.identity"},
		"bundle of another kind":   {kindBundle, with("bundle", "eyJtZWRpYVR5cGUiOiJ4In0="), piece.ExitUnsupported, "bundle.version"},
		"bundle that is none":      {kindBundle, with("bundle", "AAAA"), piece.ExitMalformed, "bundle.format"},
		"bundle, malformed":        {kindBundle, []byte("[]"), piece.ExitMalformed, piece.CodeRequest},
		"bundle, unknown member":   {kindBundle, with("more", 1), piece.ExitMalformed, piece.CodeRequest},
		"bundle, time not a time":  {kindBundle, with("time", "now"), piece.ExitMalformed, piece.CodeRequest},
		"bundle, no roots at all":  {kindBundle, with("trusted_root", "AAAA"), piece.ExitMalformed, "log.trust"},
		"bundle, another artifact": {kindBundle, with("artifact_sha256", strings.Repeat("01", 32)), piece.ExitRefused, "bundle.artifact"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := runPiece(t, c.in, c.kind)
			validPiece(t, response, out)
			var r piece.Response
			if jsonErr := json.Unmarshal(out, &r); jsonErr != nil {
				t.Fatal(jsonErr)
			}
			var e *pieceError
			if c.exit == piece.ExitAccepted {
				if err != nil || r.Verdict != piece.Accepted {
					t.Errorf("%v, %s", err, r.Verdict)
				}
			} else if !errors.As(err, &e) || e.ExitCode() != c.exit || !strings.Contains(e.Error(), c.code) {
				t.Errorf("%v, want exit code %d", err, c.exit)
			}
			if r.Code != c.code || r.Kind != c.kind || r.Gaps == nil {
				t.Errorf("%+v", r)
			}
			if c.kind == kindBundle && (r.Roots == piece.RootsGiven) != (r.Code != piece.CodeRequest && r.Verdict != piece.Unsupported) {
				t.Errorf("roots %q", r.Roots)
			}
		})
	}
	for _, args := range [][]string{{}, {"tdx", "more"}} {
		if _, err := runPiece(t, nil, args...); err == nil {
			t.Errorf("%q is no usage error", args)
		}
	}
	if !slices.IsSorted(pieceKinds()) || len(pieceKinds()) != 8 {
		t.Errorf("%q", pieceKinds())
	}
}

// TestPieceDocument runs the session about bundles in docs/spec/piece.md.
func TestPieceDocument(t *testing.T) {
	page, err := os.ReadFile("../../docs/spec/piece.md")
	if err != nil {
		t.Fatal(err)
	}
	_, session, ok := strings.Cut(string(page), "$ sotto verify piece "+kindBundle+" <docs/spec/verify/examples/sigstore-bundle.request.json ")
	lines := strings.Split(session, "\n")
	out, runErr := runPiece(t, readPiece(t, "sigstore-bundle.request.json"), kindBundle)
	if !ok || len(lines) < 3 || lines[1] != `["accepted",null,[]]` || lines[2] != "exit code 0" || runErr != nil || !bytes.Contains(out, []byte(`"accepted"`)) {
		t.Errorf("the page says %q; %v", lines[:min(3, len(lines))], runErr)
	}
}
