// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/sotto-project/sotto/internal/wire"
)

func spend() wire.Spend {
	s := wire.Spend{Type: wire.TokenCoin, Keyset: id(1), Class: 13, Nonce: id(2), MAC: id(3)}
	for i := range s.Blanks {
		s.Blanks[i] = id(byte(10 + i))
	}
	return s
}

func entitled() wire.Spend {
	s := spend()
	s.Tier, s.TierKeyset, s.TierNonce, s.TierMAC = 1, id(4), id(5), id(6)
	return s
}

func TestSpendAtItsBounds(t *testing.T) {
	pass, dear := spend(), entitled()
	pass.Type, pass.Class = wire.TokenPass, wire.MinClass
	dear.Class, dear.Tier = wire.MaxClass, 255
	for _, s := range []wire.Spend{spend(), entitled(), pass, dear} {
		b := wire.RoutingBlock{Payment: wire.PaymentCoins, Epoch: 1, Spend: s}.Append(nil)
		got, err := wire.ParseRoutingBlock(b)
		if err != nil || got.Spend != s || len(b) != wire.RoutingBlockSize {
			t.Fatalf("got %+v, %v, %d bytes", got.Spend, err, len(b))
		}
	}
	for name, change := range map[string]func(*wire.Spend){
		"no type":               func(s *wire.Spend) { s.Type = 0 },
		"a voucher":             func(s *wire.Spend) { s.Type = wire.TokenVoucher },
		"an entitlement":        func(s *wire.Spend) { s.Type = wire.TokenEntitlement },
		"a type too many":       func(s *wire.Spend) { s.Type = 5 },
		"class below":           func(s *wire.Spend) { s.Class = wire.MinClass - 1 },
		"class above":           func(s *wire.Spend) { s.Class = wire.MaxClass + 1 },
		"class 255":             func(s *wire.Spend) { s.Class = 255 },
		"keyset without a tier": func(s *wire.Spend) { s.TierKeyset[31] = 1 },
		"nonce without a tier":  func(s *wire.Spend) { s.TierNonce[0] = 1 },
		"MAC without a tier":    func(s *wire.Spend) { s.TierMAC[31] = 1 },
		"nothing at all":        func(s *wire.Spend) { *s = wire.Spend{} },
	} {
		t.Run(name, func(t *testing.T) {
			s := spend()
			change(&s)
			r := wire.RoutingBlock{Payment: wire.PaymentCoins, Epoch: 1, Spend: s}
			panics(t, func() { r.Append(nil) })
			if _, err := wire.ParseRoutingBlock(rawBlock(wire.PaymentCoins, s)); err != wire.ErrMalformed {
				t.Errorf("parsed: %v", err)
			}
		})
	}
	t.Run("in mode none", func(t *testing.T) {
		panics(t, func() { wire.RoutingBlock{Spend: spend()}.Append(nil) })
		if _, err := wire.ParseRoutingBlock(rawBlock(wire.PaymentNone, spend())); err == nil {
			t.Error("parsed")
		}
	})
	t.Run("a byte behind it", func(t *testing.T) {
		b := rawBlock(wire.PaymentCoins, spend())
		for i := 43 + 451; i < len(b); i++ {
			if bad := flip(b, i); parses(bad) {
				t.Fatalf("byte %d is free", i)
			}
		}
	})
}

func parses(b []byte) bool { _, err := wire.ParseRoutingBlock(b); return err == nil }

// rawBlock spells a block out by hand, valid or not.
func rawBlock(mode uint8, s wire.Spend) []byte {
	b := make([]byte, 43, wire.RoutingBlockSize)
	b[0], b[1], b[9] = 1, mode, 1
	b = append(append(b, s.Type), s.Keyset[:]...)
	b = append(append(append(b, s.Class), s.Nonce[:]...), s.MAC[:]...)
	for i := range s.Blanks {
		b = append(b, s.Blanks[i][:]...)
	}
	b = append(append(append(append(b, s.Tier), s.TierKeyset[:]...), s.TierNonce[:]...), s.TierMAC[:]...)
	return append(b, make([]byte, wire.RoutingBlockSize-len(b))...)
}

