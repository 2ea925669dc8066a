// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
	"github.com/sotto-project/sotto/transparency/tiles"
)

const testOrigin = "audit.invalid/SIMULATED"

var begin = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// testKeys are a log's and two witnesses'.
type testKeys struct {
	log       *transparency.Signer
	witnesses []*transparency.Cosigner
}

func newKeys(t testing.TB) *testKeys {
	t.Helper()
	key := func(name string) ed25519.PrivateKey {
		seed := sha256.Sum256([]byte(name))
		return ed25519.NewKeyFromSeed(seed[:])
	}
	k := &testKeys{}
	var err error
	if k.log, err = transparency.NewSigner(testOrigin, key("log")); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"w1.invalid", "w2.invalid"} {
		c, err := transparency.NewCosigner(n, key(n))
		if err != nil {
			t.Fatal(err)
		}
		k.witnesses = append(k.witnesses, c)
	}
	return k
}

func (k *testKeys) trust() transparency.Trust {
	t := transparency.Trust{Origin: testOrigin, LogKey: k.log.VKey(), Quorum: 1}
	for _, w := range k.witnesses {
		t.Witnesses = append(t.Witnesses, w.VKey())
	}
	return t
}

// A fakeMirror serves leaves. Its fields are what a hostile one changes.
type fakeMirror struct {
	name string
	sign func(size uint64, root [32]byte, at time.Time) []byte

	mu     sync.Mutex
	leaves [][]byte       // statements
	raw    map[int][]byte // leaves that are not those of their statements
	size   int            // of the checkpoint; 0: all leaves
	at     time.Time
	clock  func() time.Time // if set, when checkpoints are cosigned
	packs  map[uint64][]byte
	fresh  []byte
	down   error

	tree  *transparency.Tree
	built int
	last  struct { // the newest note: signing takes most of a test's time
		size uint64
		at   time.Time
		note []byte
	}

	// Called with what an honest mirror would serve.
	onTile      func(ctx context.Context, path string, b []byte) ([]byte, error)
	onStatement func(epoch uint64, b []byte) []byte
	onPack      func(epoch uint64, b []byte) []byte
	asked       int
}

func (k *testKeys) mirror(name string, leaves ...[]byte) *fakeMirror {
	m := &fakeMirror{name: name, leaves: leaves, at: begin, packs: map[uint64][]byte{}}
	m.sign = func(size uint64, root [32]byte, at time.Time) []byte {
		note := k.log.Sign(size, root)
		for _, w := range k.witnesses {
			var err error
			if note, err = w.Cosign(note, at); err != nil {
				panic(err)
			}
		}
		return note
	}
	return m
}

// leaf is what the log holds of statement i.
func (m *fakeMirror) leaf(i int) []byte {
	if b, ok := m.raw[i]; ok {
		return b
	}
	return statement.LogLeaf(m.leaves[i])
}

// build brings the tree up to the leaves. Callers hold mu.
func (m *fakeMirror) build() {
	if m.tree == nil || m.built > len(m.leaves) {
		m.tree, m.built = new(transparency.Tree), 0
	}
	for ; m.built < len(m.leaves); m.built++ {
		if err := m.tree.Append(m.leaf(m.built)); err != nil {
			panic(err)
		}
	}
}

func (m *fakeMirror) edit(f func()) { m.mu.Lock(); defer m.mu.Unlock(); f(); m.last.note = nil }

func (m *fakeMirror) n() uint64 {
	if m.size > 0 {
		return uint64(m.size)
	}
	return uint64(len(m.leaves))
}

func (m *fakeMirror) note() []byte {
	m.build()
	if m.clock != nil {
		m.at = m.clock()
	}
	if m.last.note != nil && m.last.size == m.n() && m.last.at.Equal(m.at) {
		return m.last.note
	}
	root, err := m.tree.Root(m.n())
	if err != nil {
		panic(err)
	}
	m.last.size, m.last.at, m.last.note = m.n(), m.at, m.sign(m.n(), root, m.at)
	return m.last.note
}

func (m *fakeMirror) Name() string { return m.name }

func (m *fakeMirror) Checkpoint(ctx context.Context) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return nil, m.down
	}
	return m.note(), nil
}

func (m *fakeMirror) Tile(ctx context.Context, path string) ([]byte, error) {
	b, err := m.tile(path)
	if err == nil && m.onTile != nil {
		return m.onTile(ctx, path, b)
	}
	return b, err
}

func (m *fakeMirror) tile(path string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	if m.down != nil {
		return nil, m.down
	}
	m.build()
	p, err := tiles.ParsePath(path)
	if err != nil {
		return nil, err
	}
	if !p.In(uint64(len(m.leaves))) {
		return nil, fs.ErrNotExist
	}
	if p.Entries {
		var b []byte
		for i := 0; i < p.Width; i++ {
			leaf := m.leaf(int(p.N)*tiles.Width + i)
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(leaf))), leaf...)
		}
		return b, nil
	}
	return tlog.ReadTileData(tlog.Tile{H: 8, L: p.Level, N: int64(p.N), W: p.Width}, m.tree)
}

