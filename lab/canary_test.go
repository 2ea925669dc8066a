// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/lab"
	"github.com/sotto-project/sotto/lab/internal/canary"

	"github.com/sotto-project/sotto/client"
)

// blind are the seats that must never hold a prompt, an answer or a name, and
// sighted those that must never hold a name.
var blind = []string{"relay-1", "relay-2", "gateway", "router", "publisher", "bank", "accounts"}

// A sweep is one lab with markers in everything that is somebody's.
type sweep struct {
	run    *canary.Run
	lab    *labProcess
	engine *fakeEngine
	wire   *wiretap
	temp   string // every file that any process of the lab writes is below it

	prompt string
	source string // address of one client
}

// The names of markers.
var (
	confidential = []string{"prompt", "answer"}
	names        = []string{"authorization", "user-agent", "cookie", "organization", "user", "metadata"}
)

// TestCanarySweep asks with markers in everything that is somebody's, and then
// looks for them wherever they must not be: during a streamed answer, after it,
// and in what processes leave behind when they are made to crash. H-04, CL-07,
// CL-08, design rule 13.
func TestCanarySweep(t *testing.T) {
	s := newSweep(t)
	t.Run("memory is readable", func(t *testing.T) {
		// Where it is not, the rest searches files, metrics and packets only.
		if _, _, err := s.run.Memory(s.lab.pid(t, "router")); errors.Is(err, canary.ErrMemory) {
			t.Skip(err)
		} else if err != nil {
			t.Error(err)
		}
	})
	t.Run("during an answer", func(t *testing.T) {
		s.engine.holdNext()
		interrupt := make(chan answer, 1)
		s.ask(t, func() {
			s.blindMemory(t)
			s.sightedMemory(t)
			s.files(t)
			s.scrapes(t)
			s.engine.release()
		}, interrupt)
		if a := <-interrupt; !a.done || a.code != "" {
			t.Errorf("%+v", a)
		}
	})
	t.Run("after an answer", func(t *testing.T) {
		s.blindMemory(t)
		s.files(t)
		s.scrapes(t)
	})
	t.Run("money", s.money)
	t.Run("an error instead of an answer", func(t *testing.T) {
		s.badRequests(t)
		s.blindMemory(t)
		s.files(t)
	})
	t.Run("on the wire", s.onTheWire)
	t.Run("at the engine", s.atTheEngine)
	t.Run("an address", s.address)
	t.Run("crash dumps", s.crashDumps)
}

func newSweep(t *testing.T) *sweep {
	s := &sweep{run: canary.New(), temp: t.TempDir()}
	s.prompt = s.run.Marker("prompt")
	s.engine = newFakeEngine(t, s.run.Marker("answer")+" first half, ", s.run.Marker("answer")+" second half")
	s.wire = tap(t)
	// All of it below one folder: temporary files, the note of where the lab
	// runs, the lab's own directory.
	t.Setenv("TMPDIR", s.temp)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(s.temp, "cache"))
	s.lab = startLab(t, "--engine", s.engine.URL, "--metrics", "--dir", filepath.Join(s.temp, "lab"))
	return s
}

// ask sends a streamed request with a marker in every place that SDKs fill,
// calls meanwhile once the answer has begun, and delivers what came.
func (s *sweep) ask(t *testing.T, meanwhile func(), done chan<- answer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	resp := s.post(t, ctx, `{"model":"sotto-tiny","stream":true,"user":`+quote(s.run.Marker("user"))+
		`,"metadata":{"id":`+quote(s.run.Marker("metadata"))+`},"messages":[{"role":"user","content":`+quote(s.prompt)+`}]}`)
	defer resp.Body.Close()
	var got []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(got, []byte("first half")) {
		n, err := resp.Body.Read(buf)
		if got = append(got, buf[:n]...); err != nil {
			t.Fatalf("%q, then %v", got, err)
		}
	}
	meanwhile()
	rest, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, err: err}
	a.read(append(got, rest...), true)
	done <- a
}

func (s *sweep) post(t *testing.T, ctx context.Context, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.lab.ready.OpenAI+"/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{
		"Content-Type":        {"application/json"},
		"Authorization":       {"Bearer sk-" + s.run.Word("authorization")},
		"User-Agent":          {"app/" + s.run.Word("user-agent")},
		"Cookie":              {"session=" + s.run.Word("cookie")},
		"Openai-Organization": {s.run.Word("organization")},
		"X-Stainless-Os":      {s.run.Word("user-agent")},
		"Traceparent":         {"00-" + s.run.Word("user-agent") + "-01"},
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// quote makes a JSON string.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func clean(t *testing.T, what string, hits []canary.Hit) {
	t.Helper()
	for _, h := range hits[:min(len(hits), 5)] {
		t.Errorf("%s: %v", what, h)
	}
	if len(hits) > 5 {
		t.Errorf("%s: %d more", what, len(hits)-5)
	}
}

