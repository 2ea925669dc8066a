// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakeima"
	"github.com/sotto-project/sotto/attestation/collect"
)

// A machine is a simulated one whose kernel measures what runs and whose GPU can
// be made to misbehave.
type machine struct {
	*fixture
	root *attestationtest.Root

	mu   sync.Mutex
	ran  []fakeima.Entry
	gpu  fakegpu.Spec
	gone error // of the GPU
	asks [][32]byte
}

// complete is a node on such a machine, under a policy that names what is on it
// and the tools in allowed.
func complete(t *testing.T, allowed []fakeima.Entry, change func(*Config)) *machine {
	t.Helper()
	m := &machine{gpu: fakegpu.Spec{NoTokens: true, Short: true}}
	var err error
	if m.root, err = attestationtest.GenerateRoot(); err != nil {
		t.Fatal(err)
	}
	chip, err := m.root.NewChip("SIMULATED chip")
	if err != nil {
		t.Fatal(err)
	}
	policy := attestationtest.LabPolicy(m.root)
	policy.Images[0].IMA = attestationtest.IMARules(append(attestationtest.LabEntries(), allowed...))
	m.fixture = unstarted(t, func(c *Config) {
		c.Own, c.Simulated = policy, true
		c.Weights = hex.EncodeToString(bytes.Repeat([]byte{1}, 32))
		if change != nil {
			change(c)
		}
	})
	hw := &m.node.hw
	hw.Reporter = chip
	if hw.EventLog, err = attestationtest.Boot(t.Context(), m.tpm); err != nil {
		t.Fatal(err)
	}
	m.run(attestationtest.LabEntries()...)
	hw.IMALog = func() ([]byte, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		return fakeima.Log(m.ran), nil
	}
	hw.GPU = func(_ context.Context, nonce [32]byte) ([]byte, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.asks = append(m.asks, nonce)
		if m.gone != nil {
			return nil, m.gone
		}
		return m.root.GPU().Evidence(nonce, m.gpu)
	}
	if err := m.node.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.epoch(7)
	return m
}

// run has the kernel measure: it lists an entry before it extends the register.
func (m *machine) run(entries ...fakeima.Entry) {
	m.t.Helper()
	for _, e := range entries {
		m.mu.Lock()
		m.ran = append(m.ran, e)
		m.mu.Unlock()
		if err := m.tpm.Extend(m.t.Context(), fakeima.PCR, e.Hash()); err != nil {
			m.t.Fatal(err)
		}
	}
}

