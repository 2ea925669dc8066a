// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
)

// REKSize is the length of a request encryption key: the MLKEM768-P256 (0x0050)
// encapsulation key, 1184 bytes of ML-KEM-768 and 65 of an uncompressed point.
const REKSize = 1184 + 65

// KeyStatementSize is the length of a printed [KeyStatement].
const KeyStatementSize = 1 + 8 + 32 + REKSize + 32 + 32 + 32 + 32 + 32

const keyStatementVersion = 1

// A KeyStatement lists what a node's quote and hardware report vouch for. It is
// written by the measured software and hashed into both:
//
//	struct {
//	    uint8  version = 1;
//	    uint64 epoch;
//	    opaque node_id[32];        // [NodeID] of the attestation key
//	    opaque rek[1249];          // ML-KEM-768 key || P-256 point
//	    opaque node_key[32];       // Ed25519
//	    opaque config_hash[32];    // SHA-256 of the measured configuration
//	    opaque event_log_hash[32]; // SHA-256 of the event log piece
//	    opaque checkpoint[32];     // SHA-256 of a checkpoint note of epoch <= e-1
//	    opaque gpu_digest[32];     // of the GPU evidence; zero: no GPU
//	} KeyStatement;
type KeyStatement struct {
	Epoch      uint64
	NodeID     [32]byte
	REK        [REKSize]byte
	NodeKey    [ed25519.PublicKeySize]byte
	ConfigHash [32]byte
	LogHash    [32]byte
	Checkpoint [32]byte
	GPUDigest  [32]byte
}

// Append prints the statement after dst.
func (s *KeyStatement) Append(dst []byte) []byte {
	dst = append(dst, keyStatementVersion)
	dst = binary.BigEndian.AppendUint64(dst, s.Epoch)
	dst = append(dst, s.NodeID[:]...)
	dst = append(dst, s.REK[:]...)
	dst = append(dst, s.NodeKey[:]...)
	dst = append(dst, s.ConfigHash[:]...)
	dst = append(dst, s.LogHash[:]...)
	dst = append(dst, s.Checkpoint[:]...)
	return append(dst, s.GPUDigest[:]...)
}

// ParseKeyStatement reads exactly one statement.
func ParseKeyStatement(b []byte) (*KeyStatement, error) {
	if len(b) != KeyStatementSize || b[0] != keyStatementVersion {
		return nil, errors.New("evidence: malformed key statement")
	}
	s := &KeyStatement{Epoch: binary.BigEndian.Uint64(b[1:])}
	b = b[9:]
	for _, field := range [][]byte{s.NodeID[:], s.REK[:], s.NodeKey[:], s.ConfigHash[:], s.LogHash[:], s.Checkpoint[:], s.GPUDigest[:]} {
		b = b[copy(field, b):]
	}
	return s, nil
}

// sum256 hashes a label, a zero byte and the parts. All parts but the last have
// a fixed length wherever it is used, so the parts cannot run into each other.
func sum256(label string, parts ...[]byte) [32]byte {
	h := sha256.New()
	h.Write([]byte(label))
	h.Write([]byte{0})
	for _, p := range parts {
		h.Write(p)
	}
	return [32]byte(h.Sum(nil))
}

// NodeID returns a node's identifier: a hash of the TPM name of its attestation
// key (nameAlg || digest), so whoever knows the key knows the node.
func NodeID(akName []byte) [32]byte { return sum256("sotto node v1", akName) }

// CreationQualifier is the qualifying data of the TPM2_CertifyCreation of the
// P-256 half of the REK.
func CreationQualifier(statement []byte) [32]byte {
	return sum256("sotto rek creation v1", statement)
}

// EpochQualifier is the qualifying data of the quote in epoch evidence.
func EpochQualifier(statement []byte, gpuDigest [32]byte) [32]byte {
	return sum256("sotto epoch evidence v1", statement, gpuDigest[:])
}

// FreshQualifier is the qualifying data of the quote in freshness evidence.
func FreshQualifier(epochDigest, checkpoint [32]byte) [32]byte {
	return sum256("sotto freshness v1", epochDigest[:], checkpoint[:])
}

// ChallengeQualifier is the qualifying data of a quote made for one caller's
// challenge, in place of a checkpoint.
func ChallengeQualifier(epochDigest, challenge [32]byte) [32]byte {
	return sum256("sotto challenge v1", epochDigest[:], challenge[:])
}

// LogHash is the hash that a key statement names the boot's event logs by:
// SHA-256 of the TPM's, or, where a TD has one of its own, of the two hashes.
func LogHash(eventLog, ccel []byte) [32]byte {
	h := sha256.Sum256(eventLog)
	if ccel == nil {
		return h
	}
	c := sha256.Sum256(ccel)
	return sha256.Sum256(append(h[:], c[:]...))
}

// GPUNonce is the nonce that GPU evidence is made over: the key statement before
// the digest of that evidence is filled in.
func GPUNonce(statement []byte) [32]byte {
	s := append([]byte(nil), statement...)
	clear(s[max(0, len(s)-32):])
	return sum256("sotto gpu nonce v1", s)
}

// ReportData is the REPORT_DATA of the SEV-SNP report in epoch evidence: it ties
// the attestation key, and through the qualifying data every other key, to the
// confidential VM that asked for the report.
func ReportData(akPublic []byte, qualifier [32]byte) [64]byte {
	ak := sha256.Sum256(akPublic)
	h := sha512.New()
	h.Write([]byte("sotto report data v1\x00"))
	h.Write(ak[:])
	h.Write(qualifier[:])
	return [64]byte(h.Sum(nil))
}

const pcrEntrySize = 1 + 32

// PCRs are SHA-256 PCR values by index:
//
//	struct {
//	    uint8  index;    // strictly ascending, 0..23
//	    opaque value[32];
//	} PCR;
//	PCR values[n];
type PCRs map[int][32]byte

// Append prints the values after dst, by index.
func (p PCRs) Append(dst []byte) []byte {
	for i := range 24 {
		if v, ok := p[i]; ok {
			dst = append(append(dst, byte(i)), v[:]...)
		}
	}
	return dst
}

// ParsePCRs reads a list of values; the order is part of the format.
func ParsePCRs(b []byte) (PCRs, error) {
	out, last := PCRs{}, -1
	for ; len(b) >= pcrEntrySize; b = b[pcrEntrySize:] {
		i := int(b[0])
		if i <= last || i > 23 {
			return nil, errors.New("evidence: malformed PCR values")
		}
		out[i], last = [32]byte(b[1:pcrEntrySize]), i
	}
	if len(b) != 0 {
		return nil, errors.New("evidence: malformed PCR values")
	}
	return out, nil
}

// SealPCRs returns the PCRs that bind a REK: static after boot. QuotePCRs
// returns those plus 10 (IMA), which grows while the node runs.
func SealPCRs() []int { return []int{0, 2, 4, 7, 9, 11, 12, 13} }

// QuotePCRs is the set every quote covers; see [SealPCRs].
func QuotePCRs() []int { return []int{0, 2, 4, 7, 9, 10, 11, 12, 13} }

// ConfigPCR is the register that the measured configuration is extended into.
const ConfigPCR = 13

// ConfigPCRValue is what [ConfigPCR] reads after exactly one extend with the
// configuration's SHA-256.
func ConfigPCRValue(configHash [32]byte) [32]byte {
	return sha256.Sum256(append(make([]byte, 32, 64), configHash[:]...))
}