// blindMemory searches the parties between client and node. The control is the
// proxy, which must hold the prompt.
func (s *sweep) blindMemory(t *testing.T) {
	t.Helper()
	pids := rolesIn(s.lab.ready.Dir)
	if len(pids) == 0 {
		t.Log("no /proc here: memory is not searched")
		return
	}
	for _, seat := range append([]string{"proxy"}, blind...) {
		if pids[seat] == 0 {
			t.Fatalf("no process for %s", seat)
		}
	}
	control, _, err := s.run.Memory(pids["proxy"])
	if errors.Is(err, canary.ErrMemory) {
		t.Log(err)
		return
	}
	if err != nil || len(canary.Only(control, "prompt")) == 0 {
		t.Errorf("control: the prompt is not found in the proxy, which has it: %d hits, %v", len(control), err)
	}
	for _, seat := range blind {
		hits, searched, err := s.run.Memory(pids[seat])
		if err != nil || searched < 1<<20 {
			t.Errorf("%s: %d bytes searched, %v", seat, searched, err)
		}
		clean(t, "memory of "+seat, hits)
	}
}

// sightedMemory searches the node while it answers: it holds the prompt, and
// nothing that says whose it is.
func (s *sweep) sightedMemory(t *testing.T) {
	t.Helper()
	seen := s.engine.requests()
	seat, pid := ownerOf(t, s.lab.ready.Dir, seen[len(seen)-1].peer)
	hits, _, err := s.run.Memory(pid)
	if errors.Is(err, canary.ErrMemory) {
		return
	}
	if err != nil || len(canary.Only(hits, "prompt", "answer")) == 0 {
		t.Errorf("control: prompt and answer are not found in %s, which has them: %d hits, %v", seat, len(hits), err)
	}
	clean(t, "memory of "+seat, canary.Only(hits, names...))
	for other, pid := range rolesIn(s.lab.ready.Dir) {
		if strings.HasPrefix(other, "node-") && other != seat {
			hits, _, err := s.run.Memory(pid)
			if err != nil {
				t.Error(err)
			}
			clean(t, "memory of "+other+", which was not asked", hits)
		}
	}
}

func (s *sweep) files(t *testing.T) {
	t.Helper()
	hits, files, err := s.run.Tree(s.temp)
	if err != nil || files < 30 {
		t.Errorf("%d files searched, %v", files, err)
	}
	clean(t, "files", hits)
	clean(t, "stderr of the lab", s.run.Find("stderr", []byte(s.lab.stderr.String())))
	clean(t, "report", s.run.Find("report", []byte(get(t, s.lab.ready.Control+"/report"))))
}

func (s *sweep) scrapes(t *testing.T) {
	t.Helper()
	if len(s.lab.ready.Metrics) < 5 {
		t.Errorf("%d metrics ports", len(s.lab.ready.Metrics))
	}
	for _, u := range s.lab.ready.Metrics {
		clean(t, "metrics", s.run.Find(u, []byte(get(t, u))))
	}
}

// badRequests are refused at each stage, with the marker in the part that is
// refused; the error goes to the application and says nothing of it.
func (s *sweep) badRequests(t *testing.T) {
	for _, body := range []string{
		`{"model":` + quote(s.prompt) + `,"messages":[]}`,
		`{"model":"sotto-tiny",` + quote(s.prompt) + `:1,` + quote(s.prompt) + `:2}`,
		`{"model":"sotto-tiny","messages":[{"role":"user","content":` + quote(s.prompt) + `}],"temperature":` + quote(s.prompt) + `}`,
		`{"model":"sotto-tiny","messages":` + quote(s.prompt) + `}`,
		`{"model":"sotto-tiny","stop":[` + quote(strings.Repeat(s.prompt, 100)) + `],"messages":[]}`,
		`{"model":"sotto-tiny","chat_template":` + quote(s.prompt) + `,"messages":[]}`,
		`{"model":"sotto-tiny","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://` + s.run.Word("prompt") + `.example/"}}]}]}`,
		`{"model":"sotto-tiny","messages":[{"role":` + s.prompt,
		s.prompt,
	} {
		resp := s.post(t, t.Context(), body)
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode < 400 {
			t.Errorf("%d %q %v", resp.StatusCode, b, err)
		}
		clean(t, "error body", s.run.Find(string(b), b))
	}
}

