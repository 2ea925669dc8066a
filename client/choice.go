// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"github.com/sotto-project/sotto/audit/steer"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/statement"
)

// Choices returns what receipts of the saved epoch are judged by: its beacon,
// and the nodes' keys from the records that the statement names. The statement
// is verified under t; the machines are not, because old evidence is too old
// and a receipt needs no more than the key that everybody was shown.
func Choices(s *Saved, t transparency.Trust) (epoch uint64, e *steer.Epoch, err error) {
	signed, err := statement.ParseSigned(s.Statement)
	if err != nil {
		return 0, nil, worldError(err)
	}
	st, _, err := signed.Verify(&t)
	if err != nil {
		return 0, nil, worldError(err)
	}
	pack, _, err := roster.OpenPack(&t, st, s.Pack)
	if err != nil {
		return 0, nil, worldError(err)
	}
	e = &steer.Epoch{Beacon: st.Beacon}
	for _, n := range st.Nodes {
		r, _, err := pack.Node(n)
		if err != nil {
			return 0, nil, worldError(err)
		}
		e.Nodes = append(e.Nodes, steer.Node{ID: n.ID, Key: r.NodeKey, Model: int(n.Model)})
	}
	return st.Epoch, e, nil
}
