// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Caps of the collateral: several times what Intel issues today. The lists grow.
const (
	maxJSON  = 64 << 10
	maxCRL   = 128 << 10
	maxDepth = 12 // of JSON; Intel's documents have 5
)

// Collateral is what travels with a quote, each piece as the provisioning
// certification service answers it: the two JSON documents with signature, their
// issuer chains from the response headers in PEM (leaf first, root last, no
// percent encoding), and revocation lists in DER.
type Collateral struct {
	TCBInfo, TCBIssuers   []byte
	QEIdentity, QEIssuers []byte
	PCKCRL, PCKCRLIssuers []byte
	RootCRL               []byte
}

func (c *Collateral) checkSizes() error {
	for _, p := range []struct {
		name string
		b    []byte
		max  int
	}{
		{"TCB info", c.TCBInfo, maxJSON}, {"TCB info issuers", c.TCBIssuers, maxChain},
		{"QE identity", c.QEIdentity, maxJSON}, {"QE identity issuers", c.QEIssuers, maxChain},
		{"PCK CRL", c.PCKCRL, maxCRL}, {"PCK CRL issuers", c.PCKCRLIssuers, maxChain},
		{"root CRL", c.RootCRL, maxCRL},
	} {
		if len(p.b) > p.max {
			return refuse.As(refuse.Size, "%s of %d bytes, at most %d", p.name, len(p.b), p.max)
		}
	}
	return nil
}

// openSigned splits a document of the form {"member":X,"signature":"S"}, in the
// service's one spelling, into the bytes X that are signed and the signature. A
// newline may follow, as editors add one.
func openSigned(doc []byte, member string) (signed []byte, sig [64]byte, err error) {
	doc = bytes.TrimSuffix(doc, []byte{'\n'})
	rest, ok := bytes.CutPrefix(doc, []byte(`{"`+member+`":`))
	tail := len(`,"signature":""}`) + 2*len(sig)
	if !ok || len(rest) < tail {
		return nil, sig, fmt.Errorf("not of the form {%q:...,\"signature\":\"...\"}", member)
	}
	signed, rest = rest[:len(rest)-tail], rest[len(rest)-tail:]
	text, ok1 := bytes.CutPrefix(rest, []byte(`,"signature":"`))
	text, ok2 := bytes.CutSuffix(text, []byte(`"}`))
	if !ok1 || !ok2 || !bytes.Equal(text, bytes.ToLower(text)) { // one spelling of each bit
		return nil, sig, fmt.Errorf("signature of %s is not 128 lower-case hexadecimal digits", member)
	}
	if _, err := hex.Decode(sig[:], text); err != nil {
		return nil, sig, fmt.Errorf("signature of %s: %v", member, err)
	}
	return signed, sig, nil
}

// verifySigned returns the bytes of a document that the holder of cert signed.
func verifySigned(doc []byte, member string, cert *x509.Certificate) ([]byte, error) {
	signed, sig, err := openSigned(doc, member)
	if err != nil {
		return nil, err
	}
	if !verifyRaw(cert.PublicKey, signed, &sig) {
		return nil, fmt.Errorf("%s is not signed by %q", member, cert.Subject.CommonName)
	}
	return signed, nil
}

// verifyRaw checks an ECDSA P-256 signature over SHA-256 as r and s.
func verifyRaw(public any, message []byte, sig *[64]byte) bool {
	key, ok := public.(*ecdsa.PublicKey)
	r, s, inRange := scalars(sig)
	if !ok || !inRange || key.Curve.Params().BitSize != 256 {
		return false
	}
	sum := sha256.Sum256(message)
	return ecdsa.Verify(key, sum[:], r, s)
}

// hexBytes is a byte string, in hexadecimal of either case: Intel uses both.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// A tcbInfo is Intel's word on all platforms of one FMSPC (PCS API version 4,
// "Get TDX TCB Info", structure version 3). Members not read here are ignored,
// as Intel adds some without a new version.
type tcbInfo struct {
	ID         string           `json:"id"`
	Version    int              `json:"version"`
	IssueDate  time.Time        `json:"issueDate"`
	NextUpdate time.Time        `json:"nextUpdate"`
	FMSPC      hexBytes         `json:"fmspc"`
	PCEID      hexBytes         `json:"pceId"`
	Type       *int             `json:"tcbType"`
	Evaluation int              `json:"tcbEvaluationDataNumber"`
	Module     *moduleIdentity  `json:"tdxModule"`
	Modules    []moduleIdentity `json:"tdxModuleIdentities"`
	Levels     []tcbLevel       `json:"tcbLevels"`
}

// A moduleIdentity tells one version of the TDX module.
type moduleIdentity struct {
	ID             string         `json:"id"`
	MRSigner       hexBytes       `json:"mrsigner"`
	Attributes     hexBytes       `json:"attributes"`
	AttributesMask hexBytes       `json:"attributesMask"`
	Levels         []enclaveLevel `json:"tcbLevels"`
}

// A tcbLevel is a combination of firmware versions and its status. Levels come
// sorted, the newest first.
type tcbLevel struct {
	TCB struct {
		SGX    []component `json:"sgxtcbcomponents"`
		TDX    []component `json:"tdxtcbcomponents"`
		PCESVN *uint16     `json:"pcesvn"`
	} `json:"tcb"`
	verdict
}

type component struct {
	SVN *uint8 `json:"svn"`
}

// An enclaveLevel is the status of an enclave or module from one SVN on.
type enclaveLevel struct {
	TCB struct {
		ISVSVN *uint16 `json:"isvsvn"`
	} `json:"tcb"`
	verdict
}

