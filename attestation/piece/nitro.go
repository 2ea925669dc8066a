// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece

import (
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/nitro"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

const (
	nitroPCRs = 32
	maxExtra  = 1024 // bytes of user data, nonce and public key
)

type nitroRequest struct {
	document []byte
	flavour  string
	module   string
	texts    []*nitroText
	pcrs     map[int][]byte
	maxAge   *time.Duration
	grace    time.Duration
}

// A nitroText is a field that the caller of the hypervisor supplied.
type nitroText struct {
	name  string
	code  refuse.Code
	field func(*nitro.Document) []byte
	want  []byte
	given bool
}

func judgeNitro(j *judgement) error {
	q, err := readNitroRequest(j)
	if err != nil {
		return err
	}
	if err := j.trust(roots.AWS); err != nil {
		return err
	}
	if err := j.request.finish(); err != nil {
		return err
	}
	d, err := nitro.Parse(q.document)
	if err != nil {
		return unread(err)
	}
	claims := nitroClaimsOf(d)
	j.out.Claims = claims
	g, err := nitro.Verify(q.document, j.trusted, j.now, q.grace)
	if err != nil {
		return err
	}
	claims.Age, claims.Expires, claims.Root = seconds(g.Age), stamp(g.Expires), g.Root
	if g.Overdue > 0 {
		j.gap("grace", "certificates expired %v ago", g.Overdue.Round(time.Second))
	}
	j.gap("revocation", "AWS publishes no revocation lists for the certificates that sign documents: their dates, of hours, are all there is")
	return j.acceptNitro(g, q)
}

func readNitroRequest(j *judgement) (*nitroRequest, error) {
	o := j.request
	q := &nitroRequest{document: o.needBlob("document"), texts: []*nitroText{
		{name: "user_data", code: refuse.Binding, field: func(d *nitro.Document) []byte { return d.UserData }},
		{name: "nonce", code: refuse.Nonce, field: func(d *nitro.Document) []byte { return d.Nonce }},
		{name: "public_key", code: refuse.Binding, field: func(d *nitro.Document) []byte { return d.PublicKey }},
	}}
	expect := o.object("expect")
	for _, t := range q.texts {
		t.want, t.given = expect.anyHex(t.name, maxExtra)
	}
	q.module = expect.text("module_id")
	q.pcrs = expect.registers("pcrs", nitroPCRs, 48)
	if q.flavour = expect.text("flavour"); q.flavour != "" && q.flavour != string(nitro.NitroTPM) && q.flavour != string(nitro.Enclave) {
		return nil, unsupported("no flavour %.20q; there are %s and %s", q.flavour, nitro.NitroTPM, nitro.Enclave)
	}
	if d, ok := o.duration("max_age"); ok {
		q.maxAge = &d
	}
	q.grace, _ = o.duration("grace")
	return q, j.waivers("debug")
}

// acceptNitro compares what a genuine document says with what the request
// expects.
func (j *judgement) acceptNitro(g *nitro.Genuine, q *nitroRequest) error {
	switch {
	case q.flavour != "" && string(g.Flavor) != q.flavour:
		return refuse.As(refuse.TEE, "document of a %s, want %q", g.Flavor, q.flavour)
	case g.Age < 0:
		return refuse.As(refuse.Clock, "document from the future: %v", g.Time)
	case q.maxAge != nil && g.Age > *q.maxAge:
		return refuse.As(refuse.Stale, "document is %v old, at most %v allowed", g.Age.Round(time.Second), *q.maxAge)
	case g.Debug() && !j.waived["debug"]:
		return refuse.As(refuse.Debug, "enclave in debug mode: registers 0, 1 and 2 are zero")
	case q.module != "" && g.Module != q.module:
		return refuse.Differ(refuse.Inventory, "module_id", q.module, g.Module)
	}
	if g.Debug() {
		j.gap("debug", "the instance can read the enclave, and its registers say nothing of it")
	}
	if q.maxAge == nil {
		j.gap("max_age", "the document's age was compared with nothing but its certificates' dates")
	}
	bound := false
	for _, t := range q.texts {
		if !t.given {
			continue
		}
		bound = true
		if got := t.field(g.Document); !slices.Equal(got, t.want) {
			return refuse.Differ(t.code, t.name, hex.EncodeToString(t.want), hex.EncodeToString(got))
		}
	}
	if !bound {
		j.gap("binding", "user_data, nonce and public_key were compared with nothing: the document may be anybody's")
	}
	for _, i := range slices.Sorted(maps.Keys(q.pcrs)) {
		got, there := g.PCRs[i]
		switch {
		case !there:
			return refuse.As(refuse.Image, "the document has no register %d", i)
		case !slices.Equal(got[:], q.pcrs[i]):
			return refuse.Differ(refuse.Image, "PCR "+strconv.Itoa(i), hex.EncodeToString(q.pcrs[i]), hex.EncodeToString(got[:]))
		}
	}
	if len(q.pcrs) == 0 {
		j.gap("pcrs", "registers were compared with nothing: the software may be any")
	}
	return nil
}

type nitroClaims struct {
	Flavour   string           `json:"flavour"` // "nitro-tpm", "enclave"
	Module    string           `json:"module_id"`
	Made      string           `json:"timestamp"`
	PCRs      map[string]hexed `json:"pcrs"`
	UserData  hexed            `json:"user_data,omitempty"`
	Nonce     hexed            `json:"nonce,omitempty"`
	PublicKey hexed            `json:"public_key,omitempty"`
	Debug     bool             `json:"debug"`

	Age     int64  `json:"age_seconds,omitempty"` // this and what follows once genuine
	Expires string `json:"expires,omitempty"`     // the first certificate of the chain
	Root    string `json:"root,omitempty"`
}

func nitroClaimsOf(d *nitro.Document) *nitroClaims {
	c := &nitroClaims{Flavour: string(d.Flavor), Module: d.Module, Made: stamp(d.Time), PCRs: map[string]hexed{}, UserData: d.UserData,
		Nonce: d.Nonce, PublicKey: d.PublicKey, Debug: d.Debug()}
	for i, v := range d.PCRs {
		c.PCRs[strconv.Itoa(i)] = slices.Clone(v[:])
	}
	return c
}
