// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import "context"

// StockRound makes the round of a moment that was drawn for the stock, now.
func StockRound(ctx context.Context, c *Client) error { return c.cash.top(ctx, false, false) }