type verdict struct {
	Date       time.Time `json:"tcbDate"`
	Status     Status    `json:"tcbStatus"`
	Advisories []string  `json:"advisoryIDs"`
}

// A qeIdentity tells Intel's quoting enclave (PCS API version 4, "Get TDX QE
// Identity", structure version 2).
type qeIdentity struct {
	ID             string         `json:"id"`
	Version        int            `json:"version"`
	IssueDate      time.Time      `json:"issueDate"`
	NextUpdate     time.Time      `json:"nextUpdate"`
	Evaluation     int            `json:"tcbEvaluationDataNumber"`
	MiscSelect     hexBytes       `json:"miscselect"`
	MiscSelectMask hexBytes       `json:"miscselectMask"`
	Attributes     hexBytes       `json:"attributes"`
	AttributesMask hexBytes       `json:"attributesMask"`
	MRSigner       hexBytes       `json:"mrsigner"`
	ProdID         *uint16        `json:"isvprodid"`
	Levels         []enclaveLevel `json:"tcbLevels"`
}

// parseTCBInfo reads the signed bytes of a TCB info.
func parseTCBInfo(b []byte) (*tcbInfo, error) {
	t := new(tcbInfo)
	if err := decode(b, t); err != nil {
		return nil, err
	}
	switch {
	case t.ID != "TDX" || t.Version != 3:
		return nil, fmt.Errorf("TCB info %q of version %d, want TDX of version 3", t.ID, t.Version)
	case t.Type == nil || *t.Type != 0:
		return nil, errors.New("TCB info of another type than 0")
	case len(t.FMSPC) != 6 || len(t.PCEID) != 2:
		return nil, errors.New("TCB info names no platform")
	case t.Module == nil || t.Module.check() != nil:
		return nil, errors.New("TCB info without a TDX module")
	case len(t.Levels) == 0:
		return nil, errors.New("TCB info without levels")
	}
	seen := map[string]bool{}
	for i := range t.Modules {
		m := &t.Modules[i]
		if err := m.check(); err != nil || len(m.Levels) == 0 || seen[strings.ToUpper(m.ID)] {
			return nil, fmt.Errorf("TDX module identity %q is incomplete or there twice", m.ID)
		}
		seen[strings.ToUpper(m.ID)] = true
	}
	for i := range t.Levels {
		if err := t.Levels[i].check(); err != nil {
			return nil, fmt.Errorf("level %d: %v", i, err)
		}
	}
	return t, checkDates(t.IssueDate, t.NextUpdate, t.Evaluation)
}

func (m *moduleIdentity) check() error {
	if len(m.MRSigner) != 48 || len(m.Attributes) != 8 || len(m.AttributesMask) != 8 {
		return errors.New("field of another length")
	}
	return checkEnclaveLevels(m.Levels)
}

func (l *tcbLevel) check() error {
	if len(l.TCB.SGX) != 16 || len(l.TCB.TDX) != 16 || l.TCB.PCESVN == nil {
		return errors.New("components are incomplete")
	}
	for i := range 16 {
		if l.TCB.SGX[i].SVN == nil || l.TCB.TDX[i].SVN == nil {
			return errors.New("component without SVN")
		}
	}
	if !l.Status.listed() || l.Date.IsZero() {
		return fmt.Errorf("status %q of %v", l.Status, l.Date)
	}
	return nil
}

// parseQEIdentity reads the signed bytes of a QE identity.
func parseQEIdentity(b []byte) (*qeIdentity, error) {
	q := new(qeIdentity)
	if err := decode(b, q); err != nil {
		return nil, err
	}
	switch {
	case q.ID != "TD_QE" || q.Version != 2:
		return nil, fmt.Errorf("identity %q of version %d, want TD_QE of version 2", q.ID, q.Version)
	case len(q.MiscSelect) != 4 || len(q.MiscSelectMask) != 4 || len(q.Attributes) != 16 || len(q.AttributesMask) != 16 ||
		len(q.MRSigner) != 32 || q.ProdID == nil || len(q.Levels) == 0:
		return nil, errors.New("QE identity is incomplete")
	}
	if err := checkEnclaveLevels(q.Levels); err != nil {
		return nil, err
	}
	return q, checkDates(q.IssueDate, q.NextUpdate, q.Evaluation)
}

func checkEnclaveLevels(levels []enclaveLevel) error {
	for _, l := range levels {
		if l.TCB.ISVSVN == nil || !l.Status.ofEnclave() || l.Date.IsZero() {
			return fmt.Errorf("level with status %q of %v", l.Status, l.Date)
		}
	}
	return nil
}

func checkDates(issued, next time.Time, evaluation int) error {
	if issued.IsZero() || next.Before(issued) || evaluation <= 0 {
		return fmt.Errorf("issued %v, next %v, evaluation %d", issued, next, evaluation)
	}
	return nil
}

// decode reads one JSON value and nothing after it. No member may be there
// twice, in any case or alphabet that encoding/json takes for the same: it would
// take the last.
func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if err := checkUnique(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("bytes after the document")
	}
	return json.Unmarshal(b, v)
}

func checkUnique(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth == maxDepth {
		return errors.New("nested too deep")
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			t, err := d.Token()
			if err != nil {
				return err
			}
			name := strings.ToLower(t.(string)) // the decoder hands out nothing else here
			if seen[name] || strings.ContainsFunc(name, func(r rune) bool { return r > 0x7e }) {
				return fmt.Errorf("member %q twice, or not ASCII", name)
			}
			seen[name] = true
		}
		if err := checkUnique(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}
