// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package deps holds the import policy of this module, as a test. The policy
// is a statement of trust, not a lint: it says which role can reach which
// secret, and each rule carries its reason.
//
// DO NOT EDIT THE TABLES TO FIX A BUILD. A new edge is a change of the threat
// model and needs a line in docs/threat-model.md in the same commit.
package deps
