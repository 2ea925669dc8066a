// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/audit"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/transparency/roster/rostertest"
	"github.com/sotto-project/sotto/transparency/statement"
)

// audited is a log that is served, and an auditor's folder.
type audited struct {
	t     *testing.T
	w     *rostertest.World
	epoch *rostertest.Epoch
	urls  []string
	dir   string
	serve func(path string, b []byte) ([]byte, bool) // what a mirror makes of an answer
}

func newAudited(t *testing.T, edit func(int, *statement.Record)) *audited {
	t.Helper()
	now := time.Now()
	a := &audited{t: t, w: rostertest.New(t, 1), dir: t.TempDir()}
	a.epoch = a.w.Epoch(now.Add(-20*time.Minute), edit)
	a.w.Refresh(a.epoch, now)
	note, _, err := a.w.Log.Checkpoint(now)
	if err != nil {
		t.Fatal(err)
	}
	tiles := http.StripPrefix("/v1/log", a.w.Log.Tiles())
	for range 2 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var epoch uint64
			var b []byte
			err := error(nil)
			switch p := r.URL.Path; {
			case p == "/v1/checkpoint":
				b = note
			case p == "/v1/freshness":
				b = a.epoch.Freshness
			case strings.HasPrefix(p, "/v1/statement/"):
				fmt.Sscan(strings.TrimPrefix(p, "/v1/statement/"), &epoch)
				b, err = a.w.Log.Signed(epoch)
			case p == "/v1/pack/1":
				b = a.epoch.Pack
			case strings.HasPrefix(p, "/v1/log/"):
				rec := httptest.NewRecorder()
				tiles.ServeHTTP(rec, r)
				b = rec.Body.Bytes()
				if rec.Code != http.StatusOK {
					err = fmt.Errorf("%d", rec.Code)
				}
			}
			ok := err == nil && b != nil
			if a.serve != nil && ok {
				b, ok = a.serve(r.URL.Path, b)
			}
			if !ok {
				http.Error(w, "absent", http.StatusNotFound)
				return
			}
			w.Write(b)
		}))
		t.Cleanup(s.Close)
		a.urls = append(a.urls, s.URL)
	}
	return a
}

func (a *audited) run(args ...string) (stdout, stderr string, code int, err error) {
	a.t.Helper()
	return a.runPlain(append([]string{"--dir", a.dir}, args...)...)
}

// runPlain runs audit without a folder.
func (a *audited) runPlain(args ...string) (stdout, stderr string, code int, err error) {
	a.t.Helper()
	root := &cobra.Command{Use: "sotto", SilenceUsage: true, SilenceErrors: true}
	load := func(string) (client.Config, error) {
		return client.Config{Relays: a.urls, Trust: a.w.Trust, Policy: a.w.Policy}, nil
	}
	root.AddCommand(cli.Commands(load, "trust.yaml")...)
	return run(a.t, root, "", append([]string{"audit"}, args...)...)
}

func TestAuditFollows(t *testing.T) {
	a := newAudited(t, nil)
	page := filepath.Join(t.TempDir(), "audit.html")
	stdout, stderr, code, err := a.run("--html", page)
	if code != cli.ExitOK || err != nil || !strings.Contains(stdout, "verdict      clean") || !strings.Contains(stdout, "SIMULATED") {
		t.Fatalf("%d %v\n%s%s", code, err, stdout, stderr)
	}
	if b, err := os.ReadFile(page); err != nil || !bytes.Contains(b, []byte("SIMULATED HARDWARE")) {
		t.Errorf("%v", err)
	}
	stdout, _, code, err = a.run("--json")
	var r audit.Report
	if e := json.Unmarshal([]byte(stdout), &r); e != nil || code != 0 || err != nil || r.Totals.Leaves != 2 || r.Totals.NodesJudged != 1 || len(r.Alarms) != 0 {
		t.Errorf("%v %d %v\n%s", e, code, err, stdout)
	}
	if stdout, _, code, err := a.run("--list"); stdout != "" || code != 0 {
		t.Errorf("%q %d %v", stdout, code, err)
	}
}

