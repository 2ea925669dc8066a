// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package statement_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

const origin = "log.example/sotto"

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// key derives a fixed key, so that every run signs the same bytes.
func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("test key " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func wantCode(t *testing.T, err error, want transparency.Code) {
	t.Helper()
	var e *transparency.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func second[T any](_ T, err error) error { return err }

// h is a hash-like value that ascends with b.
func h(b byte) (out [32]byte) {
	out[0], out[31] = b, 7
	return out
}

// full is a statement of an epoch in which everything is present.
func full(epoch uint64) *statement.Statement {
	start := noon.Add(time.Duration(epoch) * time.Hour)
	return &statement.Statement{
		Epoch: epoch, NotBefore: start, NotAfter: start.Add(time.Hour), NextPublic: start.Add(50 * time.Minute), Beacon: h(9),
		GatewayKeys: [][]byte{{2, 2}, {1, 1, 1}}, Payment: statement.PaymentCoins, MintGeneration: 3, TicketKey: []byte("ticket key"),
		CoinKeysets: []statement.Keyset{{h(1), []byte("k1")}, {h(2), nil}},
		Models: []statement.Model{
			{Name: "big", Weights: h(1), Context: 131072, APIs: statement.APIChatCompletions | statement.APICompletions},
			{Name: "small", Weights: h(2), Context: 2048, APIs: statement.APIEmbeddings}},
		Nodes:     []statement.Node{{h(1), 0, h(11)}, {h(2), 1, h(12)}, {h(3), 0, h(13)}},
		Releases:  []statement.Release{{h(5), "node 1.2"}},
		TCBFloors: []statement.TCBFloor{{"snp/Genoa", []byte{1, 2, 3, 4}}},
		Chips:     [][32]byte{h(20), h(21)},
	}
}

func genesis() *statement.Statement {
	return &statement.Statement{Empty: true, NotBefore: noon, NotAfter: noon, NextPublic: noon}
}

func encode(t testing.TB, s *statement.Statement) []byte {
	t.Helper()
	b, err := s.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	minimal := full(1)
	minimal.GatewayKeys, minimal.TicketKey, minimal.CoinKeysets, minimal.Models, minimal.Nodes = nil, nil, nil, nil, nil
	minimal.Releases, minimal.TCBFloors, minimal.Chips = nil, nil, nil
	for _, s := range []*statement.Statement{genesis(), full(1), full(1 << 20), minimal} {
		got, err := statement.Parse(encode(t, s))
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("got %+v, %v; want %+v", got, err, s)
		}
	}
	prefix := []byte("kept")
	if b, err := full(1).Append(prefix); err != nil || !bytes.HasPrefix(b, prefix) {
		t.Errorf("Append lost what was there: %v", err)
	}
}

func TestRefusesEveryTruncationAndExtension(t *testing.T) {
	b := encode(t, full(1))
	for i := range b {
		if s, err := statement.Parse(b[:i]); err == nil || s != nil {
			t.Errorf("accepted the first %d bytes", i)
		}
	}
	wantCode(t, second(statement.Parse(append(b, 0))), transparency.CodeStatement)
	wantCode(t, second(statement.Parse(make([]byte, statement.MaxSize+1))), transparency.CodeStatement)
}

func TestRefusesWhatIsNotCanonical(t *testing.T) {
	for name, edit := range map[string]func(*statement.Statement){
		"nodes out of order":    func(s *statement.Statement) { slices.Reverse(s.Nodes) },
		"node twice":            func(s *statement.Statement) { s.Nodes[1].ID = s.Nodes[0].ID },
		"model beyond the list": func(s *statement.Statement) { s.Nodes[0].Model = 2 },
		"models out of order":   func(s *statement.Statement) { slices.Reverse(s.Models) },
		"model without a name":  func(s *statement.Statement) { s.Models[0].Name = "" },
		"model named in ANSI":   func(s *statement.Statement) { s.Models[0].Name = "b\x1b[31m" },
		"model name too long":   func(s *statement.Statement) { s.Models[0].Name = strings.Repeat("a", 256) },
		"keysets out of order":  func(s *statement.Statement) { slices.Reverse(s.CoinKeysets) },
		"gateway key twice":     func(s *statement.Statement) { s.GatewayKeys[1] = s.GatewayKeys[0] },
		"gateway key empty":     func(s *statement.Statement) { s.GatewayKeys[1] = nil },
		"payment unknown":       func(s *statement.Statement) { s.Payment = 2 },
		"chips out of order":    func(s *statement.Statement) { slices.Reverse(s.Chips) },
		"release without name":  func(s *statement.Statement) { s.Releases[0].Name = "" },
		"floor without name":    func(s *statement.Statement) { s.TCBFloors[0].Platform = "" },
		"no time":               func(s *statement.Statement) { s.NotAfter, s.NextPublic = s.NotBefore, s.NotBefore },
		"ends before it starts": func(s *statement.Statement) { s.NotAfter = s.NotBefore.Add(-time.Hour) },
		"next after the end":    func(s *statement.Statement) { s.NextPublic = s.NotAfter.Add(time.Second) },
		"part of a second":      func(s *statement.Statement) { s.NotAfter = s.NotAfter.Add(time.Millisecond) },
		"before 1970":           func(s *statement.Statement) { s.NotBefore = time.Unix(-1, 0) },
		"empty with content":    func(s *statement.Statement) { s.Empty = true },
		"epoch 0 with content":  func(s *statement.Statement) { s.Epoch = 0 },
		"too large":             func(s *statement.Statement) { s.Chips = chips(40_000) },
	} {
		t.Run(name, func(t *testing.T) {
			s := full(1)
			edit(s)
			wantCode(t, second(s.Append(nil)), transparency.CodeStatement)
		})
	}
	// The same on bytes, where Append is not there to help: swap two nodes.
	b := encode(t, full(1))
	one, two := h(1), h(2)
	i, j := bytes.LastIndex(b, append(one[:], 0, 0)), bytes.LastIndex(b, append(two[:], 0, 1))
	if i < 0 || j < 0 {
		t.Fatal("nodes not found")
	}
	copy(b[i:], two[:])
	copy(b[j:], one[:])
	wantCode(t, second(statement.Parse(b)), transparency.CodeStatement)
}

func chips(n int) (out [][32]byte) {
	for i := range n {
		out = append(out, [32]byte{byte(i >> 16), byte(i >> 8), byte(i)})
	}
	return out
}

// A thousand nodes, each with an enrolled chip, fit into 120 kB with proof and
// checkpoint.
func TestSizeOfAThousandNodes(t *testing.T) {
	s := full(1000)
	s.Nodes, s.Chips = nil, chips(1000)
	for i := range 1000 {
		s.Nodes = append(s.Nodes, statement.Node{ID: [32]byte{byte(i >> 8), byte(i)}, Model: uint16(i % 2), Record: sha256.Sum256([]byte{byte(i)})})
	}
	l := newLog(t)
	for e := range uint64(1000) {
		l.add(t, &statement.Statement{Epoch: e, Empty: true, NotBefore: noon, NotAfter: noon, NextPublic: noon})
	}
	l.add(t, s)
	b, err := l.signed(t, 1000).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 120_000 {
		t.Errorf("%d bytes", len(b))
	}
	t.Logf("%d bytes", len(b))
}

func TestLookups(t *testing.T) {
	s := full(1)
	for _, n := range s.Nodes {
		if got, ok := s.Node(n.ID); !ok || got != n {
			t.Errorf("Node(%x) = %v, %v", n.ID[:1], got, ok)
		}
	}
	for _, id := range [][32]byte{{}, h(4), {1}} {
		if _, ok := s.Node(id); ok {
			t.Errorf("Node(%x) found", id[:1])
		}
	}
	if got := s.Serving("big"); len(got) != 2 || got[0].ID != h(1) || got[1].ID != h(3) {
		t.Errorf("Serving: %v", got)
	}
	if got := s.Serving("huge"); got != nil {
		t.Errorf("Serving a model that is not there: %v", got)
	}
}

func TestFollows(t *testing.T) {
	one, two := full(1), full(2)
	two.Beacon = statement.LeafHash(encode(t, one))
	if err := two.Follows(encode(t, one)); err != nil {
		t.Error(err)
	}
	early := *two
	early.NotBefore = one.NotBefore.Add(time.Minute)
	if err := early.Follows(encode(t, one)); err != nil {
		t.Errorf("an early successor: %v", err)
	}
	first := *one
	first.Beacon = statement.LeafHash(encode(t, genesis()))
	if err := first.Follows(encode(t, genesis())); err != nil {
		t.Errorf("after the first leaf: %v", err)
	}
	gap := *two
	gap.NotBefore = one.NotAfter.Add(time.Second)
	wantCode(t, gap.Follows(encode(t, one)), transparency.CodeStatement)
	beacon := *two
	beacon.Beacon = h(1)
	wantCode(t, beacon.Follows(encode(t, one)), transparency.CodeStatement)
	wantCode(t, two.Follows(encode(t, genesis())), transparency.CodeIndex)
	wantCode(t, two.Follows([]byte("x")), transparency.CodeStatement)
}

func TestCurrent(t *testing.T) {
	s, empty := full(1), full(1)
	*empty = statement.Statement{Epoch: 1, Empty: true, NotBefore: s.NotBefore, NotAfter: s.NotAfter, NextPublic: s.NotAfter}
	at := func(d time.Duration) *transparency.Checkpoint {
		return &transparency.Checkpoint{Time: s.NotBefore.Add(d)}
	}
	for _, c := range []struct {
		name   string
		s      *statement.Statement
		now    time.Duration // after NotBefore
		newest *transparency.Checkpoint
		want   transparency.Code
	}{
		{"first moment", s, 0, nil, ""},
		{"last moment", s, time.Hour - 1, nil, ""},
		{"over", s, time.Hour, nil, transparency.CodeEpochExpired},
		{"before", s, -1, nil, transparency.CodeEpochEarly},
		{"outage", empty, time.Minute, nil, transparency.CodeEpochEmpty},
		{"outage over", empty, time.Hour, nil, transparency.CodeEpochExpired},
		{"all agree", s, time.Minute, at(30 * time.Second), ""},
		{"over for the witnesses, too", s, 2 * time.Hour, at(2*time.Hour - time.Minute), transparency.CodeEpochExpired},
		{"AT-52 two hours behind", s, -110 * time.Minute, at(10 * time.Minute), transparency.CodeClockSkew},
		{"AT-52 two hours ahead", s, 130 * time.Minute, at(10 * time.Minute), transparency.CodeClockSkew},
		{"AT-52 1970", s, -s.NotBefore.Sub(time.Unix(0, 0)), at(time.Minute), transparency.CodeClockSkew},
		{"AT-52 2100", s, 74 * 365 * 24 * time.Hour, at(time.Minute), transparency.CodeClockSkew},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.s.Current(s.NotBefore.Add(c.now), c.newest)
			if c.want == "" && err != nil {
				t.Error(err)
			}
			if c.want != "" {
				wantCode(t, err, c.want)
			}
		})
	}
	err := s.Current(s.NotBefore.Add(130*time.Minute), at(10*time.Minute))
	if err == nil || !strings.Contains(err.Error(), "2h0m0s") {
		t.Errorf("offset not named: %v", err)
	}
}

func TestJSONForPeople(t *testing.T) {
	b, err := json.Marshal(full(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"epoch":1`, `"not_before":"2026-07-01T13:00:00Z"`, `"payment":"coins"`, `"model":"small"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s lacks %s", b, want)
		}
	}
	if b, err = json.Marshal(genesis()); err != nil || !strings.Contains(string(b), `"empty":true`) || strings.Contains(string(b), "payment") {
		t.Errorf("%s, %v", b, err)
	}
	if b, err = json.Marshal(record()); err != nil || !strings.Contains(string(b), `"claims_merely_stated":{"operator":"example","region":"fsn1"}`) {
		t.Errorf("%s, %v", b, err)
	}
}
