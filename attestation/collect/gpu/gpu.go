// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package gpu collects the evidence of GPUs and switches in confidential mode.
// NVIDIA gives out no library that Go can use: a tool in the image asks the
// devices, and this package packs what it prints with the collateral. It runs in
// the node and judges nothing. Not run on hardware; tests use a script in the
// tool's place.
//
// # The tool
//
// It gets the nonce as its last argument, 64 hexadecimal digits, and prints
// either a finished piece (docs/spec/attestation.md) or JSON:
//
//	{
//	  "arch": "HOPPER",                // or "BLACKWELL"
//	  "devices": [{
//	    "kind": "gpu",                 // or "switch"; GPUs first
//	    "report": "base64",            // SPDM GET_MEASUREMENTS || MEASUREMENTS
//	    "chain": ["base64", ...],      // DER, leaf first, root last
//	    "driver_rim": "ID",            // optional
//	    "vbios_rim": "ID"              // optional
//	  }],
//	  "tokens": [{                     // optional
//	    "kind": "gpu", "overall": "JWT", "devices": ["JWT", ...]
//	  }]
//	}
//
// # Collateral
//
// The directory holds rim/ID.xml for each manifest named, its OCSP responses as
// rim/ID.ocsp-1, rim/ID.ocsp-2 and so on, signer first, and for a certificate of
// a chain ocsp/FINGERPRINT.der, where FINGERPRINT is the SHA-256 of its DER in
// hexadecimal. Responses that are not there are left out; a verifier that wants
// them refuses.
package gpu

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/sotto-project/sotto/attestation/collect/command"
	"github.com/sotto-project/sotto/attestation/collect/files"
	"github.com/sotto-project/sotto/attestation/internal/nvidia"
)

// Config says how to ask.
type Config struct {
	// Command is the tool with its first arguments. Required.
	Command []string `yaml:"command"`
	// Collateral is the directory of manifests and OCSP responses.
	Collateral string `yaml:"collateral"`
}

const (
	maxOutput    = 8 << 20 // twice the cap of the evidence, which is no text
	maxResponses = 5       // of one manifest
	noManifest   = 0xff
)

// A Collector asks the tool. Its method Evidence is what collect.Collector
// wants as GPU.
type Collector struct{ cfg Config }

// New checks the configuration. It runs nothing yet.
func New(cfg Config) (*Collector, error) {
	if len(cfg.Command) == 0 {
		return nil, errors.New("gpu: command is required")
	}
	return &Collector{cfg}, nil
}

// Evidence returns the piece over a nonce.
func (c *Collector) Evidence(ctx context.Context, nonce [32]byte) ([]byte, error) {
	argv := append(slices.Clone(c.cfg.Command), hex.EncodeToString(nonce[:]))
	out, err := command.Run(ctx, argv, nil, maxOutput)
	if err != nil {
		return nil, fmt.Errorf("gpu: %w", err)
	}
	e, err := nvidia.Parse(out)
	if err != nil {
		if e, err = c.pack(out); err != nil {
			return nil, fmt.Errorf("gpu: %w", err)
		}
	}
	for i, d := range e.Devices {
		if !madeOver(d.Report, nonce) {
			return nil, fmt.Errorf("gpu: report of device %d is over another nonce", i)
		}
	}
	return e.Append(nil)
}

// madeOver looks for the nonce in the SPDM request (DMTF DSP0274 1.1, Section
// 10.11.1): a tool that forgot it is found out here, not by every verifier.
func madeOver(report []byte, nonce [32]byte) bool {
	return len(report) >= 36 && bytes.Equal(report[4:36], nonce[:])
}

// answer is the tool's JSON.
type answer struct {
	Arch    string   `json:"arch"`
	Devices []device `json:"devices"`
	Tokens  []token  `json:"tokens,omitempty"`
}

type device struct {
	Kind      string   `json:"kind"`
	Report    []byte   `json:"report"`
	Chain     [][]byte `json:"chain"`
	DriverRIM string   `json:"driver_rim,omitempty"`
	VBIOSRIM  string   `json:"vbios_rim,omitempty"`
}

