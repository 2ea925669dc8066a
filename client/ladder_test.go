// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/hpke/sender"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/bhttp"
	"github.com/sotto-project/sotto/ohttp/gateway/decap"
	"github.com/sotto-project/sotto/transparency/statement"
)

// maxTested is the largest body that is sealed, in bytes: the ladder is made of
// the same functions above.
const maxTested = 300_000

// An operator holds every private key of a made-up world, and so can measure
// what each layer of a request holds.
type operator struct {
	gateway *recipient.PrivateKey
	config  *ohttp.KeyConfig
	suite   hpke.Suite
	nodes   []*recipient.PrivateKey
	to      []sender.Candidate
}

func newOperator(t testing.TB, kem uint16) *operator {
	t.Helper()
	o := &operator{}
	var err error
	if o.gateway, err = recipient.GenerateKey(kem); err != nil {
		t.Fatal(err)
	}
	o.config = &ohttp.KeyConfig{ID: 7, Key: o.gateway.PublicKey(), Algorithms: ohttp.OfferedAlgorithms()}
	if o.suite, err = o.config.Suite(); err != nil {
		t.Fatal(err)
	}
	for i := range hpke.MaxCandidates {
		k, err := recipient.GenerateKey(hpke.NodeSuite.KEM)
		if err != nil {
			t.Fatal(err)
		}
		o.nodes = append(o.nodes, k)
		o.to = append(o.to, sender.Candidate{NodeID: [32]byte{byte(i + 1)}, Key: k.PublicKey()})
	}
	return o
}

// seal makes the whole encapsulated request of c, as the client does.
func (o *operator) seal(t testing.TB, k int, c *call) ([]byte, error) {
	t.Helper()
	sealed, err := sender.Seal(sender.Params{Epoch: 5, MediaType: hpke.MediaBinaryHTTP, Policy: hpke.PolicyFrames, Candidates: o.to[:k]})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{statement: &statement.Statement{Epoch: 5}, gateway: o.config, suite: o.suite, shape: newShape(o.suite, k)}
	var out bytes.Buffer
	_, err = encapsulate(&out, w, &parcel{world: w, call: c, sealed: sealed})
	return out.Bytes(), err
}

// layers are the sizes that each party sees.
type layers struct {
	relay int64
	step
	body []byte // what the engine gets
}

// open opens every layer, as the last of k candidates.
func (o *operator) open(t testing.TB, k int, b []byte) (l layers) {
	t.Helper()
	fail := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	l.relay = int64(len(b))
	opened, err := decap.Open(bytes.NewReader(b), ohttp.Chunked, 0, func(ohttp.Header) (*recipient.PrivateKey, error) { return o.gateway, nil })
	fail(err)
	message, err := io.ReadAll(opened)
	fail(err)
	l.message = int64(len(message))
	outer := bhttp.NewReader(bytes.NewReader(message), bhttp.Limits{})
	_, err = outer.ReadRequest()
	fail(err)
	content, err := io.ReadAll(outer.Body())
	fail(err)
	l.content = int64(len(content))
	_, err = wire.ParseRoutingBlock(content[:wire.RoutingBlockSize])
	fail(err)
	rest := bytes.NewReader(content[wire.RoutingBlockSize:])
	header, err := hpke.ReadHeader(rest)
	fail(err)
	req, err := recipient.Open(header.Forward(k-1), o.nodes[k-1])
	fail(err)
	plain, err := io.ReadAll(req.Body(rest))
	fail(err)
	l.plain = int64(len(plain))
	inner := bhttp.NewReader(bytes.NewReader(plain), bhttp.Limits{})
	_, err = inner.ReadRequest()
	fail(err)
	l.body, err = io.ReadAll(inner.Body())
	fail(err)
	return l
}

func bodyCall(n int) *call {
	return &call{head: canonicalHead("/v1/chat/completions", ""), whole: bytes.Repeat([]byte{'x'}, n)}
}

