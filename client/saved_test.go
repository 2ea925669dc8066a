// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/internal/clienttest"
)

// saved verifies a world with a client of its own and returns what that rested on.
func saved(t testing.TB, w *clienttest.World) []byte {
	t.Helper()
	c := w.Client()
	if _, err := c.Save(); err == nil {
		t.Error("something was saved before anything was verified")
	}
	if _, err := c.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := c.Save()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t testing.TB, b []byte) *client.Saved {
	t.Helper()
	s, err := client.ParseSaved(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func judge(w *clienttest.World, at time.Time) *client.Judge {
	return &client.Judge{Trust: w.Trust, Policy: w.Policy, At: at}
}

func TestSavedEvidence(t *testing.T) {
	w := clienttest.StartFull(t, 2)
	b := saved(t, w)
	s := parse(t, b)
	dialled := len(w.Meter.Dials())
	t.Run("judged", func(t *testing.T) {
		done := 0
		j := judge(w, s.Time)
		j.Progress = func(n, total int) { done = n }
		r, err := j.Verify(s)
		if err != nil || r.Verdict != "verified with named gaps" || len(r.Nodes) != 2 || r.Mirrors != 0 || !r.Simulated || done != 2 {
			t.Fatalf("%v %+v", err, r)
		}
		if !strings.Contains(strings.Join(r.Gaps, ""), "saved: ") {
			t.Errorf("what a file cannot show is no gap: %q", r.Gaps)
		}
	})
	t.Run("two clients", func(t *testing.T) {
		other := parse(t, saved(t, w))
		dialled = len(w.Meter.Dials())
		var reports [2]string
		for i, s := range []*client.Saved{s, other} {
			r, err := judge(w, other.Time).Verify(s)
			if err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			reports[i] = string(b)
		}
		if reports[0] != reports[1] {
			t.Errorf("%s\n%s", reports[0], reports[1])
		}
	})
	t.Run("years later", func(t *testing.T) {
		r, err := judge(w, s.Time.AddDate(60, 0, 0)).Verify(s)
		if err == nil || r != nil && r.Verdict != "failed" {
			t.Errorf("%v %+v", err, r)
		}
		if client.CodeOf(err) == client.CodeSkew && (strings.Contains(err.Error(), "local clock") || strings.Contains(err.Error(), "mirror")) {
			t.Errorf("a file was judged without a clock and without a mirror: %v", err)
		}
	})
	t.Run("before", func(t *testing.T) {
		if r, err := judge(w, s.Time.AddDate(0, 0, -1)).Verify(s); err == nil || r != nil && r.Verdict != "failed" {
			t.Errorf("%v %+v", err, r)
		}
	})
	t.Run("under vendors' roots", func(t *testing.T) {
		j := judge(w, s.Time)
		p := *w.Policy
		p.Roots = attestation.VendorRoots()
		j.Policy = &p
		r, err := j.Verify(s)
		if client.CodeOf(err) != "att.simulated" || r == nil || r.Verdict != "failed" {
			t.Errorf("%v %+v", err, r)
		}
		if _, err := j.Tamper(s, "pcr"); client.CodeOf(err) != "att.simulated" {
			t.Errorf("%v", err)
		}
	})
	t.Run("under another log's keys", func(t *testing.T) {
		j := judge(clienttest.Start(t, 1), s.Time)
		if r, err := j.Verify(s); r != nil || !strings.HasPrefix(client.CodeOf(err), "log.") {
			t.Errorf("%v %+v", err, r)
		}
	})
	t.Run("nobody was asked", func(t *testing.T) {
		if d := w.Meter.Dials()[dialled:]; len(d) > 0 {
			t.Errorf("%v", d)
		}
	})
}

// TestSavedSpelling: a file has one spelling.
func TestSavedSpelling(t *testing.T) {
	good, err := json.MarshalIndent(client.Saved{
		Format: client.SavedFormat, Time: time.Date(2026, 11, 22, 6, 30, 0, 0, time.UTC), Simulated: true,
		Statement: []byte("statement"), Pack: []byte("pack"), Freshness: []byte("freshness"),
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	good = append(good, '\n')
	if _, err := client.ParseSaved(good); err != nil {
		t.Fatal(err)
	}
	replace := func(old, new string) string {
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("no %q", old)
		}
		return strings.Replace(string(good), old, new, 1)
	}
	for name, bad := range map[string]string{
		"empty": "", "null": "null\n", "a list": "[]\n", "no line end": strings.TrimSuffix(string(good), "\n"), "two": string(good) + string(good),
		"a byte after it": string(good) + "x", "a space before it": " " + string(good), "cut": string(good[:len(good)/2]),
		"another format": replace("evidence v1", "evidence v2"), "no format": replace(`"format": "sotto evidence v1",`, ""),
		"a member of another name": replace(`"pack"`, `"Pack"`), "a member more": replace(`"pack"`, `"more": 1, "pack"`), "a member twice": replace(`"pack"`, `"pack": "cGFjaw==", "pack"`),
		"no pack": replace(`"cGFjaw=="`, `""`), "null pack": replace(`"cGFjaw=="`, "null"), "a number": replace(`"cGFjaw=="`, "1"),
		"base64 with a line end": replace("cGFjaw==", `cGFj\naw==`), "base64 without padding": replace("cGFjaw==", "cGFjaw"), "base64 with unused bits": replace("cGFjaw==", "cGFjax=="),
		"escapes": replace("sotto evidence", `\u0073otto evidence`), "fractions": replace("06:30:00Z", "06:30:00.5Z"), "a zone": replace("06:30:00Z", "06:30:00+01:00"),
		"UTC in other words": replace("06:30:00Z", "06:30:00+00:00"), "no time": replace("2026-11-22T06:30:00Z", "0001-01-01T00:00:00Z"),
		"simulated: false": replace("true", "false"), "one line": replace("\n  ", " "),
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := client.ParseSaved([]byte(bad)); s != nil || client.CodeOf(err) != "att.format" {
				t.Errorf("%v, %v", s, err)
			} else if strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("%q", err)
			}
		})
	}
	t.Run("over the cap", func(t *testing.T) {
		large := make([]byte, client.MaxSaved+1) // nothing of it is read: it would be att.format
		if s, err := client.ParseSaved(large); s != nil || client.CodeOf(err) != "att.size" {
			t.Errorf("%v, %v", s, err)
		}
	})
}

