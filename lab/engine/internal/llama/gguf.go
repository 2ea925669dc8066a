// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package llama

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// A gguf is a parsed GGUF v3 file: metadata by key, and tensors as views into
// the file's bytes. (Format: ggml's docs/gguf.md.)
type gguf struct {
	meta    map[string]any
	tensors map[string]tensor
}

type tensor struct {
	dims []int // innermost first
	kind uint32
	data []byte
}

// Tensor kinds and metadata types of the format that this engine reads.
const (
	kindF32 = 0
	kindF16 = 1

	typeU8, typeI8, typeU16, typeI16, typeU32, typeI32, typeF32, typeBool = 0, 1, 2, 3, 4, 5, 6, 7
	typeString, typeArray, typeU64, typeI64, typeF64                      = 8, 9, 10, 11, 12
)

// Bounds on what a file may claim, far above what the lab's model needs.
const (
	maxEntries = 1 << 12
	maxArray   = 1 << 20
	maxString  = 1 << 20
)

var errGGUF = errors.New("llama: malformed GGUF file")

// A cursor reads little-endian values and remembers the first overrun.
type cursor struct {
	b   []byte
	off int
	bad bool
}

func (c *cursor) take(n uint64) []byte {
	if c.bad || n > uint64(len(c.b)-c.off) {
		c.bad = true
		return nil
	}
	v := c.b[c.off : c.off+int(n)]
	c.off += int(n)
	return v
}

func (c *cursor) u32() uint32 {
	if v := c.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if v := c.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (c *cursor) str() string {
	n := c.u64()
	if n > maxString {
		c.bad = true
		return ""
	}
	return string(c.take(n))
}

func (c *cursor) value(kind uint32) any {
	switch kind {
	case typeU8, typeI8, typeBool:
		if v := c.take(1); v != nil {
			return uint64(v[0])
		}
	case typeU16, typeI16:
		if v := c.take(2); v != nil {
			return uint64(binary.LittleEndian.Uint16(v))
		}
	case typeU32, typeI32:
		return uint64(c.u32())
	case typeF32:
		return float64(math.Float32frombits(c.u32()))
	case typeU64, typeI64:
		return c.u64()
	case typeF64:
		return math.Float64frombits(c.u64())
	case typeString:
		return c.str()
	case typeArray:
		return c.array()
	}
	c.bad = true
	return nil
}

func (c *cursor) array() any {
	kind, n := c.u32(), c.u64()
	if n > maxArray || kind == typeArray {
		c.bad = true
		return nil
	}
	out := make([]any, 0, min(n, 1<<12))
	for range n {
		if c.bad {
			return nil
		}
		out = append(out, c.value(kind))
	}
	return out
}

func parseGGUF(b []byte) (*gguf, error) {
	c := &cursor{b: b}
	if string(c.take(4)) != "GGUF" || c.u32() != 3 {
		return nil, errGGUF
	}
	tensors, entries := c.u64(), c.u64()
	if c.bad || tensors > maxEntries || entries > maxEntries {
		return nil, errGGUF
	}
	g := &gguf{meta: map[string]any{}, tensors: map[string]tensor{}}
	for range entries {
		key := c.str()
		g.meta[key] = c.value(c.u32())
		if c.bad {
			return nil, errGGUF
		}
	}
	type info struct {
		name string
		tensor
		off uint64
	}
	infos := make([]info, tensors)
	for i := range infos {
		t := &infos[i]
		t.name = c.str()
		rank := c.u32()
		if rank == 0 || rank > 4 {
			return nil, errGGUF
		}
		for range rank {
			d := c.u64()
			if d == 0 || d > 1<<24 {
				return nil, errGGUF
			}
			t.dims = append(t.dims, int(d))
		}
		t.kind, t.off = c.u32(), c.u64()
	}
	if c.bad {
		return nil, errGGUF
	}
	align := 32
	if v, ok := g.meta["general.alignment"].(uint64); ok && v > 0 && v <= 1<<16 {
		align = int(v)
	}
	base := uint64((c.off + align - 1) / align * align)
	for _, t := range infos {
		size, err := t.size()
		if err != nil {
			return nil, fmt.Errorf("%w: tensor %s: %v", errGGUF, t.name, err)
		}
		if base > uint64(len(b)) || t.off > uint64(len(b))-base || size > uint64(len(b))-base-t.off {
			return nil, errGGUF
		}
		t.data = b[base+t.off : base+t.off+size]
		g.tensors[t.name] = t.tensor
	}
	return g, nil
}

func (t *tensor) size() (uint64, error) {
	n := uint64(1)
	for _, d := range t.dims {
		if n *= uint64(d); n > 1<<30 {
			return 0, errors.New("too large")
		}
	}
	switch t.kind {
	case kindF32:
		return 4 * n, nil
	case kindF16:
		return 2 * n, nil
	}
	return 0, fmt.Errorf("type %d; this engine reads F32 and F16", t.kind)
}

// floats returns the tensor's values, widened to float32.
func (t *tensor) floats() []float32 {
	if t.kind == kindF32 {
		out := make([]float32, len(t.data)/4)
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.data[4*i:]))
		}
		return out
	}
	out := make([]float32, len(t.data)/2)
	for i := range out {
		out[i] = half(binary.LittleEndian.Uint16(t.data[2*i:]))
	}
	return out
}

// half widens an IEEE 754 binary16.
func half(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exp {
	case 0:
		f := float32(frac) / (1 << 24)
		if sign != 0 {
			f = -f
		}
		return f
	case 0x1f:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}
