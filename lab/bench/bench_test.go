// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/lab"
)

// TestMain lets the lab execute this program again for each role.
func TestMain(m *testing.M) {
	if len(os.Args) > 4 && os.Args[1] == "role" {
		if err := lab.RunRole(context.Background(), os.Args[2], os.Args[4], "", os.Stdin, os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestWhole measures a very little of everything, to see that every figure of
// the list is there; it says nothing about how good they are.
func TestWhole(t *testing.T) {
	tiny := quick
	tiny.firsts, tiny.short, tiny.begins, tiny.tokens, tiny.load, tiny.tpm = 1, 3, 2, 3, 64, 5
	defer func(old sizes) { quick = old }(quick)
	quick = tiny
	r, err := Run(t.Context(), Config{Quick: true})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"direct_p50_ms", "plain_p50_ms", "sotto_p50_ms", "tpm_op_ms", "ttft_added_ms", "token_lag_p50_ms", "token_lag_frames_p50_ms",
		"direct_rps_c32", "plain_rps_c32", "rps_c32", "requests",
		"plain_response_10mb_mbps", "response_10mb_mbps", "plain_request_10mb_mbps", "request_10mb_mbps", "first_request_ms",
	} {
		if v, ok := got[name].(float64); !ok || v == 0 {
			t.Errorf("%s = %v", name, got[name])
		}
	}
	if r.Errors != 0 || r.Requests != 64 {
		t.Errorf("%d errors in %d requests", r.Errors, r.Requests)
	}
	for _, role := range []string{"client", "relay", "gateway", "router", "node", "engine"} {
		if r.CPU[role] <= 0 {
			t.Errorf("no CPU time of %s: %v", role, r.CPU)
		}
	}
	if c := r.Shaping["constant"]; c.P50 < 900 || c.Bytes <= r.Shaping["off"].Bytes {
		t.Errorf("constant takes %v ms and %v bytes: is it constant?", c.P50, c.Bytes)
	}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil || !strings.Contains(table.String(), "SIMULATED") {
		t.Errorf("table: %v\n%s", err, &table)
	}
}

func TestChoose(t *testing.T) {
	if got, err := choose([]string{"load", "first"}); err != nil || len(got) != 2 || got[0].name != "first" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := choose([]string{"lod"}); err == nil {
		t.Error("a part that does not exist was taken")
	}
}

func TestGoalsCanBeMissed(t *testing.T) {
	good := Result{TPM: 0.5, SottoP50: 3, AddedP50: 2, RPS: 300, PlainRPS: 1000, Requests: 10000, Lag: 1, First: 300}
	for _, g := range good.Goals() {
		if g.Measured && !g.Met() {
			t.Errorf("%s: %v misses %v", g.What, g.Got, g.Limit)
		}
	}
	bad := Result{TPM: 0.5, SottoP50: 3, AddedP50: 2.001, RPS: 299, PlainRPS: 1000, Requests: 10000, Errors: 1, Lag: 1.001, First: 301}
	for _, g := range bad.Goals() {
		if g.Measured && g.Met() {
			t.Errorf("%s: %v meets %v", g.What, g.Got, g.Limit)
		}
	}
}

func TestSmall(t *testing.T) {
	for name, want := range map[string]string{"node-2": "node", "plain-relay-1": "plain-relay", "router": "router", "plain-gateway": "plain-gateway"} {
		if got := role(name); got != want {
			t.Errorf("role(%q) = %q", name, got)
		}
	}
	at := time.Unix(12, 345)
	if got, ok := stamped(fmt.Sprintf(`data: {"choices":[{"delta":{"content":"%d"}}]}`, at.UnixNano())); !ok || !got.Equal(at) {
		t.Errorf("stamp read as %v, %v", got, ok)
	}
	if _, ok := stamped("data: [DONE]"); ok {
		t.Error("a stamp in [DONE]")
	}
	if median([]int{9, 1, 5}) != 5 || median([]float64(nil)) != 0 {
		t.Error("median")
	}
}
