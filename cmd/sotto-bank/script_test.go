// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sotto-project/sotto/internal/config"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"sotto-bank": main}) }

// TestScript runs the program as people do. $DEPLOY is the folder of examples.
func TestScript(t *testing.T) {
	deploy, err := filepath.Abs(filepath.Join("..", "..", "deploy"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: func(e *testscript.Env) error { e.Setenv("DEPLOY", deploy); return nil },
	})
}

func TestAdminExample(t *testing.T) {
	c, err := config.Load[adminConfig](filepath.Join("..", "..", "deploy", "bank-admin.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}