func TestAuditFollowExitCodes(t *testing.T) {
	t.Run("10", func(t *testing.T) {
		a := newAudited(t, func(_ int, r *statement.Record) { r.REK = bytes.Clone(r.REK); r.REK[3] ^= 1 })
		stdout, _, code, err := a.run()
		if code != 10 || !strings.Contains(stdout, "node.refused epoch 1") || !strings.Contains(stdout, "att.rek.name") {
			t.Errorf("%d %v\n%s", code, err, stdout)
		}
		if _, _, code, err := a.run(); code != 0 {
			t.Errorf("told twice: %d %v", code, err)
		}
		if stdout, _, code, _ := a.run("--list"); code != 0 || !strings.Contains(stdout, "att.rek.name") {
			t.Errorf("%d\n%s", code, stdout)
		}
		a.dir = t.TempDir()
		if _, _, code, err := a.run("--fail-on", "critical"); code != 0 {
			t.Errorf("%d %v", code, err)
		}
	})
	t.Run("20", func(t *testing.T) {
		a := newAudited(t, nil)
		a.serve = func(path string, b []byte) ([]byte, bool) { return b, !strings.HasPrefix(path, "/v1/log/") }
		if _, _, code, err := a.run(); code != 20 {
			t.Errorf("%d %v", code, err)
		}
	})
	t.Run("30", func(t *testing.T) {
		a := newAudited(t, nil)
		a.serve = func(path string, b []byte) ([]byte, bool) { return append(b, 'x'), true }
		if _, _, code, err := a.run(); code != 30 {
			t.Errorf("%d %v", code, err)
		}
	})
	t.Run("1", func(t *testing.T) {
		a := newAudited(t, nil)
		a.urls = []string{"http://127.0.0.1:1", "http://127.0.0.1:2"}
		if _, _, code, err := a.run(); code != 1 {
			t.Errorf("%d %v", code, err)
		}
	})
	t.Run("1 one of two is silent", func(t *testing.T) {
		a := newAudited(t, nil)
		a.urls = []string{a.urls[0], "http://127.0.0.1:1"}
		stdout, _, code, err := a.run()
		if code != 1 || strings.Contains(stdout, "clean") || !strings.Contains(stdout, "1 of 2 mirrors answered") {
			t.Errorf("%d %v\n%s", code, err, stdout)
		}
	})
	t.Run("2", func(t *testing.T) {
		a := newAudited(t, nil)
		for _, args := range [][]string{{"--once", "--watch"}, {"--fail-on", "none"}, {"--metrics", "x"}, {"--mirror", "x"}, {"--packs", "0"}, {"--own", "no such file"}} {
			if _, _, code, err := a.run(args...); code != 2 {
				t.Errorf("%v: %d %v", args, code, err)
			}
		}
		if _, _, code, err := a.runPlain("drill", "cat", "00"); code != 2 {
			t.Errorf("%d %v", code, err)
		}
	})
}

func TestDrillOfWhatIsNotListed(t *testing.T) {
	a := newAudited(t, nil)
	root := &cobra.Command{Use: "sotto", SilenceUsage: true, SilenceErrors: true}
	load := func(string) (client.Config, error) { return client.Config{Relays: a.urls, Trust: a.w.Trust}, nil }
	root.AddCommand(cli.Commands(load, "trust.yaml")...)
	a.serve = func(path string, b []byte) ([]byte, bool) {
		if path == "/v1/statement/latest" {
			b, _ = a.w.Log.Signed(1)
		}
		return b, true
	}
	if _, _, code, err := run(t, root, "", "audit", "drill", "node", strings.Repeat("00", 32)); code != 1 || err == nil || !strings.Contains(err.Error(), "nothing to withdraw") {
		t.Errorf("%d %v", code, err)
	}
}
