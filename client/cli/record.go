// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/audit/record"
	"github.com/sotto-project/sotto/client"
)

// maxRecord bounds a record's file, in bytes: the token's own cap, and a line end.
const maxRecord = 4<<20 + 2

// codeContradiction is of two records that cannot both be right.
const codeContradiction = "record.contradiction"

// recordFlags are the flags of verify record.
type recordFlags struct {
	keys    []string
	against string
	json    bool
}

// verifyRecord is "verify record FILE".
func (e *env) verifyRecord() *cobra.Command {
	var f recordFlags
	cmd := &cobra.Command{
		Use:   "record FILE --key PUB",
		Short: "Check the signature of an audit record; compare it with another party's",
		Long: `Checks that FILE, written by sotto verify --audit, is signed by the key in PUB and
that no byte of it was changed, and prints what it says. With --against OTHER it
checks that record, too, and lays the two side by side: same evidence, policy and
statement, same verdicts? A difference comes with what may account for it.

A record is the word of whoever signed it. Get the public key from them, not from
where the record came from; audit-key.pem.pub is the file that they have. --key may
be given more than once, for two parties.

  sotto verify record mine.jwt --key me.pub
  sotto verify record mine.jwt --key me.pub --against yours.jwt --key you.pub

Exit codes: 0 signed, and no contradiction; 10 not signed by a key given, changed,
or the two contradict each other; 1 failed; 2 usage.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.OutOrStdout(), args[0]) },
	}
	cmd.Flags().StringArrayVar(&f.keys, "key", nil, "public key of whoever signed, PEM `PUB`; one for each party")
	cmd.Flags().StringVar(&f.against, "against", "", "compare with the record in the file `OTHER`")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON: the claims, and the differences")
	return cmd
}

func (f *recordFlags) run(w io.Writer, path string) error {
	if len(f.keys) == 0 {
		return &usageError{errors.New("a record proves nothing without its signer's key; name it with --key PUB")}
	}
	keys := map[string]ed25519.PublicKey{}
	for _, p := range f.keys {
		b, err := readCapped(p, 1<<12)
		if err != nil {
			return fmt.Errorf("key: %w", err)
		}
		key, err := record.ParsePublicKey(b)
		if err != nil {
			return fmt.Errorf("key: %s: %w", p, err)
		}
		keys[record.KeyID(key)] = key
	}
	a, err := openRecord(path, keys)
	if err != nil {
		return refused(w, f.json, err)
	}
	var b *record.Record
	if f.against != "" {
		if b, err = openRecord(f.against, keys); err != nil {
			return refused(w, f.json, err)
		}
	}
	return f.show(w, a, b)
}

// openRecord reads a record that one of the keys signed.
func openRecord(path string, keys map[string]ed25519.PublicKey) (*record.Record, error) {
	b, err := readCapped(path, maxRecord)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	id, err := record.Signer(b)
	if err != nil {
		return nil, recordRefusal(path, err)
	}
	key, ok := keys[id]
	if !ok {
		return nil, &client.Error{Code: string(record.CodeKey), Detail: fmt.Sprintf("%s says that it is signed by key %s, which is none of those given", path, id),
			Hint: "get the signer's public key from the signer, and name it with --key"}
	}
	r, err := record.Verify(b, key)
	if err != nil {
		return nil, recordRefusal(path, err)
	}
	return r, nil
}

func recordRefusal(path string, err error) error {
	var own *record.Error
	if !errors.As(err, &own) {
		return err
	}
	return &client.Error{Code: string(own.Code), Detail: path + ": " + own.Detail, Hint: "the file was changed, or is no record; ask for it again"}
}

// A difference is a [record.Difference] for programs.
type difference struct {
	Node    string `json:"node,omitempty"`
	Field   string `json:"field"`
	A       string `json:"a"`
	B       string `json:"b"`
	Because string `json:"because,omitempty"`
}

func (f *recordFlags) show(w io.Writer, a, b *record.Record) error {
	var found []record.Difference
	if b != nil {
		found = record.Compare(a, b)
	}
	err := contradiction(found)
	if f.json {
		return errors.Join(writeJSON(w, recordJSON(a, b, found)), err)
	}
	var out strings.Builder
	writeRows(&out, a)
	if b != nil {
		fmt.Fprintf(&out, "\nagainst    a record signed by key %s", b.KeyID)
		if b.Name != "" {
			fmt.Fprintf(&out, ", which calls itself %q", b.Name)
		}
		out.WriteString("\n")
		writeDifferences(&out, found)
	}
	_, werr := io.WriteString(reportText{w}, out.String())
	return errors.Join(werr, err)
}

// contradiction is the first difference that nothing accounts for. Another policy
// is a choice, and said.
func contradiction(found []record.Difference) error {
	for _, d := range found {
		if d.Because != "" || d.Field == "policy_sha256" {
			continue
		}
		return &client.Error{Code: codeContradiction, Detail: fmt.Sprintf("%s%s: one says %q, the other %q, and nothing accounts for it", nodePrefix(d), d.Field, d.A, d.B),
			Hint: "one of the two verifiers is wrong, or was shown another world: keep both records, and judge the evidence anew"}
	}
	return nil
}

func nodePrefix(d record.Difference) string {
	if d.Node == [32]byte{} {
		return ""
	}
	return fmt.Sprintf("node %x, ", d.Node[:8])
}

func writeRows(out *strings.Builder, r *record.Record) {
	section := ""
	for _, row := range r.Rows() {
		if row.Section != section {
			if section != "" {
				out.WriteString("\n")
			}
			section = row.Section
			fmt.Fprintf(out, "%s\n", section)
		}
		name := row.Name
		for _, l := range fold(row.Value, 80-15) {
			fmt.Fprintf(out, "  %-12s %s\n", name, l)
			name = ""
		}
		if row.Note != "" {
			for _, l := range fold("("+row.Note+")", 76-15) {
				fmt.Fprintf(out, "  %-12s %s\n", "", l)
			}
		}
	}
}

func writeDifferences(out *strings.Builder, found []record.Difference) {
	if len(found) == 0 {
		out.WriteString("agree      same nodes, evidence, policy, statement and verdicts\n")
		return
	}
	none := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	for _, d := range found {
		because := d.Because
		switch {
		case d.Field == "policy_sha256":
			because = "judged by different policies"
		case because == "":
			because = "NOTHING ACCOUNTS FOR THIS"
		default:
			because = "may be because of: " + because
		}
		fmt.Fprintf(out, "differ     %s%s (%s)\n             %s\n             %s\n", nodePrefix(d), d.Field, because, none(d.A), none(d.B))
	}
}

// recordJSON is what --json prints.
func recordJSON(a, b *record.Record, found []record.Difference) any {
	type side struct {
		Key    string `json:"key"`
		Name   string `json:"name,omitempty"`
		Status string `json:"status"`
		Claims any    `json:"claims"`
	}
	of := func(r *record.Record) *side {
		if r == nil {
			return nil
		}
		return &side{Key: r.KeyID, Name: r.Name, Status: r.Status(), Claims: json.RawMessage(r.Claims())}
	}
	out := struct {
		Record      *side        `json:"record"`
		Against     *side        `json:"against,omitempty"`
		Agree       *bool        `json:"agree,omitempty"`
		Differences []difference `json:"differences,omitempty"`
	}{Record: of(a), Against: of(b)}
	if b == nil {
		return out
	}
	agree := len(found) == 0
	out.Agree = &agree
	for _, d := range found {
		j := difference{Field: d.Field, A: d.A, B: d.B, Because: d.Because}
		if d.Node != [32]byte{} {
			j.Node = hex.EncodeToString(d.Node[:])
		}
		out.Differences = append(out.Differences, j)
	}
	return out
}
