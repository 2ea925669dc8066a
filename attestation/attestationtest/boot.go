// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestationtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"unicode/utf16"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakenitro"
)

// CommandLine is the kernel command line of the lab image.
const CommandLine = "console=ttyS0 ro panic=-1 roothash=" +
	"5ab0000000000000000000000000000000000000000000000000000000000001 systemd.verity=1 SIMULATED"

// An Event is one event of a simulated boot. Digest is what is extended; the
// hash of Data unless set.
type Event struct {
	PCR    int
	Type   uint32
	Data   []byte
	Digest [32]byte
}

// An Extender can extend a PCR: *tpm.TPM and [SoftTPM] do.
type Extender interface {
	Extend(ctx context.Context, pcr int, digest [32]byte) error
}

// Boot plays the measured boot of the lab image into t, whose registers must be
// as after a reset, and returns its event log. The configuration is not part of
// it: measuring that is the node's business (collect.MeasureConfig).
func Boot(ctx context.Context, t Extender) (eventLog []byte, err error) {
	return Play(ctx, t, Events())
}

// Play extends events into t and returns their log.
func Play(ctx context.Context, t Extender, events []Event) ([]byte, error) {
	for _, e := range events {
		if err := t.Extend(ctx, e.PCR, e.digest()); err != nil {
			return nil, err
		}
	}
	return EventLog(events), nil
}

func (e Event) digest() [32]byte {
	if e.Digest != [32]byte{} {
		return e.Digest
	}
	return sha256.Sum256(e.Data)
}

// Events lists the events of the lab image's boot, in the shape that OVMF and
// systemd-stub give them.
func Events() []Event {
	code := func(part string) [32]byte { return sha256.Sum256([]byte("SIMULATED " + part)) }
	var out []Event
	add := func(pcr int, typ uint32, data []byte, digest [32]byte) {
		out = append(out, Event{pcr, typ, data, digest})
	}
	none := [32]byte{}
	add(0, 0x08, wide("SIMULATED firmware 1"), none)              // EV_S_CRTM_VERSION
	add(0, 0x80000008, make([]byte, 16), code("firmware volume")) // EV_EFI_PLATFORM_FIRMWARE_BLOB
	add(7, 0x80000001, Variable("SecureBoot", []byte{1}), none)   // EV_EFI_VARIABLE_DRIVER_CONFIG
	add(7, 0x80000001, Variable("PK", []byte("SIMULATED platform key")), none)
	add(7, 0x80000001, Variable("KEK", []byte("SIMULATED key exchange key")), none)
	for pcr := range 8 {
		add(pcr, 0x04, make([]byte, 4), none) // EV_SEPARATOR
	}
	add(4, 0x80000003, imageLoad("\\EFI\\BOOT\\BOOTX64.EFI"), code("unified kernel image")) // EV_EFI_BOOT_SERVICES_APPLICATION
	for _, section := range []string{".linux", ".osrel", ".cmdline", ".initrd"} {
		add(11, 0x0d, append([]byte(section), 0), none) // EV_IPL: the name, then the content
		add(11, 0x0d, append([]byte(section), 0), code("section "+section))
	}
	add(12, 0x0d, wide(CommandLine), none)
	add(4, 0x80000003, imageLoad("\\SIMULATED\\vmlinuz"), code("kernel"))
	add(9, 0x06, []byte("SIMULATED initrd"), code("initrd")) // EV_EVENT_TAG
	return out
}

// CommandLineEvent returns the event that systemd-stub makes of a command line.
func CommandLineEvent(line string) Event { return Event{PCR: 12, Type: 0x0d, Data: wide(line)} }

