// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import "time"

// SetMirrorWait has a client wait for mirrors only so long.
func SetMirrorWait(c *Client, d time.Duration) { c.mirrorWait = d }