// innerSize is the inner message around a body of n bytes. It is counted apart
// from the code under test.
func innerSize(t testing.TB, n int64) int64 {
	var b bytes.Buffer
	w, err := bhttp.NewRequestWriter(&b, canonicalHead("/v1/chat/completions", ""))
	if err != nil || w.Flush() != nil {
		t.Fatal(err)
	}
	size := int64(b.Len()) + 2
	for ; n > 0; n -= min(n, contentChunk) {
		chunk := min(n, contentChunk)
		prefix := int64(4)
		if chunk < 64 {
			prefix = 1
		} else if chunk < 16384 {
			prefix = 2
		}
		size += prefix + chunk
	}
	return size
}

// edges lists body sizes: 0, 1, and each last one of a rung with its neighbours.
func edges(t testing.TB, s *shape) []int {
	sizes := []int{0, 1, 2, 100, contentChunk - 1, contentChunk, contentChunk + 1, contentChunk + 63, contentChunk + 64, maxTested}
	for n := int64(0); n <= maxTested; {
		rung, ok := s.rung(innerSize(t, n))
		if !ok {
			t.Fatalf("no rung for a body of %d bytes", n)
		}
		last := largest(2*maxTested, func(n int64) int64 {
			if innerSize(t, n) <= rung.plain {
				return 0
			}
			return 4 * maxTested
		})
		if last > maxTested {
			break
		}
		sizes = append(sizes, int(last)-1, int(last), int(last)+1, int(last)+2)
		n = last + 1
	}
	slices.Sort(sizes)
	return slices.DeleteFunc(slices.Compact(sizes), func(n int) bool { return n < 0 })
}

func TestLadder(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: nothing here happens at the same time; the race detector learns nothing new")
	}
	t.Run("TA-04", func(t *testing.T) {
		for name, kem := range map[string]uint16{"X-Wing": hpke.KEMXWing, "X25519": hpke.KEMX25519} {
			o := newOperator(t, kem)
			for k := 1; k <= hpke.MaxCandidates; k++ {
				t.Run(fmt.Sprintf("%s, %d candidates", name, k), func(t *testing.T) { testRungs(t, o, k) })
			}
		}
	})
}

func testRungs(t *testing.T, o *operator, k int) {
	s := newShape(o.suite, k)
	seen := map[int64]step{}   // by what the relay sees
	bodies := map[int64]int{}  // the largest body on each
	lowest := int64(1<<62 - 1) // smallest size for the next larger body
	sizes := edges(t, s)
	for i := len(sizes) - 1; i >= 0; i-- {
		n := sizes[i]
		b, err := o.seal(t, k, bodyCall(n))
		if err != nil {
			t.Fatalf("body of %d bytes: %v", n, err)
		}
		want, ok := s.rung(innerSize(t, int64(n)))
		if size := int64(len(b)); !ok || size != s.encap(want.message) {
			t.Errorf("body of %d bytes: %d encapsulated, its rung says %d", n, size, s.encap(want.message))
		} else if size > lowest {
			t.Errorf("body of %d bytes: %d encapsulated, more than a larger body", n, size)
		} else {
			lowest = size
			bodies[size] = max(bodies[size], n)
		}
		got := o.open(t, k, b)
		if got.step != want || len(got.body) != n {
			t.Errorf("body of %d bytes: layers %+v, rung %+v, %d bytes arrive", n, got.step, want, len(got.body))
		}
		if first, ok := seen[got.relay]; ok && first != got.step {
			t.Errorf("body of %d bytes: layers %+v and %+v behind one size", n, got.step, first)
		}
		seen[got.relay] = got.step
	}
	// What is seen are the steps and nothing else: each a gap of at most one chunk's
	// overhead below, and none of them twice.
	used := slices.Sorted(maps.Keys(seen))
	for i, size := range used {
		at, _ := slices.BinarySearch(steps, size)
		if at == len(steps) || steps[at]-size > 32 || i > 0 && used[i-1] > steps[at-1] {
			t.Errorf("sizes %v are not the ladder's %v", used, steps[:12])
			break
		}
	}
	if len(used) < 5 {
		t.Errorf("only rungs %v were tried", used)
	}
	// The last body of a rung is the last: one byte more climbs.
	for i, size := range used[:len(used)-1] {
		b, err := o.seal(t, k, bodyCall(bodies[size]+1))
		if err != nil || int64(len(b)) != used[i+1] {
			t.Errorf("one byte more than the last of rung %d: %d, %v", size, len(b), err)
		}
	}
}

