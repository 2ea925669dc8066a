// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	bytesof "encoding/binary"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A wiretap records what crosses the loopback device, by TCP flow: every hop of
// a lab at once.
type wiretap struct {
	fd   int
	done chan struct{}

	mu    sync.Mutex
	flows map[[2]uint16][]byte // source and destination port to bytes
}

const (
	ethPIP         = 0x0800
	packetIncoming = 0 // PACKET_HOST; each packet is seen a second time as outgoing
)

// tap starts recording, or returns nil where that is not allowed.
func tap(t *testing.T) *wiretap {
	t.Helper()
	proto := int(bytesof.NativeEndian.Uint16([]byte{ethPIP >> 8, ethPIP & 0xff}))
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM, proto)
	if err != nil {
		t.Logf("packets are not captured here (needs root): %v", err)
		return nil
	}
	lo, err := net.InterfaceByName("lo")
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: uint16(proto), Ifindex: lo.Index})
	}
	if err == nil {
		err = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Usec: 100_000})
	}
	if err != nil {
		syscall.Close(fd)
		t.Fatal(err)
	}
	const soRcvbufForce = 33
	syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soRcvbufForce, 64<<20)
	w := &wiretap{fd: fd, done: make(chan struct{}), flows: map[[2]uint16][]byte{}}
	stop := make(chan struct{})
	go w.record(stop)
	t.Cleanup(func() {
		close(stop)
		<-w.done
		syscall.Close(fd)
	})
	return w
}

func (w *wiretap) record(stop chan struct{}) {
	defer close(w.done)
	buf := make([]byte, 1<<17)
	for {
		select {
		case <-stop:
			return
		default:
		}
		n, from, err := syscall.Recvfrom(w.fd, buf, 0)
		if ll, ok := from.(*syscall.SockaddrLinklayer); err != nil || !ok || ll.Pkttype != packetIncoming {
			continue
		}
		w.packet(buf[:n])
	}
}

// packet files the payload of an IPv4 TCP packet.
func (w *wiretap) packet(b []byte) {
	if len(b) < 20 || b[0]>>4 != 4 || b[9] != syscall.IPPROTO_TCP {
		return
	}
	ip := int(b[0]&15) * 4
	total := min(len(b), int(bytesof.BigEndian.Uint16(b[2:])))
	if total < ip+20 {
		return
	}
	tcp := b[ip:total]
	offset := int(tcp[12]>>4) * 4
	if offset > len(tcp) || offset == len(tcp) {
		return
	}
	key := [2]uint16{bytesof.BigEndian.Uint16(tcp), bytesof.BigEndian.Uint16(tcp[2:])}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flows[key] = append(w.flows[key], tcp[offset:]...)
}

// captured returns what went to and from a port since the start, by direction
// and peer, once the wire has been quiet for a moment.
func (w *wiretap) captured(port uint16) map[string][]byte {
	time.Sleep(150 * time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string][]byte{}
	for key, b := range w.flows {
		if slices.Contains(key[:], port) {
			out[fmt.Sprintf("TCP %d to %d", key[0], key[1])] = slices.Clone(b)
		}
	}
	return out
}

// lost reports packets that the kernel could not deliver to the tap.
func (w *wiretap) lost() int {
	const packetStatistics = 6
	v, err := syscall.GetsockoptIPMreqn(w.fd, syscall.SOL_PACKET, packetStatistics)
	if err != nil {
		return -1
	}
	// struct tpacket_stats { packets, drops uint32 } in the bytes of another
	// struct: the standard library has no getter of its own for it.
	return int(bytesof.NativeEndian.Uint32(v.Address[:]))
}