func panics(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("did not panic")
		}
	}()
	f()
}

func ticket() wire.Ticket {
	t := wire.Ticket{HeaderHash: id(9), Epoch: 5, Generation: 2, Class: 13, Tier: 1, Index: 2, Attempt: 1, Turn: 3}
	t.Sign(nodeKey(1))
	return t
}

func usage() wire.Usage {
	u := wire.Usage{HeaderHash: id(9), NodeID: id(8), Epoch: 5, Class: 13, Index: 2, Attempt: 1, Used: 64}
	u.Sign(nodeKey(1))
	return u
}

// everyBit changes one bit at a time: nothing that is signed can be changed.
func everyBit(t *testing.T, b []byte, accepts func([]byte) bool) {
	t.Helper()
	if !accepts(b) {
		t.Fatal("a good one was refused")
	}
	for i := range b {
		for bit := range 8 {
			bad := slices.Clone(b)
			bad[i] ^= 1 << bit
			if accepts(bad) {
				t.Errorf("byte %d bit %d: accepted", i, bit)
			}
		}
	}
	for _, bad := range [][]byte{nil, b[:len(b)-1], append(slices.Clone(b), 0)} {
		if accepts(bad) {
			t.Errorf("accepted %d bytes", len(bad))
		}
	}
}

func TestTicketBindsEveryBit(t *testing.T) {
	k := ticket()
	key := nodeKey(1).Public().(ed25519.PublicKey)
	if len(k.Append(nil)) != wire.TicketSize || len(k.String()) != 156 {
		t.Fatal("size")
	}
	everyBit(t, k.Append(nil), func(b []byte) bool {
		p, err := wire.ParseTicket(b)
		return err == nil && p.Verify(key)
	})
	if k.Verify(nodeKey(2).Public().(ed25519.PublicKey)) || k.Verify(nil) || k.Verify(key[:31]) {
		t.Error("another key was accepted")
	}
	if k.Ask() != (wire.Ask{HeaderHash: id(9), Epoch: 5, Index: 2, Attempt: 1}) {
		t.Errorf("ask %+v", k.Ask())
	}
}

