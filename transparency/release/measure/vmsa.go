// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// A VMM is a hypervisor of which it is known in which state processors start.
type VMM string

const (
	// QEMU is QEMU with KVM, through KVM_SEV_INIT2: upstream QEMU from 9.1 on Linux
	// from 6.11. Earlier, unmerged host kernels left the floating-point state zero,
	// and so have other measurements.
	QEMU VMM = "qemu"
	// EC2 is Amazon's, as the tools that publish its values model it.
	EC2 VMM = "ec2"
)

// Features are SEV_FEATURES of a processor's state.
type Features uint64

// Features that launches were compared with.
const (
	FeatureSNP       Features = 1 << 0
	FeatureDebugSwap Features = 1 << 5 // KVM's debug_swap, where QEMU asks for it
)

// A CPU is the signature of a processor (CPUID Fn0000_0001_EAX), which QEMU leaves
// in a register where firmware finds it.
type CPU uint32

// signature packs family, model and stepping (AMD 25481).
func signature(family, model, stepping uint32) CPU {
	low, high := family, uint32(0)
	if family > 0xf {
		low, high = 0xf, family-0xf
	}
	return CPU(high<<20 | model>>4<<16 | low<<8 | model&0xf<<4 | stepping)
}

// models are QEMU's names (target/i386/cpu.c). Versions of one model, such as
// EPYC-Milan-v2, differ in features and not in this.
var models = map[string]CPU{
	"EPYC":       signature(0x17, 1, 2),
	"EPYC-Rome":  signature(0x17, 49, 0),
	"EPYC-Milan": signature(0x19, 1, 1),
	"EPYC-Genoa": signature(0x19, 17, 0),
	"EPYC-Turin": signature(0x1a, 0, 0),
}

// ParseCPU reads a name as in QEMU's -cpu, with or without a version, or a
// signature as printed by [CPU.String], for -cpu host.
func ParseCPU(s string) (CPU, error) {
	if c, ok := models[s]; ok {
		return c, nil
	}
	if base, version, ok := strings.Cut(s, "-v"); ok {
		if n, err := strconv.ParseUint(version, 10, 8); err == nil && n > 0 && strconv.FormatUint(n, 10) == version {
			if c, ok := models[base]; ok {
				return c, nil
			}
		}
	}
	if n, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 32); err == nil && n != 0 && CPU(n).String() == s {
		return CPU(n), nil
	}
	return 0, fmt.Errorf("%w: processor %q; known are EPYC, EPYC-Rome, EPYC-Milan, EPYC-Genoa, EPYC-Turin, with or without -vN, or a signature such as 0xa10f10", ErrUnsupported, s)
}

func (c CPU) String() string { return fmt.Sprintf("%#x", uint32(c)) }

// resetVector is where the first processor begins.
const resetVector = 0xfffffff0

// state is the page with a processor's registers (VMSA) that begins at an address:
// AMD APM volume 2, table B-4, in real mode after reset, and what KVM and QEMU
// change of that.
func (l *Launch) state(at uint32) []byte {
	b := make([]byte, page)
	le := binary.LittleEndian
	segment := func(offset int, selector, attributes uint16, base uint32) {
		le.PutUint16(b[offset:], selector)
		le.PutUint16(b[offset+2:], attributes)
		le.PutUint32(b[offset+4:], 0xffff)
		le.PutUint64(b[offset+8:], uint64(base))
	}
	code, stack, task := uint16(0x9b), uint16(0x93), uint16(0x8b)
	if l.VMM == EC2 {
		stack, task = 0x92, 0x83
		if at == resetVector {
			code = 0x9a
		}
	}
	for _, offset := range []int{0x00, 0x30, 0x40, 0x50} { // ES, DS, FS, GS
		segment(offset, 0, 0x93, 0)
	}
	segment(0x10, 0xf000, code, at&0xffff0000) // CS
	segment(0x20, 0, stack, 0)                 // SS
	segment(0x60, 0, 0, 0)                     // GDTR
	segment(0x70, 0, 0x82, 0)                  // LDTR
	segment(0x80, 0, 0, 0)                     // IDTR
	segment(0x90, 0, task, 0)                  // TR
	for offset, v := range map[int]uint64{
		0xd0:  0x1000,              // EFER: SVME, set by KVM
		0x148: 0x40,                // CR4: MCE, set by KVM
		0x158: 0x10,                // CR0: ET
		0x160: 0x400,               // DR7
		0x168: 0xffff0ff0,          // DR6
		0x170: 0x2,                 // RFLAGS
		0x178: uint64(at) & 0xffff, // RIP
		0x268: 0x7040600070406,     // PAT
		0x310: uint64(l.CPU),       // RDX; zero on EC2
		0x3b0: uint64(l.Features),  // SEV_FEATURES
		0x3e8: 0x1,                 // XCR0
	} {
		le.PutUint64(b[offset:], v)
	}
	if l.VMM == QEMU { // as after FINIT
		le.PutUint32(b[0x408:], 0x1f80) // MXCSR
		le.PutUint16(b[0x410:], 0x37f)  // x87 control word
	}
	return b
}
