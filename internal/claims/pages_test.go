// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package claims

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	inlineLink = regexp.MustCompile(`!?\[[^\]]*\]\(([^)\s]+)(?:\s+"[^"]*")?\)`)
	namedLink  = regexp.MustCompile(`(?m)^\s{0,3}\[[^\]]+\]:\s+(\S+)`)
	elsewhere  = regexp.MustCompile(`^(?:[a-z][a-z0-9+.-]*:|//)`)
	fence      = regexp.MustCompile("(?ms)^ {0,3}```.*?^ {0,3}```\\s*$")
	codeSpan   = regexp.MustCompile("`[^`\n]*`")
	headline   = regexp.MustCompile(`(?m)^#{1,6}\s+(.+?)\s*#*\s*$`)
	notSlug    = regexp.MustCompile(`[^\p{L}\p{N}\s_-]`)
	pageName   = regexp.MustCompile(`('s )?\b((?:docs|deploy)/[A-Za-z0-9_./-]+\.(?:md|yaml|conf|service))\b`)
)

func TestLinksResolve(t *testing.T) {
	for _, page := range files(t, ".md") {
		for _, link := range links(read(t, page)) {
			if why := broken(t, page, link); why != "" {
				t.Errorf("%s: link %s: %s", page, link, why)
			}
		}
	}
}

// links returns the targets of a page that lie in this repository.
func links(page string) []string {
	prose := codeSpan.ReplaceAllString(fence.ReplaceAllString(page, ""), "``")
	var out []string
	for _, re := range []*regexp.Regexp{inlineLink, namedLink} {
		for _, m := range re.FindAllStringSubmatch(prose, -1) {
			if !elsewhere.MatchString(m[1]) {
				out = append(out, m[1])
			}
		}
	}
	return out
}

// broken says why link, found on page, leads nowhere.
func broken(t *testing.T, page, link string) string {
	target, anchor, _ := strings.Cut(link, "#")
	name := page
	if target != "" {
		name = path.Join(path.Dir(page), target)
	}
	if strings.HasPrefix(name, "..") || strings.HasPrefix(target, "/") {
		return "leads out of the repository"
	}
	if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(name))); err != nil {
		return "no such file"
	}
	if anchor != "" && strings.HasSuffix(name, ".md") && !anchors(read(t, name))[anchor] {
		return "no such heading"
	}
	return ""
}

// anchors are the names that a page's headings get: lower case, without
// punctuation, spaces as hyphens.
func anchors(page string) map[string]bool {
	out := map[string]bool{}
	for _, m := range headline.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		out[slug(m[1])] = true
	}
	return out
}

func slug(heading string) string {
	heading = strings.NewReplacer("`", "", "*", "").Replace(heading)
	return strings.ReplaceAll(notSlug.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

// TestNamedPagesExist: comments and messages send people to pages by name.
func TestNamedPagesExist(t *testing.T) {
	for _, name := range files(t, ".go") {
		if strings.HasPrefix(name, "internal/claims/") {
			continue
		}
		var named []string
		for _, m := range pageName.FindAllStringSubmatch(read(t, name), -1) {
			if m[1] == "" { // "ggml's docs/x.md" is another project's
				named = append(named, m[2])
			}
		}
		slices.Sort(named)
		for _, page := range slices.Compact(named) {
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(page))); err != nil {
				t.Errorf("%s names %s, which does not exist", name, page)
			}
		}
	}
}

func TestLinkCheckSees(t *testing.T) {
	page := "# A `b`, c!\n[x](faq.md) ![y](https://a.example/z.png) [z](#a-b-c \"t\") `[no](code)`\n```\n[no](fenced)\n```\n\n[named]: spec/x.md\n"
	got := strings.Join(links(page), " ")
	if got != "faq.md #a-b-c spec/x.md" {
		t.Errorf("links %q", got)
	}
	if !anchors(page)["a-b-c"] {
		t.Errorf("anchors %v", anchors(page))
	}
	for link, want := range map[string]string{
		"absent.md": "no such file", "../..": "leads out of the repository", "/etc/hosts": "leads out of the repository",
		"README.md": "", "README.md#no-such-heading-at-all": "no such heading", "": "",
	} {
		if why := broken(t, "README.md", link); why != want {
			t.Errorf("%s: %q, want %q", link, why, want)
		}
	}
}
