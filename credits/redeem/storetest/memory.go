// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/redeem"
)

// A Memory is a store that keeps the contract and nothing else: the simple model
// that the real ones are compared with. What it holds can be looked at.
type Memory struct {
	mu    sync.Mutex
	meta  redeem.Meta
	Ops   map[[32]byte]redeem.Op
	Coins map[redeem.Coin][32]byte
	Lines map[[2][32]byte]redeem.Entry
	parts map[uint64]bool
	rates map[[2]uint64]uint64
	bits  map[[32]byte]map[uint64]uint8
}

// NewMemory makes one of a generation.
func NewMemory(generation uint64) *Memory {
	return &Memory{
		meta: redeem.Meta{Generation: generation}, Ops: map[[32]byte]redeem.Op{}, Coins: map[redeem.Coin][32]byte{},
		Lines: map[[2][32]byte]redeem.Entry{}, parts: map[uint64]bool{}, rates: map[[2]uint64]uint64{}, bits: map[[32]byte]map[uint64]uint8{},
	}
}

// MemoryMaker makes them for the contract.
func MemoryMaker(_ testing.TB, generation uint64) Database {
	m := NewMemory(generation)
	return Database{Open: func(testing.TB) redeem.Store { return &handle{Memory: m} }, Shared: true}
}

// A handle is one opening of a Memory.
type handle struct {
	*Memory
	closed bool
}

func (h *handle) Close() error { h.closed = true; return nil }

func (h *handle) Begin(ctx context.Context, generation uint64, d *redeem.Draft) (redeem.Op, error) {
	if h.closed {
		return redeem.Op{}, errors.New("memory: closed")
	}
	return h.Memory.Begin(ctx, generation, d)
}

// Backup is a copy, as a backup is.
func (m *Memory) Backup() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMemory(m.meta.Generation)
	c.meta, c.Ops, c.Coins, c.Lines = m.meta, maps.Clone(m.Ops), maps.Clone(m.Coins), maps.Clone(m.Lines)
	c.parts, c.rates = maps.Clone(m.parts), maps.Clone(m.rates)
	return c
}

func (m *Memory) Close() error { return nil }

func (m *Memory) Meta(context.Context) (redeem.Meta, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.meta, nil
}

func (m *Memory) Serve(_ context.Context, generation, epoch uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.meta.Generation != generation {
		return redeem.ErrGeneration
	}
	m.meta.Served = max(m.meta.Served, epoch)
	return nil
}

func (m *Memory) Raise(_ context.Context, generation uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if generation <= m.meta.Generation {
		return redeem.ErrGeneration
	}
	m.meta = redeem.Meta{Generation: generation}
	return nil
}

func (m *Memory) Prepare(_ context.Context, untils []uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range untils {
		m.parts[u] = true
	}
	return nil
}

func (m *Memory) Drop(_ context.Context, before uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.Ops, func(_ [32]byte, op redeem.Op) bool { return op.Until < before })
	maps.DeleteFunc(m.Coins, func(c redeem.Coin, _ [32]byte) bool { return c.Until < before })
	maps.DeleteFunc(m.Lines, func(_ [2][32]byte, e redeem.Entry) bool { return e.Until < before })
	maps.DeleteFunc(m.parts, func(u uint64, _ bool) bool { return u < before })
	return nil
}

var errPart = errors.New("memory: no such part")

func (m *Memory) Begin(_ context.Context, generation uint64, d *redeem.Draft) (redeem.Op, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.meta.CanWrite(generation, d.Epoch, d.State); err != nil {
		return redeem.Op{}, err
	}
	if !m.parts[d.Until] {
		return redeem.Op{}, errPart
	}
	if op, ok := m.Ops[d.Key]; ok {
		return op, nil
	}
	rate := [2]uint64{d.Epoch, uint64(d.Type)}
	if d.Limit > 0 && m.rates[rate] >= d.Limit {
		return redeem.Op{}, redeem.ErrRate
	}
	for _, c := range d.Coins {
		if _, ok := m.Coins[c]; ok {
			return redeem.Op{}, redeem.ErrSpent
		}
	}
	if d.Limit > 0 {
		m.rates[rate]++
	}
	op := d.Op
	op.Data = bytes.Clone(op.Data)
	m.Ops[d.Key] = op
	for _, c := range d.Coins {
		m.Coins[c] = d.Key
	}
	m.lines(d.Entries)
	return op, nil
}

func (m *Memory) lines(entries []redeem.Entry) {
	for _, e := range entries {
		k := [2][32]byte{e.Keyset, e.Name}
		if had, ok := m.Lines[k]; !ok || had.Minted.Exponent < e.Minted.Exponent {
			m.Lines[k] = e
		}
	}
}

func (m *Memory) Advance(_ context.Context, generation uint64, op redeem.Op, entries []redeem.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.meta.CanWrite(generation, op.Epoch, op.State); err != nil {
		return err
	}
	had, ok := m.Ops[op.Key]
	if !ok || had.Version != op.Version {
		return redeem.ErrConflict
	}
	had.State, had.Data = op.State, bytes.Clone(op.Data)
	had.Version++
	m.Ops[op.Key] = had
	m.lines(entries)
	return nil
}

func (m *Memory) Get(_ context.Context, key [32]byte) (redeem.Op, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if op, ok := m.Ops[key]; ok {
		return op, nil
	}
	return redeem.Op{}, redeem.ErrAbsent
}

func (m *Memory) Spender(_ context.Context, c redeem.Coin) ([32]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if key, ok := m.Coins[c]; ok {
		return key, nil
	}
	return [32]byte{}, redeem.ErrAbsent
}

func (m *Memory) Open(_ context.Context, epoch uint64, n int) (out []redeem.Op, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, op := range m.Ops {
		if op.State == redeem.StateHeld && op.Epoch <= epoch {
			out = append(out, op)
		}
	}
	slices.SortFunc(out, func(a, b redeem.Op) int {
		return bytes.Compare(append([]byte{byte(a.Epoch)}, a.Key[:]...), append([]byte{byte(b.Epoch)}, b.Key[:]...))
	})
	return out[:min(n, len(out))], nil
}

func (m *Memory) Count(_ context.Context, keyset [32]byte, until uint64) (n uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.Lines {
		if e.Keyset == keyset && e.Until == until {
			n++
		}
	}
	return n, nil
}

func (m *Memory) Bits(_ context.Context, keyset [32]byte, epoch uint64, bits uint8) (uint8, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bits[keyset] == nil {
		m.bits[keyset] = map[uint64]uint8{}
	}
	if _, ok := m.bits[keyset][epoch]; !ok {
		m.bits[keyset][epoch] = bits
	}
	return m.bits[keyset][epoch], nil
}

func (m *Memory) Fixed(_ context.Context, keyset [32]byte, epoch uint64) (uint8, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n, ok := m.bits[keyset][epoch]; ok {
		return n, nil
	}
	return 0, redeem.ErrAbsent
}

func (m *Memory) Table(_ context.Context, keyset [32]byte, until uint64, low, high [32]byte) (out []credits.TableEntry, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.Lines {
		if e.Keyset == keyset && e.Until == until && bytes.Compare(e.Name[:], low[:]) >= 0 && bytes.Compare(e.Name[:], high[:]) <= 0 {
			out = append(out, e.TableEntry)
		}
	}
	slices.SortFunc(out, func(a, b credits.TableEntry) int { return bytes.Compare(a.Name[:], b.Name[:]) })
	return out, nil
}

var _ redeem.Store = (*Memory)(nil)
