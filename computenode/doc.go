// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package computenode is the role of the machine that answers: it opens a
// sealed request with a key that only it has, shows it to an inference engine
// on the same machine, and seals the answer as it comes (docs/spec/node.md).
//
// It learns a prompt and never who sent it. It dials nothing but its engine: a
// router brings requests, a publisher asks for keys and evidence. It keeps
// nothing: keys and the list of requests it has run are in memory only, so a
// node that died can open nothing that was sent to it before. What goes wrong
// before a request is open is a static code; after that, every error is inside
// the seal, and none is in a log, a metric or an error value of this package.
package computenode
