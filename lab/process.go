// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A process is one role, running as a process of its own: the lab's own
// program, executed again with a role's name.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   string        // file with its standard error
	ready chan error    // one value: nil when it serves, or why it does not
	done  chan struct{} // closed when it has ended; err is set then
	err   error

	// leash is the write end of the child's standard input. Nothing is ever
	// written to it: when this process ends, however it ends, the child reads
	// the end of its input and stops. No role outlives the lab.
	leash io.Closer
}

// startTimeout is how long a role may take until it says that it serves. One
// that ends is reported at once; this is for one that stands still, which on a
// machine that runs twenty labs cannot be told from a slow one before.
const startTimeout = 2 * time.Minute

// prepare starts a role. The child inherits the seat's listeners, already
// listening, so that no other program can take a port in between.
func (l *Lab) prepare(s *seat) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{name: s.name, log: filepath.Join(l.dir, "logs", s.name+".log"), done: make(chan struct{}), ready: make(chan error, 1)}
	logf, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer logf.Close()
	p.cmd = exec.Command(exe, "role", cmp.Or(s.twin, s.role), "--config", s.config)
	if l.opts.Profile != "" {
		p.cmd.Args = append(p.cmd.Args, "--profile", filepath.Join(l.opts.Profile, s.name))
	}
	p.cmd.Stderr = logf
	if p.leash, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	for _, ln := range s.listeners {
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			return nil, err
		}
		defer f.Close()
		p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, f)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	l.processes = append(l.processes, p)
	go p.watch(out)
	return p, nil
}

// awaitServing returns when the role serves.
func (p *process) awaitServing(ctx context.Context) error {
	select {
	case err := <-p.ready:
		if err != nil {
			return fmt.Errorf("%s did not start: %v%s", p.name, err, p.lastWords())
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(startTimeout):
		return fmt.Errorf("%s did not start within %v%s", p.name, startTimeout, p.lastWords())
	}
}

// over reports whether the process has ended.
func (p *process) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// serving is the line by which a role says that it serves.
const serving = "serving"

func (p *process) watch(out io.Reader) {
	s := bufio.NewScanner(out)
	for s.Scan() {
		if s.Text() == serving {
			p.ready <- nil
			break
		}
	}
	io.Copy(io.Discard, out)
	p.err = p.cmd.Wait()
	select {
	case p.ready <- fmt.Errorf("it ended (%v)", p.err):
	default:
	}
	close(p.done)
}

// lastWords is the end of the role's log, for an error message.
func (p *process) lastWords() string {
	b, err := os.ReadFile(p.log)
	if err != nil || len(b) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return ":\n  " + strings.Join(lines[max(0, len(lines)-5):], "\n  ") + "\n  (whole log: " + p.log + ")"
}

// stop ends the process: first by its leash, then by force.
func (p *process) stop() {
	p.leash.Close()
	select {
	case <-p.done:
		return
	case <-time.After(5 * time.Second):
	}
	p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
}

// untilUnleashed returns a context that ends with ctx, or when the lab that
// started this role has gone.
func untilUnleashed(ctx context.Context, stdin io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		io.Copy(io.Discard, stdin)
		cancel()
	}()
	return ctx, cancel
}

// inherited returns the listeners that [Lab.prepare] handed to this process.
func inherited(n int) ([]net.Listener, error) {
	lns := make([]net.Listener, n)
	for i := range lns {
		f := os.NewFile(uintptr(3+i), "listener")
		if f == nil {
			return nil, errors.New("lab: this command is run by sotto-lab itself")
		}
		ln, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("lab: this command is run by sotto-lab itself: %v", err)
		}
		lns[i] = ln
	}
	return lns, nil
}
