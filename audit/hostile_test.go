// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency/fork"
	"github.com/sotto-project/sotto/transparency/statement"
)

// evidence returns the one file of a kind that was kept, which must convince
// whoever has the same trust.
func (r *rig) evidence(kind string) string {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(r.cfg.Dir, "evidence", kind+"-*"))
	if err != nil || len(files) != 1 {
		r.t.Fatalf("%d files of evidence, %v", len(files), err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		r.t.Fatal(err)
	}
	ev, err := fork.Parse(b)
	if err != nil || string(ev.Kind) != kind {
		r.t.Fatalf("%v\n%s", err, b)
	}
	if f, err := ev.Verify(&r.cfg.Trust); err != nil || !f.Proves {
		r.t.Errorf("%s proves nothing: %v, %v", files[0], f, err)
	}
	return string(b)
}

func edited(s *statement.Statement) { s.GatewayKeys = [][]byte{[]byte("another")} }

func TestSplitViews(t *testing.T) {
	k := newKeys(t)
	leaves := chain(t, 5, nil)
	other := grow(t, leaves[:4], edited)
	t.Run("AT-48 two roots of one size", func(t *testing.T) {
		r := newRig(t, k, k.mirror("one.invalid", leaves...), k.mirror("two.invalid", other...))
		r.mustStep().want(LogFork, LogTwo)
		if e := r.evidence("roots"); !strings.HasPrefix(e, "sotto-fork-evidence/v1\nkind roots\nfirst ") {
			t.Errorf("%s", e)
		}
		// Told once, and still told as open; also after opening anew.
		r.open().mustStep().want()
		if rep, err := r.a.Report(); err != nil || rep.Worst() != Critical {
			t.Errorf("%v", err)
		}
	})
	t.Run("AT-48 a tree that does not begin with the other", func(t *testing.T) {
		longer := grow(t, other, nil)
		r := newRig(t, k, k.mirror("one.invalid", leaves...), k.mirror("two.invalid", longer...))
		r.mustStep()
		if e := r.evidence("trees"); !strings.HasPrefix(e, "sotto-fork-evidence/v1\nkind trees\nroot ") || !slices.Contains(r.codes(), "log.fork") {
			t.Errorf("%s", e)
		}
	})
	t.Run("AT-48 over time", func(t *testing.T) {
		m := k.mirror("one.invalid", leaves...)
		r := newRig(t, k, m)
		r.mustStep().want(MirrorAlone)
		m.edit(func() { m.leaves, m.tree = grow(t, other, nil), nil })
		if err := r.step(); err != nil {
			t.Fatal(err)
		}
		r.want(LogFork)
		if r.a.state.Next != 5 {
			t.Error("a fork was followed")
		}
	})
	t.Run("AT-47 a smaller tree, signed later", func(t *testing.T) {
		m := k.mirror("one.invalid", leaves...)
		r := newRig(t, k, m)
		r.mustStep().want(MirrorAlone)
		r.now = r.now.Add(3 * time.Minute)
		m.edit(func() { m.size, m.at = 4, r.now })
		r.mustStep().want(LogRollback)
		if e := r.evidence("order"); !strings.Contains(e, "kind order\n") {
			t.Errorf("%s", e)
		}
	})
	for liars, want := range map[int]Code{1: WitnessBack, 2: LogRollback} {
		t.Run(fmt.Sprintf("AT-47 an old tree, of which %d of 2 witnesses say it is new", liars), func(t *testing.T) {
			m := k.mirror("one.invalid", leaves...)
			r := newRig(t, k, m)
			r.mustStep().want(MirrorAlone)
			r.now = r.now.Add(3 * time.Minute)
			m.edit(func() {
				m.size, m.at = 4, r.now
				m.sign = func(size uint64, root [32]byte, at time.Time) []byte {
					note := k.log.Sign(size, root)
					for i, w := range k.witnesses {
						when := begin.Add(-time.Hour)
						if i < liars {
							when = at
						}
						var err error
						if note, err = w.Cosign(note, when); err != nil {
							t.Fatal(err)
						}
					}
					return note
				}
			})
			r.mustStep().want(want)
			r.mustStep().want() // told once
		})
	}
	t.Run("a mirror that lags is no rollback", func(t *testing.T) {
		m1, m2 := pair(k, leaves)
		r := newRig(t, k, m1, m2)
		m2.size, m2.at = 3, begin.Add(-time.Minute)
		r.mustStep().want()
		r.now = r.now.Add(11 * time.Minute)
		m1.at = r.now
		r.mustStep().want(MirrorBehind)
	})
	t.Run("CR-12 two statements of one epoch", func(t *testing.T) {
		m1, m2 := pair(k, leaves)
		split := k.mirror("fork", other...)
		m2.onStatement = func(epoch uint64, b []byte) []byte {
			if epoch == 4 {
				return split.signed(4)
			}
			return b
		}
		r := newRig(t, k, m1, m2)
		r.mustStep().want(LogTwo)
		if e := r.evidence("statements"); !strings.HasPrefix(e, "sotto-fork-evidence/v1\nkind statements\nfirst ") {
			t.Errorf("%s", e)
		}
	})
	t.Run("CR-12 another statement for one that nobody serves", func(t *testing.T) {
		leaves := grow(t, leaves, nil) // what was withheld is none of the newest two
		leaves = grow(t, leaves, nil)
		for kind, tree := range map[string][][]byte{"roots": chain(t, 7, func(e uint64, s *statement.Statement) {
			if e == 4 {
				edited(s)
			}
		}), "trees": other} {
			m1, m2 := pair(k, leaves)
			split := k.mirror("fork", tree...)
			for _, m := range []*fakeMirror{m1, m2} {
				m.onStatement = func(epoch uint64, b []byte) []byte {
					switch {
					case epoch == 4 && m == m2:
						return split.signed(4)
					case epoch == 4:
						return nil
					}
					return b
				}
			}
			r := newRig(t, k, m1, m2)
			r.mustStep()
			r.evidence(kind)
			if c := r.codes(); !slices.Contains(c, "log.two") || !slices.Contains(c, "statement.missing") {
				t.Errorf("%s: %v", kind, c)
			}
		}
	})
	t.Run("a statement that nobody signed is the mirror's", func(t *testing.T) {
		m1, m2 := pair(k, leaves)
		m2.onStatement = func(epoch uint64, b []byte) []byte { b = bytes.Clone(b); b[30] ^= 1; return b }
		newRig(t, k, m1, m2).mustStep().want(MirrorTampered)
	})
}

