// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/transparency/statement"
)

// TestRefusedNodes: a node that was refused shows on every face, whether its
// evidence could be read or not, and a refusal is worth keeping.
func TestRefusedNodes(t *testing.T) {
	w := clienttest.Start(t, 3)
	unread, stale := w.Nodes[0].ID(), w.Nodes[1].ID()
	w.Epoch(time.Now(), time.Hour, clienttest.Edit{Fresh: func(f *statement.Freshness) {
		for i := range f.Items {
			if f.Items[i].NodeID == unread {
				f.Items[i].Bundle = []byte("\x1b[2Jnoise")
			}
		}
		f.Items = slices.DeleteFunc(f.Items, func(i statement.Fresh) bool { return i.NodeID == stale })
	}})
	dir := t.TempDir()
	page, rec, file := filepath.Join(dir, "page.html"), filepath.Join(dir, "record.jwt"), filepath.Join(dir, "evidence.json")
	r := sotto(t, w, cli.ExitRefused, "verify", "--html", page, "--audit", rec, "--audit-key", filepath.Join(dir, "k"), "--save", file)
	has(t, r.stdout, "Verification of 3 nodes", "FAILED", "2 failed", hex.EncodeToString(unread[:]), hex.EncodeToString(stale[:]), "att.format", "no freshness evidence")
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	has(t, string(b), hex.EncodeToString(unread[:]), "att.format", "att.stale")
	o := object(t, sotto(t, w, cli.ExitRefused, "verify", "--json"))
	for _, n := range o["nodes"].([]any) {
		n := n.(map[string]any)
		want := map[string]any{hex.EncodeToString(unread[:]): "att.format", hex.EncodeToString(stale[:]): "att.stale"}[n["id"].(string)]
		if n["code"] != want {
			t.Errorf("%v, want %v", n["code"], want)
		}
	}
	r = sotto(t, w, cli.ExitOK, "verify", "record", rec, "--key", filepath.Join(dir, "k.pub"))
	has(t, r.stdout, "contraindicated", "att.format", "att.stale", hex.EncodeToString(unread[:]))
	r = sotto(t, w, cli.ExitRefused, "verify", "--evidence", file)
	has(t, r.stdout, "2 failed")
	t.Run("evidence that does not parse", func(t *testing.T) {
		w.Epoch(time.Now(), time.Hour, clienttest.Edit{Evidence: func(n *clienttest.Node, b *evidence.Bundle) {
			if n.ID() == unread {
				b.Pieces[0].Data = []byte("\u202e\u009b2J")
			}
		}})
		r := sotto(t, w, cli.ExitRefused, "verify")
		has(t, r.stdout, "1 failed", "FAILED")
		sotto(t, w, cli.ExitRefused, "verify", "node", hex.EncodeToString(unread[:]))
	})
}

// TestNoReport: where the statement itself is refused there is no report, and
// programs get the refusal.
func TestNoReport(t *testing.T) {
	w := clienttest.Start(t, 3)
	w.Epoch(time.Now(), time.Hour, clienttest.Edit{FreshTime: time.Now().Add(-8 * time.Minute)})
	for _, args := range [][]string{{"--json"}, {"--peers", "--json"}, {"node", "00", "--json"}} {
		o := object(t, sotto(t, w, cli.ExitRefused, append([]string{"verify"}, args...)...))
		if o["verdict"] != "failed" || o["code"] != "att.stale" || o["detail"] == "" {
			t.Errorf("%q: %v", args, o)
		}
	}
	if r := sotto(t, w, cli.ExitRefused, "verify"); r.stdout != "" {
		t.Errorf("%q", r.stdout)
	}
}

// TestSimulatedIsRefused: the program as shipped has the vendors' roots, whatever
// a file says.
func TestSimulatedIsRefused(t *testing.T) {
	w := clienttest.Start(t, 1)
	file, _ := save(t, w)
	vendors := func(cfg *client.Config) {
		p := *cfg.Policy
		p.Roots = attestation.VendorRoots()
		cfg.Policy = &p
	}
	r := sottoAt(t, w, vendors, cli.ExitRefused, "verify", "--evidence", file)
	has(t, r.err.Error(), "att.simulated")
	has(t, r.stdout, "att.simulated", "FAILED")
}

func TestUnprintable(t *testing.T) {
	w := clienttest.Start(t, 1)
	root := &cobra.Command{Use: "sotto", SilenceUsage: true, SilenceErrors: true}
	hostile := &client.Error{Code: "cfg", Detail: "\x1b]52;c;x\x07\u202e\u009b \u2066 日本"}
	root.AddCommand(cli.Commands(func(string) (client.Config, error) { return w.Config(), hostile }, "t")...)
	_, _, code, err := run(t, root, "", "verify")
	if code != cli.ExitUsage || err.Error() != "sotto: cfg: ?]52;c;x??? ? 日本 (nothing was sent)" {
		t.Errorf("%d %q", code, err)
	}
}
