// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package simtpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// swtpmMax bounds a response: the reference code's largest is 4096 bytes.
	swtpmMax = 8192
	// swtpmTimeout bounds one command; creating a key takes milliseconds.
	swtpmTimeout = 30 * time.Second
)

// A Swtpm is a connection to the data socket of a running swtpm, which must
// have been started (--flags not-need-init,startup-clear). It implements
// [github.com/google/go-tpm/tpm2/transport.TPMCloser].
type Swtpm struct {
	mu   sync.Mutex
	conn net.Conn
}

// DialSwtpm connects to swtpm's unix socket at path.
func DialSwtpm(path string) (*Swtpm, error) {
	conn, err := net.DialTimeout("unix", path, swtpmTimeout)
	if err != nil {
		return nil, fmt.Errorf("simtpm: dial swtpm: %v", err)
	}
	return &Swtpm{conn: conn}, nil
}

// Send implements [github.com/google/go-tpm/tpm2/transport.TPM]. The socket is
// a byte stream, so the response is read by the length in its header.
func (s *Swtpm) Send(cmd []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.SetDeadline(time.Now().Add(swtpmTimeout)); err != nil {
		return nil, err
	}
	if _, err := s.conn.Write(cmd); err != nil {
		return nil, err
	}
	head := make([]byte, 10)
	if _, err := io.ReadFull(s.conn, head); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[2:])
	if size < 10 || size > swtpmMax {
		return nil, errors.New("simtpm: swtpm response has an odd size")
	}
	rsp := make([]byte, size)
	copy(rsp, head)
	if _, err := io.ReadFull(s.conn, rsp[10:]); err != nil {
		return nil, err
	}
	return rsp, nil
}

// Close closes the connection; swtpm decides whether it stays.
func (s *Swtpm) Close() error { return s.conn.Close() }