func TestLeavesThatShouldNotBe(t *testing.T) {
	k := newKeys(t)
	for name, c := range map[string]struct {
		leaves func() [][]byte
		raw    func(l [][]byte) map[int][]byte
		want   []Code
	}{
		"at the wrong index": {func() [][]byte {
			return chain(t, 4, func(e uint64, s *statement.Statement) {
				if e == 2 {
					s.Epoch = 7
				}
			})
		}, nil, []Code{LeafIndex}},
		"another epoch's statement": {func() [][]byte {
			return chain(t, 4, func(e uint64, s *statement.Statement) {
				if e == 3 {
					s.Epoch = 7
				}
			})
		}, func(l [][]byte) map[int][]byte {
			return map[int][]byte{3: statement.Leaf{Epoch: 3, Statement: sha256.Sum256(l[3])}.Append(nil)}
		}, []Code{LeafIndex}},
		"a statement that is not canonical": {func() [][]byte { l := chain(t, 3, nil); return append(l, append(slices.Clone(grow(t, l, nil)[3]), 0)) }, nil, []Code{LeafFormat}},
		"a leaf that is none":               {func() [][]byte { return chain(t, 4, nil) }, func([][]byte) map[int][]byte { return map[int][]byte{3: []byte{1, 2}} }, []Code{LeafFormat}},
		"another version": {func() [][]byte { return chain(t, 4, nil) }, func(l [][]byte) map[int][]byte {
			return map[int][]byte{3: append([]byte{2}, statement.LogLeaf(l[3])[1:]...)}
		}, []Code{LeafFormat, LeafUnsupported}},
		"another beacon": {func() [][]byte {
			return chain(t, 4, func(e uint64, s *statement.Statement) {
				if e == 3 {
					s.Beacon[0] ^= 1
				}
			})
		}, nil, []Code{LeafChain}},
		"a gap in time": {func() [][]byte {
			return chain(t, 4, func(e uint64, s *statement.Statement) {
				if e == 3 {
					s.NotBefore = s.NotBefore.Add(time.Second)
				}
			})
		}, nil, []Code{LeafChain}},
		"one statement twice": {func() [][]byte { l := chain(t, 3, nil); return append(l, l[2]) }, nil, []Code{LeafIndex}},
	} {
		t.Run(name, func(t *testing.T) {
			m1, m2 := pair(k, c.leaves())
			if c.raw != nil {
				m1.raw = c.raw(m1.leaves)
				m2.raw = m1.raw
			}
			newRig(t, k, m1, m2).mustStep().want(c.want...)
		})
	}
	t.Run("the chain goes on after a malformed statement", func(t *testing.T) {
		l := append(chain(t, 2, nil), append(binary.BigEndian.AppendUint64([]byte{1, 0}, 2), 9))
		for range 2 {
			l = grow(t, l, nil)
		}
		m1, m2 := pair(k, l)
		r := newRig(t, k, m1, m2)
		r.mustStep().want(LeafFormat)
		if r.a.state.Totals.Malformed != 1 || r.a.state.Next != 5 {
			t.Errorf("%+v", r.a.state.Totals)
		}
	})
}

