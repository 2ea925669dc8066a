// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package measure_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency/release/measure"
)

// entry is one of the footer table: data, length, identifier.
func entry(id string, data []byte) []byte {
	b, err := hex.DecodeString(id)
	if err != nil {
		panic(err)
	}
	return append(binary.LittleEndian.AppendUint16(bytes.Clone(data), uint16(len(data)+18)), b...)
}

// Identifiers as they are in OVMF files, read off with xxd.
const (
	idFooter   = "de82b596b21ff745baeaa366c55a082d"
	idReset    = "de71f7007e1acb4f890e68c77e2fb44e"
	idMetadata = "666588dc4a989847a75e5585a7bf67cc"
	idHashes   = "1f3755723b3a044b927b1da6efa8d454"
	idOther    = "61b32e4c9b7dc34c8081127c90d3d294"
)

func words(v ...uint32) (out []byte) {
	for _, w := range v {
		out = binary.LittleEndian.AppendUint32(out, w)
	}
	return out
}

// metadata prints sections as OVMF has them.
func metadata(sections []measure.Section) []byte {
	out := append([]byte("ASEV"), words(uint32(16+12*len(sections)), 1, uint32(len(sections)))...)
	for _, s := range sections {
		out = append(out, words(s.Address, s.Size, uint32(s.Kind))...)
	}
	return out
}

// withTable writes a file of one page or more that ends with a footer table.
func withTable(size int, meta []byte, entries ...[]byte) []byte {
	b := bytes.Repeat([]byte{0xff}, size)
	copy(b, meta)
	all := bytes.Join(entries, nil)
	all = append(all, entry(idFooter, nil)...)
	binary.LittleEndian.PutUint16(all[len(all)-18:], uint16(len(all)))
	copy(b[size-32-len(all):], all)
	return b
}

// file is a firmware of whole pages with everything that a direct boot needs.
func file(size int, sections []measure.Section) []byte {
	return withTable(size, metadata(sections), entry(idMetadata, words(uint32(size))), entry(idHashes, words(table, 0x400)),
		entry(idOther, words(0x810000, 0xc00)), entry(idReset, words(reset)))
}

func read(b []byte) (*measure.Firmware, error) {
	return measure.ReadFirmware(bytes.NewReader(b), int64(len(b)))
}

func TestReadFirmware(t *testing.T) {
	for _, size := range []int{4096, 8192, 1 << 16, 1<<16 + 4096} {
		b := file(size, amdSev)
		f, err := read(b)
		if err != nil {
			t.Fatal(size, err)
		}
		if f.Reset != reset || f.Hashes != table || !reflect.DeepEqual(f.Sections, amdSev) || f.SHA256 != attestation.Digest(sha256.Sum256(b)) {
			t.Errorf("%d: %+v", size, f)
		}
		if f.Code() != measure.Normal(1<<32-uint64(size), b) {
			t.Errorf("%d: pages are not those that end at 4 GiB", size)
		}
	}
}

