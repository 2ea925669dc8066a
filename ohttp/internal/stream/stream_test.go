// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/ohttp"
)

var aes256 = hpke.Suite{KEM: hpke.KEMX25519, KDF: hpke.KDFHKDFSHA256, AEAD: hpke.AEADAES256GCM}

func testKeys(t testing.TB, s hpke.Suite) *ResponseKeys {
	t.Helper()
	k, err := NewResponseKeys(s, make([]byte, NonceSize(s)), []byte("enc"), make([]byte, NonceSize(s)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

// sealAll writes parts with a Flush after each but the last.
func sealAll(t testing.TB, k *ResponseKeys, split bool, parts ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out, []byte("preface"), split, k.Seal)
	for i, p := range parts {
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		if i < len(parts)-1 {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func openAll(k *ResponseKeys, src io.Reader) ([]byte, error) {
	r := NewReader(src)
	if _, err := r.Preface(7); err != nil {
		return nil, err
	}
	r.Start(k.Open)
	return io.ReadAll(r)
}

func TestResponseVector(t *testing.T) {
	raw, err := os.ReadFile("../../testdata/chunked-ohttp-draft-08.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Vectors []struct {
			Enc, ResponseNonce, Secret, AEADKey, AEADNonce, EncapsulatedResponse string
			ResponseChunks                                                       []struct {
				Plaintext, ChunkNonce, Ciphertext string
				Final                             bool
			}
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if len(doc.Vectors) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range doc.Vectors {
		s := hpke.Suite{KEM: hpke.KEMX25519, KDF: 1, AEAD: hpke.AEADAES128GCM}
		derive := func() *ResponseKeys {
			k, err := NewResponseKeys(s, unhex(v.Secret), unhex(v.Enc), unhex(v.ResponseNonce))
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		k := derive()
		if !bytes.Equal(k.nonce[:], unhex(v.AEADNonce)) {
			t.Fatalf("base nonce %x, want %s", k.nonce, v.AEADNonce)
		}
		for i, c := range v.ResponseChunks {
			if n, err := k.next(); err != nil || !bytes.Equal(n, unhex(c.ChunkNonce)) {
				t.Errorf("nonce of chunk %d is %x, want %s", i, n, c.ChunkNonce)
			}
		}

		var out bytes.Buffer
		w := NewWriter(&out, unhex(v.ResponseNonce), false, derive().Seal)
		for i, c := range v.ResponseChunks {
			w.Write(unhex(c.Plaintext))
			if i < len(v.ResponseChunks)-1 {
				w.Flush()
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(out.Bytes()); got != v.EncapsulatedResponse {
			t.Errorf("sealed %s\nwant   %s", got, v.EncapsulatedResponse)
		}

		r := NewReader(bytes.NewReader(unhex(v.EncapsulatedResponse)))
		if n, err := r.Preface(16); err != nil || !bytes.Equal(n, unhex(v.ResponseNonce)) {
			t.Fatalf("preface %x, %v", n, err)
		}
		r.Start(derive().Open)
		if got, err := io.ReadAll(r); err != nil || hex.EncodeToString(got) != "0140c8" {
			t.Errorf("opened %x, %v", got, err)
		}
	}
}

func TestRoundTripAtEveryBoundary(t *testing.T) {
	chacha := aes256
	chacha.AEAD = hpke.AEADChaCha20Poly1305
	for _, s := range []hpke.Suite{aes256, chacha} {
		for _, n := range []int{0, 1, 62, 63, 64, smallBuffer - 40, smallBuffer, maxChunk - 1, maxChunk, maxChunk + 1,
			3*maxChunk - 1, 3 * maxChunk, 3*maxChunk + 1, 4 * maxChunk, 10*maxChunk + 5} {
			want := pattern(n)
			sealed := sealAll(t, testKeys(t, s), false, want)
			if got := int64(len(sealed)) - 7; got != Size(int64(n)) {
				t.Errorf("%d bytes became %d, Size says %d", n, got, Size(int64(n)))
			}
			for name, src := range map[string]io.Reader{
				"whole":    bytes.NewReader(sealed),
				"by byte":  iotest.OneByteReader(bytes.NewReader(sealed)),
				"data err": iotest.DataErrReader(bytes.NewReader(sealed)),
				"half":     iotest.HalfReader(bytes.NewReader(sealed)),
			} {
				if n > 4*maxChunk && name == "by byte" {
					continue
				}
				if got, err := openAll(testKeys(t, s), src); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s, %d bytes: opened %d, %v", name, n, len(got), err)
				}
			}
			split := sealAll(t, testKeys(t, s), true, want)
			if got, err := openAll(testKeys(t, s), bytes.NewReader(split)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("split, %d bytes: opened %d, %v", n, len(got), err)
			}
		}
	}
}

func TestWritesOfManySizes(t *testing.T) {
	for _, step := range []int{1, 100, 4096, 16383, 16384, 16385, 40000} {
		want := pattern(100000)
		var out bytes.Buffer
		k := testKeys(t, aes256)
		w := NewWriter(&out, []byte("preface"), false, k.Seal)
		for rest := want; len(rest) > 0; {
			n := min(step, len(rest))
			if m, err := w.Write(rest[:n]); m != n || err != nil {
				t.Fatal(m, err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if int64(out.Len()-7) != Size(100000) {
			t.Errorf("step %d: the borders of chunks depend on the writes", step)
		}
		if got, err := openAll(testKeys(t, aes256), &out); err != nil || !bytes.Equal(got, want) {
			t.Errorf("step %d: opened %d bytes, %v", step, len(got), err)
		}
	}
}

func TestVarints(t *testing.T) {
	t.Run("CR-20", func(t *testing.T) {
		k := testKeys(t, aes256)
		c0, _ := k.Seal(nil, append(make([]byte, 0, 64), "hello"...)) // 21 bytes
		c1, _ := k.Seal(finalAAD, append(make([]byte, 0, 64), "world"...))
		long := func(form int, v uint64) []byte {
			b := binary.BigEndian.AppendUint64(nil, v)
			b = b[8-1<<form:]
			b[0] |= byte(form) << 6
			return b
		}
		for form := range 4 {
			for end := range 4 {
				msg := append([]byte("preface"), long(form, uint64(len(c0)))...)
				msg = append(msg, c0...)
				msg = append(append(msg, long(end, 0)...), c1...)
				got, err := openAll(testKeys(t, aes256), bytes.NewReader(msg))
				if err != nil || string(got) != "helloworld" {
					t.Errorf("length in form %d, zero in form %d: %q, %v", form, end, got, err)
				}
			}
			// A length that is cut is an early end, whatever its form.
			cutAt := append([]byte("preface"), long(form, uint64(len(c0)))...)
			for n := 8; n < len(cutAt); n++ {
				if _, err := openAll(testKeys(t, aes256), bytes.NewReader(cutAt[:n])); !errors.Is(err, ohttp.ErrTruncated) {
					t.Errorf("form %d cut: %v", form, err)
				}
			}
		}
		for _, v := range []uint64{1, tagSize - 1, tagSize, maxSeal + 1, 1 << 30, 1<<62 - 1} {
			msg := append(append([]byte("preface"), long(3, v)...), make([]byte, 100)...)
			if _, err := openAll(testKeys(t, aes256), bytes.NewReader(msg)); !errors.Is(err, ohttp.ErrRefused) {
				t.Errorf("length %d: %v", v, err)
			}
		}
	})
}

func TestEmptyChunkIsRefused(t *testing.T) {
	k := testKeys(t, aes256)
	empty, _ := k.Seal(nil, make([]byte, 0, 16))
	msg := append([]byte("preface\x10"), empty...)
	msg = append(msg, 0)
	last, _ := k.Seal(finalAAD, make([]byte, 0, 16))
	if _, err := openAll(testKeys(t, aes256), bytes.NewReader(append(msg, last...))); !errors.Is(err, ohttp.ErrRefused) {
		t.Errorf("an empty chunk that is not the last: %v", err)
	}
}

func TestEndlessFinalChunkIsBounded(t *testing.T) {
	t.Run("CR-08", func(t *testing.T) {
		src := &counting{r: io.MultiReader(bytes.NewReader([]byte("preface\x00")), zeros{})}
		if _, err := openAll(testKeys(t, aes256), src); !errors.Is(err, ohttp.ErrRefused) {
			t.Errorf("endless final chunk: %v", err)
		}
		if src.n > 2*largeBuffer {
			t.Errorf("read %d bytes of it", src.n)
		}
	})
}

func TestLimit(t *testing.T) {
	t.Run("CR-35", func(t *testing.T) {
		k := testKeys(t, aes256)
		k.count = maxCount
		if _, err := k.Seal(nil, make([]byte, 1, 32)); err != nil {
			t.Errorf("chunk %d: %v", uint64(maxCount), err)
		}
		if _, err := k.Seal(nil, make([]byte, 1, 32)); !errors.Is(err, ohttp.ErrLimit) {
			t.Errorf("sealed over the limit: %v", err)
		}
		var out bytes.Buffer
		w := NewWriter(&out, nil, false, testKeys(t, aes256).Seal)
		w.chunks = maxCount
		w.Write([]byte("x"))
		if err := w.Close(); !errors.Is(err, ohttp.ErrLimit) || out.Len() != 0 {
			t.Errorf("Close over the limit: %v, %d bytes out", err, out.Len())
		}
		if _, err := w.Write([]byte("x")); !errors.Is(err, ohttp.ErrLimit) {
			t.Errorf("a failed writer took more: %v", err)
		}
		r := NewReader(bytes.NewReader(sealAll(t, testKeys(t, aes256), false, []byte("a"), []byte("b"))))
		r.Preface(7)
		r.Start(testKeys(t, aes256).Open)
		r.chunks = maxCount
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, ohttp.ErrLimit) {
			t.Errorf("opened over the limit: %v", err)
		}
	})
}

func TestFailureSticksAndDeliversNothingMore(t *testing.T) {
	sealed := sealAll(t, testKeys(t, aes256), false, []byte("one"), []byte("two"), []byte("three"))
	sealed[7+1+19+1+5] ^= 1 // in the second chunk
	r := NewReader(bytes.NewReader(sealed))
	r.Preface(7)
	r.Start(testKeys(t, aes256).Open)
	b, err := io.ReadAll(r)
	if string(b) != "one" || !errors.Is(err, ohttp.ErrRefused) {
		t.Fatalf("%q, %v", b, err)
	}
	for range 3 {
		if n, again := r.Read(make([]byte, 10)); n != 0 || again != err {
			t.Errorf("then %d bytes, %v", n, again)
		}
	}
}

func TestSourceErrorsKeepTheirCause(t *testing.T) {
	sealed := sealAll(t, testKeys(t, aes256), false, []byte("one"), []byte("two"))
	cause := errors.New("line is dead")
	for n := 8; n <= len(sealed); n++ {
		src := io.MultiReader(bytes.NewReader(sealed[:n]), iotest.ErrReader(cause))
		_, err := openAll(testKeys(t, aes256), src)
		if !errors.Is(err, ohttp.ErrTruncated) || !errors.Is(err, cause) {
			t.Fatalf("broken at %d: %v", n, err)
		}
	}
}

type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errors.New("disk is full of eels")
	}
	return len(p), nil
}

func TestWriterFailureSticks(t *testing.T) {
	w := NewWriter(&brokenWriter{left: 100}, nil, false, testKeys(t, aes256).Seal)
	w.Write(pattern(50))
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	_, err := w.Write(pattern(1 << 20))
	if err == nil {
		t.Fatal("write to a broken writer went through")
	}
	if _, again := w.Write([]byte("x")); again != err || w.Close() != err || w.Flush() != err {
		t.Error("the failure did not stick")
	}
	w = NewWriter(io.Discard, nil, false, testKeys(t, aes256).Seal)
	w.Close()
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("wrote after the final chunk")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func FuzzReader(f *testing.F) {
	f.Add(sealAll(f, testKeys(f, aes256), false, []byte("one"), []byte("two")), uint8(0))
	f.Add(sealAll(f, testKeys(f, aes256), true, pattern(40000)), uint8(1))
	f.Add([]byte("preface\x00"), uint8(2))
	f.Fuzz(func(t *testing.T, in []byte, how uint8) {
		// The tag is left unchecked so that the fuzzer gets past it: this is
		// about framing. Delivered plaintext never exceeds what came in.
		open := func(_, ct []byte) ([]byte, error) { return ct[:len(ct)-tagSize], nil }
		var src io.Reader = bytes.NewReader(in)
		if how&1 == 1 {
			src = iotest.HalfReader(src)
		}
		r := NewReader(src)
		if _, err := r.Preface(7); err != nil {
			return
		}
		r.Start(open)
		got, err := io.ReadAll(r)
		if len(got) > len(in) {
			t.Errorf("%d bytes out of %d", len(got), len(in))
		}
		if err != nil && !errors.Is(err, ohttp.ErrTruncated) && !errors.Is(err, ohttp.ErrRefused) {
			t.Errorf("untyped error %v", err)
		}
		if r.p.b != nil {
			t.Error("a finished reader keeps its buffer")
		}
	})
}

func BenchmarkSeal10MB(b *testing.B) {
	data, k := pattern(10<<20), testKeys(b, aes256)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		w := NewWriter(io.Discard, nil, true, k.Seal)
		w.Write(data)
		w.Close()
	}
}

func BenchmarkOpen10MB(b *testing.B) {
	sealed := sealAll(b, testKeys(b, aes256), true, pattern(10<<20))
	b.SetBytes(10 << 20)
	b.ReportAllocs()
	buf := make([]byte, 32<<10)
	for b.Loop() {
		r := NewReader(bytes.NewReader(sealed))
		r.Preface(7)
		r.Start(testKeys(b, aes256).Open)
		for {
			if _, err := r.Read(buf); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}
