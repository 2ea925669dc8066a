// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package ima reads the measurement list of Linux IMA (security/integrity/ima
// in the kernel's source), replays it into PCR 10 of the SHA-256 bank, and gives
// a verdict for every entry.
//
// # Wire format
//
// A log is the kernel's binary_runtime_measurements_sha256, as it is, from the
// first entry or, where the log grew, from a later one. All integers are
// little-endian:
//
//	struct {
//	    u32    pcr = 10;
//	    opaque template_digest[32];   // SHA-256(data); all zero: a violation
//	    opaque template<0..2^32-1>;   // "ima-ng", "ima-sig", "ima-buf"
//	    opaque data<0..2^32-1>;
//	} Entry;
//
//	struct {
//	    opaque d_ng<0..2^32-1>;       // algorithm ":" NUL digest
//	    opaque n_ng<0..2^32-1>;       // name NUL
//	    opaque sig_or_buf<0..2^32-1>; // ima-sig: the signature or nothing; ima-buf: what was measured
//	} Data;
//
// The template digest is what the kernel extended PCR 10 with (since Linux 5.8
// each bank by a hash of its own), so a name that is not the measured one does
// not parse. Older kernels print SHA-1 digests beside the same data: the
// collector passes such a list through [Convert]. Kernels before 5.8 pad SHA-1
// digests into the SHA-256 bank; their logs do not replay here.
//
// # What it tells
//
// IMA measures what its policy asks for, before first use, and nothing else: a
// file that no rule matches, code made in memory, a script that an interpreter
// reads by itself, or what a measured program does afterwards leave no entry. A
// name is the path in the mount namespace of whoever opened the file; only the
// digest says what was in it. A violation says that a file was written while it
// was being measured, and its name is not measured: in such an entry, and only
// there, the text is the node's word. So this is a record of what ran, whole as
// far as the policy goes, and the policy has to be part of the measured image.
package ima

