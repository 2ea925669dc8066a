// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sotto-project/sotto/attestation/attestationtest/simtpm"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
)

var sealPCRs = []int{0, 2, 4, 7, 9, 11, 12, 13}

var quotePCRs = append([]int{10}, sealPCRs...)

// A tap stands between owner and TPM: it records command codes and lets a test
// act just before a command reaches the TPM, as a kernel or an attacker would.
type tap struct {
	transport.TPMCloser
	mu     sync.Mutex
	codes  []tpm2.TPMCC
	before func(cc tpm2.TPMCC, cmd []byte)
	after  func(cc tpm2.TPMCC, rsp []byte)
}

func (p *tap) Send(cmd []byte) ([]byte, error) {
	cc := tpm2.TPMCC(binary.BigEndian.Uint32(cmd[6:]))
	p.mu.Lock()
	p.codes = append(p.codes, cc)
	before, after := p.before, p.after
	p.mu.Unlock()
	if before != nil {
		before(cc, cmd)
	}
	rsp, err := p.TPMCloser.Send(cmd)
	if after != nil {
		after(cc, rsp)
	}
	return rsp, err
}

func (p *tap) set(before func(cc tpm2.TPMCC, cmd []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = before
}

// take returns the codes seen since the last call.
func (p *tap) take() []tpm2.TPMCC {
	p.mu.Lock()
	defer p.mu.Unlock()
	codes := p.codes
	p.codes = nil
	return codes
}

// extend moves a PCR behind the owner's back.
func (p *tap) extend(t testing.TB, pcr int) {
	t.Helper()
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{
			{HashAlg: tpm2.TPMAlgSHA256, Digest: bytes.Repeat([]byte{7}, 32)},
		}},
	}.Execute(p.TPMCloser)
	if err != nil {
		t.Fatal(err)
	}
}

func simulator(t testing.TB) (*tpm.TPM, *tap, *simtpm.Simulator) {
	t.Helper()
	sim, err := simtpm.OpenSimulator()
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{TPMCloser: sim}
	owner := tpm.New(p)
	t.Cleanup(func() {
		if err := owner.Close(); err != nil {
			sim.Close()
		}
	})
	return owner, p, sim
}

func swtpm(t testing.TB) (*tpm.TPM, *tap) {
	t.Helper()
	bin, err := exec.LookPath("swtpm")
	if err != nil {
		t.Skip("swtpm is not installed: apt-get install -y swtpm swtpm-tools")
	}
	dir, err := os.MkdirTemp("", "sw") // t.TempDir's paths can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(dir, "tpm.sock")
	cmd := exec.Command(bin, "socket", "--tpm2", "--tpmstate", "dir="+dir,
		"--server", "type=unixio,path="+sock, "--flags", "not-need-init,startup-clear")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	})
	var sw *simtpm.Swtpm
	for range 100 {
		if sw, err = simtpm.DialSwtpm(sock); err == nil {
			p := &tap{TPMCloser: sw}
			owner := tpm.New(p)
			t.Cleanup(func() { _ = owner.Close() })
			return owner, p
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal(err)
	return nil, nil
}

// each runs f on every software TPM there is.
func each(t *testing.T, f func(t *testing.T, owner *tpm.TPM, p *tap)) {
	t.Run("simulator", func(t *testing.T) {
		owner, p, _ := simulator(t)
		f(t, owner, p)
	})
	t.Run("swtpm", func(t *testing.T) {
		owner, p := swtpm(t)
		f(t, owner, p)
	})
}

func seal(t testing.TB, owner *tpm.TPM) *tpm.SealKey {
	t.Helper()
	k, err := owner.CreateSealKey(t.Context(), sealPCRs)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func peer(t testing.TB) *ecdh.PrivateKey {
	t.Helper()
	k, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// agree checks one agreement against software.
func agree(t testing.TB, k *tpm.SealKey) {
	t.Helper()
	p := peer(t)
	got, err := k.ECDH(p.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	want, err := p.ECDH(k.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("shared secrets differ")
	}
}
