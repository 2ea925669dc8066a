// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"testing"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/oprf"
	"github.com/cloudflare/circl/zk/dleq"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/wire"
)

// alone is circl's prover over circl's group.
var alone = dleq.Prover{Params: dleq.Params{G: group.Ristretto255, H: prover.H, DST: prover.DST}}

func bytesOf(t testing.TB, m interface{ MarshalBinary() ([]byte, error) }) []byte {
	t.Helper()
	b, err := m.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// edges are scalars at the borders of what windows and carries do, and random ones.
func edges(n int) (list []group.Scalar) {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	for shift := range uint(253) {
		for _, d := range []int64{-1, 0, 1} {
			x := new(big.Int).Lsh(big.NewInt(1), shift)
			x.Add(x, big.NewInt(d)).Mod(x, order)
			list = append(list, group.Ristretto255.NewScalar().SetBigInt(x))
		}
	}
	for _, d := range []int64{1, 2, 15, 16, 17, 31, 32, 33} {
		list = append(list, group.Ristretto255.NewScalar().SetBigInt(new(big.Int).Sub(order, big.NewInt(d))))
	}
	for _, fill := range []byte{0x00, 0x0f, 0x10, 0x55, 0x84, 0xaa, 0xf0, 0xff} {
		x := new(big.Int).SetBytes(bytes.Repeat([]byte{fill}, 32))
		list = append(list, group.Ristretto255.NewScalar().SetBigInt(x.Mod(x, order)))
	}
	for range n {
		list = append(list, group.Ristretto255.RandomScalar(rand.Reader))
	}
	return list
}

// TestProductsAreCirclsProducts: in constant time, in variable time, from the
// table of the generator, and added up.
func TestProductsAreCirclsProducts(t *testing.T) {
	for i, s := range edges(50) {
		x := group.Ristretto255.HashToElement([]byte{byte(i), byte(i >> 8)}, []byte("SIMULATED"))
		own, ok := decode([32]byte(bytesOf(t, x)))
		if !ok {
			t.Fatal("not decoded")
		}
		want, wantBase := group.Ristretto255.NewElement().Mul(x, s), group.Ristretto255.NewElement().MulGen(s)
		sum := group.Ristretto255.NewElement().Add(want, x)
		for _, public := range []bool{false, true} {
			got := new(point).Mul(own, &scalar{s, public})
			if b, _ := got.MarshalBinaryCompress(); !bytes.Equal(b, bytesOf(t, want)) {
				t.Fatalf("scalar %d, public %v: another product", i, public)
			}
			if b, _ := new(point).Mul(curve{}.Generator(), &scalar{s, public}).MarshalBinaryCompress(); !bytes.Equal(b, bytesOf(t, wantBase)) {
				t.Fatalf("scalar %d, public %v: another product of the generator", i, public)
			}
			if b, _ := got.Add(got, own).MarshalBinaryCompress(); !bytes.Equal(b, bytesOf(t, sum)) {
				t.Fatalf("scalar %d, public %v: another sum, or an encoding that is out of date", i, public)
			}
		}
	}
	zero := curve{}.Identity()
	if b, _ := zero.Add(zero, curve{}.NewElement()).MarshalBinaryCompress(); !bytes.Equal(b, make([]byte, 32)) {
		t.Error("nothing and nothing is something")
	}
}

// TestWhatIsPublic: only what was hashed.
func TestWhatIsPublic(t *testing.T) {
	c := curve{}
	hashed := c.HashToScalar([]byte("x"), []byte("y")).(*scalar)
	drawn, fresh := c.RandomScalar(rand.Reader).(*scalar), c.NewScalar().(*scalar)
	if !hashed.public || drawn.public || fresh.public {
		t.Fatal("a random scalar counts as public, or a hash does not")
	}
	for _, s := range []*scalar{hashed, fresh} {
		s.public = true
		if s.Mul(s, drawn); s.public {
			t.Error("a product counts as public")
		}
		s.public = true
		if s.Sub(drawn, s); s.public {
			t.Error("a difference counts as public")
		}
	}
	k := keysFor(t)
	for e, p := range k.pairs {
		if p.secret.public {
			t.Errorf("the private key of exponent %d counts as public", e)
		}
	}
}

func keysFor(t testing.TB) *Keys {
	t.Helper()
	k, err := Generate(rand.Reader, credits.Keyset{Type: wire.TokenCoin, First: 1, Last: 10, SpendLast: 40}, []uint8{0, 6})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestProofsAreCirclsProofs: with the same randomness, byte for byte, whatever
// the size of the batch.
func TestProofsAreCirclsProofs(t *testing.T) {
	for i, k := range edges(20) {
		if i%50 != 0 && i < 750 || k.IsZero() {
			continue
		}
		public := group.Ristretto255.NewElement().MulGen(k)
		own, ok := decode([32]byte(bytesOf(t, public)))
		if !ok {
			t.Fatal("not decoded")
		}
		for _, n := range []int{1, 2, 3, 17} {
			var in, out, ownIn, ownOut []group.Element
			for j := range n {
				x := group.Ristretto255.HashToElement([]byte{byte(i), byte(n), byte(j)}, []byte("SIMULATED"))
				y, _ := decode([32]byte(bytesOf(t, x)))
				in, out = append(in, x), append(out, group.Ristretto255.NewElement().Mul(x, k))
				ownIn, ownOut = append(ownIn, y), append(ownOut, new(point).Mul(y, &scalar{Scalar: k}))
			}
			r := group.Ristretto255.RandomScalar(rand.Reader)
			want, err := alone.ProveBatchWithRandomnessRFC9497(k, public, in, out, r)
			if err != nil {
				t.Fatal(err)
			}
			got, err := prover.ProveBatchWithRandomnessRFC9497(&scalar{Scalar: k}, own, ownIn, ownOut, &scalar{Scalar: r})
			if err != nil || !bytes.Equal(bytesOf(t, got), bytesOf(t, want)) {
				t.Fatalf("key %d, %d blanks: another proof, %v", i, n, err)
			}
		}
	}
}

// TestRFC9497Proofs computes the proofs of RFC 9497, appendix A.1.2, with their
// published randomness.
func TestRFC9497Proofs(t *testing.T) {
	var v struct {
		Private string `json:"private_key"`
		Public  string `json:"public_key"`
		Vectors []struct {
			Blinded, Evaluation []string
			Proof               string
		}
	}
	b, err := os.ReadFile("../testdata/rfc9497.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	// ProofRandomScalar of the vectors, in order.
	random := []string{
		"222a5e897cf59db8145db8d16e597e8facb80ae7d4e26d9881aa6f61d645fc0e",
		"222a5e897cf59db8145db8d16e597e8facb80ae7d4e26d9881aa6f61d645fc0e",
		"419c4f4f5052c53c45f3da494d2b67b220d02118e0857cdbcf037f9ea84bbe0c",
	}
	if len(v.Vectors) != len(random) {
		t.Fatalf("%d vectors", len(v.Vectors))
	}
	k, public := scalarOf(t, v.Private), elementOf(t, v.Public)
	for i, x := range v.Vectors {
		var in, out []group.Element
		for j := range x.Blinded {
			in, out = append(in, elementOf(t, x.Blinded[j])), append(out, elementOf(t, x.Evaluation[j]))
			if b, _ := new(point).Mul(in[j], k).MarshalBinaryCompress(); hex.EncodeToString(b) != x.Evaluation[j] {
				t.Errorf("vector %d: evaluated to %x", i, b)
			}
		}
		p, err := prover.ProveBatchWithRandomnessRFC9497(k, public, in, out, scalarOf(t, random[i]))
		if err != nil || hex.EncodeToString(bytesOf(t, p)) != x.Proof {
			t.Errorf("vector %d: proof %x, %v", i, bytesOf(t, p), err)
		}
	}
}

func scalarOf(t *testing.T, s string) *scalar {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	x := group.Ristretto255.NewScalar()
	if err := x.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	return &scalar{Scalar: x}
}

func elementOf(t *testing.T, s string) *point {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	e, ok := decode([32]byte(b))
	if !ok {
		t.Fatal("not decoded")
	}
	return e
}

// TestEvaluationsAreWhatAClientFinishes: circl's client takes them, and has the
// output that circl's server computes.
func TestEvaluationsAreWhatAClientFinishes(t *testing.T) {
	k := keysFor(t)
	for _, n := range []int{1, 2, 64} {
		var inputs [][]byte
		for i := range n {
			inputs = append(inputs, credits.Input(k.set.ID(), [32]byte{byte(i), byte(n)}))
		}
		client := oprf.NewVerifiableClient(credits.Suite, k.private[6].Public())
		data, request, err := client.Blind(inputs)
		if err != nil {
			t.Fatal(err)
		}
		var blinded [][32]byte
		for _, e := range request.Elements {
			blinded = append(blinded, [32]byte(bytesOf(t, e)))
		}
		elements, proof, err := k.Evaluate(6, blinded)
		if err != nil {
			t.Fatal(err)
		}
		evaluation := &oprf.Evaluation{Proof: new(dleq.Proof)}
		for _, e := range elements {
			x, err := credits.ParseElement(e)
			if err != nil {
				t.Fatal(err)
			}
			evaluation.Elements = append(evaluation.Elements, x)
		}
		if err := credits.ParseProof(evaluation.Proof, proof); err != nil {
			t.Fatal(err)
		}
		outputs, err := client.Finalize(data, evaluation)
		if err != nil {
			t.Fatalf("%d blanks: %v", n, err)
		}
		for i := range outputs {
			if want, err := k.Output(6, [32]byte{byte(i), byte(n)}); err != nil || !bytes.Equal(outputs[i], want) {
				t.Errorf("%d blanks: another output of %d", n, i)
			}
		}
		other, _, _ := k.Evaluate(0, blinded)
		evaluation.Elements[0], _ = credits.ParseElement(other[0])
		if _, err := client.Finalize(data, evaluation); err == nil {
			t.Errorf("%d blanks: a proof of another key's evaluation", n)
		}
	}
	if _, _, err := k.Evaluate(6, nil); err != ErrElement {
		t.Errorf("nothing evaluated: %v", err)
	}
	if _, _, err := k.Evaluate(6, [][32]byte{{}}); err != ErrElement {
		t.Errorf("the identity evaluated: %v", err)
	}
}

// FuzzDecode: what is decoded here is what [credits.ParseElement] takes, and
// prints the same.
func FuzzDecode(f *testing.F) {
	for i := range 4 {
		b, _ := group.Ristretto255.HashToElement([]byte{byte(i)}, []byte("SIMULATED")).MarshalBinaryCompress()
		f.Add(b)
	}
	f.Add(make([]byte, 32))
	f.Add(bytes.Repeat([]byte{0xff}, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != 32 {
			return
		}
		e, ok := decode([32]byte(b))
		if ok != credits.Canonical([32]byte(b)) {
			t.Fatal("one takes it, the other does not")
		}
		if ok {
			if !bytes.Equal(e.p.Bytes(), b) || !bytes.Equal(e.enc, b) {
				t.Error("printed differently")
			}
		}
	})
}
