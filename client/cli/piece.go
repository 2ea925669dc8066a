// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/piece"
	"github.com/sotto-project/sotto/transparency/bundle"
)

// kindBundle is the one kind of piece that no hardware vendor signs.
const kindBundle = "sigstore-bundle"

// A pieceError says that a piece was not accepted. The response has been
// written; it carries the exit code.
type pieceError struct {
	verdict piece.Verdict
	code    string
}

func (e *pieceError) Error() string { return fmt.Sprintf("piece: %s: %s", e.verdict, e.code) }

// ExitCode is the verdict's, as docs/spec/piece.md has it.
func (e *pieceError) ExitCode() int { return e.verdict.Exit() }

// pieceKinds lists the kinds, sorted.
func pieceKinds() []string {
	kinds := append(piece.Kinds(), kindBundle)
	slices.Sort(kinds)
	return kinds
}

func (e *env) piece() *cobra.Command {
	return &cobra.Command{
		Use:   "piece KIND",
		Short: "Judge one piece of evidence: JSON in, JSON out",
		Long: `Reads one JSON document on standard input (a report, a quote, a log or a document,
its collateral, the time to judge at, and what you expect of it) and writes one
on standard output: what the evidence says, or why it was refused. It asks
nobody, reads no clock and no trust file: the same document gives the same answer
everywhere. docs/spec/piece.md is the contract, docs/spec/verify has the schemas.

KIND is one of ` + strings.Join(pieceKinds(), ", ") + `.

Exit codes: 0 accepted, 10 refused, 20 unsupported, 30 malformed, 1 internal error.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), piece.MaxRequest+1))
			if err != nil {
				return fmt.Errorf("piece: %w", err)
			}
			out := judgePiece(args[0], request)
			if _, err := cmd.OutOrStdout().Write(out); err != nil {
				return fmt.Errorf("piece: %w", err)
			}
			var r struct {
				Verdict piece.Verdict
				Code    string
			}
			if err := json.Unmarshal(out, &r); err != nil {
				return fmt.Errorf("piece: %w", err)
			}
			if r.Verdict != piece.Accepted {
				return &pieceError{r.Verdict, r.Code}
			}
			return nil
		},
	}
}

// judgePiece returns the response to a request of any kind.
func judgePiece(kind string, request []byte) []byte {
	if kind == kindBundle {
		return judgeBundle(request)
	}
	out, _ := piece.Run(kind, request, attestation.VendorRoots())
	return out
}

// judgeBundle has the verdict of package bundle printed in the shape that all
// kinds share.
func judgeBundle(request []byte) []byte {
	out, _ := bundle.Piece(request)
	var r piece.Response
	r.Claims = new(json.RawMessage)
	if err := json.Unmarshal(out, &r); err != nil {
		return (&piece.Response{Kind: kindBundle, Verdict: piece.Internal, Code: piece.CodeInternal, Detail: err.Error(), Roots: piece.RootsNone}).Print()
	}
	if raw, ok := r.Claims.(*json.RawMessage); ok && len(*raw) == 0 {
		r.Claims = nil
	}
	r.Kind, r.Roots = kindBundle, piece.RootsGiven
	if r.Verdict == piece.Internal && r.Code == "" {
		r.Code = piece.CodeInternal
	}
	var asked struct {
		Time time.Time `json:"time"`
	}
	if r.Code != piece.CodeRequest && json.Unmarshal(request, &asked) == nil {
		r.Time = asked.Time.UTC().Format(time.RFC3339Nano)
	}
	if r.Code == piece.CodeRequest || r.Verdict == piece.Unsupported || r.Verdict == piece.Internal { // nothing was judged
		r.Roots = piece.RootsNone
	}
	return r.Print()
}
