// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"log/slog"
	"net"

	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakeima"
	"github.com/sotto-project/sotto/computenode"
)

// Twins of the node: the shipped node on a machine with one fault. Its evidence
// is genuine, and says so. They are SIMULATED.

// serveGPULessNode is a node that shows everything but its GPU.
func serveGPULessNode(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return serveNodeOn(ctx, path, lns, log, attestationtest.LabEntries(), func(hw *computenode.Hardware) {
		hw.GPU = nil
		deed(log, "left its GPU out of its evidence")
	})
}

// serveModuleNode is a node whose kernel loaded a module that no release has.
func serveModuleNode(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	module := fakeima.Module()
	return serveNodeOn(ctx, path, lns, log, append(attestationtest.LabEntries(), module), func(*computenode.Hardware) {
		deed(log, "loaded the kernel module %s, which the release does not have", module.Name)
	})
}
