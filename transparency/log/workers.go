// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"time"
)

// Tessera starts goroutines that write files of their own (a checkpoint that is
// nobody's business, the record of what it has tidied up) and ends them with its
// context, but does not say when they have ended. Whoever opens the directory next,
// or removes it, must not meet them. A goroutine inherits the labels of the one that
// starts it: by those they are seen gone.
type workers struct{ label string }

const workersLabel = "sotto-log"

// start runs f, whose goroutines are the workers'.
func (w *workers) start(ctx context.Context, f func(ctx context.Context)) {
	w.label = fmt.Sprintf("%p", w)
	pprof.Do(ctx, pprof.Labels(workersLabel, w.label), f)
}

// running reports whether one of them has not ended.
func (w *workers) running() bool {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return true
	}
	return bytes.Contains(b.Bytes(), fmt.Appendf(nil, "%q:%q", workersLabel, w.label))
}

// maxWrite is how long the last write of a worker may take.
const maxWrite = 10 * time.Second

// wait returns when all have ended, whose context has been.
func (w *workers) wait() error {
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	late := time.NewTimer(maxWrite)
	defer late.Stop()
	for w.running() {
		select {
		case <-look.C:
		case <-late.C:
			return errors.New("log: its storage still writes")
		}
	}
	return nil
}
