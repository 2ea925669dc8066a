// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func TestSaltVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/salts.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Fresh []struct {
			Random, Salt string
			HeaderHash   string `json:"header_hash"`
		}
		Conversation []struct{ Secret, Salt string }
	}
	if err := json.Unmarshal(b, &v); err != nil || len(v.Fresh) == 0 || len(v.Conversation) == 0 {
		t.Fatalf("%d vectors, %v", len(v.Fresh)+len(v.Conversation), err)
	}
	for _, f := range v.Fresh {
		r, err1 := hex.DecodeString(f.Random)
		h, err2 := hex.DecodeString(f.HeaderHash)
		if err1 != nil || err2 != nil || FreshSalt([32]byte(r), [32]byte(h)) != f.Salt {
			t.Errorf("%+v", f)
		}
	}
	for _, c := range v.Conversation {
		if ConversationSalt([]byte(c.Secret)) != c.Salt {
			t.Errorf("%+v", c)
		}
	}
}

// TestSpecNamesEveryRule: a second implementation builds its tables from the
// page, so every name and code in ours must be on it.
func TestSpecNamesEveryRule(t *testing.T) {
	b, err := os.ReadFile("../../../docs/spec/node.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, table := range []map[string]bool{mediaNames, partNames, templateNames} {
		for name := range table {
			if !strings.Contains(page, "`"+name+"`") {
				t.Errorf("%s is not in the spec", name)
			}
		}
	}
	for _, table := range []map[string]rule{known, keywords} {
		for name := range table {
			if !strings.Contains(page, "`"+name+"`") {
				t.Errorf("%s is not in the spec", name)
			}
		}
	}
	for _, c := range []Code{Syntax, UTF8, Duplicate, Depth, Size, Number, Refused, URL, Range, Schema, Model} {
		if !strings.Contains(page, "`"+string(c)+"`") {
			t.Errorf("%s is not in the spec", c)
		}
	}
}
