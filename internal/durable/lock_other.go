// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly

package durable

import (
	"errors"
	"fmt"
	"os"
)

// BUG: on systems without flock nothing keeps a second process away.

// ErrLocked is never returned here.
var ErrLocked = errors.New("open elsewhere")

// Lock takes the lock that says that this process has a folder open; here it
// locks nothing.
func Lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("durable: lock: %w", err)
	}
	return f, nil
}
