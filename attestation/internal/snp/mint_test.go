// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"

	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// A maker is a SIMULATED AMD with one product line. It is made here, and not
// taken from attestationtest, so that this package is tested without the ones
// that stand on it; and because it makes EPYC Turin.
type maker struct {
	product        string
	line           roots.Line
	arkKey, askKey *rsa.PrivateKey // the ASVK shares the ASK's
}

var makers = map[string]func() *maker{
	"Genoa": sync.OnceValue(func() *maker { return newMaker("Genoa") }),
	turin:   sync.OnceValue(func() *maker { return newMaker(turin) }),
}

func amdName(cn string) pkix.Name {
	return pkix.Name{Organization: []string{"Advanced Micro Devices"}, OrganizationalUnit: []string{"Engineering"}, Country: []string{"US"},
		Locality: []string{"Santa Clara"}, Province: []string{"CA"}, CommonName: cn, SerialNumber: Simulated}
}

func newMaker(product string) *maker {
	m := &maker{product: product, line: roots.Line{Product: product}}
	m.arkKey, _ = rsa.GenerateKey(rand.Reader, 2048) // crypto/rand does not fail
	m.askKey, _ = rsa.GenerateKey(rand.Reader, 2048)
	now := time.Now()
	ca := func(cn string, serial int64) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: amdName(cn), SignatureAlgorithm: x509.SHA384WithRSAPSS,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(20, 0, 0), IsCA: true, BasicConstraintsValid: true}
	}
	m.line.ARK = sign(ca("ARK-"+product, 1), nil, &m.arkKey.PublicKey, m.arkKey)
	m.line.ASK = sign(ca("SEV-"+product, 2), m.line.ARK, &m.askKey.PublicKey, m.arkKey)
	m.line.ASVK = sign(ca("SEV-VLEK-"+product, 3), m.line.ARK, &m.askKey.PublicKey, m.arkKey)
	return m
}

func sign(t, parent *x509.Certificate, public any, key *rsa.PrivateKey) *x509.Certificate {
	if parent == nil {
		parent = t
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, key)
	if err != nil {
		panic(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return c
}

// crl makes a list of the root.
func (m *maker) crl(this, next time.Time, serials ...*big.Int) []byte {
	list := &x509.RevocationList{SignatureAlgorithm: x509.SHA384WithRSAPSS, Number: big.NewInt(1), ThisUpdate: this, NextUpdate: next}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: this})
	}
	b, err := x509.CreateRevocationList(rand.Reader, list, m.line.ARK, m.arkKey)
	if err != nil {
		panic(err)
	}
	return b
}

// level is the TCB that everything runs at.
var level = kds.TCBParts{BlSpl: 10, SnpSpl: 25, UcodeSpl: 84}

// A machine is a chip, what its certificate says, and a report of it.
type machine struct {
	t       testing.TB
	m       *maker
	key     *ecdsa.PrivateKey
	report  []byte
	tcb     kds.TCBParts
	hwid    []byte // nil: left out
	csp     string
	issuer  *x509.Certificate
	change  func(*x509.Certificate)
	c       Collateral
	limits  Limits
	trusted roots.Set
	now     time.Time
}

