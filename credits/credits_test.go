package credits_test

import (
	"crypto/rand"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

func TestRound(t *testing.T) {
	keys, err := issue.Generate(rand.Reader, credits.Keyset{Type: wire.TokenCoin, First: 1, Last: 10, SpendLast: 40}, []uint8{0, 6, 10})
	if err != nil {
		t.Fatal(err)
	}
	set, err := credits.ParseKeyset(keys.Keyset().Append(nil))
	if err != nil || set.ID() != keys.Keyset().ID() {
		t.Fatal(err)
	}
	seed := redact.New(make([]byte, 32))
	var blanks []*blind.Blank
	var els [][32]byte
	for i := range 3 {
		b, err := blind.At(seed, set.ID(), 0, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		blanks = append(blanks, b)
		els = append(els, b.Element)
	}
	ev, proof, err := keys.Evaluate(10, els)
	if err != nil {
		t.Fatal(err)
	}
	coins, err := blind.Finish(blanks, set, 10, ev, proof)
	if err != nil {
		t.Fatal(err)
	}
	var s wire.Spend
	coins[1].Pay(&s, wire.TokenCoin, [32]byte{1}, 7)
	if !keys.Verify(10, s.Nonce, s.MAC, func(o []byte) [32]byte { return credits.SpendMAC(o, [32]byte{1}, 7, &s) }) {
		t.Fatal("mac")
	}
	if _, err := blind.Finish(blanks, set, 6, ev, proof); err != blind.ErrKey {
		t.Fatal(err)
	}
}

func BenchmarkOutput(b *testing.B) {
	keys, _ := issue.Generate(rand.Reader, credits.Keyset{Type: wire.TokenCoin, First: 1, Last: 10, SpendLast: 40}, []uint8{0, 6, 10})
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			keys.Output(10, [32]byte{1})
		}
	})
}
func BenchmarkEvaluate(b *testing.B) {
	keys, _ := issue.Generate(rand.Reader, credits.Keyset{Type: wire.TokenCoin, First: 1, Last: 10, SpendLast: 40}, []uint8{0, 6, 10})
	x, _ := blind.At(redact.New(make([]byte, 32)), keys.Keyset().ID(), 0, 1)
	for b.Loop() {
		keys.Evaluate(10, [][32]byte{x.Element})
	}
}
