// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

// Package durabletest runs a loop of durable work in a process of its own and
// ends that process with SIGKILL, or fills its disk, so that tests see what was
// acknowledged and what is there afterwards. It is for tests. It cuts no power:
// what a dead process wrote survives it, synced or not; whether things are synced
// before they are acknowledged is for the failure tables of each package.
package durabletest

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The child's orders.
const (
	envDir   = "SOTTO_DURABLETEST_DIR"
	envRound = "SOTTO_DURABLETEST_ROUND"
	envLimit = "SOTTO_DURABLETEST_LIMIT"
)

// A Work goes on in dir until it is killed, or ends with an error when the disk
// is full. It calls ack for each thing that it has been told is durable.
type Work func(dir string, round int, ack func(format string, args ...any)) error

// Main is the TestMain of a package whose test binary is also the process that
// works.
func Main(m *testing.M, work Work) int {
	dir, ok := os.LookupEnv(envDir)
	if !ok {
		return m.Run()
	}
	if limit, err := strconv.ParseUint(os.Getenv(envLimit), 10, 63); err == nil && limit > 0 {
		signal.Ignore(syscall.SIGXFSZ) // the write fails with EFBIG, as it would with ENOSPC
		r := syscall.Rlimit{Cur: limit, Max: limit}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &r); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 3
		}
	}
	round, _ := strconv.Atoi(os.Getenv(envRound))
	err := work(dir, round, func(format string, args ...any) {
		fmt.Fprintf(os.Stdout, format+"\n", args...) // not buffered: it is with the parent when this returns
	})
	fmt.Fprintln(os.Stderr, err)
	return 4
}

// Rounds is how often a test kills: 20 times, or 4 with -short.
func Rounds() int {
	if testing.Short() {
		return 4
	}
	return 20
}

// Kill starts the work in dir, kills it at a moment drawn from rng, a few
// acknowledgements later, and returns what was acknowledged.
func Kill(t *testing.T, dir string, round int, rng *rand.Rand) []string {
	t.Helper()
	acks, last := run(t, dir, round, 0, 1+rng.IntN(6), time.Duration(rng.Int64N(int64(20*time.Millisecond))))
	if len(acks) == 0 {
		t.Fatalf("round %d: nothing was acknowledged: %s", round, last)
	}
	return acks
}

// Full starts the work in dir with no file allowed to be longer than limit bytes
// and returns what was acknowledged until it gave up, and its last words.
func Full(t *testing.T, dir string, round int, limit uint64) (acks []string, last string) {
	t.Helper()
	acks, last = run(t, dir, round, limit, -1, 0)
	if last == "" || last == "<nil>" {
		t.Errorf("limit %d: no write failed", limit)
	}
	return acks, last
}

func run(t *testing.T, dir string, round int, limit uint64, after int, pause time.Duration) (acks []string, last string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run", "^$")
	cmd.Env = append(os.Environ(), envDir+"="+dir, envRound+"="+strconv.Itoa(round), envLimit+"="+strconv.FormatUint(limit, 10))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer stuck.Stop()
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			break // a line that was cut was not acknowledged
		}
		acks = append(acks, strings.TrimSuffix(line, "\n"))
		if len(acks) == after {
			time.AfterFunc(pause, func() { cmd.Process.Kill() })
		}
	}
	cmd.Wait()
	lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
	return acks, lines[len(lines)-1]
}
