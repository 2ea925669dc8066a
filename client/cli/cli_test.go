// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// command makes the commands of a program whose trust file is w.
func command(w *clienttest.World) *cobra.Command {
	root := &cobra.Command{Use: "sotto", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(cli.Commands(func(string) (client.Config, error) { return w.Config(), nil }, "trust.yaml")...)
	return root
}

// run runs a command as the shell does.
func run(t testing.TB, c *cobra.Command, stdin string, args ...string) (stdout, stderr string, code int, err error) {
	t.Helper()
	return runFor(t, 20*time.Second, c, stdin, args...)
}

func runFor(t testing.TB, patience time.Duration, c *cobra.Command, stdin string, args ...string) (stdout, stderr string, code int, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	c.SetIn(strings.NewReader(stdin))
	c.SetOut(&out)
	c.SetErr(&errs)
	c.SetArgs(args)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = c.ExecuteContext(ctx)
	return out.String(), errs.String(), cli.ExitCode(err), err
}

func speaks(x *clienttest.Exchange) {
	s := x.Begin(200, bhttp.Field{Name: "content-type", Value: "text/event-stream"})
	for _, word := range []string{"good ", "day"} {
		s.Say(`data: {"choices":[{"delta":{"content":"` + word + `"}}]}` + "\n\n")
	}
	s.Last("data: [DONE]\n\n")
}

func TestChat(t *testing.T) {
	w := clienttest.Start(t, 3)
	w.Answer(speaks)
	stdout, stderr, code, err := run(t, command(w), " hello \n", "chat")
	if stdout != "good day\n" || code != cli.ExitOK || !strings.Contains(stderr, "verified with named gaps") {
		t.Errorf("%q %q %d %v", stdout, stderr, code, err)
	}
	seen := w.Seen()
	if len(seen) != 1 || !strings.Contains(string(seen[0].Content), `{"role":"user","content":"hello"}`) {
		t.Fatalf("%d requests: %q", len(seen), seen[0].Content)
	}
	file := filepath.Join(t.TempDir(), "prompt")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if stdout, _, code, _ := run(t, command(w), "", "chat", "--file", file); stdout != "good day\n" || code != cli.ExitOK {
		t.Errorf("%q %d", stdout, code)
	}
	if seen := w.Seen(); len(seen) != 1 || !strings.Contains(string(seen[0].Content), "from a file") {
		t.Errorf("%d requests", len(seen))
	}
	t.Run("CL-15", func(t *testing.T) {
		w.NoSend(t, func() {
			if _, _, code, err := run(t, command(w), "", "chat", "a prompt that others could read"); code != cli.ExitUsage {
				t.Errorf("%d %v", code, err)
			}
			if _, _, code, err := run(t, command(w), " \n", "chat"); code != cli.ExitUsage {
				t.Errorf("an empty prompt: %d %v", code, err)
			}
		})
	})
	t.Run("CL-18", func(t *testing.T) {
		for name, f := range map[string]func(*clienttest.Exchange){
			"no end of the seal": func(x *clienttest.Exchange) {
				s := x.Begin(200, bhttp.Field{Name: "content-type", Value: "text/event-stream"})
				s.Say("data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\ndata: [DONE]\n\n")
				panic(http.ErrAbortHandler)
			},
			"no [DONE]": func(x *clienttest.Exchange) {
				s := x.Begin(200, bhttp.Field{Name: "content-type", Value: "text/event-stream"})
				s.Last("data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n")
			},
			"an error event": func(x *clienttest.Exchange) {
				s := x.Begin(200, bhttp.Field{Name: "content-type", Value: "text/event-stream"})
				s.Last("data: {\"error\":{\"message\":\"no\",\"code\":\"node.engine\"}}\n\ndata: [DONE]\n\n")
			},
			"no JSON": func(x *clienttest.Exchange) {
				s := x.Begin(200, bhttp.Field{Name: "content-type", Value: "text/event-stream"})
				s.Last("data: noise\n\n")
			},
			"a status": func(x *clienttest.Exchange) { x.Reply(500, "text/plain", "noise") },
		} {
			w.Answer(f)
			_, stderr, code, err := run(t, command(w), "hello", "chat")
			if code != cli.ExitRefused || client.CodeOf(err) == "" || strings.Contains(stderr, "verified") {
				t.Errorf("%s: %d %v %q", name, code, err, stderr)
			}
		}
	})
}

func TestVerify(t *testing.T) {
	w := clienttest.Start(t, 3)
	if stdout, _, code, err := run(t, command(w), "", "verify"); code != 0 || !strings.HasPrefix(stdout, "SIMULATED") || strings.Count(stdout, "\nnode ") != 3 {
		t.Errorf("%d %v %q", code, err, stdout)
	}
	if stdout, _, code, err := run(t, command(w), "", "verify", "--json"); code != 0 || !strings.Contains(stdout, `"verdict": "verified with named gaps"`) {
		t.Errorf("%d %v %q", code, err, stdout)
	}
	w.Epoch(time.Now(), time.Hour, clienttest.Edit{FreshTime: time.Now().Add(-8 * time.Minute)})
	stdout, _, code, err := run(t, command(w), "", "verify")
	if code != cli.ExitRefused || client.CodeOf(err) == "" {
		t.Errorf("%d %v %q", code, err, stdout)
	}
}

func TestUsage(t *testing.T) {
	w := clienttest.Start(t, 3)
	dir := t.TempDir()
	short := filepath.Join(dir, "short")
	if err := os.WriteFile(short, []byte("abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"chat", "--nonsense"}, {"verify", "more"}, {"proxy", "more"},
		{"proxy", "--listen", "0.0.0.0:0"}, {"proxy", "--listen", ":0"}, {"proxy", "--token-file", short}, {"proxy", "--token-file", filepath.Join(dir, "absent")},
		{"chat", "--shaping", "none"},
	} {
		if _, _, code, err := run(t, command(w), "hello", args...); code != cli.ExitUsage {
			t.Errorf("%q: %d %v", args, code, err)
		}
	}
	if d := w.Meter.Dials(); len(d) > 0 {
		t.Errorf("dialled %v", d)
	}
	none := &cobra.Command{Use: "sotto", SilenceUsage: true, SilenceErrors: true}
	none.AddCommand(cli.Commands(cli.LoadTrust, "")...)
	if _, _, code, err := run(t, none, "", "verify"); code != cli.ExitUsage || !strings.Contains(err.Error(), "trust file") {
		t.Errorf("%d %v", code, err)
	}
	for err, want := range map[error]int{
		nil: 0, errors.New("x"): 1, &client.Error{Code: "cfg"}: 2, &client.Error{Code: "att.stale"}: 10,
		fmt.Errorf("wrapped: %w", &client.Error{Code: "relay.unreachable"}): 10,
	} {
		if got := cli.ExitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

// TestTrust: whom a client believes comes from the user's file and from
// nowhere else.
func TestTrust(t *testing.T) {
	t.Run("the example", func(t *testing.T) {
		cfg, err := cli.LoadTrust(filepath.Join("..", "..", "deploy", "trust.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.New(cfg); err != nil {
			t.Error(err)
		}
		if err := cfg.Trust.Validate(); err != nil || cfg.Policy.Roots.Simulated() || len(cfg.Policy.Images) != 1 {
			t.Errorf("%v %+v", err, cfg.Policy)
		}
	})
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file("policy.json", "{}")
	file("unknown.json", `{"allow_everything":true}`)
	file("noise.pem", "noise")
	file("strict.json", `{"profile":"strict"}`)
	file("business.json", `{"profile":"business"}`)
	file("remote.json", `{"trusted_root":"https://evil.example/root.json"}`)
	for name, c := range map[string]struct{ text, want string }{
		"AT-44/a policy from a server":      {"policy_url: https://evil.example/policy.json\n", "policy_url"},
		"AT-44/a policy path that is one":   {"policy: https://evil.example/policy.json\n", "no such file"},
		"AT-44/releases from a server":      {"policy: policy.json\nreleases: https://evil.example/trust.json\n", "cfg.policy.remote"},
		"AT-44/a root from a server":        {"policy: policy.json\nreleases: remote.json\n", "cfg.policy.remote"},
		"CL-11/a trust that asks nothing":   {"policy: policy.json\nreleases: policy.json\n", "log.trust"},
		"no such trust in releases":         {"policy: policy.json\nreleases: none.json\n", "no such file"},
		"strict without releases":           {"policy: strict.json\n", "releases is missing"},
		"business without releases":         {"policy: business.json\n", "releases is missing"},
		"no policy":                         {"relays: []\n", "policy"},
		"an unknown waiver":                 {"policy: unknown.json\n", "allow_everything"},
		"roots of one's own":                {"policy: policy.json\nroots: mine.pem\n", "roots"},
		"no certificate":                    {"policy: policy.json\nrelay_ca: noise.pem\n", "no certificate"},
		"a freshness that is no duration":   {"policy: policy.json\nmax_freshness: soon\n", "max_freshness"},
		"a freshness that lies in the past": {"policy: policy.json\nmax_freshness: -1m\n", "max_freshness"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := cli.LoadTrust(file("trust.yaml", c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q in it", err, c.want)
			}
		})
	}
	for _, relays := range [][]string{nil, {"https://one.example"}, {"http://one.example", "https://two.example"}, {"https://u:p@one.example", "https://two.example"},
		{"https://one.example?x", "https://two.example"}, {"one.example", "two.example"}} {
		w := client.Config{Relays: relays}
		if _, err := client.New(w); client.CodeOf(err) != client.CodeConfig {
			t.Errorf("%q: %v", relays, err)
		}
	}
}

func TestProxyCommand(t *testing.T) {
	w := clienttest.Start(t, 3)
	w.Answer(speaks)
	c := command(w)
	out, in := io.Pipe()
	c.SetOut(in)
	c.SetErr(io.Discard)
	c.SetArgs([]string{"proxy", "--json", "--listen", "127.0.0.1:0"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.ExecuteContext(ctx) }()
	line := make([]byte, 1024)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(line[:n]), `"openai":"`)
	url, _, _ := strings.Cut(rest, `"`)
	resp, err := http.Post(url+"/chat/completions", "application/json", strings.NewReader(`{"model":"toy","messages":[]}`))
	if err != nil {
		t.Fatalf("%q: %v", line[:n], err)
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != 200 || !strings.HasSuffix(string(b), "data: [DONE]\n\n") {
		t.Errorf("%d %q %v", resp.StatusCode, b, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("stopped with %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, _, code, err := run(t, command(w), "", "proxy", "--listen", ln.Addr().String()); code != cli.ExitFailed || !strings.Contains(err.Error(), ln.Addr().String()+" is taken") {
		t.Errorf("%d %v", code, err)
	}
}
