// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"io"
)

// A Mode is one way in which one part can be hostile.
type Mode struct {
	Name  string
	Code  string // that the right party refuses it with
	About string // which part does what
}

// Modes lists the hostile modes.
var Modes = []Mode{}

// Provoke sends one prompt into a lab with a hostile part and prints "refused
// CODE" if the right party refused for the right reason.
func (l *Lab) Provoke(ctx context.Context, prompt string, out, info io.Writer) error {
	return errors.New("no such mode; --evil list shows them")
}
