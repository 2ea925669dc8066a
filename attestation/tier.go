// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

// tier tells how far the evidence reaches, and what keeps it from the next
// tier. 1: somebody remote who owns the operator's servers and keys. 2: and a few
// insiders at the operator. 3: and physical access with lab equipment, which no
// platform of this version reaches: the attacks on memory buses that
// docs/platforms.md lists leave no trace in any report.
func (v *verification) tier() (int, string) {
	switch {
	case v.platform == TPM:
		return 1, "no confidential VM: whoever runs the machine can read its memory"
	case v.platform == NitroTPM:
		return 1, "memory is kept apart by the cloud's own system, and the cloud is its only vendor"
	case !v.softwareProven():
		return 1, "nothing that the hardware signed covers loader, kernel and command line"
	case v.gpu == nil && !v.image.CPUOnly:
		return 1, "no GPU is attested: prompts may reach memory outside the confidential VM"
	case v.behind:
		return 1, "firmware is behind on updates and accepted until a date only"
	}
	return 2, "physical access to memory, and a hardware vendor that signs lies, are not covered"
}
