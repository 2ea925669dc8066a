// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/lab"
	"github.com/sotto-project/sotto/relay"
	"github.com/sotto-project/sotto/transparency/fork"
)

// A report is what of an auditor's JSON is looked at here.
type report struct {
	Verdict   string
	Simulated bool
	Totals    struct {
		Leaves      int
		NodesJudged int `json:"nodes_judged"`
	}
	Mirrors []struct{ Name string }
	Alarms  []struct{ Code, Severity, Evidence string }
}

func audited(t *testing.T, l *labProcess, args ...string) (r report, raw, stderr string, exit int) {
	t.Helper()
	raw, stderr, exit = finish(t, exec.Command(binary, append([]string{"audit", "--json", "--trust", lab.TrustFile(l.ready.Dir)}, args...)...))
	if err := json.Unmarshal([]byte(raw), &r); err != nil {
		t.Fatalf("exit %d, %v: %s%s", exit, err, raw, stderr)
	}
	return r, raw, stderr, exit
}

// TestAuditOfALab: an auditor follows a running lab, and has nothing to tell.
func TestAuditOfALab(t *testing.T) {
	t.Parallel()
	l := startLab(t)
	r, raw, stderr, exit := audited(t, l)
	if exit != 0 || r.Verdict != "clean" || !r.Simulated || len(r.Mirrors) != 3 || r.Totals.Leaves < 2 || r.Totals.NodesJudged < 3 {
		t.Errorf("exit %d: %s%s", exit, raw, stderr)
	}
	conforms(t, raw)
	// From the relays alone, too: of evidence they have none.
	r, raw, stderr, exit = audited(t, l, "--policy", "none", "--dir", t.TempDir(), "--mirror", l.ready.Relays[0], "--mirror", l.ready.Relays[1])
	if exit != 0 || r.Verdict != "clean" || len(r.Mirrors) != 2 || r.Totals.Leaves < 2 || r.Totals.NodesJudged != 0 {
		t.Errorf("from relays alone, exit %d: %s%s", exit, raw, stderr)
	}
	conforms(t, raw)
	// As verify, it finds the lab that runs, and says so where none does.
	find := func(cache string) (string, string, int) {
		cmd := exec.Command(binary, "audit", "--json")
		cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+cache)
		return finish(t, cmd)
	}
	cache := t.TempDir()
	if stdout, stderr, exit := find(cache); exit == 0 || stdout != "" || !strings.Contains(stderr, "trust") {
		t.Errorf("no lab runs: exit %d, %s%s", exit, stdout, stderr)
	}
	if err := os.Mkdir(filepath.Join(cache, "sotto-lab"), 0o700); err != nil {
		t.Fatal(err)
	}
	note := fmt.Sprintf("%s\n%d\n", l.ready.Dir, l.cmd.Process.Pid)
	if err := os.WriteFile(filepath.Join(cache, "sotto-lab", "running"), []byte(note), 0o600); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, exit := find(cache); exit != 0 || !strings.Contains(stdout, `"clean"`) {
		t.Errorf("the lab that runs: exit %d, %s%s", exit, stdout, stderr)
	}
}

// oneFace makes a trust file whose two relays both mirror what relay-n mirrors.
func oneFace(t *testing.T, l *labProcess, n int) string {
	t.Helper()
	cfg, err := config.Load[relay.Config](filepath.Join(l.ready.Dir, fmt.Sprintf("relay-%d.yaml", n)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.ServeOn(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	trust, err := config.Load[cli.Trust](lab.TrustFile(l.ready.Dir))
	if err != nil {
		t.Fatal(err)
	}
	trust.Relays = []string{l.ready.Relays[n-1], "https://" + ln.Addr().String()}
	b, err := yaml.Marshal(trust)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(l.ready.Dir, fmt.Sprintf("face-%d.yaml", n)) // beside the lab's roots
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSplitViewIsFoundByTheAuditor is AT-48 where nothing that a single client
// sees can show it: operator and witnesses sign two logs, and each client has
// relays of one of them only. Whoever asks both sides has a proof in one file,
// and another program, with a trust file and no network, is convinced by it. The
// witnesses' quorum (unwitnessed-log) and the client's own comparison of mirrors
// (split-log) are in [TestEvil].
func TestSplitViewIsFoundByTheAuditor(t *testing.T) {
	t.Parallel()
	l := startLab(t, "--evil", "split-log")
	chat := func(trust string) (string, int) {
		cmd := exec.Command(binary, "chat", "--trust", trust)
		cmd.Stdin = strings.NewReader(sky)
		stdout, stderr, exit := finish(t, cmd)
		return stdout + stderr, exit
	}
	for n := 1; n <= 2; n++ {
		if said, exit := chat(oneFace(t, l, n)); exit != 0 {
			t.Errorf("a client that sees one log only, the %d., is to be fooled: exit %d, %s", n, exit, said)
		}
	}
	if said, exit := chat(lab.TrustFile(l.ready.Dir)); exit != 10 || !strings.Contains(said, "log.fork") {
		t.Errorf("a client with a relay of each: exit %d, %s", exit, said)
	}

	dir := t.TempDir()
	r, raw, stderr, exit := audited(t, l, "--policy", "none", "--dir", dir, "--mirror", l.ready.Relays[0], "--mirror", l.ready.Relays[1])
	conforms(t, raw)
	file := ""
	for _, a := range r.Alarms {
		if a.Code == "log.fork" && a.Severity == "critical" {
			file = filepath.Join(dir, a.Evidence)
		}
	}
	if exit != 10 || file == "" {
		t.Fatalf("the auditor: exit %d, %s%s", exit, raw, stderr)
	}

	judge := func(file string) (string, int) {
		stdout, stderr, exit := finish(t, exec.Command(shipped, "audit", "fork", file, "--trust", lab.TrustFile(l.ready.Dir)))
		return stdout + stderr, exit
	}
	if said, exit := judge(file); exit != 0 || !strings.Contains(said, "two worlds") || !strings.Contains(said, "cosigned both") {
		t.Errorf("the proof convinces nobody: exit %d, %s", exit, said)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := fork.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	// One of the two and itself with a witness less: both are signed, and agree.
	lines := bytes.SplitAfter(ev.First, []byte("\n"))
	harmless := fork.New(fork.Roots, ev.First, bytes.Join(lines[:len(lines)-2], nil)).Append(nil)
	pair := filepath.Join(dir, "harmless")
	if err := os.WriteFile(pair, harmless, 0o644); err != nil {
		t.Fatal(err)
	}
	if said, exit := judge(pair); exit != 10 || !strings.Contains(said, "do not contradict each other") {
		t.Errorf("a harmless pair: exit %d, %s", exit, said)
	}
}

// conforms holds a real report against its schema.
func conforms(t *testing.T, raw string) {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("../docs/spec/audit/report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(raw))
	if err == nil {
		err = s.Validate(v)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, raw)
	}
}
