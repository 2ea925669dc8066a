// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

// gpuTopics are the steps about GPUs.
var gpuTopics = []Topic{
	{
		Name: "gpu", Title: "There is no GPU evidence", Step: true,
		Short: "The machine shows no evidence of a GPU; either it has none, or prompts reach one that has proven nothing.",
		Text: `
A confidential VM protects its own memory. A GPU has memory of its own, on the other side of a bus. Unless the GPU
is in confidential mode, with an encrypted connection to the VM's driver, prompts and answers lie there in the clear
for whoever runs the host.

This step is in a report when the evidence has no GPU piece. The key statement then has zeros for its digest, so a
node does not pretend either way. If your policy allows it (allow_no_gpu) this is a named gap; otherwise it is
refused as att.gpu.absent. It is no gap in the sense of a danger on machines that compute on the CPU alone. But
evidence does not show the absence of a device.`,
		Expect: `"received": none, and the gap "GPU". To insist on GPUs, leave allow_no_gpu out and set their count.`,
		ByHand: `
ls 25-* 2>/dev/null || echo none
xxd -p -c 32 -s 1418 -l 32 01-key-statement.bin`,
		Standard: "docs/spec/attestation.md, Section 7",
		See:      []string{"gpu-evidence", "gaps"},
	},
	{
		Name: "gpu.genuine", Title: "NVIDIA hardware signed each report", Step: true,
		Short: "Each GPU signs its measurements with a key of its own, over a nonce that only this machine's key statement gives.",
		Text: `
A GPU is asked for its measurements by a standard protocol (SPDM), with a nonce of 32 bytes. It answers with a list
of digests and a signature by its device key, ECDSA on P-384. Certificates lead from that key through the device's
identity to NVIDIA's root. Revocation status (OCSP) travels with the evidence, and must be signed and in date: none
is refused, as for chips.

Which machine is the GPU in? The nonce answers as far as it can: it is SHA-256 over the key statement of this
confidential VM, and the digest of the GPU's answer is in the statement that the chip's report is over. So software
inside this VM asked for this answer, for these keys. A GPU that is elsewhere, asked by that software over a
network, would look the same. That the software asks its own driver, over the bus, is vouched for by the launch
measurement, not by the GPU.`,
		Expect: `"received": the number of devices and their kind. att.gpu.binding: a report over another nonce.`,
		ByHand: `
# the nonce: label, one zero byte, key statement with its last 32 bytes zero
nonce=$({ printf 'sotto gpu nonce v1\000'; head -c 1418 01-key-statement.bin
  head -c 32 /dev/zero; } | sha256sum | cut -c1-64)
echo "$nonce"
# it stands in the request part of the report of each device
xxd -p 25-gpu-evidence.bin | tr -d '\n' | grep -o "$nonce"
# on the machine itself: nvidia-smi conf-compute -q`,
		Standard: "DMTF DSP0274 (SPDM 1.1), Section 10.11 (GET_MEASUREMENTS); RFC 6960 (OCSP)",
		See:      []string{"gpu.acceptable", "gpu-evidence", "nonce"},
	},
	{
		Name: "gpu.acceptable", Title: "The GPUs are in confidential mode with known firmware", Step: true,
		Short: "Measurements are compared with manifests that NVIDIA signed for this driver and this VBIOS, and versions with the policy.",
		Text: `
A genuine GPU may run old firmware, or not be in confidential mode. For each driver and each VBIOS version NVIDIA
signs a manifest with the measurements to expect (a reference integrity manifest, RIM). Each index of the report is
compared; which of them may differ by nature is said by the manifest, not by the verifier's mood.

The policy adds its own demands: architectures, versions of driver and VBIOS, and exactly how many GPUs and
switches. The number matters, since one GPU among eight that is not in confidential mode is enough to leak.

NVIDIA also offers a service that does all this and signs a token with the result. Where a policy asks for a token,
it is checked besides (its signature by a key in the policy, its nonce, its age, and each claim for itself), and not
in place of the local comparison: a service that is asked each time learns when a machine is used.`,
		Expect: `"received": driver and VBIOS versions that your policy lists, all measurements equal.`,
		ByHand: `
# manifests are public, by version: https://rim.attestation.nvidia.com
# on the machine itself:
#   nvidia-smi conf-compute -f     # confidential mode: ON
#   nvidia-smi -q | grep -E 'Driver Version|VBIOS Version'
# the key statement names this evidence by its digest
xxd -p -c 32 -s 1418 -l 32 01-key-statement.bin
sha256sum 25-gpu-evidence.bin`,
		Standard: "NVIDIA Remote Attestation, RIM; TCG Reference Integrity Manifest Information Model",
		See:      []string{"gpu.genuine", "gpu-evidence"},
	},
	{
		Name: "gpu-evidence", Title: "From processor to GPU: what is tied to what",
		Short: "The GPU's report is tied to the confidential VM by a nonce in one direction and a digest in the other.",
		Text: `
  1  the VM's software writes the key statement, GPU digest still zero
  2  its hash is the nonce that each GPU is asked with
  3  the GPUs answer; the answers' SHA-256 goes into the statement
  4  the TPM's quote and the chip's report are over the finished statement

So the GPU's answer belongs to these keys (step 2), and the chip's report to this answer (steps 3 and 4).

In confidential mode the driver inside the VM and the GPU agree on a session key, and what crosses the bus is
encrypted. The driver that does so is part of the measured image. What is not bound by cryptography: that the device
that signed is the one that the driver talks to. That is the driver's work, and the image's measurement vouches for
the driver. Physical interposers on the bus between GPUs, and memory of GPUs that is not encrypted, are tier 3.`,
		Expect:   `The steps gpu.genuine and gpu.acceptable; without evidence the step gpu.`,
		Standard: "docs/spec/attestation.md, Section 3; NVIDIA, Hopper Confidential Computing white paper",
		See:      []string{"gpu.genuine", "gpu.acceptable", "gpu", "nonce"},
	},
}
