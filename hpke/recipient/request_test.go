// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package recipient

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/internal/fresh"
	"github.com/sotto-project/sotto/hpke/internal/stream"
)

// ownRequest is an opened request with known secrets, and the key of its body.
func ownRequest(t testing.TB) (*Request, *stream.Key) {
	t.Helper()
	schedule, err := stream.NewSchedule(make([]byte, 32), [32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := schedule.Body([32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	f := &hpke.Forwarded{Common: hpke.Common{K: 1}, Hashes: make([][32]byte, 1)}
	return &Request{forwarded: f, secret: make([]byte, 32), key: key}, key
}

func sealBody(t testing.TB, key *stream.Key, chunks ...int) []byte {
	t.Helper()
	var out bytes.Buffer
	s := stream.NewSealer(&out, key, nil, 0)
	buf := stream.GetBuffer()
	for i, n := range chunks {
		frame, err := s.Seal(buf, bytes.Repeat([]byte{'a'}, n), i == len(chunks)-1)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// TestOneWayToCut: a client, or a candidate who knows the key, that cuts the
// body otherwise than the format says is refused.
func TestOneWayToCut(t *testing.T) {
	const c = hpke.ChunkSize
	for _, v := range []struct {
		chunks []int
		want   error
	}{
		{[]int{0}, nil}, {[]int{1}, nil}, {[]int{c}, nil}, {[]int{c, 1}, nil}, {[]int{c, c}, nil},
		{[]int{c, 0}, ErrRefused}, {[]int{0, 1}, ErrRefused}, {[]int{1, 1}, ErrRefused}, {[]int{c - 1, c}, ErrRefused},
		{[]int{c + 1}, ErrRefused}, {[]int{c + 1, 1}, ErrRefused}, {[]int{c, c + 4}, ErrRefused}, {[]int{c, 0, 1}, ErrRefused},
	} {
		r, key := ownRequest(t)
		got, err := io.ReadAll(r.Body(bytes.NewReader(sealBody(t, key, v.chunks...))))
		if err != v.want {
			t.Errorf("chunks of %d: %v, want %v", v.chunks, err, v.want)
		}
		if _, again := r.Body(nil).Read(make([]byte, 1)); err != nil && again != err {
			t.Errorf("chunks of %d: after %v came %v", v.chunks, err, again)
		}
		if err == nil && len(got) != sum(v.chunks) {
			t.Errorf("chunks of %d: %d bytes", v.chunks, len(got))
		}
	}
}

func sum(ns []int) (total int) {
	for _, n := range ns {
		total += n
	}
	return total
}

func TestFrameLimit(t *testing.T) {
	t.Run("CR-35", func(t *testing.T) {
		r, key := ownRequest(t)
		r.limit = 2
		sealed := sealBody(t, key, hpke.ChunkSize, hpke.ChunkSize, 5)
		if n, err := io.Copy(io.Discard, r.Body(bytes.NewReader(sealed))); err != ErrLimit || n != 2*hpke.ChunkSize {
			t.Errorf("opened %d bytes, %v", n, err)
		}
		r, key = ownRequest(t)
		if _, err := io.ReadAll(r.Body(bytes.NewReader(sealBody(t, key, 5)))); err != nil {
			t.Fatal(err)
		}
		r.limit = 2
		var out bytes.Buffer
		w, err := r.Respond(&out)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := w.WriteFrame([]byte("x"), 0, false); err != nil {
				t.Fatal(err)
			}
		}
		before := out.Len()
		for range 2 {
			if err := w.WriteFrame(nil, 0, true); err != ErrLimit || out.Len() != before {
				t.Errorf("frame behind the limit: %v", err)
			}
		}
	})
}

func TestRandomness(t *testing.T) {
	t.Run("CR-34", func(t *testing.T) {
		r, key := ownRequest(t)
		if _, err := io.ReadAll(r.Body(bytes.NewReader(sealBody(t, key, 5)))); err != nil {
			t.Fatal(err)
		}
		source := fresh.New(bytes.NewReader(nil))
		for range 2 {
			if _, err := r.respond(io.Discard, source); err != ErrRandomness {
				t.Errorf("answered without randomness: %v", err)
			}
		}
	})
	t.Run("CR-34 machine cloned", func(t *testing.T) {
		numbers := make([]byte, 32)
		rand.Read(numbers)
		preface := func(n int) string {
			r, key := ownRequest(t)
			if _, err := io.ReadAll(r.Body(bytes.NewReader(sealBody(t, key, n)))); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			w, err := r.respond(&out, fresh.New(bytes.NewReader(numbers)))
			if err != nil {
				t.Fatal(err)
			}
			if err := w.WriteFrame(nil, 0, true); err != nil {
				t.Fatal(err)
			}
			return out.String()[:hpke.PrefaceSize]
		}
		if preface(5) == preface(6) {
			t.Error("two requests get one nonce")
		}
	})
}

// hardware is a P-256 key that can only be used, as one in a TPM.
type hardware struct {
	ecdh.KeyExchanger
	used int
	err  error
}

func (h *hardware) ECDH(pub *ecdh.PublicKey) ([]byte, error) {
	h.used++
	if h.err != nil {
		return nil, h.err
	}
	return h.KeyExchanger.ECDH(pub)
}

func TestHybridKey(t *testing.T) {
	pq, err := mlkem.GenerateKey768()
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpm := &hardware{KeyExchanger: scalar}
	key, err := NewHybridKey(pq, tpm)
	if err != nil || key.KEM() != hpke.KEMMLKEM768P256 {
		t.Fatal(err)
	}
	want := append(pq.EncapsulationKey().Bytes(), scalar.PublicKey().Bytes()...)
	if !bytes.Equal(key.PublicKey().Bytes(), want) {
		t.Error("public key is not the two halves")
	}
	for _, bad := range [][]byte{nil, make([]byte, 1152), make([]byte, 1153), make([]byte, 1154)} {
		if _, err := Setup(hpke.NodeSuite, key, bad, nil); err != ErrRefused {
			t.Errorf("enc of %d bytes: %v", len(bad), err)
		}
	}
	if tpm.used != 0 {
		t.Errorf("hardware used %d times for keys that are none", tpm.used)
	}
	// A request whose entry is not the hashed one does not get as far as the hardware.
	f := &hpke.Forwarded{Common: hpke.Common{Suite: hpke.NodeSuite, K: 1, MediaType: 1}, Hashes: make([][32]byte, 1)}
	f.Entry.Enc = make([]byte, 1153)
	if _, err := Open(f, key); err != ErrRefused || tpm.used != 0 {
		t.Errorf("%v, hardware used %d times", err, tpm.used)
	}
	// What the hardware says stays with its owner.
	_, ct := pq.EncapsulationKey().Encapsulate()
	tpm.err = errors.New("TPM says too much")
	enc := append(ct, scalar.PublicKey().Bytes()...)
	if _, err := Setup(hpke.NodeSuite, key, enc, nil); err != ErrRefused || tpm.used != 1 {
		t.Errorf("%v, hardware used %d times", err, tpm.used)
	}
	if _, err := key.Bytes(); err == nil {
		t.Error("a hardware key was serialized")
	}
	if _, err := NewHybridKey(crypto.Decapsulator(nil), nil); err == nil {
		t.Error("a key of nothing")
	}
}

func TestPrivateKeysDoNotPrint(t *testing.T) {
	key, err := GenerateKey(hpke.KEMX25519)
	if err != nil {
		t.Fatal(err)
	}
	holder := struct{ k *PrivateKey }{key}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, key); got != "[redacted]" {
			t.Errorf("%s prints %s", verb, got)
		}
		b, _ := key.Bytes()
		if got := fmt.Sprintf(verb, holder); bytes.Contains([]byte(got), []byte(fmt.Sprintf("%x", b[:8]))) {
			t.Errorf("%s of a holder prints the key", verb)
		}
	}
	again, err := ParsePrivateKey(key.KEM(), must(key.Bytes()))
	if err != nil || !bytes.Equal(again.PublicKey().Bytes(), key.PublicKey().Bytes()) {
		t.Errorf("another key came back: %v", err)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// FuzzBodyReader: whatever comes, what is delivered is what was sealed, and the
// end is a typed refusal or the end of all bytes.
func FuzzBodyReader(f *testing.F) {
	_, key := ownRequest(f)
	good := sealBody(f, key, 7)
	f.Add(good)
	f.Add(good[:5])
	f.Add(append(bytes.Clone(good), 0))
	f.Add([]byte{0x80, 0, 0, 16})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		r, _ := ownRequest(t)
		got, err := io.ReadAll(r.Body(bytes.NewReader(in)))
		if err == nil {
			if !bytes.Equal(in, good) || string(got) != "aaaaaaa" {
				t.Errorf("accepted %x as %q", in, got)
			}
			return
		}
		if coded := (*hpke.Error)(nil); !errors.As(err, &coded) || len(got) > 0 {
			t.Errorf("delivered %q, then %v", got, err)
		}
		if _, err := r.Respond(io.Discard); err == nil {
			t.Error("answered what was refused")
		}
	})
}
