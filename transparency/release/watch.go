// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/sotto-project/sotto/transparency/bundle"
)

// A Watcher finds what was signed as the publisher in a log, whoever did it: the
// owner of an identity learns so that somebody else has it.
type Watcher struct {
	root *bundle.Root
	who  Signer
	key  string // of who, if it is a key
}

// Watch makes a watcher of t's publisher.
func (t *Trust) Watch() (*Watcher, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	root, err := bundle.ReadRoot(t.TrustedRoot)
	if err != nil {
		return nil, err
	}
	w := &Watcher{root: root, who: t.Publisher}
	if w.who.PublicKey != "" {
		k, err := w.who.key()
		if err != nil {
			return nil, refuse(CodeTrust, "%v", err)
		}
		w.key = keyID(k)
	}
	return w, nil
}

// Head verifies a checkpoint of one of the logs that the trusted root names.
func (w *Watcher) Head(checkpoint []byte) (*bundle.Head, error) { return w.root.Head(checkpoint) }

// A Logged is an entry that was signed as the publisher.
type Logged struct {
	By     string   // the whole identity, or "key SHA-256"
	Digest [32]byte // as the log has it: see [File.Logged]
}

// Signed reports whether the publisher's key, or a certificate for the
// publisher's identity from an authority of the trusted root, signed an entry;
// nil if not. A workflow's is its identity at any ref, not at tags only. An
// entry that cannot be read, or whose signature does not hold, is nobody's.
func (w *Watcher) Signed(entry []byte) *Logged {
	e, err := bundle.ParseEntry(entry)
	if err != nil {
		return nil
	}
	for _, s := range e.Signers {
		switch {
		case s.Cert == nil && w.key != "" && keyID(s.Key) == w.key:
			return &Logged{w.key, e.Digest}
		case s.Cert == nil || w.key != "":
			continue
		}
		name, issuer, err := w.root.Identity(s.Cert)
		if err == nil && issuer == w.who.Issuer && w.is(name) {
			return &Logged{name, e.Digest}
		}
	}
	return nil
}

func (w *Watcher) is(name string) bool {
	if w.who.Workflow != "" {
		return strings.HasPrefix(name, w.who.Workflow+"@")
	}
	return name == w.who.Identity
}

// Logged lists the digests under which a log may have the statements of a file,
// attachments included: of each the SHA-256 of its DSSE pre-authentication
// encoding (entries of kind hashedrekord) and of its payload (dsse).
func (f *File) Logged() [][32]byte {
	var out [][32]byte
	for _, list := range [][][]byte{f.Bundles, f.Attachments} {
		for _, line := range list {
			payload, _, err := peek(line)
			if err != nil {
				continue
			}
			out = append(out, sha256.Sum256(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(bundle.PayloadType), bundle.PayloadType, len(payload), payload)), sha256.Sum256(payload))
		}
	}
	return out
}
