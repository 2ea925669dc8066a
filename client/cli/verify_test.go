// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/explain"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A result is what a command came to.
type result struct {
	stdout, stderr string
	code           int
	err            error
}

// sotto runs a command in the world and fails the test unless it ends with want
// and prints nothing that a terminal would act upon.
func sotto(t testing.TB, w *clienttest.World, want int, args ...string) result {
	t.Helper()
	return sottoAt(t, w, nil, want, args...)
}

// sottoAt has the client's clock say something else.
func sottoAt(t testing.TB, w *clienttest.World, tune func(*client.Config), want int, args ...string) result {
	t.Helper()
	root := &cobra.Command{Use: "sotto", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(cli.Commands(func(string) (client.Config, error) {
		cfg := w.Config()
		if tune != nil {
			tune(&cfg)
		}
		return cfg, nil
	}, filepath.Join(t.TempDir(), "trust.yaml"))...)
	var r result
	r.stdout, r.stderr, r.code, r.err = run(t, root, "", args...)
	if r.code != want {
		t.Fatalf("%q: exit %d, want %d: %v\n%.2000s", args, r.code, want, r.err, r.stdout)
	}
	for _, s := range []string{r.stdout, r.stderr, fmt.Sprint(r.err)} {
		if i := strings.IndexFunc(s, func(c rune) bool { return c != '\n' && !strconv.IsPrint(c) }); i >= 0 {
			t.Errorf("%q prints %q", args, s[i:min(i+8, len(s))])
		}
	}
	return r
}

// has fails the test for each text that is not there.
func has(t testing.TB, s string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(s, w) {
			t.Errorf("no %q in\n%.4000s", w, s)
		}
	}
}

// years is long enough for every certificate of the world to have expired.
func years(cfg *client.Config) { cfg.Now = func() time.Time { return time.Now().AddDate(60, 0, 0) } }

// save verifies a world and keeps what that rested on.
func save(t testing.TB, w *clienttest.World) (file string, saved *client.Saved) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "evidence.json")
	sotto(t, w, cli.ExitOK, "verify", "--brief", "--save", file)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if saved, err = client.ParseSaved(b); err != nil {
		t.Fatal(err)
	}
	return file, saved
}

// object reads standard output as one JSON object and nothing else.
func object(t testing.TB, r result) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &out); err != nil {
		t.Fatalf("%v: %q", err, r.stdout)
	}
	return out
}

func TestVerifyFaces(t *testing.T) {
	w := clienttest.StartFull(t, 2)
	t.Run("text", func(t *testing.T) {
		r := sotto(t, w, cli.ExitOK, "verify")
		has(t, r.stdout, "SIMULATED HARDWARE\n", "Verification of 2 nodes\n", "VERIFIED WITH NAMED GAPS", "[tpm.quote]", "by hand", "if failed", "vouched", "expected", "source")
		brief := sotto(t, w, cli.ExitOK, "verify", "--brief")
		if len(brief.stdout) >= len(r.stdout) || strings.Count(brief.stdout, "[tpm.quote]") != 2 {
			t.Errorf("--brief: %d bytes for %d", len(brief.stdout), len(r.stdout))
		}
	})
	t.Run("explain", func(t *testing.T) {
		r := sotto(t, w, cli.ExitOK, "verify", "--explain")
		quote, _ := explain.Find("tpm.quote")
		if strings.Count(r.stdout, quote.Title+" (tpm.quote)") != 1 {
			t.Errorf("every step is explained once:\n%s", r.stdout)
		}
	})
	t.Run("json", func(t *testing.T) {
		r := sotto(t, w, cli.ExitOK, "verify", "--json")
		o := object(t, r)
		if o["verdict"] != "verified with named gaps" || o["simulated"] != true || len(o["nodes"].([]any)) != 2 {
			t.Errorf("%s", r.stdout)
		}
		nodeSchema(t, o)
	})
	t.Run("html", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "report.html")
		r := sotto(t, w, cli.ExitOK, "verify", "--json", "--html", file)
		object(t, r)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		has(t, string(b), "<!DOCTYPE html>", "SIMULATED", hex.EncodeToString(idOf(w, 0)), hex.EncodeToString(idOf(w, 1)), "tpm.quote")
		for _, loads := range []string{"<script src", "<link ", "src=\"http", "@import"} {
			if strings.Contains(string(b), loads) {
				t.Errorf("the page loads something: %s", loads)
			}
		}
		r = sotto(t, w, cli.ExitFailed, "verify", "--html", filepath.Join(t.TempDir(), "absent", "report.html"))
		has(t, r.err.Error(), "absent")
	})
	t.Run("node", func(t *testing.T) {
		id := hex.EncodeToString(idOf(w, 1))
		r := sotto(t, w, cli.ExitOK, "verify", "node", id[:12])
		has(t, r.stdout, "SIMULATED HARDWARE", "challenge", "reappears qualifying data", id[:16])
		o := object(t, sotto(t, w, cli.ExitOK, "verify", "node", strings.ToUpper(id), "--json"))
		if len(o["challenge"].(string)) != 64 || o["node"].(map[string]any)["id"] != id {
			t.Errorf("%v", o)
		}
		r = sotto(t, w, cli.ExitRefused, "verify", "node", "no\x1b[2Jnode")
		has(t, r.err.Error(), client.CodeNode, "no??2jnode", "`sotto verify` lists the ids")
		o = object(t, sotto(t, w, cli.ExitRefused, "verify", "node", "ffffffffffffffffffff", "--json"))
		if o["code"] != client.CodeNode || o["verdict"] != "failed" || o["hint"] == "" {
			t.Errorf("%v", o)
		}
	})
	t.Run("peers", func(t *testing.T) {
		w.Cross()
		r := sotto(t, w, cli.ExitOK, "verify", "--peers")
		has(t, r.stdout, "SIMULATED HARDWARE", "2 nodes", "+ verified", "verified by")
		o := object(t, sotto(t, w, cli.ExitOK, "verify", "--peers", "--json"))
		if len(o["verdicts"].([]any)) != 2 {
			t.Errorf("%v", o)
		}
	})
}

