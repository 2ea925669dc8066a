// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package fakeima

import (
	"bytes"
	"fmt"
	"slices"
)

// A Tampering is a way to lie with a list. It returns the forged list; entries
// are those that were extended, of which there are three or more.
type Tampering struct {
	Name  string
	Code  string // the refusal it must meet
	Forge func(entries []Entry) []byte
}

// Tamperings lists the lies of a node that cannot change what PCR 10 holds.
func Tamperings() []Tampering {
	change := func(f func(all []Entry) []Entry) func([]Entry) []byte {
		return func(entries []Entry) []byte { return Log(f(slices.Clone(entries))) }
	}
	last := func(all []Entry) *Entry { return &all[len(all)-1] }
	return []Tampering{
		{"name", "att.ima.format", func(entries []Entry) []byte { return Rename(entries, len(entries)-1) }},
		{"name and digest", "att.ima.replay", change(func(all []Entry) []Entry { last(all).Name += "2"; return all })},
		{"content", "att.ima.replay", change(func(all []Entry) []Entry {
			last(all).Digest = bytes.Clone(last(all).Digest)
			last(all).Digest[0] ^= 1
			return all
		})},
		{"left out", "att.ima.replay", change(func(all []Entry) []Entry { return slices.Delete(all, 1, 2) })},
		{"last left out", "att.ima.replay", change(func(all []Entry) []Entry { return all[:len(all)-1] })},
		{"added", "att.ima.replay", change(func(all []Entry) []Entry { return append(all, Module()) })},
		{"doubled", "att.ima.replay", change(func(all []Entry) []Entry { return slices.Insert(all, 1, all[1]) })},
		{"exchanged", "att.ima.replay", change(func(all []Entry) []Entry { all[1], all[2] = all[2], all[1]; return all })},
		{"aggregate left out", "att.ima.replay", change(func(all []Entry) []Entry { return all[1:] })},
		{"called a violation", "att.ima.format", change(func(all []Entry) []Entry { last(all).Violation = true; return all })},
		{"made a violation", "att.ima.replay", change(func(all []Entry) []Entry { *last(all) = Changed(last(all).Name); return all })},
		{"another register", "att.ima.format", change(func(all []Entry) []Entry { last(all).PCR = 11; return all })},
		{"another template", "att.ima.format", change(func(all []Entry) []Entry { last(all).Template = "ima-modsig"; return all })},
		{"nothing", "att.ima.replay", func([]Entry) []byte { return nil }},
		{"cut", "att.ima.format", func(entries []Entry) []byte { b := Log(entries); return b[:len(b)-1] }},
		{"SHA-1 list", "att.ima.format", LegacyLog},
	}
}

// Rename returns a list whose i-th entry has a friendly name of the same length
// beside the true template digest.
func Rename(entries []Entry, i int) []byte {
	all := slices.Clone(entries)
	name := []byte(all[i].Name)
	for j := range name {
		if name[j] != '/' {
			name[j] = 'a'
		}
	}
	all[i].Name = string(name)
	honest, friendly := Log(entries), Log(all)
	at := len(Log(entries[:i])) + 4
	copy(friendly[at:at+32], honest[at:at+32])
	return friendly
}

// Tamper returns the forged list of the tampering with that name.
func Tamper(name string, entries []Entry) ([]byte, error) {
	for _, t := range Tamperings() {
		if t.Name == name {
			return t.Forge(entries), nil
		}
	}
	return nil, fmt.Errorf("ima: no tampering %q", name)
}
