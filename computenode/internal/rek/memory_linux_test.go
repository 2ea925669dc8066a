// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package rek

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// TestErasedFromMemory looks for the ML-KEM seed in this process's memory. The
// ordinary build drops the key, which ends its use but leaves the bytes to the
// allocator; built with GOEXPERIMENT=runtimesecret they are gone.
func TestErasedFromMemory(t *testing.T) {
	keys, _, _ := node(t)
	mask := rotateMasked(t, keys)
	if copies(t, mask) == 0 {
		t.Skip("the seed is not found in memory even while in use")
	}
	if err := keys.Expire(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	scrubStack(64)
	runtime.GC()
	runtime.GC()
	left := copies(t, mask)
	switch {
	case left == 0:
	case wipes:
		t.Errorf("%d copies of the seed in memory after expiry", left)
	default:
		t.Skipf("%d copies of the seed left in free memory: dropped, not wiped, without GOEXPERIMENT=runtimesecret", left)
	}
}

// rotateMasked makes a key and returns the first half of its seed inverted, so
// that the test itself holds no copy.
//
//go:noinline
func rotateMasked(t *testing.T, keys *Keys) []byte {
	rotate(t, keys, 1)
	seed := keys.held[1].pq.dk.Bytes()
	mask := make([]byte, 32)
	for i := range mask {
		mask[i] = ^seed[i]
	}
	clear(seed)
	return mask
}

//go:noinline
func scrubStack(depth int) byte {
	var b [1024]byte
	for i := range b {
		b[i] = byte(depth)
	}
	if depth > 0 {
		b[0] = scrubStack(depth - 1)
	}
	return b[0]
}

// copies counts the places in writable memory that hold the inverse of mask.
func copies(t *testing.T, mask []byte) (n int) {
	t.Helper()
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Skip(err)
	}
	defer mem.Close()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip(err)
	}
	buf := make([]byte, 1<<20)
	for sc := bufio.NewScanner(bytes.NewReader(maps)); sc.Scan(); {
		var from, to int64
		var perm string
		if _, err := fmt.Sscanf(sc.Text(), "%x-%x %s", &from, &to, &perm); err != nil || !strings.HasPrefix(perm, "rw") {
			continue
		}
		for at := from; at < to; at += int64(len(buf)) - 32 {
			clear(buf) // or it would be found in the buffer itself
			got, _ := mem.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
			n += inverseCount(buf[:got], mask)
		}
	}
	clear(buf)
	return n
}

func inverseCount(b, mask []byte) (n int) {
	first := ^mask[0]
	for {
		i := bytes.IndexByte(b, first)
		if i < 0 || len(b)-i < len(mask) {
			return n
		}
		same := true
		for j, m := range mask {
			if b[i+j] != ^m {
				same = false
				break
			}
		}
		if same {
			n++
		}
		b = b[i+1:]
	}
}
