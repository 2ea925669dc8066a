// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package files reads what a node's evidence takes from files, with a cap on
// each: collateral, which the operator fills in, and the logs that firmware and
// kernel show. Nothing read here is trusted: verifiers check all of it.
//
// Whoever replaces a collateral file writes a new one and renames it, so that no
// half of it is ever read. Files are read anew for each evidence.
package files

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/eventlog"
)

// Where Linux shows its logs.
const (
	EventLogPath = "/sys/kernel/security/tpm0/binary_bios_measurements"
	CCELPath     = "/sys/firmware/acpi/tables/data/CCEL"
	// IMALogPath is the list with SHA-256 template digests (Linux 6.15); older
	// kernels show only IMALogPathSHA1, which serves as well.
	IMALogPath     = "/sys/kernel/security/ima/binary_runtime_measurements_sha256"
	IMALogPathSHA1 = "/sys/kernel/security/ima/binary_runtime_measurements"
)

// Caps, in bytes.
const (
	maxCollateral = 1 << 20
	maxLog        = 1 << 20
	maxIMA        = 4 << 20
	maxChain      = 16 // certificates in a file
)

// Read returns a file of 1 to limit bytes. The kernel's files have no size
// before they are read.
func Read(path string, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("files: %w", err)
	case len(b) == 0:
		return nil, fmt.Errorf("files: %s is empty", path)
	case len(b) > limit:
		return nil, fmt.Errorf("files: %s has more than %d bytes", path, limit)
	}
	return b, nil
}

// Collateral returns a collateral file as it is.
func Collateral(path string) ([]byte, error) { return Read(path, maxCollateral) }

// DER returns what a collateral file holds, in DER or as one block of PEM of the
// given type ("CERTIFICATE", "X509 CRL").
func DER(path, kind string) ([]byte, error) {
	b, err := Collateral(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	switch {
	case block == nil:
		return b, nil
	case block.Type != kind:
		return nil, fmt.Errorf("files: %s holds a %s, want a %s", path, block.Type, kind)
	}
	return block.Bytes, nil
}

// Certificates returns the certificates of a collateral file in DER: one in DER,
// or any number in PEM, in the order of the file.
func Certificates(path string) ([][]byte, error) {
	b, err := Collateral(path)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(b); block == nil {
		if _, err := x509.ParseCertificate(b); err != nil {
			return nil, fmt.Errorf("files: %s: %v", path, err)
		}
		return [][]byte{b}, nil
	}
	var out [][]byte
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" || len(out) == maxChain {
			return nil, fmt.Errorf("files: %s holds something else than a few certificates", path)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fmt.Errorf("files: %s: %v", path, err)
		}
		out = append(out, block.Bytes)
	}
	return out, nil
}

// EventLog returns the firmware's log of this boot; an empty path is
// [EventLogPath].
func EventLog(path string) ([]byte, error) {
	if path == "" {
		path = EventLogPath
	}
	return Read(path, maxLog)
}

// CCEL returns the confidential computing event log, without the padding behind
// it; an empty path is [CCELPath].
func CCEL(path string) ([]byte, error) {
	if path == "" {
		path = CCELPath
	}
	b, err := Read(path, maxLog)
	if err != nil {
		return nil, err
	}
	return eventlog.TrimCC(b), nil
}

// IMALog returns a reader of the kernel's IMA log, for collect.Collector. An
// empty path is [IMALogPath], and [IMALogPathSHA1] where the kernel lacks that.
func IMALog(path string) func() ([]byte, error) {
	return func() ([]byte, error) {
		if path != "" {
			return Read(path, maxIMA)
		}
		b, err := Read(IMALogPath, maxIMA)
		if errors.Is(err, os.ErrNotExist) {
			return Read(IMALogPathSHA1, maxIMA)
		}
		return b, err
	}
}

// Names of the files of TDX collateral in its directory, in the order of the
// piece; see [TDX].
var tdxNames = []string{
	"tdx-tcb-info.json", "tdx-tcb-info-issuers.pem", "tdx-qe-identity.json", "tdx-qe-identity-issuers.pem",
	"tdx-pck.crl", "tdx-pck-crl-issuers.pem", "tdx-root.crl",
}

// TDX returns the TDX collateral in a directory: the seven answers of Intel's
// provisioning certification service, each in a file of its own
// (tdx-tcb-info.json, tdx-tcb-info-issuers.pem, tdx-qe-identity.json,
// tdx-qe-identity-issuers.pem, tdx-pck.crl, tdx-pck-crl-issuers.pem,
// tdx-root.crl). Lists may be DER or PEM; issuer chains are PEM, leaf first,
// without percent encoding.
func TDX(dir string) ([]byte, error) {
	var list evidence.List
	for _, name := range tdxNames {
		path, read := filepath.Join(dir, name), Collateral
		if filepath.Ext(name) == ".crl" {
			read = func(path string) ([]byte, error) { return DER(path, "X509 CRL") }
		}
		b, err := read(path)
		if err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list.Append(nil), nil
}
