// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	rekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	sumdb "golang.org/x/mod/sumdb/tlog"
)

// inLog checks that the signature is in a trusted log: exactly one entry, with a
// proof that leads to a checkpoint which the log signed. sigstore-go is content
// with a promise (a signed entry timestamp) where one entry of several has a
// proof; here there is one entry and it has one.
func (v *verification) inLog() error {
	list := v.entity.GetVerificationMaterial().GetTlogEntries()
	if len(list) == 0 {
		return refuse(CodeAbsent, "in no log")
	}
	if len(list) > 1 {
		return refuse(CodeFormat, "%d log entries, want one", len(list))
	}
	e := list[0]
	id := hex.EncodeToString(e.GetLogId().GetKeyId())
	log, ok := v.trusted.RekorLogs()[id]
	if !ok {
		return refuse(CodeAbsent, "in log %.16s.., which is not trusted", id)
	}
	proof := e.GetInclusionProof()
	envelope := proof.GetCheckpoint().GetEnvelope()
	switch {
	case proof == nil || envelope == "":
		return refuse(CodeInclusion, "a promise of inclusion without a proof")
	case len(e.CanonicalizedBody) == 0 || len(e.CanonicalizedBody) > maxEntry || len(proof.Hashes) > maxHashes || len(envelope) > maxEntry:
		return refuse(CodeFormat, "log entry or proof over its cap")
	case proof.LogIndex < 0 || proof.TreeSize <= proof.LogIndex:
		return refuse(CodeInclusion, "leaf %d of a tree of %d", proof.LogIndex, proof.TreeSize)
	}
	parsed, err := tlog.ParseTransparencyLogEntry(e)
	if err != nil {
		return refuse(CodeFormat, "log entry: %v", err)
	}
	if err := consistent(e, parsed.IsRekorV2()); err != nil {
		return err
	}
	if parsed.HasInclusionPromise() {
		if err := tlog.VerifySET(parsed, v.trusted.RekorLogs()); err != nil {
			return refuse(CodeSignature, "promise of inclusion: %v", err)
		}
	}
	stamps, err := verify.VerifyTlogEntry(v.entity, v.trusted, 1, true)
	if err != nil {
		return refuse(CodeInclusion, "%v", err)
	}
	for _, s := range stamps {
		v.times = append(v.times, s.Time)
	}
	v.res.Checkpoint = []byte(envelope)
	v.res.Log, v.res.LogIndex, v.res.TreeSize = log.BaseURL, uint64(proof.LogIndex), uint64(proof.TreeSize)
	return nil
}

// treeID ends the origin of checkpoints of Rekor's first version.
var treeID = regexp.MustCompile(` - [0-9]+$`)

// consistent compares what an entry says twice. sigstore-go verifies one of the
// two and leaves the other to be anything; and which rules it applies to an entry
// it takes from the checkpoint's origin, though the entry's body decides whether
// the entry is compared with the bundle.
func consistent(e *rekor.TransparencyLogEntry, tiles bool) error {
	proof := e.GetInclusionProof()
	lines := strings.SplitN(proof.GetCheckpoint().GetEnvelope(), "\n", 4) // origin, size, root
	switch {
	case len(lines) < 4 || lines[1] != strconv.FormatInt(proof.TreeSize, 10) || lines[2] != base64.StdEncoding.EncodeToString(proof.RootHash):
		return refuse(CodeInclusion, "proof and checkpoint are of different trees")
	case tiles && proof.LogIndex != e.LogIndex:
		return refuse(CodeInclusion, "proof of leaf %d for entry %d", proof.LogIndex, e.LogIndex)
	case tiles == treeID.MatchString(lines[0]):
		return refuse(CodeInclusion, "entry and checkpoint are of different kinds of log")
	}
	if !signatureLines(proof.GetCheckpoint().GetEnvelope()) {
		return refuse(CodeFormat, "checkpoint: malformed signature line")
	}
	var body struct{ APIVersion, Kind string }
	if err := json.Unmarshal(e.CanonicalizedBody, &body); err != nil || body.Kind != e.GetKindVersion().GetKind() || body.APIVersion != e.GetKindVersion().GetVersion() {
		return refuse(CodeFormat, "log entry: kind and body contradict each other")
	}
	// For an entry of tiles sigstore-go makes the leaf from the bundle, which is as
	// it should be, and does not look at the body that came along.
	path := make(sumdb.RecordProof, len(proof.Hashes))
	for i, h := range proof.Hashes {
		if len(h) != sumdb.HashSize {
			return refuse(CodeInclusion, "hash of %d bytes", len(h))
		}
		path[i] = sumdb.Hash(h)
	}
	if len(proof.RootHash) != sumdb.HashSize {
		return refuse(CodeInclusion, "root of %d bytes", len(proof.RootHash))
	}
	if err := sumdb.CheckRecord(path, proof.TreeSize, sumdb.Hash(proof.RootHash), proof.LogIndex, sumdb.RecordHash(e.CanonicalizedBody)); err != nil {
		return refuse(CodeInclusion, "entry %d is not in the tree: %v", proof.LogIndex, err)
	}
	return nil
}

// signatureLines reports whether a note's signatures (C2SP signed-note) are in
// their one spelling.
func signatureLines(note string) bool {
	_, lines, ok := strings.Cut(note, "\n\n")
	if !ok || !strings.HasSuffix(lines, "\n") {
		return false
	}
	for line := range strings.Lines(lines) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(parts) != 3 || parts[0] != "—" {
			return false
		}
		if b, err := base64.StdEncoding.DecodeString(parts[2]); err != nil || base64.StdEncoding.EncodeToString(b) != parts[2] {
			return false
		}
	}
	return true
}

// when establishes times of signing: the log's, where it promised inclusion at
// one, and those of timestamp authorities. A timestamp that does not verify
// refuses the bundle (Sigstore client specification, "Establishing a Time").
func (v *verification) when() error {
	list := v.entity.GetVerificationMaterial().GetTimestampVerificationData().GetRfc3161Timestamps()
	if len(list) > maxTimestamps {
		return refuse(CodeFormat, "%d timestamps, allowed are %d", len(list), maxTimestamps)
	}
	stamps, bad, err := verify.VerifySignedTimestamp(v.entity, v.trusted)
	if err != nil || len(bad) > 0 || len(stamps) != len(list) {
		return refuse(CodeTime, "timestamp: %v %v", err, bad)
	}
	for _, s := range stamps {
		v.times = append(v.times, s.Time)
	}
	if len(v.times) == 0 {
		return refuse(CodeTime, "no trusted time of signing")
	}
	log := v.trusted.RekorLogs()[hex.EncodeToString(v.entity.GetVerificationMaterial().GetTlogEntries()[0].GetLogId().GetKeyId())]
	for _, t := range v.times {
		if t.After(v.at.Add(MaxSkew)) {
			return refuse(CodeTime, "signed at %s, which is in the future", t.UTC().Format(time.RFC3339))
		}
		if !within(t, log) {
			return refuse(CodeTime, "signed at %s, when the log's key did not count", t.UTC().Format(time.RFC3339))
		}
	}
	v.res.Signed = slices.MinFunc(v.times, time.Time.Compare).UTC()
	return nil
}

func within(t time.Time, log *root.TransparencyLog) bool {
	return !t.Before(log.ValidityPeriodStart) && (log.ValidityPeriodEnd.IsZero() || !t.After(log.ValidityPeriodEnd))
}
