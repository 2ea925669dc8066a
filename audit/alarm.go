// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"slices"
	"time"
)

// A Severity says how much an alarm asks of whoever reads it.
type Severity int

// Severities, in rising order. The zero value is none of them.
const (
	Info     Severity = iota + 1 // to know: it happens in normal operation, rarely
	Notice                       // to look at: should have been announced
	Warning                      // to ask about: somebody owes an explanation
	Critical                     // to act on: a rule was broken
)

var severities = []string{"none", "info", "notice", "warning", "critical"}

func (s Severity) String() string {
	if s < 0 || int(s) >= len(severities) {
		return "none"
	}
	return severities[s]
}

// MarshalText prints a severity's name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a severity's name; "none" is the name of no severity.
func (s *Severity) UnmarshalText(b []byte) error {
	i := slices.Index(severities, string(b))
	if i < 1 {
		return fmt.Errorf("severity %q is none of info, notice, warning, critical", b)
	}
	*s = Severity(i)
	return nil
}

// A Code names what an alarm is about. The list is closed, see [Codes].
type Code string

// What can be found. docs/spec/audit.md says of each what it takes and what to do.
const (
	// Of the log itself.
	LogFork          Code = "log.fork"          // two roots, both signed
	LogRollback      Code = "log.rollback"      // a smaller tree, signed later
	LogStale         Code = "log.stale"         // no cosigned checkpoint young enough
	LogKey           Code = "log.key"           // the log signs, or is said to sign, by another key
	LogTwo           Code = "log.two"           // a mirror serves another statement, signed too, for an epoch
	WitnessMissing   Code = "witness.missing"   // a trusted witness has not cosigned for long
	WitnessBack      Code = "witness.back"      // too few to blame the log signed a smaller tree later
	StatementLate    Code = "statement.late"    // the next statement is not public in time
	LeafFormat       Code = "leaf.format"       // a leaf that is no canonical statement
	LeafIndex        Code = "leaf.index"        // a statement at another index than its epoch
	LeafChain        Code = "leaf.chain"        // a statement that does not follow the one before it
	StatementMissing Code = "statement.missing" // a leaf names a statement that nobody serves
	LeafUnsupported  Code = "leaf.unsupported"  // something in a leaf that this version cannot read
	EpochEmpty       Code = "epoch.empty"       // an outage
	GatewayKeyNew    Code = "key.gateway.new"   // a gateway key not seen before
	TicketKeyNew     Code = "key.ticket.new"    // a ticket key not seen before
	KeysetNew        Code = "keyset.new"        // a coin keyset not seen before
	KeysetChanged    Code = "keyset.changed"    // a known keyset id with other contents
	KeysetGone       Code = "keyset.gone"       // a keyset that was listed and is not
	ChipNew          Code = "chip.new"          // a chip not enrolled before
	ReleaseNew       Code = "release.new"       // a release not named before
	ReleaseRefused   Code = "release.refused"   // a release without valid provenance
	ReleaseMissing   Code = "release.missing"   // a release of which there is no release file
	ModelChanged     Code = "model.changed"     // a known model's name with other weights
	FloorLowered     Code = "tcb.lowered"       // a firmware floor went down, or away
	PaymentChanged   Code = "payment.changed"   // nothing is paid where coins were, or the other way
	MintLowered      Code = "mint.lowered"      // the mint generation went down: coins could be spent again
	MintRaised       Code = "mint.raised"       // a database was restored or promoted
	NodeRefused      Code = "node.refused"      // listed evidence that the policy refuses
	NodeStale        Code = "node.stale"        // a listed node without acceptable freshness evidence
	PackMissing      Code = "pack.missing"      // the evidence of a current epoch is served by nobody
	PackTampered     Code = "pack.tampered"     // a pack that is not what the statement names
	MirrorDown       Code = "mirror.down"       // a mirror that does not answer
	MirrorBehind     Code = "mirror.behind"     // a mirror that serves an old log
	MirrorTampered   Code = "mirror.tampered"   // a mirror that serves what nobody signed
	MirrorAlone      Code = "mirror.alone"      // fewer than two mirrors to compare
	IdentityForeign  Code = "identity.foreign"  // an entry under our identity that is not ours
	SeenFull         Code = "seen.full"         // more distinct keys than are remembered
	PolicyChanged    Code = "policy.changed"    // the auditor's own policy is another than last time
)

// A kind is what is fixed about a code.
type kind struct {
	code     Code
	severity Severity
	what     string
}

