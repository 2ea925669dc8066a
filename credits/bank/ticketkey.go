// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bank

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"

	"github.com/sotto-project/sotto/internal/durable"
)

const ticketLabel = "sotto-ticket-key-v1:"

// CreateTicketKey draws a key that signs tickets, writes it to a new file that
// only its owner can read, and returns its public side, 32 bytes: what a
// publisher's ticket_key file holds and a node's measured configuration lists.
func CreateTicketKey(path string, random io.Reader) (ed25519.PublicKey, error) {
	public, key, err := ed25519.GenerateKey(random)
	if err != nil {
		return nil, fmt.Errorf("bank: ticket key: %v", err)
	}
	text := append(base64.StdEncoding.AppendEncode([]byte(ticketLabel), key.Seed()), '\n')
	return public, durable.CreateFile(path, text, 0o600)
}

// OpenTicketKey reads what [CreateTicketKey] wrote.
func OpenTicketKey(path string) (ed25519.PrivateKey, error) {
	b, err := readPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("bank: ticket key: %w", err)
	}
	text, ok := bytes.CutPrefix(bytes.TrimSuffix(b, []byte("\n")), []byte(ticketLabel))
	seed, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if !ok || err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("bank: ticket key: %s is no file of one", path)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}
