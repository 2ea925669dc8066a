// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A Listing is one node as it will stand in a statement.
type Listing struct {
	Record   *statement.Record
	Model    string
	Evidence []byte // epoch evidence, as the node sent it
}

// An Epoch is the frame of a statement.
type Epoch struct {
	Number              uint64
	NotBefore, NotAfter time.Time
	Beacon              [32]byte
	Checkpoint          []byte // note of an earlier epoch that the evidence quotes
}

// Compose makes the statement and the pack of an epoch from the configuration
// and the nodes to list. It judges nobody. What the policy says of platforms
// and chips becomes the statement's floors and enrolled chips; it may be nil.
// Nodes with one id keep the first. The files of releases are read anew; one that
// is missing, or is not the one named, makes no statement.
func (c Config) Compose(e Epoch, nodes []Listing, policy *attestation.Policy) (*statement.Statement, *statement.Pack, error) {
	c = c.withDefaults()
	models, err := c.models()
	if err != nil {
		return nil, nil, err
	}
	s := &statement.Statement{
		Epoch: e.Number, NotBefore: e.NotBefore, NotAfter: e.NotAfter, Beacon: e.Beacon,
		NextPublic: e.NotAfter.Add(-c.Lead), MintGeneration: c.MintGeneration, Models: models,
	}
	if s.NextPublic.Before(s.NotBefore) {
		s.NextPublic = s.NotBefore
	}
	if s.Payment, err = paymentMode(c.Payment); err != nil {
		return nil, nil, err
	}
	if s.GatewayKeys, err = c.gatewayKeys(); err != nil {
		return nil, nil, err
	}
	if s.TicketKey, err = c.ticketKey(); err != nil {
		return nil, nil, err
	}
	if s.CoinKeysets, err = c.keysets(); err != nil {
		return nil, nil, err
	}
	var releases [][]byte
	if s.Releases, releases, err = c.releases(); err != nil {
		return nil, nil, err
	}
	if policy != nil {
		s.TCBFloors, s.Chips = floors(policy), chips(policy)
	}
	pack := &statement.Pack{Epoch: e.Number, Checkpoint: e.Checkpoint}
	for _, file := range releases {
		pack.Add(file)
	}
	for _, n := range nodes {
		model := slices.IndexFunc(models, func(m statement.Model) bool { return m.Name == n.Model })
		if model < 0 {
			return nil, nil, fmt.Errorf("compose: model %q of node %x is not offered", n.Model, n.Record.NodeID[:8])
		}
		if slices.ContainsFunc(s.Nodes, func(m statement.Node) bool { return m.ID == n.Record.NodeID }) {
			continue
		}
		record, err := n.Record.Append(nil)
		if err != nil {
			return nil, nil, err
		}
		pack.AddCut(n.Evidence, attestation.Cuts(n.Evidence))
		s.Nodes = append(s.Nodes, statement.Node{ID: n.Record.NodeID, Model: uint16(model), Record: pack.AddCut(record, n.Record.Cuts())})
	}
	slices.SortFunc(s.Nodes, func(a, b statement.Node) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	if err := pack.Bounded(s); err != nil {
		return nil, nil, err // readers would refuse it
	}
	return s, pack, nil
}

// Empty makes the leaf of an outage.
func Empty(e Epoch) *statement.Statement {
	return &statement.Statement{Epoch: e.Number, NotBefore: e.NotBefore, NotAfter: e.NotAfter, NextPublic: e.NotAfter, Beacon: e.Beacon, Empty: true}
}

func (c *Config) ticketKey() ([]byte, error) {
	if c.TicketKey == "" {
		return nil, nil
	}
	return readSmall(c.TicketKey)
}

// floors prints what roster reads: each product's lowest TCB as bootloader, TEE,
// SNP, microcode and, on Turin, FMC; for TDX the lowest evaluation number.
func floors(p *attestation.Policy) []statement.TCBFloor {
	var out []statement.TCBFloor
	for _, product := range slices.Sorted(maps.Keys(p.SNP.Floors)) {
		f := p.SNP.Floors[product]
		floor := []byte{f.Bootloader, f.TEE, f.SNP, f.Microcode}
		if f.FMC > 0 {
			floor = append(floor, f.FMC)
		}
		out = append(out, statement.TCBFloor{Platform: "snp/" + product, Floor: floor})
	}
	if n := p.TDX.MinEvaluationNumber; n > 0 {
		out = append(out, statement.TCBFloor{Platform: "tdx", Floor: binary.BigEndian.AppendUint32(nil, uint32(n))})
	}
	return out
}

func chips(p *attestation.Policy) [][32]byte {
	var out [][32]byte
	for _, id := range slices.Concat(p.SNP.Chips, p.TDX.Chips) {
		out = append(out, sha256.Sum256(id[:]))
	}
	slices.SortFunc(out, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(out)
}