// onTheWire searches every hop of what crossed the loopback device so far. The
// two hops in the clear, which leave no machine elsewhere, are the control.
func (s *sweep) onTheWire(t *testing.T) {
	if s.wire == nil {
		t.Skip("packets are not captured here")
	}
	for _, u := range []string{s.lab.ready.OpenAI, s.engine.URL} {
		var hits []canary.Hit
		for flow, b := range s.wire.captured(port(t, u)) {
			hits = append(hits, s.run.Find(flow, b)...)
		}
		if len(canary.Only(hits, "prompt")) == 0 || len(canary.Only(hits, "answer")) == 0 {
			t.Errorf("control: prompt and answer are not found on %s", u)
		}
	}
	r := s.lab.ready
	sealed := slices.Concat(r.Relays, []string{r.Gateway, r.Router, r.Publisher}, r.Nodes)
	for _, u := range sealed {
		total := 0
		for flow, b := range s.wire.captured(port(t, u)) {
			total += len(b)
			clean(t, "wire at "+u, s.run.Find(flow, b))
		}
		if total == 0 {
			t.Errorf("nothing was captured at %s", u)
		}
	}
	if n := s.wire.lost(); n != 0 {
		t.Errorf("%d packets were lost to the tap", n)
	}
}

func port(t *testing.T, rawURL string) uint16 {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(n)
}

// atTheEngine: what reaches the engine is the prompt, and nobody's name.
func (s *sweep) atTheEngine(t *testing.T) {
	for _, r := range s.engine.requests() {
		var head bytes.Buffer
		r.header.Write(&head)
		clean(t, "header at the engine", s.run.Find("", head.Bytes()))
		hits := s.run.Find("", []byte(r.body))
		clean(t, "body at the engine", canary.Only(hits, names...))
		if len(canary.Only(hits, confidential...)) == 0 {
			t.Error("control: the prompt is not found at the engine")
		}
	}
}

// address asks from an address of its own on the loopback network. The relay
// talks to it and writes it nowhere; nobody behind the relay ever has it.
func (s *sweep) address(t *testing.T) {
	s.source = "127.83." + strconv.Itoa(1+os.Getpid()%250) + ".77"
	cfg, err := lab.LoadTrust(filepath.Join(s.lab.ready.Dir, "trust.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(s.source)}}
	if c, err := dialer.Dial("tcp", strings.TrimPrefix(s.lab.ready.Relays[0], "https://")); err != nil {
		t.Skipf("no second address on the loopback network here: %v", err)
	} else {
		c.Close()
	}
	cfg.Dial = dialer.DialContext
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.engine.holdNext()
	asked := make(chan error, 1)
	go func() { asked <- cli.Ask(t.Context(), c, "", s.prompt, io.Discard, io.Discard) }()
	before := len(s.engine.requests())
	eventually(t, "the engine has the request", func() bool { return len(s.engine.requests()) > before })
	s.searchAddress(t)
	s.engine.release()
	if err := <-asked; err != nil {
		t.Error(err)
	}
	s.searchAddress(t)
}

func (s *sweep) searchAddress(t *testing.T) {
	t.Helper()
	r := canary.For(s.source)
	hits, _, err := r.Tree(s.temp)
	if err != nil {
		t.Error(err)
	}
	for _, u := range s.lab.ready.Metrics {
		hits = append(hits, r.Find(u, []byte(get(t, u)))...)
	}
	clean(t, "address", hits)
	control := 0
	for seat, pid := range rolesIn(s.lab.ready.Dir) {
		hits, _, err := r.Memory(pid)
		if errors.Is(err, canary.ErrMemory) {
			t.Log(err)
			return
		}
		if err != nil {
			t.Error(err)
		}
		if strings.HasPrefix(seat, "relay-") {
			control += len(hits)
			continue
		}
		clean(t, "address in the memory of "+seat, hits)
	}
	if control == 0 {
		t.Error("control: the address is not found in a relay that talks to it")
	}
}

// crashDumps makes every role dump its goroutines in the middle of an answer,
// as a crash would.
func (s *sweep) crashDumps(t *testing.T) {
	pids := rolesIn(s.lab.ready.Dir)
	if len(pids) == 0 {
		t.Skip("finds processes in /proc, which is Linux's")
	}
	s.engine.holdNext()
	done := make(chan answer, 1)
	s.ask(t, func() {
		for seat, pid := range pids {
			if seat != "proxy" {
				syscall.Kill(pid, syscall.SIGQUIT)
			}
		}
		eventually(t, "all roles but the proxy end", func() bool { return len(rolesIn(s.lab.ready.Dir)) <= 1 })
		s.engine.release()
	}, done)
	if a := <-done; a.done || a.code != "stream.truncated" {
		t.Errorf("%+v", a)
	}
	log, err := os.ReadFile(filepath.Join(s.lab.ready.Dir, "logs", "gateway.log"))
	if err != nil || !bytes.Contains(log, []byte("goroutine ")) {
		t.Errorf("control: no dump in the gateway's log: %v", err)
	}
	s.files(t)
}