func TestTicketAtItsBounds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*wire.Ticket)
		ok     bool
	}{
		"class 5":   {func(k *wire.Ticket) { k.Class = 5 }, false},
		"class 6":   {func(k *wire.Ticket) { k.Class = 6 }, true},
		"class 40":  {func(k *wire.Ticket) { k.Class = 40 }, true},
		"class 41":  {func(k *wire.Ticket) { k.Class = 41 }, false},
		"index 7":   {func(k *wire.Ticket) { k.Index = 7 }, true},
		"index 8":   {func(k *wire.Ticket) { k.Index = 8 }, false},
		"attempt 2": {func(k *wire.Ticket) { k.Attempt = 2 }, true},
		"attempt 3": {func(k *wire.Ticket) { k.Attempt = 3 }, false},
		"turn 7":    {func(k *wire.Ticket) { k.Turn = 7 }, true},
		"turn 8":    {func(k *wire.Ticket) { k.Turn = 8 }, false},
		"tier 255":  {func(k *wire.Ticket) { k.Tier = 255 }, true},
		"epoch max": {func(k *wire.Ticket) { k.Epoch = 1<<64 - 1 }, true},
	} {
		t.Run(name, func(t *testing.T) {
			k := ticket()
			c.change(&k)
			k.Sign(nodeKey(1))
			got, err := wire.ParseTicket(k.Append(nil))
			if (err == nil) != c.ok || k.Verify(nodeKey(1).Public().(ed25519.PublicKey)) != c.ok || c.ok && got != k {
				t.Errorf("%v", err)
			}
			got, err = wire.ParseTicketHeader(k.String())
			if (err == nil) != c.ok || c.ok && got != k {
				t.Errorf("header: %v", err)
			}
		})
	}
	k := ticket()
	s := k.String()
	for _, bad := range []string{"", s[1:], s + "A", s + "=", s[:10] + "\n" + s[11:], " " + s[1:], s[:10] + "+" + s[11:]} {
		if _, err := wire.ParseTicketHeader(bad); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

func TestUsage(t *testing.T) {
	key := nodeKey(1).Public().(ed25519.PublicKey)
	t.Run("CT-11", func(t *testing.T) { // for another request, node, epoch, class, turn
		u := usage()
		everyBit(t, u.Append(nil), func(b []byte) bool {
			p, err := wire.ParseUsage(b)
			return err == nil && p.Verify(key)
		})
		k := ticket()
		if !u.Of(&k, id(8)) {
			t.Fatal("the ticket's own usage was refused")
		}
		if u.Of(&k, id(7)) {
			t.Error("another node's usage was accepted")
		}
		for name, change := range map[string]func(*wire.Usage){
			"header":  func(u *wire.Usage) { u.HeaderHash = id(1) },
			"epoch":   func(u *wire.Usage) { u.Epoch++ },
			"class":   func(u *wire.Usage) { u.Class++ },
			"index":   func(u *wire.Usage) { u.Index++ },
			"attempt": func(u *wire.Usage) { u.Attempt++ },
		} {
			x := usage()
			change(&x)
			x.Sign(nodeKey(1))
			if x.Of(&k, id(8)) {
				t.Errorf("usage of another %s was accepted", name)
			}
		}
	})
	t.Run("CT-10", func(t *testing.T) { // more than was held, or less than nothing
		for used := range 256 {
			u := usage()
			u.Used = uint8(used)
			u.Sign(nodeKey(1)) // the node itself is the liar
			_, err := wire.ParseUsage(u.Append(nil))
			_, herr := wire.ParseUsageTrailer(u.String())
			if ok := used <= 64; (err == nil) != ok || (herr == nil) != ok || u.Verify(key) != ok {
				t.Errorf("used %d: %v, %v", used, err, herr)
			}
		}
	})
	u := usage()
	if s := u.String(); len(s) != 187 {
		t.Errorf("%d characters", len(s))
	} else {
		for _, bad := range []string{"", s[1:], s + "A", s + "=", s[:186] + "\n"} {
			if _, err := wire.ParseUsageTrailer(bad); err == nil {
				t.Errorf("accepted %q", bad)
			}
		}
		// The last character carries two bits that no byte needs: other spellings of the same bytes.
		last := []byte(s)
		for c := byte('A'); c <= 'z'; c++ {
			last[186] = c
			if got, err := wire.ParseUsageTrailer(string(last)); err == nil && got.String() != string(last) {
				t.Errorf("two spellings: %q", last)
			}
		}
	}
}

func change() *wire.Change {
	c := &wire.Change{State: wire.ChangeUsed, Generation: 3, Keyset: id(1), Usage: usage(), Signature: [64]byte{7}}
	for i, e := range []uint8{12, 11, 8} {
		c.Coins = append(c.Coins, wire.Minted{Exponent: e, Element: id(byte(i)), Proof: [64]byte{1, byte(i)}})
	}
	return c
}

func TestChangeAtItsBounds(t *testing.T) {
	eight := change()
	for len(eight.Coins) < wire.Blanks {
		eight.Coins = append(eight.Coins, wire.Minted{Exponent: wire.MaxClass})
	}
	for name, c := range map[string]*wire.Change{
		"pending":          {},
		"pending, max":     {Generation: 1<<64 - 1},
		"used":             change(),
		"used, eight":      eight,
		"used, no change":  {State: wire.ChangeUsed, Usage: usage()},
		"returned":         {State: wire.ChangeReturned, Keyset: id(1), Coins: []wire.Minted{{Exponent: 13}}},
		"returned, a pass": {State: wire.ChangeReturned},
		"refused":          {State: wire.ChangeRefused},
	} {
		t.Run(name, func(t *testing.T) {
			b := c.Append([]byte("x"))[1:]
			got, err := wire.ParseChange(b)
			if err != nil || len(b) != wire.ChangeSize {
				t.Fatalf("%v, %d bytes", err, len(b))
			}
			if again := got.Append(nil); !bytes.Equal(again, b) {
				t.Error("printed differently")
			}
			for _, bad := range [][]byte{nil, b[:len(b)-1], append(slices.Clone(b), 0), flip(b, 0), flip(b, len(b)-1)} {
				if _, err := wire.ParseChange(bad); err != wire.ErrMalformed {
					t.Errorf("accepted %d malformed bytes", len(bad))
				}
			}
		})
	}
	for name, edit := range map[string]func(*wire.Change){
		"state 4":            func(c *wire.Change) { c.State = 4 },
		"state 255":          func(c *wire.Change) { c.State = 255 },
		"usage of returned":  func(c *wire.Change) { c.State = wire.ChangeReturned },
		"coins of pending":   func(c *wire.Change) { c.State, c.Usage, c.Signature = wire.ChangePending, wire.Usage{}, [64]byte{} },
		"coins of refused":   func(c *wire.Change) { c.State, c.Usage, c.Signature = wire.ChangeRefused, wire.Usage{}, [64]byte{} },
		"a signed pending":   func(c *wire.Change) { *c = wire.Change{Signature: [64]byte{63: 1}} },
		"a signed refusal":   func(c *wire.Change) { *c = wire.Change{State: wire.ChangeRefused, Signature: [64]byte{1}} },
		"used without usage": func(c *wire.Change) { c.Usage = wire.Usage{} },
		"CT-10":              func(c *wire.Change) { c.Usage.Used = 65 },
		"usage of class 5":   func(c *wire.Change) { c.Usage.Class = 5 },
		"no keyset":          func(c *wire.Change) { c.Keyset = [32]byte{} },
		"keyset, no coins":   func(c *wire.Change) { c.Coins = nil },
		"exponent 41":        func(c *wire.Change) { c.Coins[2].Exponent = 41 },
		"nine coins":         func(c *wire.Change) { c.Coins = make([]wire.Minted, 9) },
	} {
		t.Run(name, func(t *testing.T) {
			c := change()
			edit(c)
			panics(t, func() { c.Append(nil) })
			if len(c.Coins) > wire.Blanks {
				b := change().Append(nil)
				b[182] = 9
				if _, err := wire.ParseChange(b); err == nil {
					t.Error("parsed nine coins")
				}
				return
			}
			if _, err := wire.ParseChange(rawChange(c)); err != wire.ErrMalformed {
				t.Errorf("parsed: %v", err)
			}
		})
	}
	t.Run("an unused coin that is not zero", func(t *testing.T) {
		b := change().Append(nil)
		for i := 183 + 3*wire.MintedSize; i < len(b); i++ {
			if i == len(b)-65 {
				i += 64 // the signature
			}
			if _, err := wire.ParseChange(flip(b, i)); err == nil {
				t.Fatalf("byte %d is free", i)
			}
		}
	})
}

// rawChange spells a change out by hand, valid or not.
func rawChange(c *wire.Change) []byte {
	b := append([]byte{1, c.State, 0, 0, 0, 0, 0, 0, 0, byte(c.Generation)}, c.Keyset[:]...)
	b = append(c.Usage.Append(b), uint8(len(c.Coins)))
	for i := range c.Coins {
		b = c.Coins[i].Append(b)
	}
	b = append(b, make([]byte, max(0, wire.ChangeSize-65-len(b)))...)
	return append(append(b, c.Signature[:]...), 0)
}

// TestChangeIsTheBanksWord: who carries a change to the client can alter no bit of
// it, nor give it for another request; what has not ended is nobody's word.
func TestChangeIsTheBanksWord(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	other := ed25519.NewKeyFromSeed(make([]byte, 32))
	public, hash := key.Public().(ed25519.PublicKey), id(4)
	for _, c := range []*wire.Change{
		change(), {State: wire.ChangeUsed, Usage: usage()}, {State: wire.ChangeReturned}, {State: wire.ChangeReturned, Keyset: id(1), Coins: []wire.Minted{{Exponent: 13}}},
	} {
		c.Sign(key, hash)
		if !c.Verify(public, hash) {
			t.Fatal("the bank's own word is refused")
		}
		if c.Verify(public, id(5)) || c.Verify(other.Public().(ed25519.PublicKey), hash) || c.Verify(nil, hash) || c.Verify(make([]byte, 31), hash) {
			t.Error("verified for another request or under another key")
		}
		b := c.Append(nil)
		for i := range 8 * len(b) {
			bad := slices.Clone(b)
			bad[i/8] ^= 1 << (i % 8)
			if x, err := wire.ParseChange(bad); err == nil && x.Verify(public, hash) {
				t.Errorf("bit %d is not signed", i)
			}
		}
		c.Signature = [64]byte{}
		if c.Verify(public, hash) {
			t.Error("verified without a signature")
		}
	}
	for _, c := range []*wire.Change{{}, {State: wire.ChangeRefused, Generation: 3}} {
		c.Sign(key, hash)
		if c.Signature != [64]byte{} || c.Verify(public, hash) {
			t.Error("something that has not ended is somebody's word")
		}
		copy(c.Signature[:], ed25519.Sign(key, make([]byte, 40)))
		if c.Verify(public, hash) {
			t.Error("verified what does not parse")
		}
	}
}

func TestDueIsExactAndCanonical(t *testing.T) {
	t.Run("CT-13", func(t *testing.T) {
		for class := uint8(wire.MinClass); class <= wire.MaxClass; class++ {
			for used := range uint8(wire.Parts + 1) {
				due := wire.Due(class, used)
				var sum uint64
				for i, e := range due {
					sum += 1 << e
					if i > 0 && e >= due[i-1] {
						t.Fatalf("class %d, used %d: %v", class, used, due)
					}
				}
				want := uint64(1)<<class - uint64(used)<<(class-6)
				if sum != want || len(due) > 6 || used == 0 && !slices.Equal(due, []uint8{class}) {
					t.Fatalf("class %d, used %d: %v is %d, not %d", class, used, due, sum, want)
				}
			}
			panics(t, func() { wire.Due(class, wire.Parts+1) })
			panics(t, func() { wire.Due(class, 255) })
		}
	})
	panics(t, func() { wire.Due(wire.MinClass-1, 0) })
	panics(t, func() { wire.Due(wire.MaxClass+1, 0) })
}

// TestPaymentVectors computes every published value of docs/spec/payment.md.
func TestPaymentVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/payment.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Header            string `json:"header_hash"`
		Epoch, Generation uint64
		Spend             struct {
			Keyset     string
			Class      uint8
			Nonce, MAC string
			Blanks     []string
			Tier       uint8
			TierKeyset string `json:"tier_keyset"`
			TierNonce  string `json:"tier_nonce"`
			TierMAC    string `json:"tier_mac"`
		}
		Block       string `json:"routing_block_sha256"`
		BankSeed    string `json:"bank_seed"`
		Index, Turn uint8
		Ticket      string
		NodeSeed    string `json:"node_seed"`
		NodeID      string `json:"node_id"`
		Used        uint8
		Usage       string
		Due         []uint
		Minted      []struct {
			Exponent       uint8
			Element, Proof string
		}
		Change  string `json:"change_sha256"`
		Pending string `json:"pending_sha256"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	same := func(what string, b []byte, want string) {
		t.Helper()
		if got := hex.EncodeToString(b); got != want || want == "" {
			t.Errorf("%s: got %s", what, got)
		}
	}
	hash := func(b []byte) []byte { h := sha256.Sum256(b); return h[:] }
	seed := func(s string) ed25519.PrivateKey { b := unhex(t, s); return ed25519.NewKeyFromSeed(b[:]) }

	s := wire.Spend{Type: wire.TokenCoin, Keyset: unhex(t, v.Spend.Keyset), Class: v.Spend.Class, Nonce: unhex(t, v.Spend.Nonce), MAC: unhex(t, v.Spend.MAC),
		Tier: v.Spend.Tier, TierKeyset: unhex(t, v.Spend.TierKeyset), TierNonce: unhex(t, v.Spend.TierNonce), TierMAC: unhex(t, v.Spend.TierMAC)}
	for i := range s.Blanks {
		s.Blanks[i] = unhex(t, v.Spend.Blanks[i])
	}
	same("routing block", hash(wire.RoutingBlock{Payment: wire.PaymentCoins, Epoch: v.Epoch, Spend: s}.Append(nil)), v.Block)

	k := wire.Ticket{HeaderHash: unhex(t, v.Header), Epoch: v.Epoch, Generation: v.Generation, Class: s.Class, Tier: s.Tier, Index: v.Index, Turn: v.Turn}
	k.Sign(seed(v.BankSeed))
	same("ticket", k.Append(nil), v.Ticket)

	u := wire.Usage{HeaderHash: k.HeaderHash, NodeID: unhex(t, v.NodeID), Epoch: v.Epoch, Class: s.Class, Index: v.Index, Used: v.Used}
	u.Sign(seed(v.NodeSeed))
	same("usage", u.Append(nil), v.Usage)

	c := &wire.Change{State: wire.ChangeUsed, Generation: v.Generation, Keyset: s.Keyset, Usage: u}
	for i, e := range wire.Due(s.Class, v.Used) {
		if i >= len(v.Due) || uint(e) != v.Due[i] || e != v.Minted[i].Exponent {
			t.Fatalf("due %v", v.Due)
		}
		m := wire.Minted{Exponent: e, Element: unhex(t, v.Minted[i].Element)}
		if _, err := hex.Decode(m.Proof[:], []byte(v.Minted[i].Proof)); err != nil {
			t.Fatal(err)
		}
		c.Coins = append(c.Coins, m)
	}
	c.Sign(seed(v.BankSeed), k.HeaderHash)
	same("change", hash(c.Append(nil)), v.Change)
	same("pending", hash((&wire.Change{Generation: v.Generation}).Append(nil)), v.Pending)
}

func FuzzPayment(f *testing.F) {
	k, u := ticket(), usage()
	f.Add(k.Append(nil))
	f.Add(u.Append(nil))
	f.Add(change().Append(nil))
	f.Add((&wire.Change{}).Append(nil))
	f.Add(wire.RoutingBlock{Payment: wire.PaymentCoins, Epoch: 1, Spend: entitled()}.Append(nil))
	f.Add([]byte(k.String()))
	f.Add([]byte(u.String()))
	f.Add(change().Append(nil)[183 : 183+wire.MintedSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(got []byte) {
			if !bytes.Equal(got, b) {
				t.Errorf("parsed %x, printed %x", b, got)
			}
		}
		if k, err := wire.ParseTicket(b); err == nil {
			same(k.Append(nil))
		}
		if k, err := wire.ParseTicketHeader(string(b)); err == nil {
			same([]byte(k.String()))
		}
		if u, err := wire.ParseUsage(b); err == nil {
			same(u.Append(nil))
		}
		if u, err := wire.ParseUsageTrailer(string(b)); err == nil {
			same([]byte(u.String()))
		}
		if c, err := wire.ParseChange(b); err == nil {
			same(c.Append(nil))
		}
		if m, err := wire.ParseMinted(b); err == nil {
			same(m.Append(nil))
		}
		if r, err := wire.ParseRoutingBlock(b); err == nil {
			same(r.Append(nil))
		}
	})
}
