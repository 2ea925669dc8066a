// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"context"
	"time"
)

// Every calls f now and after each pause until ctx ends; after a failure it
// does not wait longer than a second.
func Every(ctx context.Context, pause time.Duration, f func() bool) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if f() {
			t.Reset(pause)
		} else {
			t.Reset(min(pause, time.Second))
		}
	}
}
