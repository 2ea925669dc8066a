// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package hpke_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/internal/stream"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/hpke/sender"
)

// code is the code of a refusal, or its text where it has none.
func code(err error) string {
	if err == nil {
		return "accepted"
	}
	if coded := (*hpke.Error)(nil); errors.As(err, &coded) {
		return coded.Code()
	}
	return err.Error()
}

// A scene is one request that was answered, of several frames either way.
type scene struct {
	*world
	r      *sender.Request
	plain  []byte // of the body
	sealed []byte // body
	answer []byte
	text   string // of the answer
}

func newScene(t testing.TB) *scene {
	s := &scene{world: newWorld(t, 3), plain: bytes.Repeat([]byte("prompt! "), 3*hpke.ChunkSize/8), text: "one two three"}
	s.r, s.sealed = s.seal(t, s.plain)
	s.answer = s.serve(t, s.r, 1, s.sealed, "one ", "", "two ", "three")
	return s
}

// refusedBody wants a code from the node, and nothing but genuine chunks before.
func (s *scene) refusedBody(t *testing.T, name string, sealed []byte, want string) {
	t.Helper()
	_, got, err := s.open(s.r.Header().Forward(1), 1, sealed)
	if code(err) != want {
		t.Errorf("%s: node says %s, want %s", name, code(err), want)
	}
	if !bytes.HasPrefix(s.plain, got) {
		t.Errorf("%s: the node delivered what was not sealed", name)
	}
}

// refusedAnswer wants a code from the client, and nothing but the genuine prefix before.
func (s *scene) refusedAnswer(t *testing.T, name string, answer []byte, want string) {
	t.Helper()
	got, err := readAnswer(s.r, answer)
	if code(err) != want {
		t.Errorf("%s: client says %s, want %s", name, code(err), want)
	}
	if !strings.HasPrefix(s.text, got) {
		t.Errorf("%s: the client delivered %q", name, got)
	}
}

// TestTruncation cuts at every byte offset, and before the final frame.
func TestTruncation(t *testing.T) {
	s := newScene(t)
	short, sealedShort := s.seal(t, []byte("a short prompt"))
	t.Run("CR-01", func(t *testing.T) {
		header := short.Header().Append(nil)
		for n := range header {
			if _, err := hpke.ReadHeader(bytes.NewReader(header[:n])); err != hpke.ErrTruncated {
				t.Fatalf("header cut at %d: %v", n, err)
			}
		}
		forwarded := short.Header().Forward(2).Append(nil)
		for n := range forwarded {
			if _, err := hpke.ReadForwarded(bytes.NewReader(forwarded[:n])); err != hpke.ErrTruncated {
				t.Fatalf("forwarded header cut at %d: %v", n, err)
			}
		}
		f := short.Header().Forward(2)
		for n := range sealedShort {
			if _, got, err := s.open(f, 2, sealedShort[:n]); err != recipient.ErrTruncated || len(got) != 0 {
				t.Fatalf("body cut at %d: %q, %v", n, got, err)
			}
		}
		for n := range s.sealed { // every offset is slow here; all that differ are near the frames' ends
			if at := n % (hpke.ChunkSize + 20); at < 30 || at > hpke.ChunkSize || n%997 == 0 {
				s.refusedBody(t, "body", s.sealed[:n], "stream.truncated")
			}
		}
		for n := range s.answer {
			want := "stream.truncated"
			if n < hpke.PrefaceSize {
				want = "stream.short"
			}
			_, err := readAnswer(s.r, s.answer[:n])
			if !errors.Is(err, sender.ErrTruncated) {
				t.Fatalf("answer cut at %d: %v", n, err)
			}
			s.refusedAnswer(t, "answer", s.answer[:n], want)
		}
		if got, err := readAnswer(s.r, s.answer); err != nil || got != s.text {
			t.Errorf("whole answer: %q, %v", got, err)
		}
	})
	t.Run("CR-02", func(t *testing.T) {
		fs := frames(s.sealed)
		last := len(fs) - 1
		s.refusedBody(t, "final chunk dropped", join(fs[:last]...), "stream.truncated")
		asFinal := bytes.Clone(fs[last-1])
		asFinal[0] |= 0x80
		s.refusedBody(t, "inner presented as final", join(join(fs[:last-1]...), asFinal), "stream.truncated")
		asInner := bytes.Clone(fs[last])
		asInner[0] &^= 0x80
		s.refusedBody(t, "final presented as inner", join(join(fs[:last]...), asInner), "stream.auth")

		preface, as := s.answer[:hpke.PrefaceSize], frames(s.answer[hpke.PrefaceSize:])
		last = len(as) - 1
		s.refusedAnswer(t, "final frame dropped", join(preface, join(as[:last]...)), "stream.truncated")
		asFinal = bytes.Clone(as[last-1])
		asFinal[0] |= 0x80
		s.refusedAnswer(t, "inner presented as final", join(preface, join(as[:last-1]...), asFinal), "stream.truncated")
		asInner = bytes.Clone(as[last])
		asInner[0] &^= 0x80
		s.refusedAnswer(t, "final presented as inner", join(preface, join(as[:last]...), asInner), "stream.auth")
	})
	t.Run("CR-07", func(t *testing.T) {
		for n := range hpke.PrefaceSize {
			s.refusedAnswer(t, "zeros", make([]byte, n), "stream.short")
		}
		s.refusedAnswer(t, "zeros", make([]byte, hpke.PrefaceSize), "stream.auth")
	})
	t.Run("trailing bytes", func(t *testing.T) {
		s.refusedBody(t, "a byte more", append(bytes.Clone(s.sealed), 0), "stream.auth")
		s.refusedBody(t, "twice", join(s.sealed, s.sealed), "stream.auth")
	})
}

