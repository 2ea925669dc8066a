// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"

	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakeima"
	"github.com/sotto-project/sotto/attestation/attestationtest/simtpm"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/computenode"
	"github.com/sotto-project/sotto/internal/config"
)

// serveNode runs a node on simulated hardware: a TPM in software, a chip and a
// GPU under the lab's roots, a boot that never happened and a log of what ran
// since.
func serveNode(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return serveNodeOn(ctx, path, lns, log, attestationtest.LabEntries(), nil)
}

// serveNodeOn runs a node whose kernel measured entries, and whose hardware
// change, if set, changes before the node sees it.
func serveNodeOn(ctx context.Context, path string, lns []net.Listener, log *slog.Logger, entries []fakeima.Entry, change func(*computenode.Hardware)) error {
	n, hw, _, err := makeNode(ctx, path, log, entries, change)
	if err != nil {
		return err
	}
	defer hw.TPM.Close()
	return n.ServeOn(ctx, lns[0])
}

// makeNode is serveNodeOn as far as the node that is to serve. The hardware's
// TPM is the caller's to close.
func makeNode(ctx context.Context, path string, log *slog.Logger, entries []fakeima.Entry, change func(*computenode.Hardware)) (*computenode.Node, computenode.Hardware, computenode.Config, error) {
	var hw computenode.Hardware
	cfg, err := config.Load[computenode.Config](path)
	if err != nil {
		return nil, hw, cfg, err
	}
	if cfg.Peers.Machines, err = machines(path); err != nil {
		return nil, hw, cfg, err
	}
	if change == nil { // a hostile one does not look at itself
		cfg.Own = cfg.Peers.Machines
	}
	if hw, err = simulatedHardware(ctx, path, entries); err != nil {
		return nil, hw, cfg, err
	}
	if change != nil {
		change(&hw)
	}
	n, err := computenode.New(cfg, hw, log)
	if err != nil {
		hw.TPM.Close()
	}
	return n, hw, cfg, err
}

// simulatedHardware is the machine of the node whose file is at path.
func simulatedHardware(ctx context.Context, path string, entries []fakeima.Entry) (hw computenode.Hardware, err error) {
	root, err := attestationtest.OpenRoot(hardwareDir(path))
	if err != nil {
		return hw, err
	}
	chip, err := root.NewChip(chipName(nodeNumber(path)))
	if err != nil {
		return hw, err
	}
	sim, err := simtpm.OpenSimulator()
	if err != nil {
		return hw, err
	}
	hw = computenode.Hardware{TPM: tpm.New(sim), Reporter: chip}
	if hw.EventLog, err = attestationtest.Boot(ctx, hw.TPM); err != nil {
		return hw, err
	}
	ran, err := fakeima.Play(ctx, hw.TPM, entries)
	if err != nil {
		return hw, err
	}
	hw.IMALog = func() ([]byte, error) { return ran, nil }
	// Tokens come from a service that the lab does not have; manifests are enough.
	// A P-384 signature takes a millisecond to check: short chains keep a client's
	// start a matter of milliseconds.
	spec := fakegpu.Spec{First: nodeNumber(path), NoTokens: true, Short: true}
	hw.GPU = func(_ context.Context, nonce [32]byte) ([]byte, error) { return root.GPU().Evidence(nonce, spec) }
	return hw, nil
}

// chipName names the chip of the node of that number, in every run: a machine that
// starts again is no new one.
func chipName(n int) string { return "of " + nodeName(n) }

// nodeNumber is n of nodeName(n), read from the name of the node's file.
func nodeNumber(path string) (n int) {
	if _, err := fmt.Sscanf(strings.TrimSuffix(filepath.Base(path), ".yaml"), "node-%d", &n); err != nil {
		return 0 // a file of another name: the first machine
	}
	return n - 1
}