func (m *fakeMirror) Statement(ctx context.Context, which string) ([]byte, error) {
	epoch, err := strconv.ParseUint(which, 10, 64)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return nil, m.down
	}
	if which == "latest" {
		epoch, err = m.n()-1, nil
	}
	if err != nil || epoch >= m.n() {
		return nil, fs.ErrNotExist
	}
	b := m.signed(epoch)
	if m.onStatement != nil {
		if b = m.onStatement(epoch, b); b == nil {
			return nil, fs.ErrNotExist
		}
	}
	return b, nil
}

func (m *fakeMirror) signed(epoch uint64) []byte {
	m.build()
	proof, err := m.tree.Prove(epoch, m.n())
	if err != nil {
		panic(err)
	}
	b, err := (&statement.Signed{Leaf: m.leaves[epoch], Index: epoch, Proof: proof, Checkpoint: m.note()}).Append(nil)
	if err != nil {
		panic(err)
	}
	return b
}

func (m *fakeMirror) Pack(ctx context.Context, epoch uint64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.packs[epoch]
	if m.down != nil {
		return nil, m.down
	}
	if !ok {
		return nil, fs.ErrNotExist
	}
	if m.onPack != nil {
		b = m.onPack(epoch, b)
	}
	return b, nil
}

func (m *fakeMirror) Freshness(context.Context) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fresh == nil || m.down != nil {
		return nil, fs.ErrNotExist
	}
	return m.fresh, nil
}

// chain makes leaves 0 to n-1, an hour each from begin on; edit changes statements
// before they are printed.
func chain(t testing.TB, n int, edit func(epoch uint64, s *statement.Statement)) [][]byte {
	t.Helper()
	var leaves [][]byte
	for i := range n {
		leaves = grow(t, leaves, func(s *statement.Statement) {
			if edit != nil {
				edit(uint64(i), s)
			}
		})
	}
	return leaves
}

// grow appends the next statement.
func grow(t testing.TB, leaves [][]byte, edit func(*statement.Statement)) [][]byte {
	t.Helper()
	epoch := uint64(len(leaves))
	s := &statement.Statement{Epoch: epoch, Empty: epoch == 0, NotBefore: begin, NotAfter: begin, NextPublic: begin}
	if epoch > 0 {
		s.Beacon = statement.LeafHash(leaves[epoch-1])
		s.NotBefore = begin.Add(time.Duration(epoch-1) * time.Hour)
		s.NotAfter = s.NotBefore.Add(time.Hour)
		s.NextPublic = s.NotAfter.Add(-10 * time.Minute)
		s.GatewayKeys = [][]byte{[]byte("gateway key")}
		s.TicketKey = []byte("ticket key")
		s.MintGeneration = 1
		s.Models = []statement.Model{{Name: "toy", Weights: sha256.Sum256([]byte("weights")), Context: 512, APIs: 1}}
		s.Chips = [][32]byte{{1}}
		s.Releases = []statement.Release{{Digest: [32]byte{9}, Name: "node 1"}}
		s.TCBFloors = []statement.TCBFloor{{Platform: "snp/Genoa", Floor: []byte{1, 2, 3, 4}}}
		s.CoinKeysets = []statement.Keyset{{ID: [32]byte{5}, Data: []byte("keyset")}}
	}
	if edit != nil {
		edit(s)
	}
	b, err := s.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return append(slices.Clone(leaves), b)
}

// A rig is an auditor with a clock of its own.
type rig struct {
	t    testing.TB
	cfg  Config
	now  time.Time
	mu   sync.Mutex // for what follows, where the auditor runs by itself
	told []Alarm
	a    *Auditor
}

func newRig(t testing.TB, k *testKeys, mirrors ...*fakeMirror) *rig {
	t.Helper()
	r := &rig{t: t, now: begin}
	r.cfg = Config{Trust: k.trust(), Dir: t.TempDir(), Now: func() time.Time { return r.now }, Alarm: func(a Alarm) { r.mu.Lock(); defer r.mu.Unlock(); r.told = append(r.told, a) }}
	for _, m := range mirrors {
		r.cfg.Mirrors = append(r.cfg.Mirrors, m)
		m.at = begin
	}
	return r
}

// open opens the auditor anew, as after a crash.
func (r *rig) open() *rig {
	r.t.Helper()
	if r.a != nil {
		r.a.Close()
	}
	a, err := Open(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.a = a
	return r
}

func (r *rig) step() error {
	r.t.Helper()
	if r.a == nil {
		r.open()
	}
	return r.a.Step(context.Background())
}

func (r *rig) mustStep() *rig {
	r.t.Helper()
	if err := r.step(); err != nil {
		r.t.Fatal(err)
	}
	return r
}

// codes of the alarms told since the last call.
func (r *rig) codes() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	set := map[string]bool{}
	for _, a := range r.told {
		set[string(a.Code)] = true
	}
	r.told = nil
	return slices.Sorted(maps.Keys(set))
}

func (r *rig) want(codes ...Code) {
	r.t.Helper()
	var want []string
	for _, c := range codes {
		want = append(want, string(c))
	}
	slices.Sort(want)
	r.mu.Lock()
	told := slices.Clone(r.told)
	r.mu.Unlock()
	if got := r.codes(); !slices.Equal(got, want) {
		var text []string
		for _, a := range told {
			text = append(text, a.Text())
		}
		r.t.Errorf("told %v, want %v\n%s", got, want, strings.Join(text, "\n"))
	}
}
