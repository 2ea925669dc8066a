// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package nitro collects the attestation document of an EC2 instance with a
// NitroTPM, by AWS's tool nitro-tpm-attest. It runs in the node and judges
// nothing. Not run on hardware; tests use a script in the tool's place.
package nitro

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/sotto-project/sotto/attestation/collect/command"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// Config says how to run the tool.
type Config struct {
	// Command is the tool with its first arguments; nitro-tpm-attest if empty.
	// It gets "--user-data FILE" and prints the document.
	Command []string `yaml:"command"`
}

// maxDocument is the cap of the evidence on a document, in bytes.
const maxDocument = 32 << 10

// A Reporter implements collect.Reporter.
type Reporter struct{ argv []string }

// New returns a reporter that has run nothing yet.
func New(cfg Config) *Reporter {
	if len(cfg.Command) == 0 {
		cfg.Command = []string{"nitro-tpm-attest"}
	}
	return &Reporter{slices.Clone(cfg.Command)}
}

// Report gets a document whose user data are data.
func (r *Reporter) Report(ctx context.Context, data [64]byte) ([]evidence.Piece, error) {
	// The tool takes a file. The data are a hash, and public.
	f, err := os.CreateTemp("", "sotto-nitro-*")
	if err != nil {
		return nil, fmt.Errorf("nitro: %v", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data[:])
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("nitro: %v", err)
	}
	doc, err := command.Run(ctx, append(slices.Clone(r.argv), "--user-data", f.Name()), nil, maxDocument)
	if err != nil {
		return nil, fmt.Errorf("nitro: %w", err)
	}
	return []evidence.Piece{{Kind: evidence.KindNitroDoc, Data: doc}}, nil
}
