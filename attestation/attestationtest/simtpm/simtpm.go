// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package simtpm gives TPMs made of software: the reference simulator inside
// the process, and a swtpm behind a unix socket.
//
// They are for the lab and for tests. Nothing they hold is protected by
// hardware, and no shipped program but the lab may import this package. The
// simulator is C code and needs cgo and the OpenSSL headers.
package simtpm

import (
	"errors"
	"fmt"
	"sync"

	"github.com/google/go-tpm-tools/simulator"
	"github.com/google/go-tpm/tpmutil"

	// Compiled for its one-line advice when OpenSSL's headers are missing.
	_ "github.com/sotto-project/sotto/attestation/attestationtest/simtpm/internal/openssl"
)

// ErrInUse: this process already has a simulator open; its state is global, so
// there is one a process.
var ErrInUse = errors.New("simtpm: simulator already open in this process")

// one guards the simulator's global state. The library would block instead.
var one sync.Mutex

// A Simulator is the reference TPM simulator, freshly manufactured and started:
// new seeds, all PCRs at their reset values. It implements
// [github.com/google/go-tpm/tpm2/transport.TPMCloser]; unlike the library
// beneath it, it may be called from several goroutines.
type Simulator struct {
	mu     sync.Mutex // the C code crashes on concurrent commands
	sim    *simulator.Simulator
	closed bool
}

// OpenSimulator starts the process's simulator, or returns [ErrInUse].
func OpenSimulator() (*Simulator, error) {
	if !one.TryLock() {
		return nil, ErrInUse
	}
	sim, err := simulator.Get()
	if err != nil {
		one.Unlock()
		return nil, fmt.Errorf("simtpm: open simulator (needs cgo: apt-get install -y gcc libssl-dev): %v", err)
	}
	return &Simulator{sim: sim}, nil
}

// Send implements [github.com/google/go-tpm/tpm2/transport.TPM].
func (s *Simulator) Send(cmd []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("simtpm: closed")
	}
	return tpmutil.RunCommandRaw(s.sim, cmd)
}

// Reset is a reboot of the machine (TPM Reset): PCRs and the NULL seed start
// afresh, transient objects and sessions are gone, the reset count grows.
func (s *Simulator) Reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("simtpm: closed")
	}
	return s.sim.Reset()
}

// Close ends the simulator; all of its state is lost.
func (s *Simulator) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	defer one.Unlock()
	return s.sim.Close()
}
