// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestVerifyByHandIsCurrent: docs/verify-by-hand.md has the commands that topics
// have, which other tests run. -update writes them.
func TestVerifyByHandIsCurrent(t *testing.T) {
	const file = "../../docs/verify-by-hand.md"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, topic := range topics {
		if topic.ByHand == "" || strings.HasPrefix(topic.Name, "pcr-") {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s `%s`\n\n```sh\n%s\n```\n", topic.Title, topic.Short, topic.Name, strings.Trim(topic.ByHand, "\n"))
		if topic.Expect != "" {
			fmt.Fprintf(&b, "\n%s\n", topic.Expect)
		}
	}
	part := regexp.MustCompile(`(?s)(<!-- generated: topics -->\n).*?(<!-- end -->)`)
	if !part.Match(page) {
		t.Fatal("the page has no generated part")
	}
	m := part.FindSubmatchIndex(page)
	next := string(page[:m[3]]) + b.String() + "\n" + string(page[m[4]:])
	switch {
	case next == string(page):
	case *update:
		if err := os.WriteFile(file, []byte(next), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what the topics say; run: go test ./attestation/explain -update", file)
	}
}
