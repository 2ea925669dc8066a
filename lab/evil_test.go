// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/lab"
)

// TestEvil provokes each hostile mode through the built program. The names are
// the attacks' rows, then the mode's.
func TestEvil(t *testing.T) {
	modes := []struct {
		row, mode, code string
		says            []string // on stderr
	}{
		{"CR-02", "truncate", "stream.truncated", []string{"router left out the last", "by the client", "left sealed"}},
		{"CR-15", "replay", "replay", []string{"sealed bytes to the gateway twice", "by the gateway"}},
		{"CR-16", "replay-node", "replay", []string{"handed a node the same request", "by the node"}},
		{"RT-01", "steer", "route.candidate", []string{"to a node of its own", "by the client", "left sealed"}},
		{"AT-24", "swap-node", "att.rek.name", []string{"with the request key of node", "by the client", "0 bytes went to any relay"}},
		{"AT-01", "stale-evidence", "att.stale", []string{"cosigned 30m0s ago", "by the client", "before it had read the first byte"}},
		{"AT-54", "no-gpu", "att.gpu.absent", []string{"left its GPU out", "by the client", "0 bytes went to any relay"}},
		{"AT-64", "ima", "att.ima.entry", []string{"loaded the kernel module", "by the client", "0 bytes went to any relay"}},
		{"AT-48", "split-log", "log.fork", []string{"signed a second log", "by the client", "before it had read the first byte"}},
		{"AT-49", "unwitnessed-log", "log.witness", []string{"no quorum of witnesses signed it", "by the client", "before it had read the first byte"}},
		{"CR-12", "two-statements", "log.index", []string{"a second statement for epoch 1", "by the client", "before it had read the first byte"}},
		{"AT-47", "rollback-log", "log.rollback", []string{"as the newest, after one of 3", "by the client", "before it had read the first byte"}},
		{"AT-51", "withhold", "epoch.withheld", []string{"goes on serving epoch 1", "by the client", "before it had read the first byte"}},
		{"AT-42", "unlogged-image", "log.absent", []string{"in no logged release", "by the client", "before it had read the first byte"}},
		{"AT-51", "withdrawn-image", "att.image.revoked", []string{"whose image was withdrawn", "by the client", "0 bytes went to any relay"}},
		{"CT-01", "double-spend", "credit.spent", []string{"from a copy of its wallet", "by the bank", "left sealed"}},
		{"CT-10", "refund-inflate", "credit.refund", []string{"had used -64 64ths", "by the router", "left sealed"}},
		{"CT-14", "issuer-mark", "key.consistency", []string{"keys that it made for this one user", "by the client", "left sealed"}},
		{"CT-21", "bank-amnesia", "bank.generation", []string{"in a database of generation 0", "by the router", "left sealed"}},
		{"RT-05", "key-swap", "key.consistency", []string{"signed a second statement", "by the client", "before it had read the first byte"}},
	}
	if len(modes) != len(lab.Modes) {
		t.Errorf("%d modes, %d of them tested", len(lab.Modes), len(modes))
	}
	for _, m := range modes {
		t.Run(m.row+"/"+m.mode, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := once(t, "--evil", m.mode, "--once", sky)
			if code != 0 || stdout != "refused "+m.code+"\n" {
				t.Errorf("exit %d, stdout %q, want refused %s; stderr:\n%s", code, stdout, m.code, stderr)
			}
			says := append(m.says, "SIMULATED", "the same state with honest parts answers")
			if m.code != "replay" && !slices.Contains(m.says, "left sealed") {
				says = append(says, "(nothing was sent)")
			}
			for _, s := range says {
				if !strings.Contains(stderr, s) {
					t.Errorf("stderr does not say %q:\n%s", s, stderr)
				}
			}
		})
	}
}

// TestStateOutlivesItsHostileParts: what a hostile part has left in a directory
// does not keep honest ones from working there, nor the next hostile part from
// being refused for its own reason.
func TestStateOutlivesItsHostileParts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, step := range []struct{ mode, want string }{
		{"swap-node", "refused att.rek.name"}, {"", "blue"}, {"stale-evidence", "refused att.stale"}, {"key-swap", "refused key.consistency"}, {"", "blue"},
	} {
		args := []string{"--dir", dir, "--once", sky}
		if step.mode != "" {
			args = append(args, "--evil", step.mode)
		}
		if stdout, stderr, code := once(t, args...); code != 0 || !strings.Contains(stdout, step.want) {
			t.Fatalf("mode %q: exit %d, stdout %q, want %q; stderr:\n%s", step.mode, code, stdout, step.want, stderr)
		}
	}
}

// TestEvilWithoutOnce leaves the lab running, for people to try.
func TestEvilWithoutOnce(t *testing.T) {
	for mode, code := range map[string]string{"swap-node": "att.rek.name", "truncate": "stream.truncated"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			l := startLab(t, "--evil", mode)
			if len(l.ready.Relays) != 2 || l.ready.Router == "" || l.ready.Publisher == "" {
				t.Errorf("ready line %s", l.raw)
			}
			cmd := exec.Command(binary, "chat", "--trust", lab.TrustFile(l.ready.Dir))
			cmd.Stdin = strings.NewReader(sky)
			if _, stderr, exit := finish(t, cmd); exit != 10 || !strings.Contains(stderr, code) {
				t.Errorf("chat with a hostile lab: exit %d, stderr %q; want 10 and %s", exit, stderr, code)
			}
		})
	}
}

func TestEvilList(t *testing.T) {
	stdout, _, code := once(t, "--evil", "list")
	if lines := strings.Split(strings.TrimSpace(stdout), "\n"); code != 0 || len(lines) != len(lab.Modes) {
		t.Errorf("exit %d, %d lines for %d modes:\n%s", code, len(lines), len(lab.Modes), stdout)
	}
	for _, m := range lab.Modes {
		if !strings.Contains(stdout, m.Name+" ") || !strings.Contains(stdout, m.Code) || !strings.Contains(stdout, m.About) {
			t.Errorf("the list does not explain %s:\n%s", m.Name, stdout)
		}
	}
}

func TestEvilUnknown(t *testing.T) {
	for _, args := range [][]string{{"--evil", "nice", "--once", sky}, {"--evil", "nice"}, {"--evil=TRUNCATE", "--once", sky}} {
		if stdout, stderr, code := once(t, args...); code != 2 || stdout != "" || !strings.Contains(stderr, "--evil list") {
			t.Errorf("%v: exit %d, stdout %q, stderr %q; want 2 and the way to the list", args, code, stdout, stderr)
		}
	}
	if _, _, code := once(t, "--evli", "truncate"); code != 2 {
		t.Errorf("unknown flag: exit %d, want 2", code)
	}
}
