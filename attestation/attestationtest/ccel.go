// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestationtest

import (
	"crypto/sha512"
	"encoding/binary"
)

const acpiData = "ACPI DATA"

// CCEvents lists what a SIMULATED TD measures at boot. The register of each
// event is numbered as in a confidential computing event log: RTMR 0 is 1.
func CCEvents() []Event {
	var out []Event
	add := func(register int, typ uint32, data string) {
		out = append(out, Event{PCR: register, Type: typ, Data: []byte(data)})
	}
	add(1, 0x80000001, string(Variable("SecureBoot", []byte{1}))) // EV_EFI_VARIABLE_DRIVER_CONFIG
	add(1, 0x80000001, string(Variable("PK", []byte("SIMULATED platform key"))))
	add(1, 0x04, "\x00\x00\x00\x00") // EV_SEPARATOR
	for range 3 {
		add(1, 0x0a, acpiData) // EV_PLATFORM_CONFIG_FLAGS: loader, root pointer, tables
	}
	add(2, 0x80000003, "SIMULATED path \\EFI\\BOOT\\BOOTX64.EFI") // EV_EFI_BOOT_SERVICES_APPLICATION
	add(3, 0x0d, "SIMULATED kernel section")                      // EV_IPL
	add(3, 0x0d, string(wide(CommandLine)))
	add(3, 0x06, "SIMULATED initrd") // EV_EVENT_TAG
	return out
}

// digest384 is what a TD's register is extended with. Tables have a digest of
// their own, which their text does not hash to.
func (e Event) digest384() [48]byte {
	if string(e.Data) == acpiData {
		return sha512.Sum384([]byte("SIMULATED tables"))
	}
	return sha512.Sum384(e.Data)
}

// CCRegisters returns the RTMRs that events lead to.
func CCRegisters(events []Event) [4][48]byte {
	var out [4][48]byte
	for _, e := range events {
		d := e.digest384()
		r := &out[e.PCR-1]
		*r = sha512.Sum384(append(r[:], d[:]...))
	}
	return out
}

// CCLog prints events as a confidential computing event log.
func CCLog(events []Event) []byte {
	le := binary.LittleEndian
	spec := []byte("Spec ID Event03\x00\x00\x00\x00\x00\x00\x02\x00\x02")
	spec = le.AppendUint32(spec, 1)
	spec = le.AppendUint16(le.AppendUint16(spec, 0x0c), 48)
	spec = append(spec, 0)
	out := le.AppendUint32(le.AppendUint32(nil, 0), 3)
	out = append(out, make([]byte, 20)...)
	out = append(le.AppendUint32(out, uint32(len(spec))), spec...)
	for _, e := range events {
		d := e.digest384()
		out = le.AppendUint32(le.AppendUint32(out, uint32(e.PCR)), e.Type)
		out = append(le.AppendUint16(le.AppendUint32(out, 1), 0x0c), d[:]...)
		out = append(le.AppendUint32(out, uint32(len(e.Data))), e.Data...)
	}
	return out
}
