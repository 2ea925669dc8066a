// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stateVersion is the only one there is.
const stateVersion = 1

// MaxState bounds a state's bytes.
const MaxState = 64 << 20

// maxKnown is how many distinct things of a kind are remembered. A log that
// names more is told so, once, and what comes after it is not told apart.
const maxKnown = 1 << 16

// maxPending is how many epochs wait for their pack.
const maxPending = 8

// maxIncidents bounds what is open at a time: codes times mirrors and witnesses.
const maxIncidents = 1 << 10

// A State is what an auditor knows after some number of leaves: all that it needs
// to go on. It is written as a whole, after what it counts, so that what is
// after it has not happened.
type State struct {
	Version int    `json:"version"`
	Origin  string `json:"origin"`
	// Policy is the digest of the policy evidence was last judged by, LogKey the
	// verifier key that the trust file named.
	Policy string `json:"policy_sha256,omitempty"`
	LogKey string `json:"log_key,omitempty"`
	// Checkpoint is the largest one verified; the newest of that size.
	Checkpoint []byte `json:"checkpoint,omitempty"`
	// Next is the number of leaves audited. Leaf is the one before it, Last its
	// statement, absent if nobody served it or it is none; Full is the newest
	// statement that was not empty, absent if Last is that.
	Next uint64 `json:"next"`
	Leaf []byte `json:"leaf,omitempty"`
	Last []byte `json:"last,omitempty"`
	Full []byte `json:"full,omitempty"`

	Totals Totals `json:"totals"`
	Known  known  `json:"known"`
	// Pending are epochs whose pack nobody served yet.
	Pending []uint64 `json:"pending,omitempty"`
	// Refused are nodes that were refused when last looked at, so that each is
	// told once.
	Refused map[string]string `json:"refused,omitempty"`
	// Witnesses is when each trusted witness was last seen, by name.
	Witnesses map[string]int64 `json:"witnesses,omitempty"`
	Incidents []Incident       `json:"incidents,omitempty"`
	// ReleaseNext is the next entry of the release log to look at.
	ReleaseNext uint64 `json:"release_next,omitempty"`
	// ReleaseNote is the checkpoint of the release log that was gone by.
	ReleaseNote []byte `json:"release_note,omitempty"`
}

// Totals count what was audited since the state was made.
type Totals struct {
	Leaves       uint64            `json:"leaves"`
	Empty        uint64            `json:"empty"`
	Malformed    uint64            `json:"malformed"`
	Withheld     uint64            `json:"withheld"`   // statements that nobody served
	Packs        uint64            `json:"packs"`      // judged
	PacksGone    uint64            `json:"packs_gone"` // no longer served when their epoch was audited
	NodesJudged  uint64            `json:"nodes_judged"`
	NodesRefused uint64            `json:"nodes_refused"`
	Compared     uint64            `json:"compared"` // statements of mirrors that were compared with the log
	Alarms       map[string]uint64 `json:"alarms,omitempty"`
}

// An Incident is a condition that began and may end. It becomes an alarm when it
// has lasted as long as its kind is given.
type Incident struct {
	Code    Code      `json:"code"`
	Subject string    `json:"subject,omitempty"`
	Since   time.Time `json:"since"`
	Told    bool      `json:"told,omitempty"`
	Detail  string    `json:"detail,omitempty"`
}

// Kinds of things that are known.
const (
	knownGateway = "gateway_key"
	knownTicket  = "ticket_key"
	knownKeyset  = "keyset"
	knownChip    = "chip"
	knownRelease = "release"
	knownFull    = "full" // one entry, named after a kind, once that is full
)

var knownKinds = []string{knownChip, knownFull, knownGateway, knownKeyset, knownRelease, knownTicket}

// known is what was seen, by kind and digest.
type known map[string]map[[32]byte]sight

// A sight is when something was first seen, and for keysets what it held.
type sight struct {
	epoch uint64
	data  [32]byte
}

// has reports whether id is known; add remembers it, false if there is no room.
func (k known) has(kind string, id [32]byte) (sight, bool) {
	s, ok := k[kind][id]
	return s, ok
}

func (k known) add(kind string, id [32]byte, s sight) bool {
	if len(k[kind]) >= maxKnown {
		return false
	}
	if k[kind] == nil {
		k[kind] = map[[32]byte]sight{}
	}
	k[kind][id] = s
	return true
}

