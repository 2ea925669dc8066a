// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/tpm"
)

// An outcome is what a step has to say about itself.
type outcome struct{ expected, got, gap string }

// A check is one step of a verification: what it is called, what it says of
// itself, when it applies and who it asks.
type check struct {
	id, what, source, meaning string
	vouches                   Voucher
	ofEpoch, ofFresh          bool                     // whose age is that of what vouches
	when                      func(*verification) bool // nil: always
	run                       func(*verification) (outcome, error)
}

// steps are taken in this order. What costs little and needs no signature comes
// first; a later step may rely on every earlier one.
var steps = []check{
	{"policy", "the policy says what to require", "docs/spec/attestation.md, Section 5",
		"an incomplete policy would let machines in by omission", Stated, false, false, nil, checkPolicy},
	{"platform", "the machine is of a kind that the policy names", "docs/spec/attestation.md, Section 2; docs/platforms.md",
		"another kind of machine proves less than was asked for", Stated, false, false, nil, checkPlatform},
	{"evidence.pieces", "every required piece is there, and no other", "docs/spec/attestation.md, Section 2",
		"missing pieces cannot be judged", Stated, false, false, nil, checkPieces},
	{"evidence.age", "the evidence is recent", "docs/spec/attestation.md, Section 6",
		"the machine may have changed hands since", Logged, false, true, nil, checkAge},
	{"keys.statement", "the keys are those of the node record", "docs/spec/attestation.md, Section 3",
		"you would encrypt to a key that this machine does not hold", Logged, false, false, nil, checkStatement},
	{"evidence.digest", "this is the evidence that the log names", "docs/spec/attestation.md, Section 2",
		"different users may be shown different machines", Logged, false, false, nil, checkDigest},
	{"tpm.ak", "the signing key is confined to a TPM", "TPM 2.0 Library, Part 2, Section 8.3",
		"anyone holding the key could forge the rest", Attested, true, false, nil, checkAK},
	{"tpm.quote", "a quote covers exactly the required registers", "TPM 2.0 Library, Part 3, Section 18.4",
		"the registers could say anything", Attested, true, false, nil, checkQuote},
	{"rek", "the TPM half of the key cannot leave, and only this software opens it", "TPM 2.0 Library, Part 3, Section 18.3",
		"the key could be copied or used by other software", Attested, true, false, nil, checkREK},
	{"freshness", "the machine is still in that state", "docs/spec/attestation.md, Section 6",
		"the machine may have been reset or changed since the epoch began", Attested, false, true, nil, checkFreshness},
	{"boot.log", "the event log replays to the quoted registers", "TCG PC Client PFP, Section 10",
		"the log would be a story about another boot", Attested, true, false, nil, checkLog},
	{"config", "the measured configuration is as listed", "docs/spec/attestation.md, Section 4",
		"the node may serve another model or other terms", Attested, true, false, nil, checkConfig},
	{"hcl.binding", "the paravisor vouches for this attestation key", "Azure confidential VM guest attestation design, HCL report",
		"the key may live in another machine's TPM", Attested, false, false, on(AzureSNP, AzureTDX), checkHCL},
	{"snp.genuine", "AMD hardware signed the report", "AMD 56860, Section 7.3; AMD 57230",
		"there may be no confidential VM at all", Attested, true, false, func(v *verification) bool { return onSNP(v.platform) }, checkGenuine},
	{"svsm.binding", "the SVSM vouches for the vTPM's key", "AMD 58019, Section 7",
		"the key may live in a TPM that the host made up", Attested, true, false, on(SNPSVSM), checkSVSM},
	{"snp.acceptable", "the confidential VM is configured as required", "AMD 56860, Sections 4.3 and 7.3",
		"the host could read or move the VM's memory", Attested, true, false, func(v *verification) bool { return onSNP(v.platform) }, checkAcceptable},
	{"tdx.genuine", "Intel hardware signed the quote", "Intel TDX DCAP, Quote Generation Library, Appendix A; PCS API v4",
		"there may be no confidential VM at all", Attested, true, false, func(v *verification) bool { return onTDX(v.platform) }, checkTDXGenuine},
	{"tdx.acceptable", "the confidential VM is configured as required", "Intel TDX Module 1.5 ABI, Sections 3.4 and 4",
		"the host could read or move the VM's memory", Attested, true, false, func(v *verification) bool { return onTDX(v.platform) }, checkTDXAcceptable},
	{"nitro.genuine", "the Nitro system signed the document", "AWS Nitro attestation process, COSE_Sign1 (RFC 9052)",
		"there may be no NitroTPM at all", Attested, true, false, on(NitroTPM), checkNitroGenuine},
	{"nitro.acceptable", "the document is over these keys", "AWS EC2 User Guide, NitroTPM attestation document",
		"the key may live in another machine's TPM", Attested, true, false, on(NitroTPM), checkNitroAcceptable},
	{"tpm.ekcert", "the TPM is of a known maker", "TCG EK Credential Profile 2.6",
		"anyone could have made the TPM in software", Attested, false, false, on(TPM), checkEKCert},
	{"tpm.akcert", "somebody known vouches that the signing key is in a TPM", "TCG Infrastructure, TPM Keys for Platform Identity, Section 4",
		"the key may live in no TPM at all", Stated, false, false, hasAKCerts, checkAKCert},
	{"boot.ccel", "the TD's event log replays to the quoted RTMRs", "UEFI 2.10, Section 38.4",
		"the log would be a story about another boot", Attested, true, false, func(v *verification) bool { return v.platform.measuresRTMRs() }, checkCCEL},
	{"boot.secureboot", "Secure Boot was on", "TCG PC Client PFP, Section 3.3.4.8",
		"the firmware would start any loader", Attested, true, false, nil, checkSecureBoot},
	{"image.measurement", "the software is a known release", "AMD 56860, Section 7.3 (MEASUREMENT); Intel TDX (MRTD)",
		"the machine runs unknown software, which may keep prompts", Attested, true, false, nil, checkImage},
	{"boot.components", "loader, kernel and initrd are the release's", "TCG PC Client PFP, Section 3.3.4; UEFI 2.10, Section 38.4",
		"another kernel may run under the same name", Attested, true, false, nil, checkComponents},
	{"boot.cmdline", "the kernel command line is the release's", "systemd-stub(7), PCR 12; RTMR 2",
		"an option can open a shell or swap the root file system", Attested, true, false, nil, checkCommandLine},
	{"image.released", "image and model are in a release that everybody is shown", "docs/spec/release.md, Section 6",
		"the operator may run for you what was kept from everybody else", Logged, false, false, func(v *verification) bool { return v.refs.Released != nil }, checkReleased},
	{"boot.acpi", "tables made by the host are the release's", "UEFI 2.10, Section 38.4; EV_PLATFORM_CONFIG_FLAGS",
		"the host can put code into the kernel through ACPI", Attested, true, false, nil, checkACPI},
	{"runtime", "what ran since boot is the release's", "Linux IMA, PCR 10",
		"programs may have been started after boot", Attested, true, false, nil, checkRuntime},
	{"gpu", "the GPU is attested", "docs/spec/attestation.md, Section 7",
		"prompts may reach memory outside the confidential VM", Stated, false, false, noGPU, checkGPUAbsent},
	{"gpu.genuine", "NVIDIA hardware signed each report, over this machine's nonce", "DMTF DSP0274 (SPDM 1.1), Section 10.11",
		"there may be no GPU, or one of another machine", Attested, true, false, hasGPU, checkGPUGenuine},
	{"gpu.acceptable", "the GPUs are in confidential mode with known firmware", "NVIDIA RIM; docs/spec/attestation.md, Section 7",
		"prompts may reach memory outside the confidential VM", Attested, true, false, hasGPU, checkGPUAcceptable},
	{"payment", "one request runs on one node", "docs/spec/attestation.md, Section 4",
		"the router could have several candidates run one request", Stated, false, false, nil, checkPayment},
}

