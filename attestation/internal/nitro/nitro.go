// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package nitro judges attestation documents of AWS's Nitro hypervisor: those of
// EC2 instances with a NitroTPM, and those of Nitro Enclaves. Verify answers
// whether a document is genuine, Check whether it is acceptable.
//
// A document is COSE_Sign1 (RFC 9052, Section 4.2) over a CBOR map, signed with
// ES384 by a key that the hypervisor holds for a few hours. The fields and the
// order of checks are those of AWS's pages "Validate a NitroTPM Attestation
// Document" (EC2 User Guide) and "Verifying the root of trust" (Nitro Enclaves
// User Guide).
//
// What it proves: AWS's hypervisor vouches for the registers of an instance. It
// is no confidential computing against AWS: the same hypervisor holds the TPM.
//
// Revocation: there is none to check. The certificates of AWS's intermediates
// name revocation lists, but the signer's and the instance's do not, and AWS's
// procedure has revocation checks off. The signer's certificate lives for three
// hours, its issuer's for a day: the dates are the revocation, and a report
// should name that as a gap.
package nitro

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"math/big"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// Simulated is what every name under a simulated root contains.
const Simulated = "SIMULATED"

// MaxSize is the most bytes a document may have; real ones have about 5,000.
const MaxSize = 32 << 10

// A Flavor says which of the hypervisor's services made a document.
type Flavor string

// The two flavours. They differ in the name of the register field, and so no
// document can pass for the other.
const (
	NitroTPM Flavor = "nitro-tpm" // field nitrotpm_pcrs: registers of the instance's TPM, SHA-384 bank
	Enclave  Flavor = "enclave"   // field pcrs: registers of a Nitro Enclave
)

// A PCR is a SHA-384 register value.
type PCR = [sha512.Size384]byte

// A Document is the signed content, as parsed.
type Document struct {
	Flavor    Flavor
	Module    string    // of the instance or enclave
	Time      time.Time // when the hypervisor made it, to the millisecond
	PCRs      map[int]PCR
	PublicKey []byte // as the caller supplied; nil if absent
	UserData  []byte // likewise
	Nonce     []byte // likewise

	leaf      *x509.Certificate
	chain     []*x509.Certificate // from the root down
	payload   []byte
	signature []byte
}

// A Genuine is a document that the hypervisor signed.
type Genuine struct {
	*Document
	Age     time.Duration // at the time of judgement; negative: from the future
	Overdue time.Duration // how long ago the first certificate of the chain expired; zero: none has
	Expires time.Time     // when the first certificate of the chain does
	Root    string        // subject of the root
}

// Verify decides whether a document is genuine at now: its certificate chains to
// a trusted root of AWS, every certificate of the chain is what it should be and
// within its dates, and its key signed every byte. grace is how long past those
// dates a document still counts; see the package comment for why it should be
// short.
//
// It refuses with att.size, att.format, att.simulated, att.signature, att.chain.
func Verify(doc []byte, trusted roots.Set, now time.Time, grace time.Duration) (*Genuine, error) {
	d, err := Parse(doc)
	if err != nil {
		return nil, err
	}
	if claims := d.simulated(); claims != trusted.Simulated() {
		return nil, refuse.As(refuse.Simulated, "document certificate under %q, simulated roots: %t", d.leaf.Issuer.String(), trusted.Simulated())
	}
	// The signature first: one check tells most forgeries.
	if !d.signed() {
		return nil, &refuse.Error{Code: refuse.Signature, Detail: "document is not signed by its certificate",
			Want: fmt.Sprintf("signed by the key of %q", d.leaf.Subject.String()),
			Got:  fmt.Sprintf("a signature that this key did not make, over SHA-384 %x", sha512.Sum384(sigStructure(d.payload)))}
	}
	g := &Genuine{Document: d, Age: now.Sub(d.Time)}
	return g, g.checkChain(trusted, now, grace)
}

