// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// model is the only one of the lab.
const model = "sotto-tiny"

// binary is the sotto-lab that was built for this run.
var binary string

// shared is the lab with the built-in engine that most tests talk to. It
// starts with the first test that wants it.
var shared struct {
	once sync.Once
	lab  *labProcess
	err  error
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sotto-interop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "sotto-lab")
	build := exec.Command("go", "build", "-o", binary, "./cmd/sotto-lab")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build ./cmd/sotto-lab: %v\n%s", err, out)
		return 1
	}
	slog.SetDefault(slog.New(slog.DiscardHandler)) // openpcc's gateway writes a line a request
	code := m.Run()
	if shared.lab != nil {
		if err := shared.lab.stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if left := alive(binary); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "processes of the lab are still there: %v\n", left)
		code = 1
	}
	return code
}

// alive lists the processes that run the program at path.
func alive(path string) []string {
	var pids []string
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, l := range links {
		if exe, err := os.Readlink(l); err == nil && strings.TrimSuffix(exe, " (deleted)") == path {
			pids = append(pids, filepath.Base(filepath.Dir(l)))
		}
	}
	return pids
}

// A labProcess is a running sotto-lab.
type labProcess struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	ready  ready
}

// ready is the line of sotto-lab --json.
type ready struct {
	Event     string
	OpenAI    string
	Relays    []string
	Gateway   string
	Publisher string
	Router    string
	Dir       string
}

// theLab returns the shared lab.
func theLab(t *testing.T) *labProcess {
	t.Helper()
	shared.once.Do(func() { shared.lab, shared.err = startLab() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.lab
}

// ownLab starts a lab for one test.
func ownLab(t *testing.T, args ...string) *labProcess {
	t.Helper()
	l, err := startLab(args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.stop(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func startLab(args ...string) (*labProcess, error) {
	l := &labProcess{cmd: exec.Command(binary, append([]string{"--json"}, args...)...)}
	// The lab notes where it runs below the user's cache; these are not the
	// user's labs.
	l.cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(filepath.Dir(binary), "cache"))
	l.cmd.Stderr = &l.stderr
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := l.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &l.ready)
	}
	if err != nil || l.ready.Event != "ready" {
		l.cmd.Process.Kill()
		l.cmd.Wait()
		return nil, fmt.Errorf("sotto-lab %v printed %q (%v) and no ready line:\n%s", args, line, err, l.stderr.Bytes())
	}
	go io.Copy(io.Discard, out)
	return l, nil
}

// stop interrupts the lab as Ctrl-C does and waits for it.
func (l *labProcess) stop() error {
	l.cmd.Process.Signal(syscall.SIGINT)
	timer := time.AfterFunc(15*time.Second, func() { l.cmd.Process.Kill() })
	err := l.cmd.Wait()
	if !timer.Stop() {
		return fmt.Errorf("sotto-lab did not stop within 15 s of an interrupt")
	}
	if err != nil {
		return fmt.Errorf("sotto-lab: %v\n%s", err, l.stderr.Bytes())
	}
	return nil
}

// A reference is what llama.cpp answered, greedily, when the model was made.
type reference struct {
	Prompt string
	Answer string
	Usage  struct {
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
	}
	Finish string `json:"finish_reason"`
}

// references reads those answers, and how many tokens they were limited to.
func references(t *testing.T) (cases []reference, maxTokens int64) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "engine", "model", "reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		MaxTokens int64 `json:"max_tokens"`
		Cases     []reference
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) == 0 {
		t.Fatal("no reference answers")
	}
	return file.Cases, file.MaxTokens
}

// sky is the reference that single tests use.
func sky(t *testing.T) reference {
	t.Helper()
	cases, _ := references(t)
	return cases[0]
}
