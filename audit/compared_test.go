// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestBlockedMirrorIsNoCleanBill: who keeps one of two mirrors away, or has the same
// one named twice, gets no report that says that one log was seen by both.
func TestBlockedMirrorIsNoCleanBill(t *testing.T) {
	k := newKeys(t)
	verdict := func(r *rig, want, gap string) {
		t.Helper()
		rep, err := r.a.Report()
		if err != nil {
			t.Fatal(err)
		}
		listed := slices.ContainsFunc(rep.NotChecked, func(s string) bool { return strings.Contains(s, gap) })
		if rep.Verdict != want || listed != (gap != "-") {
			t.Errorf("%s (%s), not checked %q", rep.Verdict, rep.Incomplete, rep.NotChecked)
		}
	}
	t.Run("AT-48 one of two is silent", func(t *testing.T) {
		m1, m2 := pair(k, chain(t, 3, nil))
		r := newRig(t, k, m1, m2)
		r.mustStep()
		verdict(r, "clean", "-")
		m2.edit(func() { m2.down = errors.New("connection refused") })
		r.mustStep().want()
		verdict(r, "incomplete", "1 of 2 mirrors answered")
		r.open()
		verdict(r, "incomplete", "0 of 2 mirrors answered")
		m2.edit(func() { m2.down = nil })
		r.mustStep()
		verdict(r, "clean", "-")
	})
	t.Run("two of three are enough", func(t *testing.T) {
		m1, m2 := pair(k, chain(t, 3, nil))
		m3 := k.mirror("three.invalid")
		m3.down = errors.New("connection refused")
		r := newRig(t, k, m1, m2, m3)
		r.mustStep()
		verdict(r, "clean", "-")
	})
	t.Run("one is named twice", func(t *testing.T) {
		m1, _ := pair(k, chain(t, 3, nil))
		r := newRig(t, k, m1, m1)
		r.mustStep().want(MirrorAlone)
		verdict(r, "alarms", "only one was named")
	})
}
