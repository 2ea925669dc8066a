// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package roster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sotto-project/sotto/attestation"
)

// memoSize is how many signatures a judge without a [Cache] remembers, and
// perCase how many one with it does for each case.
const (
	memoSize = 1 << 13
	perCase  = 8
)

// A Judge verifies nodes under one policy, which must not change while the
// judge is in use. It remembers what it accepted in a [Cache], if it has one,
// and in any case which signatures held: see [attestation.Memo].
type Judge struct {
	policy *attestation.Policy
	digest [32]byte
	cache  *Cache
	memo   *attestation.Memo
	shared atomic.Pointer[shared]
}

// shared is the part of the references that is long and the same for every node
// of a view, with its digest. It is found again by where it lies in memory, and
// keeps that from being used for another.
type shared struct {
	released *attestation.Released
	chips    [][32]byte
	digest   [32]byte
}

func (s *shared) of(refs *attestation.References) bool {
	return s != nil && s.released == refs.Released && len(s.chips) == len(refs.Chips) && (len(s.chips) == 0 || &s.chips[0] == &refs.Chips[0])
}

// digestOf computes the digest of the shared part once; two who come at the same
// time compute the same.
func (j *Judge) digestOf(refs *attestation.References) ([32]byte, error) {
	if s := j.shared.Load(); s.of(refs) {
		return s.digest, nil
	}
	b, err := json.Marshal([]any{refs.Released, refs.Chips})
	if err != nil {
		return [32]byte{}, err
	}
	s := &shared{refs.Released, refs.Chips, sha256.Sum256(b)}
	j.shared.Store(s)
	return s.digest, nil
}

// NewJudge returns a judge; cache may be nil, and may be shared by judges of
// different policies.
func NewJudge(p *attestation.Policy, cache *Cache) *Judge {
	j := &Judge{policy: p, cache: cache}
	if cache != nil {
		j.memo = cache.memo
	} else {
		j.memo = attestation.NewMemo(memoSize)
	}
	if p != nil {
		j.digest = p.Digest()
	}
	return j
}

// PolicyDigest identifies the policy, see attestation.Policy.Digest.
func (j *Judge) PolicyDigest() [32]byte { return j.digest }

// Verify verifies one case completely and remembers no verdict.
func (j *Judge) Verify(c *Case, now time.Time) (*attestation.Result, error) {
	res, err := j.memo.Verify(c.Evidence, j.policy, c.Refs, now)
	if res != nil {
		res.Report.Policy = hex.EncodeToString(j.digest[:])
	}
	var refusal *attestation.RefusalError
	if errors.As(err, &refusal) && refusal.Report != nil && j.policy != nil {
		refusal.Report.Policy = hex.EncodeToString(j.digest[:])
	}
	return res, err
}

// Judge verifies one case completely, or finds that it accepted the very same
// one, freshness evidence included, a moment ago: the report, with its ages, is
// then that of its own time.
func (j *Judge) Judge(c *Case, now time.Time) (*attestation.Result, error) {
	if j.cache == nil || j.policy == nil || c.Evidence.Epoch == nil {
		return j.Verify(c, now)
	}
	k, err := j.key(c)
	if err != nil {
		return j.Verify(c, now)
	}
	if e, ok := j.cache.get(k, now); ok && j.young(e.result, now) {
		j.cache.hits.Add(1)
		return e.result, nil
	}
	r, err := j.Verify(c, now)
	if err == nil {
		j.cache.put(k, r, now)
	}
	return r, err
}

// young repeats the checks that time alone can turn: what the cache holds may
// have become too old since.
func (j *Judge) young(r *attestation.Result, now time.Time) bool {
	return now.Sub(r.NotBefore) <= time.Duration(j.policy.MaxEpochAge) &&
		(j.policy.WithoutFreshness || now.Sub(r.FreshSince) <= time.Duration(j.policy.MaxFreshAge))
}

// key names everything that a verdict depends on but the time. The policy
// counts by its digest and by its place in memory too: two that print alike may
// have other roots. Evidence counts by the digests of its bytes, and so does the
// part of the references that all nodes of a view have.
func (j *Judge) key(c *Case) (key, error) {
	common, err := j.digestOf(&c.Refs)
	if err != nil {
		return key{}, err
	}
	own := c.Refs
	own.Released, own.Chips = nil, nil
	refs, err := json.Marshal(own)
	if err != nil {
		return key{}, err
	}
	h := sha256.New()
	h.Write(refs)
	var fresh [32]byte
	if c.Evidence.Freshness != nil {
		fresh = c.Evidence.Freshness.Digest()
	}
	for _, d := range [][32]byte{common, j.digest, c.Evidence.Epoch.Digest(), fresh} {
		h.Write(d[:])
	}
	return key{policy: j.policy, simulated: j.policy.Roots.Simulated(), digest: [32]byte(h.Sum(nil))}, nil
}

// A Cache remembers accepted cases for [CacheTime]. It is bounded and may be
// used by any number of goroutines. Refusals are not remembered.
type Cache struct {
	most int
	memo *attestation.Memo
	hits atomic.Uint64

	mu      sync.Mutex
	results map[key]entry
}

// CacheTime is how long an accepted case is remembered. What is looked at again
// within it are the ages of both checkpoints; a certificate or revocation list
// that ends meanwhile counts that much longer.
const CacheTime = 5 * time.Minute

type key struct {
	policy    *attestation.Policy
	simulated bool // roots, which are not part of the policy's digest
	digest    [32]byte
}

type entry struct {
	result *attestation.Result
	at     time.Time
}

// NewCache returns a cache of at most most cases.
func NewCache(most int) *Cache {
	return &Cache{most: most, memo: attestation.NewMemo(perCase * most), results: map[key]entry{}}
}

// Len is the number of cases held.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.results)
}

// Hits is how often a case was found in the cache.
func (c *Cache) Hits() uint64 { return c.hits.Load() }

func (c *Cache) get(k key, now time.Time) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.results[k]
	age := now.Sub(e.at)
	return e, ok && age >= 0 && age <= CacheTime
}

func (c *Cache) put(k key, r *attestation.Result, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.results) >= c.most {
		for old, e := range c.results {
			if age := now.Sub(e.at); age < 0 || age > CacheTime {
				delete(c.results, old)
			}
		}
	}
	for old := range c.results { // any: which one changes nothing but the cost of the next look at it
		if len(c.results) < c.most {
			break
		}
		delete(c.results, old)
	}
	c.results[k] = entry{r, now}
}

// Each runs f for 0 to n-1 on as many goroutines as there are processors, and
// returns when all have ended.
func Each(n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}
