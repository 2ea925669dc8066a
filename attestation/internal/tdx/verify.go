// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// A Genuine is a quote from a TD on hardware that a trusted root certified, with
// what Intel says of that hardware.
type Genuine struct {
	*Quote
	PCK PCK
	At  time.Time // the time judged at

	Status       Status // of the platform: the next three, merged by [Converge]
	TCBStatus    Status
	ModuleStatus Status
	QEStatus     Status
	TCBDate      time.Time // the oldest of their dates: firmware is of then or newer
	Advisories   []string  // Intel's, sorted, of the levels that matched
	Evaluation   int       // tcbEvaluationDataNumber, the lower of TCB info's and QE identity's

	// How old each piece of collateral is, and the earliest of their next updates.
	TCBInfoAge, QEIdentityAge, PCKCRLAge, RootCRLAge time.Duration
	NextUpdate                                       time.Time
}

// Verify decides whether a quote is genuine at now: its PCK chains to a trusted
// root and is not revoked, the PCK signed the quoting enclave's report, that
// report binds the attestation key and is of Intel's enclave, the attestation
// key signed header and body, and TCB info and identity are Intel's word on this
// very platform and module. All collateral is required; grace is how long past
// its next update a piece still counts. The status that comes out may be any:
// [Genuine.Check] judges it.
func Verify(quote []byte, c Collateral, trusted roots.Set, now time.Time, grace time.Duration) (*Genuine, error) {
	if err := c.checkSizes(); err != nil {
		return nil, err
	}
	v, err := open(quote, trusted, now)
	if err != nil {
		return nil, err
	}
	v.c, v.grace = c, grace
	return v.take(v.checkPCK, v.checkRevocation, v.checkQuote, v.openTCBInfo, v.openQEIdentity,
		v.matchPlatform, v.matchQE, v.matchModule, v.matchLevels)
}

// open parses a quote and the chain in it, which must be of the kind of the
// trusted roots, simulated or not.
func open(quote []byte, trusted roots.Set, now time.Time) (*verifier, error) {
	q, err := ParseQuote(quote)
	if err != nil {
		return nil, err
	}
	chain, err := parseChain(q.Chain, 3)
	if err != nil {
		return nil, refuse.As(refuse.Format, "PCK chain: %v", err)
	}
	if claims := strings.Contains(chain[0].Issuer.String()+chain[0].Subject.String(), Simulated); claims != trusted.Simulated() {
		return nil, refuse.As(refuse.Simulated, "PCK certificate under %q, simulated roots: %t", chain[0].Issuer.String(), trusted.Simulated())
	}
	return &verifier{Genuine: &Genuine{Quote: q, At: now}, chain: chain, trusted: trusted.Of(roots.Intel), now: now}, nil
}

// take runs steps until one refuses.
func (v *verifier) take(steps ...func() error) (*Genuine, error) {
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return v.Genuine, nil
}

// A verifier holds what the steps of Verify hand on.
type verifier struct {
	*Genuine
	c       Collateral
	chain   []*x509.Certificate // of the PCK
	trusted []*x509.Certificate
	now     time.Time
	grace   time.Duration
	rootCRL *x509.RevocationList
	info    *tcbInfo
	qe      *qeIdentity
}

var casPCK = []string{namePlatformCA, nameProcessor}

// checkPCK decides on the chain of the provisioning certification key.
func (v *verifier) checkPCK() error {
	if err := checkNames(v.chain, []string{namePCK}, casPCK, []string{nameRoot}); err != nil {
		return refuse.As(refuse.Chain, "PCK: %v", err)
	}
	if err := checkChain(v.chain, v.trusted, v.now); err != nil {
		want, got := roots.Words(v.chain[0], v.chain[1], v.now, err)
		return &refuse.Error{Code: refuse.Chain, Detail: fmt.Sprintf("PCK: %v", err), Want: want, Got: got}
	}
	pck, err := readPCK(v.chain[0])
	if err != nil {
		return refuse.As(refuse.Chain, "PCK certificate: %v", err)
	}
	v.PCK, v.trusted = *pck, v.chain[2:] // whose revocation list is looked at: no other root counts
	return nil
}

