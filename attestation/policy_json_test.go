// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
)

// TestPolicyHasOneReading is AT-65's part about policies: what two parsers of
// JSON might read differently is refused as a file. encoding/json by itself takes
// the last of two members, takes members whose case differs, and fills what a new
// element of a list leaves out from the old one.
func TestPolicyHasOneReading(t *testing.T) {
	t.Run("AT-65", func(t *testing.T) {
		for name, text := range map[string]string{
			"member twice":                `{"max_epoch_age": "1h", "max_epoch_age": "2h"}`,
			"profile twice":               `{"profile": "strict", "profile": "lab"}`,
			"profile in another case":     `{"Profile": "lab", "platforms": ["snp"]}`,
			"member in another case":      `{"profile": "strict", "Max_Epoch_Age": "1h"}`,
			"long s for s":                "{\"platform\u017f\": [\"snp\"]}",
			"inner member twice":          `{"snp": {"vmpl": 1, "vmpl": 0}}`,
			"object twice":                `{"snp": {"vmpl": 0}, "snp": {"allow_smt": true}}`,
			"images twice":                `{"images": [{"name": "a", "cpu_only": true}], "images": [{"name": "b"}]}`,
			"key of a map twice":          `{"snp": {"floors": {"Genoa": {"snp": 99}, "Genoa": {"snp": 1}}}}`,
			"register in two spellings":   `{"images": [{"rtmrs": {"1": "` + strings.Repeat("00", 48) + `", "01": "` + strings.Repeat("11", 48) + `"}}]}`,
			"register with a sign":        `{"images": [{"pcrs": {"+4": "` + strings.Repeat("00", 32) + `"}}]}`,
			"null for a list":             `{"profile": "strict", "platforms": null}`,
			"null in a list":              `{"profile": "strict", "platforms": [null]}`,
			"null for an age":             `{"profile": "strict", "max_epoch_age": null}`,
			"not UTF-8":                   "{\"images\": [{\"name\": \"\xff\"}]}",
			"member twice in a key set":   `{"gpu": {"token_keys": {"keys": [], "keys": []}}}`,
			"the same in another case":    `{"gpu": {"token_keys": {"keys": [], "KEYS": []}}}`,
			"unknown member of an image":  `{"images": [{"name": "a", "measurment": ""}]}`,
			"unknown member of a grace":   `{"tdx": {"status_grace": [{"state": "OutOfDate"}]}}`,
			"member of no object":         `{"snp": {"": 1}}`,
			"nested deeper than anything": `{"gpu": {"token_keys": ` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}}`,
		} {
			if _, err := parse(t, text); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
	})
	t.Run("a list replaces the profile's", func(t *testing.T) {
		p, err := parse(t, `{"profile": "business", "tdx": {"status_grace": [{"status": "OutOfDate", "reason": "none"}]}}`)
		if err != nil {
			t.Fatal(err)
		}
		if g := p.TDX.StatusGrace; len(g) != 1 || !time.Time(g[0].Until).IsZero() {
			t.Errorf("a grace without a date took the profile's: %+v", g)
		}
	})
	t.Run("files", func(t *testing.T) {
		text := `{"profile": "self-hosted", "images": [{"name": "a", "platform": "tpm", "pcrs": {"4": "` + strings.Repeat("01", 32) + `"},
			"command_lines": ["quiet"], "ima": {"files": {"/A": [], "/a": []}}}], "gpu": {"token_keys": {"keys": [{"kid": "x", "x5t#S256": "y"}]}}}`
		p, err := parse(t, text)
		if err != nil {
			t.Fatal(err)
		}
		if files := p.Images[0].IMA.Files; len(files) != 2 || !reflect.DeepEqual(p.Images[0].CommandLines, []string{"quiet"}) {
			t.Errorf("%+v", p.Images)
		}
	})
}

// TestProfilesProveSoftware: a profile whose platforms all prove what runs is
// looser with an image that does not.
func TestProfilesProveSoftware(t *testing.T) {
	const image = `"images": [{"name": "a", "platform": "snp", "tpm_outside": true}]`
	for profile, want := range map[string]bool{"strict": false, "business": false, "self-hosted": true, "lab": true, "": true} {
		text := `{"profile": "` + profile + `", ` + image + `}`
		if _, err := parse(t, text); (err == nil) != want {
			t.Errorf("%s: %v", profile, err)
		}
	}
}

// TestImagesStateNothingThatIsNotCompared: a value in an image that no check ever
// looks at is a mistake, and one that lets machines in.
func TestImagesStateNothingThatIsNotCompared(t *testing.T) {
	for name, change := range map[string]func(*attestation.Image){
		"register that no quote covers":     func(i *attestation.Image) { i.PCRs[8] = attestation.Digest{} },
		"register that does not exist":      func(i *attestation.Image) { i.PCRs[-1] = attestation.Digest{} },
		"RTMR on a platform without":        func(i *attestation.Image) { i.RTMRs = map[int]attestation.Measurement{0: {}} },
		"ACPI tables on a platform without": func(i *attestation.Image) { i.ACPI = []attestation.Measurement{{1}} },
		"events of RTMR 2 on one without":   func(i *attestation.Image) { i.RTMR2Events = []attestation.Measurement{{1}} },
		"registers of a document it lacks":  func(i *attestation.Image) { i.NitroPCRs = map[int]attestation.Measurement{8: {}} },
	} {
		f := newFixture(t, nil)
		change(&f.policy.Images[0])
		f.make()
		_, err := f.verify()
		t.Run(name, func(t *testing.T) { refused(t, err, "att.policy") })
	}
	for name, change := range map[string]func(*attestation.Image){
		"RTMR 3":                       func(i *attestation.Image) { i.RTMRs[3] = attestation.Measurement{1} },
		"RTMR that does not exist":     func(i *attestation.Image) { i.RTMRs[4] = attestation.Measurement{} },
		"vTPM outside of a TD's RTMRs": func(i *attestation.Image) { i.TPMOutside = true },
	} {
		f := onPlatform(t, attestation.TDX, nil)
		change(&f.policy.Images[0])
		f.make()
		_, err := f.verify()
		t.Run(name, func(t *testing.T) { refused(t, err, "att.policy") })
	}
}

// TestPoliciesThatAreCompleteReadBack: what a program prints of a policy that
// lets anything in, a person can put into a file.
func TestPoliciesThatAreCompleteReadBack(t *testing.T) {
	for _, platform := range attestation.Platforms() {
		p := attestationtest.PolicyOn(testRoot(), platform)
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := attestation.ParsePolicy(text)
		if err != nil || again.Digest() != p.Digest() {
			t.Errorf("%s: %v", platform, err)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(`{"profile": "business", "tdx": {"status_grace": [{"status": "OutOfDate", "until": "2027-01-01", "reason": "none"}]}}`))
	f.Add([]byte(`{"images": [{"pcrs": {"4": "00"}}], "gpu": {"token_keys": {"keys": [1, "a", {}]}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := attestation.ParsePolicy(b)
		if err != nil {
			return
		}
		again, err := attestation.ParsePolicy(b)
		if err != nil || again.Digest() != p.Digest() || p.Digest() == [32]byte{} {
			t.Errorf("%q reads in two ways: %v", b, err)
		}
	})
}
