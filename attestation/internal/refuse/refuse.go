// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package refuse holds the closed list of reasons for which evidence is
// refused, and the error that carries one. It decides nothing; package
// attestation exports both names.
package refuse

import "fmt"

// A Code names one reason. The list is closed: docs/spec/refusal-codes.md has a
// line for each, and a test holds the two together.
type Code string

// The codes. A comment says what was wrong; the document says what it means.
const (
	Policy     Code = "att.policy"        // the caller's policy or references are incomplete
	Size       Code = "att.size"          // a bundle or piece is over its cap
	Absent     Code = "att.absent"        // a required piece is missing
	Format     Code = "att.format"        // malformed or non-canonical bytes, a piece that does not belong
	Digest     Code = "att.digest"        // not the evidence that the node record names
	Epoch      Code = "att.epoch"         // evidence of another epoch or another boot
	Nonce      Code = "att.nonce"         // not made over the expected challenge
	Stale      Code = "att.stale"         // older than policy allows
	Clock      Code = "att.clock"         // a checkpoint from the future
	Node       Code = "att.node"          // another node than the one named
	Key        Code = "att.key"           // node signing key differs from the record
	Simulated  Code = "att.simulated"     // simulated hardware without simulated roots, or the reverse
	AK         Code = "att.ak"            // attestation key of the wrong kind
	Quote      Code = "att.quote"         // quote signature or structure
	PCRSet     Code = "att.pcr.set"       // quote covers other PCRs than required
	PCRSelect  Code = "att.pcr.select"    // selection bytes differ from the labels, or another bank
	PCRValue   Code = "att.pcr.value"     // values do not hash to what was quoted, or changed since
	LogFormat  Code = "att.log.format"    // event log does not parse
	LogReplay  Code = "att.log.replay"    // event log does not replay to the quoted PCRs
	LogDigest  Code = "att.log.digest"    // event text does not hash to its digest
	LogDerived Code = "att.log.derived"   // the events do not say what has to be known, or say it twice
	SecureBoot Code = "att.secureboot"    // the events say that Secure Boot was off
	Config     Code = "att.config"        // configuration was not what was measured, or is malformed
	Model      Code = "att.model"         // another model or other weights than listed
	Payment    Code = "att.payment"       // another payment mode than stated
	REKName    Code = "att.rek.name"      // the REK is not the one vouched for
	REKAttrs   Code = "att.rek.attrs"     // the REK could leave, outlive a reset, or be opened by a password
	REKKind    Code = "att.rek.kind"      // the REK is no unrestricted P-256 ECDH key
	REKPolicy  Code = "att.rek.policy"    // the REK's policy is not PolicyPCR over the seal PCRs
	REKParent  Code = "att.rek.parent"    // the REK's parent is not a NULL-hierarchy storage key
	REKCreate  Code = "att.rek.creation"  // the creation certificate does not hold
	Chain      Code = "att.chain"         // certificate does not chain to a trusted root of its line
	CRL        Code = "att.crl"           // revocation list unusable: absent, old, early, wrong signer
	Revoked    Code = "att.revoked"       // certificate or its issuer is on the list
	Signature  Code = "att.signature"     // report is not signed by its certificate
	SigningKey Code = "att.signingkey"    // report signed by a kind of key that may not
	Chip       Code = "att.chip"          // certificate and report name different chips, or none
	Product    Code = "att.product"       // product line is not allowed
	TCB        Code = "att.tcb"           // firmware below the floor, or may be rolled back
	TCBCert    Code = "att.tcb.cert"      // certificate is for another firmware level
	Debug      Code = "att.debug"         // the host may read the guest
	Migrate    Code = "att.migrate"       // the guest may be moved by an agent
	VMPL       Code = "att.vmpl"          // report from another privilege level
	Platform   Code = "att.platform"      // a required platform or guest policy bit
	Binding    Code = "att.binding"       // report is not over these keys
	Inventory  Code = "att.inventory"     // chip is not enrolled
	Image      Code = "att.image"         // unknown launch measurement or firmware
	Revocation Code = "att.image.revoked" // the image was withdrawn
	Kernel     Code = "att.image.kernel"  // loader, kernel or initrd differ from the image's
	Verity     Code = "att.image.verity"  // root file system differs from the image's
	Cmdline    Code = "att.image.cmdline" // kernel command line differs from the image's
	Unreleased Code = "log.absent"        // in no release that the log holds
	ACPI       Code = "att.acpi"          // firmware tables that the host made are not the image's

	TEE    Code = "att.tee"     // the pieces belong to no platform, or to one that policy does not name
	AKCert Code = "att.ak.cert" // certificate of the attestation key: chain, purpose, or another key
	EK     Code = "att.ek"      // certificate of the endorsement key

	IMAAbsent    Code = "att.ima.absent"    // no IMA log where it is required
	IMAFormat    Code = "att.ima.format"    // IMA log does not parse, or a template hash is not of its entry
	IMAReplay    Code = "att.ima.replay"    // IMA log does not lead to the quoted PCR 10
	IMAAggregate Code = "att.ima.aggregate" // boot_aggregate is not of these PCRs
	IMAEntry     Code = "att.ima.entry"     // an entry that nothing allows

	TDXCollateral Code = "att.tdx.collateral" // TCB info, identities or lists: malformed, unsigned, out of date, of another platform
	TDXStatus     Code = "att.tdx.status"     // TCB status that policy does not allow
	TDXQE         Code = "att.tdx.qe"         // the quoting enclave is not Intel's, or its report does not bind the key
	TDXModule     Code = "att.tdx.module"     // TDX module unknown

	GPUAbsent  Code = "att.gpu.absent"  // no GPU evidence where it is required
	GPU        Code = "att.gpu"         // GPU evidence malformed
	GPUReport  Code = "att.gpu.report"  // SPDM report malformed or not signed by its chain
	GPUChain   Code = "att.gpu.chain"   // device certificates do not chain to a trusted root
	GPURIM     Code = "att.gpu.rim"     // reference integrity manifest absent, unsigned, or of another driver or VBIOS
	GPUOCSP    Code = "att.gpu.ocsp"    // revocation status absent, stale or unsigned
	GPUToken   Code = "att.gpu.token"   // token stale, foreign, or not signed as it must be
	GPUClaims  Code = "att.gpu.claims"  // measurements, mode or versions that policy does not allow; the text names it
	GPUBinding Code = "att.gpu.binding" // GPU evidence over another nonce: of another machine or another time
	GPUCount   Code = "att.gpu.count"   // another number of GPUs or switches than policy asks for
)