func idOf(w *clienttest.World, i int) []byte { id := w.Nodes[i].ID(); return id[:] }

// nodeSchema holds the report on each node against the published schema.
func nodeSchema(t *testing.T, o map[string]any) {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("../../docs/spec/verify/report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range o["nodes"].([]any) {
		report, ok := n.(map[string]any)["report"]
		if !ok {
			t.Errorf("no report on node %v", n)
			continue
		}
		if err := s.Validate(report); err != nil {
			t.Errorf("%v", err)
		}
	}
}

func TestExplainWords(t *testing.T) {
	w := clienttest.Start(t, 1)
	for _, c := range []struct {
		args []string
		name string
	}{{[]string{"--explain", "nonce"}, "nonce"}, {[]string{"--explain", "pcr", "7"}, "pcr-7"}, {[]string{"--explain=PCR[7]"}, "pcr-7"}, {[]string{"--explain", "vcek"}, "vcek"}, {[]string{"chain", "--explain"}, "chain"}} {
		r := sotto(t, w, cli.ExitOK, append([]string{"verify"}, c.args...)...)
		topic, ok := explain.Find(c.name)
		var want strings.Builder
		if err := topic.Write(&want, 0); err != nil || !ok || r.stdout != want.String() {
			t.Errorf("%q prints\n%s", c.args, r.stdout)
		}
	}
	golden(t, "explain-list", sotto(t, w, cli.ExitOK, "verify", "--explain", "list").stdout)
	r := sotto(t, w, cli.ExitUsage, "verify", "--explain", "no\x1b[2Jsense")
	has(t, r.err.Error(), "sotto verify --explain list")
	if d := w.Meter.Dials(); len(d) > 0 {
		t.Errorf("a word was asked of %v", d)
	}
	for _, topic := range explain.Topics() { // no word is the name of a command
		sotto(t, w, cli.ExitOK, "verify", "--explain", topic.Name)
	}
}

func TestVerifyUsage(t *testing.T) {
	w := clienttest.Start(t, 1)
	for _, args := range []string{
		"more", "--tamper pcr", "--at saved", "--audit-key k", "--audit-name n", "--json --brief", "--json --explain",
		"--peers --save f", "--peers --audit f", "--peers --html f", "--peers --extract d", "--peers --evidence f", "--peers --brief", "--peers --explain",
		"--evidence f --save g", "--evidence f --tamper pcr --html g", "--evidence f --tamper pcr --audit g", "--evidence f --tamper pcr --brief",
		"--evidence f --tamper pcr --extract d", "--evidence f --tamper pcr --explain", "--explain nonce --html f", "--explain nonce --evidence f",
		"--explain=nonce vcek", "--explain nonce --brief", "--nonsense", "--at", "node", "node a b", "node a --nonsense", "record", "record f", "record f g --key k",
	} {
		r := sotto(t, w, cli.ExitUsage, append([]string{"verify"}, strings.Fields(args)...)...)
		if r.stdout != "" || r.err == nil {
			t.Errorf("%q: prints %q, %v", args, r.stdout, r.err)
		}
	}
	if d := w.Meter.Dials(); len(d) > 0 {
		t.Errorf("dialled %v", d)
	}
}