// checkRevocation looks the PCK up in its issuer's list and that issuer in the
// root's.
func (v *verifier) checkRevocation() error {
	pck, ca, root := v.chain[0], v.chain[1], v.chain[2]
	var err error
	if v.rootCRL, err = checkCRL(v.c.RootCRL, root, v.now, v.grace); err != nil {
		return err
	}
	if revoked(v.rootCRL, ca) {
		return refuse.As(refuse.Revoked, "issuer %q", ca.Subject.CommonName)
	}
	issuers, err := parseChain(v.c.PCKCRLIssuers, 2)
	if err == nil {
		err = checkChain(issuers, v.trusted, v.now)
	}
	switch {
	case err != nil:
		return refuse.As(refuse.CRL, "issuers of the PCK CRL: %v", err)
	case !bytes.Equal(issuers[0].RawSubject, ca.RawSubject), !bytes.Equal(issuers[0].RawSubjectPublicKeyInfo, ca.RawSubjectPublicKeyInfo):
		return refuse.As(refuse.CRL, "PCK CRL is by %q with another key or name than the PCK's issuer", issuers[0].Subject.CommonName)
	case revoked(v.rootCRL, issuers[0]):
		return refuse.As(refuse.Revoked, "issuer of the PCK CRL")
	}
	crl, err := checkCRL(v.c.PCKCRL, issuers[0], v.now, v.grace)
	if err != nil {
		return err
	}
	if revoked(crl, pck) {
		return refuse.As(refuse.Revoked, "PCK certificate %x", pck.SerialNumber)
	}
	v.RootCRLAge, v.PCKCRLAge = v.now.Sub(v.rootCRL.ThisUpdate), v.now.Sub(crl.ThisUpdate)
	v.until(v.rootCRL.NextUpdate, crl.NextUpdate)
	return nil
}

func (v *verifier) until(times ...time.Time) {
	for _, t := range times {
		if v.NextUpdate.IsZero() || t.Before(v.NextUpdate) {
			v.NextUpdate = t
		}
	}
}

// checkQuote follows the signatures from the PCK to the body.
func (v *verifier) checkQuote() error {
	if !verifyRaw(v.chain[0].PublicKey, v.QE.Print(), &v.QESignature) {
		return refuse.As(refuse.TDXQE, "report of the quoting enclave is not signed by the PCK")
	}
	bound := sha256.Sum256(slices.Concat(v.AttKey[:], v.QEAuth))
	if !bytes.Equal(v.QE.Data[:], append(bound[:], make([]byte, 32)...)) {
		return refuse.As(refuse.TDXQE, "report of the quoting enclave is over another attestation key")
	}
	key, err := v.attKey()
	if err != nil {
		return refuse.As(refuse.Format, "attestation key: %v", err)
	}
	if !verifyRaw(key, v.Signed(), &v.Signature) {
		return refuse.As(refuse.Signature, "quote is not signed by its attestation key")
	}
	return nil
}

// open returns the bytes of a collateral document that Intel's TCB signing key
// signed.
func (v *verifier) open(doc, issuers []byte, member string) ([]byte, error) {
	chain, err := parseChain(issuers, 2)
	if err == nil {
		err = checkNames(chain, []string{nameTCBSigning}, []string{nameRoot})
	}
	if err == nil {
		err = checkChain(chain, v.trusted, v.now)
	}
	if err != nil {
		return nil, refuse.As(refuse.TDXCollateral, "issuers of %s: %v", member, err)
	}
	if revoked(v.rootCRL, chain[0]) {
		return nil, refuse.As(refuse.Revoked, "signer of %s", member)
	}
	signed, err := verifySigned(doc, member, chain[0])
	if err != nil {
		return nil, refuse.As(refuse.TDXCollateral, "%v", err)
	}
	return signed, nil
}

