// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

func TestEveryCodeIsDescribed(t *testing.T) {
	page, err := os.ReadFile("../docs/spec/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := os.ReadFile("../docs/spec/audit/report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range Codes() {
		if SeverityOf(c) < Info || What(c) == "" || !bytes.Contains(page, []byte("`"+string(c)+"` | "+SeverityOf(c).String())) {
			t.Errorf("%s: no row with its severity in docs/spec/audit.md", c)
		}
		if !bytes.Contains(schema, []byte(`"`+string(c)+`"`)) {
			t.Errorf("%s is not in the schema", c)
		}
	}
	if SeverityOf("unknown") != Critical {
		t.Error("an unknown code is quiet")
	}
}

// hostile is a report with everything in it, from a log that tries to be a page.
func hostile(t *testing.T) *rig {
	k := newKeys(t)
	leaves := chain(t, 6, func(e uint64, s *statement.Statement) {
		switch e {
		case 3:
			s.Releases = append(s.Releases, statement.Release{Digest: [32]byte{10}, Name: "</td><script>alert(1)</script>"})
		case 4:
			s.MintGeneration, s.GatewayKeys = 0, [][]byte{[]byte("x")}
		}
	})
	m := k.mirror("one.invalid", leaves...)
	m2 := k.mirror("two.invalid", grow(t, leaves[:5], edited)...)
	r := newRig(t, k, m, m2)
	r.cfg.Releases = fakeReleases{}
	return r.mustStep()
}

type fakeReleases map[[32]byte]bool

func (f fakeReleases) Release(_ context.Context, d [32]byte, _ time.Time) (*Release, error) {
	if f[d] {
		return &Release{Repository: "https://forge.invalid/sotto"}, nil
	}
	return nil, errors.New("<b>no provenance</b>")
}

func TestPageIsOneFileAndEscapes(t *testing.T) {
	rep, err := hostile(t).a.Report()
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := rep.HTML(&page); err != nil {
		t.Fatal(err)
	}
	s := page.String()
	for _, bad := range []string{"<script", "<b>no", "http://", "https://", "src=", "href="} {
		if strings.Contains(s, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, want := range []string{"two worlds, both signed", "mint.lowered", "&lt;script&gt;", "prefers-color-scheme: dark"} {
		if !strings.Contains(s, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if out := os.Getenv("AUDIT_PAGE"); out != "" { // to look at
		if err := os.WriteFile(out, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReportSaysWhatItKnows(t *testing.T) {
	r := hostile(t)
	rep, err := r.a.Report()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b, &back); err != nil || back.Worst() != Critical || back.Verdict != "alarms" || len(back.Epochs) != 6 {
		t.Errorf("%v: %s", err, b)
	}
	text := rep.Text()
	for _, want := range []string{"verdict      alarms: the worst is critical", "log.fork", "not checked", "6 leaves, 6 audited"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	var listed []string
	if err := r.a.Recorded(func(a Alarm) { listed = append(listed, string(a.Code)) }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"release.new", "release.refused", "mint.lowered", "key.gateway.new"} {
		if !slices.Contains(listed, want) {
			t.Errorf("%s is not in the records: %v", want, listed)
		}
	}
}

// TestAlarmsComeBeforeWhatCouldNotBeRead: whoever can make an audit incomplete
// does not get to hide behind that what it found.
func TestAlarmsComeBeforeWhatCouldNotBeRead(t *testing.T) {
	rep := &Report{Verdict: "incomplete", Incomplete: "audit: the statement of epoch 2: no mirror serves it yet"}
	first := func() string {
		t.Helper()
		var page bytes.Buffer
		if err := rep.HTML(&page); err != nil {
			t.Fatal(err)
		}
		_, box, _ := strings.Cut(page.String(), "<b>")
		box, _, _ = strings.Cut(box, "</div>")
		return box
	}
	if got := first(); got != "incomplete</b><p>the statement of epoch 2: no mirror serves it yet</p>" {
		t.Errorf("without alarms: %s", got)
	}
	rep.Open = []IncidentReport{{Code: LogFork, Severity: Critical}}
	if got := first(); !strings.HasPrefix(got, "alarms</b><p>the worst is critical: two worlds, both signed") || !strings.Contains(got, "incomplete: the statement of epoch 2") {
		t.Errorf("with a fork: %s", got)
	}
	if text := rep.Text(); !strings.Contains(text, "verdict      alarms: the worst is critical: two worlds") {
		t.Errorf("text:\n%s", text)
	}
	rep.Epochs = []EpochRecord{{Epoch: 1}, {Epoch: 2, Malformed: true}}
	var page bytes.Buffer
	if err := rep.HTML(&page); err != nil || !strings.Contains(page.String(), ">not served<") || !strings.Contains(page.String(), ">malformed<") {
		t.Errorf("a statement that nobody served and one that is malformed look alike: %v", err)
	}
}

type fakeReleaseLog []ReleaseEntry

func (l fakeReleaseLog) Entries(_ context.Context, from uint64, seen []byte) (*ReleasePage, error) {
	n := uint64(len(l))
	if from >= n {
		return &ReleasePage{Next: from, Note: []byte{1}}, nil
	}
	return &ReleasePage{Entries: l[from : from+1], Next: from + 1, Note: []byte{1}, More: from+1 < n}, nil
}

func TestEntriesThatAreNotOurs(t *testing.T) {
	k := newKeys(t)
	m1, m2 := pair(k, chain(t, 3, nil))
	r := newRig(t, k, m1, m2)
	own := [32]byte{1}
	r.cfg.Own = [][32]byte{own}
	r.cfg.ReleaseLog = fakeReleaseLog{{0, "us", [][32]byte{own}}, {1, "us", [][32]byte{own, {2}}}, {2, "us", nil}}
	r.mustStep()
	if n := len(r.told); n != 2 {
		t.Errorf("%d told", n)
	}
	r.want(IdentityForeign)
	r.open().mustStep().want()
}

func TestReleaseSaysWhatIsMissing(t *testing.T) {
	if got := (&Release{}).Missing(); len(got) != 6 {
		t.Errorf("%v", got)
	}
	if got := (&Release{Name: "n", Repository: "r", Commit: "c", Workflow: "w", Provenance: "p", SBOM: "s", Log: "l", LogIndex: "1", Image: "i"}).Missing(); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestAnotherSignerInTheLogsName: anybody can add a line that nobody can verify, so
// one mirror's is its own condition and ends; what two mirrors show stays.
func TestAnotherSignerInTheLogsName(t *testing.T) {
	k := newKeys(t)
	m1, m2 := pair(k, chain(t, 3, nil))
	r := newRig(t, k, m1, m2)
	honest := m1.sign
	adds := func(m *fakeMirror, lines string) {
		m.edit(func() {
			m.sign = func(size uint64, root [32]byte, at time.Time) []byte {
				return append(honest(size, root, at), lines...)
			}
		})
	}
	line, many := "— "+testOrigin+" AAAAAAAAAA==\n", ""
	for i := range 10 {
		many += "— " + testOrigin + " " + base64.StdEncoding.EncodeToString([]byte{1, 2, 3, byte(i), 5, 6}) + "\n"
	}
	adds(m1, line+many)
	r.mustStep().want(LogKey)
	if n := len(r.a.state.Incidents); n != 1 || r.a.state.Incidents[0].Subject != m1.name {
		t.Errorf("%+v", r.a.state.Incidents)
	}
	r.open().mustStep().want()
	m1.edit(func() { m1.down = errors.New("connection refused") })
	r.mustStep().want()
	if !r.a.has(LogKey, m1.name) {
		t.Error("over because the mirror is silent")
	}
	m1.edit(func() { m1.down = nil })
	adds(m1, "")
	r.mustStep().want()
	if n := len(r.a.state.Incidents); n != 0 {
		t.Errorf("not over: %+v", r.a.state.Incidents)
	}
	adds(m1, line)
	adds(m2, line)
	r.mustStep().want(LogKey)
	adds(m1, "")
	adds(m2, "")
	r.mustStep().want()
	if l := r.a.state.Incidents; len(l) != 1 || l[0].Subject != "00000000" {
		t.Errorf("%+v", l)
	}
}

func TestRemembersOnlySoMuch(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: nothing here happens at the same time; the race detector learns nothing new")
	}
	s := newState("x")
	r := newReader(s)
	found := alarms{}
	for i := range maxKnown + 3 {
		r.remember(&found, knownChip, [32]byte{byte(i), byte(i >> 8), byte(i >> 16)}, sight{})
	}
	if len(found.list) != 1 || found.list[0].Code != SeenFull || found.list[0].Count != 1 {
		t.Errorf("%+v", found.list)
	}
	if b, err := s.Append(nil); err != nil {
		t.Error(err)
	} else if _, err := ParseState(b); err != nil || len(b) > MaxState/8 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestMetricsHaveFixedLabels(t *testing.T) {
	k := newKeys(t)
	m1, m2 := pair(k, grow(t, chain(t, 3, nil), edited))
	r := newRig(t, k, m1, m2)
	r.cfg.Meters = NewMeters()
	r.mustStep()
	all, err := r.cfg.Meters.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range all {
		n += len(f.Metric)
	}
	if n > len(kinds)+16 {
		t.Errorf("%d series", n)
	}
	r.mustStep()
	if _, err := os.Stat(filepath.Join(r.cfg.Dir, "state.json")); errors.Is(err, fs.ErrNotExist) {
		t.Error("no state")
	}
}

// TestWitnessWithTwoKeysIsOne: its two cosignatures are one vote, and one line.
func TestWitnessWithTwoKeysIsOne(t *testing.T) {
	k := newKeys(t)
	for _, w := range slices.Clone(k.witnesses) {
		seed := sha256.Sum256([]byte(w.Name() + " pq"))
		pq, err := transparency.NewMLDSACosigner(w.Name(), seed[:])
		if err != nil {
			t.Fatal(err)
		}
		k.witnesses = append(k.witnesses, pq)
	}
	m1, m2 := pair(k, chain(t, 3, nil))
	r := newRig(t, k, m1, m2)
	r.mustStep()
	rep, err := r.a.Report()
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Witnesses) != 2 || rep.Witnesses[0].Name == rep.Witnesses[1].Name || rep.Witnesses[0].Last == nil {
		t.Errorf("%+v", rep.Witnesses)
	}
}
