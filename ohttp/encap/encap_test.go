// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package encap_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/encap"
	"github.com/sotto-project/sotto/ohttp/gateway/decap"
)

// A pair is a key on both sides of the encapsulation.
type pair struct {
	priv  *recipient.PrivateKey
	conf  *ohttp.KeyConfig
	suite hpke.Suite
}

func newPair(t testing.TB, kem, aead uint16) pair {
	t.Helper()
	priv, err := recipient.GenerateKey(kem)
	if err != nil {
		t.Fatal(err)
	}
	return pair{priv,
		&ohttp.KeyConfig{ID: 5, Key: priv.PublicKey(), Algorithms: []ohttp.Algorithms{{KDF: 1, AEAD: aead}}},
		hpke.Suite{KEM: kem, KDF: 1, AEAD: aead}}
}

func (p pair) find(h ohttp.Header) (*recipient.PrivateKey, error) {
	if h.KeyID != p.conf.ID {
		return nil, ohttp.ErrKey
	}
	if h.Suite != p.suite {
		return nil, ohttp.ErrSuite
	}
	return p.priv, nil
}

func (p pair) open(b []byte, f ohttp.Form) (*decap.Request, []byte, error) {
	q, err := decap.Open(bytes.NewReader(b), f, 1<<20, p.find)
	if err != nil {
		return nil, nil, err
	}
	got, err := io.ReadAll(q)
	return q, got, err
}

