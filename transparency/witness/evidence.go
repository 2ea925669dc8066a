// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"bytes"
	"fmt"
)

// appendEvidence prints two notes that a log signed, of one size and with two roots,
// as the file that `sotto audit fork` judges (docs/spec/fork-evidence.md, kind roots).
// Only this one kind: package fork, which reads them all, knows statements, and a
// witness does not know what a log is about. The tests hold this against fork.Parse.
func appendEvidence(b, first, second []byte) []byte {
	if bytes.Compare(first, second) > 0 { // one contradiction has one file
		first, second = second, first
	}
	b = append(b, "sotto-fork-evidence/v1\nkind roots\n"...)
	return fmt.Appendf(b, "first %d\n%s\nsecond %d\n%s\n", len(first), first, len(second), second)
}
