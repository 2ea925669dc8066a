// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package jsonstream

import "hash/maphash"

// fewNames is how many names are compared one by one before a map is made.
const fewNames = 32

// names finds a name that an object has twice. It holds hashes of the names of
// all open objects, innermost last. A collision refuses an honest text with
// probability below 2^-35; it can never let a duplicate pass.
type names struct {
	seed   maphash.Seed
	hashes []uint64
	scopes []scope
}

// A scope is one open object.
type scope struct {
	base int                 // index of its first name
	many map[uint64]struct{} // its names, once there are many
}

func newNames() names { return names{seed: maphash.MakeSeed()} }

func (n *names) open() { n.scopes = append(n.scopes, scope{base: len(n.hashes)}) }

func (n *names) close() {
	last := len(n.scopes) - 1
	n.hashes = n.hashes[:n.scopes[last].base]
	n.scopes[last].many = nil
	n.scopes = n.scopes[:last]
}

// add refuses a name that the innermost object already has.
func (n *names) add(name []byte) error {
	s := &n.scopes[len(n.scopes)-1]
	h := maphash.Bytes(n.seed, name)
	if s.many != nil {
		if _, ok := s.many[h]; ok {
			return &Error{Duplicate}
		}
		s.many[h] = struct{}{}
	} else {
		own := n.hashes[s.base:]
		for _, o := range own {
			if o == h {
				return &Error{Duplicate}
			}
		}
		if len(own) == fewNames {
			s.many = make(map[uint64]struct{}, 4*fewNames)
			for _, o := range own {
				s.many[o] = struct{}{}
			}
			s.many[h] = struct{}{}
		}
	}
	if len(n.hashes) == MaxMembers {
		return &Error{Size}
	}
	n.hashes = append(n.hashes, h)
	return nil
}
