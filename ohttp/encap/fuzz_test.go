// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package encap_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/encap"
	"github.com/sotto-project/sotto/ohttp/gateway/decap"
)

// splice makes a forgery: at offset at, cut bytes give way to in. Keys differ
// from one fuzzing process to the next, so it is the edits that are seeds.
func splice(b []byte, at, cut uint16, in []byte) []byte {
	i := int(at) % (len(b) + 1)
	j := min(i+int(cut), len(b))
	return append(append(bytes.Clone(b[:i]), in...), b[j:]...)
}

func mustBeTyped(t *testing.T, err error) {
	t.Helper()
	var code interface{ Code() string }
	if err != nil && !errors.As(err, &code) {
		t.Errorf("untyped error %v", err)
	}
}

func FuzzOpenRequest(f *testing.F) {
	p := newPair(f, hpke.KEMX25519, hpke.AEADAES256GCM)
	req, _ := p.request(f, "one", "two")
	whole, _, err := encap.Seal(p.conf, p.suite, []byte("onetwo"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), uint16(0), []byte{}, true)
	f.Add(uint16(39), uint16(1), []byte{0x40, 19}, true)
	f.Add(uint16(60), uint16(100), []byte{}, true)
	f.Add(uint16(3), uint16(1), []byte{9}, false)
	f.Fuzz(func(t *testing.T, at, cut uint16, in []byte, chunked bool) {
		form, b := ohttp.Whole, whole
		if chunked {
			form, b = ohttp.Chunked, req
		}
		_, got, err := p.open(splice(b, at, cut, in), form)
		if err == nil && string(got) != "onetwo" {
			t.Errorf("forged a request: %q", got)
		}
		if !bytes.HasPrefix([]byte("onetwo"), got) {
			t.Errorf("delivered %q", got)
		}
		mustBeTyped(t, err)
	})
}

func FuzzOpenResponse(f *testing.F) {
	p := newPair(f, hpke.KEMX25519, hpke.AEADAES256GCM)
	r, _, _, ans := exchange(f, p)
	f.Add(uint16(0), uint16(0), []byte{})
	f.Add(uint16(32), uint16(20), []byte{})
	f.Add(uint16(32), uint16(1), []byte{0x80, 0, 0, 19})
	f.Fuzz(func(t *testing.T, at, cut uint16, in []byte) {
		got, err := read(r, splice(ans, at, cut, in))
		if err == nil && got != "unoduetre" {
			t.Errorf("forged an answer: %q", got)
		}
		if !bytes.HasPrefix([]byte("unoduetre"), []byte(got)) {
			t.Errorf("delivered %q", got)
		}
		mustBeTyped(t, err)
	})
}

func BenchmarkShortXWing(b *testing.B) {
	p := newPair(b, hpke.KEMXWing, hpke.AEADAES256GCM)
	msg := make([]byte, 6000)
	b.ReportAllocs()
	for b.Loop() {
		var buf bytes.Buffer
		r, _ := encap.NewRequest(&buf, p.conf, p.suite)
		r.Write(msg)
		r.Close()
		q, _, err := p.open(buf.Bytes(), ohttp.Chunked)
		if err != nil {
			b.Fatal(err)
		}
		var ans bytes.Buffer
		w, _ := q.Respond(&ans)
		w.Write(msg)
		w.Close()
		if _, err := read(r, ans.Bytes()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRequest10MB(b *testing.B) {
	p := newPair(b, hpke.KEMX25519, hpke.AEADAES256GCM)
	msg := make([]byte, 10<<20)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		pr, pw := io.Pipe()
		go func() {
			r, _ := encap.NewRequest(pw, p.conf, p.suite)
			r.Write(msg)
			r.Close()
			pw.Close()
		}()
		q, err := decap.Open(pr, ohttp.Chunked, 0, p.find)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, q); n != int64(len(msg)) || err != nil {
			b.Fatal(n, err)
		}
	}
}
