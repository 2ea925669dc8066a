// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// self is the name under which this process, the client, is counted.
const self = "client"

// processes are the lab's and this one. (What a machine without /proc cannot
// say is 0 in the result.)
func (s *session) processes() map[string]int {
	pids := s.lab.Processes()
	pids[self] = os.Getpid()
	return pids
}

// role is the name of a process without its number: figures are added up over
// the nodes and over the relays.
func role(name string) string { return strings.TrimRight(name, "-0123456789") }

// cpu is the CPU time of each role so far.
func (s *session) cpu() map[string]time.Duration {
	used := map[string]time.Duration{}
	for name, pid := range s.processes() {
		used[role(name)] += cpuTime(pid)
	}
	return used
}

// A meter adds up the CPU time of what was done each way.
type meter struct {
	s     *session
	used  map[*way]map[string]time.Duration
	times map[*way]int
}

func newMeter(s *session) *meter {
	return &meter{s, map[*way]map[string]time.Duration{}, map[*way]int{}}
}

// during counts f, which does n things by way of w.
func (m *meter) during(w *way, n int, f func() error) error {
	before := m.s.cpu()
	err := f()
	if m.used[w] == nil {
		m.used[w] = map[string]time.Duration{}
	}
	for role, d := range m.s.cpu() {
		m.used[w][role] += d - before[role]
	}
	m.times[w] += n
	return err
}

// each spreads what was counted over the things done, in ms, leaving out roles
// that took no part.
func (m *meter) each(w *way) map[string]float64 {
	out := map[string]float64{}
	var total time.Duration
	for role, d := range m.used[w] {
		total += d
		if ms := d.Seconds() * 1e3 / float64(m.times[w]); ms >= 0.005 {
			out[role] = round(ms, 3)
		}
	}
	out["all"] = round(total.Seconds()*1e3/float64(m.times[w]), 3)
	return out
}

// cpuTime adds up what the threads of a process ran, to the nanosecond: the
// first figure of their schedstat. A thread that ended is lost; Go's stay.
func cpuTime(pid int) time.Duration {
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	var sum time.Duration
	for _, p := range paths {
		b, _ := os.ReadFile(p)
		first, _, _ := strings.Cut(string(b), " ")
		ns, _ := strconv.ParseInt(first, 10, 64)
		sum += time.Duration(ns)
	}
	return sum
}

// watchMemory returns the resident memory of each process in MiB, and has the
// kernel measure its peak anew from here.
func (s *session) watchMemory() (map[string]float64, error) {
	for _, pid := range s.processes() {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
			return nil, nil // no such kernel: peaks since the start, less nothing
		}
	}
	return s.memory("VmRSS:")
}

// memoryPeaks returns the peaks since watchMemory.
func (s *session) memoryPeaks() (map[string]float64, error) { return s.memory("VmHWM:") }

func (s *session) memory(field string) (map[string]float64, error) {
	out := map[string]float64{}
	for name, pid := range s.processes() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, field); ok {
				kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
				if err != nil {
					return nil, err
				}
				out[name] = kb / 1024
			}
		}
	}
	return out, nil
}

// load is the machine's 1-minute load average.
func load() float64 {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(first, 64)
	return v
}
