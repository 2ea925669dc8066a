// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// compile builds a package, seen from folder dir, into a file of the test.
func compile(t *testing.T, dir, name string, env []string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	c := exec.Command("go", append([]string{"build", "-o", path}, args...)...)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", c.Args, err, out)
	}
	return path
}

// need skips where a program is missing, and says what was not run.
func need(t *testing.T, what, program, debian string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s was not run: no %s here (Debian: apt-get install %s)", what, program, debian)
	}
}

// sotto is the shipped program, built of the main module.
func sotto(t *testing.T) build {
	t.Helper()
	return command(compile(t, "../..", "sotto", nil, "./cmd/sotto"), "verify", "piece")
}

// native is this module's program for the machine at hand.
func native(t *testing.T) build {
	return command(compile(t, ".", "piece", nil, "."))
}

// native386 is the program for a processor with words of 32 bits.
func native386(t *testing.T) build {
	if runtime.GOARCH != "amd64" || runtime.GOOS == "darwin" {
		t.Skipf("the build for 386 was not run: %s on %s does not run it", runtime.GOOS, runtime.GOARCH)
	}
	return command(compile(t, ".", "piece386", []string{"GOARCH=386", "CGO_ENABLED=0"}, "."))
}

// wasip1 runs the WebAssembly build in a runtime that is part of this test.
func wasip1(t *testing.T) build {
	code, err := os.ReadFile(compile(t, ".", "piece.wasm", []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}, "."))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	r := wazero.NewRuntime(ctx)
	t.Cleanup(func() { r.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	module, err := r.CompileModule(ctx, code)
	if err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, v vector) answer {
		t.Helper()
		in, err := os.Open(v.path)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		var out bytes.Buffer
		m, err := r.InstantiateModule(ctx, module, wazero.NewModuleConfig().WithName("").WithArgs("piece", v.kind).
			WithStdin(in).WithStdout(&out).WithStderr(os.Stderr))
		if m != nil {
			m.Close(ctx)
		}
		var ended *sys.ExitError
		if err != nil && !errors.As(err, &ended) {
			t.Fatal(err)
		}
		if ended != nil {
			return answer{out.String(), int(ended.ExitCode())}
		}
		return answer{out.String(), 0}
	}
}

// jsFiles are what a page would load: Go's glue, and the module.
func jsFiles(t *testing.T) (glue, module string) {
	t.Helper()
	need(t, "the JavaScript build", "node", "nodejs")
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", "wasm_exec.js"),
		compile(t, ".", "piece-js.wasm", []string{"GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0"}, ".")
}

// js is the WebAssembly build as piece.mjs loads it, here under Node.js.
func js(t *testing.T) build {
	glue, module := jsFiles(t)
	return conversation(t, "node", "testdata/agree.mjs", glue, module)
}

func jsCommand(t *testing.T) build {
	glue, module := jsFiles(t)
	return command("node", "piece-node.mjs", glue, module)
}

func library(t *testing.T) string {
	t.Helper()
	need(t, "the Python build", "python3", "python3")
	need(t, "the Python build", "gcc", "gcc libc6-dev")
	return compile(t, ".", "piece.so", []string{"CGO_ENABLED=1"}, "-buildmode=c-shared", "./shared")
}

// python is the C library as piece.py calls it.
func python(t *testing.T) build {
	return conversation(t, "python3", "testdata/agree.py", library(t))
}

func pythonCommand(t *testing.T) build {
	return command("python3", "piece.py", library(t))
}

// command judges by a program that reads a request on standard input and whose
// last argument is the kind.
func command(name string, args ...string) build {
	return func(t *testing.T, v vector) answer {
		t.Helper()
		in, err := os.Open(v.path)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		c := exec.Command(name, append(append([]string(nil), args...), v.kind)...)
		c.Stdin = in
		out, err := c.Output()
		var ended *exec.ExitError
		if err != nil && !errors.As(err, &ended) {
			t.Fatal(err)
		}
		return answer{string(out), c.ProcessState.ExitCode()}
	}
}

// conversation judges by one process that takes the name of a file a line.
func conversation(t *testing.T, name string, args ...string) build {
	t.Helper()
	c := exec.Command(name, args...)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if rest, err := io.ReadAll(out); err != nil || len(bytes.TrimSpace(rest)) > 0 {
			t.Errorf("%s said more than it was asked: %q, %v", name, rest, err)
		}
		if err := c.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	ask, told := json.NewEncoder(in), json.NewDecoder(out)
	return func(t *testing.T, v vector) (a answer) {
		t.Helper()
		path, err := filepath.Abs(v.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := ask.Encode(map[string]string{"kind": v.kind, "path": path}); err != nil {
			t.Fatal(err)
		}
		if err := told.Decode(&a); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return a
	}
}
