// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
)

func parse(t *testing.T, text string) (*attestation.Policy, error) {
	t.Helper()
	return attestation.ParsePolicy([]byte(text))
}

func TestProfileFillsWhatAFileLeavesOut(t *testing.T) {
	p, err := parse(t, `{"profile": "strict", "max_epoch_age": "2h", "snp": {"floors": {"Genoa": {"bootloader": 11, "tee": 0, "snp": 28, "microcode": 90}}}}`)
	if err != nil {
		t.Fatal(err)
	}
	strict, err := attestation.Profile("strict")
	if err != nil {
		t.Fatal(err)
	}
	if time.Duration(p.MaxEpochAge) != 2*time.Hour || p.MaxFreshAge != strict.MaxFreshAge || p.SNP.Floors["Genoa"].Microcode != 90 ||
		!reflect.DeepEqual(p.Platforms, strict.Platforms) {
		t.Errorf("%+v", p)
	}
	if p.Digest() == strict.Digest() || p.Digest() == [32]byte{} {
		t.Error("two policies, one digest")
	}
}

// TestLocalPolicyOnlyTightens is AT-44's other half: not even the user's own
// file leaves a profile that it names.
func TestLocalPolicyOnlyTightens(t *testing.T) {
	for _, text := range []string{
		`"platforms": ["snp", "tpm"]`,
		`"allow_no_gpu": true`, `"allow_no_ima": true`, `"allow_secure_boot_off": true`, `"without_freshness": true`,
		`"max_epoch_age": "4h"`, `"max_fresh_age": "11m"`, `"max_skew": "2m"`,
		`"snp": {"products": ["Genoa", "Milan"]}`,
		`"snp": {"floors": {"Genoa": {"bootloader": 9, "tee": 0, "snp": 27, "microcode": 86}}}`,
		`"snp": {"floor_grace": {"Genoa": {"floor": {"bootloader": 1, "tee": 0, "snp": 1, "microcode": 1}, "until": "2027-01-01"}}}`,
		`"snp": {"vmpl": 2}`, `"snp": {"vleks": ["AWS"]}`, `"snp": {"crl_grace": "48h"}`,
		`"tdx": {"min_evaluation_number": 1}`,
		`"tdx": {"status_grace": [{"status": "OutOfDate", "until": "2027-01-01", "reason": "none"}]}`,
		`"tdx": {"collateral_grace": "48h"}`, `"tdx": {"allow_any_chip": true}`, `"tdx": {"allow_ve": true}`,
		`"tpm": {"allow_no_crl": true}`, `"gpu": {"ocsp_grace": "240h"}`, `"nitro": {"max_age": "240h"}`,
	} {
		if _, err := parse(t, `{"profile": "strict", `+text+`}`); err == nil || !strings.Contains(err.Error(), "looser than the profile") {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		`"platforms": ["snp"]`, `"max_epoch_age": "1h"`, `"snp": {"products": []}`, `"snp": {"crl_grace": "1h"}`,
		`"tdx": {"min_evaluation_number": 99}`, `"images": []`, `"gpu": {"count": 8}`,
	} {
		if _, err := parse(t, `{"profile": "strict", `+text+`}`); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestEveryAllowLoosens holds the list of comparisons and the struct together:
// a field that allows something is in it, or this fails.
func TestEveryAllowLoosens(t *testing.T) {
	walk(reflect.TypeFor[attestation.Policy](), "", func(path string) {
		parts, text := strings.Split(path, "."), "true"
		for i := len(parts) - 1; i >= 0; i-- {
			text = fmt.Sprintf(`{%q: %s}`, parts[i], text)
		}
		text = `{"profile": "strict", ` + text[1:]
		if _, err := parse(t, text); err == nil || !strings.Contains(err.Error(), "looser") {
			t.Errorf("%s: %v", text, err)
		}
	})
}

// walk calls f with the JSON path of every field that begins with allow_.
func walk(typ reflect.Type, prefix string, f func(string)) {
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		switch {
		case strings.HasPrefix(name, "allow_"):
			f(prefix + name)
		case typ.Field(i).Type.Kind() == reflect.Struct && name != "-":
			walk(typ.Field(i).Type, prefix+name+".", f)
		}
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	for _, text := range []string{
		``, `[]`, `{"profile": "lax"}`, `{"platform": ["snp"]}`, `{} {}`, `{}]`, `{"profile": 1}`,
		`{"max_epoch_age": "-1h"}`, `{"max_epoch_age": 3}`, `{"tdx": {"status_grace": [{"until": "soon"}]}}`,
		`{"images": [{"measurement": "00"}]}`, `{"revoked_images": ["zz"]}`,
	} {
		if p, err := parse(t, text); err == nil {
			t.Errorf("%s: %+v", text, p)
		}
	}
}

// TestProfilesRefuseUntilCompleted: a profile names no image, and without roots
// trusts no vendor.
func TestProfilesRefuseUntilCompleted(t *testing.T) {
	f := newFixture(t, nil).make()
	for _, name := range attestation.Profiles() {
		p, err := attestation.Profile(name)
		if err != nil {
			t.Fatal(err)
		}
		f.policy = p
		_, err = f.verify()
		refused(t, err, "att.policy")
		p.Roots = f.root.Roots()
		_, err = f.verify()
		refused(t, err, "att.policy")
	}
}