// wide prints a string as UEFI does: UTF-16, NUL at the end.
func wide(s string) []byte {
	var b []byte
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// Variable prints a UEFI_VARIABLE_DATA of the global vendor.
func Variable(name string, value []byte) []byte {
	b := []byte("\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c")
	w := wide(name)
	w = w[:len(w)-2] // names in this structure have no NUL
	b = binary.LittleEndian.AppendUint64(b, uint64(len(w)/2))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	return append(append(b, w...), value...)
}

// imageLoad prints a UEFI_IMAGE_LOAD_EVENT (TCG PC Client Platform Firmware
// Profile, Section 10.2.3) of a file: where it was loaded, which nobody reads, and
// a device path of a file path node and the end (UEFI, Section 10.3).
func imageLoad(path string) []byte {
	le, name := binary.LittleEndian, wide(path)
	var device []byte
	device = append(device, 4, 4) // media, file path
	device = append(le.AppendUint16(device, uint16(4+len(name))), name...)
	device = append(device, 0x7f, 0xff, 4, 0) // the end of the entire path
	b := le.AppendUint64(nil, 0x100000)
	b = le.AppendUint64(b, 0x200000)
	b = le.AppendUint64(b, 0)
	return append(le.AppendUint64(b, uint64(len(device))), device...)
}

// EventLog prints events as a crypto-agile log with SHA-256 and SHA-384 digests.
func EventLog(events []Event) []byte {
	le := binary.LittleEndian
	spec := []byte("Spec ID Event03\x00\x00\x00\x00\x00\x00\x02\x00\x02")
	spec = le.AppendUint32(spec, 2)
	spec = le.AppendUint16(le.AppendUint16(spec, 0x0b), 32)
	spec = le.AppendUint16(le.AppendUint16(spec, 0x0c), 48)
	spec = append(spec, 0)
	out := le.AppendUint32(le.AppendUint32(nil, 0), 3)
	out = append(out, make([]byte, 20)...)
	out = append(le.AppendUint32(out, uint32(len(spec))), spec...)
	for _, e := range events {
		digest, long := e.digest(), sha512.Sum384(e.Data)
		out = le.AppendUint32(le.AppendUint32(out, uint32(e.PCR)), e.Type)
		out = le.AppendUint32(out, 2)
		out = append(le.AppendUint16(out, 0x0b), digest[:]...)
		out = append(le.AppendUint16(out, 0x0c), long[:]...)
		out = append(le.AppendUint32(out, uint32(len(e.Data))), e.Data...)
	}
	return out
}

// Image returns the reference values of the lab image that [Boot] boots.
func Image() attestation.Image {
	registers := Registers(Events())
	image := attestation.Image{
		Name: "SIMULATED lab image", Platform: attestation.SNP, Measurement: sha512.Sum384([]byte("SIMULATED lab image")),
		PCRs: map[int]attestation.Digest{}, CommandLines: []string{CommandLine},
	}
	for _, i := range []int{0, 2, 4, 9, 11} {
		image.PCRs[i] = registers[i]
	}
	return image
}

// ImageOn is [Image] as released for a platform.
func ImageOn(p attestation.Platform) attestation.Image {
	i := Image()
	if i.Platform = p; p == attestation.SNP {
		return i
	}
	i.Name += " on " + string(p)
	switch p {
	case attestation.TPM:
		i.Measurement = attestation.Measurement{}
	case attestation.NitroTPM:
		i.Measurement, i.NitroPCRs = attestation.Measurement{}, map[int]attestation.Measurement{}
		for pcr, value := range fakenitro.PCRs() {
			i.NitroPCRs[pcr] = value
		}
	case attestation.TDX, attestation.GoogleTDX:
		events := CCEvents()
		registers := CCRegisters(events)
		i.RTMRs = map[int]attestation.Measurement{1: registers[1], 2: registers[2]}
		for _, e := range events {
			switch {
			case string(e.Data) == acpiData:
				i.ACPI = append(i.ACPI, e.digest384())
			case e.PCR == 3 && !bytes.Equal(e.Data, wide(CommandLine)):
				i.RTMR2Events = append(i.RTMR2Events, e.digest384())
			}
		}
	}
	return i
}

// Registers returns the PCR values that events lead to.
func Registers(events []Event) [24][32]byte {
	var out [24][32]byte
	for _, e := range events {
		out[e.PCR] = extend(out[e.PCR], e.digest())
	}
	return out
}

func extend(old, digest [32]byte) [32]byte { return sha256.Sum256(append(old[:], digest[:]...)) }