// TestSavedFlips: no byte of what was saved can be changed unseen. In the
// statement it is the log's proof that shows it, before any node is looked at.
func TestSavedFlips(t *testing.T) {
	w := clienttest.Start(t, 1)
	s := parse(t, saved(t, w))
	stride := 13
	if testing.Short() {
		stride = 97
	}
	for name, part := range map[string]*[]byte{"statement": &s.Statement, "pack": &s.Pack, "freshness": &s.Freshness} {
		t.Run(name, func(t *testing.T) {
			good := *part
			defer func() { *part = good }()
			flipped := 0
			for i := 0; i < len(good); i += stride {
				*part = bytes.Clone(good)
				(*part)[i] ^= 1 << (i % 8)
				r, err := judge(w, s.Time).Verify(s)
				code := client.CodeOf(err)
				switch {
				case code == "" || r != nil && r.Verdict != "failed":
					t.Errorf("byte %d: %v, %+v", i, err, r)
				case name == "statement" && (r != nil || !strings.HasPrefix(code, "log.") && !strings.HasPrefix(code, "statement")):
					t.Errorf("byte %d: %v", i, err)
				}
				flipped++
			}
			t.Logf("%d of %d bytes", flipped, len(good))
		})
	}
	if r, err := judge(w, s.Time).Verify(s); err != nil || r.Verdict != "verified with named gaps" {
		t.Errorf("unchanged: %v", err)
	}
	t.Run("parts of two worlds", func(t *testing.T) {
		time.Sleep(1100 * time.Millisecond) // checkpoints have whole seconds
		w.Epoch(time.Now(), time.Hour)
		next := parse(t, saved(t, w))
		for name, mixed := range map[string]client.Saved{
			"statement": {Statement: next.Statement, Pack: s.Pack, Freshness: s.Freshness},
			"pack":      {Statement: s.Statement, Pack: next.Pack, Freshness: s.Freshness},
			"freshness": {Statement: s.Statement, Pack: s.Pack, Freshness: next.Freshness},
		} {
			if r, err := judge(w, next.Time).Verify(&mixed); err == nil || r != nil && r.Verdict != "failed" {
				t.Errorf("%s of another epoch: %v", name, err)
			}
		}
	})
}

