// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

// A mint is the other side of a wallet: keys, what was spent, and the table.
type mint struct {
	t     testing.TB
	keys  []*issue.Keys
	spent map[[32]byte]bool
	table []credits.TableEntry
}

var exponents = []uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}

func newMint(t testing.TB, templates ...credits.Keyset) *mint {
	t.Helper()
	m := &mint{t: t, spent: map[[32]byte]bool{}}
	for _, k := range templates {
		e := exponents
		if k.Type == wire.TokenEntitlement {
			e = []uint8{0}
		}
		keys, err := issue.Generate(rand.Reader, k, e)
		if err != nil {
			t.Fatal(err)
		}
		m.keys = append(m.keys, keys)
	}
	return m
}

// One mint period, spent for four more; the next period; vouchers; passes; a tier.
var (
	coins1  = credits.Keyset{Type: wire.TokenCoin, First: 1, Last: 10, SpendLast: 50}
	coins2  = credits.Keyset{Type: wire.TokenCoin, First: 11, Last: 20, SpendLast: 60}
	voucher = credits.Keyset{Type: wire.TokenVoucher, First: 1, Last: 20, SpendLast: 60}
	pass    = credits.Keyset{Type: wire.TokenPass, Name: "free", First: 1, Last: 20, SpendLast: 60}
	tier3   = credits.Keyset{Type: wire.TokenEntitlement, Tier: 3, Name: "restricted", First: 1, Last: 20, SpendLast: 60}
)

