// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm

// Internals that tests of the outside need.
const (
	MaxQueue = maxQueue
	MaxTries = maxTries
)

// ParentTemplate is the seal keys' parent for a given unique field.
var ParentTemplate = parentTemplate
