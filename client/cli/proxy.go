// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/client/proxy"
	"github.com/sotto-project/sotto/internal/httpx"
)

func (e *env) proxy() *cobra.Command {
	var listen, control, tokenFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Serve an OpenAI-compatible endpoint on this machine",
		Long: `Serves /v1/chat/completions, /v1/completions, /v1/embeddings and /v1/models on
this machine, and seals every request to verified nodes. Point an OpenAI client
at the address printed; any API key will do unless --token-file is given.

The control port serves /health, /report, POST /verify, and /wallet where the trust
file names a wallet: what is in it, and whether anybody dealt falsely with it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.payer("sotto proxy")
			if err != nil {
				return err
			}
			defer c.Close()
			token, err := readToken(tokenFile)
			if err != nil {
				return &usageError{err}
			}
			wide, err := proxy.CheckListen(listen, token)
			if err != nil {
				return &usageError{err}
			}
			// The control port answers for what was verified, and makes work.
			wideControl, err := proxy.CheckListen(control, token)
			if err != nil {
				return &usageError{err}
			}
			p, err := proxy.New(proxy.Config{Client: c, Token: token, Wide: wide || wideControl})
			if err != nil {
				return &usageError{err}
			}
			apis, err := Listen(listen)
			if err != nil {
				return err
			}
			defer apis.Close()
			ctls, err := Listen(control)
			if err != nil {
				return err
			}
			defer ctls.Close()
			ready(cmd, asJSON, apis.Addr().String(), ctls.Addr().String())
			err = ServeProxy(cmd.Context(), p, apis, ctls)
			return errors.Join(err, settle(cmd, c))
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8484", "address of the OpenAI-compatible endpoint")
	cmd.Flags().StringVar(&control, "control", "127.0.0.1:0", "address of the control port")
	cmd.Flags().StringVar(&e.receipts, "receipts", "", receiptsFlag)
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "file with a token that every request must carry as its API key")
	cmd.Flags().BoolVar(&asJSON, "json", false, `print one line {"event":"ready",...} on stdout`)
	return cmd
}

// ServeProxy serves both faces of p until ctx ends.
func ServeProxy(ctx context.Context, p *proxy.Proxy, api, control net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, 2)
	go func() { errs <- httpx.Serve(ctx, control, httpx.NewServer(p.Control())) }()
	go func() { errs <- httpx.Serve(ctx, api, httpx.NewServer(p.Handler())) }()
	err := <-errs
	cancel()
	return errors.Join(err, <-errs)
}

// Listen listens on addr, or says in one line that the port is taken.
func Listen(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is taken by another program; name a free address, or port 0 for any", addr)
	}
	return ln, err
}

func ready(cmd *cobra.Command, asJSON bool, api, control string) {
	if asJSON {
		json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{
			"event": "ready", "openai": "http://" + api + "/v1", "control": "http://" + control,
		})
		return
	}
	errorf(cmd, "OpenAI-compatible endpoint: http://%s/v1", api)
	errorf(cmd, "report and health:          http://%s/report", control)
}

func readToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(b))
	if len(token) < 16 {
		return "", fmt.Errorf("%s: a token of at least 16 characters is needed", path)
	}
	return token, nil
}
