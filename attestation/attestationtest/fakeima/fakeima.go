// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package fakeima makes IMA measurement lists as a Linux kernel would, for tests
// and the lab, and breaks them. Its own entries say SIMULATED in what they
// measure; it shares no code with the verifier's parser.
package fakeima

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
)

// PCR is the register that the lists extend.
const PCR = 10

// An Entry is one measurement. Build it with [File], [Boot], [Buffer], [Changed]
// or [Signed]; every field may be changed to make it wrong.
type Entry struct {
	PCR       uint32
	Template  string
	Algorithm string // of Digest
	Digest    []byte // of the file
	Name      string
	Extra     []byte // ima-sig: the signature; ima-buf: the buffer
	Violation bool
}

// File returns the ima-ng entry of a file.
func File(name string, content []byte) Entry {
	sum := sha256.Sum256(content)
	return Entry{PCR: PCR, Template: "ima-ng", Algorithm: "sha256", Digest: sum[:], Name: name}
}

// Boot returns the entry that begins every list: boot_aggregate over PCRs 0 to 9.
func Boot(pcrs [10][32]byte) Entry {
	var all []byte
	for _, v := range pcrs {
		all = append(all, v[:]...)
	}
	return File("boot_aggregate", all)
}

// Buffer returns the ima-buf entry of a measured buffer, such as "kexec-cmdline".
func Buffer(name string, content []byte) Entry {
	e := File(name, content)
	e.Template, e.Extra = "ima-buf", content
	return e
}

// Changed returns the violation that the kernel records when a file is written
// while it is measured.
func Changed(name string) Entry {
	return Entry{PCR: PCR, Template: "ima-ng", Algorithm: "sha1", Digest: make([]byte, 20), Name: name, Violation: true}
}

// Signed returns e as an ima-sig entry with a version 2 signature over its file
// digest, as evmctl ima_sign makes it. e is of a SHA-256 digest.
func Signed(e Entry, key crypto.Signer) (Entry, error) {
	signature, err := key.Sign(rand.Reader, e.Digest, crypto.SHA256)
	if err != nil {
		return Entry{}, err
	}
	id, err := keyID(key.Public())
	if err != nil {
		return Entry{}, err
	}
	const sha256Number = 4 // enum hash_algo
	e.Template = "ima-sig"
	e.Extra = append([]byte{3, 2, sha256Number}, id...)
	e.Extra = append(binary.BigEndian.AppendUint16(e.Extra, uint16(len(signature))), signature...)
	return e, nil
}

func keyID(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, err
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, err
	}
	sum := sha1.Sum(info.Key.Bytes)
	return sum[16:], nil
}

// Node returns the list of a lab node after boot: what a policy that measures
// programs, libraries and modules would record. The paths are a node's, the
// contents say SIMULATED.
func Node(pcrs [10][32]byte) []Entry {
	out := []Entry{Boot(pcrs)}
	for _, name := range []string{
		"/usr/lib/systemd/systemd",
		"/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
		"/usr/lib/x86_64-linux-gnu/libc.so.6",
		"/usr/lib/modules/6.12.0/kernel/drivers/virt/coco/sev-guest/sev-guest.ko",
		"/usr/lib/modules/6.12.0/kernel/drivers/char/tpm/tpm_crb.ko",
		"/usr/bin/sotto-node",
		"/usr/bin/sotto-engine",
	} {
		out = append(out, File(name, []byte("SIMULATED "+name)))
	}
	return out
}

// Module returns the entry of a kernel module that no lab image has.
func Module() Entry {
	const name = "/usr/lib/modules/6.12.0/kernel/net/netfilter/nf_nat.ko"
	return File(name, []byte("SIMULATED unknown module"))
}

// Files returns the digests of entries by name, as the kernel prints them, but
// for boot_aggregate and violations: reference values for these entries.
func Files(entries []Entry) map[string][]string {
	out := map[string][]string{}
	for _, e := range entries {
		if e.Name != "boot_aggregate" && !e.Violation {
			out[e.Name] = append(out[e.Name], e.Algorithm+":"+hex.EncodeToString(e.Digest))
		}
	}
	return out
}

// Log prints entries as binary_runtime_measurements_sha256 has them.
func Log(entries []Entry) []byte {
	return list(entries, func(data []byte) []byte { h := sha256.Sum256(data); return h[:] }, sha256.Size)
}

// LegacyLog prints entries as binary_runtime_measurements has them.
func LegacyLog(entries []Entry) []byte {
	return list(entries, func(data []byte) []byte { h := sha1.Sum(data); return h[:] }, sha1.Size)
}

func list(entries []Entry, hash func([]byte) []byte, size int) (out []byte) {
	for _, e := range entries {
		data, digest := e.data(), make([]byte, size)
		if !e.Violation {
			digest = hash(data)
		}
		out = binary.LittleEndian.AppendUint32(out, e.PCR)
		out = append(out, digest...)
		out = field(out, []byte(e.Template))
		out = field(out, data)
	}
	return out
}

func (e *Entry) data() []byte {
	out := field(nil, append([]byte(e.Algorithm+":\x00"), e.Digest...))
	out = field(out, append([]byte(e.Name), 0))
	if e.Template != "ima-ng" {
		out = field(out, e.Extra)
	}
	return out
}

func field(b, value []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(value))), value...)
}

// Hash returns what the kernel extends PCR 10 of the SHA-256 bank with.
func (e *Entry) Hash() (h [32]byte) {
	if !e.Violation {
		return sha256.Sum256(e.data())
	}
	for i := range h {
		h[i] = 0xff
	}
	return h
}

// Register returns the value that entries lead PCR 10 to from start.
func Register(start [32]byte, entries []Entry) [32]byte {
	for _, e := range entries {
		hash := e.Hash()
		start = sha256.Sum256(append(start[:], hash[:]...))
	}
	return start
}

// An Extender can extend a PCR of the SHA-256 bank.
type Extender interface {
	Extend(ctx context.Context, pcr int, digest [32]byte) error
}

// Play extends entries into t and returns their list.
func Play(ctx context.Context, t Extender, entries []Entry) ([]byte, error) {
	for _, e := range entries {
		if err := t.Extend(ctx, PCR, e.Hash()); err != nil {
			return nil, err
		}
	}
	return Log(entries), nil
}