func TestHelp(t *testing.T) {
	w := clienttest.Start(t, 1)
	r := sotto(t, w, cli.ExitOK, "verify", "--help")
	has(t, r.stdout, "--explain nonce", "--evidence FILE --at TIME", "--tamper MODE", client.TamperNames(), "record FILE --key PUB", "piece", "Exit codes: 0", "10 refused", "--extract DIR")
	for _, l := range strings.Split(r.stdout, "\n") {
		if i := strings.Index(l, "Flags:"); i == 0 {
			break
		}
		if len(l) > 100 {
			t.Errorf("a line of %d characters: %q", len(l), l)
		}
	}
}

func TestCompletion(t *testing.T) {
	w := clienttest.Start(t, 1)
	lines := func(args ...string) []string {
		r := sotto2(t, w, append([]string{cobra.ShellCompNoDescRequestCmd}, args...)...)
		out := strings.Split(strings.TrimSpace(r.stdout), "\n")
		return out[:len(out)-1] // the last is a directive
	}
	if got := strings.Join(lines("verify", "--tamper", ""), ", "); got != client.TamperNames() {
		t.Errorf("%q", got)
	}
	if got := lines("verify", "--at", ""); !slices.Equal(got, []string{"saved"}) {
		t.Errorf("%q", got)
	}
	words := lines("verify", "--explain", "")
	for _, want := range []string{"list", "nonce", "vcek", "chain", "pcr-0", "pcr-23", "tpm.quote"} {
		if !slices.Contains(words, want) {
			t.Errorf("no %q among %q", want, words)
		}
	}
	if words := lines("verify", ""); slices.Contains(words, "nonce") || !slices.Contains(words, "node") {
		t.Errorf("without --explain: %q", words)
	}
}

// sotto2 is sotto for commands that print tabs.
func sotto2(t testing.TB, w *clienttest.World, args ...string) (r result) {
	t.Helper()
	r.stdout, r.stderr, r.code, r.err = run(t, command(w), "", args...)
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r
}

