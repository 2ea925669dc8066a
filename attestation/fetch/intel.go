// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"encoding/hex"
	"encoding/json"
)

const (
	intel     = "https://api.trustedservices.intel.com"
	intelRoot = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
)

// The two authorities that issue PCK certificates: of machines with several
// packages, which are those that have TDX, and of single ones.
const (
	PlatformCA  = "platform"
	ProcessorCA = "processor"
)

// Intel gets the seven files of TDX collateral for platforms of an FMSPC whose
// PCK certificate is issued by ca, under the names that files.TDX reads (PCS API
// version 4).
func (f *Fetcher) Intel(ctx context.Context, fmspc [6]byte, ca string) ([]File, error) {
	if ca != PlatformCA && ca != ProcessorCA {
		return nil, argument("ca is %q or %q", PlatformCA, ProcessorCA)
	}
	var out []File
	for _, q := range []struct{ address, header, name string }{
		{intel + "/tdx/certification/v4/tcb?fmspc=" + hex.EncodeToString(fmspc[:]), "TCB-Info-Issuer-Chain", "tdx-tcb-info"},
		{intel + "/tdx/certification/v4/qe/identity", "SGX-Enclave-Identity-Issuer-Chain", "tdx-qe-identity"},
	} {
		b, header, err := f.get(ctx, q.address, maxSmall)
		if err != nil {
			return nil, err
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(b, &object); err != nil {
			return nil, &ShapeError{q.address, err}
		}
		above, err := issuers(q.address, header, q.header)
		if err != nil {
			return nil, err
		}
		out = append(out, File{q.name + ".json", b}, File{q.name + "-issuers.pem", above})
	}
	address := intel + "/sgx/certification/v4/pckcrl?ca=" + ca + "&encoding=der"
	list, header, err := f.crl(ctx, address)
	if err != nil {
		return nil, err
	}
	above, err := issuers(address, header, "SGX-PCK-CRL-Issuer-Chain")
	if err != nil {
		return nil, err
	}
	root, _, err := f.crl(ctx, intelRoot)
	if err != nil {
		return nil, err
	}
	return append(out, File{"tdx-pck.crl", list}, File{"tdx-pck-crl-issuers.pem", above}, File{"tdx-root.crl", root}), nil
}