// TestLadderEnds: the sizes above the tested ones, by the functions that the
// test above holds to the bytes, and the refusal behind the last.
func TestLadderEnds(t *testing.T) {
	for _, kem := range []uint16{hpke.KEMXWing, hpke.KEMX25519} {
		suite := hpke.Suite{KEM: kem, KDF: hpke.KDFHKDFSHA256, AEAD: hpke.AEADAES256GCM}
		s := newShape(suite, 3)
		last := int64(0)
		for rungs := 0; ; rungs++ {
			r, ok := s.rung(last + 1)
			if !ok {
				if top := steps[len(steps)-1]; rungs != len(steps) || last < top-top/100 {
					t.Errorf("%d rungs, the last for %d bytes", rungs, last)
				}
				break
			}
			if r.plain <= last || s.outer(r.content) > r.message || s.sealed(r.plain) != r.content || s.sealed(r.plain+1) <= r.content {
				t.Fatalf("rung %+v behind %d", r, last)
			}
			last = r.plain
		}
	}
	if steps[0] != 8192 || steps[1] != 12288 || steps[len(steps)-1] > MaxStep || steps[len(steps)-1]*3/2 <= MaxStep {
		t.Errorf("steps %v", steps)
	}
	o := newOperator(t, hpke.KEMX25519)
	// Streamed, so that the body itself is not held.
	huge := &call{head: canonicalHead("/v1/completions", ""), model: "m", rest: io.MultiReader(
		strings.NewReader(`{"model":"m","prompt":"`), io.LimitReader(spaces{}, steps[len(steps)-1]), strings.NewReader(`"}`))}
	_, err := o.seal(t, 1, huge)
	var own *Error
	if !errors.As(err, &own) || own.Code != CodeTooLarge {
		t.Errorf("a body over the ladder: %v", err)
	}
}

type spaces struct{}

func (spaces) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// TestStreamedIsSealedAlike: whether a body was held or streamed hangs on the
// application's spelling, and must not show in what the node gets.
func TestStreamedIsSealedAlike(t *testing.T) {
	o := newOperator(t, hpke.KEMXWing)
	for _, n := range []int{1, contentChunk - 30, contentChunk, 100_000} {
		body := []byte(`{"model":"m","prompt":"` + strings.Repeat("é", n/2) + `"}`)
		var plains []layers
		for _, c := range []*call{{whole: body}, {model: "m", rest: respelled(body)}} {
			c.head = canonicalHead("/v1/completions", "")
			b, err := o.seal(t, 3, c)
			if err != nil {
				t.Fatal(err)
			}
			plains = append(plains, o.open(t, 3, b))
		}
		if plains[0].step != plains[1].step || plains[0].relay != plains[1].relay || !bytes.Equal(plains[0].body, plains[1].body) || !bytes.Equal(plains[0].body, body) {
			t.Errorf("%d bytes: held %+v, streamed %+v", n, plains[0].step, plains[1].step)
		}
	}
}

// respelled spells a body with more white space, in small reads.
func respelled(body []byte) io.Reader {
	spaced := bytes.Replace(body, []byte(":"), []byte(" \n:\t "), 2)
	return iotest.HalfReader(bytes.NewReader(append(spaced, " \r\n"...)))
}