func TestReordering(t *testing.T) {
	s := newScene(t)
	body := frames(s.sealed)
	preface, answer := s.answer[:hpke.PrefaceSize], frames(s.answer[hpke.PrefaceSize:])
	t.Run("CR-03", func(t *testing.T) {
		for name, f := range map[string]func(fs [][]byte) [][]byte{
			"swapped":       func(fs [][]byte) [][]byte { return append([][]byte{fs[1], fs[0]}, fs[2:]...) },
			"duplicated":    func(fs [][]byte) [][]byte { return append([][]byte{fs[0], fs[0]}, fs[1:]...) },
			"first dropped": func(fs [][]byte) [][]byte { return fs[1:] },
			"inner dropped": func(fs [][]byte) [][]byte { return append([][]byte{fs[0]}, fs[2:]...) },
			"final first":   func(fs [][]byte) [][]byte { return append([][]byte{fs[len(fs)-1]}, fs...) },
		} {
			s.refusedBody(t, name, join(f(body)...), "stream.auth")
			s.refusedAnswer(t, name, join(preface, join(f(answer)...)), "stream.auth")
		}
	})
	t.Run("bits", func(t *testing.T) {
		r, sealed := s.seal(t, []byte("tiny"))
		f := r.Header().Forward(0)
		for i := range 8 * len(sealed) {
			flipped := bytes.Clone(sealed)
			flipped[i/8] ^= 0x80 >> (i % 8)
			_, got, err := s.open(f, 0, flipped)
			// A length made larger runs into the end; one made smaller leaves a tail.
			if c := code(err); c != "stream.auth" && (c != "stream.truncated" || i/8 >= 4) || len(got) > 0 {
				t.Fatalf("bit %d: %q, %s", i, got, c)
			}
		}
		for i := range 8 * len(s.answer) {
			flipped := bytes.Clone(s.answer)
			flipped[i/8] ^= 0x80 >> (i % 8)
			got, err := readAnswer(s.r, flipped)
			if err == nil || !strings.HasPrefix(s.text, got) {
				t.Fatalf("bit %d of the answer: %q, %v", i, got, err)
			}
		}
	})
}

func TestReflection(t *testing.T) {
	s := newScene(t)
	t.Run("CR-05", func(t *testing.T) {
		header := s.r.Header().Append(nil)
		s.refusedAnswer(t, "whole request", join(header, s.sealed), "stream.auth")
		s.refusedAnswer(t, "body", s.sealed, "stream.auth")
		s.refusedAnswer(t, "body behind a genuine preface", join(s.answer[:hpke.PrefaceSize], s.sealed), "stream.auth")
		s.refusedBody(t, "answer to the node", s.answer[hpke.PrefaceSize:], "stream.auth")
	})
}

