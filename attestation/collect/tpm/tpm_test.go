// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sotto-project/sotto/attestation/collect/tpm"
)

// deaf never answers well.
type deaf struct{}

func (deaf) Send([]byte) ([]byte, error) { return nil, io.ErrUnexpectedEOF }
func (deaf) Close() error                { return nil }

func TestQuoteSignsWhatItReturns(t *testing.T) {
	each(t, func(t *testing.T, owner *tpm.TPM, p *tap) {
		ak, err := owner.CreateAK(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if again, err := owner.CreateAK(t.Context()); err != nil || again != ak {
			t.Errorf("second CreateAK: %v", err)
		}
		if err := owner.Extend(t.Context(), 13, [32]byte{1}); err != nil {
			t.Fatal(err)
		}
		q, err := owner.Quote(t.Context(), ak, []byte("nonce"), quotePCRs)
		if err != nil {
			t.Fatal(err)
		}
		checkQuote(t, ak, q)
		want := sha256.Sum256(append(make([]byte, 32), append([]byte{1}, make([]byte, 31)...)...))
		if q.PCRs[13] != want {
			t.Error("pcr 13 is not the extended value")
		}
		values, err := owner.ReadPCRs(t.Context(), quotePCRs)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range quotePCRs {
			if values[i] != q.PCRs[i] {
				t.Errorf("pcr %d differs", i)
			}
		}
	})
}

// TestQuoteRaces moves a PCR after the values were read, and between the two
// reads that more than eight PCRs take.
func TestQuoteRaces(t *testing.T) {
	for _, at := range []struct {
		name string
		cc   tpm2.TPMCC
		nth  int
	}{{"before quote", tpm2.TPMCCQuote, 1}, {"between reads", tpm2.TPMCCPCRRead, 2}} {
		t.Run(at.name, func(t *testing.T) {
			owner, p, _ := simulator(t)
			ak, err := owner.CreateAK(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			seen, left := 0, 2
			p.set(func(cc tpm2.TPMCC, _ []byte) {
				if cc != at.cc {
					return
				}
				if seen++; seen%at.nth == 0 && left > 0 {
					left--
					p.extend(t, 10)
				}
			})
			q, err := owner.Quote(t.Context(), ak, []byte("nonce"), quotePCRs)
			if err != nil || left != 0 {
				t.Fatalf("%v with %d moves left", err, left)
			}
			checkQuote(t, ak, q)
			left = 1000
			if _, err := owner.Quote(t.Context(), ak, nil, quotePCRs); !errors.Is(err, tpm.ErrUnstable) {
				t.Errorf("got %v, want ErrUnstable", err)
			}
		})
	}
}

// TestAKOutlivesReset: the node keeps its name, and the quote tells of the
// reset (AT-02).
func TestAKOutlivesReset(t *testing.T) {
	owner, _, sim := simulator(t)
	ak, err := owner.CreateAK(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	resets := func() uint32 {
		q, err := owner.Quote(t.Context(), ak, nil, quotePCRs)
		if err != nil {
			t.Fatal(err)
		}
		checkQuote(t, ak, q)
		return parse[tpm2.TPMSAttest](t, q.Attest).ClockInfo.ResetCount
	}
	before := resets()
	reset(t, sim)
	if after := resets(); after != before+1 {
		t.Errorf("reset count %d after %d", after, before)
	}
}

func checkQuote(t *testing.T, ak *tpm.AK, q *tpm.Quote) {
	t.Helper()
	verifySignature(t, ak, q.Attest, q.Signature)
	att := parse[tpm2.TPMSAttest](t, q.Attest)
	info, err := att.Attested.Quote()
	if err != nil {
		t.Fatal(err)
	}
	sel := info.PCRSelect.PCRSelections
	if len(sel) != 1 || sel[0].Hash != tpm2.TPMAlgSHA256 || !bytes.Equal(sel[0].PCRSelect, []byte{0x95, 0x3e, 0}) {
		t.Errorf("AT-30, AT-31: selection %+v", sel)
	}
	h := sha256.New()
	for _, i := range slices.Sorted(slices.Values(quotePCRs)) {
		v := q.PCRs[i]
		h.Write(v[:])
	}
	if !bytes.Equal(info.PCRDigest.Buffer, h.Sum(nil)) {
		t.Error("values are not those that were signed")
	}
}

func TestArgumentsRefused(t *testing.T) {
	owner := tpm.New(deaf{})
	if _, err := owner.Quote(t.Context(), nil, nil, quotePCRs); err == nil {
		t.Error("quote without a key")
	}
	if _, err := owner.ReadPCRs(t.Context(), nil); err == nil {
		t.Error("empty set read")
	}
	for _, pcr := range []int{-1, 24} {
		if err := owner.Extend(t.Context(), pcr, [32]byte{}); err == nil {
			t.Errorf("pcr %d extended", pcr)
		}
	}
	if owner.Commands() != 0 {
		t.Error("commands were sent")
	}
	sim, _, _ := simulator(t)
	ak, err := sim.CreateAK(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Quote(t.Context(), ak, nil, quotePCRs); err == nil {
		t.Error("another tpm's key accepted")
	}
	for n, ok := range map[int]bool{0: true, 1: true, 63: true, 64: true, 65: false} {
		if _, err := sim.Quote(t.Context(), ak, make([]byte, n), quotePCRs); (err == nil) != ok {
			t.Errorf("qualifying data of %d bytes: %v", n, err)
		}
	}
}

func TestFailedTransportStaysFailed(t *testing.T) {
	for name, rsp := range map[string][]byte{
		"none": nil, "short": {0x80, 1, 0, 0, 0, 9, 0, 0, 0}, "cut": {0x80, 1, 0, 0, 0, 11, 0, 0, 0, 0}, "long": {0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0, 0},
	} {
		s := &script{rsp: rsp}
		owner := tpm.New(s)
		for range 2 {
			if _, err := owner.ReadPCRs(t.Context(), sealPCRs); !errors.Is(err, tpm.ErrTransport) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if s.sent != 1 || owner.Commands() != 1 {
			t.Errorf("%s: %d commands after a failure", name, s.sent)
		}
	}
}

// script answers every command alike.
type script struct {
	rsp  []byte
	sent int
}

func (s *script) Send([]byte) ([]byte, error) { s.sent++; return bytes.Clone(s.rsp), nil }
func (s *script) Close() error                { return nil }

// stuck holds the first command until released.
type stuck struct {
	entered, release chan struct{}
	once             sync.Once
}

func (s *stuck) Send([]byte) ([]byte, error) {
	s.once.Do(func() { close(s.entered) })
	<-s.release
	return nil, io.EOF
}
func (s *stuck) Close() error { return nil }

// TestQueueIsBounded is DS-01: a flood waits in a queue with an end.
func TestQueueIsBounded(t *testing.T) {
	t.Run("DS-01", func(t *testing.T) {
		s := &stuck{entered: make(chan struct{}), release: make(chan struct{})}
		owner := tpm.New(s)
		read := func(ctx context.Context) error {
			_, err := owner.ReadPCRs(ctx, sealPCRs)
			return err
		}
		var wg sync.WaitGroup
		wg.Go(func() { _ = read(context.Background()) })
		<-s.entered
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error, tpm.MaxQueue+10)
		for range tpm.MaxQueue + 10 {
			wg.Go(func() { errs <- read(ctx) })
		}
		for range 10 {
			if err := <-errs; !errors.Is(err, tpm.ErrBusy) {
				t.Errorf("got %v, want ErrBusy", err)
			}
		}
		cancel()
		for range tpm.MaxQueue {
			if err := <-errs; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want context.Canceled", err)
			}
		}
		if err := read(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: %v", err)
		}
		close(s.release)
		wg.Wait()
		if owner.Commands() != 1 {
			t.Errorf("%d commands reached the TPM", owner.Commands())
		}
	})
}

func TestManyGoroutines(t *testing.T) {
	owner, _, _ := simulator(t)
	ak, err := owner.CreateAK(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k := seal(t, owner)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for range 5 {
				p := peer(t)
				got, err := k.ECDH(p.PublicKey())
				if err != nil {
					t.Error(err)
					return
				}
				if want, err := p.ECDH(k.PublicKey()); err != nil || !bytes.Equal(got, want) {
					t.Error("secrets differ")
				}
			}
			if i%8 == 0 {
				if _, err := owner.Quote(context.Background(), ak, nil, quotePCRs); err != nil {
					t.Error(err)
				}
				if err := owner.Extend(context.Background(), 10, [32]byte{byte(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestClosed(t *testing.T) {
	owner, _, _ := simulator(t)
	k := seal(t, owner)
	agree(t, k)
	if err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.ECDH(peer(t).PublicKey()); !errors.Is(err, tpm.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if err := owner.Close(); !errors.Is(err, tpm.ErrClosed) {
		t.Errorf("second close: %v", err)
	}
}

func TestOpenRefusesWhatIsNoDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tpm")
	if _, err := tpm.Open(path); err == nil {
		t.Error("missing file opened")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tpm.Open(path); err == nil {
		t.Error("plain file opened")
	}
}

// TestDevice runs where there is a TPM behind the kernel's resource manager.
func TestDevice(t *testing.T) {
	const path = "/dev/tpmrm0"
	if _, err := os.Stat(path); err != nil {
		t.Skip("no " + path + " on this machine")
	}
	owner, err := tpm.Open(path)
	if err != nil {
		t.Skip(err)
	}
	defer owner.Close()
	agree(t, seal(t, owner))
}

// FuzzResponses plays a hostile host of the TPM: whatever it answers, the owner
// returns, and hands out no agreement that the host did not spell out in full.
func FuzzResponses(f *testing.F) {
	f.Add([]byte{}, uint8(0))
	f.Add(make([]byte, 64), uint8(2))
	f.Add([]byte{0x80, 0, 0, 0, 0, 0xff, 0xff}, uint8(1))
	f.Add(bytes.Repeat([]byte{0, 4, 0xff, 0xff}, 32), uint8(3))
	f.Fuzz(func(t *testing.T, body []byte, which uint8) {
		if len(body) > 4000 {
			return
		}
		tag := uint16(0x8001 + uint16(which&1))
		rsp := make([]byte, 10, 10+len(body))
		rsp[0], rsp[1] = byte(tag>>8), byte(tag)
		n := 10 + len(body)
		rsp[4], rsp[5] = byte(n>>8), byte(n)
		owner := tpm.New(&script{rsp: append(rsp, body...)})
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
		defer stop()
		_, _ = owner.CreateAK(ctx)
		_, _ = owner.ReadPCRs(ctx, sealPCRs)
		if k, err := owner.CreateSealKey(ctx, sealPCRs); err == nil {
			_, _ = k.Exchange(ctx, peer(t).PublicKey())
		}
	})
}
