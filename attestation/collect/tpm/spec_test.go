// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// TestSpecVectors computes what docs/spec/key-custody.md prints: a second
// implementation starts from that page.
func TestSpecVectors(t *testing.T) {
	page, err := os.ReadFile("../../../docs/spec/key-custody.md")
	if err != nil {
		t.Fatal(err)
	}
	set, err := sealSet([]int{13, 12, 11, 9, 7, 4, 2, 0})
	if err != nil {
		t.Fatal(err)
	}
	digest := pcrDigest(set, map[int][32]byte{})
	template := akTemplate()
	ak, err := template.Unique.ECC()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"digest":            "D          " + hex.EncodeToString(digest),
		"policy":            "authPolicy " + hex.EncodeToString(policyDigest(set, digest)),
		"unique":            "\n" + hex.EncodeToString(ak.X.Buffer) + "\n",
		"ak attributes":     attributes(akTemplate()),
		"parent attributes": attributes(parentTemplate(nil, nil)),
		"rek attributes":    attributes(sealTemplate(set, digest)),
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("%s: the page lacks %q", name, want)
		}
	}
	if got := tpm2.Marshal(selection(set)); !bytes.Equal(got, []byte{0, 0, 0, 1, 0, 0x0b, 3, 0x95, 0x3a, 0}) {
		t.Errorf("selection %x", got)
	}
}

// attributes prints the attribute word, which follows type and nameAlg.
func attributes(p tpm2.TPMTPublic) string {
	return fmt.Sprintf("(0x%08x)", binary.BigEndian.Uint32(tpm2.Marshal(p)[4:]))
}