// TestSplicing takes genuine parts from where they do not belong.
func TestSplicing(t *testing.T) {
	s := newScene(t)
	other, otherSealed := s.seal(t, s.plain) // the same prompt to the same nodes
	late, lateSealed := s.sealIn(t, 8, s.plain)
	t.Run("CR-06", func(t *testing.T) {
		s.refusedAnswer(t, "another request's", s.serve(t, other, 1, otherSealed, "one "), "stream.auth")
		s.refusedAnswer(t, "another epoch's", s.serve(t, late, 1, lateSealed, "one "), "stream.auth")
		for i := range 3 {
			theirs := bytes.Clone(s.answer)
			theirs[1] = byte(i) // answered by 1, said to be by i
			if i != 1 {
				s.refusedAnswer(t, "another node's", theirs, "stream.auth")
			}
		}
		beyond := bytes.Clone(s.answer)
		beyond[1] = 3
		s.refusedAnswer(t, "no node's", beyond, "stream.auth")
		second := s.serve(t, s.r, 1, s.sealed, "one ", "two ", "three")
		s.refusedAnswer(t, "frames of a second run", join(s.answer[:hpke.PrefaceSize], second[hpke.PrefaceSize:]), "stream.auth")
	})
	t.Run("bodies", func(t *testing.T) {
		s.refusedBody(t, "another request's", otherSealed, "stream.auth")
		a, b := frames(s.sealed), frames(otherSealed)
		s.refusedBody(t, "one frame of another request", join(a[0], b[1], join(a[2:]...)), "stream.auth")
	})
	t.Run("entries", func(t *testing.T) {
		h, o, l := s.r.Header(), other.Header(), late.Header()
		for name, f := range map[string]func() (*hpke.Forwarded, int){
			"of another request": func() (*hpke.Forwarded, int) { f := h.Forward(1); f.Entry = o.Entries[1]; return f, 1 },
			"of another request, rehashed": func() (*hpke.Forwarded, int) {
				f := h.Forward(1)
				f.Entry = o.Entries[1]
				f.Hashes[1] = f.Entry.Hash()
				return f, 1
			},
			"of another epoch, rehashed": func() (*hpke.Forwarded, int) {
				f := h.Forward(1)
				f.Entry = l.Entries[1]
				f.Hashes[1] = f.Entry.Hash()
				return f, 1
			},
			"epoch rewritten":  func() (*hpke.Forwarded, int) { f := h.Forward(1); f.Common.Epoch++; return f, 1 },
			"of another node":  func() (*hpke.Forwarded, int) { return h.Forward(0), 1 },
			"at another index": func() (*hpke.Forwarded, int) { f := h.Forward(1); f.Index = 0; return f, 1 },
			"moved with its hash": func() (*hpke.Forwarded, int) {
				f := h.Forward(1)
				f.Index, f.Hashes[0] = 0, f.Hashes[1]
				return f, 1
			},
			"renamed, rehashed": func() (*hpke.Forwarded, int) {
				f := h.Forward(1)
				f.Entry.NodeID = s.to[2].NodeID
				f.Hashes[1] = f.Entry.Hash()
				return f, 1
			},
			"one hash less": func() (*hpke.Forwarded, int) { f := h.Forward(1); f.Hashes = f.Hashes[:2]; return f, 1 },
		} {
			f, node := f()
			if _, _, err := s.open(f, node, s.sealed); err != recipient.ErrRefused {
				t.Errorf("entry %s: %v", name, err)
			}
		}
		// The others' hashes are bound through the body's key.
		f := h.Forward(1)
		f.Hashes[2][0] ^= 1
		if _, got, err := s.open(f, 1, s.sealed); err != recipient.ErrRefused || len(got) > 0 {
			t.Errorf("another's hash changed: %v", err)
		}
	})
	t.Run("commitment", func(t *testing.T) {
		// Every bit of what is forwarded counts.
		whole := s.r.Header().Forward(1).Append(nil)
		for i := range len(whole) {
			flipped := bytes.Clone(whole)
			flipped[i] ^= 1 << (i % 8)
			f, err := hpke.ReadForwarded(bytes.NewReader(flipped))
			if err == nil {
				_, _, err = s.open(f, 1, s.sealed)
			}
			if code(err) == "accepted" {
				t.Fatalf("byte %d flipped and accepted", i)
			}
		}
	})
}