// onSNP and onTDX say whose confidential VM a platform is.
func onSNP(p Platform) bool { return p == SNP || p == SNPSVSM || p == GoogleSNP || p == AzureSNP }
func onTDX(p Platform) bool { return p == TDX || p == GoogleTDX || p == AzureTDX }

func on(platforms ...Platform) func(*verification) bool {
	return func(v *verification) bool { return slices.Contains(platforms, v.platform) }
}

func checkPolicy(v *verification) (outcome, error) {
	p, r := v.p, v.refs
	bad := func(what string) (outcome, error) { return outcome{}, refuse.As(refuse.Policy, "%s", what) }
	switch {
	case p == nil || p.Roots.IsZero():
		return bad("no trusted roots")
	case len(p.Images) == 0:
		return bad("no images")
	case p.MaxEpochAge <= 0 || !p.WithoutFreshness && p.MaxFreshAge <= 0:
		return bad("no maximum age")
	case len(p.Platforms) == 0:
		return bad("no platforms")
	case v.now.IsZero():
		return bad("no time")
	case r.NodeID == [32]byte{} || r.EvidenceDigest == [32]byte{} || len(r.REK) != evidence.REKSize || len(r.NodeKey) != 32:
		return bad("references name no node, keys or evidence")
	case r.Model == "" || r.WeightsDigest == [32]byte{}:
		return bad("references name no model")
	case !r.EpochCheckpoint.ok() || !p.WithoutFreshness && !r.fresh():
		return bad("references name no checkpoint")
	}
	seen := map[string]bool{}
	for i := range p.Images {
		if what := p.Images[i].incomplete(); what != "" || seen[p.Images[i].Name] {
			return bad(fmt.Sprintf("image %q is listed twice or has no %s", p.Images[i].Name, what))
		}
		if what := p.Images[i].uncompared(); what != "" {
			return bad(fmt.Sprintf("image %q states what nothing compares: %s", p.Images[i].Name, what))
		}
		seen[p.Images[i].Name] = true
	}
	if len(p.SNP.Products) == 0 && slices.ContainsFunc(p.Platforms, onSNP) {
		return bad("no products")
	}
	for _, product := range p.SNP.Products {
		if _, ok := p.SNP.Floors[product]; !ok {
			return bad("no TCB floor for " + product)
		}
	}
	out := outcome{got: fmt.Sprintf("images %d, platforms %v", len(p.Images), p.Platforms)}
	if p.Roots.Simulated() {
		out.gap = "simulated hardware: the roots stand for no vendor"
	}
	return out, nil
}

