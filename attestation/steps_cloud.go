// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/hcl"
	"github.com/sotto-project/sotto/attestation/internal/nitro"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
	"github.com/sotto-project/sotto/attestation/internal/svsm"
	"github.com/sotto-project/sotto/attestation/internal/tpmcert"
)

// checkHCL ties the attestation key to the runtime data of Azure's paravisor,
// which the hardware's report covers. That report is as old as the boot; what is
// fresh is the TPM's quote.
func checkHCL(v *verification) (outcome, error) {
	r, err := hcl.Parse(v.piece(evidence.KindHCLReport))
	if err != nil {
		return outcome{}, err
	}
	if tdx := r.TD != nil; tdx != (v.platform == AzureTDX) {
		return outcome{}, refuse.As(refuse.TEE, "the paravisor's report is of other hardware than the evidence")
	}
	if err := r.CheckAK(v.ak); err != nil {
		return outcome{}, err
	}
	if err := v.checkPrimary(); err != nil {
		return outcome{}, err
	}
	l := hcl.Limits{AllowConsole: v.p.Azure.AllowConsole, AllowSecureBootOff: v.p.AllowSecureBootOff}
	if err := r.Check(l); err != nil {
		return outcome{}, err
	}
	v.hcl = r
	out := outcome{expected: "HCLAkPub is the attestation key", got: "equal"}
	if r.Runtime.Console {
		out.gap = "console: the cloud serves the machine's serial console"
	}
	return out, nil
}

// checkPrimary is asked where only the key itself is vouched for, and not its
// public area: the TPM then says that the area is its own.
func (v *verification) checkPrimary() error {
	if !v.ak.SignedAsPrimary(v.quote) {
		return refuse.As(refuse.AK, "the quote's signer is no primary key with this public area")
	}
	return nil
}

// checkSVSM ties the vTPM's key to the services manifest, which REPORT_DATA
// covers.
func checkSVSM(v *verification) (outcome, error) {
	m, err := svsm.Parse(v.piece(evidence.KindSVSMManifest))
	if err != nil {
		return outcome{}, err
	}
	binding, err := m.Check(v.ak)
	if err != nil {
		return outcome{}, err
	}
	out := outcome{expected: "manifest names a key of this vTPM", got: binding.String()}
	if binding == svsm.BindsAK {
		if v.piece(evidence.KindAKCerts) != nil {
			return out, refuse.As(refuse.Format, "a certificate of the attestation key, which the SVSM names itself")
		}
		return out, nil
	}
	// The manifest names the endorsement key: somebody has to have seen that the
	// attestation key is in the same TPM.
	if v.piece(evidence.KindAKCerts) == nil {
		return out, refuse.As(refuse.Binding, "the SVSM vouches for an endorsement key, and nobody for the attestation key beside it")
	}
	cert, _, err := v.verifyAKCert(tpmcert.Enrolment)
	if err != nil {
		return out, err
	}
	key, err := m.Public.Key()
	if err != nil {
		return out, refuse.As(refuse.Binding, "endorsement key of the manifest: %v", err)
	}
	out.gap = "attestation key: in the SVSM's vTPM on the word of the enrolment authority"
	if cert.NoCRL {
		out.gap += "; " + noAKList
	}
	return out, cert.CheckEK(key)
}

const noAKList = "revocation: no list for the certificate of the attestation key"

func hasAKCerts(v *verification) bool {
	return v.platform == TPM || v.platform == GoogleSNP || v.platform == GoogleTDX
}

// collateral splits a list of certificates and, after them, revocation lists.
func collateral(b []byte, code refuse.Code) (tpmcert.Collateral, error) {
	l, err := evidence.ParseList(b)
	if err != nil {
		return tpmcert.Collateral{}, refuse.As(code, "certificates are no list")
	}
	var c tpmcert.Collateral
	for _, item := range l {
		if _, err := x509.ParseRevocationList(item); err == nil {
			c.CRLs = append(c.CRLs, item)
		} else if c.CRLs != nil {
			return c, refuse.As(code, "something else than a revocation list after one")
		} else {
			c.Certs = append(c.Certs, item)
		}
	}
	return c, nil
}

