// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/transparency"
)

// A Log is one log that a witness serves.
type Log struct {
	// Origin is the log's name, the first line of its checkpoints. Required.
	Origin string `yaml:"origin"`
	// LogKey is its Ed25519 verifier key (C2SP signed-note vkey, type 0x01),
	// named as the origin. Required. Get it from the log's operator, and
	// compare it with what others were given.
	LogKey string `yaml:"log_key"`
	// LogKeyPQ is its ML-DSA-44 verifier key (type 0x06), named as the origin.
	// With it, a checkpoint needs both signatures.
	LogKeyPQ string `yaml:"log_key_pq"`
}

// A Setup is what a [Witness] is made of.
type Setup struct {
	// Cosigners sign, each a line, in this order. They have one name: keys with
	// one name are one witness. At least one.
	Cosigners []*transparency.Cosigner
	// Logs are served; no other log is. At least one, none twice.
	Logs []Log
	// Store is the memory. Required.
	Store Store

	Now      func() time.Time     // the clock; nil: the system's
	Registry *prometheus.Registry // for the instruments; nil: nobody sees them
	Log      *slog.Logger         // for forks and failing writes; nil: nobody hears of them
}

// A Witness signs checkpoints of the logs it knows. It is safe for concurrent use.
type Witness struct {
	cosigners []*transparency.Cosigner
	logs      map[string]*transparency.LogKey // never written after New
	store     Store
	now       func() time.Time
	slog      *slog.Logger
	meters    meters

	mu    sync.Mutex
	kept  map[string][]byte // what this process has written last, or a little before
	sizes map[string]uint64 // signed last by this process; only to tell who waits for whom
}

// New makes a witness. It touches neither disk nor network.
func New(s Setup) (*Witness, error) {
	if len(s.Cosigners) == 0 || len(s.Logs) == 0 || s.Store == nil {
		return nil, errors.New("witness: cosigners, logs and a store are required")
	}
	for _, c := range s.Cosigners {
		if c.Name() != s.Cosigners[0].Name() {
			return nil, fmt.Errorf("witness: cosigners named %q and %q: a witness has one name", s.Cosigners[0].Name(), c.Name())
		}
	}
	w := &Witness{cosigners: s.Cosigners, logs: map[string]*transparency.LogKey{}, store: s.Store, now: s.Now, slog: s.Log, kept: map[string][]byte{}, sizes: map[string]uint64{}}
	for _, l := range s.Logs {
		k, err := transparency.NewLogKey(l.Origin, l.LogKey, l.LogKeyPQ)
		if err != nil {
			return nil, fmt.Errorf("witness: log %q: %w", l.Origin, err)
		}
		if w.logs[l.Origin] != nil {
			return nil, fmt.Errorf("witness: log %q is there twice", l.Origin)
		}
		w.logs[l.Origin] = k
	}
	if w.now == nil {
		w.now = time.Now
	}
	if w.slog == nil {
		w.slog = slog.New(slog.DiscardHandler)
	}
	reg := s.Registry
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	w.meters = newMeters(reg)
	return w, nil
}

// VKeys are the verifier keys to put into trust files and into the log's
// configuration.
func (w *Witness) VKeys() []string {
	var out []string
	for _, c := range w.cosigners {
		out = append(out, c.VKey())
	}
	return out
}

// AddCheckpoint answers a request with this witness's signature lines. They
// exist only after what they sign has been kept: an error means that nothing
// was signed, and is an [*Error].
func (w *Witness) AddCheckpoint(r *Request) ([]byte, error) {
	a, err := w.look(r)
	if err != nil {
		return nil, w.refused(err)
	}
	return w.answer(a)
}

// refused makes an error an [*Error], and counts it.
func (w *Witness) refused(err error) *Error {
	var e *Error
	if !errors.As(err, &e) {
		e = refuse(CodeStore, "%v", err)
	}
	w.meters.refused.Inc(string(e.Code))
	if e.Code == CodeStore || e.Code == CodeClock {
		w.slog.Error("nothing signed", "error", e)
	}
	return e
}

// An asked is a request whose checkpoint the log has signed.
type asked struct {
	*Request
	cp  *transparency.Checkpoint // its note has the log's signatures only
	key *transparency.LogKey
}

// look checks what can be checked without the memory.
func (w *Witness) look(r *Request) (*asked, error) {
	cp, err := transparency.ReadUnverified(r.Note)
	if err != nil {
		return nil, refuse(CodeRequest, "%v", err)
	}
	key := w.logs[cp.Origin]
	if key == nil {
		return nil, refuse(CodeOrigin, "log %q is not served here", cp.Origin)
	}
	if cp, err = key.ParseCheckpoint(r.Note); err != nil {
		return nil, refuse(CodeSignature, "%v", err)
	}
	if r.Old > cp.Size {
		return nil, refuse(CodeOld, "old size %d is above the checkpoint's, %d", r.Old, cp.Size)
	}
	if cp.Note, err = key.Strip(cp); err != nil {
		return nil, refuse(CodeRequest, "%v", err)
	}
	return &asked{r, cp, key}, nil
}

