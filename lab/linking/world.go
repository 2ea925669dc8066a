// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package linking plays clients that buy, spend, take change and swap, with
// wallets and banks as they are shipped, writes down what each part of the system
// sees of it, and measures how well every coalition of parts links what it saw.
//
// It has no network, no nodes that answer and no TPM: a node here is a key that
// signs usages. It is a measurement, not a proof: it finds what it looks for,
// which attack.go lists. docs/linking.md reads its tables.
package linking

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/credits/redeem/sqlite"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/transparency/statement"
)

const (
	generation = 1
	nodeCount  = 6
	candidates = 3
	// class is what requests are paid with, step what dearer ones take: as the
	// client does (docs/spec/client.md).
	class = 16
	step  = 3
	stock = 6 // coins of class that a wallet keeps
)

// A world is a bank, its keys and the nodes that statements list.
type world struct {
	bank  *redeem.Bank
	store *sqlite.Store
	keys  []*issue.Keys // the last one is on sale
	nodes []node
	seed  ed25519.PrivateKey // ticket key
	first uint64             // epoch
	sets  *credits.Set
	now   *redeem.Epoch
}

type node struct {
	id  [32]byte
	key ed25519.PrivateKey
}

// newWorld makes one in dir, with old keysets beside the one on sale: tokens of
// those can be spent, and are sold to nobody by an honest bank.
func newWorld(ctx context.Context, dir string, random *rand.ChaCha8, old int, exponents []uint8) (*world, error) {
	w := &world{first: uint64(old) + 1}
	const last = 1 << 20
	for i := range old {
		k, err := issue.Generate(random, credits.Keyset{Type: wire.TokenCoin, First: uint64(i) + 1, Last: uint64(i) + 1, SpendLast: last}, []uint8{class})
		if err != nil {
			return nil, err
		}
		w.keys = append(w.keys, k)
	}
	k, err := issue.Generate(random, credits.Keyset{Type: wire.TokenCoin, First: w.first, Last: last, SpendLast: last}, exponents)
	if err != nil {
		return nil, err
	}
	w.keys = append(w.keys, k)
	draw := func() ed25519.PrivateKey {
		var seed [32]byte
		random.Read(seed[:])
		return ed25519.NewKeyFromSeed(seed[:])
	}
	w.seed = draw()
	for range nodeCount {
		key := draw()
		w.nodes = append(w.nodes, node{sha256.Sum256(key.Public().(ed25519.PublicKey)), key})
	}
	slices.SortFunc(w.nodes, func(a, b node) int { return slices.Compare(a.id[:], b.id[:]) })
	path := filepath.Join(dir, "spent.db")
	if err := sqlite.Create(ctx, path, generation); err != nil {
		return nil, err
	}
	if w.store, err = sqlite.Open(ctx, path); err != nil {
		return nil, err
	}
	w.bank, err = redeem.New(redeem.Config{Store: w.store, Keys: w.find, Ticket: w.seed})
	return w, err
}

func (w *world) find(id [32]byte) (*issue.Keys, bool) {
	for _, k := range w.keys {
		if k.Keyset().ID() == id {
			return k, true
		}
	}
	return nil, false
}

func (w *world) onSale() *issue.Keys { return w.keys[len(w.keys)-1] }

func (w *world) record(epoch uint64, n *node) ([]byte, error) {
	r := statement.Record{NodeID: n.id, Epoch: epoch, REK: []byte("SIMULATED"), NodeKey: n.key.Public().(ed25519.PublicKey)}
	return r.Append(nil)
}

func (w *world) statement(epoch uint64) (*redeem.Epoch, *credits.Set, error) {
	start := time.Unix(1_800_000_000+int64(epoch)*3600, 0).UTC()
	s := &statement.Statement{
		Epoch: epoch, NotBefore: start, NextPublic: start.Add(50 * time.Minute), NotAfter: start.Add(time.Hour),
		GatewayKeys: [][]byte{[]byte("SIMULATED")}, Payment: statement.PaymentCoins, MintGeneration: generation,
		TicketKey: w.seed.Public().(ed25519.PublicKey), Models: []statement.Model{{Name: "toy", Context: 512}},
	}
	var list []credits.Listed
	for _, k := range w.keys {
		l := credits.Listed{ID: k.Keyset().ID(), Data: k.Keyset().Append(nil)}
		list, s.CoinKeysets = append(list, l), append(s.CoinKeysets, statement.Keyset(l))
	}
	for i := range w.nodes {
		r, err := w.record(epoch, &w.nodes[i])
		if err != nil {
			return nil, nil, err
		}
		s.Nodes = append(s.Nodes, statement.Node{ID: w.nodes[i].id, Record: statement.Digest(r)})
	}
	set, err := credits.NewSet(list)
	if err != nil {
		return nil, nil, err
	}
	e, err := redeem.NewEpoch(s)
	return e, set, err
}

// enter is the beginning of an epoch.
func (w *world) enter(ctx context.Context, epoch uint64) error {
	e, set, err := w.statement(epoch)
	if err != nil {
		return err
	}
	both := []*redeem.Epoch{e}
	if w.now != nil {
		both = append(both, w.now)
	}
	w.now, w.sets = e, set
	return w.bank.Follow(ctx, both...)
}

// header is a request's, sealed to candidates drawn at random; the first has it.
func (w *world) header(r *rand.Rand, random *rand.ChaCha8, epoch uint64) (*hpke.Header, *node) {
	h := &hpke.Header{Common: hpke.Common{Suite: hpke.NodeSuite, Epoch: epoch, K: candidates, MediaType: hpke.MediaBinaryHTTP}}
	random.Read(h.Common.BodyNonce[:])
	random.Read(h.Common.Commitment[:])
	drawn := r.Perm(nodeCount)[:candidates]
	for _, i := range drawn {
		e := hpke.Entry{NodeID: w.nodes[i].id, Enc: make([]byte, hpke.NodeSuite.EncSize()), SealedDEK: make([]byte, 48)}
		random.Read(e.SealedDEK)
		h.Entries = append(h.Entries, e)
	}
	h.Common.CandidatesHash = hpke.CandidatesHash(h.CandidateIDs())
	return h, &w.nodes[drawn[0]]
}

var errTicket = errors.New("linking: a ticket that is not the bank's")

// run has the bank hold a spend, a node run the request, and the bank settle.
func (w *world) run(ctx context.Context, epoch uint64, h *hpke.Header, n *node, s wire.Spend, used uint8) (*wire.Change, error) {
	block := wire.RoutingBlock{Payment: wire.PaymentCoins, Epoch: epoch, Spend: s}
	rec, err := w.record(epoch, n)
	if err != nil {
		return nil, err
	}
	body := append(binary.BigEndian.AppendUint16(block.Append(nil), uint16(len(rec))), rec...)
	t, err := w.bank.Hold(ctx, h.Forward(0).Append(body))
	if err != nil {
		return nil, fmt.Errorf("linking: hold: %w", err)
	}
	if !t.Verify(w.seed.Public().(ed25519.PublicKey)) {
		return nil, errTicket
	}
	u := wire.Usage{HeaderHash: h.Hash(), NodeID: n.id, Epoch: epoch, Class: s.Class, Used: used}
	u.Sign(n.key)
	c, err := w.bank.Settle(ctx, u.Append([]byte{redeem.SettleUsage}))
	if err != nil {
		return nil, fmt.Errorf("linking: settle: %w", err)
	}
	return c, nil
}
