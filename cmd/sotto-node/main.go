// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Command sotto-node answers sealed prompts inside a confidential VM.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/sotto-project/sotto/attestation/collect/platform"
	"github.com/sotto-project/sotto/computenode"
	"github.com/sotto-project/sotto/internal/daemon"
)

// config is the node's file: the role's own fields, and the hardware it stands
// on. The hardware's paths are not trusted: what comes out of it is verified
// by every client.
type config struct {
	computenode.Config `yaml:",inline"`

	Machine platform.Config `yaml:",inline"`
}

func main() {
	os.Exit(daemon.Role[config]{
		Name: "sotto-node",
		About: `Opens sealed prompts with a key whose one half never leaves the TPM, has the
engine on this machine answer, and seals the answer. It sees prompt and answer
while it computes; it does not see who asked, keeps nothing, and dials nothing
but its engine.`,
		Check: check,
		Serve: serve,
	}.Main())
}

func check(c config) error {
	if c.Simulated {
		return errors.New("simulated: true is for the lab; this program stands on hardware or not at all")
	}
	if err := c.Validate(); err != nil {
		return err
	}
	return c.Machine.Validate()
}

func serve(ctx context.Context, c config, log *slog.Logger) (err error) {
	m, err := platform.Open(ctx, c.Machine)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.TPM.Close()) }()
	n, err := computenode.New(c.Config, computenode.Hardware{
		TPM: m.TPM, Reporter: m.Reporter, EventLog: m.EventLog, CCEL: m.CCEL, IMALog: m.IMALog, GPU: m.GPU,
	}, log)
	if err != nil {
		return err
	}
	return n.Serve(ctx)
}