// MarshalJSON prints each kind as one sorted list of "digest epoch" or
// "digest epoch data".
func (k known) MarshalJSON() ([]byte, error) {
	out := map[string][]string{}
	for kind, all := range k {
		list := make([]string, 0, len(all))
		for id, s := range all {
			line := fmt.Sprintf("%x %d", id, s.epoch)
			if s.data != [32]byte{} {
				line += fmt.Sprintf(" %x", s.data)
			}
			list = append(list, line)
		}
		if len(list) > 0 {
			slices.Sort(list)
			out[kind] = list
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON prints.
func (k *known) UnmarshalJSON(b []byte) error {
	var in map[string][]string
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*k = known{}
	for kind, list := range in {
		if !slices.Contains(knownKinds, kind) || len(list) > maxKnown {
			return errors.New("state: unknown kind, or too many of one")
		}
		for _, line := range list {
			id, s, ok := parseSight(line)
			if _, twice := k.has(kind, id); !ok || twice {
				return errors.New("state: a known thing is malformed or twice there")
			}
			k.add(kind, id, s)
		}
	}
	return nil
}

func parseSight(line string) (id [32]byte, s sight, ok bool) {
	parts := strings.Split(line, " ")
	if len(parts) < 2 || len(parts) > 3 || !unhex(&id, parts[0]) {
		return id, s, false
	}
	epoch, err := strconv.ParseUint(parts[1], 10, 64)
	s.epoch = epoch
	if len(parts) == 3 && !unhex(&s.data, parts[2]) {
		return id, s, false
	}
	return id, s, err == nil
}

func unhex(dst *[32]byte, s string) bool {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 {
		return false
	}
	copy(dst[:], b)
	return true
}

// newState is the state of somebody who has seen nothing.
func newState(origin string) *State {
	return &State{Version: stateVersion, Origin: origin, Known: known{}, Refused: map[string]string{}, Witnesses: map[string]int64{}, Totals: Totals{Alarms: map[string]uint64{}}}
}

// Append prints s after b.
func (s *State) Append(b []byte) ([]byte, error) {
	out, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("state: %v", err)
	}
	return append(append(b, out...), '\n'), nil
}

// ParseState reads exactly one state, in the one spelling that [State.Append]
// gives it. A state that cannot be read is not repaired: nobody knows what it
// would have counted.
func ParseState(b []byte) (*State, error) {
	if len(b) > MaxState {
		return nil, fmt.Errorf("state: %d bytes", len(b))
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	s := newState("")
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("state: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("state: something follows it")
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("state: version %d, want %d", s.Version, stateVersion)
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	if out, err := s.Append(nil); err != nil || !bytes.Equal(out, b) {
		return nil, errors.New("state: not in its one spelling")
	}
	return s, nil
}

// check looks at what the rest of the package relies on.
func (s *State) check() error {
	ascending := slices.IsSortedFunc(s.Pending, func(a, b uint64) int {
		if a < b {
			return -1
		}
		return 1
	})
	switch {
	case s.Next == 0 && (len(s.Leaf) > 0 || len(s.Last) > 0 || len(s.Full) > 0), s.Next > 0 && len(s.Leaf) == 0, s.Next > 0 && len(s.Checkpoint) == 0:
		return errors.New("state: leaves and their number contradict each other")
	case s.Totals.Leaves != s.Next:
		return errors.New("state: counts another number of leaves than it audited")
	case len(s.Pending) > maxPending || !ascending || len(s.Pending) > 0 && s.Pending[len(s.Pending)-1] >= s.Next:
		return errors.New("state: epochs that wait for their pack")
	case len(s.Incidents) > maxIncidents || len(s.Refused) > maxKnown:
		return errors.New("state: too many incidents or refused nodes")
	case s.Refused == nil || s.Witnesses == nil || s.Known == nil || s.Totals.Alarms == nil:
		return errors.New("state: null where a list belongs")
	}
	for _, i := range s.Incidents {
		if !slices.Contains(Codes(), i.Code) {
			return fmt.Errorf("state: incident with code %q", i.Code)
		}
	}
	return nil
}

// count adds alarms to the totals.
func (s *State) count(list []Alarm) {
	for _, a := range list {
		s.Totals.Alarms[string(a.Code)]++
	}
}
