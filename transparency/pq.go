// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"filippo.io/mldsa"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/mod/sumdb/note"
)

// MLDSASeedSize is the size of an ML-DSA-44 key's seed in bytes, which is all of
// the key that is kept (FIPS 204, Section 3.6.3).
const MLDSASeedSize = mldsa.PrivateKeySize

// subtreeLabel opens every message that ML-DSA-44 signs here (C2SP
// tlog-cosignature), so that no signature means anything elsewhere.
const subtreeLabel = "subtree/v1\n\x00"

// A pqKey signs trees with ML-DSA-44 (FIPS 204; C2SP signed-note type 0x06), for a
// log and for its witnesses.
type pqKey struct{ key *mldsa.PrivateKey }

func newPQKey(seed []byte) (*pqKey, error) {
	key, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed)
	if err != nil {
		return nil, errors.New("not the seed of an ML-DSA-44 key")
	}
	return &pqKey{key}, nil
}

// typed is the public key as verifier keys and key ids hold it.
func (k *pqKey) typed() []byte {
	return append([]byte{algMLDSA44}, k.key.PublicKey().Bytes()...)
}

// sign makes the timestamped signature over a whole tree, in the name of a log (of
// time 0) or of a cosigner. It is deterministic, so signing again after a crash adds
// nothing to the world.
//
//	struct {
//	    uint8  label[12] = "subtree/v1\n\0";
//	    opaque cosigner_name<1..2^8-1>;
//	    uint64 timestamp;
//	    opaque log_origin<1..2^8-1>;
//	    uint64 start = 0;
//	    uint64 end;
//	    uint8  hash[32];
//	} cosigned_message;
func (k *pqKey) sign(name string, timestamp uint64, c *Checkpoint) ([]byte, error) {
	if timestamp > math.MaxInt64 {
		return nil, errors.New("sign: time beyond 2^63-1")
	}
	w := cryptobyte.NewBuilder(nil)
	w.AddBytes([]byte(subtreeLabel))
	w.AddUint8LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes([]byte(name)) })
	w.AddUint64(timestamp)
	w.AddUint8LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes([]byte(c.Origin)) })
	w.AddUint64(0)
	w.AddUint64(c.Size)
	w.AddBytes(c.Root[:])
	msg, err := w.Bytes()
	if err != nil {
		return nil, fmt.Errorf("sign: %v", err)
	}
	sig, err := k.key.SignDeterministic(msg, nil)
	if err != nil {
		return nil, fmt.Errorf("sign: %v", err)
	}
	return append(binary.BigEndian.AppendUint64(nil, timestamp), sig...), nil
}

// pqLog verifies a log's own ML-DSA-44 signature. The log says nothing about
// time, so its timestamp must be zero: another would be a second spelling of
// the same statement, and one that looks like a witness's.
type pqLog struct{ note.Verifier }

func (v pqLog) Verify(text, sig []byte) bool {
	return len(sig) > 8 && binary.BigEndian.Uint64(sig) == 0 && v.Verifier.Verify(text, sig)
}

// pqLogVerifier reads the verifier key of [Trust.LogKeyPQ].
func pqLogVerifier(origin, vkey string) (note.Verifier, string, error) {
	name, alg, key, ok := parseVKey(vkey)
	if !ok || name != origin || alg != algMLDSA44 {
		return nil, "", Refuse(CodeTrust, "trust: log_key_pq is not an ML-DSA-44 verifier key named %q", origin)
	}
	v, err := fnote.NewMLDSAVerifier(vkey)
	if err != nil {
		return nil, "", Refuse(CodeTrust, "trust: log_key_pq: %v", err)
	}
	return pqLog{v}, key, nil
}
