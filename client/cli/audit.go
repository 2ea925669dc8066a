// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/explain"
	"github.com/sotto-project/sotto/audit/record"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/internal/durable"
)

// writeAudit writes the signed record and a page beside it.
func (e *env) writeAudit(cmd *cobra.Command, r *client.Report, f *verifyFlags) error {
	path := f.auditKey
	if path == "" {
		path = filepath.Join(filepath.Dir(e.trust), "audit-key.pem")
	}
	key, made, err := auditKey(path)
	if err != nil {
		return err
	}
	if made {
		errorf(cmd, "a key that signs records was made: %s (public half: %s.pub)", path, path)
	}
	rec, err := auditRecord(r, key.Public().(ed25519.PublicKey), f.auditName)
	if err != nil {
		return err
	}
	token, err := rec.Sign(key)
	if err != nil {
		return fmt.Errorf("audit record: %w", err)
	}
	if err := writeFile(f.audit, append(token, '\n')); err != nil {
		return err
	}
	d := document(r)
	d.Title = "Record of a verification"
	d.Head = nil
	for _, row := range rec.Rows() {
		if row.Section == "record" {
			d.Head = append(d.Head, explain.Row{Name: row.Name, Value: row.Value, Note: row.Note})
		}
	}
	return writePage(f.audit+".html", d)
}

// auditKey reads the key, or makes one where there is none.
func auditKey(path string) (key ed25519.PrivateKey, made bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createAuditKey(path)
	}
	if err != nil {
		return nil, false, fmt.Errorf("audit key: %w", err)
	}
	if key, err = record.ParseKey(b); err != nil {
		return nil, false, fmt.Errorf("audit key: %s: %w", path, err)
	}
	// A crash may have come between the two files: who has the key can have its
	// public half again.
	if _, err := os.Stat(path + ".pub"); errors.Is(err, fs.ErrNotExist) {
		return key, false, writePublic(path, key.Public().(ed25519.PublicKey))
	}
	return key, false, nil
}

func createAuditKey(path string) (ed25519.PrivateKey, bool, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, false, err
	}
	secret, err := record.MarshalKey(key)
	if err != nil {
		return nil, false, err
	}
	if err := durable.CreateFile(path, secret, 0o600); err != nil {
		return nil, false, fmt.Errorf("audit key: %w", err)
	}
	return key, true, writePublic(path, pub)
}

// writePublic writes the public half beside a key.
func writePublic(path string, pub ed25519.PublicKey) error {
	b, err := record.MarshalPublicKey(pub)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(path+".pub", b, 0o644); err != nil {
		return fmt.Errorf("audit key: %w", err)
	}
	return nil
}

func auditRecord(r *client.Report, pub ed25519.PublicKey, name string) (*record.Record, error) {
	p := record.Params{Key: pub, Name: name, Build: build(), Time: r.Time, Epoch: r.Epoch}
	for _, d := range []struct {
		dst *[32]byte
		hex string
	}{{&p.Policy, r.Policy}, {&p.Statement, r.Statement}, {&p.Checkpoint, r.Newest}} {
		if err := readDigest(d.dst, d.hex); err != nil {
			return nil, err
		}
	}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		np := record.NodeParams{Report: judged(n, r)}
		if n.Code != "" && !slices.Contains(attestation.Codes(), attestation.Code(n.Code)) {
			// A record has room for codes of attestation. What the log refused, such
			// as a record that is not the statement's, leaves a node not checked.
			c := *np.Report
			c.Verdict, c.Steps = attestation.NotChecked, nil
			np.Report = &c
		}
		if n.Fresh != "" {
			if err := readDigest(&np.Freshness, n.Fresh); err != nil {
				return nil, err
			}
		}
		p.Nodes = append(p.Nodes, np)
	}
	rec, err := record.New(p)
	if err != nil {
		return nil, fmt.Errorf("audit record: %w", err)
	}
	return rec, nil
}

func readDigest(dst *[32]byte, s string) error {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(dst) {
		return errors.New("audit record: the report has a malformed digest")
	}
	copy(dst[:], b)
	return nil
}

// build names this program in records.
func build() string {
	version := "(devel)"
	if i, ok := debug.ReadBuildInfo(); ok && i.Main.Version != "" {
		version = i.Main.Version
	}
	return fmt.Sprintf("sotto %s %s %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
