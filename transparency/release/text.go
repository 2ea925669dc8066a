// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"fmt"
	"strings"
	"time"
)

// Verdict is "verified", or "verified with named gaps".
func (r *Release) Verdict() string {
	if len(r.Gaps) > 0 {
		return "verified with named gaps"
	}
	return "verified"
}

// Text says in words what a release is, a line each, indented. What others wrote
// is in it: whoever prints it to a terminal makes it visible first.
func (r *Release) Text() string {
	var b strings.Builder
	w := &b
	fmt.Fprintf(w, "  id          %x\n  file        %x (SHA-256; a statement names it by this)\n  commit      %s\n  publisher   %s\n  public      since %s at the latest\n",
		r.ID, r.Digest, r.Commit, r.Publisher, r.Public.Format(time.RFC3339))
	for _, a := range r.Artifacts {
		fmt.Fprintf(w, "  artifact    %x  %s\n", a.Digest, a.Name)
	}
	withdrawn := func(why string) string {
		if why == "" {
			return ""
		}
		return "  WITHDRAWN: " + why
	}
	for _, i := range r.Images {
		fmt.Fprintf(w, "  image       %x  %s (%s, %d measurements)%s\n", i.Digest, i.Name, i.Role, len(i.Measurements), withdrawn(i.Revoked))
	}
	for _, m := range r.Models {
		fmt.Fprintf(w, "  model       %x  %s%s\n", m.Weights, m.Name, withdrawn(m.Revoked))
	}
	for _, e := range r.Endorsements {
		fmt.Fprintf(w, "  endorsed    %s by %s, as of %s, until %s\n", e.Claim, e.Reviewer, e.AsOf.Format(time.RFC3339), e.Expires.Format(time.RFC3339))
	}
	for _, v := range r.Revocations {
		fmt.Fprintf(w, "  withdrawn   %s %x by %s: %s\n", v.Kind, v.Digest, v.By, v.Reason)
	}
	for _, u := range r.Unused {
		fmt.Fprintf(w, "  not counted %s\n", u)
	}
	for _, g := range r.Gaps {
		fmt.Fprintf(w, "  gap         %s\n", g)
	}
	return b.String()
}
