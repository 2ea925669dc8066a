// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/sotto-project/sotto/credits/issue"
)

// KeySuffix is what names of key files end in.
const KeySuffix = ".coinkeys"

// A Ring is the private keys of a directory, by keyset. It is safe for
// concurrent use.
type Ring struct {
	dir string

	mu    sync.RWMutex // guards what follows
	files map[string]bool
	keys  map[[32]byte]*issue.Keys
}

// NewRing returns an empty ring of a directory.
func NewRing(dir string) *Ring { return &Ring{dir: dir} }

// Load reads the key files that are there now. Those that were read before are
// not read again; those that are gone are forgotten. One that cannot be read is
// an error, and the ring stays as it was.
func (r *Ring) Load() error {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return fmt.Errorf("accounts: keys: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	files, keys, fresh := map[string]bool{}, map[[32]byte]*issue.Keys{}, false
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), KeySuffix) {
			files[e.Name()] = true
			fresh = fresh || !r.files[e.Name()]
		}
	}
	if !fresh && len(files) == len(r.files) {
		return nil
	}
	for name := range files {
		k, err := issue.OpenFile(filepath.Join(r.dir, name))
		if err != nil {
			return fmt.Errorf("accounts: %w", err)
		}
		keys[k.Keyset().ID()] = k
	}
	r.files, r.keys = files, keys
	return nil
}

// Of returns the keys of a keyset.
func (r *Ring) Of(keyset [32]byte) (*issue.Keys, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.keys[keyset]
	return k, ok
}

// All returns every key of the ring.
func (r *Ring) All() []*issue.Keys {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []*issue.Keys
	for _, k := range r.keys {
		out = append(out, k)
	}
	return out
}
