// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package durable

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrLocked: another process, or another part of this one, has the lock.
var ErrLocked = errors.New("open elsewhere")

// Lock takes the lock that says that this process has a folder open, or fails at
// once. Path is a file in it for nothing else, made if it is not there; closing what
// is returned lets go. The kernel lets go when the process ends, however it ends.
func Lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("durable: lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w: %v", path, ErrLocked, err), f.Close())
	}
	return f, nil
}
