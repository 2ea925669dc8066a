// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package shape decides when the bytes of an answer leave, and in frames of
// what size, so that sizes and times on the wire say little about its words.
//
// It is handed plaintext and hands it on to something that seals it; it does
// not encrypt, dial or log. What each policy still gives away is written in
// docs/spec/node.md and measured by this package's tests.
package shape

import (
	"errors"
	"sync"
	"time"
)

// A Policy is one of the three named policies. Their numbers are those of the
// sealed request's header (docs/spec/sealed-request.md).
type Policy uint8

const (
	// Off sends bytes as they come, in frames of their own size.
	Off Policy = 0
	// Frames sends frames of one size on a tick. From the first byte of the
	// answer to the last there is at least one frame each tick; a backlog
	// leaves as a power of two of frames.
	Frames Policy = 1
	// Constant sends exactly one frame of one size each tick from Start to
	// the end, and the number of frames is one of a ladder.
	Constant Policy = 2
)

const (
	// Tick is the time between frames.
	Tick = 25 * time.Millisecond
	// FrameSize is the size on the wire of every frame of Frames and Constant,
	// in bytes: 4 of length, 1004 of plaintext, 16 of tag.
	FrameSize = 1024
	// frame is the plaintext of such a frame; 4 bytes of it are the length of
	// the data.
	frame = FrameSize - 4 - 16
	room  = frame - 4

	// maxChunk is the most data in one frame of Off (hpke.ChunkSize).
	maxChunk = 16 << 10
	// maxBacklog is how far a writer may be ahead of the wire, in bytes.
	maxBacklog = 256 << 10
	// maxBurst is the most frames in one tick of Frames.
	maxBurst = 256
	// ladderStart is the least number of frames of Constant: one second.
	ladderStart = 40
)

// A Sink seals frames and sends them. WriteFrame is as in hpke/recipient: data
// padded to frame bytes of plaintext, 0 for none; Flush sends what WriteFrame
// left in buffers. It is not called after the final frame: that leaves with the
// end of the message, in one write. A Sink that failed stays failed.
type Sink interface {
	WriteFrame(data []byte, frame int, final bool) error
	Flush() error
}

var (
	errPolicy  = errors.New("shape: unknown policy")
	errClosed  = errors.New("shape: answer has ended")
	errAborted = errors.New("shape: answer aborted")
)

// A Writer is the plaintext side of one answer. One goroutine writes; Close or
// Abort must be called, and wait for the goroutine that Start began.
type Writer struct {
	policy Policy
	sink   Sink
	off    []byte // Off: bytes not yet in a frame

	done chan struct{} // closed when the pump has ended; nil if there is none
	wake chan struct{} // tells the pump of data, or of the end; holds one
	room chan struct{} // tells the writer of room, or of the pump's end; holds one

	mu      sync.Mutex
	backlog []byte
	ended   bool
	aborted bool
	err     error // terminal
}

// NewWriter returns a Writer that has sent nothing. An unknown policy is an
// error: there is no default to fall back to.
func NewWriter(p Policy, s Sink) (*Writer, error) {
	if p > Constant {
		return nil, errPolicy
	}
	return &Writer{policy: p, sink: s}, nil
}

