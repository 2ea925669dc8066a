// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Command sotto-gateway opens the outer layer of requests that relays bring and
// forwards them to one router and one bank.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/daemon"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/gateway"
)

const about = `Opens the outer layer of Oblivious HTTP requests and forwards them to two fixed
origins, the router and the bank. It sees candidates and a sealed prompt; it
never sees a client's address or a prompt.

Keys are made once, and again to rotate:

  sotto-gateway create-keys -dir DIR [-id N]    an X-Wing and an X25519 key, and
                                                the public list for sotto-log`

func main() {
	if len(os.Args) > 1 && os.Args[1] == "create-keys" {
		os.Exit(createKeys(os.Args[2:], os.Stdout, os.Stderr))
	}
	os.Exit(daemon.Role[gateway.Config]{
		Name: "sotto-gateway", About: about,
		Check: func(c gateway.Config) error { _, err := gateway.New(c, slog.New(slog.DiscardHandler)); return err },
		Serve: func(ctx context.Context, c gateway.Config, log *slog.Logger) error {
			g, err := gateway.New(c, log)
			if err != nil {
				return err
			}
			return g.Serve(ctx)
		},
	}.Main())
}

// createKeys makes key files and refuses to overwrite any. Key ids are one
// byte; a new pair beside an old one takes ids of its own.
func createKeys(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("sotto-gateway create-keys", flag.ContinueOnError)
	fs.SetOutput(stderr)
	dir := fs.String("dir", "", "existing `directory` for the key files")
	id := fs.Uint("id", 1, "key id of the X-Wing key; the X25519 key has the next")
	if err := fs.Parse(args); err != nil || *dir == "" || *id > 254 || fs.NArg() > 0 {
		fs.Usage()
		return daemon.ExitUsage
	}
	configs, err := writeKeys(*dir, uint8(*id))
	if err == nil {
		public := filepath.Join(*dir, fmt.Sprintf("gateway-%d.ohttp-keys", *id))
		if err = durable.CreateFile(public, configs, 0o644); err == nil {
			fmt.Fprintf(stdout, "wrote the keys and %s, which the publisher lists under gateway_keys\n", public)
			return daemon.ExitOK
		}
	}
	fmt.Fprintln(stderr, "sotto-gateway:", err)
	return daemon.ExitFailed
}

func writeKeys(dir string, id uint8) ([]byte, error) {
	var list []*ohttp.KeyConfig
	for i, kem := range []uint16{hpke.KEMXWing, hpke.KEMX25519} {
		k, err := gateway.GenerateKey(id+uint8(i), kem)
		if err != nil {
			return nil, err
		}
		if err := gateway.CreateKeyFile(filepath.Join(dir, fmt.Sprintf("gateway-%d.key", id+uint8(i))), k); err != nil {
			return nil, err
		}
		list = append(list, k.Config())
	}
	return ohttp.AppendKeyConfigs(nil, list)
}