func TestStatementsThatNobodyServes(t *testing.T) {
	k := newKeys(t)
	hide := func(epoch uint64, ms ...*fakeMirror) {
		for _, m := range ms {
			m.onStatement = func(e uint64, b []byte) []byte {
				if e == epoch {
					return nil
				}
				return b
			}
		}
	}
	t.Run("withheld", func(t *testing.T) {
		m1, m2 := pair(k, chain(t, 6, nil))
		hide(2, m1, m2)
		r := newRig(t, k, m1, m2)
		r.mustStep().want(StatementMissing)
		if s := r.a.state; s.Next != 6 || s.Totals.Withheld != 1 {
			t.Errorf("%+v", s.Totals)
		}
	})
	t.Run("one mirror has it", func(t *testing.T) {
		m1, m2 := pair(k, chain(t, 6, nil))
		hide(2, m1)
		newRig(t, k, m1, m2).mustStep().want()
	})
	t.Run("the newest is waited for", func(t *testing.T) {
		m1, m2 := pair(k, chain(t, 3, nil))
		hide(2, m1, m2)
		r := newRig(t, k, m1, m2)
		if err := r.step(); err == nil || r.a.state.Next != 2 {
			t.Errorf("%v", err)
		}
		r.want()
		r.now = r.now.Add(9 * time.Minute)
		if err := r.open().step(); err == nil {
			t.Error("not waited for")
		}
		r.want()
		r.now = r.now.Add(2 * time.Minute)
		r.open().mustStep().want(StatementMissing)
	})
}

func TestNews(t *testing.T) {
	k := newKeys(t)
	for name, c := range map[string]struct {
		edit func(s *statement.Statement)
		want []Code
	}{
		"gateway key":     {edited, []Code{GatewayKeyNew}},
		"ticket key":      {func(s *statement.Statement) { s.TicketKey = []byte("x") }, []Code{TicketKeyNew}},
		"keyset":          {func(s *statement.Statement) { s.CoinKeysets = append(s.CoinKeysets, statement.Keyset{ID: [32]byte{6}}) }, []Code{KeysetNew}},
		"keyset contents": {func(s *statement.Statement) { s.CoinKeysets[0].Data = []byte("x") }, []Code{KeysetChanged}},
		"keyset gone":     {func(s *statement.Statement) { s.CoinKeysets = nil }, []Code{KeysetGone}},
		"chip":            {func(s *statement.Statement) { s.Chips = append(s.Chips, [32]byte{2}) }, []Code{ChipNew}},
		"release":         {func(s *statement.Statement) { s.Releases[0].Digest[0]++ }, []Code{ReleaseNew}},
		"weights":         {func(s *statement.Statement) { s.Models[0].Weights[0] ^= 1 }, []Code{ModelChanged}},
		"floor lower":     {func(s *statement.Statement) { s.TCBFloors[0].Floor = []byte{1, 2, 2, 9} }, []Code{FloorLowered}},
		"floor gone":      {func(s *statement.Statement) { s.TCBFloors = nil }, []Code{FloorLowered}},
		"floor higher":    {func(s *statement.Statement) { s.TCBFloors[0].Floor = []byte{1, 2, 3, 5} }, nil},
		"floor unknown":   {func(s *statement.Statement) { s.TCBFloors[0].Platform = "sev" }, []Code{FloorLowered, LeafUnsupported}},
		"payment":         {func(s *statement.Statement) { s.Payment = statement.PaymentCoins }, []Code{PaymentChanged}},
		"mint down":       {func(s *statement.Statement) { s.MintGeneration = 0 }, []Code{MintLowered}},
		"mint up":         {func(s *statement.Statement) { s.MintGeneration = 2 }, []Code{MintRaised}},
		"empty": {func(s *statement.Statement) {
			*s = statement.Statement{Epoch: s.Epoch, Empty: true, Beacon: s.Beacon, NotBefore: s.NotBefore, NotAfter: s.NotAfter, NextPublic: s.NextPublic}
		}, []Code{EpochEmpty}},
	} {
		t.Run(name, func(t *testing.T) {
			leaves := grow(t, chain(t, 4, nil), c.edit)
			m1, m2 := pair(k, leaves[:4])
			r := newRig(t, k, m1, m2)
			r.mustStep().want()
			m1.edit(func() { m1.leaves = leaves })
			m2.edit(func() { m2.leaves = leaves })
			r.mustStep().want(c.want...)
			r.open().mustStep().want() // told once
		})
	}
	t.Run("what comes back after an outage is not new, what was lowered in it is told", func(t *testing.T) {
		leaves := chain(t, 7, func(e uint64, s *statement.Statement) {
			if e == 3 || e == 4 {
				*s = statement.Statement{Epoch: s.Epoch, Empty: true, Beacon: s.Beacon, NotBefore: s.NotBefore, NotAfter: s.NotAfter, NextPublic: s.NextPublic}
			}
			if e == 5 {
				s.MintGeneration = 0
			}
		})
		m1, m2 := pair(k, leaves)
		m1.size, m2.size = 5, 5
		r := newRig(t, k, m1, m2)
		r.mustStep().want(EpochEmpty)
		m1.edit(func() { m1.size = 0 })
		m2.edit(func() { m2.size = 0 })
		r.open().mustStep().want(MintLowered, MintRaised)
	})
}

