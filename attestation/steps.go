// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-sev-guest/kds"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/snp"
	"github.com/sotto-project/sotto/attestation/internal/tpm"
)

// An outcome is what a step has to say about itself.
type outcome struct{ expected, got, gap string }

// steps are taken in this order. What costs little and needs no signature comes
// first; a later step may rely on every earlier one.
var steps = []struct {
	id, what, source, meaning string
	vouches                   Voucher
	ofEpoch, ofFresh          bool
	check                     func(*verification) (outcome, error)
}{
	{"policy", "the policy says what to require", "docs/spec/evidence.md, Section 5",
		"an incomplete policy would let machines in by omission", Stated, false, false, checkPolicy},
	{"evidence.pieces", "every required piece is there, and no other", "docs/spec/evidence.md, Section 2",
		"missing pieces cannot be judged", Stated, false, false, checkPieces},
	{"evidence.age", "the evidence is recent", "docs/spec/evidence.md, Section 6",
		"the machine may have changed hands since", Logged, false, true, checkAge},
	{"keys.statement", "the keys are those of the node record", "docs/spec/evidence.md, Section 3",
		"you would encrypt to a key that this machine does not hold", Logged, false, false, checkStatement},
	{"evidence.digest", "this is the evidence that the log names", "docs/spec/evidence.md, Section 2",
		"different users may be shown different machines", Logged, false, false, checkDigest},
	{"tpm.ak", "the signing key is confined to a TPM", "TPM 2.0 Library, Part 2, Section 8.3",
		"anyone holding the key could forge the rest", Attested, true, false, checkAK},
	{"tpm.quote", "a quote covers exactly the required registers", "TPM 2.0 Library, Part 3, Section 18.4",
		"the registers could say anything", Attested, true, false, checkQuote},
	{"rek", "the TPM half of the key cannot leave, and only this software opens it", "TPM 2.0 Library, Part 3, Section 18.3",
		"the key could be copied or used by other software", Attested, true, false, checkREK},
	{"freshness", "the machine is still in that state", "docs/spec/evidence.md, Section 6",
		"the machine may have been reset or changed since the epoch began", Attested, false, true, checkFreshness},
	{"boot.log", "the event log replays to the quoted registers", "TCG PC Client PFP, Section 10",
		"the log would be a story about another boot", Attested, true, false, checkLog},
	{"boot.secureboot", "Secure Boot was on", "TCG PC Client PFP, Section 3.3.4.8",
		"the firmware would start any loader", Attested, true, false, checkSecureBoot},
	{"config", "the measured configuration is as listed", "docs/spec/evidence.md, Section 4",
		"the node may serve another model or other terms", Attested, true, false, checkConfig},
	{"snp.genuine", "AMD hardware signed the report", "AMD 56860, Section 7.3; AMD 57230",
		"there may be no confidential VM at all", Attested, true, false, checkGenuine},
	{"snp.acceptable", "the confidential VM is configured as required", "AMD 56860, Sections 4.3 and 7.3",
		"the host could read or move the VM's memory", Attested, true, false, checkAcceptable},
	{"image.measurement", "the software is a known release", "AMD 56860, Section 7.3 (MEASUREMENT)",
		"the machine runs unknown software, which may keep prompts", Attested, true, false, checkImage},
	{"boot.components", "loader, kernel and initrd are the release's", "TCG PC Client PFP, Section 3.3.4",
		"another kernel may run under the same name", Attested, true, false, checkComponents},
	{"boot.cmdline", "the kernel command line is the release's", "systemd-stub(7), PCR 12",
		"an option can open a shell or swap the root file system", Attested, true, false, checkCommandLine},
	{"runtime", "run-time measurements", "Linux IMA, PCR 10",
		"programs may have been started after boot", Attested, true, false, checkRuntime},
	{"gpu", "the GPU is attested", "docs/spec/evidence.md, Section 7",
		"prompts may reach memory outside the confidential VM", Stated, false, false, checkGPU},
	{"payment", "one request runs on one node", "docs/spec/evidence.md, Section 4",
		"the router could have several candidates run one request", Stated, false, false, checkPayment},
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
	case len(p.SNP.Products) == 0:
		return bad("no products")
	case v.now.IsZero():
		return bad("no time")
	case r.NodeID == [32]byte{} || r.EvidenceDigest == [32]byte{} || len(r.REK) != evidence.REKSize || len(r.NodeKey) != 32:
		return bad("references name no node, keys or evidence")
	case r.Model == "" || r.WeightsDigest == [32]byte{}:
		return bad("references name no model")
	case !r.EpochCheckpoint.ok() || !p.WithoutFreshness && !r.fresh():
		return bad("references name no checkpoint")
	}
	seen := map[Measurement]bool{}
	for _, i := range p.Images {
		if seen[i.Measurement] || i.Measurement == (Measurement{}) || len(i.CommandLines) == 0 {
			return bad(fmt.Sprintf("image %q has no command line, no measurement, or one that is listed twice", i.Name))
		}
		seen[i.Measurement] = true
		for _, pcr := range []int{4, 9, 11} {
			if _, ok := i.PCRs[pcr]; !ok {
				return bad(fmt.Sprintf("image %q has no value for PCR %d", i.Name, pcr))
			}
		}
	}
	for _, product := range p.SNP.Products {
		if _, ok := p.SNP.Floors[product]; !ok {
			return bad("no TCB floor for " + product)
		}
	}
	out := outcome{got: fmt.Sprintf("%d images, products %v", len(p.Images), p.SNP.Products)}
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

