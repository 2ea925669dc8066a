// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package sigcache remembers which signatures were found to hold. Machines of
// one maker share issuers, manifests and revocation answers, and a P-384
// signature is the most expensive thing that a verifier of GPUs does: who judges
// many nodes checks each of those once.
//
// What is remembered is arithmetic: this key made this signature over these
// bytes. That does not change with time, nonce, policy or who asks. Whether the
// key is trusted, the certificate in force, the answer fresh is decided each
// time anew, by the caller. Failures are not remembered.
package sigcache

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"math/big"
	"sync"
)

// A Form is how a signature is printed.
type Form byte

// The forms of ECDSA on P-384 with SHA-384. The zero Form holds for nothing.
const (
	ASN1 Form = 1 // as in X.509
	Raw  Form = 2 // r || s, as in SPDM, XML signatures and JWS
)

// rawSize is the size of a signature in the form [Raw].
const rawSize = 96

// A digest names a signature, its key, its form and what it is over.
type digest [sha256.Size]byte

// A Cache is bounded and may be used by any number of goroutines. Nil and the
// zero Cache remember nothing.
type Cache struct {
	most int

	mu   sync.Mutex
	held map[digest]struct{}
}

// New returns a cache of at most most signatures, about 100 bytes each.
func New(most int) *Cache { return &Cache{most: most} }

// Len is the number of signatures held.
func (c *Cache) Len() int {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.held)
}

// Begin begins the checks of one piece of evidence.
func (c *Cache) Begin() *Run { return &Run{cache: c, held: map[digest]struct{}{}} }

// A Run is the checks of one piece of evidence: each distinct one is made once.
// What it finds goes into the cache with [Run.Keep] only, so that evidence that
// is refused leaves nothing behind: a stranger cannot fill the cache with
// signatures of its own making. It is for one goroutine.
type Run struct {
	cache *Cache
	held  map[digest]struct{}
}

// Verify reports whether signature is key's over message. key must be on P-384.
func (r *Run) Verify(key *ecdsa.PublicKey, f Form, message, signature []byte) bool {
	sum := sha512.Sum384(message)
	d, ok := name(key, f, sum[:], signature)
	if !ok {
		return false
	}
	if _, known := r.held[d]; known {
		return true
	}
	if !r.cache.has(d) && !verify(key, f, sum[:], signature) {
		return false
	}
	r.held[d] = struct{}{}
	return true
}

// Keep puts what the run found to hold into the cache.
func (r *Run) Keep() {
	c := r.cache
	if c == nil || c.most <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = map[digest]struct{}{}
	}
	for d := range r.held {
		c.held[d] = struct{}{}
	}
	for d := range c.held { // any: which one changes nothing but the cost of the next look at it
		if len(c.held) <= c.most {
			break
		}
		delete(c.held, d)
	}
}

func (c *Cache) has(d digest) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.held[d]
	return ok
}

// name is the digest of all that decides. Every part but the last has one size,
// so no two of them print alike.
func name(key *ecdsa.PublicKey, f Form, sum, signature []byte) (digest, bool) {
	if key == nil || key.Curve != elliptic.P384() || f != ASN1 && f != Raw {
		return digest{}, false
	}
	point, err := key.Bytes()
	if err != nil {
		return digest{}, false
	}
	h := sha256.New()
	h.Write([]byte("sotto signature that holds v1\x00ECDSA P-384 SHA-384\x00"))
	h.Write([]byte{byte(f)})
	h.Write(point)
	h.Write(sum)
	h.Write(signature)
	return digest(h.Sum(nil)), true
}

func verify(key *ecdsa.PublicKey, f Form, sum, signature []byte) bool {
	if f == ASN1 {
		return ecdsa.VerifyASN1(key, sum, signature)
	}
	if len(signature) != rawSize {
		return false
	}
	r, s := new(big.Int).SetBytes(signature[:rawSize/2]), new(big.Int).SetBytes(signature[rawSize/2:])
	return ecdsa.Verify(key, sum, r, s)
}
