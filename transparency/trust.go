// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// Signature types of C2SP signed-note and tlog-cosignature.
const (
	algEd25519    = 0x01
	algCosignV1   = 0x04
	algMLDSA44    = 0x06
	ed25519KeyLen = 32
)

// A Trust says which log, and which witnesses of it, a party believes. It comes
// from a release or from the user's own file, never from a server (attack
// CL-11). The zero Trust refuses every checkpoint, and so does one whose
// quorum its witnesses cannot reach: a forgotten field only makes it stricter.
type Trust struct {
	// Origin is the log's name, the first line of its checkpoints.
	Origin string `json:"origin" yaml:"origin"`

	// LogKey is the log's Ed25519 verifier key (C2SP signed-note vkey, type
	// 0x01). Its name must be Origin.
	LogKey string `json:"log_key" yaml:"log_key"`

	// LogKeyPQ is the log's ML-DSA-44 verifier key (type 0x06), named Origin too.
	// With it, a checkpoint needs a good signature by both keys. Empty: the log's
	// own signature is classical only, and a quantum computer could forge it.
	LogKeyPQ string `json:"log_key_pq,omitempty" yaml:"log_key_pq,omitempty"`

	// Witnesses are verifier keys of cosigners: type 0x04 (Ed25519
	// cosignature/v1) or 0x06 (ML-DSA-44).
	Witnesses []string `json:"witnesses" yaml:"witnesses"`

	// Quorum is how many different witnesses must have cosigned; at least 1. Of n
	// witnesses, 2*Quorum-n have to sign two histories before both can be believed:
	// one, for 2 of 3.
	Quorum int `json:"quorum" yaml:"quorum"`
}

// Validate reports, as [CodeTrust], why t cannot be used.
func (t *Trust) Validate() error {
	_, err := t.keys()
	return err
}

// Tolerates is how many of the trusted witnesses, counted by name, may lie or be
// silent while a quorum of the others still speaks: n-q. What as few as that
// can bring about must convict nobody. Refusal: [CodeTrust].
func (t *Trust) Tolerates() (int, error) {
	k, err := t.keys()
	if err != nil {
		return 0, err
	}
	return voters(k.witnesses) - t.Quorum, nil
}

// PostQuantum reports whether t asks for the log's ML-DSA-44 signature.
func (t *Trust) PostQuantum() bool { return t.LogKeyPQ != "" }

// SplitNeeds is how many of t's witnesses have to sign two histories before the log can
// show two people one each, from the first look on: two quorums share at least
// 2*Quorum-n of n witnesses, counted by name. It is 0 where two quorums need not
// meet, so that the log needs nobody's help, and for a trust that cannot be used.
func (t *Trust) SplitNeeds() int {
	keys, err := t.keys()
	if err != nil {
		return 0
	}
	return max(0, 2*t.Quorum-voters(keys.witnesses))
}

// trustKeys is a Trust whose keys have been parsed.
type trustKeys struct {
	log       []note.Verifier // Ed25519 and, if there is one, ML-DSA-44
	witnesses []note.Verifier
}

func (t *Trust) keys() (*trustKeys, error) {
	if t == nil || !ValidOrigin(t.Origin) {
		return nil, Refuse(CodeTrust, "trust: no usable origin")
	}
	name, alg, logKey, ok := parseVKey(t.LogKey)
	if !ok || name != t.Origin || alg != algEd25519 {
		return nil, Refuse(CodeTrust, "trust: log key is not an Ed25519 verifier key named %q", t.Origin)
	}
	log, err := note.NewVerifier(t.LogKey)
	if err != nil {
		return nil, Refuse(CodeTrust, "trust: log key: %v", err)
	}
	k := &trustKeys{log: []note.Verifier{log}}
	seen := map[string]bool{logKey: true} // the log is no witness of itself
	if t.LogKeyPQ != "" {
		pq, key, err := pqLogVerifier(t.Origin, t.LogKeyPQ)
		if err != nil {
			return nil, err
		}
		k.log, seen[key] = append(k.log, pq), true
	}
	k.witnesses, err = witnessVerifiers(t.Witnesses, t.Quorum, seen)
	return k, err
}

// witnessVerifiers reads witnesses' keys; seen are keys that may not be one. One
// key is not two witnesses, and keys with one name are one.
func witnessVerifiers(vkeys []string, quorum int, seen map[string]bool) ([]note.Verifier, error) {
	if quorum < 1 || quorum > len(vkeys) || len(vkeys) >= maxSignatures {
		return nil, Refuse(CodeTrust, "trust: quorum %d of %d witnesses", quorum, len(vkeys))
	}
	var out []note.Verifier
	for _, vkey := range vkeys {
		v, key, err := witnessVerifier(vkey)
		if err != nil {
			return nil, err
		}
		if seen[key] {
			return nil, Refuse(CodeTrust, "trust: witness %q repeats a key", v.Name())
		}
		seen[key] = true
		out = append(out, v)
	}
	if n := voters(out); quorum > n {
		return nil, Refuse(CodeTrust, "trust: quorum %d of %d witnesses: keys with one name are one witness", quorum, n)
	}
	return out, nil
}

func witnessVerifier(vkey string) (note.Verifier, string, error) {
	name, alg, key, ok := parseVKey(vkey)
	if !ok {
		return nil, "", Refuse(CodeTrust, "trust: malformed witness key %q", name)
	}
	var v note.Verifier
	var err error
	switch alg {
	case algCosignV1:
		v, err = fnote.NewVerifierForCosignatureV1(vkey)
	case algMLDSA44:
		v, err = fnote.NewMLDSAVerifier(vkey)
	default:
		return nil, "", Refuse(CodeTrust, "trust: witness %q has key type %#x, want 0x04 or 0x06", name, alg)
	}
	if err != nil {
		return nil, "", Refuse(CodeTrust, "trust: witness %q: %v", name, err)
	}
	return v, key, nil
}

// parseVKey reads name+hash+base64(type || key) and checks the hash, which the
// libraries do not all do.
func parseVKey(vkey string) (name string, alg byte, key string, ok bool) {
	name, rest, _ := strings.Cut(vkey, "+")
	hash16, b64, _ := strings.Cut(rest, "+")
	raw, ok := decodeBase64(b64)
	if !ok || len(raw) < 2 || len(hash16) != 8 || !validName(name) {
		return name, 0, "", false
	}
	hash, err := strconv.ParseUint(hash16, 16, 32)
	if err != nil || uint32(hash) != keyHash(name, raw) {
		return name, 0, "", false
	}
	if (raw[0] == algEd25519 || raw[0] == algCosignV1) && len(raw) != 1+ed25519KeyLen {
		return name, 0, "", false
	}
	return name, raw[0], string(raw[1:]), true
}

// keyHash is the key id of C2SP signed-note: SHA-256(name, 0x0A, type || key)[:4].
func keyHash(name string, typed []byte) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), typed...))
	return binary.BigEndian.Uint32(sum[:])
}

// formatVKey prints the verifier key that parseVKey reads.
func formatVKey(name string, typed []byte) string {
	return fmt.Sprintf("%s+%08x+%s", name, keyHash(name, typed), base64.StdEncoding.EncodeToString(typed))
}
