// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package credits_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/cloudflare/circl/oprf"
	"github.com/cloudflare/circl/zk/dleq"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

func load(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) == 0 {
		t.Fatalf("vector %q: %v", s, err)
	}
	return b
}

// TestRFC9497 computes the vectors of RFC 9497, appendix A.1.2, with the suite
// that coins are made with, through this package's own decoding.
func TestRFC9497(t *testing.T) {
	var v struct {
		Private string `json:"private_key"`
		Public  string `json:"public_key"`
		Vectors []struct {
			Input, Blind, Blinded, Evaluation, Output []string
			Proof                                     string
		}
	}
	load(t, "testdata/rfc9497.json", &v)
	private := new(oprf.PrivateKey)
	if err := private.UnmarshalBinary(credits.Suite, unhex(t, v.Private)); err != nil {
		t.Fatal(err)
	}
	if b, err := private.Public().MarshalBinary(); err != nil || hex.EncodeToString(b) != v.Public {
		t.Fatalf("public key %x, %v", b, err)
	}
	if len(v.Vectors) != 3 {
		t.Fatalf("%d vectors", len(v.Vectors))
	}
	for i, x := range v.Vectors {
		var inputs [][]byte
		var blinds []oprf.Blind
		evaluation := &oprf.Evaluation{Proof: new(dleq.Proof)}
		for j := range x.Input {
			inputs = append(inputs, unhex(t, x.Input[j]))
			s := credits.Suite.Group().NewScalar()
			if err := s.UnmarshalBinary(unhex(t, x.Blind[j])); err != nil {
				t.Fatal(err)
			}
			blinds = append(blinds, s)
			e, err := credits.ParseElement([32]byte(unhex(t, x.Evaluation[j])))
			if err != nil {
				t.Fatal(err)
			}
			evaluation.Elements = append(evaluation.Elements, e)
		}
		if err := credits.ParseProof(evaluation.Proof, [64]byte(unhex(t, x.Proof))); err != nil {
			t.Fatal(err)
		}
		client := oprf.NewVerifiableClient(credits.Suite, private.Public())
		data, request, err := client.DeterministicBlind(inputs, blinds)
		if err != nil {
			t.Fatal(err)
		}
		outputs, err := client.Finalize(data, evaluation)
		if err != nil {
			t.Fatalf("vector %d: %v", i, err)
		}
		for j := range inputs {
			if b, _ := request.Elements[j].MarshalBinaryCompress(); hex.EncodeToString(b) != x.Blinded[j] {
				t.Errorf("vector %d: blinded %x", i, b)
			}
			whole, err := oprf.NewVerifiableServer(credits.Suite, private).FullEvaluate(inputs[j])
			if hex.EncodeToString(outputs[j]) != x.Output[j] || err != nil || !bytes.Equal(whole, outputs[j]) {
				t.Errorf("vector %d: output %x", i, outputs[j])
			}
		}
	}
}

// TestVectors computes every published value of docs/spec/coins.md.
func TestVectors(t *testing.T) {
	var v struct {
		Seed      string
		Private   []string `json:"private_keys"`
		Exponents []uint
		Keyset    struct {
			First, Last uint64
			SpendLast   uint64 `json:"spend_last"`
			Bytes, ID   string
		}
		Entitlement struct{ Bytes, ID string }
		Generation  uint32
		Index       uint64
		Blanks      []struct {
			Nonce, Blind, Blinded string
			TableName             string `json:"table_name"`
		}
		Exponent   uint8
		Evaluation []string
		Proof      string
		Output     []string
		CoinID     string `json:"coin_id"`
		Header     string `json:"header_hash"`
		Epoch      uint64
		Tier       uint8
		SpendMAC   string `json:"spend_mac"`
		Swap       string
		SwapMAC    string `json:"swap_mac"`
	}
	load(t, "testdata/coins.json", &v)
	same := func(what string, b []byte, want string) {
		t.Helper()
		if got := hex.EncodeToString(b); got != want || want == "" {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	set, err := credits.ParseKeyset(unhex(t, v.Keyset.Bytes))
	if err != nil {
		t.Fatal(err)
	}
	id := set.ID()
	same("keyset id", id[:], v.Keyset.ID)
	if set.First != v.Keyset.First || set.Last != v.Keyset.Last || set.SpendLast != v.Keyset.SpendLast || len(set.Keys) != len(v.Exponents) {
		t.Fatalf("keyset %+v", set)
	}
	ent, err := credits.ParseKeyset(unhex(t, v.Entitlement.Bytes))
	if err != nil {
		t.Fatal(err)
	}
	eid := ent.ID()
	same("entitlement id", eid[:], v.Entitlement.ID)

	// The bank's side: the private keys belong to the keyset, and give the same outputs.
	var scalars []byte
	for _, p := range v.Private {
		scalars = append(scalars, unhex(t, p)...)
	}
	keys, err := issue.ParseKeys(fmt.Appendf(nil, "sotto-coin-keys-v1:%s:%s:%s\n", v.Keyset.ID,
		base64.StdEncoding.EncodeToString(unhex(t, v.Keyset.Bytes)), base64.StdEncoding.EncodeToString(scalars)))
	if err != nil {
		t.Fatal(err)
	}

	var blanks []*blind.Blank
	for i, x := range v.Blanks {
		b, err := blind.At(redact.New(unhex(t, v.Seed)), id, v.Generation, v.Index+uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		same("nonce", b.Nonce[:], x.Nonce)
		same("blinded", b.Element[:], x.Blinded)
		name := credits.TableName(b.Element)
		same("table name", name[:], x.TableName)
		blanks = append(blanks, b)
	}
	elements := [][32]byte{[32]byte(unhex(t, v.Evaluation[0])), [32]byte(unhex(t, v.Evaluation[1]))}
	coins, err := blind.Finish(blanks[:2], set, v.Exponent, elements, [64]byte(unhex(t, v.Proof)))
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range coins {
		same("output", c.Output.Bytes(), v.Output[i])
		out, err := keys.Output(v.Exponent, c.Nonce)
		if err != nil {
			t.Fatal(err)
		}
		same("the bank's output", out, v.Output[i])
	}
	again, _, err := keys.Evaluate(v.Exponent, [][32]byte{blanks[0].Element, blanks[1].Element})
	if err != nil || again[0] != elements[0] || again[1] != elements[1] {
		t.Errorf("evaluation %x, %v", again, err)
	}
	cid := credits.CoinID(id, v.Exponent, coins[0].Nonce)
	same("coin id", cid[:], v.CoinID)

	s := wire.Spend{Tier: v.Tier}
	for i := range s.Blanks {
		s.Blanks[i] = blanks[2+i].Element
	}
	coins[0].Pay(&s, wire.TokenCoin, [32]byte(unhex(t, v.Header)), v.Epoch)
	same("spend MAC", s.MAC[:], v.SpendMAC)

	swap := &credits.Swap{Epoch: v.Epoch}
	for _, b := range blanks[2:4] {
		swap.Wanted = append(swap.Wanted, credits.Wanted{Type: wire.TokenCoin, Keyset: id, Exponent: 6, Blinded: b.Element})
	}
	mac := credits.SwapMAC(coins[0].Output.Bytes(), swap.Digest())
	same("swap MAC", mac[:], v.SwapMAC)
	swap.Paid = []credits.Paid{{Keyset: id, Exponent: v.Exponent, Nonce: coins[0].Nonce, MAC: mac}}
	same("swap", swap.Append(nil), v.Swap)
}