// checkPieces comes before anything is hashed: a bundle over a cap costs the
// verifier a few comparisons.
func checkPieces(v *verification) (outcome, error) {
	if err := checkBundle(v.ev.Epoch, evidence.EpochKinds(), "epoch evidence"); err != nil {
		return outcome{}, err
	}
	n := len(v.ev.Epoch.Pieces)
	if !v.p.WithoutFreshness {
		if err := checkBundle(v.ev.Freshness, evidence.FreshnessKinds(), "freshness evidence"); err != nil {
			return outcome{}, err
		}
		n += len(v.ev.Freshness.Pieces)
	}
	return outcome{got: fmt.Sprintf("%d pieces", n)}, nil
}

func checkBundle(b *evidence.Bundle, want []evidence.Kind, name string) error {
	if b == nil {
		return refuse.As(refuse.Absent, "no %s", name)
	}
	if err := b.Check(); errors.Is(err, evidence.ErrSize) {
		return refuse.As(refuse.Size, "%s: %v", name, err)
	} else if err != nil {
		return refuse.As(refuse.Format, "%s: %v", name, err)
	}
	for _, k := range want {
		if data, ok := b.Get(k); !ok || len(data) == 0 {
			return refuse.As(refuse.Absent, "%s has no %v", name, k)
		}
	}
	if len(b.Pieces) != len(want) {
		return refuse.As(refuse.Format, "%s has %d pieces, want %d", name, len(b.Pieces), len(want))
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
			return refuse.As(refuse.Stale, "%s evidence may be %v old, allowed are %v", what, age.Round(time.Second), time.Duration(limit))
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
	config, log := sha256.Sum256(v.piece(evidence.KindConfig)), sha256.Sum256(v.piece(evidence.KindEventLog))
	switch {
	case !bytes.Equal(s.REK[:], v.refs.REK):
		return outcome{}, refuse.As(refuse.REKName, "evidence vouches for another REK than the node record")
	case s.Epoch != v.refs.Epoch:
		return outcome{}, refuse.As(refuse.Epoch, "evidence of epoch %d, want %d", s.Epoch, v.refs.Epoch)
	case s.NodeID != v.refs.NodeID:
		return outcome{}, refuse.As(refuse.Node, "evidence of node %x", s.NodeID[:8])
	case !bytes.Equal(s.NodeKey[:], v.refs.NodeKey):
		return outcome{}, refuse.As(refuse.Key, "evidence vouches for another node key than the node record")
	case s.Checkpoint != v.refs.EpochCheckpoint.Hash:
		return outcome{}, refuse.As(refuse.Nonce, "evidence made over checkpoint %x", s.Checkpoint[:8])
	case s.ConfigHash != config:
		return outcome{}, refuse.As(refuse.Config, "configuration is not the one that the statement names")
	case s.LogHash != log:
		return outcome{}, refuse.As(refuse.LogReplay, "event log is not the one that the statement names")
	}
	v.statement = s
	return outcome{got: fmt.Sprintf("epoch %d, REK and node key equal", s.Epoch)}, nil
}

func checkDigest(v *verification) (outcome, error) {
	got := v.ev.Epoch.Digest()
	if got != v.refs.EvidenceDigest {
		return outcome{}, refuse.As(refuse.Digest, "evidence %x.., node record names %x..", got[:8], v.refs.EvidenceDigest[:8])
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
	return outcome{got: fmt.Sprintf("restricted ECDSA P-256, name %x", ak.Public.Name())}, nil
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

func checkGenuine(v *verification) (outcome, error) {
	c := snp.Collateral{Cert: v.piece(evidence.KindSNPCert), CRL: v.piece(evidence.KindSNPCRL)}
	g, err := snp.Verify(v.piece(evidence.KindSNPReport), c, v.p.Roots, v.now, time.Duration(v.p.SNP.CRLGrace))
	if err != nil {
		return outcome{}, err
	}
	v.genuine = g
	return outcome{got: fmt.Sprintf("%s, %v, revocation list %v old", g.Product, g.Signer.SigningKey, g.CRLAge.Round(time.Second))}, nil
}

func checkAcceptable(v *verification) (outcome, error) {
	p := &v.p.SNP
	qualifier := evidence.EpochQualifier(v.piece(evidence.KindKeyStatement), v.statement.GPUDigest)
	l := &snp.Limits{
		Products: p.Products, Floors: map[string]kds.TCBParts{}, AllowAnyChip: p.AllowAnyChip, VMPL: p.VMPL, VLEKs: p.VLEKs,
		Waive: snp.Waivers{SMT: p.AllowSMT, CXL: p.AllowCXL, MultiSocket: p.AllowMultiSocket, AES128: p.AllowAES128,
			RAPL: p.AllowRAPL, NoCiphertextHiding: p.AllowNoCiphertextHiding, PageSwap: p.AllowPageSwap,
			NoECC: p.AllowNoECC, NoAliasCheck: p.AllowNoAliasCheck},
		Data: evidence.ReportData(v.piece(evidence.KindAKPublic), qualifier),
	}
	for name, f := range p.Floors {
		l.Floors[name] = kds.TCBParts{BlSpl: f.Bootloader, TeeSpl: f.TEE, SnpSpl: f.SNP, UcodeSpl: f.Microcode}
	}
	for _, c := range p.Chips {
		l.Chips = append(l.Chips, c)
	}
	if err := v.genuine.Check(l); err != nil {
		return outcome{}, err
	}
	tcb := v.genuine.Reported
	out := outcome{expected: fmt.Sprintf("TCB at least %+v", p.Floors[v.genuine.Product]),
		got: fmt.Sprintf("bootloader %d, TEE %d, SNP %d, microcode %d", tcb.BlSpl, tcb.TeeSpl, tcb.SnpSpl, tcb.UcodeSpl)}
	var gaps []string
	if v.genuine.CSP != "" {
		gaps = append(gaps, fmt.Sprintf("chip unknown: signed by the VLEK of %q", v.genuine.CSP))
	}
	if p.AllowAnyChip {
		gaps = append(gaps, "chip inventory: any genuine chip is accepted")
	}
	if l.Waive != (snp.Waivers{}) {
		gaps = append(gaps, fmt.Sprintf("platform: waived by policy %+v", l.Waive))
	}
	out.gap = strings.Join(gaps, "; ")
	return out, nil
}

func checkImage(v *verification) (outcome, error) {
	m := Measurement(v.genuine.Measurement)
	if slices.Contains(v.p.RevokedImages, m) {
		return outcome{}, refuse.As(refuse.Revocation, "image %x.. was withdrawn", m[:8])
	}
	i := slices.IndexFunc(v.p.Images, func(i Image) bool { return i.Measurement == m })
	if i < 0 {
		return outcome{}, refuse.As(refuse.Image, "unknown image %x", m[:])
	}
	v.image = &v.p.Images[i]
	out := outcome{got: fmt.Sprintf("%s, %x", v.image.Name, m[:])}
	if v.image.TPMOutside {
		out.gap = "vTPM outside the launch measurement: its registers hold keys, they prove nothing about software"
	}
	return out, nil
}

// checkGPU: no version verifies GPU evidence yet. A node that claims to have
// some is not better off than one without.
func checkGPU(v *verification) (outcome, error) {
	switch {
	case v.statement.GPUDigest != [32]byte{}:
		return outcome{}, refuse.As(refuse.GPU, "GPU evidence cannot be verified by this version")
	case !v.p.AllowNoGPU:
		return outcome{}, refuse.As(refuse.GPUAbsent, "no GPU evidence")
	}
	return outcome{got: "none", gap: "GPU: no GPU evidence"}, nil
}

func checkPayment(v *verification) (outcome, error) {
	if v.refs.Payment == evidence.PaymentNone {
		return outcome{got: "payment none", gap: "fan-out: without tickets the router could have several candidates run a request"}, nil
	}
	return outcome{got: "payment by coins"}, nil
}

func checkRuntime(v *verification) (outcome, error) {
	value := v.pcrs[10]
	return outcome{got: fmt.Sprintf("PCR 10 %x", value), gap: "run time: measurements after boot are quoted, not compared with a list"}, nil
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
			return outcome{}, refuse.As(refuse.PCRValue, "PCR %d changed since the epoch began", i)
		}
	}
	return outcome{expected: fmt.Sprintf("quote over %x..", want[:8]), got: "equal, same boot, same seal PCRs"}, nil
}