// fresh reports whether there is something that freshness evidence can be over.
func (r *References) fresh() bool {
	return r.FreshCheckpoint.ok() || r.Challenge != [32]byte{} && !r.FreshCheckpoint.Time.IsZero()
}

func (c Checkpoint) ok() bool { return c.Hash != [32]byte{} && !c.Time.IsZero() }

// checkPlatform tells the platform by the pieces, and holds it against the
// policy: evidence answers, it does not choose what is asked.
func checkPlatform(v *verification) (outcome, error) {
	out := outcome{expected: fmt.Sprintf("one of %v", v.p.Platforms)}
	if v.ev.Epoch == nil {
		return out, refuse.As(refuse.Absent, "no epoch evidence")
	}
	platform, err := platformOf(v.ev.Epoch)
	if err != nil {
		return out, err
	}
	out.got = string(platform)
	if !slices.Contains(v.p.Platforms, platform) {
		return out, refuse.As(refuse.TEE, "evidence of platform %s, allowed are %v", platform, v.p.Platforms)
	}
	v.platform, v.report.Platform = platform, platform
	return out, nil
}

// checkPieces comes before anything is hashed: a bundle over a cap costs the
// verifier a few comparisons.
func checkPieces(v *verification) (outcome, error) {
	must, may := v.platform.Pieces()
	if err := checkBundle(v.ev.Epoch, must, may, "epoch evidence"); err != nil {
		return outcome{}, err
	}
	n := len(v.ev.Epoch.Pieces)
	if !v.p.WithoutFreshness {
		if err := checkBundle(v.ev.Freshness, freshPieces, optionalFreshPieces, "freshness evidence"); err != nil {
			return outcome{}, err
		}
		n += len(v.ev.Freshness.Pieces)
	}
	return outcome{got: fmt.Sprintf("%d pieces", n)}, nil
}

func checkBundle(b *evidence.Bundle, must, may []evidence.Kind, name string) error {
	if b == nil {
		return refuse.As(refuse.Absent, "no %s", name)
	}
	if err := b.Check(); errors.Is(err, evidence.ErrSize) {
		return refuse.As(refuse.Size, "%s: %v", name, err)
	} else if err != nil {
		return refuse.As(refuse.Format, "%s: %v", name, err)
	}
	for _, k := range must {
		if data, ok := b.Get(k); !ok || len(data) == 0 {
			return refuse.As(refuse.Absent, "%s has no %v", name, k)
		}
	}
	for _, p := range b.Pieces {
		if !slices.Contains(must, p.Kind) && (len(p.Data) == 0 || !slices.Contains(may, p.Kind)) {
			return refuse.As(refuse.Format, "%s has a piece that does not belong: %v", name, p.Kind)
		}
	}
	return nil
}