// kinds is the closed list, in the order of reports.
var kinds = []kind{
	{LogFork, Critical, "two worlds, both signed: keep the evidence, publish it"},
	{LogTwo, Critical, "two statements for one epoch, both signed"},
	{LogRollback, Critical, "the log shrank"},
	{LeafFormat, Critical, "a leaf, or the statement it names, is not in its one spelling"},
	{LeafIndex, Critical, "a statement sits at another index than its epoch"},
	{StatementMissing, Critical, "a leaf names a statement that nobody serves"},
	{LeafChain, Critical, "a statement does not follow the one before it"},
	{KeysetChanged, Critical, "a keyset id has other contents than before"},
	{MintLowered, Critical, "the mint generation went down"},
	{ReleaseRefused, Critical, "a release has no provenance that holds"},
	{ReleaseMissing, Critical, "there is no file of a named release: nothing vouches for it"},
	{IdentityForeign, Critical, "an entry under our identity is not ours"},
	{PackTampered, Critical, "a pack is not what the statement names"},
	{LogKey, Warning, "another key signs for the log, or the trust file names another"},
	{NodeRefused, Warning, "the policy refuses the evidence of a listed node"},
	{NodeStale, Warning, "a listed node has no acceptable freshness evidence"},
	{FloorLowered, Warning, "a firmware floor went down"},
	{PaymentChanged, Warning, "the payment mode changed"},
	{LogStale, Warning, "no checkpoint is young enough"},
	{StatementLate, Warning, "the next statement is late"},
	{WitnessMissing, Warning, "a witness has been silent for long"},
	{WitnessBack, Warning, "a witness put a later time on a smaller tree"},
	{PackMissing, Warning, "nobody serves the evidence of a current epoch"},
	{MirrorTampered, Warning, "a mirror serves what nobody signed"},
	{MirrorDown, Warning, "a mirror does not answer"},
	{MirrorBehind, Warning, "a mirror serves an old log"},
	{EpochEmpty, Warning, "an empty leaf: an outage"},
	{LeafUnsupported, Warning, "a leaf has something that this version cannot read"},
	{SeenFull, Warning, "more distinct keys or chips than are remembered"},
	{ModelChanged, Notice, "a model has other weights than before"},
	{GatewayKeyNew, Notice, "a new gateway key"},
	{TicketKeyNew, Notice, "a new ticket key"},
	{KeysetNew, Notice, "a new coin keyset"},
	{KeysetGone, Notice, "a coin keyset is no longer listed"},
	{ReleaseNew, Notice, "a new release"},
	{ChipNew, Notice, "a new chip"},
	{MintRaised, Notice, "the mint generation went up"},
	{PolicyChanged, Notice, "judged by another policy than before"},
	{MirrorAlone, Info, "one mirror only: nothing to compare it with"},
}

// Codes lists every code there is.
func Codes() []Code {
	out := make([]Code, len(kinds))
	for i, k := range kinds {
		out[i] = k.code
	}
	return out
}

func kindOf(c Code) kind {
	if i := slices.IndexFunc(kinds, func(k kind) bool { return k.code == c }); i >= 0 {
		return kinds[i]
	}
	return kind{code: c, severity: Critical} // one that is not in the table: never the quiet way
}

// SeverityOf is the severity of a code.
func SeverityOf(c Code) Severity { return kindOf(c).severity }

// What says in words what a code is about.
func What(c Code) string { return kindOf(c).what }

// maxSubjects is how many subjects of one kind an alarm names.
const maxSubjects = 8

// An Alarm is one finding. It is told once: an alarm about an epoch when that
// epoch is audited, one about a condition when it has lasted long enough.
type Alarm struct {
	Code     Code      `json:"code"`
	Severity Severity  `json:"severity"`
	Epoch    *uint64   `json:"epoch,omitempty"` // the leaf that it is about
	Subjects []string  `json:"subjects,omitempty"`
	Count    int       `json:"count"` // of subjects; no more than 8 are named
	Detail   string    `json:"detail"`
	Found    time.Time `json:"found"`
	Evidence string    `json:"evidence,omitempty"` // a file beside the state
}

// Text is the alarm on one line.
func (a *Alarm) Text() string {
	s := fmt.Sprintf("%-8s %s", a.Severity, a.Code)
	if a.Epoch != nil {
		s += fmt.Sprintf(" epoch %d", *a.Epoch)
	}
	for i, sub := range a.Subjects {
		sep := ", "
		if i == 0 {
			sep = " "
		}
		s += sep + sub
	}
	if more := a.Count - len(a.Subjects); more > 0 && len(a.Subjects) > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	s += ": " + a.Detail
	if a.Evidence != "" {
		s += " (evidence: " + a.Evidence + ")"
	}
	return s
}

// alarms collects findings about one leaf, one alarm for each code.
type alarms struct {
	epoch *uint64
	now   time.Time
	list  []Alarm
}

// add notes a finding; subject may be empty.
func (l *alarms) add(c Code, subject, format string, args ...any) {
	i := slices.IndexFunc(l.list, func(a Alarm) bool { return a.Code == c })
	if i < 0 {
		l.list = append(l.list, Alarm{Code: c, Severity: SeverityOf(c), Epoch: l.epoch, Detail: clean(fmt.Sprintf(format, args...)), Found: l.now})
		i = len(l.list) - 1
	}
	a := &l.list[i]
	a.Count++
	if subject != "" && len(a.Subjects) < maxSubjects {
		a.Subjects = append(a.Subjects, clean(subject))
	}
}
