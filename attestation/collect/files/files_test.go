// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package files_test

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/collect/files"
	"github.com/sotto-project/sotto/attestation/evidence"
)

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestReadBounds(t *testing.T) {
	for size, ok := range map[int]bool{0: false, 1: true, 100: true, 101: false} {
		b, err := files.Read(write(t, "f", make([]byte, size)), 100)
		if (err == nil) != ok || ok && len(b) != size {
			t.Errorf("%d bytes: %d, %v", size, len(b), err)
		}
	}
	if _, err := files.Read("/dev/zero", 1000); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("endless file: %v", err)
	}
}

func TestDERAndCertificates(t *testing.T) {
	root, err := attestationtest.GenerateRoot()
	if err != nil {
		t.Fatal(err)
	}
	a, b := root.Issuer().Raw, root.VLEKIssuer().Raw
	two := append(block("CERTIFICATE", a), block("CERTIFICATE", b)...)
	for name, c := range map[string]struct {
		content []byte
		want    [][]byte
	}{
		"der":           {a, [][]byte{a}},
		"pem":           {two, [][]byte{a, b}},
		"key":           {block("PRIVATE KEY", a), nil},
		"cut":           {block("CERTIFICATE", a[:100]), nil},
		"nothing of it": {[]byte("hello"), nil},
		"too many":      {bytes.Repeat(block("CERTIFICATE", a), 17), nil},
	} {
		got, err := files.Certificates(write(t, name, c.content))
		if (err == nil) != (c.want != nil) || len(got) != len(c.want) {
			t.Errorf("%s: %d, %v", name, len(got), err)
			continue
		}
		for i := range got {
			if !bytes.Equal(got[i], c.want[i]) {
				t.Errorf("%s: certificate %d differs", name, i)
			}
		}
	}
	for _, content := range [][]byte{a, block("X509 CRL", a)} {
		if got, err := files.DER(write(t, "crl", content), "X509 CRL"); err != nil || !bytes.Equal(got, a) {
			t.Errorf("%v", err)
		}
	}
	if _, err := files.DER(write(t, "crl", block("CERTIFICATE", a)), "X509 CRL"); err == nil {
		t.Error("took a certificate for a list")
	}
}

func TestTDX(t *testing.T) {
	dir := t.TempDir()
	names := []string{"tdx-tcb-info.json", "tdx-tcb-info-issuers.pem", "tdx-qe-identity.json", "tdx-qe-identity-issuers.pem",
		"tdx-pck.crl", "tdx-pck-crl-issuers.pem", "tdx-root.crl"}
	for i, name := range names {
		b := []byte{byte('a' + i)}
		if name == "tdx-root.crl" {
			b = block("X509 CRL", b)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := files.TDX(dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := evidence.ParseList(b)
	if err != nil || len(list) != 7 || string(bytes.Join(list, nil)) != "abcdefg" {
		t.Errorf("%q, %v", list, err)
	}
	for _, name := range names {
		kept, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := files.TDX(dir); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), kept, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLogs: what is not there is an error, since nobody may take its absence for
// an empty log.
func TestLogs(t *testing.T) {
	path := write(t, "log", []byte("log"))
	for name, read := range map[string]func(string) ([]byte, error){
		"event log": files.EventLog, "ccel": files.CCEL,
		"ima": func(p string) ([]byte, error) { return files.IMALog(p)() },
	} {
		if b, err := read(path); err != nil || string(b) != "log" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		if _, err := read(path + ".gone"); err == nil {
			t.Errorf("%s: read a file that is not there", name)
		}
	}
}
