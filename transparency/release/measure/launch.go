// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/sotto-project/sotto/attestation"
)

// A chain is the launch digest so far (AMD 56860, SNP_LAUNCH_UPDATE): each page
// that a hypervisor gives the chip is hashed into it with what kind it is and
// where it lies.
type chain [48]byte

// Kinds of pages in PAGE_INFO.
const (
	pageNormal  = 1
	pageVMSA    = 2
	pageZero    = 3
	pageSecrets = 5
	pageCPUID   = 6
)

// addressVMSA is where the state of processors is said to lie: it has no address
// in the machine, and the chip takes all bits that an address can have.
const addressVMSA = 0xFFFFFFFFF000

// page hashes PAGE_INFO:
//
//	struct {
//	    uint8  digest_cur[48];
//	    uint8  contents[48];     /* SHA-384 of the page; zeros for kinds 3 to 6 */
//	    uint16 length;           /* 0x70 */
//	    uint8  page_type;
//	    uint8  imi_page;         /* 0: no migration */
//	    uint8  vmpl3_perms, vmpl2_perms, vmpl1_perms, reserved;
//	    uint64 gpa;
//	}
func (c *chain) page(kind uint8, address uint64, contents [48]byte) {
	const length = 0x70
	b := make([]byte, 0, length)
	b = append(append(b, c[:]...), contents[:]...)
	b = binary.LittleEndian.AppendUint16(b, length)
	b = append(b, kind, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, address)
	*c = sha512.Sum384(b)
}

// data adds pages with something in them.
func (c *chain) data(address uint64, b []byte) {
	for ; len(b) > 0; b, address = b[page:], address+page {
		c.page(pageNormal, address, sha512.Sum384(b[:page]))
	}
}

// empty adds pages of which the chip measures only that they are there.
func (c *chain) empty(kind uint8, s Section) {
	for at := uint32(0); at < s.Size; at += page {
		c.page(kind, uint64(s.Address)+uint64(at), [48]byte{})
	}
}

// A Boot is what QEMU starts directly (-kernel, -initrd, -append) and firmware
// compares with the table of hashes.
type Boot struct {
	Kernel, Initrd attestation.Digest
	CommandLine    attestation.Digest // of the line and a zero byte
}

// HashBoot reads kernel and initrd to their ends. A nil initrd is none, which is
// hashed as nothing at all; the command line is hashed with a zero byte after it.
func HashBoot(kernel, initrd io.Reader, line string) (*Boot, error) {
	if kernel == nil {
		return nil, errors.New("launch: no kernel")
	}
	b := &Boot{CommandLine: HashCommandLine(line)}
	var err error
	if b.Kernel, err = hashAll(kernel); err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	if initrd == nil {
		b.Initrd = sha256.Sum256(nil)
		return b, nil
	}
	if b.Initrd, err = hashAll(initrd); err != nil {
		return nil, fmt.Errorf("initrd: %w", err)
	}
	return b, nil
}

// HashCommandLine is the hash of a command line as QEMU's table has it.
func HashCommandLine(line string) attestation.Digest { return sha256.Sum256([]byte(line + "\x00")) }

func hashAll(r io.Reader) (attestation.Digest, error) {
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(r, MaxImage+1))
	if err == nil && n > MaxImage {
		err = fmt.Errorf("more than %d bytes", MaxImage)
	}
	return attestation.Digest(h.Sum(nil)), err
}

// Identifiers of the table of hashes (QEMU, target/i386/sev.c).
var (
	guidTable       = guid(0x9438d606, 0x4f22, 0x4cc9, 0xb479a793d411fd21)
	guidCommandLine = guid(0x97d02dd8, 0xbd20, 0x4c94, 0xaa78e7714d36ab2a)
	guidInitrd      = guid(0x44baf731, 0x3a2f, 0x4bd7, 0x9af141e29169781d)
	guidKernel      = guid(0x4de79437, 0xabd2, 0x427f, 0xb835d5b172d2045b)
)

const (
	tableEntry  = 16 + 2 + 32
	tableLength = 16 + 2 + 3*tableEntry
	paddedTable = (tableLength + 15) &^ 15
)

