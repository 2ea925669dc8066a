// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package collect_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakeima"
	"github.com/sotto-project/sotto/attestation/attestationtest/simtpm"
	"github.com/sotto-project/sotto/attestation/collect"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// A kernel is a running system as far as this package sees it: an IMA list, a
// GPU, and a platform whose reports say nothing.
type kernel struct {
	t     *testing.T
	sim   *simtpm.Simulator
	tpm   *tpm.TPM
	c     *collect.Collector
	ima   []fakeima.Entry // in the list
	list  func([]fakeima.Entry) []byte
	nonce [32]byte // the GPU was asked over
	fails error    // of the reporter
	extra []evidence.Piece
}

func (k *kernel) Report(context.Context, [64]byte) ([]evidence.Piece, error) {
	return append([]evidence.Piece{{Kind: evidence.KindSNPReport, Data: []byte("report")}}, k.extra...), k.fails
}

// run measures a program.
func (k *kernel) run(name string) {
	k.t.Helper()
	e := fakeima.File(name, []byte(name))
	k.ima = append(k.ima, e)
	if err := k.tpm.Extend(k.t.Context(), fakeima.PCR, e.Hash()); err != nil {
		k.t.Fatal(err)
	}
}

func newKernel(t *testing.T) *kernel {
	t.Helper()
	sim, err := simtpm.OpenSimulator()
	if err != nil {
		t.Fatal(err)
	}
	k := &kernel{t: t, sim: sim, tpm: tpm.New(sim), list: fakeima.Log}
	t.Cleanup(func() {
		if k.tpm.Close() != nil {
			sim.Close()
		}
	})
	ak, err := k.tpm.CreateAK(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k.c = &collect.Collector{
		TPM: k.tpm, AK: ak, Reporter: k, EventLog: []byte("log"), Config: []byte("config"),
		IMALog: func() ([]byte, error) { return k.list(k.ima), nil },
		GPU: func(_ context.Context, nonce [32]byte) ([]byte, error) {
			k.nonce = nonce
			return []byte("GPU evidence"), nil
		},
	}
	k.run("boot_aggregate")
	k.run("/usr/bin/sotto-node")
	return k
}

func (k *kernel) epoch() (*evidence.Bundle, error) {
	seal, err := k.tpm.CreateSealKey(k.t.Context(), evidence.SealPCRs())
	if err != nil {
		k.t.Fatal(err)
	}
	defer seal.Erase(context.WithoutCancel(k.t.Context()))
	keys := collect.KeyMaterial{Epoch: 3, REK: make([]byte, evidence.REKSize), Seal: seal, NodeKey: make(ed25519.PublicKey, 32)}
	return k.c.Epoch(k.t.Context(), keys, []byte("checkpoint"))
}

func piece(t *testing.T, b *evidence.Bundle, kind evidence.Kind) []byte {
	t.Helper()
	d, ok := b.Get(kind)
	if !ok {
		t.Fatalf("no %v", kind)
	}
	return d
}

// extraData is what a quote is over.
func extraData(t *testing.T, attest []byte) []byte {
	t.Helper()
	a, err := tpm2.Unmarshal[tpm2.TPMSAttest](attest)
	if err != nil {
		t.Fatal(err)
	}
	return a.ExtraData.Buffer
}

// TestOrderOfBinding: keys, GPU nonce, GPU digest, quote.
func TestOrderOfBinding(t *testing.T) {
	k := newKernel(t)
	b, err := k.epoch()
	if err != nil {
		t.Fatal(err)
	}
	statement := piece(t, b, evidence.KindKeyStatement)
	s, err := evidence.ParseKeyStatement(statement)
	if err != nil {
		t.Fatal(err)
	}
	if gpu := piece(t, b, evidence.KindGPU); s.GPUDigest != sha256.Sum256(gpu) || k.nonce != evidence.GPUNonce(statement) {
		t.Error("GPU evidence is not bound to the keys, or they not to it")
	}
	creation, quote := evidence.CreationQualifier(statement), evidence.EpochQualifier(statement, s.GPUDigest)
	if !bytes.Equal(extraData(t, piece(t, b, evidence.KindCreation)), creation[:]) || !bytes.Equal(extraData(t, piece(t, b, evidence.KindQuote)), quote[:]) {
		t.Error("signatures are over another statement")
	}
	k.c.GPU = nil
	if b, err = k.epoch(); err != nil {
		t.Fatal(err)
	}
	if s, err = evidence.ParseKeyStatement(piece(t, b, evidence.KindKeyStatement)); err != nil || s.GPUDigest != [32]byte{} {
		t.Errorf("without GPU: digest %x, %v", s.GPUDigest, err)
	}
}

// TestIMALog: epoch evidence has what its quote covers, freshness evidence what
// came since, whichever list the kernel shows.
func TestIMALog(t *testing.T) {
	for name, list := range map[string]func([]fakeima.Entry) []byte{"sha256": fakeima.Log, "sha1": fakeima.LegacyLog} {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t)
			k.list = list
			// An entry is listed before it is extended: here it never will be.
			k.ima = append(k.ima, fakeima.File("/usr/bin/late", nil))
			b, err := k.epoch()
			if err != nil {
				t.Fatal(err)
			}
			if got := piece(t, b, evidence.KindIMALog); !bytes.Equal(got, fakeima.Log(k.ima[:2])) {
				t.Errorf("%d bytes of log", len(got))
			}
			k.ima = k.ima[:2]
			k.run("/usr/bin/more")
			for range 2 {
				f, err := k.c.Freshness(t.Context(), b.Digest(), []byte("checkpoint"))
				if err != nil {
					t.Fatal(err)
				}
				if got := piece(t, f, evidence.KindFreshIMALog); !bytes.Equal(got, fakeima.Log(k.ima[2:])) {
					t.Errorf("%d bytes of growth", len(got))
				}
			}
			if _, err := k.c.Freshness(t.Context(), [32]byte{1}, nil); err == nil {
				t.Error("freshness of evidence that nobody made")
			}
			k.ima[0] = fakeima.File("boot_aggregate", []byte("another boot"))
			if _, err := k.c.Freshness(t.Context(), b.Digest(), nil); err == nil {
				t.Error("a log that does not lead to PCR 10 was sent")
			}
		})
	}
	t.Run("only so many epochs", func(t *testing.T) {
		k := newKernel(t)
		first, err := k.epoch()
		if err != nil {
			t.Fatal(err)
		}
		for range 16 {
			if _, err := k.epoch(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := k.c.Freshness(t.Context(), first.Digest(), nil); err == nil {
			t.Error("the first of 17 epochs is remembered")
		}
	})
}

func TestChallenge(t *testing.T) {
	k := newKernel(t)
	b, err := k.epoch()
	if err != nil {
		t.Fatal(err)
	}
	f, err := k.c.Challenge(t.Context(), b.Digest(), [32]byte{9})
	if err != nil {
		t.Fatal(err)
	}
	want := evidence.ChallengeQualifier(b.Digest(), [32]byte{9})
	if got := extraData(t, piece(t, f, evidence.KindFreshQuote)); !bytes.Equal(got, want[:]) {
		t.Errorf("quote over %x", got)
	}
}

// TestSourcesFail: a source that fails, or says what is another's to say, ends
// in an error and never in evidence without it.
func TestSourcesFail(t *testing.T) {
	broken := errors.New("broken")
	for name, spoil := range map[string]func(*kernel){
		"report": func(k *kernel) { k.fails = broken },
		"gpu": func(k *kernel) {
			k.c.GPU = func(context.Context, [32]byte) ([]byte, error) { return nil, broken }
		},
		"no gpu evidence": func(k *kernel) {
			k.c.GPU = func(context.Context, [32]byte) ([]byte, error) { return nil, nil }
		},
		"ima": func(k *kernel) { k.c.IMALog = func() ([]byte, error) { return nil, broken } },
		"malformed ima": func(k *kernel) {
			k.c.IMALog = func() ([]byte, error) { return []byte("log"), nil }
		},
		"a piece twice":   func(k *kernel) { k.extra = []evidence.Piece{{Kind: evidence.KindSNPReport}} },
		"the quote again": func(k *kernel) { k.extra = []evidence.Piece{{Kind: evidence.KindQuote}} },
		"a piece too long": func(k *kernel) {
			k.extra = []evidence.Piece{{Kind: evidence.KindHCLReport, Data: make([]byte, 1<<20)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t)
			spoil(k)
			if b, err := k.epoch(); err == nil {
				t.Errorf("evidence of %d pieces", len(b.Pieces))
			}
		})
	}
	t.Run("one of several reporters", func(t *testing.T) {
		k := newKernel(t)
		k.c.Reporter = collect.Reporters{&kernel{extra: []evidence.Piece{{Kind: evidence.KindCCEL}}}, &kernel{fails: broken}}
		if _, err := k.epoch(); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
	})
}

func TestSelfCheck(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		spoil func(*kernel)
		want  collect.Reason // empty: fit
	}{
		"nothing":         {func(*kernel) {}, ""},
		"a program more":  {func(k *kernel) { k.run("/usr/bin/allowed") }, ""},
		"a PCR elsewhere": {func(k *kernel) { extend(k, 14) }, ""},
		"a bad program":   {func(k *kernel) { k.run("/usr/bin/bad") }, collect.ReasonIMA},
		"a seal PCR":      {func(k *kernel) { extend(k, 11) }, collect.ReasonPCR},
		"PCR 10 alone":    {func(k *kernel) { extend(k, 10) }, collect.ReasonIMA},
		"a log rewritten": {func(k *kernel) { k.ima[1] = fakeima.File("/usr/bin/other", nil) }, collect.ReasonIMA},
		"a log cut":       {func(k *kernel) { k.ima = k.ima[:1] }, collect.ReasonIMA},
		"a log unreadable": {func(k *kernel) {
			k.c.IMALog = func() ([]byte, error) { return nil, broken }
		}, collect.ReasonIMA},
		"a reset": {func(k *kernel) {
			if err := k.sim.Reset(); err != nil {
				k.t.Fatal(err)
			}
		}, collect.ReasonReset},
		"no report": {func(k *kernel) { k.fails = broken }, collect.ReasonReport},
		"a TPM gone": {func(k *kernel) {
			if err := k.tpm.Close(); err != nil {
				k.t.Fatal(err)
			}
		}, collect.ReasonTPM},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t)
			k.c.IMAGrowth = func(entries []byte) error {
				if bytes.Contains(entries, []byte("/usr/bin/bad")) {
					return errors.New("bad")
				}
				return nil
			}
			for range 2 {
				if err := k.c.SelfCheck(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			c.spoil(k)
			err := k.c.SelfCheck(t.Context())
			var verdict *collect.SelfCheckError
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (!errors.As(err, &verdict) || verdict.Reason != c.want):
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// TestSelfCheckUndecided: what stops a check says nothing about the node.
func TestSelfCheckUndecided(t *testing.T) {
	k := newKernel(t)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	err := k.c.SelfCheck(ctx)
	var verdict *collect.SelfCheckError
	if err == nil || errors.As(err, &verdict) {
		t.Errorf("%v", err)
	}
	// The first check has not happened: what it finds now is the base.
	extend(k, 11)
	for range 2 {
		if err := k.c.SelfCheck(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func extend(k *kernel, pcr int) {
	k.t.Helper()
	if err := k.tpm.Extend(k.t.Context(), pcr, [32]byte{7}); err != nil {
		k.t.Fatal(err)
	}
}
