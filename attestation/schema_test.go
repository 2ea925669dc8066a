// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
)

const policySchema = "../docs/spec/verify/policy.schema.json"

func validate(t *testing.T, schema string, document []byte) error {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(schema)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(document)))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// TestPolicySchema holds the published schema, the parser, the example in deploy
// and the lab's policy together.
func TestPolicySchema(t *testing.T) {
	example, err := os.ReadFile("../deploy/policy.json")
	if err != nil {
		t.Fatal(err)
	}
	lab, err := json.Marshal(attestationtest.Policy(testRoot()))
	if err != nil {
		t.Fatal(err)
	}
	documents := map[string][]byte{"deploy/policy.json": example, "the lab's": lab}
	for _, name := range attestation.Profiles() {
		p, err := attestation.Profile(name)
		if err != nil {
			t.Fatal(err)
		}
		p.Images = []attestation.Image{attestationtest.Image()}
		if documents[name], err = json.Marshal(p); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range documents {
		if err := validate(t, policySchema, b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := attestation.ParsePolicy(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, b := range []string{`{"platforms": ["sgx"]}`, `{"allow_everything": true}`, `{"snp": {"floors": {"Genoa": {}}}}`, `{"images": [{}]}`} {
		if err := validate(t, policySchema, []byte(b)); err == nil {
			t.Errorf("the schema takes %s", b)
		}
	}
}

// TestPolicySchemaIsComplete compares the members of the schema with the fields
// of the struct, both ways.
func TestPolicySchemaIsComplete(t *testing.T) {
	b, err := os.ReadFile(policySchema)
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(b, &schema); err != nil {
		t.Fatal(err)
	}
	compare(t, "policy", reflect.TypeFor[attestation.Policy](), schema)
}

func compare(t *testing.T, path string, typ reflect.Type, schema map[string]any) {
	t.Helper()
	for items, ok := schema["items"].(map[string]any); ok; items, ok = schema["items"].(map[string]any) {
		schema = items
	}
	properties, ok := schema["properties"].(map[string]any)
	if !ok {
		return
	}
	for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	seen := map[string]bool{}
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		seen[name] = true
		sub, ok := properties[name].(map[string]any)
		if !ok {
			t.Errorf("%s.%s is not in the schema", path, name)
			continue
		}
		compare(t, path+"."+name, typ.Field(i).Type, sub)
	}
	for name := range properties {
		if !seen[name] {
			t.Errorf("%s.%s is in the schema only", path, name)
		}
	}
}