// TestHostileFirmware: what is missing is named, and what two readers could read
// in two ways is refused.
func TestHostileFirmware(t *testing.T) {
	meta := metadata(amdSev)
	place, hashes, start := entry(idMetadata, words(4096)), entry(idHashes, words(table, 0x400)), entry(idReset, words(reset))
	change := func(change func(s []measure.Section) []measure.Section) []byte {
		return file(4096, change(append([]measure.Section{}, amdSev...)))
	}
	edit := func(at int, with ...byte) []byte {
		b := file(4096, amdSev)
		copy(b[(at+len(b))%len(b):], with)
		return b
	}
	for name, c := range map[string]struct {
		b    []byte
		part string
	}{
		"nothing":              {nil, measure.PartFile},
		"no whole page":        {make([]byte, 4097), measure.PartFile},
		"zeros":                {make([]byte, 8192), measure.PartFooter},
		"cut at its end":       {file(8192, amdSev)[:4096], measure.PartFooter},
		"without SEV":          {withTable(4096, meta, start), measure.PartMetadata},
		"place of no size":     {withTable(4096, meta, entry(idMetadata, nil)), measure.PartMetadata},
		"place beyond":         {withTable(4096, meta, entry(idMetadata, words(4097))), measure.PartMetadata},
		"place at the end":     {withTable(4096, meta, entry(idMetadata, words(15))), measure.PartMetadata},
		"place of nothing":     {withTable(4096, nil, place), measure.PartMetadata},
		"entry twice":          {withTable(4096, meta, place, start, start), measure.PartFooter},
		"entry too long":       {edit(-32-18-18, 0xff), measure.PartFooter},
		"entry too short":      {edit(-32-18-18, 17, 0), measure.PartFooter},
		"table too long":       {edit(-32-18, 0xff, 0xff), measure.PartFooter},
		"table too short":      {edit(-32-18, 17, 0), measure.PartFooter},
		"bytes left over":      {edit(-32-18, 18+22+26+26+22+1, 0), measure.PartFooter},
		"reset of two bytes":   {withTable(4096, meta, place, entry(idReset, []byte{1, 2})), measure.PartReset},
		"hashes of four":       {withTable(4096, meta, place, entry(idHashes, words(table))), measure.PartHashes},
		"hashes too small":     {withTable(4096, meta, place, entry(idHashes, words(table, 175))), measure.PartHashes},
		"version 2":            {edit(8, 2), measure.PartMetadata},
		"count of none":        {edit(12, 0), measure.PartMetadata},
		"count too large":      {edit(12, 0xff, 0xff, 0xff, 0xff), measure.PartMetadata},
		"length too large":     {edit(4, 0xff, 0xff, 0xff, 0xff), measure.PartMetadata},
		"length of eight":      {edit(4, 16+12*8), measure.PartMetadata},
		"length of six":        {edit(4, 16+12*6), measure.PartMetadata},
		"count that wraps":     {edit(12, 7, 0, 0, 0x40), measure.PartMetadata}, // times 12 it is 84 again
		"sections of 65":       {change(func([]measure.Section) []measure.Section { return many(65, 1) }), measure.PartMetadata},
		"sections over 64 MiB": {change(func([]measure.Section) []measure.Section { return append(many(16, 1024), filled...) }), measure.PartMetadata},
		"section of nothing":   {change(func(s []measure.Section) []measure.Section { s[0].Size = 0; return s }), measure.PartMetadata},
		"half a page":          {change(func(s []measure.Section) []measure.Section { s[0].Size++; return s }), measure.PartMetadata},
		"between pages":        {change(func(s []measure.Section) []measure.Section { s[0].Address++; return s }), measure.PartMetadata},
		"into the firmware":    {change(func(s []measure.Section) []measure.Section { s[0].Address = 0xffff7000; return s }), measure.PartMetadata},
		"over 4 GiB":           {change(func(s []measure.Section) []measure.Section { s[0].Size = 0xfffff000; return s }), measure.PartMetadata},
		"overlap":              {change(func(s []measure.Section) []measure.Section { s[0].Size = 0xb000; return s }), measure.PartMetadata},
		"unknown kind":         {change(func(s []measure.Section) []measure.Section { s[0].Kind = 5; return s }), measure.PartMetadata},
		"two for secrets":      {change(func(s []measure.Section) []measure.Section { s[4].Kind = measure.SectionSecrets; return s }), measure.PartMetadata},
		"no secrets":           {change(func(s []measure.Section) []measure.Section { s[2].Kind = measure.SectionMemory; return s }), measure.PartMetadata},
		"no CPUID":             {change(func(s []measure.Section) []measure.Section { s[3].Kind = measure.SectionMemory; return s }), measure.PartMetadata},
		"hashes of two pages": {change(func(s []measure.Section) []measure.Section {
			s[5].Size, s[6].Address, s[6].Size = 0x2000, 0x812000, 0xe000
			return s
		}), measure.PartMetadata},
		"hashes, and no rest": {withTable(4096, meta, hashes), measure.PartMetadata},
	} {
		var e *measure.FirmwareError
		f, err := read(c.b)
		if f != nil || !errors.As(err, &e) || e.Part != c.part {
			t.Errorf("%s: %v, %v; want it to be about the %s", name, f, err, c.part)
		}
	}
	most := append(many(62, 1), filled...)
	most[0].Size, most[0].Address = 64<<20-63*4096, 1<<30
	if _, err := read(file(4096, most)); err != nil {
		t.Errorf("64 sections of 64 MiB: %v", err)
	}
	if _, err := measure.ReadFirmware(bytes.NewReader(file(4096, amdSev)), 8192); err == nil {
		t.Error("a size was believed that is not there")
	}
	if _, err := measure.ReadFirmware(endless{}, measure.MaxFirmware+4096); err == nil {
		t.Error("a firmware of any size is read")
	}
}