func (v *verifier) openTCBInfo() error {
	signed, err := v.open(v.c.TCBInfo, v.c.TCBIssuers, "tcbInfo")
	if err != nil {
		return err
	}
	if v.info, err = parseTCBInfo(signed); err != nil {
		return refuse.As(refuse.TDXCollateral, "tcbInfo: %v", err)
	}
	v.TCBInfoAge, v.Evaluation = v.now.Sub(v.info.IssueDate), v.info.Evaluation
	return v.checkCurrent("tcbInfo", v.info.IssueDate, v.info.NextUpdate)
}

func (v *verifier) openQEIdentity() error {
	signed, err := v.open(v.c.QEIdentity, v.c.QEIssuers, "enclaveIdentity")
	if err != nil {
		return err
	}
	if v.qe, err = parseQEIdentity(signed); err != nil {
		return refuse.As(refuse.TDXCollateral, "enclaveIdentity: %v", err)
	}
	v.QEIdentityAge, v.Evaluation = v.now.Sub(v.qe.IssueDate), min(v.Evaluation, v.qe.Evaluation)
	return v.checkCurrent("enclaveIdentity", v.qe.IssueDate, v.qe.NextUpdate)
}

func (v *verifier) checkCurrent(name string, issued, next time.Time) error {
	if issued.After(v.now) {
		return refuse.As(refuse.TDXCollateral, "%s is from the future: %v", name, issued)
	}
	if v.now.After(next.Add(v.grace)) {
		return refuse.As(refuse.TDXCollateral, "%s expired %v", name, next)
	}
	v.until(next)
	return nil
}

// matchPlatform holds TCB info and PCK together.
func (v *verifier) matchPlatform() error {
	if !bytes.Equal(v.info.FMSPC, v.PCK.FMSPC[:]) {
		return refuse.As(refuse.TDXCollateral, "TCB info for FMSPC %x, platform is %x", []byte(v.info.FMSPC), v.PCK.FMSPC)
	}
	if !bytes.Equal(v.info.PCEID, v.PCK.PCEID[:]) {
		return refuse.As(refuse.TDXCollateral, "TCB info for PCE %x, platform has %x", []byte(v.info.PCEID), v.PCK.PCEID)
	}
	return nil
}

// qeDebug is bit 1 of an enclave's attributes: its memory is open to debuggers.
const qeDebug = 1 << 1

// matchQE decides whether the quoting enclave is the one Intel describes.
func (v *verifier) matchQE() error {
	var misc [4]byte
	binary.LittleEndian.PutUint32(misc[:], v.QE.MiscSelect)
	switch {
	case !bytes.Equal(v.QE.MRSigner[:], v.qe.MRSigner):
		return refuse.As(refuse.TDXQE, "quoting enclave signed by %x..", v.QE.MRSigner[:8])
	case v.QE.ProdID != *v.qe.ProdID:
		return refuse.As(refuse.TDXQE, "quoting enclave is product %d, want %d", v.QE.ProdID, *v.qe.ProdID)
	case !maskedEqual(v.QE.Attributes[:], v.qe.Attributes, v.qe.AttributesMask), v.QE.Attributes[0]&qeDebug != 0:
		return refuse.As(refuse.TDXQE, "quoting enclave with attributes %x", v.QE.Attributes)
	case !maskedEqual(misc[:], v.qe.MiscSelect, v.qe.MiscSelectMask):
		return refuse.As(refuse.TDXQE, "quoting enclave with MISCSELECT %#x", v.QE.MiscSelect)
	}
	v.QEStatus = v.enclave(v.qe.Levels, v.QE.SVN)
	return nil
}

func maskedEqual(got, want, mask []byte) bool {
	for i := range got {
		if got[i]&mask[i] != want[i] {
			return false
		}
	}
	return true
}

