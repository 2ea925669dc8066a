// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/sotto-project/sotto/attestation"
)

// MaxFirmware is the largest firmware file that is read: what lies below 4 GiB
// before the chipset's own addresses begin.
const MaxFirmware = 16 << 20

// Parts of a firmware file that a [FirmwareError] can be about.
const (
	PartFile     = "file"
	PartFooter   = "footer table"
	PartMetadata = "SEV metadata"
	PartReset    = "SEV-ES reset block"
	PartHashes   = "place for hashes of kernel, initrd and command line"
)

// A FirmwareError says what of a firmware file is missing, or is there and
// cannot be.
type FirmwareError struct{ Part, Detail string }

func (e *FirmwareError) Error() string { return "firmware: " + e.Part + ": " + e.Detail }

func noFirmware(part, format string, args ...any) error {
	return &FirmwareError{part, fmt.Sprintf(format, args...)}
}

// A SectionKind is what a hypervisor does with a section of memory before a
// machine starts (edk2, OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm).
type SectionKind uint32

// The kinds that are known. One that is not is refused: what a hypervisor makes
// of it differs between versions.
const (
	SectionMemory  SectionKind = 1    // zeros
	SectionSecrets SectionKind = 2    // filled by the chip
	SectionCPUID   SectionKind = 3    // filled by the hypervisor, checked by the chip
	SectionSVSM    SectionKind = 4    // zeros, unless there is an SVSM
	SectionHashes  SectionKind = 0x10 // the table of hashes, or zeros
)

// A Section is a part of memory that is there before the first instruction.
type Section struct {
	Address, Size uint32
	Kind          SectionKind
}

// A Firmware is what a launch measurement needs to know of an OVMF file. Nothing
// of the file is kept.
type Firmware struct {
	SHA256   attestation.Digest
	Sections []Section
	// Reset is where processors but the first begin; 0 if the file does not say.
	Reset uint32
	// Hashes is where the table of hashes belongs; 0 if there is no place for it.
	Hashes uint32

	code chain // over the pages of the file
}

// Identifiers in the footer table, as they are in the file.
var (
	guidFooter   = guid(0x96b582de, 0x1fb2, 0x45f7, 0xbaeaa366c55a082d)
	guidMetadata = guid(0xdc886566, 0x984a, 0x4798, 0xa75e5585a7bf67cc)
	guidReset    = guid(0x00f771de, 0x1a7e, 0x4fcb, 0x890e68c77e2fb44e)
	guidHashes   = guid(0x7255371f, 0x3a3b, 0x4b04, 0x927b1da6efa8d454)
)

const (
	page = 4096
	// afterFooter are the bytes of the reset vector, which end the file.
	afterFooter = 32
	// An entry of the footer table is data, its length with these, an identifier.
	entryTail = 2 + 16
	// maxSections is more than any build of OVMF has.
	maxSections = 64
	// maxInitial bounds what sections add: a table cannot make us hash for long.
	maxInitial = 64 << 20
)

// ReadFirmware reads an OVMF file, from its end for the tables and once from its
// beginning for the pages. A size is only believed if that much can be read.
func ReadFirmware(r io.ReaderAt, size int64) (*Firmware, error) {
	if size <= 0 || size > MaxFirmware || size%page != 0 {
		return nil, noFirmware(PartFile, "%d bytes; want whole pages of %d, at most %d", size, page, MaxFirmware)
	}
	// A footer's length has 16 bits: all of the table is in the last 64 KiB.
	tail := make([]byte, min(size, 1<<16+afterFooter))
	if err := readAt(r, tail, size-int64(len(tail))); err != nil {
		return nil, err
	}
	table, err := footer(tail[:len(tail)-afterFooter])
	if err != nil {
		return nil, err
	}
	f := new(Firmware)
	if f.Reset, f.Hashes, err = addresses(table); err != nil {
		return nil, err
	}
	if f.Sections, err = metadata(table, r, size); err != nil {
		return nil, err
	}
	if err := f.fit(size); err != nil {
		return nil, err
	}
	return f, f.measure(r, size)
}

// measure goes over the file's pages, which end at 4 GiB.
func (f *Firmware) measure(r io.ReaderAt, size int64) error {
	whole, buf := sha256.New(), make([]byte, page)
	for at := int64(0); at < size; at += page {
		if err := readAt(r, buf, at); err != nil {
			return err
		}
		whole.Write(buf)
		f.code.data(1<<32-uint64(size)+uint64(at), buf)
	}
	f.SHA256 = attestation.Digest(whole.Sum(nil))
	return nil
}

// readAt fills b. An end of the file where there should be none is an error; one
// right after b is not.
func readAt(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	return noFirmware(PartFile, "%d bytes at %d, want %d: %v", n, at, len(b), err)
}

// footer reads the table of entries that ends with its own identifier. It is read
// backwards: each entry ends with its length and identifier.
func footer(b []byte) (map[[16]byte][]byte, error) {
	last, id := tailOf(b)
	if id != guidFooter {
		return nil, noFirmware(PartFooter, "not there: not OVMF, or a part of it only (the code without what ends at 4 GiB)")
	}
	if last < entryTail || last > len(b) {
		return nil, noFirmware(PartFooter, "of %d bytes", last)
	}
	rest, out := b[len(b)-last:len(b)-entryTail], map[[16]byte][]byte{}
	for len(rest) > 0 {
		n, id := tailOf(rest)
		if n < entryTail || n > len(rest) {
			return nil, noFirmware(PartFooter, "an entry of %d bytes where %d are left", n, len(rest))
		}
		if _, twice := out[id]; twice {
			return nil, noFirmware(PartFooter, "entry %x twice: readers differ in which they take", id)
		}
		out[id] = rest[len(rest)-n : len(rest)-entryTail]
		rest = rest[:len(rest)-n]
	}
	return out, nil
}