// table prints the hashes: identifier and length of all, then three times
// identifier, length and SHA-256; the length does not count what pads to 16 bytes.
func (b *Boot) table() []byte {
	le := binary.LittleEndian
	out := le.AppendUint16(guidTable[:], tableLength)
	for _, e := range []struct {
		id   [16]byte
		hash attestation.Digest
	}{{guidCommandLine, b.CommandLine}, {guidInitrd, b.Initrd}, {guidKernel, b.Kernel}} {
		out = le.AppendUint16(append(out, e.id[:]...), tableEntry)
		out = append(out, e.hash[:]...)
	}
	return append(out, make([]byte, paddedTable-len(out))...)
}

// MaxVCPUs is the most processors that a launch is computed for.
const MaxVCPUs = 1024

// A Launch is how a hypervisor starts a machine, as far as the chip measures it.
// The zero Launch is refused.
type Launch struct {
	VMM      VMM
	VCPUs    int
	CPU      CPU
	Features Features
	Boot     *Boot // nil: the firmware looks for something to start, unmeasured here
}

func (l *Launch) check() error {
	switch {
	case l.VMM != QEMU && l.VMM != EC2:
		return fmt.Errorf("%w: hypervisor %q; known are %s and %s", ErrUnsupported, l.VMM, QEMU, EC2)
	case l.VCPUs < 1 || l.VCPUs > MaxVCPUs:
		return fmt.Errorf("launch: %d processors, want 1 to %d", l.VCPUs, MaxVCPUs)
	case l.VMM == QEMU && l.CPU == 0:
		return errors.New("launch: no processor named: QEMU puts its signature into the measured state")
	case l.VMM == EC2 && l.CPU != 0:
		return errors.New("launch: EC2 measures no processor signature; name none")
	case l.Features != FeatureSNP && l.Features != FeatureSNP|FeatureDebugSwap:
		return fmt.Errorf("%w: features %#x; compared with published values were %#x and %#x", ErrUnsupported, uint64(l.Features), uint64(FeatureSNP), uint64(FeatureSNP|FeatureDebugSwap))
	}
	return nil
}

// LaunchDigest is the MEASUREMENT that a report has of a machine which this
// firmware starts: its pages, the sections in the order of the metadata, and one
// page of state for each processor.
func (f *Firmware) LaunchDigest(l *Launch) (attestation.Measurement, error) {
	if err := l.check(); err != nil {
		return attestation.Measurement{}, err
	}
	if l.VCPUs > 1 && f.Reset == 0 {
		return attestation.Measurement{}, noFirmware(PartReset, "not there, and there are %d processors", l.VCPUs)
	}
	hashes, err := f.hashes(l.Boot)
	if err != nil {
		return attestation.Measurement{}, err
	}
	c := f.code
	for _, s := range f.Sections {
		switch s.Kind {
		case SectionMemory, SectionSVSM:
			c.empty(pageZero, s)
		case SectionSecrets:
			c.empty(pageSecrets, s)
		case SectionCPUID:
			if l.VMM != EC2 {
				c.empty(pageCPUID, s)
			}
		case SectionHashes:
			if hashes == nil {
				c.empty(pageZero, s)
			} else {
				c.data(uint64(s.Address), hashes)
			}
		}
	}
	for _, s := range f.Sections {
		if l.VMM == EC2 && s.Kind == SectionCPUID { // after all others there
			c.empty(pageCPUID, s)
		}
	}
	for i := range l.VCPUs {
		at := uint32(resetVector)
		if i > 0 {
			at = f.Reset
		}
		c.page(pageVMSA, addressVMSA, sha512.Sum384(l.state(at)))
	}
	return attestation.Measurement(c), nil
}

// hashes is the page with the table, if there is something to put into it.
func (f *Firmware) hashes(b *Boot) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	for _, s := range f.Sections {
		if s.Kind != SectionHashes {
			continue
		}
		// Firmware reads the table by its address, the chip measures the section: a
		// table elsewhere would be read and not measured.
		offset := int64(f.Hashes) - int64(s.Address)
		if f.Hashes == 0 || offset < 0 || offset+paddedTable > page {
			return nil, noFirmware(PartHashes, "at %#x, and the measured section is at %#x", f.Hashes, s.Address)
		}
		out := make([]byte, page)
		copy(out[offset:], b.table())
		return out, nil
	}
	return nil, noFirmware(PartHashes, "not there: a build that starts any kernel (AmdSevX64 is one that compares)")
}
