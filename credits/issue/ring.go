// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// KeySuffix is what names of key files end in.
const KeySuffix = ".coinkeys"

// A Ring is the private keys of a directory, by keyset. It is safe for
// concurrent use. The zero Ring has none.
type Ring struct {
	dir string

	mu    sync.RWMutex // guards what follows
	files map[string]bool
	keys  map[[32]byte]*Keys
}

// NewRing returns an empty ring of a directory.
func NewRing(dir string) *Ring { return &Ring{dir: dir} }

// Load reads the key files that are there now. If there are the same as before
// it reads none; those that are gone are forgotten. One that cannot be read is
// an error, and the ring stays as it was.
func (r *Ring) Load() error {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return fmt.Errorf("issue: keys: %v", err)
	}
	files, keys := map[string]bool{}, map[[32]byte]*Keys{}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), KeySuffix) {
			files[e.Name()] = true
		}
	}
	r.mu.RLock()
	same := maps.Equal(files, r.files)
	r.mu.RUnlock()
	if same {
		return nil
	}
	for name := range files {
		k, err := OpenFile(filepath.Join(r.dir, name))
		if err != nil {
			return err
		}
		keys[k.Keyset().ID()] = k
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files, r.keys = files, keys
	return nil
}

// Of returns the keys of a keyset.
func (r *Ring) Of(keyset [32]byte) (*Keys, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.keys[keyset]
	return k, ok
}

// All returns every key of the ring.
func (r *Ring) All() []*Keys {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Values(r.keys))
}
