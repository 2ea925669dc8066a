// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

// Package pgtest runs a PostgreSQL server of its own for tests: on a Unix
// socket in a temporary directory, as an unprivileged user where the test is
// root. It is for tests and for the lab.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Server is one that runs.
type Server struct {
	dir  string
	bin  string
	cred *syscall.Credential
	cmd  *exec.Cmd
	dbs  atomic.Int64
}

// Missing says what a test lacks, "" if it lacks nothing.
func Missing() string {
	if _, err := binaries(); err != nil {
		return err.Error()
	}
	return ""
}

func binaries() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.Sort(found)
	if len(found) == 0 {
		return "", errors.New("no PostgreSQL server is installed (no /usr/lib/postgresql/*/bin/initdb): apt-get install postgresql")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// Start starts a server for the length of a test, which is skipped where no
// server is installed.
func Start(t testing.TB) *Server {
	t.Helper()
	if m := Missing(); m != "" {
		t.Skip(m)
	}
	s, err := Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Run starts a server in a new temporary directory, in memory where there is a
// file system for that: a killed process is a crash there, too. What measures
// takes [RunIn] a disk.
func Run() (*Server, error) {
	const memory = "/dev/shm"
	if dir, err := os.MkdirTemp(memory, "sottopg"); err == nil {
		os.Remove(dir)
		return RunIn(memory)
	}
	return RunIn("")
}

// RunIn starts a server in a new directory in a parent; "": the system's for
// temporary files.
func RunIn(parent string) (*Server, error) {
	s := &Server{}
	var err error
	if s.bin, err = binaries(); err != nil {
		return nil, err
	}
	// Not testing.TB's directory: its parents are closed to other users, and its
	// name is too long for a socket.
	if s.dir, err = os.MkdirTemp(parent, "sottopg"); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 {
		if s.cred, err = nobody(); err != nil {
			return nil, err
		}
		if err := os.Chown(s.dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			return nil, err
		}
	}
	if err := s.run("initdb", "-D", s.data(), "-U", "bank", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	if err := s.Restart(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	return s, nil
}

func nobody() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, err := strconv.ParseUint(u.Uid, 10, 32)
			if err != nil {
				return nil, err
			}
			gid, err := strconv.ParseUint(u.Gid, 10, 32)
			if err != nil {
				return nil, err
			}
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("pgtest: root, and no user postgres or nobody")
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, name), args...)
	c.Dir = s.dir
	c.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred, Setpgid: true}
	return c
}

func (s *Server) run(name string, args ...string) error {
	if out, err := s.command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("pgtest: %s: %v\n%s", name, err, out)
	}
	return nil
}

// Restart starts the server on what is in its directory, and returns when it
// answers.
func (s *Server) Restart() error {
	var log bytes.Buffer
	s.cmd = s.command("postgres", "-D", s.data(), "-k", s.dir, "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "dynamic_shared_memory_type=mmap", "-c", "log_min_messages=fatal")
	s.cmd.Stderr = &log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(time.Minute); ; {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		c, err := pgx.Connect(ctx, s.conn("postgres"))
		if err == nil {
			c.Close(ctx)
			cancel()
			return nil
		}
		cancel()
		if time.Now().After(end) {
			return errors.Join(fmt.Errorf("pgtest: no answer: %v\n%s", err, log.String()), s.Kill())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Kill ends the server and its children at once, as a crash would.
func (s *Server) Kill() error {
	if s.cmd == nil {
		return nil
	}
	err := syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	// Its children hold the connections and its shared memory: gone with their group.
	s.cmd.Wait()
	s.cmd = nil
	os.Remove(filepath.Join(s.data(), "postmaster.pid"))
	return err
}

// Close ends the server and removes its directory.
func (s *Server) Close() error {
	if s.cmd != nil {
		// A fast shutdown takes its shared memory with it.
		stuck := time.AfterFunc(20*time.Second, func() { s.cmd.Process.Kill() })
		err := s.cmd.Process.Signal(os.Interrupt)
		s.cmd.Wait()
		stuck.Stop()
		s.cmd = nil
		if err != nil {
			return errors.Join(err, os.RemoveAll(s.dir))
		}
	}
	return os.RemoveAll(s.dir)
}

func (s *Server) conn(db string) string {
	return fmt.Sprintf("host=%s user=bank dbname=%s", s.dir, db)
}

// Database makes a new database and returns its connection string.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, s.conn("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	name := fmt.Sprintf("bank%d", s.dbs.Add(1))
	if _, err := c.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return s.conn(name)
}
