// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/publish"
	"github.com/sotto-project/sotto/transparency/witness"
)

// The lab has three witnesses, of whom clients want two: one may be down. If one
// of them lied, the log could show the other two a world each, and both would
// verify; more than one down or lying takes more witnesses. Elsewhere each is run
// by somebody else; here they are processes of the same user, and SIMULATED
// independence.
const (
	witnesses = 3
	quorum    = 2
)

func witnessName(i int) string { return fmt.Sprintf("witness-%d", i+1) }

// witnessKeyName is the name in the witness's keys.
func witnessKeyName(i int) string { return "sotto-lab.invalid/SIMULATED/" + witnessName(i) }

func witnessDir(dir string, i int) string { return filepath.Join(dir, witnessName(i)) }

// witnesses makes those that are not there yet.
func (p *plan) witnesses() error {
	for i := range witnesses {
		if _, err := os.Stat(witnessDir(p.dir, i)); err == nil {
			continue
		}
		if err := witness.Create(witnessDir(p.dir, i), witnessKeyName(i), origin); err != nil {
			return err
		}
	}
	return nil
}

// logTrust is whom this lab's roles and clients believe about the log.
func (p *plan) logTrust() (*transparency.Trust, error) {
	keys, err := publish.OpenKeys(p.logDir(), origin)
	if err != nil {
		return nil, err
	}
	t := keys.Trust()
	t.Witnesses, t.Quorum = nil, quorum
	for i := range witnesses {
		vkeys, err := p.witnessKeys(i)
		if err != nil {
			return nil, err
		}
		t.Witnesses = append(t.Witnesses, vkeys...)
	}
	return t, t.Validate()
}

// witnessKeys are both verifier keys of a witness.
func (p *plan) witnessKeys(i int) ([]string, error) {
	cosigners, err := witness.OpenCosigners(witnessDir(p.dir, i), witnessKeyName(i), true)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range cosigners {
		out = append(out, c.VKey())
	}
	return out, nil
}

// askedWitnesses is the publisher's side.
func (p *plan) askedWitnesses() ([]publish.WitnessConfig, error) {
	var out []publish.WitnessConfig
	for i := range witnesses {
		keys, err := p.witnessKeys(i)
		if err != nil {
			return nil, err
		}
		out = append(out, publish.WitnessConfig{URL: p.seat(witnessName(i)).url, Keys: keys, CA: p.public.ca()})
	}
	return out, nil
}

func (p *plan) witnessConfig(s *seat, i int, t *transparency.Trust) (witness.Config, error) {
	id, err := p.public.issue(s.name, s.name+".sotto")
	return witness.Config{
		Listen: addr(s), TLS: id, Metrics: s.metrics, Dir: witnessDir(p.dir, i), Name: witnessKeyName(i), MLDSA: true,
		Logs: []witness.Log{{Origin: t.Origin, LogKey: t.LogKey, LogKeyPQ: t.LogKeyPQ}},
	}, err
}

func serveWitness(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	cfg, err := config.Load[witness.Config](path)
	if err != nil {
		return err
	}
	w, err := witness.Open(cfg, log)
	if err != nil {
		return err
	}
	return errors.Join(w.ServeOn(ctx, lns[0]), w.Close())
}
