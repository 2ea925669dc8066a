// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package hpke_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/hpke/sender"
)

// A world is k nodes with keys of one epoch.
type world struct {
	keys []*recipient.PrivateKey
	to   []sender.Candidate
}

func newWorld(t testing.TB, k int) *world {
	t.Helper()
	w := new(world)
	for i := range k {
		key, err := recipient.GenerateKey(hpke.KEMMLKEM768P256)
		if err != nil {
			t.Fatal(err)
		}
		w.keys = append(w.keys, key)
		w.to = append(w.to, sender.Candidate{NodeID: [32]byte{0: 0xd0, 31: byte(i)}, Key: key.PublicKey()})
	}
	return w
}

func (w *world) seal(t testing.TB, body []byte) (*sender.Request, []byte) {
	t.Helper()
	return w.sealIn(t, 7, body)
}

func (w *world) sealIn(t testing.TB, epoch uint64, body []byte) (*sender.Request, []byte) {
	t.Helper()
	r, err := sender.Seal(sender.Params{Epoch: epoch, MediaType: hpke.MediaBinaryHTTP, Policy: hpke.PolicyFrames, Candidates: w.to})
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	b := r.Body(&sealed)
	if _, err := b.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return r, sealed.Bytes()
}

// open is a node: header and body in, plaintext out.
func (w *world) open(f *hpke.Forwarded, i int, sealed []byte) (*recipient.Request, []byte, error) {
	r, err := recipient.Open(f, w.keys[i])
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(r.Body(bytes.NewReader(sealed)))
	return r, body, err
}

// answer is a node that answers in frames of the given size.
func (w *world) answer(t testing.TB, r *recipient.Request, frame int, parts ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	rw, err := r.Respond(&out)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range parts {
		if err := rw.WriteFrame([]byte(p), frame, i == len(parts)-1); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// serve is an honest node i.
func (w *world) serve(t testing.TB, r *sender.Request, i int, sealed []byte, parts ...string) []byte {
	t.Helper()
	opened, _, err := w.open(r.Header().Forward(i), i, sealed)
	if err != nil {
		t.Fatal(err)
	}
	return w.answer(t, opened, 64, parts...)
}

func readAnswer(r *sender.Request, answer []byte) (string, error) {
	rr, err := r.OpenResponse(bytes.NewReader(answer))
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(rr)
	if _, again := rr.Read(make([]byte, 1)); err != nil && again != err {
		return string(b), io.ErrNoProgress // a failed stream stays failed
	}
	return string(b), err
}

// frames cuts a stream of frames into frames.
func frames(b []byte) (fs [][]byte) {
	for len(b) > 0 {
		n := 4 + int(uint32(b[0]&0x7f)<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3]))
		fs, b = append(fs, b[:n:n]), b[n:]
	}
	return fs
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestRoundTripAtEveryBoundary(t *testing.T) {
	w := newWorld(t, 1)
	const c = hpke.ChunkSize
	for _, n := range []int{0, 1, 2, c - 1, c, c + 1, 2*c - 1, 2 * c, 2*c + 1, 5*c + 77} {
		body := bytes.Repeat([]byte("0123456789abcde"), n/15+1)[:n]
		r, sealed := w.seal(t, body)
		if int64(len(sealed)) != sender.SealedBodySize(int64(n)) {
			t.Errorf("%d bytes seal to %d, SealedBodySize says %d", n, len(sealed), sender.SealedBodySize(int64(n)))
		}
		opened, got, err := w.open(r.Header().Forward(0), 0, sealed)
		if err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%d bytes: got %d, %v", n, len(got), err)
		}
		answer := w.answer(t, opened, 0, string(body[:min(n, c)]), "", "end")
		if got, err := readAnswer(r, answer); err != nil || got != string(body[:min(n, c)])+"end" {
			t.Errorf("%d bytes: answer of %d bytes, %v", n, len(got), err)
		}
	}
}

