// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/eventlog"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// checkLog replays the event log. The configuration's PCR and IMA's belong to
// the running system: a log that claims events in them tells of something else.
func checkLog(v *verification) (outcome, error) {
	l, err := eventlog.Parse(v.piece(evidence.KindEventLog))
	if err != nil {
		return outcome{}, refuse.As(refuse.LogFormat, "%v", err)
	}
	if l.Touches(evidence.ConfigPCR) || l.Touches(10) {
		return outcome{}, refuse.As(refuse.LogReplay, "event log has events of the running system")
	}
	replayed := l.Replay()
	for _, i := range evidence.SealPCRs() {
		if quoted := v.pcrs[i]; i != evidence.ConfigPCR && replayed[i] != quoted {
			return outcome{}, refuse.As(refuse.LogReplay, "PCR %d replays to %x.., quoted %x..", i, replayed[i][:8], quoted[:8])
		}
	}
	v.log = l
	return outcome{got: fmt.Sprintf("%d events", len(l.Events))}, nil
}

// checkCCEL replays the log of a TD. RTMR 3 belongs to the running system.
func checkCCEL(v *verification) (outcome, error) {
	l, err := eventlog.ParseCC(v.piece(evidence.KindCCEL))
	if err != nil {
		return outcome{}, refuse.As(refuse.LogFormat, "confidential computing event log: %v", err)
	}
	replayed := l.ReplayRTMRs()
	for i := range 3 {
		if got, want := replayed[i], v.rtmrs[i]; got != want {
			return outcome{}, refuse.Differ(refuse.LogReplay, fmt.Sprintf("RTMR %d after replay", i), fmt.Sprintf("%x", want), fmt.Sprintf("%x", got))
		}
	}
	v.ccel = l
	return outcome{expected: "RTMRs 0, 1, 2 of the quote", got: fmt.Sprintf("equal, %d events", len(l.Events))}, nil
}

// checkACPI compares the tables that the host made with the release's: AML in
// them runs in the guest's kernel.
func checkACPI(v *verification) (outcome, error) {
	if v.ccel == nil {
		return outcome{gap: "ACPI: tables that the host makes are measured into no register that is quoted"}, nil
	}
	if _, ok := v.image.RTMRs[0]; ok {
		return outcome{got: "covered by RTMR 0"}, nil
	}
	got, err := v.ccel.ACPI()
	if err != nil {
		return outcome{}, logRefusal(err, "ACPI tables")
	}
	if !slices.EqualFunc(got, v.image.ACPI, func(a [48]byte, b Measurement) bool { return a == b }) {
		return outcome{}, refuse.Differ(refuse.ACPI, "list of ACPI tables", fmt.Sprintf("%x", v.image.ACPI), fmt.Sprintf("%x", got))
	}
	return outcome{got: fmt.Sprintf("%d measurements, equal", len(got))}, nil
}

// checkTDLine is [checkCommandLine] for a TD. Where the release does not list
// what else is in RTMR 2, that register as a whole speaks for the line.
func checkTDLine(v *verification) (outcome, error) {
	if len(v.image.RTMR2Events) == 0 {
		return outcome{expected: oneOf(v.image.CommandLines), got: "covered by RTMR 2"}, nil
	}
	known := make([][48]byte, len(v.image.RTMR2Events))
	for i, m := range v.image.RTMR2Events {
		known[i] = m
	}
	line, err := v.ccel.CommandLine(known)
	if err != nil {
		return outcome{}, logRefusal(err, "command line")
	}
	for _, want := range v.image.CommandLines {
		if line.Is(want) {
			v.line = want
			return outcome{got: fmt.Sprintf("%q", want)}, nil
		}
	}
	return outcome{}, refuse.Differ(refuse.Cmdline, "command line", oneOf(v.image.CommandLines), fmt.Sprintf("%.200q, SHA-384 %x", line.Text, line.Digest))
}

// oneOf names what is allowed. A list of one is the value itself, so that a
// report can mark where it differs.
func oneOf(lines []string) string {
	if len(lines) == 1 {
		return fmt.Sprintf("%q", lines[0])
	}
	return fmt.Sprintf("one of %q", lines)
}

