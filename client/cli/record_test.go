// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/client/internal/clienttest"
)

// TestAudit: two parties judge the same evidence, sign what they found, and check
// each other's record.
func TestAudit(t *testing.T) {
	w := clienttest.Start(t, 2)
	evidence, saved := save(t, w)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	audit := func(name string, tune func(*client.Config), code int) {
		t.Helper()
		sottoAt(t, w, tune, code, "verify", "--brief", "--evidence", evidence, "--at", "saved",
			"--audit", path(name+".jwt"), "--audit-key", path(name), "--audit-name", "party "+name)
	}
	r := sotto(t, w, cli.ExitOK, "verify", "--json", "--evidence", evidence, "--at", "saved", "--audit", path("a.jwt"), "--audit-key", path("a"), "--audit-name", "party a")
	object(t, r)
	has(t, r.stderr, "a key that signs records was made", path("a")+".pub")
	audit("b", nil, cli.ExitOK)
	key, other := path("a.pub"), path("b.pub")
	t.Run("a crash between the halves of a new key", func(t *testing.T) {
		public, err := os.ReadFile(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(key); err != nil {
			t.Fatal(err)
		}
		sotto(t, w, cli.ExitOK, "verify", "--brief", "--evidence", evidence, "--at", "saved", "--audit", path("crash.jwt"), "--audit-key", path("a"))
		if again, err := os.ReadFile(key); err != nil || !bytes.Equal(again, public) {
			t.Errorf("the public half did not come back: %q, %v", again, err)
		}
		if i, err := os.Stat(path("a")); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("key: %v, %v", i, err)
		}
	})
	t.Run("the files", func(t *testing.T) {
		page, err := os.ReadFile(path("a.jwt.html"))
		if err != nil {
			t.Fatal(err)
		}
		has(t, string(page), "Record of a verification", "party a", "SIMULATED", "tpm.quote")
		if st, err := os.Stat(path("a")); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", st.Mode(), err)
		}
		if again := sotto(t, w, cli.ExitOK, "verify", "--brief", "--evidence", evidence, "--at", "saved", "--audit", path("again.jwt"), "--audit-key", path("a"), "--audit-name", "party a"); again.stderr != "" {
			t.Errorf("the key is there already: %q", again.stderr)
		}
		x, err := os.ReadFile(path("a.jwt"))
		if err != nil {
			t.Fatal(err)
		}
		if y, err := os.ReadFile(path("again.jwt")); err != nil || !bytes.Equal(x, y) {
			t.Errorf("the same evidence, time and key give another record: %v", err)
		}
	})
	t.Run("one record", func(t *testing.T) {
		r := sotto(t, w, cli.ExitOK, "verify", "record", path("a.jwt"), "--key", key)
		has(t, r.stdout, "record\n", "party a", "verified with named gaps", "SIMULATED", "node ", "policy", saved.Time.Format(time.RFC3339))
		o := object(t, sotto(t, w, cli.ExitOK, "verify", "record", path("a.jwt"), "--key", key, "--json"))
		if rec := o["record"].(map[string]any); rec["name"] != "party a" || rec["claims"] == nil || o["agree"] != nil {
			t.Errorf("%v", o)
		}
	})
	t.Run("two agree", func(t *testing.T) {
		args := []string{"verify", "record", path("a.jwt"), "--key", key, "--against", path("b.jwt"), "--key", other}
		has(t, sotto(t, w, cli.ExitOK, args...).stdout, `which calls itself "party b"`, "agree      same nodes")
		if o := object(t, sotto(t, w, cli.ExitOK, append(args, "--json")...)); o["agree"] != true {
			t.Errorf("%v", o)
		}
	})
	t.Run("another policy", func(t *testing.T) {
		audit("c", func(cfg *client.Config) {
			p := *cfg.Policy
			p.SNP.AllowAnyChip = false
			cfg.Policy = &p
		}, cli.ExitRefused)
		r := sotto(t, w, cli.ExitOK, "verify", "record", path("a.jwt"), "--key", key, "--against", path("c.jwt"), "--key", path("c.pub"))
		has(t, r.stdout, "differ ", "policy_sha256 (judged by different policies)", "verdict (may be because of: policy)")
	})
	t.Run("another epoch", func(t *testing.T) {
		w.Epoch(time.Now(), time.Hour)
		sotto(t, w, cli.ExitOK, "verify", "--brief", "--audit", path("d.jwt"), "--audit-key", path("d"))
		r := sotto(t, w, cli.ExitOK, "verify", "record", path("a.jwt"), "--key", key, "--against", path("d.jwt"), "--key", path("d.pub"))
		has(t, r.stdout, "statement_sha256 (may be because of: time)")
	})
	t.Run("a contradiction", func(t *testing.T) {
		o := clienttest.Start(t, 2) // an operator's other world, of the same epoch, under the same policy
		sottoAt(t, o, func(cfg *client.Config) { cfg.Policy = samePolicy(cfg.Policy, w.Policy) }, cli.ExitOK, "verify", "--brief", "--audit", path("e.jwt"), "--audit-key", path("e"))
		args := []string{"verify", "record", path("a.jwt"), "--key", key, "--against", path("e.jwt"), "--key", path("e.pub")}
		r := sotto(t, w, cli.ExitRefused, args...)
		has(t, r.stdout, "NOTHING ACCOUNTS FOR THIS")
		has(t, r.err.Error(), "record.contradiction", "statement_sha256")
		j := object(t, sotto(t, w, cli.ExitRefused, append(args, "--json")...))
		if j["agree"] != false || len(j["differences"].([]any)) == 0 {
			t.Errorf("%v", j)
		}
	})
	t.Run("keys", func(t *testing.T) {
		has(t, sotto(t, w, cli.ExitRefused, "verify", "record", path("a.jwt"), "--key", other).err.Error(), "record.key", "from the signer")
		has(t, sotto(t, w, cli.ExitRefused, "verify", "record", path("a.jwt"), "--key", key, "--against", path("b.jwt")).err.Error(), "record.key", "b.jwt")
		has(t, sotto(t, w, cli.ExitUsage, "verify", "record", path("a.jwt")).err.Error(), "--key PUB")
		has(t, sotto(t, w, cli.ExitFailed, "verify", "record", path("a.jwt"), "--key", path("absent")).err.Error(), "absent")
		has(t, sotto(t, w, cli.ExitFailed, "verify", "record", path("a.jwt"), "--key", path("a")).err.Error(), "PUBLIC KEY") // the private one
		has(t, sotto(t, w, cli.ExitFailed, "verify", "--brief", "--audit", path("x.jwt"), "--audit-key", key).err.Error(), "audit key")
		o := object(t, sotto(t, w, cli.ExitRefused, "verify", "record", path("a.jwt"), "--key", other, "--json"))
		if o["code"] != "record.key" || o["verdict"] != "failed" {
			t.Errorf("%v", o)
		}
	})
	t.Run("no record", func(t *testing.T) {
		sotto(t, w, cli.ExitFailed, "verify", "record", path("absent"), "--key", key)
		has(t, sotto(t, w, cli.ExitRefused, "verify", "record", evidence, "--key", key).err.Error(), "record.format")
	})
	t.Run("every byte counts", func(t *testing.T) {
		token, err := os.ReadFile(path("a.jwt"))
		if err != nil {
			t.Fatal(err)
		}
		bad := path("bad.jwt")
		for i := 0; i < len(token); i += 61 {
			changed := bytes.Clone(token)
			changed[i] ^= 1
			if err := os.WriteFile(bad, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			if r := sotto(t, w, cli.ExitRefused, "verify", "record", bad, "--key", key); !strings.HasPrefix(client.CodeOf(r.err), "record.") || r.stdout != "" {
				t.Errorf("byte %d: %v, %q", i, r.err, r.stdout)
			}
		}
		for name, changed := range map[string][]byte{
			"empty": nil, "cut": token[:len(token)-2], "two line ends": append(bytes.Clone(token), '\n'), "a space": append([]byte(" "), token...),
		} {
			if err := os.WriteFile(bad, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			if r := sotto(t, w, cli.ExitRefused, "verify", "record", bad, "--key", key); client.CodeOf(r.err) == "" {
				t.Errorf("%s: %v", name, r.err)
			}
		}
	})
}

// samePolicy is p with the digest of q: roots are no part of it.
func samePolicy(p, q *attestation.Policy) *attestation.Policy {
	out := *q
	out.Roots = p.Roots
	return &out
}