// enclave returns the status of the first, hence newest, level that svn reaches.
func (v *verifier) enclave(levels []enclaveLevel, svn uint16) Status {
	for _, l := range levels {
		if svn >= *l.TCB.ISVSVN {
			v.add(l.verdict)
			return l.Status
		}
	}
	return NotSupported
}

func (v *verifier) add(l verdict) {
	if v.TCBDate.IsZero() || l.Date.Before(v.TCBDate) {
		v.TCBDate = l.Date
	}
	v.Advisories = append(v.Advisories, l.Advisories...)
	slices.Sort(v.Advisories)
	v.Advisories = slices.Compact(v.Advisories)
}

// levels returns the TEE_TCB_SVNs that count: the one at launch and, where the
// quote states it, the one now. Firmware must be neither old now nor have been
// when the TD was launched; Intel's library would call a TD that was launched
// under old firmware one to relaunch, here it is out of date.
func (v *verifier) levels() [][16]byte {
	if v.Type == TDX15 {
		return [][16]byte{v.TEETCBSVN, v.TEETCBSVN2}
	}
	return [][16]byte{v.TEETCBSVN}
}

// matchModule decides whether the TDX module is one that Intel describes: by TCB
// info itself where it is of major version 0, else by the identity of its
// version. Intel's modules are signed by zero and have no attributes.
func (v *verifier) matchModule() error {
	v.ModuleStatus = UpToDate
	for _, svn := range v.levels() {
		m := v.info.Module
		if svn[1] > 0 {
			if m = v.info.module(svn[1]); m == nil {
				return refuse.As(refuse.TDXModule, "no identity of TDX module version %d", svn[1])
			}
			v.ModuleStatus = Converge(v.ModuleStatus, v.enclave(m.Levels, uint16(svn[0])))
		}
		var attributes [8]byte
		binary.LittleEndian.PutUint64(attributes[:], v.SEAMAttributes)
		switch {
		case !bytes.Equal(v.MRSignerSEAM[:], m.MRSigner):
			return refuse.As(refuse.TDXModule, "TDX module signed by %x..", v.MRSignerSEAM[:8])
		case v.SEAMAttributes != 0, !maskedEqual(attributes[:], m.Attributes, m.AttributesMask):
			return refuse.As(refuse.TDXModule, "TDX module with attributes %#x", v.SEAMAttributes)
		}
	}
	return nil
}

func (t *tcbInfo) module(version byte) *moduleIdentity {
	for i := range t.Modules {
		if strings.EqualFold(t.Modules[i].ID, fmt.Sprintf("TDX_%02X", version)) {
			return &t.Modules[i]
		}
	}
	return nil
}

// matchLevels finds the platform's status.
func (v *verifier) matchLevels() error {
	v.TCBStatus = UpToDate
	for _, svn := range v.levels() {
		l := v.info.level(&v.PCK, svn)
		if l == nil {
			v.TCBStatus = NotSupported
			break
		}
		v.TCBStatus = Converge(v.TCBStatus, l.Status)
		v.add(l.verdict)
	}
	v.Status = Converge(v.TCBStatus, v.ModuleStatus, v.QEStatus)
	return nil
}

// level returns the first, hence newest, level that the platform reaches in
// every component, or nil. A module with an identity of its own, told by its
// version, is judged by that instead of by components 0 and 1.
func (t *tcbInfo) level(p *PCK, svn [16]byte) *tcbLevel {
	first := 0
	if svn[1] > 0 {
		first = 2
	}
next:
	for i := range t.Levels {
		l := &t.Levels[i]
		if p.PCESVN < *l.TCB.PCESVN {
			continue
		}
		for j := range 16 {
			if p.SVN[j] < *l.TCB.SGX[j].SVN || j >= first && svn[j] < *l.TCB.TDX[j].SVN {
				continue next
			}
		}
		return l
	}
	return nil
}
