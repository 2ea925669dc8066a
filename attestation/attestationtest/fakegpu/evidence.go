// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package fakegpu

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/nvidia"
)

// blocks is how many measurements a device reports, as a Hopper does.
const blocks = 64

// A Spec says what evidence is made of. Its zero value is one good GPU with
// manifests and a token, made now.
type Spec struct {
	Now           time.Time // of answers and tokens; zero: now
	First         int       // number of the first device: nodes with other numbers have other devices
	GPUs          int       // 0 is 1; less than 0 is none
	Switches      int
	ProtectedPCIE bool
	NoManifests   bool
	NoTokens      bool
	// Short makes the shortest chains that verify: devices and the one signer of
	// all manifests are certified by the roots, who answer for them themselves. It
	// is for labs that start in a second: a verifier has a third of the work.
	Short bool
	// Shared has manifests, and answers about what is no device's own, be those of
	// earlier evidence, as they are where all nodes get them from one service. It
	// goes with nothing that makes bad evidence of them.
	Shared bool

	// What follows makes bad evidence. Each is called where it stands in the
	// making, with what is about to be signed, and may change it.
	Cert   func(role string, t *x509.Certificate)               // role: the certificate's name, or "leaf", "signer", "responder"
	OCSP   func(cn string, a *Answer)                           // about the certificate of that name
	Report func(device int, r *nvidia.Report)                   // before it is signed
	Sealed func(device int, report []byte) []byte               // after
	RIM    func(what, xml string) string                        // "driver", "vbios", "switch": the content, before it is signed
	Signed func(what, xml string) string                        // the same after
	Header func(device int, header map[string]any)              // of a token; -1: the overall one of that kind
	Claims func(kind nvidia.Kind, device int, c map[string]any) // the same
	Final  func(e *nvidia.Evidence)                             // before it is printed
}

func (s *Spec) now() time.Time {
	if s.Now.IsZero() {
		return time.Now().Truncate(time.Second)
	}
	return s.Now
}

// Evidence makes evidence over a nonce and prints it.
func (m *Maker) Evidence(nonce [32]byte, s Spec) ([]byte, error) {
	e := &nvidia.Evidence{Arch: nvidia.Hopper}
	b := &build{m: m, s: &s, e: e, certs: map[string]uint8{}}
	if s.GPUs == 0 {
		s.GPUs = 1
	}
	for n := range max(s.GPUs, 0) {
		if err := b.device(nvidia.GPU, n, nonce); err != nil {
			return nil, err
		}
	}
	for n := range s.Switches {
		if err := b.device(nvidia.Switch, n, nonce); err != nil {
			return nil, err
		}
	}
	if !s.NoTokens {
		if err := b.allTokens(nonce); err != nil {
			return nil, err
		}
	}
	if s.Final != nil {
		s.Final(e)
	}
	return e.Append(nil)
}

// A build is one piece of evidence in the making.
type build struct {
	m     *Maker
	s     *Spec
	e     *nvidia.Evidence
	certs map[string]uint8 // number by DER

	drivers, vbioses, switches *uint8 // numbers of the manifests
	ueids                      []string

	signedBy []issuer // of manifests, and the answers about them; if Short
	answered [][]byte
}

func (b *build) device(k nvidia.Kind, n int, nonce [32]byte) error {
	l, err := b.m.mint(k, b.s.First+n, b.s.Short, b.s.Cert)
	if err != nil {
		return err
	}
	index := len(b.e.Devices)
	r := b.report(k, l, nonce)
	if b.s.Report != nil {
		b.s.Report(index, r)
	}
	raw, err := signReport(r, l.key)
	if err != nil {
		return err
	}
	if b.s.Sealed != nil {
		raw = b.s.Sealed(index, raw)
	}
	d := nvidia.Source{Kind: k, Report: raw, Driver: 0xff, VBIOS: 0xff}
	if err := b.chain(&d, l); err != nil {
		return err
	}
	if !b.s.NoManifests {
		if err := b.manifests(&d); err != nil {
			return err
		}
	}
	c, err := x509.ParseCertificate(l.der)
	if err != nil {
		return err
	}
	b.ueids = append(b.ueids, c.SerialNumber.String())
	b.e.Devices = append(b.e.Devices, d)
	return nil
}

// chain adds the certificates that are not there yet, with their answers.
func (b *build) chain(d *nvidia.Source, l leaf) error {
	add := func(der, answer []byte) {
		i, ok := b.certs[string(der)]
		if !ok {
			i = uint8(len(b.e.Certificates))
			b.certs[string(der)] = i
			b.e.Certificates = append(b.e.Certificates, nvidia.Certificate{DER: der, OCSP: answer})
		}
		d.Chain = append(d.Chain, i)
	}
	add(l.der, nil)
	for i, c := range l.chain {
		if i == len(l.chain)-1 {
			add(c.cert.Raw, nil)
			break
		}
		if _, there := b.certs[string(c.cert.Raw)]; there {
			add(c.cert.Raw, nil)
			continue
		}
		answer, err := b.answer(c.cert, l.chain[i+1])
		if err != nil {
			return err
		}
		add(c.cert.Raw, answer)
	}
	return nil
}

