// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package tamper changes evidence that would be accepted into evidence that must
// not be, one way at a time, so that people can see what a failure looks like.
// It makes nothing that verifies: it has no keys.
//
// What an operator could do without help, it does too: where a mutation changes
// the evidence's digest, the references name the new digest, as a log would that
// lists the forgery.
package tamper

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// A Case is one verification: what [attestation.Verify] takes.
type Case struct {
	Evidence   attestation.Evidence
	Policy     *attestation.Policy
	References attestation.References
	Now        time.Time
}

// Verify is [attestation.Verify] of the case.
func (c Case) Verify() (*attestation.Result, error) {
	return attestation.Verify(c.Evidence, c.Policy, c.References, c.Now)
}

// A Mode is one way to tamper.
type Mode struct {
	Name  string
	What  string             // what is done, in words
	Codes []attestation.Code // with one of which it must be refused
	apply func(*Case) error
}

// Modes lists the modes in the order in which --help shows them. "log" is not
// among them: it concerns the proof that the statement is in the log, which is
// checked before any evidence is.
func Modes() []Mode {
	return []Mode{
		{"nonce", "the same evidence is shown again for another challenge: a replay", []attestation.Code{"att.nonce"}, nonce},
		{"pcr", "the value shown for PCR 4 is not the one that the TPM signed", []attestation.Code{"att.pcr.value"}, pcr},
		{"vcek", "one bit of the certificate that signed the hardware report is flipped",
			[]attestation.Code{"att.chain", "att.chip", "att.signature", "att.tcb.cert", "att.format", "att.revoked", "att.tdx.qe", "att.ak.cert", "att.simulated"}, vcek},
		{"ima", "one entry of the list of what ran names another file", []attestation.Code{"att.ima.format", "att.ima.replay"}, ima},
		{"gpu", "the GPU evidence is not the one that the keys were bound to", []attestation.Code{"att.gpu.binding"}, gpu},
		{"expiry", "the evidence is shown again a day later", []attestation.Code{"att.stale"}, expiry},
		{"rek", "the node record names a key that the evidence does not vouch for", []attestation.Code{"att.rek.name"}, rek},
		{"eventlog", "the text of an event is replaced, its digest is not", []attestation.Code{"att.log.replay", "att.log.digest", "att.log.format"}, eventLog},
	}
}

// Find returns the mode of that name.
func Find(name string) (Mode, bool) {
	modes := Modes()
	i := slices.IndexFunc(modes, func(m Mode) bool { return m.Name == name })
	if i < 0 {
		return Mode{}, false
	}
	return modes[i], true
}

// Apply returns a tampered copy; c is not changed. It fails where the evidence
// has nothing that the mode could change.
func (m Mode) Apply(c Case) (Case, error) {
	out := c
	out.Evidence = attestation.Evidence{Epoch: clone(c.Evidence.Epoch), Freshness: clone(c.Evidence.Freshness)}
	policy := *c.Policy
	out.Policy = &policy
	out.References.REK = bytes.Clone(c.References.REK)
	return out, m.apply(&out)
}

func clone(b *evidence.Bundle) *evidence.Bundle {
	if b == nil {
		return nil
	}
	out := &evidence.Bundle{}
	for _, p := range b.Pieces {
		out.Pieces = append(out.Pieces, evidence.Piece{Kind: p.Kind, Data: bytes.Clone(p.Data)})
	}
	return out
}

// change edits a piece of the epoch evidence and has the references name the
// result. Freshness evidence names the old digest and would refuse everything
// with one code, so it is left out.
func (c *Case) change(k evidence.Kind, edit func([]byte) bool) error {
	for i := range c.Evidence.Epoch.Pieces {
		if p := &c.Evidence.Epoch.Pieces[i]; p.Kind == k && edit(p.Data) {
			c.References.EvidenceDigest = c.Evidence.Epoch.Digest()
			c.Policy.WithoutFreshness = true
			return nil
		}
	}
	return fmt.Errorf("tamper: this evidence has no %v to change", k)
}

// nonce leaves the evidence as it is. A replay is exactly that: what differs is
// what the verifier expects, which it draws or reads from the log itself.
func nonce(c *Case) error {
	if c.Evidence.Freshness == nil || c.Policy.WithoutFreshness {
		c.References.EpochCheckpoint.Hash = sha256.Sum256(c.References.EpochCheckpoint.Hash[:])
		return nil
	}
	c.References.Challenge = sha256.Sum256(c.References.FreshCheckpoint.Hash[:])
	return nil
}

func pcr(c *Case) error {
	return c.change(evidence.KindPCRs, func(b []byte) bool {
		const entry = 33
		for ; len(b) >= entry; b = b[entry:] {
			if b[0] == 4 {
				b[1] ^= 1
				return true
			}
		}
		return false
	})
}

func vcek(c *Case) error {
	for _, k := range []evidence.Kind{evidence.KindSNPCert, evidence.KindTDXQuote, evidence.KindNitroDoc, evidence.KindAKCerts} {
		// The last bytes are the issuer's signature, or in a quote and a list of
		// certificates those of the chain.
		if c.change(k, func(b []byte) bool { b[len(bytes.TrimRight(b, "\x00"))-20] ^= 1; return true }) == nil {
			return nil
		}
	}
	return fmt.Errorf("tamper: this evidence has no hardware certificate")
}

func ima(c *Case) error {
	return c.change(evidence.KindIMALog, func(b []byte) bool {
		i := bytes.LastIndexByte(b, '/')
		if i < 0 || i+1 >= len(b) {
			return false
		}
		b[i+1] ^= 1
		return true
	})
}

// gpu changes a byte: the key statement names the GPU evidence by digest, so any
// other is another machine's.
func gpu(c *Case) error {
	return c.change(evidence.KindGPU, func(b []byte) bool { b[len(b)/2] ^= 1; return true })
}

func expiry(c *Case) error {
	c.Now = c.Now.Add(24*time.Hour + time.Duration(c.Policy.MaxEpochAge))
	return nil
}

func rek(c *Case) error {
	c.References.REK[0] ^= 1
	return nil
}

func eventLog(c *Case) error {
	return c.change(evidence.KindEventLog, func(b []byte) bool {
		b[len(b)-1] ^= 1
		return true
	})
}

// Names lists the modes' names, for usage lines.
func Names() string {
	var names []string
	for _, m := range Modes() {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}