// TestBodyIsOneEncoding: how a caller cuts his writes does not show.
func TestBodyIsOneEncoding(t *testing.T) {
	w := newWorld(t, 1)
	body := bytes.Repeat([]byte("x"), 3*hpke.ChunkSize+5)
	for _, step := range []int{1000, hpke.ChunkSize - 1, hpke.ChunkSize, hpke.ChunkSize + 1, 2 * hpke.ChunkSize, len(body)} {
		r, err := sender.Seal(sender.Params{MediaType: 1, Candidates: w.to})
		if err != nil {
			t.Fatal(err)
		}
		var sealed bytes.Buffer
		b := r.Body(&sealed)
		for rest := body; len(rest) > 0; {
			n, err := b.Write(rest[:min(step, len(rest))])
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		for i, f := range frames(sealed.Bytes()) {
			if want := hpke.ChunkSize + 20; i < 3 && len(f) != want {
				t.Errorf("step %d: frame %d has %d bytes", step, i, len(f))
			}
		}
		if _, got, err := w.open(r.Header().Forward(0), 0, sealed.Bytes()); err != nil || !bytes.Equal(got, body) {
			t.Errorf("step %d: %v", step, err)
		}
	}
}

func TestEveryCandidateOpensAndAnswers(t *testing.T) {
	for k := 1; k <= hpke.MaxCandidates; k++ {
		w := newWorld(t, k)
		r, sealed := w.seal(t, []byte("who is there"))
		if got := len(r.Header().Append(nil)); got != hpke.HeaderSize(hpke.NodeSuite, k) {
			t.Errorf("k=%d: header of %d bytes", k, got)
		}
		for i := range k {
			rr, err := r.OpenResponse(bytes.NewReader(w.serve(t, r, i, sealed, "it is", " me")))
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if _, err := rr.WriteTo(&got); err != nil || got.String() != "it is me" || rr.Index() != i {
				t.Errorf("k=%d, node %d: %q from %d, %v", k, i, &got, rr.Index(), err)
			}
		}
	}
}

func TestPlainBodySizeIsTheInverse(t *testing.T) {
	for sealed := int64(0); sealed < 3*16404+100; sealed++ {
		n := sender.PlainBodySize(sealed)
		if n >= 0 && sender.SealedBodySize(n) > sealed || sender.SealedBodySize(n+1) <= sealed {
			t.Fatalf("PlainBodySize(%d) = %d", sealed, n)
		}
	}
}

func TestResponseFrames(t *testing.T) {
	w := newWorld(t, 1)
	r, sealed := w.seal(t, []byte("q"))
	opened, _, err := w.open(r.Header().Forward(0), 0, sealed)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	rw, err := opened.Respond(&out)
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("b"), hpke.ChunkSize+1)
	for _, bad := range []struct{ n, frame int }{{61, 64}, {0, 3}, {0, hpke.MaxFrame + 1}, {hpke.ChunkSize + 1, 0}, {0, -1}} {
		if rw.WriteFrame(big[:bad.n], bad.frame, false) == nil {
			t.Errorf("%d bytes went into a frame of %d", bad.n, bad.frame)
		}
	}
	if out.Len() != 0 {
		t.Errorf("refused frames wrote %d bytes", out.Len())
	}
	want := 0
	for i, n := range []int{0, 1, 59, 60} {
		before := out.Len()
		if err := rw.WriteFrame(big[:n], 64, false); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			before += hpke.PrefaceSize
		}
		if got := out.Len() - before; got != recipient.FrameSize(64) || got != sender.ResponseFrameSize(64) {
			t.Errorf("frame with %d bytes of data has %d on the wire", n, got)
		}
		want += n
	}
	if err := rw.WriteFrame(big[:hpke.ChunkSize], hpke.MaxFrame, true); err != nil {
		t.Fatal(err)
	}
	if rw.WriteFrame(nil, 0, true) == nil {
		t.Error("a frame after the final one")
	}
	tail := []byte("change block")
	rd := bytes.NewReader(join(out.Bytes(), tail))
	rr, err := r.OpenResponse(rd)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(rr); err != nil || len(got) != want+hpke.ChunkSize {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if rest, _ := io.ReadAll(rd); !bytes.Equal(rest, tail) {
		t.Errorf("behind the final frame: %q", rest)
	}
}