func checkAge(v *verification) (outcome, error) {
	skew := time.Duration(v.p.MaxSkew)
	check := func(what string, c Checkpoint, limit Duration) error {
		switch age := v.now.Sub(c.Time); {
		case age < -skew:
			return refuse.As(refuse.Clock, "%s checkpoint lies %v in the future", what, -age)
		case age > time.Duration(limit):
			return &refuse.Error{Code: refuse.Stale,
				Detail: fmt.Sprintf("%s evidence may be %v old, allowed are %v", what, age.Round(time.Second), time.Duration(limit)),
				Want:   fmt.Sprintf("%s evidence of at most %v", what, time.Duration(limit)), Got: fmt.Sprintf("%v old", age.Round(time.Second))}
		}
		return nil
	}
	if err := check("epoch", v.refs.EpochCheckpoint, v.p.MaxEpochAge); err != nil {
		return outcome{}, err
	}
	out := outcome{expected: fmt.Sprintf("epoch evidence within %v", time.Duration(v.p.MaxEpochAge)),
		got: v.now.Sub(v.refs.EpochCheckpoint.Time).Round(time.Second).String()}
	if v.p.WithoutFreshness {
		return out, nil
	}
	out.expected += fmt.Sprintf(", freshness within %v", time.Duration(v.p.MaxFreshAge))
	out.got += ", " + v.now.Sub(v.refs.FreshCheckpoint.Time).Round(time.Second).String()
	return out, check("freshness", v.refs.FreshCheckpoint, v.p.MaxFreshAge)
}

// checkStatement compares the key statement with the references. The REK comes
// first: a record and a bundle of two nodes are told apart from anything else.
func checkStatement(v *verification) (outcome, error) {
	s, err := evidence.ParseKeyStatement(v.piece(evidence.KindKeyStatement))
	if err != nil {
		return outcome{}, refuse.As(refuse.Format, "%v", err)
	}
	config, log := sha256.Sum256(v.piece(evidence.KindConfig)), evidence.LogHash(v.piece(evidence.KindEventLog), v.piece(evidence.KindCCEL))
	gpu := s.GPUDigest
	if b := v.piece(evidence.KindGPU); b != nil {
		gpu = sha256.Sum256(b)
	}
	hex := func(b []byte) string { return fmt.Sprintf("%x", b) }
	sum := func(b []byte) string { return fmt.Sprintf("SHA-256 %x", sha256.Sum256(b)) }
	for _, c := range []struct {
		code      refuse.Code
		what      string
		want, got string
	}{
		{refuse.REKName, "REK that the evidence vouches for", sum(v.refs.REK), sum(s.REK[:])},
		{refuse.Epoch, "epoch of the evidence", fmt.Sprint(v.refs.Epoch), fmt.Sprint(s.Epoch)},
		{refuse.Node, "node of the evidence", hex(v.refs.NodeID[:]), hex(s.NodeID[:])},
		{refuse.Key, "node key that the evidence vouches for", hex(v.refs.NodeKey), hex(s.NodeKey[:])},
		{refuse.Nonce, "checkpoint that the evidence was made over", hex(v.refs.EpochCheckpoint.Hash[:]), hex(s.Checkpoint[:])},
		{refuse.Config, "configuration", hex(s.ConfigHash[:]), hex(config[:])},
		{refuse.LogReplay, "event log", hex(s.LogHash[:]), hex(log[:])},
		{refuse.GPUBinding, "digest of the GPU evidence", hex(s.GPUDigest[:]), hex(gpu[:])},
	} {
		if c.want != c.got {
			return outcome{}, refuse.Differ(c.code, c.what, c.want, c.got)
		}
	}
	v.statement = s
	return outcome{got: fmt.Sprintf("epoch %d, REK and node key equal", s.Epoch)}, nil
}

func checkDigest(v *verification) (outcome, error) {
	got := v.ev.Epoch.Digest()
	if got != v.refs.EvidenceDigest {
		return outcome{}, refuse.Differ(refuse.Digest, "digest of the evidence", fmt.Sprintf("%x", v.refs.EvidenceDigest), fmt.Sprintf("%x", got))
	}
	return outcome{got: fmt.Sprintf("%x", got)}, nil
}

func checkAK(v *verification) (outcome, error) {
	ak, err := tpm.CheckAK(v.piece(evidence.KindAKPublic))
	if err != nil {
		return outcome{}, err
	}
	if evidence.NodeID(ak.Public.Name()) != v.refs.NodeID {
		return outcome{}, refuse.As(refuse.Node, "attestation key is another node's")
	}
	v.ak = ak
	return outcome{got: fmt.Sprintf("restricted %s, name %x", ak.Kind(), ak.Public.Name())}, nil
}

