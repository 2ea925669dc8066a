// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A source is a clean checkout at a tag.
type source struct {
	dir, commit, tag string
	time             time.Time // of the commit: the one time that is in what is built
}

// openSource refuses a checkout that others could not have: what is built from
// it would carry the commit's name and be something else.
func openSource(ctx context.Context, dir, tag string) (*source, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &source{dir: dir, tag: tag}
	if s.commit, err = s.git(ctx, "rev-parse", "HEAD"); err != nil {
		return nil, err
	}
	if status, err := s.git(ctx, "status", "--porcelain"); err != nil || status != "" {
		return nil, fmt.Errorf("source: %s is not clean; commit, or remove what is there:\n%s", dir, status)
	}
	tags, err := s.git(ctx, "tag", "--points-at", "HEAD")
	if err != nil {
		return nil, err
	}
	if !slices.Contains(strings.Fields(tags), tag) {
		return nil, fmt.Errorf("source: commit %.12s has no tag %q; it has %q", s.commit, tag, strings.Fields(tags))
	}
	seconds, err := s.git(ctx, "show", "-s", "--format=%ct", "HEAD")
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	s.time = time.Unix(n, 0).UTC()
	return s, err
}

func (s *source) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", s.dir}, args...)...)
	out, err := output(cmd)
	return strings.TrimSpace(string(out)), err
}

// output runs a command; what it complained about is part of the error.
func output(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %v: %s", filepath.Base(cmd.Path), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// flags and environment are the same for everybody; docs/spec/release.md lists
// them, and they stand in the provenance.
var (
	buildFlags = []string{"-trimpath", "-buildvcs=true", "-mod=readonly", "-ldflags=-s -w -buildid="}
	buildEnv   = map[string]string{"CGO_ENABLED": "0", "GOAMD64": "v1", "GOARM64": "v8.0", "GOEXPERIMENT": "", "GOFLAGS": "", "GOWORK": "off", "GOTOOLCHAIN": "local", "LC_ALL": "C"}
)

// kept is what the go command needs to know of this machine: where its caches
// and modules are, which change no bytes.
var kept = []string{"PATH", "HOME", "GOPATH", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GOTMPDIR", "TMPDIR", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"}

func environment(extra ...string) []string {
	var env []string
	for _, name := range kept {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	for name, v := range buildEnv {
		env = append(env, name+"="+v)
	}
	return append(env, extra...)
}

// goVersion is that of the go command, which must be in the recipe: another
// compiler makes other bytes.
func goVersion(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION")
	cmd.Env = environment()
	out, err := output(cmd)
	return strings.TrimSpace(string(out)), err
}

// compile builds one program for one platform.
func (s *source) compile(ctx context.Context, command, platform, out, cache string) error {
	goos, goarch, ok := strings.Cut(platform, "/")
	if !ok {
		return errors.New("platform " + platform)
	}
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"build"}, buildFlags, []string{"-o", out, "./cmd/" + command})...)
	cmd.Dir, cmd.Env = s.dir, environment("GOOS="+goos, "GOARCH="+goarch)
	if cache != "" {
		cmd.Env = append(cmd.Env, "GOCACHE="+cache) // the last one counts
	}
	_, err := output(cmd)
	return err
}

// binary is the name of a program's file on a platform.
func binary(command, platform string) string {
	if strings.HasPrefix(platform, "windows/") {
		return command + ".exe"
	}
	return command
}
