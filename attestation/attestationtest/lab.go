// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestationtest

import (
	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakeima"
)

// LabEntries lists what a lab node's kernel measures after [Boot], in order.
func LabEntries() []fakeima.Entry {
	registers := Registers(Events())
	return fakeima.Node([10][32]byte(registers[:10]))
}

// LabPolicy is [Policy] for the nodes of the lab, which show complete evidence:
// it asks for a log of what ran, with an entry of the image for each line, and
// for one GPU.
func LabPolicy(r *Root) *attestation.Policy {
	p := Policy(r)
	p.AllowNoGPU, p.GPU = false, GPUPolicy(1)
	p.AllowNoIMA, p.Images[0].IMA = false, IMARules(LabEntries())
	return p
}