// endless has zeros everywhere.
type endless struct{}

func (endless) ReadAt(b []byte, _ int64) (int, error) { clear(b); return len(b), nil }

// filled are the sections that every firmware needs.
var filled = []measure.Section{{Address: 0xf0000000, Size: 4096, Kind: measure.SectionSecrets}, {Address: 0xf0001000, Size: 4096, Kind: measure.SectionCPUID}}

// many are sections of some pages each.
func many(n, pages int) (out []measure.Section) {
	for i := range n {
		out = append(out, measure.Section{Address: uint32(i*pages+1) * 4096, Size: uint32(pages) * 4096, Kind: measure.SectionMemory})
	}
	return out
}

// failing is a reader whose file goes away, or becomes shorter.
type failing struct {
	b    []byte
	left int
}

func (f *failing) ReadAt(b []byte, at int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return bytes.NewReader(f.b).ReadAt(b, at)
}

func TestFirmwareGoesAway(t *testing.T) {
	b := file(8192, amdSev)
	for left := range 4 { // tables, metadata, two pages
		if f, err := measure.ReadFirmware(&failing{b, left}, int64(len(b))); err == nil {
			t.Errorf("after %d reads: %+v", left, f)
		}
	}
	if _, err := measure.ReadFirmware(&failing{b, 4}, int64(len(b))); err != nil {
		t.Error(err)
	}
}

// TestRealFirmware: Debian's OVMF (2022.11), a build for any kernel, is read; and
// where there is one for confidential machines (later Debian's ovmf has it), that.
func TestRealFirmware(t *testing.T) {
	for path, direct := range map[string]bool{"/usr/share/ovmf/OVMF.fd": false, "/usr/share/ovmf/OVMF.amdsev.fd": true} {
		t.Run(path, func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Skipf("no firmware to read (apt-get install ovmf): %v", err)
			}
			f, err := read(b)
			if err != nil {
				t.Fatal(err)
			}
			l := &measure.Launch{VMM: measure.QEMU, VCPUs: 2, CPU: cpu(t, "EPYC-Genoa"), Features: measure.FeatureSNP}
			without, err := f.LaunchDigest(l)
			if err != nil || f.Reset>>16 != 0x80 {
				t.Errorf("%v %+v", err, f)
			}
			t.Logf("SHA-256 %x, 2 processors: %x", f.SHA256, without)
			l.Boot = nothing(t, "")
			with, err := f.LaunchDigest(l)
			var e *measure.FirmwareError
			if direct && (err != nil || with == without) || !direct && (!errors.As(err, &e) || e.Part != measure.PartHashes) {
				t.Errorf("with a kernel: %x, %v", with, err)
			}
		})
	}
	// A part of OVMF that does not end at 4 GiB has no table.
	if b, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS.fd"); err == nil {
		if _, err := read(b); err == nil || !strings.Contains(err.Error(), "not OVMF") {
			t.Errorf("a store of variables was read as firmware: %v", err)
		}
	}
}

// FuzzReadFirmware: what is read prints back, as far as it was read.
func FuzzReadFirmware(f *testing.F) {
	f.Add(file(4096, amdSev))
	f.Add(file(8192, ovmf))
	f.Add(withTable(4096, metadata(ovmf), entry(idMetadata, words(4096))))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := read(in)
		if err != nil {
			if got != nil {
				t.Error("a firmware beside an error")
			}
			return
		}
		if !bytes.Contains(in, metadata(got.Sections)) {
			t.Errorf("sections that are not in the file: %+v", got.Sections)
		}
		again, err := read(file(4096, got.Sections))
		if err != nil && len(got.Sections) < 64 || err == nil && !reflect.DeepEqual(again.Sections, got.Sections) {
			t.Errorf("printed sections are not read again: %v", err)
		}
		if got.Reset != 0 {
			if _, err := got.LaunchDigest(&measure.Launch{VMM: measure.QEMU, VCPUs: 2, CPU: 1, Features: 1}); err != nil {
				t.Error(err)
			}
		}
	})
}
