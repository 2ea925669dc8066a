// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package simtpm_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sotto-project/sotto/attestation/attestationtest/simtpm"
)

var (
	_ transport.TPMCloser = (*simtpm.Simulator)(nil)
	_ transport.TPMCloser = (*simtpm.Swtpm)(nil)
)

func TestOneSimulatorAProcess(t *testing.T) {
	sim, err := simtpm.OpenSimulator()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := simtpm.OpenSimulator(); !errors.Is(err, simtpm.ErrInUse) {
		t.Errorf("second simulator: %v, want ErrInUse", err)
	}
	for range 2 {
		if err := sim.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := sim.Send(make([]byte, 10)); err == nil {
		t.Error("closed simulator answers")
	}
	if err := sim.Reset(); err == nil {
		t.Error("closed simulator resets")
	}
	if sim, err = simtpm.OpenSimulator(); err != nil {
		t.Fatalf("after close: %v", err)
	}
	_ = sim.Close()
}

// TestConcurrentCommands would crash the C code without the lock.
func TestConcurrentCommands(t *testing.T) {
	sim, err := simtpm.OpenSimulator()
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if _, err := (tpm2.GetRandom{BytesRequested: 16}).Execute(sim); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestResetCounts(t *testing.T) {
	sim, err := simtpm.OpenSimulator()
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	count := func() uint32 {
		rsp, err := tpm2.ReadClock{}.Execute(sim)
		if err != nil {
			t.Fatal(err)
		}
		return rsp.CurrentTime.ClockInfo.ResetCount
	}
	before := count()
	if err := sim.Reset(); err != nil {
		t.Fatal(err)
	}
	if after := count(); after != before+1 {
		t.Errorf("reset count %d after %d", after, before)
	}
}

// TestSwtpmFraming plays a swtpm that writes its answer in pieces, and others
// that lie about its size.
func TestSwtpmFraming(t *testing.T) {
	good := []byte{0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 7, 8}
	for name, c := range map[string]struct {
		pieces [][]byte
		ok     bool
	}{
		"pieces":    {[][]byte{good[:3], good[3:10], good[10:]}, true},
		"truncated": {[][]byte{good[:11]}, false},
		"too small": {[][]byte{{0x80, 1, 0, 0, 0, 9, 0, 0, 0, 0}}, false},
		"too large": {[][]byte{{0x80, 1, 0, 0, 0x20, 1, 0, 0, 0, 0}}, false},
		"nothing":   {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			sw := fake(t, c.pieces)
			cmd := []byte{0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x81}
			rsp, err := sw.Send(cmd)
			if (err == nil) != c.ok || c.ok && !bytes.Equal(rsp, good) {
				t.Errorf("got %x, %v", rsp, err)
			}
		})
	}
	if _, err := simtpm.DialSwtpm(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("missing socket dialled")
	}
}

func fake(t *testing.T, pieces [][]byte) *simtpm.Swtpm {
	t.Helper()
	dir, err := os.MkdirTemp("", "sw")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if _, err := io.ReadFull(conn, make([]byte, 10)); err != nil {
			return
		}
		for _, p := range pieces {
			_, _ = conn.Write(p)
		}
	})
	sw, err := simtpm.DialSwtpm(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sw.Close()
		_ = ln.Close()
		wg.Wait()
		_ = os.RemoveAll(dir)
	})
	return sw
}
