// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sotto-project/sotto/lab"
)

// binary is the sotto-lab that was built for this run, in a directory of its
// own: whatever runs it was started by these tests.
var binary string

// shipped is the sotto that users have.
var shipped string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sotto-lab-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "sotto-lab")
	shipped = filepath.Join(dir, "sotto")
	build := exec.Command("go", "build", "-o", dir, "./cmd/sotto-lab", "./cmd/sotto")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v: %v\n%s", build.Args, err, out)
		return 1
	}
	// The lab notes where it runs below the user's cache; these labs are not
	// the user's.
	os.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	code := m.Run()
	if left := running(binary); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "processes of a lab outlive the tests: %v\n", left)
		return 1
	}
	return code
}

// A running process of the lab.
type proc struct {
	pid  int
	args []string
}

// role is the name after "role" in the arguments; "" for the lab itself. seat
// is the configuration file's name, such as "node-2".
func (p proc) role() (role, seat string) {
	if i := slices.Index(p.args, "role"); i == 1 && len(p.args) > 4 {
		return p.args[2], strings.TrimSuffix(filepath.Base(p.args[4]), ".yaml")
	}
	return "", ""
}

// running lists the processes that run the program at path. Linux only;
// elsewhere it is empty.
func running(path string) []proc {
	var out []proc
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, l := range links {
		exe, err := os.Readlink(l)
		if err != nil || strings.TrimSuffix(exe, " (deleted)") != path {
			continue
		}
		b, err := os.ReadFile(filepath.Join(filepath.Dir(l), "cmdline"))
		if err != nil || len(b) == 0 {
			continue // it has just ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(l)))
		out = append(out, proc{pid, strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")})
	}
	return out
}

// rolesIn lists the roles of the lab in dir.
func rolesIn(dir string) map[string]int {
	out := map[string]int{}
	for _, p := range running(binary) {
		if _, seat := p.role(); seat != "" && strings.HasPrefix(p.args[4], dir+string(filepath.Separator)) {
			out[seat] = p.pid
		}
	}
	return out
}

// A labProcess is a running sotto-lab.
type labProcess struct {
	cmd    *exec.Cmd
	ready  lab.Ready
	raw    []byte // the line
	ended  chan struct{}
	err    error // of Wait; after ended
	stderr lockedBuffer
	atEnd  []func() // stops roles that a test started again
}

// lockedBuffer may be read while a process writes into it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startLab starts a lab for one test and stops it at its end.
func startLab(t testing.TB, args ...string) *labProcess {
	t.Helper()
	l := &labProcess{cmd: exec.Command(binary, append([]string{"--json"}, args...)...), ended: make(chan struct{})}
	l.cmd.Stderr = &l.stderr
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.raw, err = bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(l.raw, &l.ready)
	}
	go func() {
		io.Copy(io.Discard, out)
		l.err = l.cmd.Wait()
		close(l.ended)
	}()
	t.Cleanup(func() {
		for _, f := range l.atEnd {
			f()
		}
		l.stop(t)
	})
	if err != nil || l.ready.Event != "ready" {
		t.Fatalf("sotto-lab %v printed %q (%v) and no ready line:\n%s", args, l.raw, err, &l.stderr)
	}
	return l
}

// stop interrupts the lab as Ctrl-C does, unless it has ended, and waits.
func (l *labProcess) stop(t testing.TB) {
	t.Helper()
	l.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-l.ended:
	case <-time.After(15 * time.Second):
		l.cmd.Process.Kill()
		<-l.ended
		t.Error("the lab did not stop within 15 s of an interrupt")
	}
}

// pid returns the process of a role, such as "relay-1".
func (l *labProcess) pid(t *testing.T, seat string) int {
	t.Helper()
	pid := rolesIn(l.ready.Dir)[seat]
	if pid == 0 {
		if runtime.GOOS != "linux" {
			t.Skip("finds processes in /proc, which is Linux's")
		}
		t.Fatalf("no process for %s", seat)
	}
	return pid
}

// eventually waits up to ten seconds for cond.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
