// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestationtest

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakeima"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// A Node is a SIMULATED node that booted the lab image on a [Chip] with a
// [SoftTPM]: evidence in milliseconds, without C. Lab nodes that serve prompts
// use a TPM simulator and attestation/collect instead.
type Node struct {
	TPM      *SoftTPM
	Machine  *Machine
	Chip     *Chip // the machine's, on SEV-SNP
	EventLog []byte
	Config   []byte
	IMA      []fakeima.Entry // what ran since boot; nil: no log
	GPU      *fakegpu.Spec   // nil: no GPU

	NodeKey ed25519.PrivateKey
	PQ      *mlkem.DecapsulationKey768 // the two halves of the REK
	EC      *ecdh.PrivateKey

	// Forget has the key statement not name the GPU evidence that is there.
	Forget bool
	// TamperGPU, if set, changes GPU evidence before the key statement names it.
	TamperGPU func([]byte) []byte
	// Tamper, if set, changes the key statement before anything is made over it.
	Tamper func(*evidence.KeyStatement)

	root *Root
	seen int // how many entries of IMA the epoch evidence had
}

// NodeSpec says how a node comes up. All fields are optional but the first two.
type NodeSpec struct {
	Name     string
	Config   []byte // measured configuration
	Events   []Event
	EventLog []byte // claimed, where it should differ from Events
	TamperAK func(*tpm2.TPMTPublic)
	Platform attestation.Platform // default: SEV-SNP, direct profile
	IMA      bool                 // keep a log of what ran
	GPU      *fakegpu.Spec        // nil: no GPU
}

// NewNode boots a node on a new chip of the root.
func NewNode(r *Root, s NodeSpec) (*Node, error) {
	n := &Node{Config: s.Config, GPU: s.GPU, root: r}
	if s.Platform == "" {
		s.Platform = attestation.SNP
	}
	var err error
	if s.Platform == attestation.AzureSNP || s.Platform == attestation.AzureTDX {
		n.TPM, err = newRSATPM()
	} else {
		n.TPM, err = NewSoftTPM(s.TamperAK)
	}
	if err != nil {
		return nil, err
	}
	if n.Machine, err = newMachine(r, s.Platform, s.Name, n.TPM); err != nil {
		return nil, err
	}
	n.Chip = n.Machine.Chip
	events := s.Events
	if events == nil {
		events = Events()
	}
	if n.EventLog, err = Play(context.Background(), n.TPM, events); err != nil {
		return nil, err
	}
	if s.EventLog != nil {
		n.EventLog = s.EventLog
	}
	if err = n.TPM.Extend(context.Background(), evidence.ConfigPCR, sha256.Sum256(n.Config)); err != nil {
		return nil, err
	}
	if s.IMA {
		registers := Registers(events)
		if err = n.Run(fakeima.Node([10][32]byte(registers[:10]))...); err != nil {
			return nil, err
		}
	}
	return n, n.Rekey()
}

// Run has the node's kernel measure what it is about to run.
func (n *Node) Run(entries ...fakeima.Entry) error {
	if _, err := fakeima.Play(context.Background(), n.TPM, entries); err != nil {
		return err
	}
	n.IMA = append(n.IMA, entries...)
	return nil
}

// Rekey draws new keys.
func (n *Node) Rekey() error {
	var err error
	if _, n.NodeKey, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return err
	}
	if n.PQ, err = mlkem.GenerateKey768(); err != nil {
		return err
	}
	n.EC, err = ecdh.P256().GenerateKey(rand.Reader)
	return err
}

// ID returns the node's identifier.
func (n *Node) ID() [32]byte { return evidence.NodeID(n.TPM.Name()) }

// REK returns the node's request encryption key.
func (n *Node) REK() []byte {
	return append(n.PQ.EncapsulationKey().Bytes(), n.EC.PublicKey().Bytes()...)
}

// Public returns the public half of the node key.
func (n *Node) Public() ed25519.PublicKey { return n.NodeKey.Public().(ed25519.PublicKey) }

