// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package rek

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sotto-project/sotto/attestation/attestationtest/simtpm"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/hpke/sender"
)

var sealPCRs = []int{0, 2, 4, 7, 9, 11, 12, 13}

// A host is the machine a node runs on. It keeps every byte that ever went to
// the TPM, the random template of each parent included, and can send commands
// of its own.
type host struct {
	*simtpm.Simulator
	primaries, loads [][]byte
}

func (h *host) Send(cmd []byte) ([]byte, error) {
	switch tpm2.TPMCC(binary.BigEndian.Uint32(cmd[6:])) {
	case tpm2.TPMCCCreatePrimary:
		h.primaries = append(h.primaries, bytes.Clone(cmd))
	case tpm2.TPMCCLoad:
		h.loads = append(h.loads, bytes.Clone(cmd))
	}
	return h.Simulator.Send(cmd)
}

func node(t testing.TB) (*Keys, *tpm.TPM, *host) {
	t.Helper()
	sim, err := simtpm.OpenSimulator()
	if err != nil {
		t.Fatal(err)
	}
	h := &host{Simulator: sim}
	owner := tpm.New(h)
	t.Cleanup(func() { _ = owner.Close(); _ = sim.Close() })
	return New(owner, sealPCRs), owner, h
}

func rotate(t testing.TB, k *Keys, epoch uint64) *Public {
	t.Helper()
	p, err := k.Rotate(context.Background(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// request seals a request to one node, as a client does and a router forwards.
func request(t testing.TB, p *Public) *hpke.Forwarded {
	t.Helper()
	pub, err := hpke.ParsePublicKey(hpke.KEMMLKEM768P256, p.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	r, err := sender.Seal(sender.Params{
		Epoch: p.Epoch, MediaType: hpke.MediaBinaryHTTP,
		Candidates: []sender.Candidate{{NodeID: [32]byte{1}, Key: pub}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.Header().Forward(0)
}

func open(t testing.TB, k *Keys, f *hpke.Forwarded) error {
	t.Helper()
	key, err := k.Open(f.Common.Epoch)
	if err != nil {
		return err
	}
	_, err = recipient.Open(f, key)
	return err
}

func TestOpenTakesTwoCommands(t *testing.T) {
	keys, owner, _ := node(t)
	p := rotate(t, keys, 7)
	if len(p.Bytes) != 1249 {
		t.Errorf("public key of %d bytes", len(p.Bytes))
	}
	for i := range 5 {
		f := request(t, p)
		before := owner.Commands()
		if err := open(t, keys, f); err != nil {
			t.Fatal(err)
		}
		if n := owner.Commands() - before; i > 0 && n != 2 {
			t.Errorf("%d commands for a request, want 2", n)
		}
	}
}

// TestRecordedRequestStaysShut gives the attacker the recorded request, the
// private key object, the whole of Keys, the TPM still running in the same
// boot, all traffic with it, and with that the P-256 half itself.
func TestRecordedRequestStaysShut(t *testing.T) {
	keys, owner, h := node(t)
	p := rotate(t, keys, 7)
	f := request(t, p)
	kept, err := keys.Open(7)
	if err != nil {
		t.Fatal(err)
	}
	held := keys.held[7]
	if err := attack(t, h, p, held.pq, f); err != nil {
		t.Fatalf("the attack does not even work before expiry: %v", err)
	}
	if err := keys.Expire(t.Context(), 7); err != nil {
		t.Fatal(err)
	}

	if err := open(t, keys, f); !errors.Is(err, ErrUnknownEpoch) {
		t.Errorf("Open: %v, want ErrUnknownEpoch", err)
	}
	before := owner.Commands()
	if _, err := recipient.Open(f, kept); err == nil {
		t.Error("a kept private key still opens")
	}
	if owner.Commands() != before {
		t.Error("an expired key went to the TPM")
	}
	if err := attack(t, h, p, held.pq, f); err == nil {
		t.Error("the revived P-256 half opens with what Keys kept")
	}
	other, err := mlkem.GenerateKey768()
	if err != nil {
		t.Fatal(err)
	}
	if err := attack(t, h, p, &pqHalf{public: other.EncapsulationKey(), dk: other}, f); err == nil {
		t.Error("opened with another ML-KEM half")
	}
}

// attack loads the P-256 half again from what the host kept, joins it with an
// ML-KEM half and tries to open f.
func attack(t *testing.T, h *host, p *Public, pq *pqHalf, f *hpke.Forwarded) error {
	t.Helper()
	parent := raw(t, h, h.primaries[len(h.primaries)-1])
	load := bytes.Clone(h.loads[len(h.loads)-1])
	copy(load[10:14], parent)
	child := raw(t, h, load)
	flush(t, h, parent)
	defer flush(t, h, child)
	half := &revived{h: h, p: p, handle: tpm2.TPMHandle(binary.BigEndian.Uint32(child))}
	key, err := recipient.NewHybridKey(pq, half)
	if err != nil {
		t.Fatal(err)
	}
	// The P-256 half is really there: it agrees with software.
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	got, err := half.ECDH(peer.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if want, err := peer.ECDH(p.Seal.PublicKey()); err != nil || !bytes.Equal(got, want) {
		t.Fatal("the revived half is not the key")
	}
	_, err = recipient.Open(f, key)
	return err
}

// raw sends a recorded command and returns the handle of the answer.
func raw(t *testing.T, h *host, cmd []byte) []byte {
	t.Helper()
	rsp, err := h.Simulator.Send(bytes.Clone(cmd))
	if err != nil || len(rsp) < 14 || binary.BigEndian.Uint32(rsp[6:]) != 0 {
		t.Fatalf("recorded command: %v, %x", err, rsp)
	}
	return rsp[10:14]
}

func flush(t *testing.T, h *host, handle []byte) {
	t.Helper()
	_, _ = tpm2.FlushContext{FlushHandle: tpm2.TPMHandle(binary.BigEndian.Uint32(handle))}.Execute(transport.TPM(h.Simulator))
}

// revived is a P-256 half in the host's hands.
type revived struct {
	h      *host
	p      *Public
	handle tpm2.TPMHandle
}

func (r *revived) PublicKey() *ecdh.PublicKey { return r.p.Seal.PublicKey() }
func (r *revived) Curve() ecdh.Curve          { return ecdh.P256() }
func (r *revived) ECDH(remote *ecdh.PublicKey) ([]byte, error) {
	policy := tpm2.Policy(tpm2.TPMAlgSHA256, 16, func(t transport.TPM, s tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
		_, err := tpm2.PolicyPCR{PolicySession: s, Pcrs: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
			{Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{0x95, 0x3a, 0}}}}}.Execute(t)
		return err
	})
	b := remote.Bytes()
	rsp, err := tpm2.ECDHZGen{
		KeyHandle: tpm2.AuthHandle{Handle: r.handle, Name: tpm2.TPM2BName{Buffer: r.p.Seal.Name()}, Auth: policy},
		InPoint:   tpm2.New2B(tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: b[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: b[33:]}}),
	}.Execute(r.h.Simulator)
	if err != nil {
		return nil, err
	}
	p, err := rsp.OutPoint.Contents()
	if err != nil {
		return nil, err
	}
	return p.X.Buffer, nil
}

func TestHalfAKeyOpensNothing(t *testing.T) {
	keys, _, _ := node(t)
	p := rotate(t, keys, 1)
	f := request(t, p)
	software, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newPQHalf()
	if err != nil {
		t.Fatal(err)
	}
	for name, halves := range map[string]struct {
		pq *pqHalf
		t  ecdh.KeyExchanger
	}{
		"reader of memory": {keys.held[1].pq, software},
		"host of the tpm":  {other, p.Seal},
	} {
		key, err := recipient.NewHybridKey(halves.pq, halves.t)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := recipient.Open(f, key); !errors.Is(err, recipient.ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
	}
	if err := open(t, keys, f); err != nil {
		t.Error(err)
	}
}

// TestCustodyEnds: software changed, or the TPM was reset, under the keys.
func TestCustodyEnds(t *testing.T) {
	for _, c := range []struct {
		row  string
		do   func(t *testing.T, owner *tpm.TPM, h *host)
		want error
	}{
		{"AT-64 extend", func(t *testing.T, owner *tpm.TPM, _ *host) {
			if err := owner.Extend(t.Context(), 12, [32]byte{1}); err != nil {
				t.Fatal(err)
			}
		}, tpm.ErrPCRMoved},
		{"ND-08 reset", func(t *testing.T, _ *tpm.TPM, h *host) {
			if err := h.Reset(); err != nil {
				t.Fatal(err)
			}
		}, tpm.ErrReset},
		{"tpm lost", func(t *testing.T, _ *tpm.TPM, h *host) {
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
		}, tpm.ErrTransport},
	} {
		t.Run(c.row, func(t *testing.T) {
			keys, owner, h := node(t)
			first, second := rotate(t, keys, 1), rotate(t, keys, 2)
			if err := keys.Err(); err != nil {
				t.Fatal(err)
			}
			c.do(t, owner, h)
			if err := open(t, keys, request(t, first)); err == nil {
				t.Error("still opens")
			}
			if err := keys.Err(); !errors.Is(err, c.want) {
				t.Errorf("Err() = %v, want %v", err, c.want)
			}
			sent := owner.Commands()
			if err := open(t, keys, request(t, second)); err == nil || owner.Commands() != sent {
				t.Error("the other key was not ended with it")
			}
			if _, err := keys.Rotate(t.Context(), 3); !errors.Is(err, c.want) {
				t.Errorf("Rotate: %v, want %v", err, c.want)
			}
		})
	}
}

func TestUnrelatedPCRsDoNotMatter(t *testing.T) {
	keys, owner, _ := node(t)
	p := rotate(t, keys, 1)
	for range 3 {
		if err := owner.Extend(t.Context(), 10, [32]byte{1}); err != nil {
			t.Fatal(err)
		}
		if err := open(t, keys, request(t, p)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRotation(t *testing.T) {
	keys, _, _ := node(t)
	if _, err := keys.Open(0); !errors.Is(err, ErrUnknownEpoch) {
		t.Errorf("no key: %v", err)
	}
	a, b := rotate(t, keys, 0), rotate(t, keys, 1)
	for _, epoch := range []uint64{0, 1} {
		if _, err := keys.Rotate(t.Context(), epoch); !errors.Is(err, ErrEpoch) {
			t.Errorf("epoch %d again: %v, want ErrEpoch", epoch, err)
		}
	}
	for _, p := range []*Public{a, b} {
		if err := open(t, keys, request(t, p)); err != nil {
			t.Error(err)
		}
	}
	// A request of one epoch relabelled as another's opens under neither.
	f := request(t, a)
	f.Common.Epoch = 1
	if err := open(t, keys, f); err == nil {
		t.Error("opened under another epoch")
	}
	c := rotate(t, keys, 9) // an outage skipped some
	if err := open(t, keys, request(t, a)); !errors.Is(err, ErrUnknownEpoch) {
		t.Errorf("oldest after a third rotation: %v, want ErrUnknownEpoch", err)
	}
	for _, p := range []*Public{b, c} {
		if err := open(t, keys, request(t, p)); err != nil {
			t.Error(err)
		}
	}
	if got, err := keys.Public(9); err != nil || !bytes.Equal(got.Bytes, c.Bytes) {
		t.Errorf("Public: %v", err)
	}
	if err := keys.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := keys.Rotate(t.Context(), 10); !errors.Is(err, tpm.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

func TestExpireAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, owner, _ := node(t)
		p := rotate(t, keys, 5)
		if err := keys.ExpireAt(6, time.Now()); !errors.Is(err, ErrUnknownEpoch) {
			t.Errorf("unknown epoch: %v", err)
		}
		end := time.Now().Add(75 * time.Minute)
		for _, at := range []time.Time{time.Now().Add(time.Minute), end} { // the second replaces the first
			if err := keys.ExpireAt(5, at); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(75*time.Minute - time.Nanosecond)
		synctest.Wait()
		if err := open(t, keys, request(t, p)); err != nil {
			t.Errorf("one nanosecond before: %v", err)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if err := open(t, keys, request(t, p)); !errors.Is(err, ErrUnknownEpoch) {
			t.Errorf("on time: %v, want ErrUnknownEpoch", err)
		}
		before := owner.Commands()
		if err := p.Seal.Erase(t.Context()); err != nil || owner.Commands() != before {
			t.Error("the timer left the P-256 half in the TPM")
		}
		p = rotate(t, keys, 6)
		if err := keys.ExpireAt(6, time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		if err := open(t, keys, request(t, p)); !errors.Is(err, ErrUnknownEpoch) {
			t.Errorf("a time gone by: %v", err)
		}
		if err := keys.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestExpireUnderLoad expires a key while requests are being opened with it.
func TestExpireUnderLoad(t *testing.T) {
	keys, _, _ := node(t)
	p := rotate(t, keys, 1)
	f := request(t, p)
	var wg sync.WaitGroup
	opened := make(chan struct{}, 1000)
	for range 8 {
		wg.Go(func() {
			for {
				if err := open(t, keys, f); err != nil {
					return
				}
				select {
				case opened <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 20 {
		<-opened
	}
	if err := keys.Expire(t.Context(), 1); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err := keys.Err(); err != nil {
		t.Errorf("expiry taken for the end of custody: %v", err)
	}
	p = rotate(t, keys, 2)
	if err := open(t, keys, request(t, p)); err != nil {
		t.Error(err)
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	keys, _, _ := node(t)
	rotate(t, keys, 1)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		if s := fmt.Sprintf(verb, keys); s != "[redacted]" {
			t.Errorf("%s prints %s", verb, s)
		}
		key, err := keys.Open(1)
		if err != nil {
			t.Fatal(err)
		}
		if s := fmt.Sprintf(verb, key); strings.Contains(s, "pq") {
			t.Errorf("%s prints %s", verb, s)
		}
	}
}

// BenchmarkOpen is what opening a request's entry costs a node in all.
func BenchmarkOpen(b *testing.B) {
	keys, _, _ := node(b)
	p := rotate(b, keys, 1)
	f := request(b, p)
	for b.Loop() {
		if err := open(b, keys, f); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenSoftware is the same without a TPM, for comparison.
func BenchmarkOpenSoftware(b *testing.B) {
	key, err := recipient.GenerateKey(hpke.KEMMLKEM768P256)
	if err != nil {
		b.Fatal(err)
	}
	f := request(b, &Public{Bytes: key.PublicKey().Bytes()})
	for b.Loop() {
		if _, err := recipient.Open(f, key); err != nil {
			b.Fatal(err)
		}
	}
}

var _ io.Closer = (*host)(nil)
