// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
)

// about checks what the statement says: its types, exactly, and that one of its
// subjects is the artifact.
func (v *verification) about() error {
	members, ok := object(v.payload)
	if !ok {
		return refuse(CodeFormat, "statement is not one JSON object without repetition")
	}
	var kind, predicate string
	var subjects []struct {
		Name   string            `json:"name"`
		Digest map[string]string `json:"digest"`
	}
	for name, into := range map[string]any{"_type": &kind, "predicateType": &predicate, "subject": &subjects} {
		if err := json.Unmarshal(members[name], into); err != nil {
			return refuse(CodeFormat, "statement: malformed %s", name)
		}
	}
	switch {
	case kind != StatementType:
		return refuse(CodeStatement, "statement of type %q", kind)
	case !slices.Contains(v.o.PredicateTypes, predicate):
		return refuse(CodeStatement, "predicate of type %q", predicate)
	case len(subjects) > maxSubjects:
		return refuse(CodeFormat, "%d subjects, allowed are %d", len(subjects), maxSubjects)
	}
	want := hex.EncodeToString(v.o.ArtifactSHA256[:])
	for _, s := range subjects {
		if strings.EqualFold(s.Digest["sha256"], want) {
			v.res.Subjects = append(v.res.Subjects, s.Name)
		}
	}
	if len(v.res.Subjects) == 0 {
		return refuse(CodeArtifact, "none of %d subjects is artifact %s", len(subjects), want)
	}
	v.res.PredicateType = predicate
	return nil
}