func TestMirrorWithoutLeavesIsNotDown(t *testing.T) {
	k := newKeys(t)
	m1, m2 := pair(k, chain(t, 4, nil))
	m1.onTile = func(_ context.Context, path string, b []byte) ([]byte, error) {
		if strings.Contains(path, "entries") {
			return nil, fs.ErrNotExist
		}
		return b, nil
	}
	r := newRig(t, k, m1, m2)
	r.mustStep().want()
	r.now = r.now.Add(11 * time.Minute)
	m1.edit(func() { m1.leaves, m1.at = grow(t, m1.leaves, nil), r.now })
	m2.edit(func() { m2.leaves, m2.at = m1.leaves, r.now })
	r.mustStep().want()
	if r.a.state.Next != 5 {
		t.Errorf("%d leaves", r.a.state.Next)
	}
}

func TestTilesThatLie(t *testing.T) {
	k := newKeys(t)
	leaves := chain(t, 300, nil)
	flip := func(which string) func(context.Context, string, []byte) ([]byte, error) {
		return func(_ context.Context, path string, b []byte) ([]byte, error) {
			if strings.Contains(path, which) {
				b = bytes.Clone(b)
				b[len(b)-1] ^= 1
			}
			return b, nil
		}
	}
	for name, hook := range map[string]func(context.Context, string, []byte) ([]byte, error){
		"a flipped bit in a leaf": flip("entries"),
		"a flipped bit in a hash": flip("tile/0"),
		"an endless tile":         func(context.Context, string, []byte) ([]byte, error) { return nil, errTooLong },
		"a cut tile":              func(_ context.Context, _ string, b []byte) ([]byte, error) { return b[:len(b)-1], nil },
		"a slow mirror": func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		"an error": func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("status 500") },
	} {
		t.Run(name, func(t *testing.T) {
			m1, m2 := pair(k, leaves)
			r := newRig(t, k, m1, m2)
			r.cfg.Timeout = 20 * time.Millisecond
			r.now = begin.Add(298 * time.Hour)
			m1.at, m2.at = r.now, r.now
			m1.onTile = hook
			if err := r.step(); err != nil {
				t.Fatalf("the other mirror was not used: %v", err)
			}
			if r.a.state.Next != 300 {
				t.Errorf("%d leaves", r.a.state.Next)
			}
			if strings.Contains(name, "bit") || strings.Contains(name, "endless") || strings.Contains(name, "cut") {
				r.want(MirrorTampered)
			} else {
				r.want()
				r.now = r.now.Add(11 * time.Minute)
				grown := grow(t, leaves, nil)
				m1.edit(func() { m1.leaves, m1.at = grown, r.now })
				m2.edit(func() { m2.leaves, m2.at = grown, r.now })
				r.mustStep().want(MirrorDown)
			}
			// Both lie: nothing is counted, and it is said.
			m1, m2 = pair(k, leaves)
			m1.onTile, m2.onTile = hook, hook
			r = newRig(t, k, m1, m2)
			r.cfg.Timeout = 20 * time.Millisecond
			err := r.step()
			rep, rerr := r.a.Report()
			if err == nil || rerr != nil || rep.Verdict != "incomplete" || r.a.state.Next != 0 {
				t.Errorf("%v, %v, %+v", err, rerr, rep)
			}
		})
	}
}
