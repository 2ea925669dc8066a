// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/audit"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/transparency/statement"
)

// freePort is an address that nothing listened on a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// A watching is `sotto audit --watch` that runs until it is interrupted.
type watching struct {
	t      *testing.T
	stop   context.CancelFunc
	ended  chan error
	mu     sync.Mutex // guards what it prints
	out    bytes.Buffer
	stderr bytes.Buffer
}

func (w *watching) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(b)
}

func (w *watching) said() string { w.mu.Lock(); defer w.mu.Unlock(); return w.out.String() }

func (a *audited) watch(args ...string) *watching {
	a.t.Helper()
	root := &cobra.Command{Use: "sotto", SilenceUsage: true, SilenceErrors: true}
	load := func(string) (client.Config, error) {
		return client.Config{Relays: a.urls, Trust: a.w.Trust, Policy: a.w.Policy}, nil
	}
	root.AddCommand(cli.Commands(load, "trust.yaml")...)
	w := &watching{t: a.t, ended: make(chan error, 1)}
	root.SetOut(w)
	root.SetErr(&w.stderr) // read when it has ended
	root.SetArgs(append([]string{"audit", "--watch", "--every", "20ms", "--dir", a.dir}, args...))
	var ctx context.Context
	ctx, w.stop = context.WithTimeout(a.t.Context(), 20*time.Second)
	go func() { w.ended <- root.ExecuteContext(ctx) }()
	a.t.Cleanup(w.stop)
	return w
}

// interrupt ends it as Ctrl-C does, and says how it ended.
func (w *watching) interrupt() (int, error) {
	w.t.Helper()
	w.stop()
	err := <-w.ended
	return cli.ExitCode(err), err
}

func (w *watching) until(what string, cond func() bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-w.ended:
			w.t.Fatalf("ended before %s: %v\n%s%s", what, err, w.said(), w.stderr.String())
		default:
		}
		if time.Now().After(end) {
			w.t.Fatalf("not within 10 s: %s\n%s", what, w.said())
		}
	}
}

func TestAuditWatches(t *testing.T) {
	a := newAudited(t, func(_ int, r *statement.Record) { r.REK = bytes.Clone(r.REK); r.REK[3] ^= 1 })
	addr, page := freePort(t), filepath.Join(t.TempDir(), "audit.html")
	w := a.watch("--json", "--metrics", addr, "--html", page)
	scrape := func() string {
		resp, err := http.Get("http://" + addr + "/metrics")
		if err != nil {
			return ""
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	w.until("two looks", func() bool {
		s := scrape()
		return strings.Contains(s, `sotto_auditor_alarms_total{code="node.refused"} 1`) && !strings.Contains(s, "sotto_auditor_looks_total 0") && !strings.Contains(s, "sotto_auditor_looks_total 1\n")
	})
	s := scrape()
	for _, want := range []string{"sotto_auditor_leaves 2", "sotto_auditor_log_leaves 2", "sotto_auditor_mirrors_up 2", "sotto_auditor_nodes_judged_total 1", "sotto_auditor_nodes_refused_total 1",
		"sotto_auditor_looks_failed_total 0", `sotto_auditor_alarms_total{code="log.fork"} 0`} {
		if !strings.Contains(s, want+"\n") {
			t.Errorf("no %s in\n%s", want, s)
		}
	}
	for _, secret := range []string{a.urls[0], strings.TrimPrefix(a.urls[0], "http://")} {
		if strings.Contains(s, secret) {
			t.Errorf("the metrics name %s", secret)
		}
	}
	if b, err := os.ReadFile(page); err != nil || !bytes.Contains(b, []byte("node.refused")) {
		t.Errorf("the page: %v", err)
	}
	code, err := w.interrupt()
	if code != 10 || err == nil || !strings.Contains(err.Error(), "1 told") {
		t.Errorf("interrupted: %d %v", code, err)
	}
	var alarm audit.Alarm
	if err := json.Unmarshal([]byte(w.said()), &alarm); err != nil || alarm.Code != audit.NodeRefused || strings.Count(w.said(), "\n") != 1 {
		t.Errorf("one alarm a line, once: %v\n%s", err, w.said())
	}
	if scrape() != "" {
		t.Error("metrics outlive the command")
	}
}

func TestAuditWatchesQuietly(t *testing.T) {
	a := newAudited(t, nil)
	w := a.watch()
	w.until("a look", func() bool { _, err := os.Stat(filepath.Join(a.dir, "state.json")); return err == nil })
	if code, err := w.interrupt(); code != 0 || err != nil || !strings.Contains(w.said(), "verdict      clean") {
		t.Errorf("%d %v\n%s", code, err, w.said())
	}
}

// TestAuditSaysTheSameTroubleOnce: mirrors that are down for a night are one line.
func TestAuditSaysTheSameTroubleOnce(t *testing.T) {
	a := newAudited(t, nil)
	var mu sync.Mutex
	asked := 0
	a.serve = func(path string, b []byte) ([]byte, bool) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(path, "/v1/log/") {
			asked++
		}
		return b, !strings.HasPrefix(path, "/v1/log/")
	}
	w := a.watch()
	w.until("several looks", func() bool { mu.Lock(); defer mu.Unlock(); return asked > 8 })
	code, err := w.interrupt()
	if n := strings.Count(w.stderr.String(), "no mirror serves the log"); n != 1 || code != 20 && code != 0 {
		t.Errorf("%d %v, said %d times:\n%s", code, err, n, w.stderr.String())
	}
}

// TestAuditMetricsThatCannotBeServed end the command: nobody would look.
func TestAuditMetricsThatCannotBeServed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	w := newAudited(t, nil).watch("--metrics", ln.Addr().String())
	select {
	case err := <-w.ended:
		if cli.ExitCode(err) != 1 {
			t.Errorf("%v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it goes on")
	}
}