// tailOf reads length and identifier at the end; length 0 if there is no room.
func tailOf(b []byte) (n int, id [16]byte) {
	if len(b) < entryTail {
		return 0, id
	}
	b = b[len(b)-entryTail:]
	return int(binary.LittleEndian.Uint16(b)), [16]byte(b[2:])
}

// addresses reads the entries that are an address.
func addresses(table map[[16]byte][]byte) (reset, hashes uint32, err error) {
	if b, ok := table[guidReset]; ok {
		if len(b) != 4 {
			return 0, 0, noFirmware(PartReset, "of %d bytes, want 4", len(b))
		}
		reset = binary.LittleEndian.Uint32(b)
	}
	b, ok := table[guidHashes]
	if !ok {
		return reset, 0, nil
	}
	if len(b) != 8 {
		return 0, 0, noFirmware(PartHashes, "of %d bytes, want address and size", len(b))
	}
	hashes = binary.LittleEndian.Uint32(b)
	if size := binary.LittleEndian.Uint32(b[4:]); hashes != 0 && size < paddedTable {
		return 0, 0, noFirmware(PartHashes, "has %d bytes, the table %d", size, paddedTable)
	}
	return reset, hashes, nil
}

// metadata reads the list of sections:
//
//	struct {
//	    uint8  signature[4];  /* "ASEV" */
//	    uint32 length;        /* of all, this header included */
//	    uint32 version;       /* 1 */
//	    uint32 count;
//	    struct { uint32 address, size, kind; } sections[count];
//	}
func metadata(table map[[16]byte][]byte, r io.ReaderAt, size int64) ([]Section, error) {
	const header, each = 16, 12
	entry, ok := table[guidMetadata]
	if !ok {
		return nil, noFirmware(PartMetadata, "not there: a build without SEV-SNP")
	}
	if len(entry) != 4 {
		return nil, noFirmware(PartMetadata, "its place has %d bytes, want 4", len(entry))
	}
	fromEnd := int64(binary.LittleEndian.Uint32(entry))
	if fromEnd < header || fromEnd > size {
		return nil, noFirmware(PartMetadata, "%d bytes before the end of %d", fromEnd, size)
	}
	b := make([]byte, min(header+maxSections*each, fromEnd))
	if err := readAt(r, b, size-fromEnd); err != nil {
		return nil, err
	}
	if string(b[:4]) != "ASEV" {
		return nil, noFirmware(PartMetadata, "no signature where the footer points to")
	}
	le := binary.LittleEndian
	length, version, count := le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])
	switch {
	case version != 1:
		return nil, noFirmware(PartMetadata, "version %d, known is 1", version)
	case count == 0 || count > maxSections || length != header+count*each || int64(length) > int64(len(b)):
		return nil, noFirmware(PartMetadata, "%d sections in %d bytes", count, length)
	}
	var out []Section
	for s := b[header:length]; len(s) > 0; s = s[each:] {
		out = append(out, Section{le.Uint32(s), le.Uint32(s[4:]), SectionKind(le.Uint32(s[8:]))})
	}
	return out, nil
}

// fit checks that sections are what a hypervisor can do, and only once.
func (f *Firmware) fit(size int64) error {
	var total uint64
	count := map[SectionKind]int{}
	for _, s := range f.Sections {
		count[s.Kind]++
		total += uint64(s.Size)
		end := uint64(s.Address) + uint64(s.Size)
		switch {
		case s.Size == 0 || s.Size%page != 0 || s.Address%page != 0:
			return noFirmware(PartMetadata, "section at %#x of %#x bytes is not whole pages", s.Address, s.Size)
		case end > 1<<32-uint64(size):
			return noFirmware(PartMetadata, "section at %#x of %#x bytes reaches into the firmware itself", s.Address, s.Size)
		}
		switch s.Kind {
		case SectionMemory:
		case SectionSecrets, SectionCPUID, SectionSVSM, SectionHashes:
			if s.Size != page || count[s.Kind] > 1 {
				return noFirmware(PartMetadata, "section of kind %#x at %#x: want one, of one page", uint32(s.Kind), s.Address)
			}
		default:
			return noFirmware(PartMetadata, "section of kind %#x, which is not known", uint32(s.Kind))
		}
	}
	if total > maxInitial {
		return noFirmware(PartMetadata, "sections of %d bytes, allowed are %d", total, maxInitial)
	}
	sorted := slices.SortedFunc(slices.Values(f.Sections), func(x, y Section) int { return cmp.Compare(x.Address, y.Address) })
	for i := 1; i < len(sorted); i++ {
		if before := sorted[i-1]; uint64(before.Address)+uint64(before.Size) > uint64(sorted[i].Address) {
			return noFirmware(PartMetadata, "sections at %#x and %#x overlap", before.Address, sorted[i].Address)
		}
	}
	if count[SectionSecrets] == 0 || count[SectionCPUID] == 0 {
		return noFirmware(PartMetadata, "no section for the chip's secrets, or none for CPUID: SEV-SNP needs both")
	}
	return nil
}

// guid is an identifier in the byte order that firmware has it in.
func guid(a uint32, b, c uint16, rest uint64) (out [16]byte) {
	binary.LittleEndian.PutUint32(out[:], a)
	binary.LittleEndian.PutUint16(out[4:], b)
	binary.LittleEndian.PutUint16(out[6:], c)
	binary.BigEndian.PutUint64(out[8:], rest)
	return out
}
