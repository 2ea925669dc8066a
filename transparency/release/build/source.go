// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A source is a clean checkout at a tag. Nothing is built in it: see [source.export].
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

// git asks about the checkout itself, and not about what this machine's git has
// been told to show in its place.
func (s *source) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-replace-objects", "-C", s.dir}, args...)...)
	out, err := output(cmd)
	return strings.TrimSpace(string(out)), err
}

// export makes a repository of its own in an empty folder, which borrows the
// objects of the checkout and has the one tag, and checks the commit out there:
// what git ignores, was told not to look at or to change on the way (excludes,
// filters, replacements, other tags) stays behind. It is a repository and not an
// archive because the compiler stamps commit and version from it (-buildvcs).
func (s *source) export(ctx context.Context, dir string) (*source, error) {
	out := &source{dir: dir, commit: s.commit, tag: s.tag, time: s.time}
	format, err := s.git(ctx, "rev-parse", "--show-object-format")
	if err != nil {
		return nil, err
	}
	if err := out.inExport(ctx, "init", "--quiet", "--template=", "--object-format="+format, "."); err != nil {
		return nil, err
	}
	for _, name := range []string{"core.attributesFile", "core.excludesFile"} { // else those in the user's home are asked
		if err := out.inExport(ctx, "config", name, os.DevNull); err != nil {
			return nil, err
		}
	}
	objects, err := s.gitPath(ctx, "objects")
	if err != nil {
		return nil, err
	}
	info := filepath.Join(dir, ".git", "objects", "info")
	if err := os.MkdirAll(info, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(info, "alternates"), []byte(strconv.Quote(objects)+"\n"), 0o600); err != nil {
		return nil, err
	}
	shallow, err := s.gitPath(ctx, "shallow")
	if err != nil {
		return nil, err
	}
	switch cut, err := os.ReadFile(shallow); { // where the history of a shallow clone ends
	case err == nil:
		if err := os.WriteFile(filepath.Join(dir, ".git", "shallow"), cut, 0o600); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	for _, args := range [][]string{{"checkout", "--quiet", "--detach", s.commit}, {"tag", "--no-sign", s.tag, s.commit}} {
		if err := out.inExport(ctx, args...); err != nil {
			return nil, err
		}
	}
	return out, out.untouched(ctx)
}

// gitPath is where the checkout keeps something.
func (s *source) gitPath(ctx context.Context, name string) (string, error) {
	path, err := s.git(ctx, "rev-parse", "--git-path", name)
	if err != nil || filepath.IsAbs(path) {
		return path, err
	}
	return filepath.Join(s.dir, path), nil
}

func (s *source) inExport(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", s.dir}, args...)...)
	cmd.Env = environment()
	_, err := output(cmd)
	return err
}

// untouched checks that an export has the commit's files and no others: a build
// that left something behind would have been another one.
func (s *source) untouched(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "git", "-C", s.dir, "status", "--porcelain", "--ignored", "--untracked-files=all")
	cmd.Env = environment()
	status, err := output(cmd)
	if err == nil && len(status) > 0 {
		err = fmt.Errorf("source: what is built is not commit %s:\n%s", s.commit, status)
	}
	return err
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
// them, and they stand in the provenance. An empty variable is not set for the go
// command, which then asks the user's own file: GOENV=off says that there is none,
// and GOFLAGS is not empty in case the compiler came with a file of settings.
var (
	buildFlags = []string{"-trimpath", "-buildvcs=true", "-mod=readonly", "-ldflags=-s -w -buildid="}
	buildEnv   = map[string]string{"CGO_ENABLED": "0", "GOAMD64": "v1", "GOARM64": "v8.0", "GOENV": "off", "GOEXPERIMENT": "", "GOFIPS140": "off",
		"GOFLAGS": "-mod=readonly", "GOWORK": "off", "GOTOOLCHAIN": "local", "LC_ALL": "C"}
)

// hermetic keeps this machine's and user's settings from git, which the compiler
// runs as well.
var hermetic = []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_NO_REPLACE_OBJECTS=1", "GIT_ATTR_NOSYSTEM=1"}

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
	return append(append(env, hermetic...), extra...)
}

// goVersion is that of the go command, which must be in the recipe: another
// compiler makes other bytes.
func goVersion(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION")
	cmd.Env = environment()
	out, err := output(cmd)
	return strings.TrimSpace(string(out)), err
}

// compile builds one program for one platform, in an export. The commit must be
// what the compiler wrote into it.
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
	if _, err := output(cmd); err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(out)
	if err != nil {
		return err
	}
	for _, want := range []debug.BuildSetting{{Key: "vcs.revision", Value: s.commit}, {Key: "vcs.modified", Value: "false"}} {
		if !slices.Contains(info.Settings, want) {
			return fmt.Errorf("%s is not stamped with %s %s", out, want.Key, want.Value)
		}
	}
	return nil
}

// binary is the name of a program's file on a platform.
func binary(command, platform string) string {
	if strings.HasPrefix(platform, "windows/") {
		return command + ".exe"
	}
	return command
}
