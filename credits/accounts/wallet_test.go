// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts_test

import (
	"bytes"
	"crypto"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/zk/dleq"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/credits/accounts/apiclient"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/wire"
)

// lossy answers nothing of every other request, after the bank did it.
type lossy struct {
	t http.RoundTripper
	n int
}

func (l *lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.t.RoundTrip(r)
	if l.n++; err == nil && l.n%2 == 1 {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return nil, errors.New("the connection is gone")
	}
	return resp, err
}

// TestWallet: a wallet buys over connections that break, and what a lost one
// would be restored from is there.
func TestWallet(t *testing.T) {
	s := serve(t)
	u := s.world.user(10_000)
	key, err := api.ParseKey(u.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := apiclient.New(s.public, key, &lossy{t: s.client(t, "")})
	if err != nil {
		t.Fatal(err)
	}
	w, err := wallet.Create(filepath.Join(t.TempDir(), "w"), u.seed)
	if err != nil {
		t.Fatal(err)
	}
	bought, blinded := uint64(0), map[[32]byte]uint8{}
	for _, exponents := range [][]uint8{{10, 6, 6, 0}, {6}, {0, 0}} {
		b, err := w.Buy(s.set, 10, wire.TokenCoin, 0, exponents)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Purchase(t.Context(), w, b, u.account, 0); err == nil {
			t.Fatal("no connection broke")
		}
		again, err := w.Buys()
		if err != nil || len(again) != 1 {
			t.Fatal(err)
		}
		if err := c.Purchase(t.Context(), w, again[0], u.account, 0); err != nil {
			t.Fatal(err)
		}
		bought += credits.Units(exponents)
		for _, x := range b.Tokens {
			blinded[x.Blinded] = x.Exponent
		}
	}
	if got := u.balance(); got != 10_000-bought {
		t.Errorf("balance %d, bought %d", got, bought)
	}
	b, err := w.Buy(s.set, 10, wire.TokenPass, 0, []uint8{6})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err = c.Purchase(t.Context(), w, b, u.account, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	// More than there is: the order is over, and the wallet knows it.
	if b, err = w.Buy(s.set, 10, wire.TokenCoin, 0, []uint8{40}); err != nil {
		t.Fatal(err)
	}
	var refusal *apiclient.Refusal
	for range 2 {
		err = c.Purchase(t.Context(), w, b, u.account, 0)
	}
	if !errors.As(err, &refusal) || refusal.Code != credits.CodeFunds {
		t.Error(err)
	}
	if left, err := w.Buys(); err != nil || len(left) != 0 {
		t.Error(left, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// What a restored wallet would look through: all that was bought, in batches
	// that verify (credits/wallet restores from them), and nobody else's.
	sound, err := apiclient.New(s.public, key, s.client(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	set := s.keys[wire.TokenCoin].Keyset()
	found := map[[32]byte]uint8{}
	for batch, err := range sound.Batches(t.Context(), set.ID()) {
		if err != nil {
			t.Fatal(err)
		}
		if !proven(set, batch) {
			t.Error("a batch that does not verify")
		}
		for _, e := range batch.Blinded {
			found[e] = batch.Exponent
		}
	}
	if len(found) != len(blinded) {
		t.Errorf("%d of %d", len(found), len(blinded))
	}
	for e, exponent := range blinded {
		if found[e] != exponent {
			t.Error("a token is not there, or of another worth")
		}
	}
	s.check()
}

// proven verifies a batch as anybody can who has the keyset.
func proven(set *credits.Keyset, b wallet.Batch) bool {
	key, ok := set.Key(b.Exponent)
	if !ok || len(b.Blinded) != len(b.Elements) {
		return false
	}
	var as, bs []group.Element
	for i := range b.Blinded {
		x, err := credits.ParseElement(b.Blinded[i])
		y, err2 := credits.ParseElement(b.Elements[i])
		if err != nil || err2 != nil {
			return false
		}
		as, bs = append(as, x), append(bs, y)
	}
	enc, err := key.MarshalBinary()
	if err != nil {
		return false
	}
	k, err := credits.ParseElement([32]byte(enc))
	p := new(dleq.Proof)
	if err != nil || credits.ParseProof(p, b.Proof) != nil {
		return false
	}
	v := dleq.Verifier{Params: dleq.Params{G: group.Ristretto255, H: crypto.SHA512, DST: []byte("OPRFV1-\x01-ristretto255-SHA512")}}
	return v.VerifyBatchRFC9497(k, as, bs, p)
}

// A bank that answers otherwise than it must.
type liar struct {
	t      http.RoundTripper
	change func([]byte) []byte
}

func (l liar) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.t.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(l.change(b)))
	return resp, err
}

// TestLyingBank: what a bank answers otherwise is refused, and the purchase is
// still there to be asked for again.
func TestLyingBank(t *testing.T) {
	s := serve(t)
	u := s.world.user(10_000)
	key, err := api.ParseKey(u.key)
	if err != nil {
		t.Fatal(err)
	}
	w, err := wallet.Create(filepath.Join(t.TempDir(), "w"), u.seed)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	b, err := w.Buy(s.set, 10, wire.TokenCoin, 0, []uint8{6, 6, 0})
	if err != nil {
		t.Fatal(err)
	}
	tr := s.client(t, "")
	for what, change := range map[string]func(*api.Issued){
		"another request":       func(i *api.Issued) { i.Request[0]++ },
		"another keyset":        func(i *api.Issued) { i.Keyset[0]++ },
		"one token less":        func(i *api.Issued) { i.Tokens = i.Tokens[1:] },
		"another blank":         func(i *api.Issued) { i.Tokens[0].Blinded = i.Tokens[1].Blinded },
		"CT-14 another element": func(i *api.Issued) { i.Tokens[0].Element = i.Tokens[1].Element },
		"another exponent":      func(i *api.Issued) { i.Tokens[0].Exponent = 0 },
		"no proof":              func(i *api.Issued) { i.Proofs = nil },
		"CT-15 a wrong proof":   func(i *api.Issued) { i.Proofs[0].Proof[0] ^= 1 },
		"swapped proofs":        func(i *api.Issued) { i.Proofs[0].Proof, i.Proofs[1].Proof = i.Proofs[1].Proof, i.Proofs[0].Proof },
	} {
		c, err := apiclient.New(s.public, key, liar{tr, func(b []byte) []byte {
			i := into[api.Issued](t, b)
			change(i)
			return must(jsonBytes(i))
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Purchase(t.Context(), w, b, u.account, 0); err == nil {
			t.Fatalf("%s: believed", what)
		}
		if left, err := w.Buys(); err != nil || len(left) != 1 {
			t.Fatalf("%s: the purchase is gone: %v", what, err)
		}
	}
	for what, change := range map[string]func([]byte) []byte{
		"no JSON": func([]byte) []byte { return []byte("<html>") }, "nothing": func([]byte) []byte { return nil },
		"endless": func([]byte) []byte { return bytes.Repeat([]byte(" "), 9<<20) },
	} {
		c, err := apiclient.New(s.public, key, liar{tr, change})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Purchase(t.Context(), w, b, u.account, 0); err == nil {
			t.Fatalf("%s: believed", what)
		}
	}
	c, err := apiclient.New(s.public, key, tr)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Purchase(t.Context(), w, b, u.account, 0); err != nil {
		t.Error(err)
	}
	if u.balance() != 10_000-129 {
		t.Error(u.balance())
	}
	// Pages that never end.
	endless, err := apiclient.New(s.public, key, liar{tr, func([]byte) []byte { return []byte(`{"issued":[],"next":1}`) }})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range endless.Batches(t.Context(), b.Keyset) {
		if err == nil {
			t.Fatal("a batch of nothing")
		}
	}
	for _, base := range []string{"http://bank.example", "", "https://u@bank.example", "https://bank.example?x"} {
		if _, err := apiclient.New(base, key, tr); err == nil {
			t.Errorf("%q: accepted", base)
		}
	}
}
