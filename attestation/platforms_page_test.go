// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// TestPlatformsPage: docs/platforms.md lists exactly the roots that are built in,
// with their fingerprints and dates, and the floors that profiles have.
func TestPlatformsPage(t *testing.T) {
	b, err := os.ReadFile("../docs/platforms.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	listed := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| \\w+ \\| [^|]+ \\| [^|]+ \\| (\\d{4}-\\d\\d-\\d\\d) \\| `([0-9a-f]{64})` \\|$").FindAllStringSubmatch(page, -1) {
		if listed[m[2]] != "" {
			t.Errorf("%s is listed twice", m[2])
		}
		listed[m[2]] = m[1]
	}
	built := attestation.VendorRoots()
	var all []*x509.Certificate
	for _, product := range []string{"Milan", "Genoa", "Turin"} {
		l, ok := built.Line(product)
		if !ok {
			t.Fatalf("no roots of %s", product)
		}
		all = append(all, l.ARK, l.ASK, l.ASVK)
	}
	for _, v := range []roots.Vendor{roots.Intel, roots.NVIDIA, roots.AWS, roots.Google, roots.Microsoft, roots.TPM} {
		all = append(all, built.Of(v)...)
	}
	for _, c := range all {
		sum := sha256.Sum256(c.Raw)
		id := hex.EncodeToString(sum[:])
		if want := c.NotAfter.UTC().Format(time.DateOnly); listed[id] != want {
			t.Errorf("%q, valid to %s, %s: the page says %q", c.Subject.String(), want, id, listed[id])
		}
		delete(listed, id)
	}
	for id := range listed {
		t.Errorf("%s is on the page and not built in", id)
	}
	p, err := attestation.Profile("strict")
	if err != nil {
		t.Fatal(err)
	}
	f := p.SNP.Floors["Genoa"]
	for _, want := range []string{
		fmt.Sprintf("**The built-in floor for Genoa** is boot loader %d, TEE %d, SNP %d, microcode %d.", f.Bootloader, f.TEE, f.SNP, f.Microcode),
		fmt.Sprintf("The built-in floor is %d;", p.TDX.MinEvaluationNumber),
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say: %s", want)
		}
	}
	for _, p := range attestation.Platforms() {
		if !strings.Contains(page, "\n| `"+string(p)+"` |") || !regexp.MustCompile("(?m)^### .*`"+string(p)+"`").MatchString(page) {
			t.Errorf("the page has no row, or no section, about %s", p)
		}
	}
}