func (m *machine) set(change func(*machine)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

// drained fails the test unless the node refuses, holds no key, and says why.
func (m *machine) drained(recorded *sealedRequest, why string) {
	m.t.Helper()
	if m.health() != "draining" || m.opens(recorded) {
		m.t.Errorf("health %q, a recorded request opens: %t", m.health(), m.opens(recorded))
	}
	if code := problemOf(m.t, m.send(recorded)); code != "node.draining" {
		m.t.Errorf("code %q", code)
	}
	if !strings.Contains(m.log.String(), why) {
		m.t.Errorf("the log does not say %s: %s", why, m.log)
	}
}

var tool = fakeima.File("/usr/bin/nvidia-smi", []byte("SIMULATED tool"))

func codeOfRefusal(err error) attestation.Code {
	var r *attestation.RefusalError
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}

// TestAllowedGrowthIsHealthy: a log that grows by what the policy lists drains
// nobody, however often it is looked at and whatever the GPUs are asked between.
func TestAllowedGrowthIsHealthy(t *testing.T) {
	m := complete(t, []fakeima.Entry{tool}, nil)
	recorded := m.seal(hello, option{})
	for range 3 {
		m.run(tool)
		for what, check := range map[string]func(context.Context) error{"self check": m.node.check, "GPUs": m.node.judgeAgain} {
			if err := check(t.Context()); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	for range 20 { // more than a collector remembers epochs for
		if err := m.node.judgeAgain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.node.check(t.Context()); err != nil {
		t.Errorf("after many looks at the GPUs: %v", err)
	}
	if o := recorded.open(m.send(recorded)); o.status != 200 {
		t.Errorf("%+v", o)
	}
	seen := map[[32]byte]bool{}
	for _, n := range m.asks {
		if seen[n] {
			t.Error("a GPU was asked twice over one nonce")
		}
		seen[n] = true
	}
}

// TestWhatClientsWouldRefuseIsAVerdict names the code of each, and tells the
// vendors' files that are out of date from the machine.
func TestWhatClientsWouldRefuseIsAVerdict(t *testing.T) {
	for name, tc := range map[string]struct {
		harm      func(*machine)
		check     func(*machine) error
		code      attestation.Code
		undecided bool
	}{
		"AT-41 a module that no image has": {func(m *machine) { m.run(fakeima.Module()) },
			func(m *machine) error { return m.node.check(t.Context()) }, "att.ima.entry", false},
		"the same, as the GPUs are asked": {func(m *machine) { m.run(fakeima.Module()) },
			func(m *machine) error { return m.node.judgeAgain(t.Context()) }, "att.ima.entry", false},
		"a violation": {func(m *machine) { m.run(fakeima.Changed("/usr/bin/sotto-node")) },
			func(m *machine) error { return m.node.check(t.Context()) }, "att.ima.entry", false},
		"kexec": {func(m *machine) { m.run(attestationtest.LabEntries()[0]) },
			func(m *machine) error { return m.node.check(t.Context()) }, "att.ima.aggregate", false},
		"a second GPU": {func(m *machine) { m.set(func(m *machine) { m.gpu.GPUs = 2 }) },
			func(m *machine) error { return m.node.judgeAgain(t.Context()) }, "att.gpu.count", false},
		"protected PCIe mode": {func(m *machine) { m.set(func(m *machine) { m.gpu.ProtectedPCIE = true }) },
			func(m *machine) error { return m.node.judgeAgain(t.Context()) }, "att.gpu.count", false},
		"answers out of date": {func(m *machine) { m.set(func(m *machine) { m.gpu.Now = time.Now().Add(-72 * time.Hour) }) },
			func(m *machine) error { return m.node.judgeAgain(t.Context()) }, "att.gpu.ocsp", true},
	} {
		t.Run(name, func(t *testing.T) {
			m := complete(t, nil, nil)
			if err := tc.check(m); err != nil {
				t.Fatalf("healthy: %v", err)
			}
			tc.harm(m)
			err := tc.check(m)
			var undecided *undecidedError
			if codeOfRefusal(err) != tc.code || errors.As(err, &undecided) != tc.undecided {
				t.Errorf("%v, want %s", err, tc.code)
			}
		})
	}
	t.Run("a GPU that reports no more", func(t *testing.T) {
		m := complete(t, nil, nil)
		m.set(func(m *machine) { m.gone = errTest })
		var verdict *collect.SelfCheckError
		if err := m.node.judgeAgain(t.Context()); !errors.As(err, &verdict) || verdict.Reason != collect.ReasonGPU {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var undecided *undecidedError
		if err := m.node.judgeAgain(ctx); !errors.As(err, &undecided) {
			t.Errorf("a check that was stopped: %v", err)
		}
	})
}

// TestUnlistedProgramDrainsWithinOneInterval: what clients would refuse at the
// next freshness evidence has no minute in which the keys still open.
func TestUnlistedProgramDrainsWithinOneInterval(t *testing.T) {
	for name, tc := range map[string]struct {
		harm func(*machine)
		why  string
	}{
		"AT-41 an unlisted module":     {func(m *machine) { m.run(fakeima.Module()) }, "att.ima.entry"},
		"a GPU in another mode":        {func(m *machine) { m.set(func(m *machine) { m.gpu.ProtectedPCIE = true }) }, "att.gpu.count"},
		"a GPU that reports no longer": {func(m *machine) { m.set(func(m *machine) { m.gone = errTest }) }, "gpu: "},
	} {
		t.Run(name, func(t *testing.T) {
			// Wide enough for a busy machine: the order is what is tested.
			m := complete(t, []fakeima.Entry{tool}, func(c *Config) {
				c.SelfCheckInterval, c.GPUCheckInterval = new(2*time.Second), 2*time.Second
			})
			ctx, stop := context.WithCancel(t.Context())
			var watching sync.WaitGroup
			watching.Go(func() { m.node.watch(ctx) })
			watching.Go(func() { m.node.watchGPUs(ctx) })
			defer watching.Wait()
			defer stop()
			recorded := m.seal(hello, option{})
			m.run(tool)
			if m.health() != "ready" {
				t.Fatal("drained without a reason")
			}
			tc.harm(m)
			ended := make(chan struct{})
			go func() { watching.Wait(); close(ended) }()
			select {
			case <-ended: // a failed check ends both
			case <-time.After(20 * time.Second):
				t.Fatal("still serving")
			}
			m.drained(recorded, tc.why)
		})
	}
}

// TestNodeWithoutAPolicyOfItsOwnJudgesNothing: as before there was one.
func TestNodeWithoutAPolicyOfItsOwnJudgesNothing(t *testing.T) {
	f := newFixture(t, nil)
	if err := errors.Join(f.node.judgeNow(t.Context()), f.node.judgeAgain(t.Context())); err != nil {
		t.Error(err)
	}
}

// TestDrainedNodeHasNothingToJudge: what was drained meanwhile is no failure.
func TestDrainedNodeHasNothingToJudge(t *testing.T) {
	m := complete(t, nil, nil)
	m.node.Drain()
	if err := errors.Join(m.node.judgeNow(t.Context()), m.node.judgeAgain(t.Context())); err != nil {
		t.Error(err)
	}
}
