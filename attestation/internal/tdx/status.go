// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx

import "slices"

// A Status is what Intel says of a platform's firmware (PCS API version 4, TCB
// status), or [NotSupported] where it says nothing.
type Status string

// The statuses, from best to worst. The last two are never acceptable.
const (
	UpToDate                          Status = "UpToDate"
	SWHardeningNeeded                 Status = "SWHardeningNeeded"
	ConfigurationNeeded               Status = "ConfigurationNeeded"
	ConfigurationAndSWHardeningNeeded Status = "ConfigurationAndSWHardeningNeeded"
	OutOfDate                         Status = "OutOfDate"
	OutOfDateConfigurationNeeded      Status = "OutOfDateConfigurationNeeded"
	NotSupported                      Status = "NotSupported" // below every level that Intel lists
	Revoked                           Status = "Revoked"
)

// Statuses returns all statuses, from best to worst.
func Statuses() []Status {
	return []Status{UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded,
		OutOfDate, OutOfDateConfigurationNeeded, NotSupported, Revoked}
}

// listed reports whether Intel may give a platform that status; an enclave or a
// module has fewer.
func (s Status) listed() bool { return s != NotSupported && slices.Contains(Statuses(), s) }

func (s Status) ofEnclave() bool { return s == UpToDate || s == OutOfDate || s == Revoked }

// Faults of which a status is a set. A status that says out of date does not
// tell whether hardening would be needed too.
const (
	faultHardening = 1 << iota
	faultConfiguration
	faultOutOfDate
	faultNotSupported
	faultRevoked
)

var faults = map[Status]int{
	UpToDate: 0, SWHardeningNeeded: faultHardening, ConfigurationNeeded: faultConfiguration,
	ConfigurationAndSWHardeningNeeded: faultConfiguration | faultHardening,
	OutOfDate:                         faultOutOfDate,
	OutOfDateConfigurationNeeded:      faultOutOfDate | faultConfiguration,
	NotSupported:                      faultNotSupported, Revoked: faultRevoked,
}

// Converge returns the status of a platform whose parts have these: as Intel's
// quote verification library merges those of platform, module and quoting
// enclave. It is [NotSupported] of none, or of what is no status.
func Converge(parts ...Status) Status {
	if len(parts) == 0 {
		return NotSupported
	}
	sum := 0
	for _, p := range parts {
		f, ok := faults[p]
		if !ok {
			f = faultNotSupported
		}
		sum |= f
	}
	switch {
	case sum&faultRevoked != 0:
		return Revoked
	case sum&faultNotSupported != 0:
		return NotSupported
	case sum&faultOutOfDate != 0:
		sum &^= faultHardening
	}
	for s, f := range faults {
		if f == sum {
			return s
		}
	}
	return NotSupported
}
