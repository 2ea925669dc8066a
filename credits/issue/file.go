// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/cloudflare/circl/oprf"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/internal/redact"
)

const (
	fileLabel  = "sotto-coin-keys-v1"
	scalarSize = 32
)

var (
	errFile = errors.New("issue: malformed key file")
	// ErrWeak: a private key that is zero, one, not reduced, or not the one that
	// the keyset has the public side of (CT-19).
	ErrWeak = errors.New("issue: a private key that is none, or not the keyset's")
)

// Text returns the keys as a file has them, one line:
//
//	sotto-coin-keys-v1:<keyset id, hex>:<keyset, base64>:<private scalars in its order, base64>
//
// The id is there for people, who see which file is which.
func (k *Keys) Text() (redact.Secret, error) {
	var scalars []byte
	for _, x := range k.set.Keys {
		b, err := k.private[x.Exponent].MarshalBinary()
		if err != nil || len(b) != scalarSize {
			return redact.Secret{}, ErrWeak
		}
		scalars = append(scalars, b...)
	}
	id := k.set.ID()
	return redact.New(fmt.Appendf(nil, "%s:%x:%s:%s\n", fileLabel, id[:],
		base64.StdEncoding.EncodeToString(k.set.Append(nil)), base64.StdEncoding.EncodeToString(scalars))), nil
}

// ParseKeys parses what [Keys.Text] prints, and nothing that it would print
// differently. It refuses keys whose public side is not in the keyset.
func ParseKeys(text []byte) (*Keys, error) {
	f := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte(":"))
	if len(f) != 4 || string(f[0]) != fileLabel {
		return nil, errFile
	}
	data, err := base64.StdEncoding.Strict().DecodeString(string(f[2]))
	if err != nil {
		return nil, errFile
	}
	set, err := credits.ParseKeyset(data)
	if err != nil {
		return nil, errFile
	}
	scalars, err := base64.StdEncoding.Strict().DecodeString(string(f[3]))
	if err != nil {
		return nil, errFile
	}
	defer clear(scalars)
	k, err := load(set, scalars)
	if err != nil {
		return nil, err
	}
	if again, err := k.Text(); err != nil || !bytes.Equal(again.Bytes(), text) {
		return nil, errFile
	}
	return k, nil
}

// load puts private keys beside the public ones that they must have.
func load(set *credits.Keyset, scalars []byte) (*Keys, error) {
	if len(scalars) != len(set.Keys)*scalarSize {
		return nil, ErrWeak
	}
	var exponents []uint8
	var private []*oprf.PrivateKey
	for i, x := range set.Keys {
		b := scalars[i*scalarSize : (i+1)*scalarSize]
		p := new(oprf.PrivateKey)
		if err := p.UnmarshalBinary(credits.Suite, b); err != nil {
			return nil, ErrWeak
		}
		if back, err := p.MarshalBinary(); err != nil || !bytes.Equal(back, b) {
			return nil, ErrWeak // a scalar that was not reduced
		}
		exponents, private = append(exponents, x.Exponent), append(private, p)
	}
	k, err := assemble(*set, exponents, private)
	if err != nil || k.set.ID() != set.ID() {
		return nil, ErrWeak
	}
	return k, nil
}

// CreateFile writes the keys of one keyset to a new file that only its owner
// can read. It refuses to overwrite: what is lost with a key is the money under it.
func CreateFile(path string, k *Keys) error {
	text, err := k.Text()
	if err != nil {
		return err
	}
	return durable.CreateFile(path, text.Bytes(), 0o600)
}

// OpenFile reads a key file, and refuses one that others than its owner may read.
func OpenFile(path string) (*Keys, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("issue: keys: %v", err)
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("issue: keys: %s is open to others than its owner (mode %04o); chmod 600", path, st.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("issue: keys: %v", err)
	}
	k, err := ParseKeys(b)
	if err != nil {
		return nil, fmt.Errorf("issue: keys: %s: %w", path, err)
	}
	return k, nil
}
