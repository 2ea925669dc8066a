// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/release/build"
	"github.com/sotto-project/sotto/transparency/release/measure"
	rt "github.com/sotto-project/sotto/transparency/release/releasetest"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"sotto-release": main}) }

// machine is a SIMULATED machine: firmware, a unified kernel image, and what is
// expected of it but for the launch measurement.
func machine() map[string][]byte {
	i := attestationtest.ImageOn(attestation.SNP)
	i.Name, i.Measurement = "lab", attestation.Measurement{}
	uki := rt.UKI(i.CommandLines[0])
	u, err := measure.Image(uki)
	if err != nil {
		panic(err)
	}
	i.PCRs[4], i.PCRs[11] = u.PCR4, u.PCR11
	b, err := json.Marshal([]attestation.Image{i})
	if err != nil {
		panic(err)
	}
	return map[string][]byte{"OVMF.fd": rt.Firmware(2), "other.fd": rt.Firmware(3), "node.efi": uki, "node.json": b}
}

// TestScript runs the program as people do, beside a SIMULATED log. In each
// folder: publisher.yaml and reviewer.yaml, trust.json (no reviewers asked for)
// and strict.json (one reviewer, ten days of age, no emergency), and a machine.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		w := rt.New(time.Now().Add(-time.Hour))
		server := httptest.NewServer(w.Handler(time.Now))
		e.Defer(server.Close)
		trust := release.Trust{TrustedRoot: w.TrustedRoot(), Repository: rt.Repository, Policy: release.Policy{WithoutAge: true, WithoutReviewers: true}}
		strict := release.Policy{MinAge: attestation.Duration(240 * time.Hour), K: 1, MaxAgeEndorsement: attestation.Duration(time.Hour)}
		for _, who := range []string{"publisher", "reviewer"} {
			private, public, err := build.NewKey()
			if err != nil {
				return err
			}
			key := filepath.Join(e.WorkDir, who+".pem")
			config := fmt.Sprintf("repository: %s\nplatforms: [linux/amd64]\nbuilder: https://builder.simulated.example\nlog_url: %s\ntimestamp_url: %s/api/v1/timestamp\nkey_file: %s\ntrust_file: trust.json\n",
				rt.Repository, server.URL, server.URL, key)
			if err := os.WriteFile(key, private, 0o600); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(e.WorkDir, who+".yaml"), []byte(config), 0o600); err != nil {
				return err
			}
			s := release.Signer{Name: who, PublicKey: public}
			if who == "publisher" {
				trust.Publisher = s
			} else {
				trust.Revokers, strict.Reviewers = []release.Signer{s}, []release.Signer{s}
			}
		}
		for name, b := range machine() {
			if err := os.WriteFile(filepath.Join(e.WorkDir, name), b, 0o600); err != nil {
				return err
			}
		}
		for name, p := range map[string]release.Policy{"trust.json": trust.Policy, "strict.json": strict} {
			trust := trust
			trust.Policy = p
			b, err := json.Marshal(trust)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(e.WorkDir, name), b, 0o600); err != nil {
				return err
			}
		}
		for _, name := range []string{"HOME", "GOCACHE", "GOPATH", "GOMODCACHE"} { // of the tests' own build
			if v, ok := os.LookupEnv(name); ok || name == "HOME" {
				e.Setenv(name, v)
			}
		}
		e.Setenv("HOME", e.WorkDir)
		cache, err := os.UserCacheDir()
		if err == nil && os.Getenv("GOCACHE") == "" {
			e.Setenv("GOCACHE", filepath.Join(cache, "go-build"))
		}
		return nil
	}})
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {errors.New("x"), 1}, {usageError{errors.New("x")}, 2},
		{transparency.Refuse(release.CodeAbsent, "x"), 10}, {transparency.Refuse(release.CodeAge, "x"), 10},
		{fmt.Errorf("x: %w", transparency.Refuse(release.CodeRevoked, "x")), 10}, {remote("https://x"), 10}, {errDiffers, 10},
		{fmt.Errorf("%w: x", build.ErrUnsupported), 20}, {errPartial, 20}, {fmt.Errorf("%w: x", measure.ErrUnsupported), 20}, {transparency.Refuse("bundle.version", "x"), 20},
		{transparency.Refuse(release.CodeFormat, "x"), 30}, {transparency.Refuse(release.CodeTrust, "x"), 30}, {fmt.Errorf("%w: x", build.ErrMalformed), 30},
		{fmt.Errorf("x: %w", &measure.FirmwareError{}), 30}, {errNotDerived, 10}, {errPartlyDerived, 20},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}
