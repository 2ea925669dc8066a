// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/credits/accounts/apiclient"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/gateway"
)

// A mint is the anonymous port as far as wallets see it, without its durability:
// swaps, and the table.
type mint struct {
	t    *testing.T
	keys []*issue.Keys

	mu     sync.Mutex
	spent  map[[32]byte][32]byte // by coin id, the digest of the swap
	table  map[[32]byte][]credits.TableEntry
	paths  []string
	refuse string // the code that swaps are refused with
}

// anonymous puts a gateway that leads to a mint in the place of the world's.
func (b *till) anonymous() *mint {
	b.t.Helper()
	m := &mint{t: b.t, spent: map[[32]byte][32]byte{}, table: map[[32]byte][]credits.TableEntry{}}
	ring, err := filepath.Glob(filepath.Join(b.dir, "keys", "*"))
	b.must(err)
	for _, f := range ring {
		k, err := issue.OpenFile(f)
		b.must(err)
		m.keys = append(m.keys, k)
	}
	id, err := b.w.CA.Issue("bank.sotto", "127.0.0.1")
	b.must(err)
	tc, err := id.Server(true)
	b.must(err)
	server := httptest.NewUnstartedServer(m)
	server.TLS = tc
	server.StartTLS()
	b.t.Cleanup(server.Close)
	inside, err := b.w.CA.Issue("gateway.sotto", "127.0.0.1")
	b.must(err)
	key, err := gateway.GenerateKey(9, hpke.KEMXWing)
	b.must(err)
	file := filepath.Join(b.t.TempDir(), "gateway.key")
	b.must(gateway.CreateKeyFile(file, key))
	list, err := ohttp.AppendKeyConfigs(nil, []*ohttp.KeyConfig{key.Config()})
	b.must(err)
	g, err := gateway.New(gateway.Config{Keys: []string{file}, Identity: inside, Router: gateway.Origin{URL: b.w.Router.URL}, Bank: gateway.Origin{URL: server.URL}}, slog.New(slog.DiscardHandler))
	b.must(err)
	b.must(g.Reload())
	b.w.Gateway.Intercept(func(http.Handler) http.Handler { return g.Handler() })
	b.gateway = [][]byte{list[2:]} // without the length in front
	b.epoch()
	return m
}

func (m *mint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paths = append(m.paths, r.URL.Path)
	body, err := io.ReadAll(r.Body)
	if err != nil || len(r.Header.Values("Authorization")) > 0 {
		m.t.Error("an API key at the anonymous port")
	}
	switch parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1/"), "/"); {
	case parts[0] == "swap":
		m.swap(w, body)
	case parts[0] == "table" && len(parts) == 2:
		w.Write([]byte{0, 0, 0, 1})
	case parts[0] == "table" && parts[2] == "0":
		var id [32]byte
		hex.Decode(id[:], []byte(parts[1]))
		list := slices.Clone(m.table[id])
		slices.SortFunc(list, func(a, b credits.TableEntry) int { return bytes.Compare(a.Name[:], b.Name[:]) })
		w.Write(credits.AppendTable(nil, list))
	default:
		httpx.Problem(w, http.StatusNotFound, "credit.absent")
	}
}

func (m *mint) of(id [32]byte) *issue.Keys {
	for _, k := range m.keys {
		if k.Keyset().ID() == id {
			return k
		}
	}
	m.t.Error("an unknown keyset")
	return m.keys[0]
}

func (m *mint) swap(w http.ResponseWriter, body []byte) {
	s, err := credits.ParseSwap(body)
	if err != nil {
		m.t.Error("a swap that does not parse")
		httpx.Problem(w, http.StatusBadRequest, "header")
		return
	}
	if m.refuse == "cut" {
		panic(http.ErrAbortHandler)
	}
	digest := s.Digest()
	for _, p := range s.Paid {
		if d, ok := m.spent[p.ID()]; ok && d != digest {
			httpx.Problem(w, http.StatusConflict, "credit.spent")
			return
		}
		if !m.of(p.Keyset).Verify(p.Exponent, p.Nonce, p.MAC, func(o []byte) [32]byte { return credits.SwapMAC(o, digest) }) {
			m.t.Error("a MAC that does not verify")
		}
	}
	for _, p := range s.Paid {
		m.spent[p.ID()] = digest
	}
	var out []wire.Minted
	for _, x := range s.Wanted {
		els, proof, err := m.of(x.Keyset).Evaluate(x.Exponent, [][32]byte{x.Blinded})
		if err != nil {
			m.t.Error(err)
			return
		}
		minted := wire.Minted{Exponent: x.Exponent, Element: els[0], Proof: proof}
		out = append(out, minted)
		m.table[x.Keyset] = append(m.table[x.Keyset], credits.TableEntry{Name: credits.TableName(x.Blinded), Minted: minted})
	}
	if m.refuse == "lie" { // somebody on the way says that nothing was done
		httpx.Problem(w, http.StatusPaymentRequired, "credit.epoch")
		return
	}
	w.Write(credits.AppendMintedList(nil, out))
}

