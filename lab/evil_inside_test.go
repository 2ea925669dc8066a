// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/relay"
)

// failing are modes whose demonstration must fail: if one of them passed, the
// others would prove nothing.
var failing = []Mode{
	{Name: "test-idle", Code: "replay", About: "a relay that does nothing hostile", part: "relay", faces: 1, serve: serveRelay},
	{Name: "test-liar", Code: "refused", About: "a relay that says refused itself", because: "refused by gateway", part: "relay", faces: 1, serve: serveLiar},
	{Name: "test-leak", Code: "stream.truncated", About: "a router that cuts, where nothing may leave", unsent: true, part: "router", faces: 1, serve: serveCuttingRouter},
}

// A lab that a test starts runs this very program again for its roles, before
// any test begins.
func init() {
	Modes = append(Modes, failing...)
	if len(os.Args) < 5 || os.Args[1] != "role" || os.Args[3] != "--config" {
		Modes = Modes[:len(Modes)-len(failing)]
		return
	}
	if err := RunRole(context.Background(), os.Args[2], os.Args[4], "", os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serveLiar is a relay that answers prompts with the gateway's refusal.
func serveLiar(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	cfg, err := config.Load[relay.Config](path)
	if err != nil {
		return err
	}
	r, err := relay.New(cfg)
	if err != nil {
		return err
	}
	tc, err := cfg.TLS.Server(false)
	if err != nil {
		return err
	}
	s := httpx.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.ContentLength < leastPrompt {
			r.Handler().ServeHTTP(w, q)
			return
		}
		deed(log, "said refused")
		httpx.Problem(w, http.StatusBadRequest, "refused")
	}))
	s.TLSConfig = tc
	return httpx.Serve(ctx, lns[0], s)
}

func TestProvokeCanFail(t *testing.T) {
	honest := Modes
	Modes = append(Modes[:len(Modes):len(Modes)], failing...)
	defer func() { Modes = honest }()
	want := map[string]string{"test-idle": "nobody refused", "test-liar": "for another reason", "test-leak": "had been sent"}
	for _, m := range failing {
		t.Run(m.Name, func(t *testing.T) {
			l, err := Start(t.Context(), Options{Evil: m.Name, Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			var out, info bytes.Buffer
			err = l.Provoke(t.Context(), "Why is the sky blue?", &out, &info)
			if err == nil || !strings.Contains(err.Error(), want[m.Name]) || out.Len() > 0 {
				t.Errorf("error %v, printed %q; want an error that says %q", err, &out, want[m.Name])
			}
			if code := cli.ExitCode(err); code != cli.ExitFailed {
				t.Errorf("exit code %d, want %d", code, cli.ExitFailed)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	m := Mode{Code: "att.stale", because: "checkpoint", unsent: true}
	good := func() (*outcome, []string) {
		return &outcome{err: &client.Error{Code: "att.stale", Detail: "an old checkpoint"}}, []string{"did it"}
	}
	if got, deeds := good(); m.judge(got, deeds) != nil {
		t.Fatal("refused what is as it must be")
	}
	for name, spoil := range map[string]func(o *outcome, deeds *[]string){
		"answered":           func(o *outcome, _ *[]string) { o.err = nil },
		"no code":            func(o *outcome, _ *[]string) { o.err = errors.New("checkpoint") },
		"another code":       func(o *outcome, _ *[]string) { o.err.(*client.Error).Code = "att.nonce" },
		"another reason":     func(o *outcome, _ *[]string) { o.err.(*client.Error).Detail = "no freshness" },
		"no deed":            func(_ *outcome, d *[]string) { *d = nil },
		"sent, it says":      func(o *outcome, _ *[]string) { o.err.(*client.Error).Sent = true },
		"sent, by the count": func(o *outcome, _ *[]string) { o.taken, o.sent = true, 1 },
	} {
		t.Run(name, func(t *testing.T) {
			got, deeds := good()
			spoil(got, &deeds)
			if err := m.judge(got, deeds); err == nil {
				t.Error("accepted")
			} else if client.CodeOf(err) != "" {
				t.Errorf("a failed demonstration carries the code %s: it would exit as a refusal", client.CodeOf(err))
			}
		})
	}
}

// TestTap counts what goes through a connection after the handshake, and no
// byte of the handshake.
func TestTap(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	var p tap
	raw, err := p.dial(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if n := p.said.Load(); n != 0 {
		t.Errorf("%d bytes counted in the handshake", n)
	}
	total := int64(0)
	for _, n := range []int{1, 100, 1 << 14, 1<<14 + 1, 100_000} {
		if _, err := c.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		if total += int64(n); p.said.Load() < total {
			t.Errorf("%d bytes counted of %d", p.said.Load(), total)
		}
	}
	if n := p.said.Load(); n > total+17*64 {
		t.Errorf("%d bytes counted of %d and a tag for each record", n, total)
	}
}

// TestTapSplit: the count does not depend on how records are cut into writes.
func TestTapSplit(t *testing.T) {
	record := func(kind byte, n int) []byte {
		return append([]byte{kind, 3, 3, byte(n >> 8), byte(n)}, make([]byte, n)...)
	}
	stream := bytes.Join([][]byte{record(22, 300), record(20, 1), record(23, 53), record(23, 7), record(21, 2), record(23, 0), record(23, 500)}, nil)
	for size := 1; size <= len(stream); size++ {
		var p tap
		c := &tapped{tap: &p}
		for rest := stream; len(rest) > 0; {
			n := min(size, len(rest))
			c.count(rest[:n])
			rest = rest[n:]
		}
		if p.said.Load() != 507 {
			t.Fatalf("writes of %d bytes: counted %d, want 507", size, p.said.Load())
		}
	}
}

func TestCutter(t *testing.T) {
	frame := func(final byte, n int) []byte {
		return append([]byte{final, 0, byte(n >> 8), byte(n)}, bytes.Repeat([]byte{9}, n)...)
	}
	before := bytes.Join([][]byte{make([]byte, wire.RouteRecordSize+hpke.PrefaceSize), frame(0, 20), frame(0, 300)}, nil)
	last := frame(0x80, 40)
	whole := append(bytes.Clone(before), last...)
	send := func(status int, media string, size int) []byte {
		w := httptest.NewRecorder()
		c := &cutter{ResponseWriter: w}
		c.Header().Set("Content-Type", media)
		c.Header().Set("Content-Length", fmt.Sprint(len(whole)))
		c.WriteHeader(status)
		for rest := whole; len(rest) > 0; {
			n := min(size, len(rest))
			if m, err := c.Write(rest[:n]); m != n || err != nil {
				t.Fatalf("wrote %d of %d: %v", m, n, err)
			}
			rest = rest[n:]
		}
		if cut := len(whole) - w.Body.Len(); cut != c.cut || cut > 0 && w.Header().Get("Content-Length") != "" {
			t.Fatalf("%d bytes missing, %d cut, Content-Length %q", cut, c.cut, w.Header().Get("Content-Length"))
		}
		b, _ := io.ReadAll(w.Body)
		return b
	}
	for _, size := range []int{1, 2, 3, 4, 5, 7, 100, len(before) - 1, len(before), len(before) + 1, len(before) + 4, len(whole)} {
		if got := send(200, "application/sotto-response", size); !bytes.Equal(got, before) {
			t.Errorf("writes of %d bytes: %d bytes passed, want %d", size, len(got), len(before))
		}
	}
	if got := send(409, "application/problem+json", 10); !bytes.Equal(got, whole) {
		t.Error("cut a refusal")
	}
}
