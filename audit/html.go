// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"
)

//go:embed page.css
var pageCSS string

//go:embed page.html
var pageHTML string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"class": class, "when": when, "short": func(s string) string { return s[:min(len(s), 16)] }, "what": func(c Code) string { return What(c) },
}).Parse(pageHTML))

// maxShown is how many alarms a page lists.
const maxShown = 200

type pageView struct {
	*Report
	Policy, Class, Title, Says string
	CSS                        template.CSS
	Counts                     []countView
	Shown                      []Alarm
	Newest                     []EpochRecord // newest first
	More                       int
}

type countView struct {
	Code     Code
	Severity Severity
	What     string
	N        uint64
}

// HTML prints a report as one page: no script, no reference to anything outside,
// and a content security policy that allows neither. Everything is escaped. The
// error is that of w.
func (r *Report) HTML(w io.Writer) error {
	sum := sha256.Sum256([]byte(pageCSS))
	v := &pageView{
		Report: r, CSS: template.CSS(pageCSS), Newest: slices.Clone(r.Epochs),
		Policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'",
	}
	slices.Reverse(v.Newest)
	v.Title, v.Says, _ = strings.Cut(r.verdictText(), ": ")
	v.Class = class(r.Worst())
	if r.Verdict == "incomplete" {
		v.Class = class(max(r.Worst(), Warning))
	}
	for _, k := range kinds {
		if n := r.Totals.Alarms[string(k.code)]; n > 0 {
			v.Counts = append(v.Counts, countView{k.code, k.severity, k.what, n})
		}
	}
	v.Shown = slices.Clone(r.Alarms)
	slices.SortStableFunc(v.Shown, func(a, b Alarm) int { return int(b.Severity - a.Severity) })
	if v.More = len(v.Shown) - maxShown; v.More > 0 {
		v.Shown = v.Shown[:maxShown]
	}
	return pageTemplate.Execute(w, v)
}

// class is the colour of a severity.
func class(s Severity) string {
	switch {
	case s >= Critical:
		return "fail"
	case s == Warning:
		return "gap"
	case s > 0:
		return "none"
	}
	return "ok"
}

func when(t any) string {
	switch t := t.(type) {
	case time.Time:
		return t.UTC().Format("2006-01-02 15:04:05")
	case *time.Time:
		if t != nil {
			return t.UTC().Format("2006-01-02 15:04:05")
		}
	}
	return "never"
}