// answer makes an OCSP response by a responder that the issuer named.
func (b *build) answer(c *x509.Certificate, by issuer) ([]byte, error) {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	if a, ok := b.m.answers[string(c.Raw)]; ok && b.s.Shared {
		return a, nil
	}
	out, err := b.newAnswer(c, by)
	if err == nil && b.s.Shared {
		b.m.answers[string(c.Raw)] = out
	}
	return out, err
}

func (b *build) newAnswer(c *x509.Certificate, by issuer) ([]byte, error) {
	a := Answer{Serial: c.SerialNumber, ProducedAt: b.s.now().Add(-time.Hour), ThisUpdate: b.s.now().Add(-time.Hour),
		NextUpdate: b.s.now().Add(23 * time.Hour), Key: by.key, Issuer: by.key}
	if !b.s.Short {
		responder, ok := b.m.responders[string(by.cert.Raw)]
		if !ok || !b.s.Shared {
			var err error
			if responder, err = b.m.ca("SIMULATED OCSP responder of "+by.cert.Subject.CommonName, by, responderOf(b.s.Cert)); err != nil {
				return nil, err
			}
		}
		if b.s.Shared {
			b.m.responders[string(by.cert.Raw)] = responder
		}
		a.Responder, a.Key = responder.cert, responder.key
	}
	if b.s.OCSP != nil {
		b.s.OCSP(c.Subject.CommonName, &a)
	}
	if a.Serial == nil {
		return nil, nil
	}
	return a.marshal(by.cert)
}

// responderOf makes a CA template that of a responder.
func responderOf(change func(string, *x509.Certificate)) func(string, *x509.Certificate) {
	return func(_ string, t *x509.Certificate) {
		t.IsCA, t.BasicConstraintsValid, t.KeyUsage = false, false, x509.KeyUsageDigitalSignature
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
		if change != nil {
			change("responder", t)
		}
	}
}

// Measurement is what a simulated device measures at a manifest's index.
func Measurement(k nvidia.Kind, index int) []byte {
	if index >= 48 { // unused, as on a Hopper
		return make([]byte, sha512.Size384)
	}
	sum := sha512.Sum384([]byte("SIMULATED " + chip(k) + " measurement " + string(rune('A'+index))))
	return sum[:]
}

// fwid is the firmware that holds the simulated signing keys.
var fwid = sha512.Sum384([]byte("SIMULATED firmware"))

func (b *build) report(k nvidia.Kind, l leaf, nonce [32]byte) *nvidia.Report {
	r := &nvidia.Report{Nonce: nonce}
	_, _ = rand.Read(r.Answer[:]) // never fails
	for i := range blocks {
		r.Blocks = append(r.Blocks, nvidia.Block{Index: uint8(i + 1), Type: 1, Value: Measurement(k, i)})
	}
	status := byte(0x55)
	if b.s.ProtectedPCIE {
		status = 0xaa
	}
	add := func(t nvidia.FieldType, data []byte) { r.Fields = append(r.Fields, nvidia.Field{Type: t, Data: data}) }
	if k == nvidia.GPU {
		add(nvidia.FieldVBIOS, vbiosBytes(VBIOS))
		add(nvidia.FieldProject, []byte("1010\x00"))
		add(nvidia.FieldProjectSKU, []byte("0200\x00"))
		add(nvidia.FieldDriver, []byte(Driver+"\x00"))
		add(nvidia.FieldNVDEC0, []byte{0xaa})
		add(nvidia.FieldProtectedPCIE, []byte{status})
	} else {
		add(nvidia.FieldVBIOS, vbiosBytes(SwitchBIOS))
	}
	add(nvidia.FieldFWID, fwid[:])
	return r
}

// vbiosBytes prints a version as devices do: see nvidia.Report.VBIOS.
func vbiosBytes(version string) []byte {
	v, _ := hex.DecodeString(strings.ReplaceAll(version, ".", "")) // a constant
	return []byte{v[3], v[2], v[1], v[0], v[4], 0, 0, 0}
}

func signReport(r *nvidia.Report, key *ecdsa.PrivateKey) ([]byte, error) {
	raw := r.Append(nil)
	body := raw[:len(raw)-len(r.Signature)]
	sig, err := signRaw(body, key)
	return append(body, sig...), err
}

// signRaw signs with ECDSA and SHA-384, as r || s.
func signRaw(message []byte, key *ecdsa.PrivateKey) ([]byte, error) {
	sum := sha512.Sum384(message)
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return nil, err
	}
	return append(r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48))...), nil
}

// fwidExtension prints the DICE extension of a leaf under issuer.
func fwidExtension(own *x509.Certificate) (pkix.Extension, error) {
	var key asn1.RawValue
	if _, err := asn1.Unmarshal(own.RawSubjectPublicKeyInfo, &key); err != nil {
		return pkix.Extension{}, err
	}
	type digest struct {
		Alg   asn1.ObjectIdentifier
		Value []byte
	}
	b, err := asn1.Marshal(struct {
		Version int
		Device  asn1.RawValue
		FWID    digest
	}{1, key, digest{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}, fwid[:]}})
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 23, 133, 5, 4, 1}, Value: b}, err
}

// SetMeasurement changes one measurement of a report, for Spec.Report.
func SetMeasurement(r *nvidia.Report, index int, value []byte) {
	for i := range r.Blocks {
		if int(r.Blocks[i].Index) == index+1 {
			r.Blocks[i].Value = value
		}
	}
}
