// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx

import (
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
)

// sgxExtension holds what a PCK certificate says about its platform (Intel SGX
// PCK certificate and CRL profile, Section 1.3.5). What is in it has the same
// number one level deeper.
var sgxExtension = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

// Numbers of the fields under sgxExtension.
const (
	fieldPPID = iota + 1
	fieldTCB
	fieldPCEID
	fieldFMSPC
	fieldType
	fieldPIID
	fieldConfiguration
)

// A PCK is what the certificate of a platform's provisioning certification key
// says about the platform.
type PCK struct {
	PPID   [16]byte // of the processor package
	FMSPC  [6]byte  // family, model, stepping, platform, custom SKU: selects TCB info
	PCEID  [2]byte
	SVN    [16]byte // of the SGX components
	PCESVN uint16
	CPUSVN [16]byte
	Type   int // SGX type: 0 standard, 1 scalable, 2 scalable with integrity

	// PIID identifies one registration of a platform of several packages; HasPIID
	// is false in certificates of single packages.
	PIID    [16]byte
	HasPIID bool

	// Configuration, as the certificate states it: nil where it does not.
	Dynamic, CachedKeys, SMT *bool
}

// ID returns the name under which a platform is enrolled: SHA-512 over the label
// "sotto tdx platform v1", a zero byte, FMSPC, PPID and PIID (zeros if there is
// none). A platform that is registered anew has to be enrolled anew.
func (p *PCK) ID() [64]byte {
	return sha512.Sum512(slices.Concat([]byte("sotto tdx platform v1\x00"), p.FMSPC[:], p.PPID[:], p.PIID[:]))
}

type sgxField struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue
}

// readPCK reads the extensions of a PCK certificate. Every field that is read
// must be there once; unknown ones are ignored.
func readPCK(cert *x509.Certificate) (*PCK, error) {
	for _, e := range cert.Extensions {
		if e.Id.Equal(sgxExtension) {
			return parseSGXExtension(e.Value)
		}
	}
	return nil, fmt.Errorf("certificate says nothing about a platform")
}

func parseSGXExtension(der []byte) (*PCK, error) {
	fields, err := sgxFields(der, sgxExtension)
	if err != nil {
		return nil, err
	}
	p := new(PCK)
	for _, f := range []struct {
		number int
		dst    []byte
	}{{fieldPPID, p.PPID[:]}, {fieldPCEID, p.PCEID[:]}, {fieldFMSPC, p.FMSPC[:]}} {
		if err := octets(fields[f.number], f.dst); err != nil {
			return nil, fmt.Errorf("field %d: %v", f.number, err)
		}
	}
	if p.Type, err = integer(fields[fieldType], asn1.TagEnum, 2); err != nil {
		return nil, fmt.Errorf("SGX type: %v", err)
	}
	if v, ok := fields[fieldPIID]; ok {
		if err := octets(v, p.PIID[:]); err != nil {
			return nil, fmt.Errorf("platform instance: %v", err)
		}
		p.HasPIID = true
	}
	if err := p.readTCB(fields[fieldTCB].FullBytes); err != nil {
		return nil, fmt.Errorf("TCB: %v", err)
	}
	if v, ok := fields[fieldConfiguration]; ok {
		if err := p.readConfiguration(v.FullBytes); err != nil {
			return nil, fmt.Errorf("configuration: %v", err)
		}
	}
	return p, nil
}

// sgxFields reads a sequence of (identifier, value) pairs, each identifier one
// number longer than parent and there once.
func sgxFields(der []byte, parent asn1.ObjectIdentifier) (map[int]asn1.RawValue, error) {
	var list []sgxField
	if rest, err := asn1.Unmarshal(der, &list); err != nil || len(rest) != 0 {
		return nil, fmt.Errorf("not a list of fields: %v", err)
	}
	fields := map[int]asn1.RawValue{}
	for _, f := range list {
		n := len(parent)
		if len(f.ID) != n+1 || !f.ID[:n].Equal(parent) {
			return nil, fmt.Errorf("field %v does not belong", f.ID)
		}
		if _, ok := fields[f.ID[n]]; ok {
			return nil, fmt.Errorf("field %v twice", f.ID)
		}
		fields[f.ID[n]] = f.Value
	}
	return fields, nil
}

func (p *PCK) readTCB(der []byte) error {
	fields, err := sgxFields(der, append(slices.Clone(sgxExtension), fieldTCB))
	if err != nil {
		return err
	}
	for i := range p.SVN {
		v, err := integer(fields[i+1], asn1.TagInteger, 255)
		if err != nil {
			return fmt.Errorf("component %d: %v", i+1, err)
		}
		p.SVN[i] = byte(v)
	}
	v, err := integer(fields[17], asn1.TagInteger, 65535)
	if err != nil {
		return fmt.Errorf("PCESVN: %v", err)
	}
	p.PCESVN = uint16(v)
	return octets(fields[18], p.CPUSVN[:])
}

func (p *PCK) readConfiguration(der []byte) error {
	fields, err := sgxFields(der, append(slices.Clone(sgxExtension), fieldConfiguration))
	if err != nil {
		return err
	}
	for n, dst := range map[int]**bool{1: &p.Dynamic, 2: &p.CachedKeys, 3: &p.SMT} {
		v, ok := fields[n]
		if !ok {
			continue
		}
		var is bool
		if rest, err := asn1.Unmarshal(v.FullBytes, &is); err != nil || len(rest) != 0 {
			return fmt.Errorf("field %d is no boolean", n)
		}
		*dst = &is
	}
	return nil
}

// octets copies an octet string of exactly the length of dst.
func octets(v asn1.RawValue, dst []byte) error {
	if v.Class != asn1.ClassUniversal || v.Tag != asn1.TagOctetString || len(v.Bytes) != len(dst) {
		return fmt.Errorf("want an octet string of %d bytes", len(dst))
	}
	copy(dst, v.Bytes)
	return nil
}

// integer reads an integer or enumerated value from 0 to max.
func integer(v asn1.RawValue, tag, max int) (int, error) {
	n, dst := 0, any(new(int))
	if tag == asn1.TagEnum {
		dst = new(asn1.Enumerated)
	}
	if v.Class != asn1.ClassUniversal || v.Tag != tag {
		return 0, fmt.Errorf("want a number")
	}
	if rest, err := asn1.Unmarshal(v.FullBytes, dst); err != nil || len(rest) != 0 {
		return 0, fmt.Errorf("want a number: %v", err)
	}
	switch d := dst.(type) {
	case *int:
		n = *d
	case *asn1.Enumerated:
		n = int(*d)
	}
	if n < 0 || n > max {
		return 0, fmt.Errorf("%d is not between 0 and %d", n, max)
	}
	return n, nil
}
