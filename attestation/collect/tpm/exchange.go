// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"context"
	"crypto/ecdh"
	"errors"

	"github.com/google/go-tpm/tpm2"
)

// ECDH returns the x coordinate of the product of the key and remote. It takes
// two TPM commands, TPM2_PolicyPCR and TPM2_ECDH_ZGen; the first use of a [TPM]
// also starts the policy session, and PCR changes outside the policy cost
// repetitions. It waits at most ten seconds for the TPM.
//
// It fails for good with [ErrPCRMoved], [ErrReset] or [ErrErased], and may be
// repeated after [ErrBusy] and [ErrUnstable].
func (k *SealKey) ECDH(remote *ecdh.PublicKey) ([]byte, error) {
	ctx, stop := context.WithTimeout(context.Background(), maxWait)
	defer stop()
	secret, err := k.Exchange(ctx, remote)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, ErrBusy
	}
	return secret, err
}

// Exchange is [SealKey.ECDH] with the caller's bound on the wait.
func (k *SealKey) Exchange(ctx context.Context, remote *ecdh.PublicKey) ([]byte, error) {
	if remote == nil || remote.Curve() != ecdh.P256() {
		return nil, errors.New("tpm: remote key not on P-256")
	}
	if err := k.t.acquire(ctx); err != nil {
		return nil, err
	}
	defer k.t.release()
	for range maxTries {
		if err := k.alive(); err != nil {
			return nil, err
		}
		secret, err := k.exchangeOnce(remote)
		switch {
		case err == nil:
			return secret, nil
		case errors.Is(err, errAgain):
		case errors.Is(err, ErrPCRMoved), errors.Is(err, ErrReset):
			k.dead = err
			return nil, err
		default:
			return nil, err
		}
	}
	return nil, ErrUnstable
}

// errAgain asks for another attempt: the session was lost or a PCR outside the
// policy moved.
var errAgain = errors.New("tpm: again")

// exchangeOnce fills the shared session with the policy and spends it.
func (k *SealKey) exchangeOnce(remote *ecdh.PublicKey) ([]byte, error) {
	t := k.t
	if err := t.readySession(); err != nil {
		return nil, err
	}
	t.stale = true
	// Naming the expected digest makes the TPM refuse at once when a seal PCR
	// moved, and apart from every other reason.
	_, err := tpm2.PolicyPCR{
		PolicySession: t.session.Handle(),
		PcrDigest:     tpm2.TPM2BDigest{Buffer: k.created.digest},
		Pcrs:          selection(k.created.set),
	}.Execute(t.wire)
	switch {
	case refusedDigest(err):
		return nil, ErrPCRMoved
	case gone(err):
		return nil, t.lostSession()
	case err != nil:
		return nil, t.classify("policy", err)
	}
	raw := remote.Bytes()
	rsp, err := tpm2.ECDHZGen{
		KeyHandle: tpm2.AuthHandle{Handle: k.handle, Name: tpm2.TPM2BName{Buffer: k.created.name}, Auth: t.session},
		InPoint: tpm2.New2B(tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: raw[1:33]},
			Y: tpm2.TPM2BECCParameter{Buffer: raw[33:65]},
		}),
	}.Execute(t.wire)
	switch {
	case errors.Is(err, tpm2.TPMRCPCRChanged):
		return nil, errAgain
	case err != nil:
		return nil, t.classify("key agreement", err)
	}
	t.stale = false
	return k.secret(rsp)
}

// refusedDigest recognises PolicyPCR's answer to a digest that is not that of
// the present values: TPM_RC_VALUE for parameter 1. The same code for a handle
// means something else.
func refusedDigest(err error) bool {
	var rc tpm2.TPMFmt1Error
	if !errors.Is(err, tpm2.TPMRCValue) || !errors.As(err, &rc) {
		return false
	}
	isParameter, which := rc.Parameter()
	return isParameter && which == 1
}

// secret takes the shared secret out of a response and wipes the rest.
func (k *SealKey) secret(rsp *tpm2.ECDHZGenResponse) ([]byte, error) {
	k.t.wire.wipe()
	p, err := rsp.OutPoint.Contents()
	if err != nil || len(p.X.Buffer) > 32 {
		return nil, errors.New("tpm: key agreement: malformed point")
	}
	out := make([]byte, 32)
	copy(out[32-len(p.X.Buffer):], p.X.Buffer) // TPMs may drop leading zeros
	clear(p.X.Buffer)
	clear(p.Y.Buffer)
	return out, nil
}

// readySession has an empty policy session at hand. One that was left with a
// policy in it, by a use that failed half way, is replaced.
func (t *TPM) readySession() error {
	if t.stale {
		t.dropSession()
	}
	if t.session != nil {
		return nil
	}
	s, _, err := tpm2.PolicySession(t.wire, tpm2.TPMAlgSHA256, 16)
	if err != nil {
		return t.classify("start session", err)
	}
	t.session = s
	return nil
}

// lostSession forgets a session that the TPM no longer knows. If a reset took
// it, checkLife also ends the keys.
func (t *TPM) lostSession() error {
	t.session, t.stale = nil, false
	if err := t.checkLife(); err != nil {
		return err
	}
	return errAgain
}
