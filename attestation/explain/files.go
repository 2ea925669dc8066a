// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"strings"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// A File is a piece of evidence under the name that the commands of this package
// use for it.
type File struct {
	Name string
	Data []byte
}

// Files cuts evidence into files: 00-epoch-evidence.bin and, if there is any,
// 31-freshness-evidence.bin are the bundles as they travel, the others
// NN-name.bin are their pieces by kind. Pieces that are lists are followed by
// their items, as NN-name-I.bin counted from 0. The data alias the evidence.
func Files(ev attestation.Evidence) ([]File, error) {
	var out []File
	for _, b := range []struct {
		name   string
		bundle *evidence.Bundle
	}{{"00-epoch-evidence.bin", ev.Epoch}, {"31-freshness-evidence.bin", ev.Freshness}} {
		if b.bundle == nil {
			continue
		}
		whole, err := b.bundle.Append(nil)
		if err != nil {
			return nil, err
		}
		out = append(out, File{b.name, whole})
		for _, p := range b.bundle.Pieces {
			out = append(out, pieceFiles(p)...)
		}
	}
	return out, nil
}

// FileName is the name of the file of one kind of piece.
func FileName(k evidence.Kind) string { return stem(k) + ".bin" }

func stem(k evidence.Kind) string {
	return fmt.Sprintf("%02d-%s", uint16(k), strings.ReplaceAll(strings.ToLower(k.String()), " ", "-"))
}

func pieceFiles(p evidence.Piece) []File {
	out := []File{{FileName(p.Kind), p.Data}}
	switch p.Kind {
	case evidence.KindTDXCollateral, evidence.KindAKCerts, evidence.KindEKCerts:
		items, err := evidence.ParseList(p.Data)
		if err != nil {
			break // the piece as it is shows what is wrong with it
		}
		for i, item := range items {
			out = append(out, File{fmt.Sprintf("%s-%d.bin", stem(p.Kind), i), item})
		}
	}
	return out
}