func TestMisuseIsRefused(t *testing.T) {
	w := newWorld(t, 2)
	r, sealed := w.seal(t, []byte("once"))
	if _, err := r.Body(io.Discard).Write([]byte("twice")); err == nil {
		t.Error("two bodies under one key")
	}
	f := r.Header().Forward(1)
	opened, err := recipient.Open(f, w.keys[1])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := opened.Respond(io.Discard); err == nil {
		t.Error("answered before the body was read")
	}
	body := opened.Body(bytes.NewReader(sealed[:len(sealed)-1]))
	if _, err := io.ReadAll(body); err != recipient.ErrTruncated {
		t.Errorf("body cut: %v", err)
	}
	if _, err := opened.Respond(io.Discard); err == nil {
		t.Error("answered a cut body")
	}
	if opened, _, err = w.open(f, 1, sealed); err != nil {
		t.Fatal(err)
	}
	if _, err := opened.Respond(io.Discard); err != nil {
		t.Error(err)
	}
	if _, err := opened.Respond(io.Discard); err == nil {
		t.Error("answered twice")
	}
	good := sender.Params{MediaType: 1, Candidates: w.to}
	for name, p := range map[string]sender.Params{
		"zero":       {},
		"media type": {Candidates: good.Candidates},
		"policy":     {MediaType: 1, Policy: 3, Candidates: good.Candidates},
		"twice":      {MediaType: 1, Candidates: []sender.Candidate{w.to[0], w.to[0]}},
		"nine":       {MediaType: 1, Candidates: make([]sender.Candidate, 9)},
	} {
		if _, err := sender.Seal(p); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
	aborted, err := sender.Seal(good)
	if err != nil {
		t.Fatal(err)
	}
	b := aborted.Body(io.Discard)
	b.Write([]byte("half"))
	b.Abort()
	if _, err := b.Write([]byte("more")); err == nil {
		t.Error("written after Abort")
	}
	if b.Close() == nil {
		t.Error("closed after Abort")
	}
	early := append([]byte{hpke.Version, 0}, make([]byte, 100)...)
	if _, err := aborted.OpenResponse(bytes.NewReader(early)); err != sender.ErrRefused {
		t.Errorf("an answer to an aborted body: %v", err)
	}
}

// failing fails its n-th write and every later one, each time otherwise.
type failing struct{ n int }

func (f *failing) Write(p []byte) (int, error) {
	if f.n--; f.n < 0 {
		return 0, fmt.Errorf("write %d failed", f.n)
	}
	return len(p), nil
}

// TestFailedStreamsStayFailed: a writer that failed once must not seal on, or
// the reader would find a gap that is no attack.
func TestFailedStreamsStayFailed(t *testing.T) {
	w := newWorld(t, 1)
	r, err := sender.Seal(sender.Params{MediaType: 1, Candidates: w.to})
	if err != nil {
		t.Fatal(err)
	}
	b := r.Body(&failing{1})
	_, first := b.Write(make([]byte, 3*hpke.ChunkSize))
	_, second := b.Write([]byte("x"))
	if third := b.Close(); first == nil || second != first || third != first {
		t.Errorf("body: %v, %v, %v", first, second, third)
	}
	r, sealed := w.seal(t, []byte("q"))
	for _, size := range []int{1, hpke.ChunkSize} { // with the preface, and behind it
		for n := range 3 {
			opened, _, err := w.open(r.Header().Forward(0), 0, sealed)
			if err != nil {
				t.Fatal(err)
			}
			rw, err := opened.Respond(&failing{n})
			if err != nil {
				t.Fatal(err)
			}
			for first = nil; first == nil; {
				first = rw.WriteFrame(make([]byte, size), 0, false)
			}
			if second := rw.WriteFrame(nil, 0, true); second != first {
				t.Errorf("response: %v, then %v", first, second)
			}
		}
	}
}

// TestNoAllocationPerFrame: buffers and AEAD are reused.
func TestNoAllocationPerFrame(t *testing.T) {
	w := newWorld(t, 1)
	r, sealed := w.seal(t, nil)
	opened, _, err := w.open(r.Header().Forward(0), 0, sealed)
	if err != nil {
		t.Fatal(err)
	}
	rw, err := opened.Respond(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, hpke.ChunkSize)
	if n := testing.AllocsPerRun(100, func() { rw.WriteFrame(data, 0, false) }); n > 0 {
		t.Errorf("%v allocations for a response frame", n)
	}
	other, err := sender.Seal(sender.Params{MediaType: 1, Candidates: w.to})
	if err != nil {
		t.Fatal(err)
	}
	b := other.Body(io.Discard)
	if n := testing.AllocsPerRun(100, func() { b.Write(data) }); n > 0 {
		t.Errorf("%v allocations for a body chunk", n)
	}
	long, sealed := w.seal(t, make([]byte, 120*hpke.ChunkSize))
	node, err := recipient.Open(long.Header().Forward(0), w.keys[0])
	if err != nil {
		t.Fatal(err)
	}
	body := node.Body(bytes.NewReader(sealed))
	if n := testing.AllocsPerRun(100, func() { io.ReadFull(body, data) }); n > 0 {
		t.Errorf("%v allocations for opening a chunk", n)
	}
}
