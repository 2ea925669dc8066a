// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/release/build"
	rt "github.com/sotto-project/sotto/transparency/release/releasetest"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"sotto-release": main}) }

// TestScript runs the program as people do, beside a SIMULATED log. In each
// folder: publisher.yaml and reviewer.yaml, trust.json (no reviewers asked for)
// and strict.json (one reviewer, ten days of age, no emergency).
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
