// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package gpu_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/collect/gpu"
	"github.com/sotto-project/sotto/attestation/internal/nvidia"
)

var nonce = [32]byte{1, 2, 3}

// A setup is a machine with two GPUs and a switch, the tool and the collateral.
type setup struct {
	dir  string
	want []byte // the piece
	e    *nvidia.Evidence
	json map[string]any // what the tool prints
}

// made is the piece that all tests begin with.
var made = sync.OnceValues(func() ([]byte, error) {
	m, err := fakegpu.Generate()
	if err != nil {
		return nil, err
	}
	return m.Evidence(nonce, fakegpu.Spec{GPUs: 2, Switches: 1})
})

func newSetup(t *testing.T) *setup {
	t.Helper()
	s := &setup{dir: t.TempDir()}
	var err error
	if s.want, err = made(); err != nil {
		t.Fatal(err)
	}
	if s.e, err = nvidia.Parse(s.want); err != nil {
		t.Fatal(err)
	}
	for _, c := range s.e.Certificates {
		if sum := sha256.Sum256(c.DER); len(c.OCSP) > 0 {
			s.write(t, "ocsp/"+hex.EncodeToString(sum[:])+".der", c.OCSP)
		}
	}
	for i, r := range s.e.Manifests {
		s.write(t, fmt.Sprintf("rim/RIM_%d.xml", i), r.SWID)
		for n, a := range r.OCSP {
			s.write(t, fmt.Sprintf("rim/RIM_%d.ocsp-%d", i, n+1), a)
		}
	}
	s.json = s.answer()
	return s
}

// answer takes the piece apart again, into what a tool would say.
func (s *setup) answer() map[string]any {
	kind := map[nvidia.Kind]string{nvidia.GPU: "gpu", nvidia.Switch: "switch"}
	var devices, tokens []any
	for _, d := range s.e.Devices {
		var chain [][]byte
		for _, i := range d.Chain {
			chain = append(chain, s.e.Certificates[i].DER)
		}
		one := map[string]any{"kind": kind[d.Kind], "report": d.Report, "chain": chain}
		for name, i := range map[string]uint8{"driver_rim": d.Driver, "vbios_rim": d.VBIOS} {
			if i != 0xff {
				one[name] = fmt.Sprintf("RIM_%d", i)
			}
		}
		devices = append(devices, one)
	}
	for _, v := range s.e.Tokens {
		var each []string
		for _, d := range v.Devices {
			each = append(each, string(d))
		}
		tokens = append(tokens, map[string]any{"kind": kind[v.Kind], "overall": string(v.Overall), "devices": each})
	}
	return map[string]any{"arch": s.e.Arch.String(), "devices": devices, "tokens": tokens}
}

func (s *setup) write(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// collect runs a tool that prints b and knows only our nonce.
func (s *setup) collect(t *testing.T, b []byte) ([]byte, error) {
	t.Helper()
	path := s.write(t, "answer", b)
	c, err := gpu.New(gpu.Config{
		Command: []string{"/bin/sh", "-c", `test "$1" = ` + hex.EncodeToString(nonce[:]) + ` && cat ` + path, "tool"}, Collateral: s.dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c.Evidence(t.Context(), nonce)
}

func (s *setup) marshal(t *testing.T) []byte {
	t.Helper()
	b, err := json.Marshal(s.json)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEvidence(t *testing.T) {
	s := newSetup(t)
	for name, printed := range map[string][]byte{"json": s.marshal(t), "piece": s.want} {
		got, err := s.collect(t, printed)
		if err != nil || !bytes.Equal(got, s.want) {
			t.Errorf("%s: %d bytes, want %d: %v", name, len(got), len(s.want), err)
		}
	}
}

// TestMissingAnswers: an OCSP response that is not there is left out, for the
// verifier to refuse.
func TestMissingAnswers(t *testing.T) {
	s := newSetup(t)
	if err := os.RemoveAll(filepath.Join(s.dir, "ocsp")); err != nil {
		t.Fatal(err)
	}
	b, err := s.collect(t, s.marshal(t))
	if err != nil {
		t.Fatal(err)
	}
	e, err := nvidia.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range e.Certificates {
		if len(c.OCSP) != 0 {
			t.Errorf("certificate %d has a response from nowhere", i)
		}
	}
}

func TestRefusals(t *testing.T) {
	if _, err := gpu.New(gpu.Config{}); err == nil {
		t.Error("no tool is a tool")
	}
	device := func(s *setup) map[string]any { return s.json["devices"].([]any)[0].(map[string]any) }
	for name, c := range map[string]struct {
		spoil func(*setup)
		says  string
	}{
		"another nonce":      {func(s *setup) { device(s)["report"] = make([]byte, 100) }, "another nonce"},
		"short report":       {func(s *setup) { device(s)["report"] = make([]byte, 35) }, "another nonce"},
		"unknown arch":       {func(s *setup) { s.json["arch"] = "AMPERE" }, "malformed"},
		"unknown kind":       {func(s *setup) { device(s)["kind"] = "cpu" }, "malformed"},
		"unknown field":      {func(s *setup) { device(s)["result"] = "success" }, "unknown field"},
		"no devices":         {func(s *setup) { s.json["devices"] = nil }, "malformed"},
		"manifest not there": {func(s *setup) { device(s)["driver_rim"] = "RIM_77" }, "no such file"},
		"manifest elsewhere": {func(s *setup) { device(s)["driver_rim"] = "../answer" }, "not a name"},
		"manifest hidden":    {func(s *setup) { device(s)["driver_rim"] = ".." }, "not a name"},
		"empty chain":        {func(s *setup) { device(s)["chain"] = nil }, "malformed"},
		"a token too many": {func(s *setup) {
			token := s.json["tokens"].([]any)[0].(map[string]any)
			token["devices"] = []string{"a", "b", "c"}
		}, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t)
			c.spoil(s)
			if _, err := s.collect(t, s.marshal(t)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an error with %q", err, c.says)
			}
		})
	}
	t.Run("two documents", func(t *testing.T) {
		s := newSetup(t)
		if _, err := s.collect(t, append(s.marshal(t), "{}"...)); err == nil || !strings.Contains(err.Error(), "more than one") {
			t.Errorf("%v", err)
		}
	})
}
