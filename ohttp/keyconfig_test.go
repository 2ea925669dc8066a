// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package ohttp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/ohttp"
)

// newConfig makes a configuration of a fresh key. ML-KEM keys cost 0.1 ms, so
// lists of 256 use X25519.
func newConfig(t testing.TB, id uint8, kem uint16) *ohttp.KeyConfig {
	t.Helper()
	k, err := recipient.GenerateKey(kem)
	if err != nil {
		t.Fatal(err)
	}
	return &ohttp.KeyConfig{ID: id, Key: k.PublicKey(), Algorithms: ohttp.OfferedAlgorithms()}
}

func entry(t testing.TB, c *ohttp.KeyConfig) []byte {
	t.Helper()
	b, err := c.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func list(entries ...[]byte) []byte {
	var b []byte
	for _, e := range entries {
		b = binary.BigEndian.AppendUint16(b, uint16(len(e)))
		b = append(b, e...)
	}
	return b
}

func TestKeyConfigVectors(t *testing.T) {
	for _, v := range []struct{ name, file, path string }{
		{"RFC 9458 Appendix A", "testdata/rfc9458-appendix-a.json", "key_config"},
		{"draft-08 Appendix A", "testdata/chunked-ohttp-draft-08.json", "keyConfig"},
	} {
		t.Run(v.name, func(t *testing.T) {
			raw, err := os.ReadFile(v.file)
			if err != nil {
				t.Fatal(err)
			}
			var doc struct {
				KeyConfig string           `json:"key_config"`
				Vectors   []map[string]any `json:"vectors"`
			}
			if err := json.Unmarshal(raw, &doc); err != nil {
				t.Fatal(err)
			}
			text := doc.KeyConfig
			if text == "" {
				text = doc.Vectors[0]["keyConfig"].(string)
			}
			b, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			c, err := ohttp.ParseKeyConfig(b)
			if err != nil {
				t.Fatal(err)
			}
			if c.ID != 1 || c.Key.KEM() != hpke.KEMX25519 || len(c.Algorithms) != 2 ||
				c.Algorithms[0] != (ohttp.Algorithms{KDF: 1, AEAD: 1}) || c.Algorithms[1] != (ohttp.Algorithms{KDF: 1, AEAD: 3}) {
				t.Errorf("parsed %+v", c)
			}
			if out := entry(t, c); !bytes.Equal(out, b) {
				t.Errorf("printed %x, want %x", out, b)
			}
			// The vector lists AES-128-GCM first. Sotto takes the other one.
			if s, err := c.Suite(); err != nil || s.AEAD != hpke.AEADChaCha20Poly1305 {
				t.Errorf("Suite() = %v, %v; want ChaCha20-Poly1305", s, err)
			}
		})
	}
}

func TestKeyConfigs(t *testing.T) {
	x := entry(t, newConfig(t, 7, hpke.KEMX25519))
	w := entry(t, newConfig(t, 9, hpke.KEMXWing))
	with := func(b []byte, at int, v byte) []byte {
		b = bytes.Clone(b)
		b[at] = v
		return b
	}
	unknownKEM := []byte{3, 0x12, 0x34, 1, 2, 3}
	unknownAlg := with(with(x, 0, 4), len(x)-1, 0x77)
	unknownAlg = with(unknownAlg, len(x)-5, 0x77)
	aes128 := append(bytes.Clone(x[:35]), 0, 4, 0, 1, 0, 1)
	many := func(n int) []byte {
		var all [][]byte
		for i := range n {
			all = append(all, with(x, 0, byte(i)))
		}
		return list(all...)
	}
	badPoint := bytes.Clone(w)
	for i := 3; i < 40; i++ {
		badPoint[i] = 0xff // coefficients over q: not an ML-KEM key
	}

	t.Run("CR-13", func(t *testing.T) {
		for _, c := range []struct {
			name string
			in   []byte
			ids  []int
			err  error
		}{
			{"0 entries", nil, nil, ohttp.ErrKeyFormat},
			{"1 entry", list(x), []int{7}, nil},
			{"order is kept", list(w, x), []int{9, 7}, nil},
			{"255 entries", many(255), seq(255), nil},
			{"256 entries", many(256), seq(256), nil},
			{"257 entries repeat an id", append(many(256), list(x)...), nil, ohttp.ErrKeyFormat},
			{"unknown KEM is skipped", list(unknownKEM, x), []int{7}, nil},
			{"unknown algorithms are skipped", list(unknownAlg, x), []int{7}, nil},
			{"only unknown KEMs", list(unknownKEM), nil, ohttp.ErrSuite},
			{"only AES-128: CR-09", list(aes128), nil, ohttp.ErrSuite},
			{"duplicate ids", list(x, x), nil, ohttp.ErrKeyFormat},
			{"duplicate ids, one of an unknown KEM", list(with(unknownKEM, 0, 7), x), nil, ohttp.ErrKeyFormat},
			{"empty entry", list(nil, x), nil, ohttp.ErrKeyFormat},
			{"entry of one byte", list([]byte{1}, x), nil, ohttp.ErrKeyFormat},
			{"entry of two bytes", list([]byte{1, 0}, x), nil, ohttp.ErrKeyFormat},
			{"entry length one too long", with(list(x), 1, byte(len(x)+1)), nil, ohttp.ErrKeyFormat},
			{"entry length one too short", with(list(x), 1, byte(len(x)-1)), nil, ohttp.ErrKeyFormat},
			{"list cut in a length", append(list(x), 0), nil, ohttp.ErrKeyFormat},
			{"malformed after good", append(list(x), 0, 9, 1), nil, ohttp.ErrKeyFormat},
			{"algorithm length ragged", list(with(x, 36, 7)), nil, ohttp.ErrKeyFormat},
			{"no algorithms", list(append(bytes.Clone(x[:35]), 0, 0)), nil, ohttp.ErrKeyFormat},
			{"half an algorithm", list(append(bytes.Clone(x[:35]), 0, 2, 0, 1)), nil, ohttp.ErrKeyFormat},
			{"bytes after the algorithms", list(append(bytes.Clone(x), 0)), nil, ohttp.ErrKeyFormat},
			{"key is not a key", list(badPoint), nil, ohttp.ErrKeyFormat},
			{"over the size cap", make([]byte, 1<<20+1), nil, ohttp.ErrKeyFormat},
		} {
			got, err := ohttp.ParseKeyConfigs(c.in)
			if !errors.Is(err, c.err) || (c.err == nil) != (err == nil) {
				t.Errorf("%s: error %v, want %v", c.name, err, c.err)
				continue
			}
			if err != nil && got != nil {
				t.Errorf("%s: value beside an error", c.name)
			}
			if len(got) != len(c.ids) {
				t.Errorf("%s: %d entries, want %d", c.name, len(got), len(c.ids))
				continue
			}
			for i, id := range c.ids {
				if int(got[i].ID) != id {
					t.Errorf("%s: entry %d has id %d, want %d", c.name, i, got[i].ID, id)
				}
			}
		}
	})

	t.Run("every cut is refused", func(t *testing.T) {
		whole := list(x, w)
		for n := range len(whole) {
			if n == 2+len(x) {
				continue // a list of the first entry alone
			}
			if _, err := ohttp.ParseKeyConfigs(whole[:n]); !errors.Is(err, ohttp.ErrKeyFormat) {
				t.Fatalf("cut at %d: %v", n, err)
			}
		}
	})

	t.Run("codes", func(t *testing.T) {
		var e *ohttp.Error
		if _, err := ohttp.ParseKeyConfigs(nil); !errors.As(err, &e) || e.Code() != "key.format" {
			t.Errorf("code of %v", err)
		}
		if _, err := ohttp.ParseKeyConfigs(list(unknownKEM)); !errors.As(err, &e) || e.Code() != "suite" {
			t.Errorf("code of %v", err)
		}
	})
}

func seq(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func TestKeyConfigsPrint(t *testing.T) {
	cs := []*ohttp.KeyConfig{newConfig(t, 2, hpke.KEMXWing), newConfig(t, 1, hpke.KEMX25519)}
	b, err := ohttp.AppendKeyConfigs([]byte("x"), cs)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ohttp.ParseKeyConfigs(b[1:]); err != nil || len(got) != 2 {
		t.Errorf("parsed back %d entries, %v", len(got), err)
	}
	if _, err := ohttp.AppendKeyConfigs(nil, append(cs, cs[0])); err == nil {
		t.Error("printed a list that repeats an id")
	}
	if _, err := (&ohttp.KeyConfig{Key: cs[0].Key}).Append(nil); err == nil {
		t.Error("printed a configuration without algorithms")
	}
	if _, err := (&ohttp.KeyConfig{}).Append(nil); err == nil {
		t.Error("printed the zero configuration")
	}
}

func TestSuiteNeverFallsBack(t *testing.T) {
	t.Run("CR-09", func(t *testing.T) {
		c := newConfig(t, 1, hpke.KEMXWing)
		for _, bad := range []ohttp.Algorithms{
			{KDF: 1, AEAD: 1}, {KDF: 2, AEAD: 2}, {KDF: 1, AEAD: 0xffff}, {KDF: 3, AEAD: 3}, {},
		} {
			c.Algorithms = []ohttp.Algorithms{bad}
			if s, err := c.Suite(); !errors.Is(err, ohttp.ErrSuite) {
				t.Errorf("%v gave %v, %v", bad, s, err)
			}
		}
		if ohttp.Offered(hpke.NodeSuite) {
			t.Error("the node's KEM is offered at the gateway")
		}
	})
}

func TestHeader(t *testing.T) {
	b := []byte{1, 0x64, 0x7a, 0, 1, 0, 2}
	h, err := ohttp.ParseHeader(b)
	if err != nil || h.Suite != (hpke.Suite{KEM: hpke.KEMXWing, KDF: 1, AEAD: 2}) || h.KeyID != 1 {
		t.Fatalf("parsed %+v, %v", h, err)
	}
	if !bytes.Equal(h.Append(nil), b) {
		t.Errorf("printed %x", h.Append(nil))
	}
	for _, n := range []int{0, 1, 6, 8} {
		if _, err := ohttp.ParseHeader(make([]byte, n)); err == nil {
			t.Errorf("%d bytes parsed", n)
		}
	}
	want := "6d6573736167652f6268747470206368756e6b65642072657175657374000100200001" + "0001"
	h = ohttp.Header{KeyID: 1, Suite: hpke.Suite{KEM: 0x20, KDF: 1, AEAD: 1}}
	if got := hex.EncodeToString(h.Info(ohttp.Chunked)); got != want {
		t.Errorf("info %s, want %s", got, want)
	}
	if bytes.Equal(h.Info(ohttp.Chunked), h.Info(ohttp.Whole)) {
		t.Error("the two forms share an info string")
	}
}

func TestFormOf(t *testing.T) {
	t.Run("CR-31", func(t *testing.T) {
		for in, want := range map[string]ohttp.Form{
			"message/ohttp-chunked-req": ohttp.Chunked,
			"message/ohttp-req":         ohttp.Whole,
			"message/ohttp-req;q=1":     0,
			"Message/OHTTP-req":         0,
			" message/ohttp-req":        0,
			"message/ohttp-chunked-res": 0,
			"":                          0,
		} {
			if got := ohttp.FormOf(in); got != want {
				t.Errorf("%q is form %d, want %d", in, got, want)
			}
		}
	})
}

func FuzzParseKeyConfig(f *testing.F) {
	f.Add(entry(f, newConfig(f, 1, hpke.KEMX25519)))
	f.Add(entry(f, newConfig(f, 2, hpke.KEMXWing)))
	f.Add([]byte{3, 0x12, 0x34})
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := ohttp.ParseKeyConfig(in)
		if err != nil {
			if c != nil {
				t.Error("value beside an error")
			}
			return
		}
		if out, err := c.Append(nil); err != nil || !bytes.Equal(in, out) {
			t.Errorf("accepted %x, printed %x (%v)", in, out, err)
		}
	})
}

func FuzzParseKeyConfigs(f *testing.F) {
	x, w := entry(f, newConfig(f, 1, hpke.KEMX25519)), entry(f, newConfig(f, 2, hpke.KEMXWing))
	f.Add(list(x))
	f.Add(list(w, x))
	f.Add(list(x, []byte{3, 0x12, 0x34}))
	f.Fuzz(func(t *testing.T, in []byte) {
		cs, err := ohttp.ParseKeyConfigs(in)
		if err != nil {
			return
		}
		b, err := ohttp.AppendKeyConfigs(nil, cs)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ohttp.ParseKeyConfigs(b)
		if err != nil || len(again) != len(cs) {
			t.Fatalf("printed list gives %d entries, %v; want %d", len(again), err, len(cs))
		}
		if c, err := ohttp.AppendKeyConfigs(nil, again); err != nil || !bytes.Equal(b, c) {
			t.Error("print is not a fixed point")
		}
	})
}
