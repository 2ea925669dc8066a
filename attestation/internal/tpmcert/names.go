// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpmcert

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var (
	errSize  = errors.New("larger than any such certificate")
	errShape = errors.New("malformed")
)

var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidMaker          = asn1.ObjectIdentifier{2, 23, 133, 2, 1} // tcg-at-tpmManufacturer
	oidModel          = asn1.ObjectIdentifier{2, 23, 133, 2, 2} // tcg-at-tpmModel
	oidVersion        = asn1.ObjectIdentifier{2, 23, 133, 2, 3} // tcg-at-tpmVersion
	oidInstance       = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 21}
)

// maxName bounds each text of a name.
const maxName = 128

// A Maker is what a certificate calls a TPM.
type Maker struct {
	ID      string // of the TCG's vendor registry: "IFX", "GOOG"; as it stands, if it is none
	Model   string
	Version string // "id:" and eight hex digits, or what the maker prints
}

// parseMaker reads the subject alternative name of a TPM certificate (TCG EK
// Credential Profile 2.6, Section 3.2.9), if there is one: a directory name of
// three attributes, in one set or in three. It is critical where the subject is
// empty, and since crypto/x509 knows no such names, it is marked as handled here,
// once it was read.
func parseMaker(cert *x509.Certificate) (Maker, error) {
	var m Maker
	for _, e := range cert.Extensions {
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		names, value := cryptobyte.String(nil), cryptobyte.String(e.Value)
		if !value.ReadASN1(&names, cbasn1.SEQUENCE) || !value.Empty() {
			return m, errShape
		}
		directory := cbasn1.Tag(4).ContextSpecific().Constructed()
		for !names.Empty() {
			var name cryptobyte.String
			var tag cbasn1.Tag
			if !names.ReadAnyASN1(&name, &tag) {
				return m, errShape
			}
			if tag != directory { // a hardware module name, say
				continue
			}
			if err := m.read(name); err != nil {
				return m, err
			}
		}
	}
	if m != (Maker{}) {
		unhandled := cert.UnhandledCriticalExtensions[:0]
		for _, id := range cert.UnhandledCriticalExtensions {
			if !id.Equal(oidSubjectAltName) {
				unhandled = append(unhandled, id)
			}
		}
		cert.UnhandledCriticalExtensions = unhandled
	}
	return m, nil
}

// read reads a Name (RFC 5280, Section 4.1.2.4). Attributes that are not the
// TCG's are left alone; one of them twice is refused.
func (m *Maker) read(name cryptobyte.String) error {
	var rdns cryptobyte.String
	if !name.ReadASN1(&rdns, cbasn1.SEQUENCE) || !name.Empty() {
		return errShape
	}
	for !rdns.Empty() {
		var rdn cryptobyte.String
		if !rdns.ReadASN1(&rdn, cbasn1.SET) {
			return errShape
		}
		for !rdn.Empty() {
			var attribute, text cryptobyte.String
			var id asn1.ObjectIdentifier
			var tag cbasn1.Tag
			if !rdn.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&id) ||
				!attribute.ReadAnyASN1(&text, &tag) || !attribute.Empty() {
				return errShape
			}
			if err := m.set(id, string(text), tag); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Maker) set(id asn1.ObjectIdentifier, text string, tag cbasn1.Tag) error {
	var to *string
	switch {
	case id.Equal(oidMaker):
		to, text = &m.ID, vendor(text)
	case id.Equal(oidModel):
		to = &m.Model
	case id.Equal(oidVersion):
		to = &m.Version
	default:
		return nil
	}
	if tag != cbasn1.UTF8String && tag != cbasn1.PrintableString || *to != "" || text == "" || len(text) > maxName || !utf8.ValidString(text) {
		return errShape
	}
	*to = text
	return nil
}

// vendor reads "id:" and the four bytes of a vendor in hex.
func vendor(text string) string {
	digits, ok := strings.CutPrefix(text, "id:")
	b, err := hex.DecodeString(digits)
	if !ok || err != nil || len(b) != 4 {
		return text
	}
	name := strings.TrimRight(string(b), "\x00 ")
	for _, c := range []byte(name) {
		if c < 0x20 || c > 0x7e {
			return text
		}
	}
	return name
}

// An Instance is what Google says of the machine whose vTPM holds a key.
type Instance struct {
	Zone          string
	ProjectNumber uint64
	ProjectID     string
	ID            uint64
	Name          string

	SecurityVersion uint64
	Production      bool
}

// parseInstance reads Google's extension 1.3.6.1.4.1.11129.2.1.21, as go-tpm-tools
// documents it:
//
//	SEQUENCE {
//	    zone UTF8String, projectNumber INTEGER, projectId UTF8String,
//	    instanceId INTEGER, instanceName UTF8String,
//	    [0] SEQUENCE { [0] securityVersion INTEGER OPTIONAL, [1] isProduction BOOLEAN OPTIONAL, ... } OPTIONAL
//	}
//
// each context tag explicit. Further members of the inner sequence are left alone.
func parseInstance(cert *x509.Certificate) (*Instance, error) {
	for _, e := range cert.Extensions {
		if e.Id.Equal(oidInstance) {
			return readInstance(e.Value)
		}
	}
	return nil, errors.New("not named")
}

func readInstance(b []byte) (*Instance, error) {
	value, in := cryptobyte.String(b), new(Instance)
	var s, properties cryptobyte.String
	var zone, project, name cryptobyte.String
	tag := func(n uint8) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific().Constructed() }
	var has bool
	if !value.ReadASN1(&s, cbasn1.SEQUENCE) || !value.Empty() ||
		!s.ReadASN1(&zone, cbasn1.UTF8String) || !s.ReadASN1Integer(&in.ProjectNumber) ||
		!s.ReadASN1(&project, cbasn1.UTF8String) || !s.ReadASN1Integer(&in.ID) || !s.ReadASN1(&name, cbasn1.UTF8String) ||
		!s.ReadOptionalASN1(&properties, &has, tag(0)) || !s.Empty() {
		return nil, errShape
	}
	for text, to := range map[*cryptobyte.String]*string{&zone: &in.Zone, &project: &in.ProjectID, &name: &in.Name} {
		if *to = string(*text); *to == "" || len(*to) > maxName || !utf8.ValidString(*to) {
			return nil, errShape
		}
	}
	if !has {
		return in, nil
	}
	var inner, version, production cryptobyte.String
	var hasVersion, hasProduction bool
	if !properties.ReadASN1(&inner, cbasn1.SEQUENCE) || !properties.Empty() ||
		!inner.ReadOptionalASN1(&version, &hasVersion, tag(0)) || !inner.ReadOptionalASN1(&production, &hasProduction, tag(1)) {
		return nil, errShape
	}
	if hasVersion && (!version.ReadASN1Integer(&in.SecurityVersion) || !version.Empty()) ||
		hasProduction && (!production.ReadASN1Boolean(&in.Production) || !production.Empty()) {
		return nil, errShape
	}
	return in, nil
}
