// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package canary

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

// ErrMemory says that this machine does not show the memory of other processes.
var ErrMemory = errors.New("canary: the memory of other processes cannot be read here (needs /proc/PID/mem, and root or the same user with ptrace allowed)")

const (
	page     = 4 << 10
	readSize = 1 << 20
)

// Memory searches every readable mapping of a process, and its arguments and
// environment. It returns how many bytes were not zero. Linux only.
func (r *Run) Memory(pid int) (hits []Hit, searched int64, err error) {
	for _, name := range []string{"cmdline", "environ", "maps"} {
		more, err := r.File(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			return nil, 0, errors.Join(ErrMemory, err)
		}
		hits = append(hits, more...)
	}
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, 0, errors.Join(ErrMemory, err)
	}
	defer maps.Close()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, 0, errors.Join(ErrMemory, err)
	}
	defer mem.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		var m mapping
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %4s", &m.from, &m.to, &m.mode); err != nil {
			return nil, searched, fmt.Errorf("canary: maps: %v", err)
		}
		// [vvar] and [vsyscall] are the kernel's.
		if m.mode[0] != 'r' || strings.Contains(lines.Text(), "[v") {
			continue
		}
		more, n := r.mapping(mem, fmt.Sprintf("process %d, %s", pid, lines.Text()), m)
		hits = append(hits, more...)
		searched += n
	}
	if searched == 0 {
		return nil, 0, ErrMemory
	}
	return hits, searched, lines.Err()
}

type mapping struct {
	from, to uint64
	mode     string
}

// mapping searches one mapping, in pieces that overlap by more than a pattern.
func (r *Run) mapping(mem *os.File, where string, m mapping) (hits []Hit, searched int64) {
	const overlap = 256
	buf := make([]byte, overlap+readSize)
	tail := 0 // bytes kept of the piece before
	for at := m.from; at < m.to; at += readSize {
		n, _ := mem.ReadAt(buf[tail:tail+int(min(readSize, m.to-at))], int64(at)) // device mappings and holes read short
		if n == 0 {
			tail = 0
			continue
		}
		b := buf[:tail+n]
		used := nonZero(b)
		if searched += used; used > 0 {
			for _, h := range r.Find(where, b) {
				h.Offset += int64(at) - int64(tail)
				hits = append(hits, h)
			}
		}
		keep := min(overlap, len(b))
		tail = copy(buf, b[len(b)-keep:])
	}
	return hits, searched
}

// nonZero counts the bytes of pages that hold something.
func nonZero(b []byte) (n int64) {
	for len(b) > 0 {
		p := b[:min(page, len(b))]
		for _, c := range p {
			if c != 0 {
				n += int64(len(p))
				break
			}
		}
		b = b[len(p):]
	}
	return n
}
