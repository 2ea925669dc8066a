// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package statement_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

var update = flag.Bool("update", false, "write testdata/vectors/statement-v1.json anew")

const vectorFile = "testdata/vectors/statement-v1.json"

// vectors is the file for other implementations; docs/spec/epoch.md says
// how to use it.
type vectors struct {
	Source  string             `json:"source"`
	Keys    string             `json:"keys"`
	Trust   transparency.Trust `json:"trust"`
	Objects []object           `json:"objects"`
	Verify  []verification     `json:"verify"`

	TrustPQ  transparency.Trust `json:"trust_pq"` // wants both of the log's signatures
	VerifyPQ []verification     `json:"verify_pq"`
}

// An object prints as hex and reads back equal.
type object struct {
	Name string          `json:"name"`
	Kind string          `json:"kind"`
	Hex  string          `json:"hex"`
	JSON json.RawMessage `json:"json,omitempty"` // the rendering for people
}

// A verification of a Signed must end in this code; "" is success.
type verification struct {
	Name string            `json:"name"`
	Hex  string            `json:"signed_hex"`
	Code transparency.Code `json:"code"`
}

func makeVectors(t *testing.T) *vectors {
	l := standard(t)
	v := &vectors{
		Source: "docs/spec/epoch.md, Section 8; made by go test ./transparency/statement -run Vectors -update",
		Keys:   `Ed25519 seeds are SHA-256("test key " || name) with the name of the key; ML-DSA-44 seeds SHA-256("test ml-dsa key " || name)`,
		Trust:  *l.trust(),
	}
	add := func(name, kind string, b []byte, err error, people any) {
		if err != nil {
			t.Fatal(err)
		}
		o := object{Name: name, Kind: kind, Hex: hex.EncodeToString(b)}
		if people != nil {
			if o.JSON, err = json.Marshal(people); err != nil {
				t.Fatal(err)
			}
		}
		v.Objects = append(v.Objects, o)
	}
	for e, name := range []string{"genesis", "full", "outage"} {
		st, err := statement.Parse(l.leaves[e])
		add(name, "Statement", l.leaves[e], err, st)
	}
	for e, name := range []string{"leaf of genesis", "leaf of full", "leaf of outage"} {
		add(name, "Leaf", statement.LogLeaf(l.leaves[e]), nil, nil)
	}
	rec, err := record().Append(nil)
	add("record", "Record", rec, err, record())
	p := &statement.Pack{Epoch: 3, Checkpoint: l.signed(t, 0).Checkpoint}
	p.Add(rec)
	p.Add([]byte("evidence"))
	b, err := p.Append(nil)
	add("pack", "Pack", b, err, nil)
	b, err = freshness().Append(nil)
	add("freshness", "Freshness", b, err, nil)

	check := func(name string, code transparency.Code, s *statement.Signed) {
		b, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		v.Verify = append(v.Verify, verification{name, hex.EncodeToString(b), code})
	}
	check("genesis", "", l.signed(t, 0))
	check("epoch 3", "", l.signed(t, 3))
	wrong := l.signed(t, 3)
	wrong.Index = 4
	check("another index than the epoch", transparency.CodeIndex, wrong)
	moved := l.signed(t, 3)
	moved.Proof = l.signed(t, 1).Proof
	check("proof of another leaf", transparency.CodeInclusion, moved)
	alone := l.signed(t, 3)
	root, err := l.tree.Root(5)
	if err != nil {
		t.Fatal(err)
	}
	alone.Checkpoint = l.signer.Sign(5, root)
	check("not cosigned", transparency.CodeWitness, alone)
	impostor := standard(t)
	if impostor.signer, err = transparency.NewSigner(origin, key("impostor")); err != nil {
		t.Fatal(err)
	}
	check("signed by another key", transparency.CodeSignature, impostor.signed(t, 3))
	other := standard(t)
	if other.signer, err = transparency.NewSigner("other.example", key("other.example")); err != nil {
		t.Fatal(err)
	}
	check("another log", transparency.CodeOrigin, other.signed(t, 3))
	bad := l.signed(t, 3)
	bad.Leaf = bytes.Clone(bad.Leaf)
	bad.Leaf[0] = 2
	check("another version of statement", transparency.CodeStatement, bad)
	v.addPQ(t)
	return v
}

