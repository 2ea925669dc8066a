// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package command runs the tools that some vendors give out in place of a
// library: with a bound on time and output, no shell, and nothing of the node's
// environment but the search path. What a tool prints is evidence to be
// verified by others, hence nothing here is trusted.
//
// The tools are part of the measured image, as every program a node runs.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Timeout is how long a tool may run: GPU tools that ask eight devices take
// seconds.
const Timeout = 60 * time.Second

// maxComplaint bounds what is repeated of a tool's standard error.
const maxComplaint = 200

// Run runs argv, gives it stdin, and returns what it printed, at most limit
// bytes: more is an error, and so are an empty answer and an exit code.
func Run(ctx context.Context, argv []string, stdin []byte, limit int) ([]byte, error) {
	if len(argv) == 0 || argv[0] == "" {
		return nil, errors.New("command: none configured")
	}
	ctx, stop := context.WithTimeout(ctx, Timeout)
	defer stop()
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "LANG=C"}
	c.Stdin = bytes.NewReader(stdin)
	c.WaitDelay = time.Second // for children that keep the pipe open
	out, complaint := capped{left: limit}, capped{left: maxComplaint, drop: true}
	c.Stdout, c.Stderr = &out, &complaint
	err := c.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("command: %s: %w", argv[0], ctx.Err())
	case errors.Is(err, errLong) || out.over:
		return nil, fmt.Errorf("command: %s printed more than %d bytes", argv[0], limit)
	case err != nil:
		return nil, fmt.Errorf("command: %s: %v: %s", argv[0], err, oneLine(complaint.kept))
	case len(out.kept) == 0:
		return nil, fmt.Errorf("command: %s printed nothing", argv[0])
	}
	return out.kept, nil
}

var errLong = errors.New("command: too long")

// capped keeps so many bytes; of what comes after it fails, or says nothing. It
// has no other method than Write, so that nothing copies past the cap.
type capped struct {
	kept []byte
	left int
	drop bool
	over bool
}

func (c *capped) Write(b []byte) (int, error) {
	n := min(len(b), c.left)
	c.left -= n
	c.kept = append(c.kept, b[:n]...)
	if n == len(b) || c.drop {
		return len(b), nil
	}
	c.over = true
	return n, errLong
}

// oneLine makes a tool's words fit into a log line.
func oneLine(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(bytes.TrimSpace(b)), "?"))
}
