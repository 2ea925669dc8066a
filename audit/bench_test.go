// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package audit

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/transparency/statement"
	"github.com/sotto-project/sotto/transparency/tiles"
)

// Size of the benchmark's log; the newest epochs have evidence.
const (
	benchLeaves   = 100_000
	benchEvidence = 5_000
	benchNodes    = 8 // that take turns, one in each epoch
)

// A benchLog is files of a log in a folder, as a mirror of files would hold them.
type benchLog struct {
	k      *testKeys
	policy *attestation.Policy
	dir    string
}

// BenchmarkHundredThousand audits a log of 100,000 statements, of which the newest
// 5,000 list a node with evidence, over HTTP from one mirror, with an empty
// folder. Every bundle is another one and is verified whole; nothing of a verdict
// is remembered from one to the next.
//
//	go test ./audit -run xxx -bench HundredThousand -benchtime 1x
func BenchmarkHundredThousand(b *testing.B) {
	l := makeBenchLog(b)
	url := serveFiles(b, l.dir)
	for b.Loop() {
		m, err := NewHTTPMirror(url, nil, time.Minute)
		if err != nil {
			b.Fatal(err)
		}
		a, err := Open(Config{Trust: l.k.trust(), Policy: l.policy, Mirrors: []Mirror{m}, Dir: b.TempDir(), Packs: benchEvidence, Compare: 1024})
		if err != nil {
			b.Fatal(err)
		}
		start, cpu := time.Now(), processorTime(b)
		if err := a.Step(context.Background()); err != nil {
			b.Fatal(err)
		}
		took := time.Since(start)
		s := a.state
		if s.Next != benchLeaves || s.Totals.NodesJudged != benchEvidence || s.Totals.NodesRefused != 0 || s.Totals.Compared != benchLeaves {
			b.Fatalf("%d leaves, %+v, refused %v", s.Next, s.Totals, s.Refused)
		}
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		b.ReportMetric(took.Seconds(), "s/audit")
		b.ReportMetric((processorTime(b) - cpu).Seconds(), "processor-s/audit") // mirror and auditor together
		b.ReportMetric(float64(mem.Sys)/(1<<20), "MiB-from-system")
	}
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func makeBenchLog(b *testing.B) *benchLog {
	b.Helper()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	root, err := attestationtest.GenerateRoot()
	must(err)
	weights := sha256.Sum256([]byte("weights"))
	config, err := attestationtest.Config("toy", weights).Append(nil)
	must(err)
	ring := make([]*attestationtest.Node, benchNodes)
	for i := range ring {
		ring[i], err = attestationtest.NewNode(root, attestationtest.NodeSpec{Name: fmt.Sprint("node-", i), Config: config})
		must(err)
	}
	l := &benchLog{k: newKeys(b), policy: attestationtest.Policy(root), dir: b.TempDir()}
	for _, d := range []string{"v1/pack", "v1/statement"} {
		must(os.MkdirAll(filepath.Join(l.dir, d), 0o755))
	}
	// A lab's revocation lists are an hour old when they are made.
	first := time.Now().UTC().Truncate(time.Second).Add(-50 * time.Minute)
	m := l.k.mirror("bench")
	for e := range uint64(benchLeaves) {
		s := &statement.Statement{Epoch: e, NotBefore: first, NotAfter: first, NextPublic: first, Empty: true}
		if e > 0 {
			s.Empty, s.NotAfter, s.Beacon = false, first.Add(time.Hour), statement.LeafHash(m.leaves[e-1])
			s.NextPublic = s.NotAfter
			s.GatewayKeys, s.Models = [][]byte{[]byte("key")}, []statement.Model{{Name: "toy", Weights: weights, Context: 512, APIs: 1}}
		}
		if e >= benchLeaves-benchEvidence {
			m.at = first.Add(-time.Minute)
			m.build()
			note := m.note()
			n := ring[e%benchNodes]
			must(n.Rekey())
			bundle, err := n.Epoch(e, sha256.Sum256(note))
			must(err)
			raw, err := bundle.Append(nil)
			must(err)
			rec, err := (&statement.Record{NodeID: n.ID(), Epoch: e, REK: n.REK(), NodeKey: n.Public(), EvidenceDigest: bundle.Digest()}).Append(nil)
			must(err)
			pack := &statement.Pack{Epoch: e, Checkpoint: note}
			pack.Add(raw)
			s.Nodes = []statement.Node{{ID: n.ID(), Record: pack.Add(rec)}}
			packed, err := pack.Append(nil)
			must(err)
			must(os.WriteFile(filepath.Join(l.dir, "v1/pack", strconv.FormatUint(e, 10)), packed, 0o644))
		}
		leaf, err := s.Append(nil)
		must(err)
		m.leaves = append(m.leaves, leaf)
	}
	m.at = time.Now()
	m.build()
	must(os.WriteFile(filepath.Join(l.dir, "v1/checkpoint"), m.note(), 0o644))
	note := m.note()
	for e := range uint64(benchLeaves) {
		proof, err := m.tree.Prove(e, benchLeaves)
		must(err)
		signed, err := (&statement.Signed{Leaf: m.leaves[e], Index: e, Proof: proof, Checkpoint: note}).Append(nil)
		must(err)
		must(os.WriteFile(filepath.Join(l.dir, "v1/statement", strconv.FormatUint(e, 10)), signed, 0o644))
	}
	for _, level := range []int{-1, 0, 1, 2} {
		for n := uint64(0); ; n++ {
			p := tiles.Path{Entries: level < 0, Level: max(level, 0), N: n}
			have := uint64(benchLeaves) >> (8 * p.Level)
			if n*tiles.Width >= have {
				break
			}
			p.Width = int(min(tiles.Width, have-n*tiles.Width))
			data, err := m.tile(p.String())
			must(err)
			name := filepath.Join(l.dir, "v1/log", p.String())
			must(os.MkdirAll(filepath.Dir(name), 0o755))
			must(os.WriteFile(name, data, 0o644))
		}
	}
	return l
}