// newMachine is a machine that [Limits] accept, with a report of version 5.
func newMachine(t testing.TB, product string) *machine {
	t.Helper()
	x := &machine{t: t, m: makers[product](), tcb: level, now: time.Now(), report: make([]byte, abi.ReportSize)}
	var err error
	if x.key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	chip := sha512.Sum512([]byte("SIMULATED chip"))
	fms := []byte{0x19, 0x11, 1}
	if product == turin {
		clear(chip[turinChipID:])
		fms, x.tcb.Spl4 = []byte{0x1a, 0x02, 1}, 1
	}
	x.hwid, x.issuer, x.trusted = chip[:], x.m.line.ASK, roots.New(true, x.m.line)
	if product == turin {
		x.hwid = chip[:turinChipID]
	}
	b, le := x.report, binary.LittleEndian
	le.PutUint32(b, 5)
	le.PutUint64(b[0x08:], 1<<17|1<<20|1<<22|1<<23|1<<24|1<<25|1<<8|55)
	le.PutUint32(b[0x34:], 1)
	le.PutUint64(b[0x40:], 1<<2|1<<3|1<<4|1<<5)
	copy(b[0x50:], "REPORT_DATA")
	copy(b[0x90:], "SIMULATED image")
	copy(b[0xc0:], "HOST_DATA")
	copy(b[0xe0:], "ID key")
	copy(b[0x110:], "author key")
	for i := range 32 {
		b[0x160+i] = 0xff
	}
	copy(b[0x188:], fms)
	copy(b[0x1a0:], chip[:])
	for _, off := range []int{0x38, 0x180, 0x1e0, 0x1f0} {
		x.putTCB(off, x.tcb)
	}
	le.PutUint64(b[0x1f8:], 0b0111)
	le.PutUint64(b[0x200:], 0b1111)
	x.limits = Limits{Products: []string{product}, Floors: map[string]kds.TCBParts{product: x.tcb}, Chips: [][64]byte{chip}}
	copy(x.limits.Data[:], "REPORT_DATA")
	x.c.CRL = x.m.crl(x.now.Add(-time.Hour), x.now.Add(time.Hour))
	return x
}

func (x *machine) putTCB(off int, p kds.TCBParts) {
	b := [8]byte{p.BlSpl, p.TeeSpl, p.Spl4, p.Spl5, p.Spl6, p.Spl7, p.SnpSpl, p.UcodeSpl}
	if x.m.product == turin {
		b = [8]byte{p.Spl4, p.BlSpl, p.TeeSpl, p.SnpSpl, p.Spl5, p.Spl6, p.Spl7, p.UcodeSpl}
	}
	copy(x.report[off:], b[:])
}

// finish signs certificate and report.
func (x *machine) finish() *machine {
	x.t.Helper()
	number := func(id asn1.ObjectIdentifier, v uint8) pkix.Extension {
		b, _ := asn1.Marshal(int(v))
		return pkix.Extension{Id: id, Value: b}
	}
	text := func(id asn1.ObjectIdentifier, v string) pkix.Extension {
		b, _ := asn1.MarshalWithParams(v, "ia5")
		return pkix.Extension{Id: id, Value: b}
	}
	p := x.tcb
	ext := []pkix.Extension{text(kds.OidProductName1, x.m.product+"-B1"), number(kds.OidBlSpl, p.BlSpl), number(kds.OidTeeSpl, p.TeeSpl), number(kds.OidSnpSpl, p.SnpSpl),
		number(kds.OidSpl5, p.Spl5), number(kds.OidSpl6, p.Spl6), number(kds.OidSpl7, p.Spl7), number(kds.OidUcodeSpl, p.UcodeSpl), number(kds.OidStructVersion, 1)}
	if x.m.product == turin {
		ext = append(ext, number(oidFMCSpl, p.Spl4))
	} else {
		ext = append(ext, number(kds.OidSpl4, p.Spl4))
	}
	if x.hwid != nil {
		ext = append(ext, pkix.Extension{Id: kds.OidHwid, Value: x.hwid})
	}
	cn := "SEV-VCEK"
	if x.csp != "" {
		cn, ext = "SEV-VLEK", append(ext, text(kds.OidCspID, x.csp))
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(4711), Subject: amdName(cn), SignatureAlgorithm: x509.SHA384WithRSAPSS,
		NotBefore: x.now.Add(-time.Hour), NotAfter: x.now.AddDate(7, 0, 0), ExtraExtensions: ext}
	if x.change != nil {
		x.change(t)
	}
	x.c.Cert = sign(t, x.issuer, &x.key.PublicKey, x.m.askKey).Raw
	x.sign()
	return x
}

func (x *machine) sign() {
	clear(x.report[0x2a0:])
	sum := sha512.Sum384(abi.SignedComponent(x.report))
	r, s, err := ecdsa.Sign(rand.Reader, x.key, sum[:])
	if err != nil {
		x.t.Fatal(err)
	}
	if err := abi.SetSignature(r, s, x.report); err != nil {
		x.t.Fatal(err)
	}
}

func (x *machine) verify() error {
	g, err := Verify(x.report, x.c, x.trusted, x.now, 0)
	if err != nil {
		return err
	}
	return g.Check(&x.limits)
}