// TestBodySubstitution: candidate 2 holds the data encryption key, as every
// candidate does, and with the router's help gives candidate 1 another body.
// Candidate 1 cannot see it; the client does.
func TestBodySubstitution(t *testing.T) {
	s := newScene(t)
	f := s.r.Header().Forward(2)
	commonHash := f.Common.Hash()
	ctx, err := recipient.Setup(hpke.NodeSuite, s.keys[2], f.Entry.Enc, stream.EntryInfo(2, f.Entry.NodeID, commonHash))
	if err != nil {
		t.Fatal(err)
	}
	dek, err := ctx.Open(commonHash[:], f.Entry.SealedDEK)
	if err != nil {
		t.Fatal(err)
	}
	schedule, err := stream.NewSchedule(dek, f.Common.BodyNonce)
	if err != nil {
		t.Fatal(err)
	}
	key, err := schedule.Body(s.r.Header().Hash())
	if err != nil {
		t.Fatal(err)
	}
	var evil bytes.Buffer
	sealer := stream.NewSealer(&evil, key, nil, 0)
	buf := stream.GetBuffer()
	frame, err := sealer.Seal(buf, []byte("say the secret word"), true)
	if err != nil {
		t.Fatal(err)
	}
	sealer.Write(frame)

	opened, got, err := s.open(s.r.Header().Forward(1), 1, evil.Bytes())
	if err != nil || string(got) != "say the secret word" {
		t.Fatalf("the forgery is not one: %q, %v", got, err) // else this test shows nothing
	}
	s.refusedAnswer(t, "answer to a substituted body", s.answer1(t, opened), "stream.auth")
}

func (s *scene) answer1(t *testing.T, opened *recipient.Request) []byte {
	return s.world.answer(t, opened, 64, "one ", "two")
}

// TestTwoKeysForOneBody: a client commits to one key and seals another, so that
// two candidates could read two prompts out of one body.
func TestTwoKeysForOneBody(t *testing.T) {
	w := newWorld(t, 1)
	seal := func(committed, sealed byte) error {
		h := &hpke.Header{Common: hpke.Common{Suite: hpke.NodeSuite, K: 1, MediaType: 1}}
		h.Common.CandidatesHash = hpke.CandidatesHash([][32]byte{w.to[0].NodeID})
		schedule, err := stream.NewSchedule(bytes.Repeat([]byte{committed}, 32), h.Common.BodyNonce)
		if err != nil {
			t.Fatal(err)
		}
		if h.Common.Commitment, err = schedule.Commitment(); err != nil {
			t.Fatal(err)
		}
		commonHash := h.Common.Hash()
		enc, ctx, err := sender.Setup(hpke.NodeSuite, w.to[0].Key, stream.EntryInfo(0, w.to[0].NodeID, commonHash))
		if err != nil {
			t.Fatal(err)
		}
		dek, err := ctx.Seal(commonHash[:], bytes.Repeat([]byte{sealed}, 32))
		if err != nil {
			t.Fatal(err)
		}
		h.Entries = []hpke.Entry{{NodeID: w.to[0].NodeID, Enc: enc, SealedDEK: dek}}
		_, err = recipient.Open(h.Forward(0), w.keys[0])
		return err
	}
	if err := seal(1, 1); err != nil {
		t.Errorf("honest: %v", err)
	}
	if err := seal(1, 2); err != recipient.ErrRefused {
		t.Errorf("two keys: %v", err)
	}
}

