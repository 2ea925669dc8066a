// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/metrics"
	"github.com/sotto-project/sotto/transparency"
)

// A Config is the witness's YAML file.
type Config struct {
	// Listen is the TCP address that logs reach, such as "0.0.0.0:443". Required.
	Listen string `yaml:"listen"`
	// TLS is the certificate that logs check. Its ca is not used: whoever brings
	// what a log has signed is heard. Without one the port speaks cleartext, for
	// a reverse proxy on the same machine or for the lab.
	TLS httpx.TLS `yaml:"tls"`
	// Metrics is the address of the metrics port. Empty: none.
	Metrics string `yaml:"metrics"`

	// Dir is the witness's directory, made once by Create. It holds the keys and
	// what was signed: never restore it from a backup. Required.
	Dir string `yaml:"dir"`
	// Name is the witness's name for ever, such as "witness.example/w1". Required.
	Name string `yaml:"name"`
	// MLDSA has the witness sign with its ML-DSA-44 key, too: two lines. One that
	// has begun to must not stop while trust files name that key.
	MLDSA bool `yaml:"ml_dsa_44"`
	// Logs are the logs to sign for. At least one.
	Logs []Log `yaml:"logs"`
}

// Validate checks everything that can be checked without touching a file.
func (c Config) Validate() error {
	if c.Listen == "" || c.Dir == "" || c.Name == "" || len(c.Logs) == 0 {
		return errors.New("witness: listen, dir, name and logs are required")
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return errors.New("witness: tls: cert and key come together")
	}
	// This cosigner has nobody's key and signs nothing: New checks name and logs.
	probe, err := transparency.NewMLDSACosigner(c.Name, make([]byte, transparency.MLDSASeedSize))
	if err != nil {
		return fmt.Errorf("witness: name %q cannot name a key", c.Name)
	}
	_, err = New(Setup{Cosigners: []*transparency.Cosigner{probe}, Logs: c.Logs, Store: new(MemoryStore)})
	return err
}

// A Server is a witness with its ports. Close it when done.
type Server struct {
	*Witness
	cfg   Config
	store *FileStore
	reg   *prometheus.Registry
}

// Open opens the directory of a configuration.
func Open(c Config, log *slog.Logger) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	cosigners, err := OpenCosigners(c.Dir, c.Name, c.MLDSA)
	if err != nil {
		return nil, err
	}
	store, err := OpenFileStore(c.Dir)
	if err != nil {
		return nil, err
	}
	for _, l := range c.Logs {
		if err := store.check(l.Origin); err != nil {
			return nil, errors.Join(err, store.Close())
		}
	}
	reg := prometheus.NewRegistry()
	w, err := New(Setup{Cosigners: cosigners, Logs: c.Logs, Store: store, Registry: reg, Log: log})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &Server{w, c, store, reg}, nil
}

// Close lets another process open the directory.
func (s *Server) Close() error { return s.store.Close() }

// Serve listens on the configured ports until ctx ends.
func (s *Server) Serve(ctx context.Context) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	return s.ServeOn(ctx, ln)
}

// ServeOn is [Server.Serve] on a listener that is there already. It closes it.
func (s *Server) ServeOn(ctx context.Context, ln net.Listener) (err error) {
	srv := httpx.NewServer(s.Handler())
	if s.cfg.TLS != (httpx.TLS{}) {
		if srv.TLSConfig, err = s.cfg.TLS.Server(false); err != nil {
			return errors.Join(err, ln.Close())
		}
	}
	return metrics.Beside(ctx, s.cfg.Metrics, s.reg, func(ctx context.Context) error { return httpx.Serve(ctx, ln, srv) })
}
