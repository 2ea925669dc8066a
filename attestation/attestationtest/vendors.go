// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestationtest

import (
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakecloud"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakenitro"
	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// vendors are the SIMULATED vendors beside AMD. A root that was read from files
// has those that were written into them.
type vendors struct {
	intel  *faketdx.Root
	gpu    *fakegpu.Maker
	aws    *fakenitro.Authority
	google *fakecloud.CA
	enrol  *fakecloud.CA // a self-hoster's own
	maker  *fakecloud.CA // of TPMs
}

func newVendors() (v vendors, err error) {
	if v.intel, err = faketdx.Generate(); err != nil {
		return v, err
	}
	if v.gpu, err = fakegpu.Generate(); err != nil {
		return v, err
	}
	if v.aws, err = fakenitro.NewAuthority(time.Now(), nil); err != nil {
		return v, err
	}
	for _, ca := range []struct {
		dst   **fakecloud.CA
		owner fakecloud.Owner
	}{{&v.google, roots.Google}, {&v.enrol, fakecloud.Enrolment}, {&v.maker, roots.TPM}} {
		if *ca.dst, err = fakecloud.NewCA(ca.owner); err != nil {
			return v, err
		}
	}
	return v, nil
}

// with adds the vendors' roots to a set. The enrolment authority is not among
// them: a policy names it.
func (v *vendors) with(s roots.Set) roots.Set {
	if v.gpu != nil {
		s = s.With(roots.NVIDIA, v.gpu.Certs()...)
	}
	if v.intel != nil {
		s = s.With(roots.Intel, v.intel.Certs()...).With(roots.AWS, v.aws.Root()).
			With(roots.Google, v.google.Roots()...).With(roots.TPM, v.maker.Roots()...)
	}
	return s
}

// GPU returns the SIMULATED maker of GPUs.
func (r *Root) GPU() *fakegpu.Maker { return r.gpu }