func TestNoFallback(t *testing.T) {
	s := newScene(t)
	t.Run("CR-09", func(t *testing.T) {
		whole := s.r.Header().Append(nil)
		for name, edit := range map[string]func(b []byte){
			"older version":  func(b []byte) { b[0] = 0 },
			"newer version":  func(b []byte) { b[0] = 2 },
			"classical KEM":  func(b []byte) { b[1], b[2] = 0, 0x20 },
			"X-Wing":         func(b []byte) { b[1], b[2] = 0x64, 0x7a },
			"other KDF":      func(b []byte) { b[4] = 3 },
			"AES-128":        func(b []byte) { b[6] = 1 },
			"ChaCha20":       func(b []byte) { b[6] = 3 },
			"no AEAD at all": func(b []byte) { b[5], b[6] = 0xff, 0xff },
		} {
			b := bytes.Clone(whole)
			edit(b)
			if _, err := hpke.ReadHeader(bytes.NewReader(b)); err != hpke.ErrSuite {
				t.Errorf("%s: router says %v", name, err)
			}
			if _, err := hpke.ReadForwarded(bytes.NewReader(b)); err != hpke.ErrSuite {
				t.Errorf("%s: node says %v", name, err)
			}
		}
		f := s.r.Header().Forward(1)
		f.Common.Suite.AEAD = hpke.AEADAES128GCM
		if _, err := recipient.Open(f, s.keys[1]); err != hpke.ErrSuite {
			t.Errorf("forwarded with AES-128: %v", err)
		}
		for _, kem := range []uint16{hpke.KEMX25519, hpke.KEMXWing} {
			key, err := recipient.GenerateKey(kem)
			if err != nil {
				t.Fatal(err)
			}
			to := []sender.Candidate{s.to[0], {NodeID: [32]byte{1}, Key: key.PublicKey()}}
			if _, err := sender.Seal(sender.Params{MediaType: 1, Candidates: to}); err != hpke.ErrSuite {
				t.Errorf("sealed to KEM 0x%04x: %v", kem, err)
			}
			if _, err := recipient.Open(s.r.Header().Forward(1), key); err != hpke.ErrSuite {
				t.Errorf("opened with KEM 0x%04x: %v", kem, err)
			}
		}
	})
	t.Run("CR-31", func(t *testing.T) {
		for _, announced := range []uint8{2, 3, 255} {
			f := s.r.Header().Forward(1)
			f.Common.MediaType = announced
			if _, err := recipient.Open(f, s.keys[1]); err != hpke.ErrRefused {
				t.Errorf("media type %d announced: %v", announced, err)
			}
		}
		for _, policy := range []uint8{hpke.PolicyOff, hpke.PolicyConstant, 200} {
			f := s.r.Header().Forward(1)
			f.Common.Policy = policy
			if _, err := recipient.Open(f, s.keys[1]); err != hpke.ErrRefused {
				t.Errorf("policy %d announced: %v", policy, err)
			}
		}
		h := s.r.Header()
		typeless := *h
		typeless.Common.MediaType = 0
		if _, err := hpke.ReadHeader(bytes.NewReader(typeless.Append(nil))); err != hpke.ErrHeader {
			t.Errorf("no media type: %v", err)
		}
	})
}

// TestCausesBelow: what the layer below says is kept, and is still a truncation.
func TestCausesBelow(t *testing.T) {
	s := newScene(t)
	cause := errors.New("connection reset")
	rd := func(err error, n int) io.Reader {
		return io.MultiReader(bytes.NewReader(s.answer[:n]), errReader{err})
	}
	for _, n := range []int{0, 10, hpke.PrefaceSize, hpke.PrefaceSize + 2, len(s.answer) - 1} {
		rr, err := s.r.OpenResponse(rd(cause, n))
		if err == nil {
			_, err = io.ReadAll(rr)
		}
		if !errors.Is(err, sender.ErrTruncated) || !errors.Is(err, cause) {
			t.Errorf("cut at %d: %v", n, err)
		}
		rr, err = s.r.OpenResponse(rd(codedError{}, n))
		if err == nil {
			_, err = io.ReadAll(rr)
		}
		if err != (codedError{}) {
			t.Errorf("refused below at %d: %v", n, err)
		}
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

type codedError struct{}

func (codedError) Error() string { return "outer layer refused" }
func (codedError) Code() string  { return "outer" }
