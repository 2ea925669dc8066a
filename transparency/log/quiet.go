// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package log

import (
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// quiet keeps Tessera from writing to the process's standard error: it logs
// through klog, which is one for the whole program. What it would say, callers
// learn by errors, and a role's own logger says what its operator can act on.
// Once, and before Tessera starts anything: klog's switch may not be moved later.
var quiet = sync.OnceFunc(func() { klog.SetLogger(logr.Discard()) })
