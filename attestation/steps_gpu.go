// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"fmt"
	"time"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/nvidia"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// nras is the issuer of NVIDIA's tokens.
const nras = "https://nras.attestation.nvidia.com"

// A node has GPU evidence if its statement says so or a piece is there; only one
// of the two is a refusal of its own.
func hasGPU(v *verification) bool {
	return v.statement.GPUDigest != [32]byte{} || v.piece(evidence.KindGPU) != nil
}

func noGPU(v *verification) bool { return !hasGPU(v) }

func checkGPUAbsent(v *verification) (outcome, error) {
	if v.image.CPUOnly {
		return outcome{got: "none: the release has no driver for one"}, nil
	}
	if !v.p.AllowNoGPU {
		return outcome{}, refuse.As(refuse.GPUAbsent, "no GPU evidence")
	}
	return outcome{got: "none", gap: "GPU: no GPU evidence"}, nil
}

// checkGPUGenuine: that the key statement names this evidence was checked with
// the statement. Its nonce is the statement without that digest.
func checkGPUGenuine(v *verification) (outcome, error) {
	b := v.piece(evidence.KindGPU)
	if b == nil {
		return outcome{}, refuse.As(refuse.GPUAbsent, "the key statement names GPU evidence that is not there")
	}
	p := &v.p.GPU
	o := nvidia.Options{Grace: time.Duration(p.OCSPGrace), Issuer: nras, MaxAge: time.Duration(p.TokenMaxAge), Devices: p.Count + p.Switches,
		Signatures: v.signatures}
	if p.TokenIssuer != "" {
		o.Issuer = p.TokenIssuer
	}
	if len(p.TokenKeys) > 0 {
		var err error
		if o.Keys, err = nvidia.ParseKeys(p.TokenKeys); err != nil {
			return outcome{}, refuse.As(refuse.Policy, "token keys: %v", err)
		}
	}
	nonce := evidence.GPUNonce(v.piece(evidence.KindKeyStatement))
	g, err := nvidia.Verify(b, v.p.Roots, nonce, v.now, o)
	if err != nil {
		return outcome{}, err
	}
	v.gpu = g
	return outcome{expected: fmt.Sprintf("nonce %x", nonce), got: fmt.Sprintf("equal, %d devices of %v, revocation status %v old", len(g.Devices), g.Arch, g.OCSPAge.Round(time.Second))}, nil
}

func checkGPUAcceptable(v *verification) (outcome, error) {
	p := &v.p.GPU
	l := &nvidia.Limits{
		GPUs: p.Count, Switches: p.Switches, Chips: p.Chips, Drivers: p.Drivers, MinDriver: p.MinDriver, VBIOS: p.VBIOS, MinVBIOS: p.MinVBIOS,
		SwitchBIOS: p.SwitchBIOS, MinSwitchBIOS: p.MinSwitchBIOS, ProtectedPCIE: p.ProtectedPCIE,
		Manifests: !p.AllowTokenOnly, Token: p.RequireToken || p.AllowTokenOnly,
	}
	if err := v.gpu.Check(l); err != nil {
		return outcome{}, err
	}
	d := &v.gpu.Devices[0]
	out := outcome{expected: fmt.Sprintf("%d GPUs, %d switches", p.Count, p.Switches),
		got: fmt.Sprintf("equal; %s, driver %s, VBIOS %s", d.Chip, d.Driver(), d.VBIOS())}
	if p.AllowTokenOnly {
		out.gap = "GPU: on the word of NVIDIA's service, not compared with its manifests here"
	}
	return out, nil
}
