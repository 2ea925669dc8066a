// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"cmp"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A Result is what one run found; it is the object that --json prints. Times
// are in milliseconds, rates of bodies in 10^6 bytes a second, memory in MiB.
// A figure is the median of its runs. What was not measured is 0.
type Result struct {
	// A short request, one after another, to the end of its answer.
	DirectP50 float64 `json:"direct_p50_ms"`
	PlainP50  float64 `json:"plain_p50_ms"`
	SottoP50  float64 `json:"sotto_p50_ms"`
	AddedP50  float64 `json:"added_p50_ms"` // over the plain chain
	// TPM is PolicyPCR and ECDH_ZGen on an idle TPM simulator.
	TPM float64 `json:"tpm_op_ms"`

	// The first token of a stream, and the lag of each from the engine's write
	// to the application's read.
	DirectTTFT      float64 `json:"direct_ttft_ms"`
	PlainTTFT       float64 `json:"plain_ttft_ms"`
	SottoTTFT       float64 `json:"sotto_ttft_ms"`
	TTFTAdded       float64 `json:"ttft_added_ms"` // over the plain chain
	TTFTAddedDirect float64 `json:"ttft_added_over_direct_ms"`
	PlainLag        float64 `json:"plain_token_lag_p50_ms"`
	Lag             float64 `json:"token_lag_p50_ms"`        // policy off
	LagFrames       float64 `json:"token_lag_frames_p50_ms"` // policy frames

	// Short requests at 32 clients.
	DirectRPS float64 `json:"direct_rps_c32"`
	PlainRPS  float64 `json:"plain_rps_c32"`
	RPS       float64 `json:"rps_c32"`
	RPSRatio  float64 `json:"rps_ratio"` // Sotto's to the plain chain's
	Requests  int     `json:"requests"`  // through Sotto under that load
	Errors    int     `json:"errors"`    // of those
	// CPU time for each of those requests, by role; all nodes and both relays
	// together. "client" is this process: it seals for all 32.
	CPU      map[string]float64 `json:"cpu_ms_per_request"`
	PlainCPU map[string]float64 `json:"plain_cpu_ms_per_request"`

	// 10 MB bodies.
	DirectResponse float64 `json:"direct_response_10mb_mbps"`
	PlainResponse  float64 `json:"plain_response_10mb_mbps"`
	Response       float64 `json:"response_10mb_mbps"`
	DirectRequest  float64 `json:"direct_request_10mb_mbps"`
	PlainRequest   float64 `json:"plain_request_10mb_mbps"`
	Request        float64 `json:"request_10mb_mbps"`
	// CPU time for each of them, by role, in ms.
	ResponseCPU      map[string]float64 `json:"response_10mb_cpu_ms"`
	PlainResponseCPU map[string]float64 `json:"plain_response_10mb_cpu_ms"`
	RequestCPU       map[string]float64 `json:"request_10mb_cpu_ms"`
	PlainRequestCPU  map[string]float64 `json:"plain_request_10mb_cpu_ms"`
	// Growth of each process's peak over what it held before, for the first 10
	// MB answer and the first 10 MB request, the larger; and the worst of them.
	Growth    map[string]float64 `json:"rss_growth_mb"`
	MaxGrowth float64            `json:"rss_growth_max_mb"`

	// First is the first request of a new client: two statements compared,
	// evidence fetched and verified, the request sealed, sent and answered.
	First float64 `json:"first_request_ms"`

	// Shaping is the cost of the policies for sizes and times.
	Shaping map[string]Shaping `json:"shaping"`

	Nodes   int     `json:"nodes"`
	K       int     `json:"k"`
	Clients int     `json:"clients"`
	Quick   bool    `json:"quick"`
	Machine Machine `json:"machine"`
	Seconds float64 `json:"seconds"` // the whole run
}

// Shaping is what one policy costs.
type Shaping struct {
	P50       float64 `json:"p50_ms"`       // short request
	Bytes     float64 `json:"answer_bytes"` // on the client's connection for it
	TTFT      float64 `json:"ttft_ms"`      // first token of a stream
	Lag       float64 `json:"token_lag_p50_ms"`
	FlowMS    float64 `json:"stream_ms"`          // a stream of the engine's tokens, to its verified end
	FlowBytes float64 `json:"stream_bytes"`       // on the client's connection for it
	Response  float64 `json:"response_10mb_mbps"` // 0 under constant, whose rate is 40 kB/s by design
}

// Machine says where the figures were taken.
type Machine struct {
	CPU    string  `json:"cpu"`
	Cores  int     `json:"cores"`
	Go     string  `json:"go"`
	Load   float64 `json:"load"` // 1-minute average when the run began: others' work makes figures worse
	Date   string  `json:"date"`
	System string  `json:"system"`
}

func newResult(cfg Config) *Result {
	return &Result{
		Nodes: 3, K: 3, Clients: clients, Quick: cfg.Quick,
		Growth: map[string]float64{}, Shaping: map[string]Shaping{},
		Machine: Machine{
			CPU: cpuModel(), Cores: runtime.NumCPU(), Go: runtime.Version(), Load: load(),
			Date: time.Now().UTC().Format(time.DateOnly), System: runtime.GOOS + "/" + runtime.GOARCH,
		},
	}
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// median of vs, which it sorts; 0 of none.
func median[T cmp.Ordered](vs []T) T {
	var zero T
	if len(vs) == 0 {
		return zero
	}
	slices.Sort(vs)
	return vs[len(vs)/2]
}

// millis is the median of ds in milliseconds.
func millis(ds []time.Duration) float64 { return round(float64(median(ds))/1e6, 3) }

func round(v float64, digits int) float64 {
	p := math.Pow10(digits)
	return math.Round(v*p) / p
}
