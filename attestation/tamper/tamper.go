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
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/eventlog"
	"github.com/sotto-project/sotto/attestation/internal/ima"
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
	Name    string
	What    string             // what is done, in words
	Meaning string             // what it would mean if that were accepted
	Codes   []attestation.Code // with one of which it is refused: one for each kind of hardware
	apply   func(*Case) (did string, err error)
}

// Modes lists the modes in the order in which --help shows them. "log" is not
// among them: it concerns the proof that the statement is in the log, which is
// checked before any evidence is.
func Modes() []Mode {
	codes := func(c ...attestation.Code) []attestation.Code { return c }
	return []Mode{
		{"nonce", "the same evidence is shown again for another challenge: a replay",
			"evidence of another time could be shown for ever, whatever became of the machine", codes("att.nonce"), nonce},
		{"pcr", "the value shown for PCR 4 is not the one that the TPM signed",
			"a machine that started another loader or kernel could show the registers of a good one", codes("att.pcr.value"), pcr},
		{"vcek", "one bit is flipped in the signature that makes the hardware's certificate (or document) the vendor's",
			"anybody could make up a chip, and a report to go with it", codes("att.chain", "att.signature", "att.ak.cert"), vcek},
		{"ima", "one entry of the list of what ran names another file",
			"a program could run under another one's name", codes("att.ima.format"), imaName},
		{"gpu", "the GPU evidence is not the one that the keys were bound to",
			"prompts could go to a GPU of another machine, or to none that was attested", codes("att.gpu.binding"), gpu},
		{"expiry", "the evidence is shown again when it is a day too old",
			"a machine could live on what it was before it changed hands", codes("att.stale"), expiry},
		{"rek", "the node record names a key that the evidence does not vouch for",
			"you would seal prompts to a key that somebody outside the machine may hold", codes("att.rek.name"), rek},
		{"eventlog", "the text of an event is changed, its digest is not",
			"friendly words could stand over the measurement of something else", codes("att.log.replay"), eventLog},
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

// Apply returns a tampered copy, and which bytes or values it changed, in words;
// c is not changed. It fails where there is nothing that the mode could change.
func (m Mode) Apply(c Case) (out Case, did string, err error) {
	if c.Policy == nil || c.Evidence.Epoch == nil {
		return Case{}, "", errors.New("tamper: no policy, or no epoch evidence")
	}
	out = c
	out.Evidence = attestation.Evidence{Epoch: clone(c.Evidence.Epoch), Freshness: clone(c.Evidence.Freshness)}
	policy := *c.Policy
	out.Policy = &policy
	out.References.REK = bytes.Clone(c.References.REK)
	did, err = m.apply(&out)
	return out, did, err
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

// An edit says where to change a piece: at which byte, and to what. Negative:
// there is nothing to change.
type edit func(b []byte) (at int, to byte)

// flip is the edit of one bit.
func flip(where func([]byte) int) edit {
	return func(b []byte) (int, byte) {
		if at := where(b); at >= 0 && at < len(b) {
			return at, b[at] ^ 1
		}
		return -1, 0
	}
}

// change edits a piece of the epoch evidence and has the references name the
// result. Freshness evidence names the old digest and would refuse everything
// with one code, so it is left out.
func (c *Case) change(k evidence.Kind, e edit) (did string, err error) {
	for i := range c.Evidence.Epoch.Pieces {
		p := &c.Evidence.Epoch.Pieces[i]
		if p.Kind != k {
			continue
		}
		at, to := e(p.Data)
		if at < 0 {
			break
		}
		did = fmt.Sprintf("%v: byte %d of %d is %02x, was %02x", k, at, len(p.Data), to, p.Data[at])
		p.Data[at] = to
		c.References.EvidenceDigest = c.Evidence.Epoch.Digest()
		c.Policy.WithoutFreshness = true
		return did, nil
	}
	return "", fmt.Errorf("tamper: this evidence has no %v to change", k)
}

// nonce leaves the evidence as it is. A replay is exactly that: what differs is
// what the verifier expects, which it draws or reads from the log itself.
func nonce(c *Case) (string, error) {
	if c.Evidence.Freshness == nil || c.Policy.WithoutFreshness {
		other := sha256.Sum256(c.References.EpochCheckpoint.Hash[:])
		c.References.EpochCheckpoint.Hash = other
		return fmt.Sprintf("nothing: the verifier asks for evidence over checkpoint %x", other), nil
	}
	c.References.Challenge = sha256.Sum256(c.References.FreshCheckpoint.Hash[:])
	return fmt.Sprintf("nothing: the verifier asks for a quote over challenge %x", c.References.Challenge), nil
}

// pcr changes a value beside the quote. The quote signs their hash.
func pcr(c *Case) (string, error) {
	return c.change(evidence.KindPCRs, flip(func(b []byte) int {
		const entry = 33 // one byte of index, then the value
		for at := 0; at+entry <= len(b); at += entry {
			if b[at] == 4 {
				return at + 1
			}
		}
		return -1
	}))
}

// fromEnd is an offset well within the signature that ends a certificate or a
// document: not in the lengths before it.
const fromEnd = 20

// vcek changes the vendor's signature: on the chip's certificate, on Nitro's
// document, or where there is neither on the attestation key's certificate.
func vcek(c *Case) (string, error) {
	last := func(b []byte) int { return len(bytes.TrimRight(b, "\x00")) - fromEnd }
	first := func(b []byte) int { // of a list
		if l, err := evidence.ParseList(b); err == nil && len(l) > 0 {
			return 4 + len(l[0]) - fromEnd
		}
		return -1
	}
	for _, k := range []struct {
		kind evidence.Kind
		edit edit
	}{{evidence.KindSNPCert, flip(last)}, {evidence.KindTDXQuote, pckSignature}, {evidence.KindNitroDoc, flip(last)}, {evidence.KindAKCerts, flip(first)}} {
		if did, err := c.change(k.kind, k.edit); err == nil {
			return did, nil
		}
	}
	return "", errors.New("tamper: this evidence has no hardware certificate")
}

// pckSignature finds the certificate of the platform's key, the first of the PEM
// chain in a TDX quote, and puts another base64 digit into its signature.
func pckSignature(b []byte) (int, byte) {
	at := bytes.Index(b, []byte("-----END CERTIFICATE-----")) - fromEnd
	if at < 0 {
		return -1, 0
	}
	if b[at] == '\n' || b[at] == '\r' {
		at -= 2
	}
	if b[at] == 'A' {
		return at, 'B'
	}
	return at, 'A'
}

// imaName changes the last letter of the last name. The entry's own hash, which
// PCR 10 was extended with, stays.
func imaName(c *Case) (string, error) {
	name := ""
	did, err := c.change(evidence.KindIMALog, flip(func(b []byte) int {
		log, err := ima.Parse(b)
		if err != nil {
			return -1
		}
		for i := len(log.Entries) - 1; i >= 0; i-- {
			e, start := &log.Entries[i], 0
			if i > 0 {
				start = log.Entries[i-1].End
			}
			if at := bytes.Index(b[start:e.End], []byte(e.Name+"\x00")); !e.Violation && at >= 0 {
				name = e.Name
				return start + at + len(name) - 1
			}
		}
		return -1
	}))
	if err == nil {
		did += fmt.Sprintf(", the last letter of the name %.200q", name)
	}
	return did, err
}

// gpu changes a byte: the key statement names the GPU evidence by digest, so any
// other is another machine's.
func gpu(c *Case) (string, error) {
	return c.change(evidence.KindGPU, flip(func(b []byte) int { return len(b) / 2 }))
}

// expiry moves the clock, not the evidence: time alone makes it bad.
func expiry(c *Case) (string, error) {
	later := 24*time.Hour + time.Duration(c.Policy.MaxEpochAge)
	c.Now = c.Now.Add(later)
	return fmt.Sprintf("the clock: %v later", later), nil
}

func rek(c *Case) (string, error) {
	if len(c.References.REK) == 0 {
		return "", errors.New("tamper: the record names no key")
	}
	b := c.References.REK
	b[0] ^= 1
	return fmt.Sprintf("the record's key: byte 0 of %d is %02x, was %02x", len(b), b[0], b[0]^1), nil
}

func eventLog(c *Case) (string, error) {
	more := ""
	did, err := c.change(evidence.KindEventLog, func(b []byte) (int, byte) {
		at, to := flip(func(b []byte) int { return len(b) - 1 })(b)
		log, err := eventlog.Parse(b)
		if at < 0 || err != nil || len(log.Events) == 0 {
			return at, to
		}
		if e := log.Events[len(log.Events)-1]; len(e.Data) > 0 {
			text := bytes.Clone(e.Data)
			text[len(text)-1] = to
			more = fmt.Sprintf(", in the text of event %d (PCR %d, type %#x), which now hashes to %x; its digest stays %x",
				len(log.Events)-1, e.PCR, e.Type, sha256.Sum256(text), e.Digest)
		}
		return at, to
	})
	return did + more, err
}
