// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// A Goal is one line of the list that docs/performance.md answers to.
type Goal struct {
	What     string
	Got      float64
	Limit    float64
	Unit     string
	AtLeast  bool // otherwise at most
	Measured bool
}

// Met reports whether the goal was reached.
func (g Goal) Met() bool {
	if g.AtLeast {
		return g.Got >= g.Limit
	}
	return g.Got <= g.Limit
}

// Goals compares the result with what the project aims at.
func (r *Result) Goals() []Goal {
	ratio := func(a, b float64) float64 {
		if b == 0 {
			return 0
		}
		return round(a/b, 3)
	}
	return []Goal{
		{"short request, p50 added over plain proxies", r.AddedP50, round(r.TPM+1.5, 3), "ms", false, r.SottoP50 > 0},
		{"requests/s at 32 clients, of plain proxies'", ratio(r.RPS, r.PlainRPS), 0.3, "", true, r.Requests > 0},
		{"errors in those requests", float64(r.Errors), 0, "", false, r.Requests > 0},
		{"time to first token, p50 added over plain proxies", r.TTFTAdded, 3, "ms", false, r.SottoTTFT > 0},
		{"lag of a token p50, off", r.Lag, 1, "ms", false, r.Lag > 0},
		{"lag of a token p50, frames", r.LagFrames, 25, "ms", false, r.LagFrames > 0},
		{"10 MB response, of plain proxies' rate", ratio(r.Response, r.PlainResponse), 0.7, "", true, r.Response > 0},
		{"10 MB request, of plain proxies' rate", ratio(r.Request, r.PlainRequest), 0.6, "", true, r.Request > 0},
		{"growth of any process for it", r.MaxGrowth, 8, "MiB", false, r.Response > 0},
		{"first request of a new client", r.First, 300, "ms", false, r.First > 0},
	}
}

// WriteTable prints the result for people.
func (r *Result) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(t, strings.Join(cells, "\t")) }
	row("", "direct", "plain proxies", "sotto", "")
	three := func(what, unit string, a, b, c float64) { row(what, num(a), num(b), num(c), unit) }
	three("short request p50", "ms", r.DirectP50, r.PlainP50, r.SottoP50)
	three("requests/s at 32 clients", "", r.DirectRPS, r.PlainRPS, r.RPS)
	three("first token p50", "ms", r.DirectTTFT, r.PlainTTFT, r.SottoTTFT)
	row("token lag p50", "", num(r.PlainLag), num(r.Lag), "ms, off; "+num(r.LagFrames)+" with frames")
	three("10 MB response", "MB/s", r.DirectResponse, r.PlainResponse, r.Response)
	three("10 MB request", "MB/s", r.DirectRequest, r.PlainRequest, r.Request)
	row("CPU for a request, all processes", "", num(r.PlainCPU["all"]), num(r.CPU["all"]), "ms")
	row()
	row("goal", "reached", "wanted", "", "")
	for _, g := range r.Goals() {
		if !g.Measured {
			continue
		}
		sign, verdict := "<=", "met"
		if g.AtLeast {
			sign = ">="
		}
		if !g.Met() {
			verdict = "MISSED"
		}
		row(g.What, num(g.Got), sign+" "+num(g.Limit), g.Unit, verdict)
	}
	if len(r.CPU) > 0 {
		row()
		row("CPU for a request by role", "ms")
		for _, role := range slices.Sorted(maps.Keys(r.CPU)) {
			row("  "+role, num(r.CPU[role]))
		}
	}
	if len(r.Shaping) > 0 {
		row()
		row("policy", "short p50 ms", "its bytes", "first token ms", "token lag ms", "stream ms", "its bytes", "10 MB MB/s")
		for _, name := range []string{"off", "frames", "constant"} {
			s := r.Shaping[name]
			row("  "+name, num(s.P50), num(s.Bytes), num(s.TTFT), num(s.Lag), num(s.FlowMS), num(s.FlowBytes), num(s.Response))
		}
	}
	row()
	row(fmt.Sprintf("%s, %d cores, load %.1f when it began, %s, %s; %.0f s", r.Machine.CPU, r.Machine.Cores, r.Machine.Load, r.Machine.Go, r.Machine.Date, r.Seconds))
	row("SIMULATED HARDWARE: the TPM is software; one in hardware takes milliseconds more for each request.")
	return t.Flush()
}

func num(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.4g", v)
}
