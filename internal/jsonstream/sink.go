// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package jsonstream

import "io"

// A Sink gathers bytes for a writer into blocks of one size. Unlike a
// bufio.Writer it never writes a block of another size before [Sink.Flush], and
// takes no more memory than it was given bytes: most texts are short.
type Sink struct {
	w    io.Writer
	size int
	buf  []byte
	err  error // the writer's, final
}

// NewSink gathers blocks of size bytes for w.
func NewSink(w io.Writer, size int) *Sink { return &Sink{w: w, size: size} }

// Write takes p. A full block leaves when a byte behind it arrives.
func (s *Sink) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if len(s.buf) == s.size {
			if err := s.Flush(); err != nil {
				return total - len(p), err
			}
		}
		n := min(len(p), s.size-len(s.buf))
		s.buf = append(s.buf, p[:n]...)
		p = p[n:]
	}
	return total, s.err
}

// WriteString is Write.
func (s *Sink) WriteString(p string) (int, error) {
	if len(p) <= s.size-len(s.buf) {
		s.buf = append(s.buf, p...)
		return len(p), s.err
	}
	return s.Write([]byte(p))
}

// WriteByte is Write.
func (s *Sink) WriteByte(b byte) error {
	if len(s.buf) == s.size {
		if err := s.Flush(); err != nil {
			return err
		}
	}
	s.buf = append(s.buf, b)
	return s.err
}

// Flush writes what was gathered.
func (s *Sink) Flush() error {
	if s.err == nil && len(s.buf) > 0 {
		_, s.err = s.w.Write(s.buf)
	}
	s.buf = s.buf[:0]
	return s.err
}