type token struct {
	Kind    string   `json:"kind"`
	Overall string   `json:"overall"`
	Devices []string `json:"devices"`
}

var (
	archs = map[string]nvidia.Arch{"HOPPER": nvidia.Hopper, "BLACKWELL": nvidia.Blackwell}
	kinds = map[string]nvidia.Kind{"gpu": nvidia.GPU, "switch": nvidia.Switch}
)

// pack makes evidence of the tool's JSON and the collateral.
func (c *Collector) pack(out []byte) (*nvidia.Evidence, error) {
	d := json.NewDecoder(bytes.NewReader(out))
	d.DisallowUnknownFields()
	var a answer
	if err := d.Decode(&a); err != nil {
		return nil, fmt.Errorf("the tool's answer: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("the tool's answer: more than one document")
	}
	p := &packer{dir: c.cfg.Collateral, certificates: map[string]uint8{}, manifests: map[string]uint8{}}
	p.e.Arch = archs[a.Arch]
	for _, d := range a.Devices {
		if err := p.device(&d); err != nil {
			return nil, err
		}
	}
	for _, t := range a.Tokens {
		s := nvidia.Token{Kind: kinds[t.Kind], Overall: []byte(t.Overall)}
		for _, d := range t.Devices {
			s.Devices = append(s.Devices, []byte(d))
		}
		p.e.Tokens = append(p.e.Tokens, s)
	}
	return &p.e, nil
}

// A packer numbers certificates and manifests in the order of first use.
type packer struct {
	dir          string
	e            nvidia.Evidence
	certificates map[string]uint8
	manifests    map[string]uint8
}

func (p *packer) device(d *device) error {
	s := nvidia.Source{Kind: kinds[d.Kind], Report: d.Report}
	for _, der := range d.Chain {
		i, err := p.certificate(der)
		if err != nil {
			return err
		}
		s.Chain = append(s.Chain, i)
	}
	var err error
	if s.Driver, err = p.manifest(d.DriverRIM); err != nil {
		return err
	}
	if s.VBIOS, err = p.manifest(d.VBIOSRIM); err != nil {
		return err
	}
	p.e.Devices = append(p.e.Devices, s)
	return nil
}

func (p *packer) certificate(der []byte) (uint8, error) {
	if i, ok := p.certificates[string(der)]; ok {
		return i, nil
	}
	if len(p.e.Certificates) == noManifest {
		return 0, errors.New("too many certificates")
	}
	sum := sha256.Sum256(der)
	response, err := p.optional(filepath.Join("ocsp", hex.EncodeToString(sum[:])+".der"))
	if err != nil {
		return 0, err
	}
	i := uint8(len(p.e.Certificates))
	p.e.Certificates = append(p.e.Certificates, nvidia.Certificate{DER: der, OCSP: response})
	p.certificates[string(der)] = i
	return i, nil
}

// id is what a manifest may be called: it becomes a file's name.
var id = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

func (p *packer) manifest(name string) (uint8, error) {
	if name == "" {
		return noManifest, nil
	}
	if i, ok := p.manifests[name]; ok {
		return i, nil
	}
	if !id.MatchString(name) {
		return 0, fmt.Errorf("manifest %q: not a name", name)
	}
	swid, err := files.Collateral(filepath.Join(p.dir, "rim", name+".xml"))
	if err != nil {
		return 0, err
	}
	m := nvidia.Manifest{SWID: swid}
	for n := range maxResponses {
		response, err := p.optional(filepath.Join("rim", fmt.Sprintf("%s.ocsp-%d", name, n+1)))
		if err != nil {
			return 0, err
		}
		if response == nil {
			break
		}
		m.OCSP = append(m.OCSP, response)
	}
	i := uint8(len(p.e.Manifests))
	p.e.Manifests = append(p.e.Manifests, m)
	p.manifests[name] = i
	return i, nil
}

// optional returns nil for a file that is not there.
func (p *packer) optional(name string) ([]byte, error) {
	b, err := files.Collateral(filepath.Join(p.dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return b, err
}