func checkQuote(v *verification) (outcome, error) {
	pcrs, err := evidence.ParsePCRs(v.piece(evidence.KindPCRs))
	if err != nil {
		return outcome{}, refuse.As(refuse.Format, "%v", err)
	}
	want := evidence.EpochQualifier(v.piece(evidence.KindKeyStatement), v.statement.GPUDigest)
	a, err := v.ak.CheckQuote(v.piece(evidence.KindQuote), v.piece(evidence.KindQuoteSig), want, evidence.QuotePCRs(), pcrs)
	if err != nil {
		return outcome{}, err
	}
	v.quote, v.pcrs = a, pcrs
	return outcome{expected: fmt.Sprintf("SHA-256 PCRs %v over %x..", evidence.QuotePCRs(), want[:8]), got: "equal"}, nil
}

func checkPayment(v *verification) (outcome, error) {
	if v.refs.Payment == evidence.PaymentNone {
		return outcome{got: "payment none", gap: "fan-out: without tickets the router could have several candidates run a request"}, nil
	}
	return outcome{expected: "tickets of the statement's key", got: "payment by coins, tickets of that key"}, nil
}

func checkREK(v *verification) (outcome, error) {
	statement := v.piece(evidence.KindKeyStatement)
	a, err := v.ak.CheckREK(&tpm.Creation{
		Public: v.piece(evidence.KindREKPublic), Parent: v.piece(evidence.KindREKParent), Data: v.piece(evidence.KindCreationData),
		Attest: v.piece(evidence.KindCreation), Signature: v.piece(evidence.KindCreationSig),
		Qualifier: evidence.CreationQualifier(statement), Point: v.statement.REK[evidence.REKSize-65:],
		SealPCRs: evidence.SealPCRs(), Values: v.pcrs,
	})
	if err != nil {
		return outcome{}, err
	}
	if !a.Clock.SameBoot(v.quote.Clock) {
		return outcome{}, refuse.As(refuse.Epoch, "REK was certified in another boot than the quote")
	}
	return outcome{expected: fmt.Sprintf("PolicyPCR over %v, NULL hierarchy", evidence.SealPCRs()), got: "equal"}, nil
}

// checkFreshness verifies that the same key, in the same boot and with the same
// seal PCRs, signed a recent checkpoint. PCR 10 may have grown.
func checkFreshness(v *verification) (outcome, error) {
	if v.p.WithoutFreshness {
		return outcome{gap: "freshness: not asked for"}, nil
	}
	get := func(k evidence.Kind) []byte { b, _ := v.ev.Freshness.Get(k); return b }
	pcrs, err := evidence.ParsePCRs(get(evidence.KindFreshPCRs))
	if err != nil {
		return outcome{}, refuse.As(refuse.Format, "freshness: %v", err)
	}
	want := evidence.FreshQualifier(v.refs.EvidenceDigest, v.refs.FreshCheckpoint.Hash)
	if v.refs.Challenge != [32]byte{} {
		want = evidence.ChallengeQualifier(v.refs.EvidenceDigest, v.refs.Challenge)
	}
	a, err := v.ak.CheckQuote(get(evidence.KindFreshQuote), get(evidence.KindFreshQuoteSig), want, evidence.QuotePCRs(), pcrs)
	if err != nil {
		return outcome{}, err
	}
	if !a.Clock.SameBoot(v.quote.Clock) || a.Clock.Clock < v.quote.Clock.Clock {
		return outcome{}, refuse.As(refuse.Epoch, "freshness evidence is of another boot than the epoch evidence, or older")
	}
	for _, i := range evidence.SealPCRs() {
		if pcrs[i] != v.pcrs[i] {
			return outcome{}, refuse.Differ(refuse.PCRValue, fmt.Sprintf("PCR %d", i), fmt.Sprintf("%x", v.pcrs[i]), fmt.Sprintf("%x", pcrs[i]))
		}
	}
	v.freshPCRs = pcrs
	out := outcome{expected: fmt.Sprintf("quote over %x", want), got: "equal, same boot, same seal PCRs"}
	if !v.platform.registersProve() {
		out.gap = "freshness: " + ownersTPM + "; the hardware's own is as old as the epoch evidence"
	}
	return out, nil
}
