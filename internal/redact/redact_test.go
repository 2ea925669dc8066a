// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redact_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/internal/redact"
)

const canary = "canary-5f1d"

type outer struct {
	Name   string
	hidden redact.Secret
	Shown  redact.Secret
}

func TestSecretIsNotPrinted(t *testing.T) {
	s := redact.New([]byte(canary))
	o := outer{"n", s, s}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "s", s, "o", o, "p", &o)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "s", s, "o", o, "p", &o)
	out := logged.String()
	for _, v := range []any{s, &s, o, &o, []redact.Secret{s}, map[string]any{"k": s}, fmt.Errorf("bad: %v", s)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%08b"} {
			out += fmt.Sprintf(verb, v) + "\n"
		}
	}
	// The decimal form is what %d prints of a byte slice.
	for _, bad := range []string{canary, hex.EncodeToString([]byte(canary)), strings.ToUpper(hex.EncodeToString([]byte(canary))), "99 97 110 97"} {
		if strings.Contains(out, bad) {
			t.Errorf("output contains %q", bad)
		}
	}
	if !strings.Contains(out, "[redacted]") {
		t.Error("nothing was printed at all")
	}
	if string(s.Bytes()) != canary || o.hidden.Bytes() == nil {
		t.Error("the secret itself got lost")
	}
}

func TestSecretRefusesEncoders(t *testing.T) {
	s := redact.New([]byte(canary))
	if b, err := json.Marshal(outer{Shown: s}); err == nil {
		t.Errorf("json accepted a secret: %s", b)
	}
	if err := gob.NewEncoder(&bytes.Buffer{}).Encode(s); err == nil {
		t.Error("gob accepted a secret")
	}
}

func TestZeroSecretIsEmpty(t *testing.T) {
	if b := (redact.Secret{}).Bytes(); b != nil {
		t.Errorf("got %v", b)
	}
}