// addPQ adds what readers that want both of the log's signatures accept and
// refuse.
func (v *vectors) addPQ(t *testing.T) {
	l := standard(t)
	pq := func(name string) *transparency.Signer {
		seed := sha256.Sum256([]byte("test ml-dsa key " + name))
		s, err := transparency.NewHybridSigner(origin, key(origin), seed[:])
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	classical, both, impostor := l.signer, pq(origin), pq("impostor")
	v.TrustPQ = *l.trust()
	v.TrustPQ.LogKeyPQ = both.VKeyPQ()
	for _, c := range []struct {
		name   string
		signer *transparency.Signer
		code   transparency.Code
		edit   func(lines []string) []string
	}{
		{"both keys", both, "", nil},
		{"no ML-DSA-44 signature", classical, transparency.CodeSignature, nil},
		{"ML-DSA-44 signature of another key", impostor, transparency.CodeSignature, nil},
		{"no Ed25519 signature", both, transparency.CodeSignature, func(x []string) []string { return slices.Delete(x, 4, 5) }},
		{"ML-DSA-44 signature twice", both, transparency.CodeSignature, func(x []string) []string { return slices.Insert(x, 5, x[5]) }},
		{"lines in another order", both, "", func(x []string) []string { x[4], x[5] = x[5], x[4]; return x }},
	} {
		l.signer = c.signer
		s := l.signed(t, 3)
		if c.edit != nil {
			s.Checkpoint = []byte(strings.Join(c.edit(strings.SplitAfter(string(s.Checkpoint), "\n")), ""))
		}
		b, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		v.VerifyPQ = append(v.VerifyPQ, verification{c.name, hex.EncodeToString(b), c.code})
	}
}

func TestVectors(t *testing.T) {
	if *update {
		b, err := json.MarshalIndent(makeVectors(t), "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorFile, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Objects) < 9 || len(v.Verify) < 8 || len(v.VerifyPQ) < 6 {
		t.Fatal("vectors are missing")
	}
	// The file is what the code makes today: formats do not drift unseen.
	again, err := json.MarshalIndent(makeVectors(t), "", "\t")
	if err != nil || !bytes.Equal(append(again, '\n'), raw) {
		t.Errorf("the code makes other vectors now (%v)", err)
	}
	for _, o := range v.Objects {
		b, err := hex.DecodeString(o.Hex)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := reprint(o.Kind, b); err != nil || !bytes.Equal(out, b) {
			t.Errorf("%s: printed %x (%v)", o.Name, out, err)
		}
	}
	for i, c := range slices.Concat(v.Verify, v.VerifyPQ) {
		tr := &v.Trust
		if i >= len(v.Verify) {
			tr = &v.TrustPQ
		}
		t.Run(c.Name, func(t *testing.T) {
			b, err := hex.DecodeString(c.Hex)
			if err != nil {
				t.Fatal(err)
			}
			s, err := statement.ParseSigned(b)
			if err == nil {
				err = verify(s, tr)
			}
			if c.Code == "" && err != nil {
				t.Error(err)
			}
			if c.Code != "" {
				wantCode(t, err, c.Code)
			}
		})
	}
}

func reprint(kind string, b []byte) ([]byte, error) {
	var x interface{ Append([]byte) ([]byte, error) }
	var err error
	switch kind {
	case "Leaf":
		l, err := statement.ParseLeaf(b)
		return l.Append(nil), err
	case "Statement":
		x, err = statement.Parse(b)
	case "Record":
		x, err = statement.ParseRecord(b)
	case "Pack":
		x, err = statement.ParsePack(b)
	case "Freshness":
		x, err = statement.ParseFreshness(b)
	default:
		return nil, errors.New("unknown kind")
	}
	if err != nil {
		return nil, err
	}
	return x.Append(nil)
}