import (
	"crypto"
	_ "crypto/sha1" // of file digests in old lists, and of [Convert]
	"crypto/sha256"
	_ "crypto/sha512" // of file digests
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Caps of a log. Anything over them is refused before it is looked at.
const (
	MaxSize    = 4 << 20
	MaxEntries = 40_000
)

const (
	// PCR is the register that IMA extends (CONFIG_IMA_MEASURE_PCR_IDX).
	PCR = 10

	aggregateName = "boot_aggregate"
	maxName       = 4096 // PATH_MAX, with the NUL
)

// An algorithm of file digests, with its number in the kernel's enum hash_algo.
type algorithm struct {
	hash   crypto.Hash
	number byte
}

// algorithms are those that can be read. SHA-1 is read for the sake of a verdict
// on every entry; no rule allows it.
var algorithms = map[string]algorithm{
	"sha1": {crypto.SHA1, 2}, "sha256": {crypto.SHA256, 4}, "sha384": {crypto.SHA384, 5}, "sha512": {crypto.SHA512, 6},
}

// fits reports whether the algorithm is known and its digests have that size.
func fits(name string, size int) bool {
	a, known := algorithms[name]
	return known && a.hash.Size() == size
}

// A Digest is a file's digest as the kernel prints it: algorithm, colon,
// lower-case hex ("sha256:9f86d0..").
type Digest string

// parse returns the algorithm's name; ok is false if d is not in the one spelling.
func (d Digest) parse() (name string, ok bool) {
	name, text, _ := strings.Cut(string(d), ":")
	return name, len(text)%2 == 0 && fits(name, len(text)/2) && strings.Trim(text, hexDigits) == ""
}

// An Entry is one measurement.
type Entry struct {
	Template  string
	Name      string   // path, or name of a measured buffer; of a violation, nobody's word
	Signature string   // security.ima of the file, ima-sig only; may be empty
	Violation bool     // the file changed while it was measured
	Hash      [32]byte // what PCR 10 was extended with
	End       int      // offset of the first byte after the entry

	algorithm, sum string // of the file or buffer
}

// Digest returns the digest of the file or buffer; "" in a violation.
func (e *Entry) Digest() Digest {
	if e.Violation {
		return ""
	}
	b := make([]byte, 0, 8+2*64)
	b = append(append(b, e.algorithm...), ':')
	for i := range len(e.sum) {
		b = append(b, hexDigits[e.sum[i]>>4], hexDigits[e.sum[i]&15])
	}
	return Digest(b)
}

const hexDigits = "0123456789abcdef"

// A Log is a parsed measurement list.
type Log struct{ Entries []Entry }

// Parse reads a log; an empty one has no entries. It refuses with att.size what
// is over the caps and with att.ima.format everything but the one spelling of
// each entry, templates it does not know, and entries of other PCRs.
//
// The template's name is not part of what is measured. Between ima-sig and
// ima-buf, which have the same fields, it decides nothing but whether the third
// is held against the digest or against a signer.
func Parse(b []byte) (*Log, error) {
	return parse(b, crypto.SHA256)
}

// Convert returns a log in the wire format of this package, whichever of the
// kernel's two lists it gets: with SHA-256 template digests, or with SHA-1 ones
// (binary_runtime_measurements), which it checks before it replaces them.
// Verifiers do not call it.
func Convert(b []byte) ([]byte, error) {
	if _, err := Parse(b); err == nil {
		return b, nil
	}
	l, err := parse(b, crypto.SHA1)
	if err != nil {
		return nil, err
	}
	const old, more = 20, sha256.Size - 20
	out := make([]byte, 0, len(b)+more*len(l.Entries))
	start := 0
	for _, e := range l.Entries {
		digest := e.Hash
		if e.Violation {
			digest = [32]byte{}
		}
		out = append(append(out, b[start:start+4]...), digest[:]...)
		out = append(out, b[start+4+old:e.End]...)
		start = e.End
	}
	if len(out) > MaxSize {
		return nil, refuse.As(refuse.Size, "IMA log of %d bytes", len(out))
	}
	return out, nil
}

// parse reads a list whose template digests are of the given hash.
func parse(b []byte, hash crypto.Hash) (*Log, error) {
	if len(b) > MaxSize {
		return nil, refuse.As(refuse.Size, "IMA log of %d bytes", len(b))
	}
	r := reader{b: b, s: string(b)}
	n := r.count(hash.Size())
	if n > MaxEntries {
		return nil, refuse.As(refuse.Size, "IMA log of more than %d entries", MaxEntries)
	}
	l := &Log{Entries: make([]Entry, 0, n)}
	for r.at < len(b) {
		e, fault := r.entry(hash)
		if fault != "" {
			return nil, &refuse.Error{Code: refuse.IMAFormat, Detail: fmt.Sprintf("IMA entry %d: %s", len(l.Entries), fault), Want: r.want, Got: r.got}
		}
		l.Entries = append(l.Entries, e)
	}
	return l, nil
}

// count returns how many entries there are, by their lengths alone; a last one
// that is cut short counts.
func (r reader) count(digest int) (n int) {
	for ; r.at < len(r.b) && n <= MaxEntries; n++ {
		r.take(4 + digest)
		r.field()
		r.field()
		if r.bad {
			return n + 1
		}
	}
	return n
}

// templates are those that can be read. Others have other fields: "ima" a SHA-1
// file digest, ima-modsig a signature inside the file, ima-ngv2 and ima-sigv2
// (fs-verity) digests of another kind.
var templates = map[string]bool{"ima-ng": true, "ima-sig": true, "ima-buf": true}

// violated is what the kernel extends for a violation instead of a digest.
var violated = func() (h [32]byte) {
	for i := range h {
		h[i] = 0xff
	}
	return h
}()

// entry reads one entry; fault says what is wrong with it.
func (r *reader) entry(hash crypto.Hash) (e Entry, fault string) {
	pcr := r.u32()
	stored := r.take(hash.Size())
	e.Template = r.field()
	if !r.bad && !templates[e.Template] {
		return e, fmt.Sprintf("unknown template %.32q", e.Template)
	}
	start := r.at + 4
	data := r.field()
	e.End = r.at
	switch {
	case r.bad:
		return e, "cut short"
	case pcr != PCR:
		return e, "not of PCR 10"
	}
	e.Hash = sha256.Sum256(r.b[start:e.End])
	switch {
	case stored == zeros[:len(stored)]:
		e.Violation, e.Hash = true, violated
	case hash == crypto.SHA256 && string(e.Hash[:]) != stored,
		hash == crypto.SHA1 && string(sum(hash, data)) != stored:
		r.want, r.got = hex.EncodeToString([]byte(stored)), hex.EncodeToString([]byte(sum(hash, data)))
		return e, "template digest is not that of its data"
	}
	return e, e.data(reader{b: r.b[start:e.End], s: data})
}

// data reads the fields of a template.
func (e *Entry) data(r reader) (fault string) {
	dng, nng := r.field(), r.field()
	third := ""
	if e.Template != "ima-ng" {
		third = r.field()
	}
	algorithm, digest, _ := strings.Cut(dng, ":\x00")
	name, rest, terminated := strings.Cut(nng, "\x00")
	switch {
	case r.bad || r.at != len(r.b):
		return "malformed fields"
	case !terminated || rest != "" || name == "" || len(nng) > maxName:
		return "malformed name"
	case !fits(algorithm, len(digest)):
		return "malformed file digest"
	case e.Violation && (third != "" || digest != zeros[:len(digest)]):
		return "a violation with a digest"
	}
	e.Name = name
	if e.Violation {
		return ""
	}
	e.algorithm, e.sum = algorithm, digest
	if e.Template == "ima-sig" {
		e.Signature = third
	}
	// A buffer too large to carry is replaced by its hash, and that is hashed again
	// (process_buffer_measurement in the kernel's ima_main.c): both fit this.
	if e.Template == "ima-buf" && string(sum(algorithms[algorithm].hash, third)) != digest {
		return "measured buffer does not hash to its digest"
	}
	return ""
}

// zeros is as long as the longest digest.
var zeros = strings.Repeat("\x00", 64)

func sum(hash crypto.Hash, s string) []byte {
	h := hash.New()
	h.Write([]byte(s))
	return h.Sum(nil)
}

// A reader takes values off b; s is the same bytes, so that names need no copy
// each. After the first short read it is bad and yields nothing.
type reader struct {
	b   []byte
	s   string
	at  int
	bad bool

	want, got string // of the fault, where two values differ
}

func (r *reader) take(n int) string {
	if r.bad || n < 0 || n > len(r.s)-r.at {
		r.bad = true
		return ""
	}
	r.at += n
	return r.s[r.at-n : r.at]
}

func (r *reader) u32() uint32 {
	if r.take(4); r.bad {
		return 0
	}
	return binary.LittleEndian.Uint32(r.b[r.at-4:])
}

// field reads a length and as many bytes.
func (r *reader) field() string {
	n := r.u32()
	if int64(n) > int64(len(r.s)) {
		r.bad = true
		return ""
	}
	return r.take(int(n))
}