// logRefusal maps what the event log says of itself.
func logRefusal(err error, what string) error {
	if errors.Is(err, eventlog.ErrDigest) {
		return refuse.As(refuse.LogDigest, "%s: %v", what, err)
	}
	return refuse.As(refuse.LogDerived, "%s: %v", what, err)
}

// checkCommandLine compares bytes: there is no parser here to disagree with the
// kernel's. Only for the sake of the message is an unknown root told apart.
func checkCommandLine(v *verification) (outcome, error) {
	if v.ccel != nil {
		return checkTDLine(v)
	}
	line, err := v.log.CommandLine()
	if err != nil {
		return outcome{}, logRefusal(err, "command line")
	}
	v.line = line
	if slices.Contains(v.image.CommandLines, line) {
		return outcome{got: fmt.Sprintf("%q", line)}, nil
	}
	out := outcome{expected: oneOf(v.image.CommandLines), got: fmt.Sprintf("%.200q", line)}
	rest, ok := cutRootHash(line)
	for _, known := range v.image.CommandLines {
		if want, has := cutRootHash(known); ok && has && rest == want {
			return out, refuse.As(refuse.Verity, "unknown dm-verity root")
		}
	}
	return out, refuse.As(refuse.Cmdline, "command line is not the release's")
}

// cutRootHash removes the value of the one roothash= option.
func cutRootHash(line string) (string, bool) {
	const option = "roothash="
	if strings.Count(line, option) != 1 {
		return "", false
	}
	before, after, _ := strings.Cut(line, option)
	_, after, _ = strings.Cut(after, " ")
	return before + option + " " + after, true
}

func checkSecureBoot(v *verification) (outcome, error) {
	on, err := v.log.SecureBoot()
	if v.ccel != nil {
		on, err = v.ccel.SecureBoot()
	}
	switch {
	case errors.Is(err, eventlog.ErrAbsent) && v.p.AllowSecureBootOff:
		return outcome{got: "not said", gap: "Secure Boot: the events do not say"}, nil
	case err != nil:
		return outcome{}, logRefusal(err, "Secure Boot")
	case !on && !v.p.AllowSecureBootOff:
		return outcome{}, refuse.As(refuse.SecureBoot, "the firmware measured Secure Boot as off")
	case !on:
		return outcome{got: "off", gap: "Secure Boot: off"}, nil
	case v.ccel == nil && !v.platform.registersProve():
		return outcome{got: "on, from an event in the log", gap: "Secure Boot: " + ownersTPM}, nil
	}
	return outcome{got: "on, from the firmware's own event"}, nil
}

func checkConfig(v *verification) (outcome, error) {
	if want := evidence.ConfigPCRValue(v.statement.ConfigHash); v.pcrs[evidence.ConfigPCR] != want {
		return outcome{}, refuse.As(refuse.Config, "PCR %d does not hold this configuration alone", evidence.ConfigPCR)
	}
	c, err := evidence.ParseConfig(v.piece(evidence.KindConfig))
	if err != nil {
		return outcome{}, refuse.As(refuse.Config, "%v", err)
	}
	payment, _ := c.PaymentMode()
	switch {
	case c.Simulated != v.p.Roots.Simulated():
		return outcome{}, refuse.As(refuse.Simulated, "configuration says simulated: %t", c.Simulated)
	case c.Model != v.refs.Model:
		return outcome{}, refuse.As(refuse.Model, "node serves %q, listed for %q", c.Model, v.refs.Model)
	case c.WeightsDigest() != v.refs.WeightsDigest:
		return outcome{}, refuse.As(refuse.Model, "weights %s, listed %x", c.Weights, v.refs.WeightsDigest)
	case payment != v.refs.Payment:
		return outcome{}, refuse.As(refuse.Payment, "node runs with payment %q, the statement says %d", c.Payment, v.refs.Payment)
	case payment == evidence.PaymentCoins && !c.TakesTickets(v.refs.TicketKey):
		return outcome{}, refuse.As(refuse.Payment, "node takes tickets of other keys than the statement's")
	}
	v.config = c
	return outcome{expected: v.refs.Model, got: fmt.Sprintf("%q, payment %s", c.Model, c.Payment)}, nil
}