// All lists every code, in the order of the document.
func All() []Code {
	return []Code{Policy, Size, Absent, Format, Digest, Epoch, Nonce, Stale, Clock, Node, Key, Simulated, AK, Quote,
		PCRSet, PCRSelect, PCRValue, LogFormat, LogReplay, LogDigest, LogDerived, SecureBoot, Config, Model, Payment,
		REKName, REKAttrs, REKKind, REKPolicy, REKParent, REKCreate, Chain, CRL, Revoked, Signature, SigningKey, Chip,
		Product, TCB, TCBCert, Debug, Migrate, VMPL, Platform, Binding, Inventory, Image, Revocation, Kernel, Verity,
		Cmdline, Unreleased, ACPI, TEE, AKCert, EK, IMAAbsent, IMAFormat, IMAReplay, IMAAggregate, IMAEntry, TDXCollateral, TDXStatus,
		TDXQE, TDXModule, GPUAbsent, GPU, GPUReport, GPUChain, GPURIM, GPUOCSP, GPUToken, GPUClaims, GPUBinding, GPUCount}
}

// An Error is one refusal. Want and Got, where both are set, are the two values
// that should have been equal: reports show them side by side.
type Error struct {
	Code      Code
	Detail    string
	Want, Got string
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }

// As returns an *Error with a formatted detail. The detail may hold public
// values of the evidence; there are no others in it.
func As(c Code, format string, args ...any) error {
	return &Error{Code: c, Detail: fmt.Sprintf(format, args...)}
}

// Differ returns an *Error about two values that should have been equal.
func Differ(c Code, what, want, got string) error {
	return &Error{Code: c, Detail: fmt.Sprintf("%s is %s, want %s", what, short(got), short(want)), Want: want, Got: got}
}

// short cuts long values for one-line messages; reports have them whole.
func short(s string) string {
	if len(s) > 40 {
		return s[:32] + ".."
	}
	return s
}
