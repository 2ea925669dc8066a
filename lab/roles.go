// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/client/proxy"
	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/lab/engine"
	"github.com/sotto-project/sotto/ohttp/gateway"
	"github.com/sotto-project/sotto/relay"
	"github.com/sotto-project/sotto/router"
	"github.com/sotto-project/sotto/transparency/publish"
)

// A role is how one process of the lab serves on the listeners it inherited.
type role struct {
	listeners int
	serve     func(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error
}

// blindPublisher is a publisher that lists whatever a node says, for modes whose
// hostile part is the node.
const blindPublisher = "blind-publisher"

// roles are the honest ones, and one accomplice; [Modes] has the hostile twins.
var roles = map[string]role{
	"relay":     {1, serveRelay},
	"gateway":   {1, serveGateway},
	"router":    {1, serveRouter},
	"node":      {1, serveNode},
	"engine":    {1, serveEngine},
	"publisher": {1, servePublisher},
	"witness":   {1, serveWitness},
	"bank":      {1, serveBank},
	"accounts":  {2, serveAccounts},
	"proxy":     {2, serveProxy},
	"plain":     {1, servePlain},

	blindPublisher: {1, serveBlindPublisher},
}

// RunRole is what `sotto-lab role NAME --config FILE` does: it serves one role
// until the lab that started it goes, on the listeners that the lab opened. A
// file named by profile gets its CPU profile.
func RunRole(ctx context.Context, name, path, profile string, stdin io.Reader, stdout, stderr io.Writer) error {
	r, ok := findRole(name)
	if !ok {
		return fmt.Errorf("no role %q; this command is run by sotto-lab itself", name)
	}
	lns, err := inherited(r.listeners)
	if err != nil {
		return err
	}
	ctx, cancel := untilUnleashed(ctx, stdin)
	defer cancel()
	// Roles say when they serve by their listener: the line goes out when the
	// role first waits for a connection.
	lns[0] = &announcing{Listener: lns[0], out: stdout}
	err = Profiled(profile, func() error {
		return r.serve(ctx, path, lns, slog.New(slog.NewTextHandler(stderr, nil)))
	})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// announcing prints [serving] when it first waits for a connection.
type announcing struct {
	net.Listener
	out  io.Writer
	said bool // owned by the goroutine that accepts
}

func (a *announcing) Accept() (net.Conn, error) {
	if !a.said {
		a.said = true
		fmt.Fprintln(a.out, serving)
	}
	return a.Listener.Accept()
}

func serveRelay(ctx context.Context, path string, lns []net.Listener, _ *slog.Logger) error {
	cfg, err := config.Load[relay.Config](path)
	if err != nil {
		return err
	}
	r, err := relay.New(cfg)
	if err != nil {
		return err
	}
	return r.ServeOn(ctx, lns[0])
}

func serveGateway(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	cfg, err := config.Load[gateway.Config](path)
	if err != nil {
		return err
	}
	g, err := gateway.New(cfg, log)
	if err != nil {
		return err
	}
	return g.ServeOn(ctx, lns[0])
}

func serveRouter(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	cfg, err := config.Load[router.Config](path)
	if err != nil {
		return err
	}
	if cfg.Machines, err = machines(path); err != nil {
		return err
	}
	cfg.Log = log
	r, err := router.New(cfg)
	if err != nil {
		return err
	}
	return r.ServeOn(ctx, lns[0])
}

// machines is the lab's policy with its simulated hardware root, which no file
// can name, for roles that judge nodes.
func machines(path string) (*attestation.Policy, error) {
	root, err := attestationtest.OpenRoot(hardwareDir(path))
	if err != nil {
		return nil, err
	}
	return attestationtest.LabPolicy(root), nil
}

// servePublisher runs the publisher with the lab's simulated hardware root in
// its policy.
func servePublisher(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	cfg, err := config.Load[publish.Config](path)
	if err != nil {
		return err
	}
	policy, err := machines(path)
	if err != nil {
		return err
	}
	p, err := publish.Open(cfg, policy, log)
	if err != nil {
		return err
	}
	return p.ServeOn(ctx, lns[0])
}

// engineConfig is the engine's part of the lab.
type engineConfig struct {
	// Fixed serves the answers for measurements instead of the model.
	Fixed bool `yaml:"fixed"`
}

func serveEngine(ctx context.Context, path string, lns []net.Listener, _ *slog.Logger) error {
	cfg, err := config.Load[engineConfig](path)
	if err != nil {
		return err
	}
	h := engine.Fixed()
	if !cfg.Fixed {
		e, err := engine.New()
		if err != nil {
			return err
		}
		h = e.Handler()
	}
	return httpx.Serve(ctx, lns[0], &http.Server{Handler: h, ReadHeaderTimeout: time.Minute})
}

func serveProxy(ctx context.Context, path string, lns []net.Listener, _ *slog.Logger) error {
	cfg, err := LoadTrust(path)
	if err != nil {
		return err
	}
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	p, err := proxy.New(proxy.Config{Client: c})
	if err != nil {
		return err
	}
	return cli.ServeProxy(ctx, p, lns[0], lns[1])
}

// LoadTrust loads a lab's trust file: as [cli.LoadTrust], with the lab's
// simulated hardware root in place of the vendors'.
func LoadTrust(path string) (client.Config, error) {
	cfg, err := cli.LoadTrust(path)
	if err != nil {
		return cfg, err
	}
	root, err := attestationtest.OpenRoot(hardwareDir(path))
	if err != nil {
		return cfg, err
	}
	cfg.Policy.Roots = root.Roots()
	return cfg, nil
}

// Mirrors are the places that serve the log of the lab with a trust file: its
// relays, and the publisher, who alone serves evidence.
func Mirrors(trustFile string) ([]string, error) {
	cfg, err := LoadTrust(trustFile)
	if err != nil {
		return nil, err
	}
	p, err := config.Load[publish.Config](filepath.Join(filepath.Dir(trustFile), "publisher.yaml"))
	if err != nil {
		return nil, err
	}
	return append(cfg.Relays, "https://"+p.Listen), nil
}
