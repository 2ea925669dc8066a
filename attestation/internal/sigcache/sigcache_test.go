// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package sigcache

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"fmt"
	"math/big"
	"sync"
	"testing"
)

// A made is a signature with all that it depends on.
type made struct {
	key     *ecdsa.PublicKey
	form    Form
	message []byte
	sig     []byte
}

func (m made) holds(c *Cache) bool { return c.Begin().Verify(m.key, m.form, m.message, m.sig) }

func generate(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t testing.TB, k *ecdsa.PrivateKey, f Form, message string) made {
	t.Helper()
	sum := sha512.Sum384([]byte(message))
	m := made{key: &k.PublicKey, form: f, message: []byte(message)}
	r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
	if err == nil && f == ASN1 {
		m.sig, err = ecdsa.SignASN1(rand.Reader, k, sum[:])
	} else if err == nil {
		m.sig = append(r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48))...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func warm(t testing.TB, c *Cache, all ...made) {
	t.Helper()
	r := c.Begin()
	for _, m := range all {
		if !r.Verify(m.key, m.form, m.message, m.sig) {
			t.Fatal("a good signature does not hold")
		}
	}
	r.Keep()
}

// TestEveryInputCounts: a cache that knows a signature knows no other that
// differs in one thing.
func TestEveryInputCounts(t *testing.T) {
	key, other := generate(t, elliptic.P384()), generate(t, elliptic.P384())
	for _, f := range []Form{ASN1, Raw} {
		c, good := New(10), sign(t, key, f, "a message")
		warm(t, c, good)
		if c.Len() != 1 || !good.holds(c) {
			t.Fatalf("%d held", c.Len())
		}
		bad := map[string]made{
			"key":            {&other.PublicKey, f, good.message, good.sig},
			"negated key":    {negated(t, key), f, good.message, good.sig},
			"no key":         {nil, f, good.message, good.sig},
			"other curve":    {&generate(t, elliptic.P256()).PublicKey, f, good.message, good.sig},
			"message":        {good.key, f, []byte("b message"), good.sig},
			"longer":         {good.key, f, append(bytes.Clone(good.message), 0), good.sig},
			"other form":     {good.key, ASN1 + Raw - f, good.message, good.sig},
			"no form":        {good.key, 0, good.message, good.sig},
			"unknown form":   {good.key, 3, good.message, good.sig},
			"no signature":   {good.key, f, good.message, nil},
			"cut":            {good.key, f, good.message, good.sig[:len(good.sig)-1]},
			"byte after":     {good.key, f, good.message, append(bytes.Clone(good.sig), 0)},
			"of another":     {good.key, f, good.message, sign(t, key, f, "b message").sig},
			"moved boundary": {good.key, f, append(bytes.Clone(good.message), good.sig[0]), good.sig[1:]},
		}
		for i := range good.sig {
			sig := bytes.Clone(good.sig)
			sig[i] ^= 1
			bad[fmt.Sprintf("bit in byte %d", i)] = made{good.key, f, good.message, sig}
		}
		for name, m := range bad {
			if m.holds(c) {
				t.Errorf("form %d: %s: holds", f, name)
			}
			r := c.Begin()
			warmed := r.Verify(good.key, good.form, good.message, good.sig)
			if r.Verify(m.key, m.form, m.message, m.sig) || !warmed {
				t.Errorf("form %d: %s: holds within one run", f, name)
			}
			r.Keep()
		}
		if c.Len() != 1 {
			t.Errorf("form %d: %d held: failures are remembered", f, c.Len())
		}
	}
}

// negated is the key with the other y, which has the same x.
func negated(t *testing.T, k *ecdsa.PrivateKey) *ecdsa.PublicKey {
	t.Helper()
	b, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	p := elliptic.P384().Params().P
	y := new(big.Int).Sub(p, new(big.Int).SetBytes(b[49:]))
	out, err := ecdsa.ParseUncompressedPublicKey(elliptic.P384(), append(bytes.Clone(b[:49]), y.FillBytes(make([]byte, 48))...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestOnlyWhatIsKeptIsRemembered: evidence that is refused leaves nothing.
func TestOnlyWhatIsKeptIsRemembered(t *testing.T) {
	m := sign(t, generate(t, elliptic.P384()), Raw, "a message")
	c := New(10)
	if !m.holds(c) || c.Len() != 0 {
		t.Errorf("%d held though nothing was kept", c.Len())
	}
	for name, none := range map[string]*Cache{"nil": nil, "zero": new(Cache), "of none": New(0), "of less": New(-1)} {
		warm(t, none, m)
		if none.Len() != 0 || !m.holds(none) {
			t.Errorf("%s: %d held", name, none.Len())
		}
	}
}

func TestBound(t *testing.T) {
	key := generate(t, elliptic.P384())
	for _, most := range []int{1, 2, 3} {
		c := New(most)
		for i := range 5 {
			warm(t, c, sign(t, key, Raw, fmt.Sprint(i)), sign(t, key, ASN1, fmt.Sprint(i)))
			if want := min(most, 2*i+2); c.Len() != want {
				t.Errorf("%d held of %d after %d", c.Len(), most, 2*i+2)
			}
		}
	}
}

// TestTogether is for the race detector.
func TestTogether(t *testing.T) {
	key := generate(t, elliptic.P384())
	c := New(6)
	var all []made
	for i := range 8 {
		all = append(all, sign(t, key, Raw, fmt.Sprint(i)))
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range all {
				m := all[(i+g)%len(all)]
				r := c.Begin()
				bad := bytes.Clone(m.sig)
				bad[0] ^= 1
				if !r.Verify(m.key, m.form, m.message, m.sig) || r.Verify(m.key, m.form, m.message, bad) {
					t.Error("wrong answer")
				}
				r.Keep()
				c.Len()
			}
		})
	}
	wg.Wait()
	if c.Len() != 6 {
		t.Errorf("%d held", c.Len())
	}
}
