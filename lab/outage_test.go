// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/lab"
)

// Of the lab of TestOutages: an epoch, how old a checkpoint its client takes, and
// how soon after a part is back all is well. Checkpoints are made each 3 s.
const (
	outageEpoch = 30 * time.Second
	outageLimit = 6 * time.Second
	outageBack  = 15 * time.Second
)

// TestOutages kills processes of a running lab, -9, and starts them again. One
// client goes through all of it, as do all other processes: nothing else is
// started anew.
func TestOutages(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a minute and a half of waiting for clocks")
	}
	l := startLab(t, "--epoch", outageEpoch.String(), "--shaping", "off")
	cfg, err := lab.LoadTrust(lab.TrustFile(l.ready.Dir))
	if err != nil {
		t.Fatal(err)
	}
	cfg.State, cfg.MaxFreshness = t.TempDir(), outageLimit
	cl, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ask := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var out bytes.Buffer
		return cli.Ask(ctx, cl, "", sky, &out, io.Discard)
	}
	goesOn := func(t *testing.T, for_ time.Duration) {
		t.Helper()
		for end := time.Now().Add(for_); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
			if err := ask(); err != nil {
				t.Fatal(err)
			}
		}
	}
	// closes waits for the refusal, which must come by itself and say why.
	closes := func(t *testing.T, within time.Duration, codes ...string) {
		t.Helper()
		for end := time.Now().Add(within); ; time.Sleep(200 * time.Millisecond) {
			err := ask()
			for _, code := range codes {
				if client.CodeOf(err) == code && strings.Contains(err.Error(), "nothing was sent") {
					t.Log(err)
					return
				}
			}
			if err != nil || time.Now().After(end) {
				t.Fatalf("%v, want %v", err, codes)
			}
		}
	}
	recovers := func(t *testing.T) {
		t.Helper()
		var err error
		for end := time.Now().Add(outageBack); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			if err = ask(); err == nil {
				return
			}
		}
		t.Fatalf("not within %v: %v", outageBack, err)
	}
	// early waits for an epoch that lasts long enough for what follows.
	early := func(t *testing.T) {
		t.Helper()
		for end := time.Now().Add(outageEpoch); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			if v, err := cl.View(t.Context()); err == nil && time.Until(v.NotAfter) > outageEpoch/2 {
				return
			}
		}
		t.Fatal("no epoch began")
	}
	recovers(t)
	t.Run("DS-07/witness-one", func(t *testing.T) {
		kill9(t, l, "witness-1")
		goesOn(t, outageLimit+2*time.Second)
	})
	t.Run("DS-07/witness-quorum", func(t *testing.T) {
		early(t)
		kill9(t, l, "witness-2")
		goesOn(t, time.Second)
		closes(t, outageLimit+5*time.Second, "att.stale")
		again(t, l, "witness", "witness-1")
		recovers(t)
		again(t, l, "witness", "witness-2")
		log := readLog(t, l, "publisher")
		if !strings.Contains(log, "waiting for witnesses") || !strings.Contains(log, "the quorum signs again") {
			t.Errorf("%s", log)
		}
	})
	t.Run("DS-07/publisher", func(t *testing.T) {
		early(t)
		kill9(t, l, "publisher")
		goesOn(t, time.Second)
		closes(t, outageLimit+5*time.Second, "att.stale")
		again(t, l, "publisher", "publisher")
		recovers(t)
	})
	t.Run("DS-07/relay", func(t *testing.T) {
		early(t)
		kill9(t, l, "relay-1")
		goesOn(t, outageLimit+2*time.Second) // past the limit: freshness comes through the other
		closes(t, outageEpoch, "epoch.withheld")
		again(t, l, "relay", "relay-1")
		recovers(t)
	})
	t.Run("DS-07/router", func(t *testing.T) {
		kill9(t, l, "router")
		if err := ask(); client.CodeOf(err) != "origin" { // the request has left this machine, sealed
			t.Errorf("%v, want origin", err)
		}
		again(t, l, "router", "router")
		recovers(t)
	})
	if a := chat(l, sky, true); a.code != "" || !a.done { // the proxy, which was there all the time
		t.Errorf("%+v", a)
	}
}

func kill9(t *testing.T, l *labProcess, seat string) {
	t.Helper()
	pid := l.pid(t, seat)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of "+seat, func() bool { return rolesIn(l.ready.Dir)[seat] != pid })
}

var listenLine = regexp.MustCompile(`(?m)^listen: (\S+)$`)

// again starts a role of a running lab anew, on its port.
func again(t *testing.T, l *labProcess, role, seat string) {
	t.Helper()
	file := filepath.Join(l.ready.Dir, seat+".yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := listenLine.FindSubmatch(b)
	if m == nil {
		t.Fatalf("%s names no port", file)
	}
	// Meanwhile another program's connection may have been given the port.
	ln, err := net.Listen("tcp", string(m[1]))
	for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); ln, err = net.Listen("tcp", string(m[1])) {
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // the child has its own
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out, err := os.OpenFile(filepath.Join(l.ready.Dir, "logs", seat+".log"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(binary, "role", role, "--config", file)
	cmd.ExtraFiles, cmd.Stderr = []*os.File{f}, out
	leash, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Registered with the parent test: the role stays when this sub-test ends.
	l.atEnd = append(l.atEnd, func() { leash.Close(); cmd.Wait() })
}

func readLog(t *testing.T, l *labProcess, seat string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(l.ready.Dir, "logs", seat+".log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