// signed checks the ES384 signature (RFC 9053, Section 2.1): r and s, 48 bytes
// each, over SHA-384 of the Sig_structure.
func (d *Document) signed() bool {
	key, ok := d.leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return false
	}
	digest := sha512.Sum384(sigStructure(d.payload))
	r := new(big.Int).SetBytes(d.signature[:sha512.Size384])
	s := new(big.Int).SetBytes(d.signature[sha512.Size384:])
	return ecdsa.Verify(key, digest[:], r, s)
}

// Limits say which genuine documents are acceptable. The zero value accepts
// none.
type Limits struct {
	Flavor Flavor
	// Data must be the document's user_data, byte for byte, and Nonce its nonce;
	// empty means that it must have none. A node's document has ReportData as
	// user_data, 64 bytes, and no nonce.
	Data, Nonce []byte
	// AnyData and AnyNonce leave them to the caller.
	AnyData, AnyNonce bool
	// Images are known sets of register values; the document must match one of
	// them in all its registers. An empty set matches nothing.
	Images []map[int]PCR
	// Modules are the instances or enclaves that may be; AnyModule: all.
	Modules   []string
	AnyModule bool
	// AllowDebug accepts an enclave in debug mode, whose console the instance
	// reads and whose first three registers are zero.
	AllowDebug bool
	MaxAge     time.Duration // of the document; zero refuses
	MaxSkew    time.Duration // how far in the future it may lie
}

// Check decides whether a genuine document is acceptable. It refuses with
// att.tee, att.clock, att.stale, att.nonce, att.binding, att.debug,
// att.inventory, att.image.
func (g *Genuine) Check(l *Limits) error {
	switch {
	case g.Flavor != l.Flavor:
		return refuse.As(refuse.TEE, "document of a %s, want %q", g.Flavor, l.Flavor)
	case g.Age < -l.MaxSkew:
		return refuse.As(refuse.Clock, "document from the future: %v", g.Time)
	case g.Age >= l.MaxAge:
		return refuse.As(refuse.Stale, "document is %v old, at most %v allowed", g.Age.Round(time.Second), l.MaxAge)
	case !l.AnyNonce && !bytes.Equal(g.Nonce, l.Nonce):
		return refuse.Differ(refuse.Nonce, "nonce", hexed(l.Nonce), hexed(g.Nonce))
	case !l.AnyData && !bytes.Equal(g.UserData, l.Data):
		return refuse.Differ(refuse.Binding, "user_data", hexed(l.Data), hexed(g.UserData))
	case g.Debug() && !l.AllowDebug:
		return refuse.As(refuse.Debug, "enclave in debug mode: registers 0, 1 and 2 are zero")
	case !l.AnyModule && !contains(l.Modules, g.Module):
		return refuse.As(refuse.Inventory, "module %q is not enrolled", g.Module)
	}
	return g.checkImage(l.Images)
}

// Debug reports whether this is an enclave that was started in debug mode.
func (d *Document) Debug() bool {
	return d.Flavor == Enclave && d.PCRs[0] == PCR{} && d.PCRs[1] == PCR{} && d.PCRs[2] == PCR{}
}

// checkImage looks for an image whose registers are all as in the document, and
// names the first difference from the last one tried.
func (g *Genuine) checkImage(images []map[int]PCR) error {
	err := refuse.As(refuse.Image, "no image to compare the registers with")
	for _, image := range images {
		if err = g.matches(image); err == nil {
			return nil
		}
	}
	return err
}

func (g *Genuine) matches(image map[int]PCR) error {
	if len(image) == 0 {
		return refuse.As(refuse.Image, "an image without registers")
	}
	for i := range maxPCRs {
		want, asked := image[i]
		if !asked {
			continue
		}
		got, there := g.PCRs[i]
		switch {
		case !there:
			return refuse.As(refuse.Image, "the document has no register %d", i)
		case got != want:
			return refuse.Differ(refuse.Image, "PCR "+itoa(i), hexed(want[:]), hexed(got[:]))
		}
	}
	return nil
}