func (m *mint) sets() *credits.Set {
	m.t.Helper()
	var list []credits.Listed
	for _, k := range m.keys {
		list = append(list, credits.Listed{ID: k.Keyset().ID(), Data: k.Keyset().Append(nil)})
	}
	s, err := credits.NewSet(list)
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

func (m *mint) of(id [32]byte) *issue.Keys {
	for _, k := range m.keys {
		if k.Keyset().ID() == id {
			return k
		}
	}
	m.t.Fatalf("no keyset %x", id)
	return nil
}

func (m *mint) evaluate(keyset [32]byte, exponent uint8, blinded [32]byte) wire.Minted {
	m.t.Helper()
	e, p, err := m.of(keyset).Evaluate(exponent, [][32]byte{blinded})
	if err != nil {
		m.t.Fatal(err)
	}
	out := wire.Minted{Exponent: exponent, Element: e[0], Proof: p}
	m.table = append(m.table, credits.TableEntry{Name: credits.TableName(blinded), Minted: out})
	return out
}

// hold verifies a spend as a bank does.
func (m *mint) hold(hash [32]byte, epoch uint64, s *wire.Spend) bool {
	id := credits.CoinID(s.Keyset, s.Class, s.Nonce)
	if m.spent[id] || !m.of(s.Keyset).Verify(s.Class, s.Nonce, s.MAC, func(o []byte) [32]byte { return credits.SpendMAC(o, hash, epoch, s) }) {
		return false
	}
	m.spent[id] = true
	return true
}

var nodeKey = ed25519.NewKeyFromSeed(make([]byte, 32))

// settle makes the change of a spend of which used 64ths were used.
func (m *mint) settle(hash [32]byte, epoch uint64, s *wire.Spend, used uint8) *wire.Change {
	m.t.Helper()
	c := &wire.Change{State: wire.ChangeUsed, Generation: 1, Usage: wire.Usage{HeaderHash: hash, Epoch: epoch, Class: s.Class, Used: used}}
	c.Usage.Sign(nodeKey)
	m.write(c, epoch, s, used)
	return c
}

func (m *mint) write(c *wire.Change, epoch uint64, s *wire.Spend, used uint8) {
	if s.Type != wire.TokenCoin {
		return
	}
	sale, ok := m.sets().Selling(wire.TokenCoin, 0, epoch)
	if !ok {
		m.t.Fatal("no coins on sale")
	}
	for i, e := range wire.Due(s.Class, used) {
		c.Coins, c.Keyset = append(c.Coins, m.evaluate(sale.ID(), e, s.Blanks[i])), sale.ID()
	}
}

func (m *mint) swap(s *credits.Swap) ([]wire.Minted, string) {
	m.t.Helper()
	s, err := credits.ParseSwap(s.Append(nil))
	if err != nil {
		m.t.Fatal(err)
	}
	if w, p := s.Worth(); w != p {
		return nil, credits.CodeClass
	}
	for i := range s.Paid {
		p := &s.Paid[i]
		if !m.of(p.Keyset).Verify(p.Exponent, p.Nonce, p.MAC, func(o []byte) [32]byte { return credits.SwapMAC(o, s.Digest()) }) {
			return nil, credits.CodeSig
		}
		if m.spent[p.ID()] {
			return nil, credits.CodeSpent
		}
	}
	for i := range s.Paid {
		m.spent[s.Paid[i].ID()] = true
	}
	var out []wire.Minted
	for _, w := range s.Wanted {
		out = append(out, m.evaluate(w.Keyset, w.Exponent, w.Blinded))
	}
	return out, ""
}

// issue answers a purchase, one proof for each exponent.
func (m *mint) issue(b *Buy) (elements [][32]byte, proofs map[uint8][64]byte) {
	m.t.Helper()
	elements, proofs = make([][32]byte, len(b.Tokens)), map[uint8][64]byte{}
	at := map[uint8][]int{}
	for i, x := range b.Tokens {
		at[x.Exponent] = append(at[x.Exponent], i)
	}
	for e, list := range at {
		var blinded [][32]byte
		for _, i := range list {
			blinded = append(blinded, b.Tokens[i].Blinded)
		}
		out, p, err := m.of(b.Keyset).Evaluate(e, blinded)
		if err != nil {
			m.t.Fatal(err)
		}
		for n, i := range list {
			elements[i] = out[n]
		}
		proofs[e] = p
	}
	return elements, proofs
}

var testSeed = redact.New([]byte("0123456789abcdef0123456789abcdef"))

func newWallet(t testing.TB) *Wallet {
	t.Helper()
	w, err := Create(t.TempDir()+"/w", testSeed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// buy puts tokens into a wallet.
func buy(t testing.TB, w *Wallet, m *mint, epoch uint64, typ, tier uint8, e ...uint8) {
	t.Helper()
	b, err := w.Buy(m.sets(), epoch, typ, tier, e)
	if err != nil {
		t.Fatal(err)
	}
	elements, proofs := m.issue(b)
	if err := w.Bought(b.Request, epoch, elements, proofs); err != nil {
		t.Fatal(err)
	}
}

func header(n int) [32]byte { return sha256.Sum256([]byte{'h', byte(n), byte(n >> 8), byte(n >> 16)}) }

func TestPaysAndGetsChange(t *testing.T) {
	m := newMint(t, coins1, voucher, pass, tier3)
	w := newWallet(t)
	if err := w.SetPolicy(Policy{Window: 24}); err != nil {
		t.Fatal(err)
	}
	buy(t, w, m, 1, wire.TokenCoin, 0, 10, 10, 6)
	buy(t, w, m, 1, wire.TokenEntitlement, 3, 0)
	s, err := w.Pay(Payment{Epoch: 1, HeaderHash: header(1), Class: 10, Tier: 3, Sets: m.sets()})
	if err != nil {
		t.Fatal(err)
	}
	if !m.hold(header(1), 1, &s) {
		t.Fatal("the bank refused an honest spend")
	}
	r, err := w.Settle(header(1), m.settle(header(1), 1, &s, 37))
	if err != nil || r.Charged != 37<<4 || r.Back != 27<<4 || !r.Ran || r.Used != 37 {
		t.Fatalf("%+v, %v", r, err)
	}
	again, err := w.Settle(header(1), m.settle(header(1), 1, &s, 0))
	if r.Again = true; err != nil || again != r {
		t.Errorf("settled twice: %+v, %v", again, err)
	}
	// Change pays for the next: 27/64 of 2^10 is 2^8 + 2^7 + 2^5 + 2^4.
	for i, class := range []uint8{8, 7} {
		s, err := w.Pay(Payment{Epoch: 1, HeaderHash: header(2 + i), Class: class, Sets: m.sets()})
		if err != nil || !m.hold(header(2+i), 1, &s) {
			t.Fatal(err)
		}
	}
	if n := len(w.Owed()); n != 2 {
		t.Errorf("%d owed", n)
	}
}

// BenchmarkPay is one payment: a durable write, and the arithmetic of eight
// blanks beside it. Many at once share the write.
func BenchmarkPay(b *testing.B) {
	for _, many := range []int{1, 16} {
		b.Run(fmt.Sprintf("at-once=%d", many), func(b *testing.B) {
			m := newMint(b, coins1)
			w := newWallet(b)
			sets := m.sets()
			for range (b.N + 1023) / 1024 {
				buy(b, w, m, 1, wire.TokenCoin, 0, slices.Repeat([]uint8{10}, min(b.N, 1024))...)
			}
			var n atomic.Int64
			b.SetParallelism(many)
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := w.Pay(Payment{Epoch: 5, HeaderHash: header(int(n.Add(1))), Class: 10, Sets: sets}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkPrepared is what is left of a payment on the way of a request when it
// was prepared, and what was done beside.
func BenchmarkPrepared(b *testing.B) {
	m := newMint(b, coins1)
	w := newWallet(b)
	sets := m.sets()
	buy(b, w, m, 1, wire.TokenCoin, 0, slices.Repeat([]uint8{10}, 8)...)
	var way, beside time.Duration
	for i := range b.N {
		begin := time.Now()
		if err := w.Prepare(Payment{Epoch: 5, Class: 10, Sets: sets}, 1); err != nil {
			b.Fatal(err)
		}
		ready := time.Now()
		if _, err := w.Pay(Payment{Epoch: 5, HeaderHash: header(i), Class: 10, Sets: sets}); err != nil {
			b.Fatal(err)
		}
		way, beside = way+time.Since(ready), beside+ready.Sub(begin)
		if err := w.Unsent(header(i)); err != nil { // the coin again
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(way.Microseconds())/float64(b.N), "pay-µs")
	b.ReportMetric(float64(beside.Microseconds())/float64(b.N), "prepare-µs")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkBlank is what a restore does for each index that it looks for.
func BenchmarkBlank(b *testing.B) {
	w := newWallet(b)
	for i := 0; b.Loop(); i++ {
		if _, err := w.blank(ref{index: uint64(i)}); err != nil {
			b.Fatal(err)
		}
	}
}
