// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Command sotto-node answers sealed prompts inside a confidential VM.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/sotto-project/sotto/attestation/collect/snp"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/computenode"
	"github.com/sotto-project/sotto/internal/daemon"
)

// config is the node's file: the role's own fields, and the hardware it stands
// on. The hardware's paths are not trusted: what comes out of it is verified
// by every client.
type config struct {
	computenode.Config `yaml:",inline"`

	// TPM is the device of the TPM; /dev/tpmrm0 if absent.
	TPM string `yaml:"tpm"`
	// EventLog is the firmware's log of this boot; the kernel's file if absent.
	EventLog string `yaml:"event_log"`
	// SNP names the collateral of the SEV-SNP report.
	SNP snp.Config `yaml:"snp"`
}

func main() {
	os.Exit(daemon.Role[config]{
		Name: "sotto-node",
		About: `Opens sealed prompts with a key whose one half never leaves the TPM, has the
engine on this machine answer, and seals the answer. It sees prompt and answer
while it computes; it does not see who asked, keeps nothing, and dials nothing
but its engine.`,
		Check: func(c config) error { return c.Validate() },
		Serve: serve,
	}.Main())
}

func serve(ctx context.Context, c config, log *slog.Logger) error {
	if c.Simulated {
		return fmt.Errorf("simulated: true is for the lab; this program stands on hardware or not at all")
	}
	if c.TPM == "" {
		c.TPM = "/dev/tpmrm0"
	}
	if c.EventLog == "" {
		c.EventLog = "/sys/kernel/security/tpm0/binary_bios_measurements"
	}
	events, err := os.ReadFile(c.EventLog)
	if err != nil {
		return fmt.Errorf("event log: %v", err)
	}
	reporter, err := snp.Open(c.SNP)
	if err != nil {
		return err
	}
	device, err := tpm.Open(c.TPM)
	if err != nil {
		return err
	}
	defer device.Close()
	n, err := computenode.New(c.Config, computenode.Hardware{TPM: device, Reporter: reporter, EventLog: events}, log)
	if err != nil {
		return err
	}
	return n.Serve(ctx)
}
