// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package publish is the role that tells everybody the same: once an epoch it
// asks every node for new keys and evidence, verifies what they answer, appends
// a statement to the log and serves it, with the pack, to whoever asks.
//
// It signs as the log. Who cosigns is the configuration's to say: with witnesses
// in it, nothing leaves before a quorum of them has cosigned ([Cosign] asks them,
// [OpenWitnessed] takes it), and while they are away the publisher asks again
// and serves what it has. Without any, it runs one cosigner key of its own as a
// clock, which is not a witness: whoever runs this process holds both keys and
// could show two people two different logs. A Trust whose only cosigner is this
// clock says when something was signed, not that everybody saw it.
//
// An owner of the log directory can publish anything, which every reader can
// see, and cannot make a node's evidence: clients verify that themselves. Losing
// the directory loses the log's identity.
//
// The parts are separate so that the lab can build a hostile publisher from
// them: [Log] (statements, keys, signing, over transparency/log), [Dialer] (asks nodes),
// [Config.Compose] (answers to statement and pack), [Board] (serves bytes).
// [Publisher] is the honest loop, and the only part that verifies evidence.
package publish
