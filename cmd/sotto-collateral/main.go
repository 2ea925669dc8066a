// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Command sotto-collateral asks hardware vendors for what travels with a node's
// evidence and puts it into a directory. Operators run it beside their nodes,
// never in one: a node dials nobody.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sotto-project/sotto/attestation/fetch"
	"github.com/sotto-project/sotto/internal/daemon"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/internal/httpx"
)

const about = `Asks AMD, Intel and NVIDIA for the certificates, revocation lists and reference
values that travel with a node's evidence, and writes them as nodes read them:
each file whole, by renaming. What a vendor does not answer replaces nothing.
Run it again before the files expire; docs/platforms.md says when that is.

The vendors learn which chips are asked about, and from where. Verifiers check
all of it; this program checks that answers look like what was asked for.`

// perVendor bounds one vendor's answers, all together.
const perVendor = 2 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The vendors' web servers decide what they speak; what they send is signed.
	client := &http.Client{Transport: httpx.NewTransport(&tls.Config{MinVersion: tls.VersionTLS12}), Timeout: time.Minute}
	os.Exit(run(ctx, os.Args[1:], client, os.Stdout, os.Stderr))
}

// A list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return fmt.Sprint(*l) }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// run is main with everything it touches as arguments.
func run(ctx context.Context, args []string, client *http.Client, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("sotto-collateral", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var rims, chains list
	out := fs.String("out", "", "existing `directory` for the files")
	report := fs.String("snp-report", "", "`file` with a SEV-SNP report: VCEK and revocation list for its chip and firmware")
	fmspc := fs.String("tdx-fmspc", "", "FMSPC of a TDX platform, 12 `hex` digits: Intel's seven files")
	ca := fs.String("tdx-ca", fetch.PlatformCA, "`authority` of its PCK certificate, platform or processor")
	fs.Var(&rims, "gpu-rim", "`identifier` of a manifest of NVIDIA's; may be given several times")
	fs.Var(&chains, "gpu-chain", "PEM `file` with a device's chain, leaf first: answers about its issuers; may be given several times")
	fs.Usage = func() {
		fmt.Fprintf(stderr, "%s\n\nUsage: sotto-collateral -out DIR ...\n\n", about)
		fs.PrintDefaults()
		fmt.Fprint(stderr, "\nExit codes: 0 all written; 1 something was not; 2 usage.\n")
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return daemon.ExitOK
		}
		return daemon.ExitUsage
	}
	jobs, err := plan(*report, *fmspc, *ca, rims, chains)
	if *out == "" || fs.NArg() > 0 || err == nil && len(jobs) == 0 {
		fs.Usage()
		return daemon.ExitUsage
	}
	if err != nil {
		fmt.Fprintln(stderr, "sotto-collateral:", err)
		return daemon.ExitUsage
	}
	code, f := daemon.ExitOK, fetch.New(client)
	for _, j := range jobs { // one vendor's silence is no reason to let another's files expire
		if err := do(ctx, f, j, *out, stdout); err != nil {
			fmt.Fprintln(stderr, "sotto-collateral:", err)
			code = daemon.ExitFailed
		}
	}
	return code
}

// A job is the files of one question.
type job func(context.Context, *fetch.Fetcher) ([]fetch.File, error)

// plan reads what the questions are about.
func plan(report, fmspc, ca string, rims, chains []string) (out []job, err error) {
	if report != "" {
		b, err := os.ReadFile(report)
		if err != nil {
			return nil, err
		}
		out = append(out, func(ctx context.Context, f *fetch.Fetcher) ([]fetch.File, error) { return f.AMD(ctx, b) })
	}
	if fmspc != "" {
		b, err := hex.DecodeString(fmspc)
		if err != nil || len(b) != 6 {
			return nil, fmt.Errorf("-tdx-fmspc: %q is not 12 hex digits", fmspc)
		}
		out = append(out, func(ctx context.Context, f *fetch.Fetcher) ([]fetch.File, error) { return f.Intel(ctx, [6]byte(b), ca) })
	}
	for _, id := range rims {
		out = append(out, func(ctx context.Context, f *fetch.Fetcher) ([]fetch.File, error) { return f.Manifest(ctx, id) })
	}
	for _, path := range chains {
		chain, err := readChain(path)
		if err != nil {
			return nil, err
		}
		out = append(out, func(ctx context.Context, f *fetch.Fetcher) ([]fetch.File, error) { return f.Device(ctx, chain) })
	}
	return out, nil
}

func readChain(path string) (out []*x509.Certificate, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %v", path, err)
		}
		out = append(out, c)
	}
	return out, nil
}

// do asks one question and, if all of it was answered, writes the files.
func do(ctx context.Context, f *fetch.Fetcher, j job, dir string, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, perVendor)
	defer cancel()
	files, err := j(ctx, f)
	if err != nil {
		return err
	}
	for _, file := range files {
		path := filepath.Join(dir, filepath.FromSlash(file.Name))
		if sub := filepath.Dir(path); sub != filepath.Clean(dir) {
			if err := os.Mkdir(sub, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
		}
		if err := durable.WriteFile(path, file.Data, 0o644); err != nil {
			return err
		}
		fmt.Fprintln(stdout, path)
	}
	return nil
}