// TestRefusalThatWasMadeUp: a swap that had its effect, and of which somebody on the
// way said that it was refused, is found in the table.
func TestRefusalThatWasMadeUp(t *testing.T) {
	b := newTill(t, 1<<20, wire.TokenCoin)
	m := b.anonymous()
	b.create()
	has(t, b.sotto(cli.ExitOK, "", "wallet", "find").stdout, "found      0 orders")
	b.sotto(cli.ExitOK, "", "wallet", "policy", "--delay", "0", "--stock", "17=1")
	b.sotto(cli.ExitOK, "", "wallet", "buy", "131072", "--class", "16")
	m.refuse = "lie"
	b.sotto(cli.ExitOK, "", "wallet", "top")
	has(t, b.sotto(cli.ExitOK, "", "wallet", "status").stdout, "coin of 65536: 0 ready, 2 to be swapped")
	m.refuse = ""
	has(t, b.sotto(cli.ExitOK, "", "wallet", "find").stdout, "found      1 orders")
	has(t, b.sotto(cli.ExitOK, "", "wallet", "status").stdout, "coin of 131072: 1 ready")
	has(t, b.sotto(cli.ExitOK, "", "wallet", "find").stdout, "found      0 orders")
	b.sotto(cli.ExitUsage, "", "wallet", "find", "more")
}

// TestWalletIsFoundAgain: buy, lose the folder, find the coins by 24 words. The
// swaps that follow are cut once, and gone on with.
func TestWalletIsFoundAgain(t *testing.T) {
	b := newTill(t, 1<<20, wire.TokenCoin) // one keyset: the search is arithmetic, and takes its time
	b.patience = 5 * time.Minute
	m := b.anonymous()
	b.create()
	b.sotto(cli.ExitOK, "", "wallet", "policy", "--delay", "0") // coins that wait are not swapped
	b.sotto(cli.ExitOK, "", "wallet", "buy", "524288")
	b.must(os.Rename(b.pay.Wallet, b.pay.Wallet+"-lost"))
	words, err := os.ReadFile(b.words())
	b.must(err)
	m.refuse = "cut"
	r := b.sotto(cli.ExitBegun, strings.ToUpper(string(words)), "wallet", "restore")
	has(t, r.stderr, "found 8 coins", "entries read")
	m.refuse = ""
	has(t, b.sotto(cli.ExitOK, "", "wallet", "top").stdout, "balance    524288 units", "coin of 65536: 8 ready")
	id := m.keys[0].Keyset().ID()
	if !slices.Contains(m.paths, "/v1/table/"+hex.EncodeToString(id[:])+"/0") {
		t.Error("the table was not looked into")
	}
	t.Run("status counts the set", func(t *testing.T) {
		o := object(t, b.sotto(cli.ExitOK, "", "wallet", "status", "--set", "--json"))
		if row := o["coins"].([]any)[0].(map[string]any); row["set"] != 8.0 {
			t.Errorf("%v", row)
		}
	})
	t.Run("the lost copy has nothing", func(t *testing.T) {
		b.pay.Wallet += "-lost"
		b.sotto(cli.ExitOK, "", "wallet", "policy", "--stock", "17=1", "--delay", "0")
		// Its coins are swapped for the stock, and are spent.
		for range 3 {
			b.sotto(cli.ExitOK, "", "wallet", "top")
		}
		o := object(t, b.sotto(cli.ExitOK, "", "wallet", "status", "--json"))
		if o["lost"] == 0.0 {
			t.Errorf("%v", o)
		}
	})
}

// TestRedeem: coins become vouchers and go back onto the account, once.
func TestRedeem(t *testing.T) {
	b := newTill(t, 1<<20)
	m := b.anonymous()
	b.create()
	b.sotto(cli.ExitOK, "", "wallet", "buy", "524288")
	b.sotto(cli.ExitUsage, "", "wallet", "redeem", "65537")
	r := b.sotto(cli.ExitOK, "", "wallet", "redeem", "131072")
	has(t, r.stdout, "redeemed   131072 units", "balance    393216 units")
	has(t, b.sotto(cli.ExitOK, "", "wallet", "history", "--account").stdout, "redeem", "131072 units")
	if got := b.balance(); got != 1<<20-524288+131072 {
		t.Errorf("balance %d", got)
	}
	has(t, b.sotto(cli.ExitRefused, "", "wallet", "redeem", "1048576").err.Error(), "credit.funds")
	before := b.balance()
	t.Run("the swap's answer is lost", func(t *testing.T) {
		m.refuse = "cut"
		b.sotto(cli.ExitBegun, "", "wallet", "redeem", "65536")
		m.refuse = ""
		has(t, b.sotto(cli.ExitOK, "", "wallet", "top").stdout, "vouchers   65536 units")
	})
	t.Run("the redemption's answer is lost", func(t *testing.T) {
		b.lostRedeem.Store(true)
		b.sotto(cli.ExitBegun, "", "wallet", "redeem", "65536")
		b.lostRedeem.Store(false)
		b.sotto(cli.ExitOK, "", "wallet", "top")
	})
	o := object(t, b.sotto(cli.ExitOK, "", "wallet", "status", "--json"))
	if back := float64(b.balance() - before); o["vouchers"] != 0.0 || o["orders"] != 0.0 || o["balance"].(float64)+back+131072 != 524288 {
		t.Errorf("%v, %v came back", o, back)
	}
}

func (b *till) balance() uint64 {
	b.t.Helper()
	raw, err := os.ReadFile(b.pay.Account.Key)
	b.must(err)
	key, err := api.ParseKey(strings.TrimSpace(string(raw)))
	b.must(err)
	tc, err := httpx.TLS{CA: b.w.CA.File()}.Client("")
	b.must(err)
	c, err := apiclient.New(b.server.URL, key, httpx.NewTransport(tc))
	b.must(err)
	s, err := c.Account(b.t.Context())
	b.must(err)
	return s.Balance
}