// answer compares with the memory, signs and keeps.
func (w *Witness) answer(a *asked) ([]byte, error) {
	var lines, kept, evidence []byte
	err := w.store.Update(a.cp.Origin, func(old []byte) ([]byte, error) {
		last, err := parseState(old, a.cp.Origin)
		if err != nil {
			return nil, err
		}
		if err := compare(last, a.cp, a.Request); err != nil {
			if err.Code == CodeFork {
				evidence = appendEvidence(nil, stripped(a.key, last.cp.Note), a.cp.Note)
			}
			return nil, err
		}
		var same bool
		if lines, same = w.again(old, last, a.cp); same {
			return nil, nil
		}
		next, signed, err := w.sign(last, a.cp)
		if err != nil {
			return nil, err
		}
		lines, kept = signed, next.append(nil)
		return kept, nil
	})
	if evidence != nil {
		w.accuse(a.cp, evidence)
	}
	if err != nil {
		return nil, w.refused(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sizes[a.cp.Origin] = max(w.sizes[a.cp.Origin], a.cp.Size)
	if kept != nil {
		w.kept[a.cp.Origin] = kept
		w.meters.signed.Inc()
	}
	return lines, nil
}

// again is what was answered in this second, if it was the same tree. Anybody can
// send a log's newest checkpoint, as often as the line carries: signing it once a
// second says all there is to say, and one write a second is what it costs. Only
// what this process has seen kept counts: a file can be there and not be safe yet.
func (w *Witness) again(old []byte, last *state, cp *transparency.Checkpoint) ([]byte, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines, same := bytes.CutPrefix(last.cp.Note, cp.Note)
	return bytes.Clone(lines), same && last.time == w.now().Unix() && bytes.Equal(old, w.kept[cp.Origin])
}

// grows reports whether a asks for more leaves than this process has signed.
func (w *Witness) grows(a *asked) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return a.cp.Size > w.sizes[a.cp.Origin]
}

// stripped leaves out what we signed, so that one fork makes one piece of
// evidence however often it is shown. A note by keys that the log has changed
// since stays as it is.
func stripped(key *transparency.LogKey, note []byte) []byte {
	cp, err := key.ParseCheckpoint(note)
	if err != nil {
		return note
	}
	out, err := key.Strip(cp)
	if err != nil {
		return note
	}
	return out
}

// compare holds a checkpoint of the log against what was signed last.
func compare(last *state, cp *transparency.Checkpoint, r *Request) *Error {
	same := r.Old == cp.Size
	switch {
	case cp.Size == 0 && cp.Root != sha256.Sum256(nil):
		return refuse(CodeProof, "an empty tree has one root, and this is another")
	case cp.Size == last.cp.Size && cp.Root != last.cp.Root:
		// Whatever the request says about the old size: the log has signed both.
		return refuse(CodeFork, "the log has signed two roots of %d leaves", cp.Size)
	case r.Old != last.cp.Size:
		return &Error{CodeStale, "the last size signed is " + strconv.FormatUint(last.cp.Size, 10), last.cp.Size}
	case (same || r.Old == 0) && len(r.Proof) > 0:
		return refuse(CodeProof, "a proof where there is nothing to prove")
	case same || r.Old == 0:
		return nil
	}
	if err := cp.CheckConsistency(last.cp, r.Proof); err != nil {
		return refuse(CodeProof, "%v", err)
	}
	return nil
}

// sign makes the lines and the state that must be kept before they leave.
//
// The time never goes back. A cosignature says that, as of its second, the
// checkpoint was the newest that this witness had seen; one with an earlier
// time than the last would make one of the two a lie, and would let readers take
// a new checkpoint for an old one.
func (w *Witness) sign(last *state, cp *transparency.Checkpoint) (*state, []byte, error) {
	now := w.now()
	if now.Unix() < last.time {
		return nil, nil, refuse(CodeClock, "the clock stands %v before the last time signed, %v; nothing is signed until it has caught up: set the clock, or wait",
			last.when().Sub(now).Round(time.Second), last.when().Format(time.RFC3339))
	}
	var lines []byte
	for _, c := range w.cosigners {
		line, err := c.Line(cp.Note, now)
		if err != nil {
			return nil, nil, refuse(CodeClock, "%v", err)
		}
		lines = append(lines, line...)
	}
	kept := *cp
	kept.Note = append(bytes.Clone(cp.Note), lines...)
	return &state{now.Unix(), &kept}, lines, nil
}

// accuse keeps what a log signed against itself, and is loud about it.
func (w *Witness) accuse(cp *transparency.Checkpoint, evidence []byte) {
	w.meters.forks.Inc()
	err := w.store.Keep(cp.Origin, evidence)
	if errors.Is(err, ErrEnough) {
		err = nil
	}
	w.slog.Error("FORK: the log has signed two roots of one size; publish the evidence", "origin", cp.Origin, "size", cp.Size, "kept", err == nil, "error", err)
}