// Start begins the answer: from here on Constant keeps its clock. It is called
// once, when the request has been read and checked to its end.
func (w *Writer) Start() {
	if w.policy == Off {
		return
	}
	w.done, w.wake, w.room = make(chan struct{}), make(chan struct{}, 1), make(chan struct{}, 1)
	go func() {
		defer close(w.done)
		w.fail(w.pump())
		signal(w.room)
	}()
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Write takes p. With Off full frames leave at once and the rest at Flush; with
// the others Write waits only while the backlog is full.
func (w *Writer) Write(p []byte) (int, error) {
	if w.policy == Off {
		return w.writeOff(p)
	}
	total := 0
	for {
		w.mu.Lock()
		if err := w.stopped(); err != nil {
			w.mu.Unlock()
			return total, err
		}
		n := min(len(p), maxBacklog-len(w.backlog))
		w.backlog = append(w.backlog, p[:n]...)
		w.mu.Unlock()
		total += n
		if n > 0 {
			signal(w.wake)
		}
		if p = p[n:]; len(p) == 0 {
			return total, nil
		}
		<-w.room
	}
}

// stopped is called with mu held.
func (w *Writer) stopped() error {
	if w.err == nil && w.ended {
		return errClosed
	}
	return w.err
}

func (w *Writer) writeOff(p []byte) (int, error) {
	if err := w.stopped(); err != nil {
		return 0, err
	}
	total := len(p)
	for len(w.off)+len(p) >= maxChunk {
		chunk := p[:maxChunk-len(w.off)]
		p = p[len(chunk):]
		if len(w.off) > 0 {
			w.off = append(w.off, chunk...)
			chunk = w.off
		}
		err := w.sink.WriteFrame(chunk, 0, false)
		w.off = w.off[:0]
		if err != nil {
			w.err = err
			return 0, err
		}
	}
	w.off = append(w.off, p...)
	return total, nil
}

// Flush says that nothing more is at hand. With Off the bytes written so far
// leave now; with the others the clock alone decides.
func (w *Writer) Flush() error {
	if w.policy != Off {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.err
	}
	if err := w.stopped(); err != nil {
		return err
	}
	if len(w.off) > 0 {
		w.err = w.sink.WriteFrame(w.off, 0, false)
		w.off = w.off[:0]
	}
	if w.err == nil {
		w.err = w.sink.Flush()
	}
	return w.err
}

// Close ends the answer with its final frame and waits until the sink has it.
func (w *Writer) Close() error {
	w.mu.Lock()
	if err := w.stopped(); err != nil {
		w.mu.Unlock()
		w.wait()
		return err
	}
	w.ended = true
	w.mu.Unlock()
	if w.policy == Off {
		w.err = w.sink.WriteFrame(w.off, 0, true)
		w.off = nil
		return w.err
	}
	signal(w.wake)
	w.wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Abort ends the answer without a final frame: its reader learns that it is
// cut short. It waits until nothing more will be sent, and may follow Close.
func (w *Writer) Abort() {
	w.mu.Lock()
	w.aborted = true
	w.mu.Unlock()
	w.fail(errAborted)
	if w.wake != nil {
		signal(w.wake)
	}
	w.wait()
}

func (w *Writer) wait() {
	if w.done != nil {
		<-w.done
	}
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && !(w.ended && err == errAborted) {
		w.err = err
	}
}

// pump sends until the end. It is the only caller of the sink.
func (w *Writer) pump() error {
	if w.policy == Frames {
		if err := w.first(); err != nil {
			return err
		}
	}
	t := time.NewTicker(Tick)
	defer t.Stop()
	buf := make([]byte, 0, 8*room)
	for sent := 0; ; {
		data, ended, err := w.take(buf[:0])
		if err != nil {
			return err
		}
		n, final := w.frames(len(data), sent, ended)
		if err := w.send(data, n, final); err != nil || final {
			return err
		}
		sent += n
		for wait := true; wait; {
			select {
			case <-t.C:
				wait = false
			case <-w.wake:
				if w.stop() {
					return errAborted
				}
			}
		}
	}
}

// first waits for the first byte of the answer, or its end.
func (w *Writer) first() error {
	for {
		w.mu.Lock()
		aborted, ready := w.aborted, len(w.backlog) > 0 || w.ended
		w.mu.Unlock()
		if aborted {
			return errAborted
		}
		if ready {
			return nil
		}
		<-w.wake
	}
}

func (w *Writer) stop() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.aborted
}

// take takes what this tick may carry; ended says that nothing is left.
func (w *Writer) take(buf []byte) (data []byte, ended bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.aborted {
		return nil, false, errAborted
	}
	limit := room
	if w.policy == Frames {
		limit = maxBurst * room
	}
	n := min(len(w.backlog), limit)
	data = append(buf, w.backlog[:n]...)
	rest := copy(w.backlog, w.backlog[n:])
	clear(w.backlog[rest:]) // plaintext is not left behind
	w.backlog = w.backlog[:rest]
	if n > 0 {
		signal(w.room)
	}
	return data, w.ended && rest == 0, nil
}

// frames says how many frames carry n bytes, and whether the last is final.
func (w *Writer) frames(n, sent int, ended bool) (int, bool) {
	if w.policy == Constant {
		return 1, ended && sent+1 == Ladder(sent+1)
	}
	need := max(1, (n+room-1)/room)
	if ended {
		return need, true
	}
	burst := 1
	for burst < need {
		burst *= 2
	}
	return burst, false
}

func (w *Writer) send(data []byte, n int, final bool) error {
	defer clear(data)
	for i := range n {
		m := min(len(data), room)
		if err := w.sink.WriteFrame(data[:m], frame, final && i == n-1); err != nil {
			return err
		}
		clear(data[:m])
		data = data[m:]
	}
	if final {
		return nil
	}
	return w.sink.Flush()
}

// Ladder is the number of frames that an answer of n frames has under Constant:
// the least of 40, 50, 63, 79, ... (each the one before times 1.25, rounded up)
// that is not below n.
func Ladder(n int) int {
	step := ladderStart
	for step < n {
		step += (step + 3) / 4
	}
	return step
}