// request seals parts with a Flush between them.
func (p pair) request(t testing.TB, parts ...string) ([]byte, *encap.Request) {
	t.Helper()
	var b bytes.Buffer
	r, err := encap.NewRequest(&b, p.conf, p.suite)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range parts {
		io.WriteString(r, s)
		if i < len(parts)-1 {
			r.Flush()
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), r
}

func answer(t testing.TB, q *decap.Request, parts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := q.Respond(&b)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range parts {
		io.WriteString(w, s)
		if i < len(parts)-1 {
			w.Flush()
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(r *encap.Request, b []byte) (string, error) {
	rd := r.Response(bytes.NewReader(b))
	defer rd.Close()
	got, err := io.ReadAll(rd)
	return string(got), err
}

// exchange seals a request of three chunks and an answer of three chunks.
func exchange(t testing.TB, p pair) (*encap.Request, *decap.Request, []byte, []byte) {
	t.Helper()
	req, r := p.request(t, "one", "two", "three")
	q, got, err := p.open(req, ohttp.Chunked)
	if err != nil || string(got) != "onetwothree" {
		t.Fatalf("request opens as %q, %v", got, err)
	}
	return r, q, req, answer(t, q, "uno", "due", "tre")
}

func TestRoundTrip(t *testing.T) {
	for _, kem := range []uint16{hpke.KEMX25519, hpke.KEMXWing} {
		for _, aead := range []uint16{1, 2, 3} {
			p := newPair(t, kem, aead)
			t.Run(p.suite.String(), func(t *testing.T) {
				r, _, _, ans := exchange(t, p)
				if got, err := read(r, ans); err != nil || got != "unoduetre" {
					t.Errorf("answer opens as %q, %v", got, err)
				}
				for _, n := range []int{0, 1, 16383, 16384, 16385, 50000} {
					b, _ := p.request(t, string(make([]byte, n)))
					if int64(len(b)) != encap.Size(p.suite, int64(n)) {
						t.Errorf("%d bytes seal to %d, Size says %d", n, len(b), encap.Size(p.suite, int64(n)))
					}
					q, got, err := p.open(b, ohttp.Chunked)
					if err != nil || len(got) != n {
						t.Fatalf("%d bytes: opened %d, %v", n, len(got), err)
					}
					_ = q
				}
				// RFC 9458 itself.
				enc, s, err := encap.Seal(p.conf, p.suite, []byte("whole"))
				if err != nil {
					t.Fatal(err)
				}
				q, got, err := p.open(enc, ohttp.Whole)
				if err != nil || string(got) != "whole" {
					t.Fatalf("opens as %q, %v", got, err)
				}
				sealed, err := q.SealWhole([]byte("answer"))
				if err != nil {
					t.Fatal(err)
				}
				if got, err := s.Open(sealed); err != nil || string(got) != "answer" {
					t.Errorf("answer opens as %q, %v", got, err)
				}
			})
		}
	}
}

func TestAnswerAttacks(t *testing.T) {
	p := newPair(t, hpke.KEMXWing, hpke.AEADAES256GCM)
	// An answer of three chunks is nonce (32), then 1+3+16 bytes each, then
	// the final one: the last data chunk, sealed as final.
	const nonce, chunk = 32, 1 + 3 + 16

	t.Run("CR-01", func(t *testing.T) {
		r, _, _, ans := exchange(t, p)
		for n := range len(ans) {
			got, err := read(r, ans[:n])
			if !errors.Is(err, encap.ErrTruncated) {
				t.Fatalf("cut at %d of %d: %v", n, len(ans), err)
			}
			if len(got) > 9 || !bytes.HasPrefix([]byte("unoduetre"), []byte(got)) || len(got) == 9 {
				t.Fatalf("cut at %d delivers %q", n, got)
			}
		}
		// An answer of one chunk too: it is sent as two.
		r, q, _, _ := exchange(t, p)
		short := answer(t, q, "short")
		for n := range len(short) {
			if _, err := read(r, short[:n]); !errors.Is(err, encap.ErrTruncated) {
				t.Fatalf("cut at %d of %d: %v", n, len(short), err)
			}
		}
	})
	t.Run("CR-02", func(t *testing.T) {
		r, _, _, ans := exchange(t, p)
		if got, err := read(r, ans[:nonce+2*chunk]); !errors.Is(err, encap.ErrTruncated) || got != "unodue" {
			t.Errorf("final chunk dropped: %q, %v", got, err)
		}
		dressed := bytes.Clone(ans[:nonce+2*chunk])
		dressed[nonce+chunk] = 0 // the second chunk's length
		if got, err := read(r, dressed); !errors.Is(err, encap.ErrTruncated) || got != "uno" {
			t.Errorf("last non-final chunk as final: %q, %v", got, err)
		}
	})
	t.Run("CR-03", func(t *testing.T) {
		r, q, _, _ := exchange(t, p)
		ans := answer(t, q, "aaa", "bbb", "ccc", "ddd", "eee")
		c := func(i int) []byte { return ans[nonce+i*chunk : nonce+(i+1)*chunk] }
		tail := ans[nonce+4*chunk:]
		join := func(parts ...[]byte) []byte { return append(bytes.Clone(ans[:nonce]), bytes.Join(parts, nil)...) }
		for name, forged := range map[string][]byte{
			"swap":        join(c(0), c(2), c(1), c(3), tail),
			"duplicate":   join(c(0), c(1), c(1), c(2), c(3), tail),
			"drop":        join(c(0), c(2), c(3), tail),
			"drop first":  join(c(1), c(2), c(3), tail),
			"final early": join(c(0), append([]byte{19}, tail[1:]...), c(2), tail),
		} {
			got, err := read(r, forged)
			if !errors.Is(err, encap.ErrRefused) {
				t.Errorf("%s: %v", name, err)
			}
			if want := map[string]string{"duplicate": "aaabbb", "drop first": ""}[name]; got != want && got != "aaa" {
				t.Errorf("%s delivers %q", name, got)
			}
		}
	})
	t.Run("CR-05", func(t *testing.T) {
		// Often: what lies where a length belongs is random.
		for range 50 {
			r, _, req, _ := exchange(t, p)
			if got, err := read(r, req); !errors.Is(err, encap.ErrRefused) || got != "" {
				t.Fatalf("own request as answer: %q, %v", got, err)
			}
			if got, err := read(r, req[7+1120:]); err == nil || got != "" {
				t.Fatalf("own chunks as answer: %q, %v", got, err)
			}
		}
	})
	t.Run("CR-06", func(t *testing.T) {
		_, _, _, other := exchange(t, p)
		r, q, _, _ := exchange(t, p)
		if got, err := read(r, other); !errors.Is(err, encap.ErrRefused) || got != "" {
			t.Errorf("another request's answer: %q, %v", got, err)
		}
		one, two := answer(t, q, "one", "x"), answer(t, q, "two", "y")
		if got, err := read(r, append(one[:nonce:nonce], two[nonce:]...)); !errors.Is(err, encap.ErrRefused) || got != "" {
			t.Errorf("two answers spliced at the nonce: %q, %v", got, err)
		}
		if bytes.Equal(one[:nonce], two[:nonce]) {
			t.Error("two answers share a nonce")
		}
		p2 := newPair(t, hpke.KEMXWing, hpke.AEADAES256GCM)
		_, _, _, foreign := exchange(t, p2)
		if got, err := read(r, foreign); !errors.Is(err, encap.ErrRefused) || got != "" {
			t.Errorf("another key's answer: %q, %v", got, err)
		}
	})
	t.Run("CR-07", func(t *testing.T) {
		r, _, _, ans := exchange(t, p)
		for n := range nonce {
			var code interface{ Code() string }
			_, err := read(r, ans[:n])
			if !errors.As(err, &code) || code.Code() != "stream.short" {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
		_, s, err := encap.Seal(p.conf, p.suite, []byte("m"))
		if err != nil {
			t.Fatal(err)
		}
		for n := range nonce + 16 {
			if _, err := s.Open(make([]byte, n)); !errors.Is(err, encap.ErrShort) {
				t.Errorf("whole answer of %d bytes: %v", n, err)
			}
		}
		if _, err := s.Open(make([]byte, nonce+16)); !errors.Is(err, encap.ErrRefused) || errors.Is(err, encap.ErrShort) {
			t.Errorf("whole answer of zeros: %v", err)
		}
	})
	t.Run("CR-08", func(t *testing.T) {
		r, _, _, _ := exchange(t, p)
		zero, _ := os.Open("/dev/zero")
		if zero == nil {
			t.Skip("no /dev/zero")
		}
		defer zero.Close()
		src := &counter{r: zero}
		if _, err := io.ReadAll(r.Response(src)); !errors.Is(err, encap.ErrRefused) || src.n > 1<<17 {
			t.Errorf("endless zeros: %v after %d bytes", err, src.n)
		}
	})
}

func TestRequestAttacks(t *testing.T) {
	p := newPair(t, hpke.KEMX25519, hpke.AEADAES256GCM)
	const head, chunk = 7 + 32, 1 + 3 + 16
	t.Run("CR-01", func(t *testing.T) {
		_, _, req, _ := exchange(t, p)
		for n := range len(req) {
			_, got, err := p.open(req[:n], ohttp.Chunked)
			if !errors.Is(err, ohttp.ErrTruncated) || len(got) >= 11 {
				t.Fatalf("cut at %d of %d: %q, %v", n, len(req), got, err)
			}
		}
	})
	t.Run("CR-02", func(t *testing.T) {
		_, _, req, _ := exchange(t, p)
		dressed := bytes.Clone(req[:head+2*chunk])
		dressed[head+chunk] = 0
		if _, _, err := p.open(dressed, ohttp.Chunked); !errors.Is(err, ohttp.ErrTruncated) {
			t.Errorf("last non-final chunk as final: %v", err)
		}
	})
	t.Run("CR-03", func(t *testing.T) {
		_, _, req, _ := exchange(t, p)
		c := func(i int) []byte { return req[head+i*chunk : head+(i+1)*chunk] }
		tail := req[head+2*chunk:]
		for name, forged := range map[string][]byte{
			"swap":      bytes.Join([][]byte{req[:head], c(1), c(0), tail}, nil),
			"duplicate": bytes.Join([][]byte{req[:head], c(0), c(0), c(1), tail}, nil),
			"drop":      bytes.Join([][]byte{req[:head], c(1), tail}, nil),
		} {
			if _, _, err := p.open(forged, ohttp.Chunked); !errors.Is(err, ohttp.ErrRefused) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("CR-09", func(t *testing.T) {
		_, _, req, _ := exchange(t, p)
		for at, to := range map[int]byte{2: 0x10, 4: 2, 6: 1} { // KEM, KDF, AEAD
			forged := bytes.Clone(req)
			forged[at] = to
			if _, _, err := p.open(forged, ohttp.Chunked); !errors.Is(err, ohttp.ErrSuite) {
				t.Errorf("suite byte %d changed: %v", at, err)
			}
		}
		if _, err := encap.NewRequest(io.Discard, p.conf, hpke.Suite{KEM: hpke.KEMX25519, KDF: 1, AEAD: 1}); !errors.Is(err, encap.ErrSuite) {
			t.Errorf("sealed with a suite that the key does not list: %v", err)
		}
		if _, _, err := encap.Seal(p.conf, hpke.Suite{}, nil); !errors.Is(err, encap.ErrSuite) {
			t.Errorf("sealed with the zero suite: %v", err)
		}
	})
	t.Run("CR-31", func(t *testing.T) {
		// Sealed as one media type, announced as the other.
		_, _, req, _ := exchange(t, p)
		if _, _, err := p.open(req, ohttp.Whole); !errors.Is(err, ohttp.ErrRefused) {
			t.Errorf("chunked as whole: %v", err)
		}
		enc, _, err := encap.Seal(p.conf, p.suite, []byte("whole message"))
		if err != nil {
			t.Fatal(err)
		}
		if _, got, err := p.open(enc, ohttp.Chunked); err == nil || len(got) > 0 {
			t.Errorf("whole as chunked: %q, %v", got, err)
		}
		asFinal := append(append(bytes.Clone(enc[:head]), 0), enc[head:]...)
		if _, got, err := p.open(asFinal, ohttp.Chunked); !errors.Is(err, ohttp.ErrRefused) || len(got) > 0 {
			t.Errorf("whole as final chunk: %q, %v", got, err)
		}
	})
	t.Run("every flipped bit is refused", func(t *testing.T) {
		_, _, req, _ := exchange(t, p)
		for i := range len(req) * 8 {
			forged := bytes.Clone(req)
			forged[i/8] ^= 1 << (i % 8)
			if _, got, err := p.open(forged, ohttp.Chunked); err == nil {
				t.Fatalf("bit %d of byte %d: opened as %q", i%8, i/8, got)
			}
		}
	})
	t.Run("a whole message has a bound", func(t *testing.T) {
		enc, _, err := encap.Seal(p.conf, p.suite, make([]byte, 1000))
		if err != nil {
			t.Fatal(err)
		}
		for max, ok := range map[int]bool{1015: false, 1016: true} {
			_, err := decap.Open(bytes.NewReader(enc), ohttp.Whole, max, p.find)
			if (err == nil) != ok {
				t.Errorf("bound %d: %v", max, err)
			}
		}
	})
}

func TestAbortedRequestIsCut(t *testing.T) {
	p := newPair(t, hpke.KEMX25519, hpke.AEADAES256GCM)
	var b bytes.Buffer
	r, err := encap.NewRequest(&b, p.conf, p.suite)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(r, "half")
	r.Flush()
	r.Abort()
	if _, err := r.Write([]byte("x")); err == nil {
		t.Error("wrote after Abort")
	}
	if _, got, err := p.open(b.Bytes(), ohttp.Chunked); !errors.Is(err, ohttp.ErrTruncated) || string(got) != "half" {
		t.Errorf("opens as %q, %v", got, err)
	}
}

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
