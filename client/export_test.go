// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"time"
)

// StockRound makes the round of a moment that was drawn for the stock, now.
func StockRound(ctx context.Context, c *Client) error {
	k := c.cash
	k.turn <- struct{}{}
	k.next = time.Time{}
	<-k.turn
	return k.top(ctx, false, false)
}