// Epoch makes epoch evidence over the hash of a checkpoint note.
func (n *Node) Epoch(epoch uint64, checkpoint [32]byte) (*evidence.Bundle, error) {
	s := evidence.KeyStatement{Epoch: epoch, NodeID: n.ID(), REK: [evidence.REKSize]byte(n.REK()), NodeKey: [32]byte(n.Public()),
		ConfigHash: sha256.Sum256(n.Config), LogHash: evidence.LogHash(n.EventLog, n.ccel()), Checkpoint: checkpoint}
	if n.Tamper != nil {
		n.Tamper(&s)
	}
	var optional []evidence.Piece
	if n.IMA != nil {
		optional = append(optional, evidence.Piece{Kind: evidence.KindIMALog, Data: fakeima.Log(n.IMA)})
		n.seen = len(n.IMA)
	}
	if n.GPU != nil {
		gpu, err := n.root.gpu.Evidence(evidence.GPUNonce(s.Append(nil)), *n.GPU)
		if err != nil {
			return nil, err
		}
		if n.TamperGPU != nil {
			gpu = n.TamperGPU(gpu)
		}
		if !n.Forget {
			s.GPUDigest = sha256.Sum256(gpu)
		}
		optional = append(optional, evidence.Piece{Kind: evidence.KindGPU, Data: gpu})
	}
	statement := s.Append(nil)
	outside := evidence.CreationQualifier(statement)
	creation, err := n.TPM.CertifyREK(n.EC.PublicKey(), evidence.SealPCRs(), outside[:])
	if err != nil {
		return nil, err
	}
	qualifier := evidence.EpochQualifier(statement, s.GPUDigest)
	quote, err := n.TPM.Quote(qualifier[:], evidence.QuotePCRs())
	if err != nil {
		return nil, err
	}
	n.Machine.Chip = n.Chip // tests give a node another one
	hardware, err := n.Machine.Report(context.Background(), evidence.ReportData(n.TPM.Public(), qualifier))
	if err != nil {
		return nil, err
	}
	pieces := append([]evidence.Piece{
		{Kind: evidence.KindKeyStatement, Data: statement},
		{Kind: evidence.KindConfig, Data: n.Config},
		{Kind: evidence.KindEventLog, Data: n.EventLog},
		{Kind: evidence.KindAKPublic, Data: n.TPM.Public()},
		{Kind: evidence.KindQuote, Data: quote.Attest},
		{Kind: evidence.KindQuoteSig, Data: quote.Signature},
		{Kind: evidence.KindPCRs, Data: evidence.PCRs(quote.PCRs).Append(nil)},
		{Kind: evidence.KindREKPublic, Data: creation.Public},
		{Kind: evidence.KindREKParent, Data: creation.ParentPublic},
		{Kind: evidence.KindCreationData, Data: creation.CreationData},
		{Kind: evidence.KindCreation, Data: creation.Attest},
		{Kind: evidence.KindCreationSig, Data: creation.Signature},
	}, append(hardware, optional...)...)
	return &evidence.Bundle{Pieces: pieces}, nil
}

// ccel is the TD's own event log, on platforms that have one.
func (n *Node) ccel() []byte {
	if p := n.Machine.Platform; p != attestation.TDX && p != attestation.GoogleTDX {
		return nil
	}
	return CCLog(CCEvents())
}

// Freshness makes freshness evidence over the hash of a checkpoint note.
func (n *Node) Freshness(epochDigest, checkpoint [32]byte) (*evidence.Bundle, error) {
	return n.quote(evidence.FreshQualifier(epochDigest, checkpoint))
}

// Challenge makes freshness evidence over a caller's challenge.
func (n *Node) Challenge(epochDigest, challenge [32]byte) (*evidence.Bundle, error) {
	return n.quote(evidence.ChallengeQualifier(epochDigest, challenge))
}

func (n *Node) quote(qualifier [32]byte) (*evidence.Bundle, error) {
	quote, err := n.TPM.Quote(qualifier[:], evidence.QuotePCRs())
	if err != nil {
		return nil, err
	}
	b := &evidence.Bundle{Pieces: []evidence.Piece{
		{Kind: evidence.KindFreshQuote, Data: quote.Attest},
		{Kind: evidence.KindFreshQuoteSig, Data: quote.Signature},
		{Kind: evidence.KindFreshPCRs, Data: evidence.PCRs(quote.PCRs).Append(nil)},
	}}
	if len(n.IMA) > n.seen {
		b.Pieces = append(b.Pieces, evidence.Piece{Kind: evidence.KindFreshIMALog, Data: fakeima.Log(n.IMA[n.seen:])})
	}
	return b, nil
}

// References returns what a log that listed this node would say of it. The
// evidence digest is that of epoch.
func (n *Node) References(epoch *evidence.Bundle, number uint64, early, late attestation.Checkpoint) attestation.References {
	c, err := evidence.ParseConfig(n.Config)
	if err != nil {
		c = new(evidence.Config)
	}
	payment, _ := c.PaymentMode()
	ticket, _ := hex.DecodeString(strings.Fields(c.Settings[evidence.SettingTicketKeys] + " -")[0])
	return attestation.References{
		Epoch: number, EvidenceDigest: epoch.Digest(), NodeID: n.ID(), REK: n.REK(), NodeKey: n.Public(),
		EpochCheckpoint: early, FreshCheckpoint: late, Model: c.Model, WeightsDigest: c.WeightsDigest(), Payment: payment, TicketKey: ticket,
	}
}