// TestTamperAPI: what is no refusal has no code, so that nobody takes it for one.
func TestTamperAPI(t *testing.T) {
	w := clienttest.Start(t, 1)
	s := parse(t, saved(t, w))
	for _, m := range client.TamperModes() {
		a, err := judge(w, s.Time).Tamper(s, m.Name)
		switch {
		case m.Name == "gpu" || m.Name == "ima":
			if a != nil || err == nil || client.CodeOf(err) != "" {
				t.Errorf("%s: %v", m.Name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", m.Name, err)
		case a.Mode != m.Name || a.What != m.What || a.Verdict != attestation.Failed || a.Expected == a.Received || a.Expected == "" || a.Received == "" ||
			a.Code == "" || a.Meaning == "" || a.Changed == "" || !a.Simulated || (a.Report == nil) != (m.Name == client.TamperLog):
			t.Errorf("%s: %+v", m.Name, a)
		}
	}
	if names := client.TamperNames(); names != "nonce, pcr, vcek, ima, gpu, log, expiry, rek, eventlog" {
		t.Errorf("%q", names)
	}
	if _, err := judge(w, s.Time).Tamper(s, "all\x1b"); client.CodeOf(err) != client.CodeConfig || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("%v", err)
	}
	if _, err := judge(w, s.Time).Tamper(&client.Saved{}, "pcr"); err == nil {
		t.Error("nothing was tampered with, and refused")
	}
	var own *client.Error
	if _, err := judge(w, s.Time.AddDate(9, 0, 0)).Tamper(s, "log"); !errors.As(err, &own) {
		t.Errorf("evidence of long ago was tampered with: %v", err)
	}
}

// FuzzParseSaved: print(parse(x)) == x, and what parses is refused without a
// panic by somebody who trusts nothing.
func FuzzParseSaved(f *testing.F) {
	for _, part := range []string{"x", "\x00\x00", "sotto", strings.Repeat("\xff", 90)} {
		for _, simulated := range []bool{false, true} {
			b, err := json.MarshalIndent(client.Saved{
				Format: client.SavedFormat, Time: time.Unix(1_800_000_000, 0).UTC(), Simulated: simulated,
				Statement: []byte(part), Pack: []byte(part + part), Freshness: []byte(part),
			}, "", "  ")
			if err != nil {
				f.Fatal(err)
			}
			if _, err := client.ParseSaved(append(b, '\n')); err != nil {
				f.Fatal(err)
			}
			f.Add(append(b, '\n'))
		}
	}
	f.Add([]byte(`{"format":"sotto evidence v1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := client.ParseSaved(b)
		if err != nil {
			if s != nil || client.CodeOf(err) == "" {
				t.Fatalf("%v, %v", s, err)
			}
			return
		}
		again, err := json.MarshalIndent(s, "", "  ")
		if err != nil || !bytes.Equal(append(again, '\n'), b) {
			t.Fatalf("%q was read, %q is printed", b, again)
		}
		j := &client.Judge{Policy: &attestation.Policy{}, At: s.Time}
		if r, err := j.Verify(s); err == nil || r != nil {
			t.Fatalf("accepted: %v", r)
		}
		if a, err := j.Tamper(s, "log"); err == nil || a != nil {
			t.Fatalf("tampered with: %v", a)
		}
	})
}