// authority returns whose certificates count: roots built in, and those that the
// policy names.
func (v *verification) authority(owner roots.Vendor, pemRoots string) (tpmcert.Authority, error) {
	a := tpmcert.Of(v.p.Roots, owner)
	for rest := bytes.TrimSpace([]byte(pemRoots)); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		block, next := pem.Decode(rest)
		// Decode passes over what it cannot read, and that may be an authority too.
		if block == nil || block.Type != "CERTIFICATE" || !bytes.HasPrefix(rest, []byte("-----BEGIN CERTIFICATE-----")) {
			return a, refuse.As(refuse.Policy, "roots of %s in the policy are not certificates in PEM alone", owner)
		}
		rest = next
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return a, refuse.As(refuse.Policy, "root of %s in the policy: %v", owner, err)
		}
		a.Roots = append(a.Roots[:len(a.Roots):len(a.Roots)], cert)
	}
	return a, nil
}

func (v *verification) certLimits() tpmcert.Limits {
	return tpmcert.Limits{CRLGrace: time.Duration(v.p.SNP.CRLGrace), AllowNoCRL: v.p.TPM.AllowNoCRL}
}

func (v *verification) verifyAKCert(owner roots.Vendor) (*tpmcert.AK, tpmcert.Authority, error) {
	c, err := collateral(v.piece(evidence.KindAKCerts), refuse.AKCert)
	if err != nil {
		return nil, tpmcert.Authority{}, err
	}
	named := ""
	if owner == tpmcert.Enrolment {
		named = v.p.TPM.EnrolmentCAs
	}
	a, err := v.authority(owner, named)
	if err != nil {
		return nil, a, err
	}
	cert, err := tpmcert.VerifyAK(c, v.ak.Key(), a, v.certLimits(), v.now)
	if err != nil {
		return nil, a, err
	}
	return cert, a, v.checkPrimary()
}

func checkAKCert(v *verification) (outcome, error) {
	owner := roots.Google
	if v.platform == TPM {
		owner = tpmcert.Enrolment
	}
	cert, _, err := v.verifyAKCert(owner)
	if err != nil {
		return outcome{}, err
	}
	if v.ek != nil {
		if err := cert.CheckEK(v.ek.Key); err != nil {
			return outcome{}, err
		}
	}
	out := outcome{got: fmt.Sprintf("certified by %q", cert.Root.Subject.String())}
	if cert.NoCRL {
		out.gap = noAKList
	}
	return out, nil
}

func checkEKCert(v *verification) (outcome, error) {
	c, err := collateral(v.piece(evidence.KindEKCerts), refuse.EK)
	if err != nil {
		return outcome{}, err
	}
	a, err := v.authority(roots.TPM, v.p.TPM.EndorsementCAs)
	if err != nil {
		return outcome{}, err
	}
	ek, err := tpmcert.VerifyEK(c, a, v.certLimits(), v.now)
	if err != nil {
		return outcome{}, err
	}
	if err := v.restrict("", [64]byte{}, false); err != nil {
		return outcome{}, err
	}
	v.ek = ek
	out := outcome{got: fmt.Sprintf("%q, certified by %q", ek.TPM, ek.Root.Subject.String())}
	if ek.NoCRL {
		out.gap = "revocation: no list for the certificate of the endorsement key"
	}
	return out, nil
}

func checkNitroGenuine(v *verification) (outcome, error) {
	g, err := nitro.Verify(v.piece(evidence.KindNitroDoc), v.p.Roots, v.now, time.Duration(v.p.Nitro.MaxAge))
	if err != nil {
		return outcome{}, err
	}
	v.nitro, v.nitroPCRs = g, g.PCRs
	return outcome{got: fmt.Sprintf("module %q, %v old, under %q", g.Module, g.Age.Round(time.Second), g.Root)}, nil
}

func checkNitroAcceptable(v *verification) (outcome, error) {
	data := v.challenge()
	l := &nitro.Limits{Flavor: nitro.NitroTPM, Data: data[:], AnyModule: true,
		MaxAge: time.Duration(v.p.Nitro.MaxAge), MaxSkew: time.Duration(v.p.MaxSkew)}
	for i := range v.p.Images {
		if image := &v.p.Images[i]; image.Platform == NitroTPM {
			registers := map[int]nitro.PCR{}
			for pcr, value := range image.NitroPCRs {
				registers[pcr] = value
			}
			l.Images = append(l.Images, registers)
		}
	}
	if err := v.nitro.Check(l); err != nil {
		return outcome{}, err
	}
	if err := v.restrict("", [64]byte{}, false); err != nil {
		return outcome{}, err
	}
	out := outcome{expected: fmt.Sprintf("user_data %x", data), got: "equal",
		gap: "instance inventory: any instance is accepted; revocation: not looked up, the signer's certificate lives for hours"}
	if v.nitro.Overdue > 0 {
		out.gap += fmt.Sprintf("; a certificate expired %v ago", v.nitro.Overdue.Round(time.Second))
	}
	return out, nil
}