func TestSaved(t *testing.T) {
	w := clienttest.StartFull(t, 2)
	file, saved := save(t, w)
	at := saved.Time.Add(20 * time.Second).Format(time.RFC3339)
	before := len(w.Meter.Dials())
	t.Run("now", func(t *testing.T) {
		r := sotto(t, w, cli.ExitOK, "verify", "--evidence", file)
		has(t, r.stdout, "Verification of 2 nodes", "saved: what others were shown")
		if strings.Contains(r.stdout, "\nmirrors") {
			t.Error("a file is no mirror")
		}
	})
	t.Run("years later", func(t *testing.T) {
		for _, flags := range [][]string{{"--at", at}, {"--at", "saved"}} {
			r := sottoAt(t, w, years, cli.ExitOK, append([]string{"verify", "--evidence", file}, flags...)...)
			has(t, r.stdout, "VERIFIED WITH NAMED GAPS", "Verification of 2 nodes")
		}
		for _, flags := range [][]string{nil, {"--json"}, {"--tamper", "pcr"}} {
			r := sottoAt(t, w, years, cli.ExitRefused, append([]string{"verify", "--evidence", file}, flags...)...)
			has(t, r.err.Error(), "--at saved", "saved at "+saved.Time.Format(time.RFC3339))
		}
		o := object(t, sottoAt(t, w, years, cli.ExitRefused, "verify", "--evidence", file, "--json"))
		if o["verdict"] != "failed" || o["code"] == "" || !strings.Contains(o["hint"].(string), "--at saved") {
			t.Errorf("%v", o)
		}
	})
	t.Run("twenty minutes later", func(t *testing.T) {
		later := func(cfg *client.Config) { cfg.Now = func() time.Time { return saved.Time.Add(20 * time.Minute) } }
		r := sottoAt(t, w, later, cli.ExitRefused, "verify", "--evidence", file, "--json")
		o := object(t, r)
		if o["verdict"] != "failed" {
			t.Errorf("%v", o["verdict"])
		}
		has(t, r.err.Error(), "att.stale", "--at saved")
	})
	t.Run("before it was made", func(t *testing.T) {
		r := sotto(t, w, cli.ExitRefused, "verify", "--evidence", file, "--at", saved.Time.Add(-24*time.Hour).Format(time.RFC3339))
		if strings.Contains(r.err.Error(), "--at saved") {
			t.Errorf("%v", r.err)
		}
	})
	t.Run("another time", func(t *testing.T) {
		r := sotto(t, w, cli.ExitUsage, "verify", "--evidence", file, "--at", "noon\x1b[2J")
		has(t, r.err.Error(), "--at", saved.Time.Format(time.RFC3339))
	})
	t.Run("files", func(t *testing.T) {
		dir := t.TempDir()
		page := filepath.Join(dir, "page.html")
		sottoAt(t, w, years, cli.ExitOK, "verify", "--evidence", file, "--at", "saved", "--html", page, "--extract", filepath.Join(dir, "pieces"))
		b, err := os.ReadFile(page)
		if err != nil || !bytes.Contains(b, []byte("SIMULATED")) {
			t.Errorf("%v", err)
		}
		for i := range w.Nodes {
			sub := filepath.Join(dir, "pieces", fmt.Sprintf("node-%x", idOf(w, i)[:8]))
			whole, err := os.ReadFile(filepath.Join(sub, "00-epoch-evidence.bin"))
			if err != nil {
				t.Fatal(err)
			}
			bundle, err := evidence.Parse(whole)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range bundle.Pieces {
				if b, err := os.ReadFile(filepath.Join(sub, explain.FileName(p.Kind))); err != nil || !bytes.Equal(b, p.Data) {
					t.Errorf("%v: %v", p.Kind, err)
				}
			}
			for _, name := range []string{"31-freshness-evidence.bin", "checkpoint.txt"} {
				if _, err := os.Stat(filepath.Join(sub, name)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	t.Run("live and saved give the same pieces", func(t *testing.T) {
		dir := t.TempDir()
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		again := filepath.Join(dir, "again.json")
		sotto(t, w, cli.ExitOK, "verify", "--brief", "--save", again, "--extract", a)
		sotto(t, w, cli.ExitOK, "verify", "--brief", "--evidence", again, "--extract", b)
		if x, y := tree(t, a), tree(t, b); x != y || x == "" {
			t.Errorf("%s\n%s", x, y)
		}
		before = len(w.Meter.Dials())
	})
	t.Run("no file", func(t *testing.T) {
		r := sotto(t, w, cli.ExitFailed, "verify", "--evidence", filepath.Join(t.TempDir(), "absent"))
		has(t, r.err.Error(), "absent", "sotto verify --save FILE")
	})
	t.Run("another file", func(t *testing.T) {
		other := filepath.Join(t.TempDir(), "other")
		if err := os.WriteFile(other, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := sotto(t, w, cli.ExitRefused, "verify", "--evidence", other)
		has(t, r.err.Error(), "att.format", "sotto verify --save FILE")
		o := object(t, sotto(t, w, cli.ExitRefused, "verify", "--evidence", other, "--json"))
		if o["code"] != "att.format" {
			t.Errorf("%v", o)
		}
	})
	t.Run("a large file", func(t *testing.T) {
		large := filepath.Join(t.TempDir(), "large")
		if err := os.WriteFile(large, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(large, 1<<40); err != nil { // a terabyte that is not there: reading it would show
			t.Skip(err)
		}
		r := sotto(t, w, cli.ExitRefused, "verify", "--evidence", large)
		has(t, r.err.Error(), "att.size")
	})
	t.Run("a file without an end", func(t *testing.T) {
		if _, err := os.Stat("/dev/zero"); err != nil {
			t.Skip(err)
		}
		has(t, sotto(t, w, cli.ExitRefused, "verify", "--evidence", "/dev/zero").err.Error(), "att.size")
	})
	if d := w.Meter.Dials()[before:]; len(d) > 0 {
		t.Errorf("judging what was saved dialled %v", d)
	}
}

// tree prints the names and contents of a folder.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		fmt.Fprintf(&b, "%s %x\n", path, statement.Digest(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
