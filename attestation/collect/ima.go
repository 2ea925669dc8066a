// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"errors"
	"fmt"

	"github.com/sotto-project/sotto/attestation/internal/ima"
)

// imaPCR is the register that the kernel's IMA extends.
const imaPCR = ima.PCR

// imaLog reads the log and returns the part that leads to a value of PCR 10, in
// the format of evidence: a verifier could do nothing with what came after the
// quote.
func (c *Collector) imaLog(pcr [32]byte) ([]byte, error) {
	raw, err := c.IMALog()
	if err != nil {
		return nil, fmt.Errorf("collect: ima log: %w", err)
	}
	log, err := ima.Convert(raw)
	if err != nil {
		return nil, fmt.Errorf("collect: ima log: %w", err)
	}
	parsed, err := ima.Parse(log)
	if err != nil {
		return nil, fmt.Errorf("collect: ima log: %w", err)
	}
	size, ok := parsed.Prefix([32]byte{}, pcr)
	if !ok {
		return nil, errors.New("collect: ima log: does not lead to pcr 10")
	}
	return log[:size:size], nil
}
