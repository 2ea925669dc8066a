// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/ohttp"
)

// A Key is one private key of the gateway with its id. It prints as
// [redacted].
type Key struct {
	id   uint8
	priv *recipient.PrivateKey
}

// GenerateKey makes a new key: kem is hpke.KEMXWing, or hpke.KEMX25519 for
// third parties without post-quantum keys.
func GenerateKey(id uint8, kem uint16) (*Key, error) {
	if kem != hpke.KEMXWing && kem != hpke.KEMX25519 {
		return nil, ohttp.ErrSuite
	}
	priv, err := recipient.GenerateKey(kem)
	if err != nil {
		return nil, err
	}
	return &Key{id, priv}, nil
}

// Config returns the public configuration: what a statement lists and what
// RFC 9540's location serves.
func (k *Key) Config() *ohttp.KeyConfig {
	return &ohttp.KeyConfig{ID: k.id, Key: k.priv.PublicKey(), Algorithms: ohttp.OfferedAlgorithms()}
}

// Format prints [redacted] under every verb.
func (Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[redacted]") }

const keyLabel = "sotto-gateway-key-v1"

var errKeyFile = errors.New("gateway: not a key file")

// Text returns the key as its file holds it, one line:
//
//	sotto-gateway-key-v1+<id in decimal>+<KEM in four hex digits>+<base64 of the private key>\n
func (k *Key) Text() (redact.Secret, error) {
	b, err := k.priv.Bytes()
	if err != nil {
		return redact.Secret{}, err
	}
	return redact.New(fmt.Appendf(nil, "%s+%d+%04x+%s\n", keyLabel, k.id, k.priv.KEM(), base64.StdEncoding.EncodeToString(b))), nil
}

// ParseKey parses what [Key.Text] prints, and nothing that Text would print
// differently.
func ParseKey(text []byte) (*Key, error) {
	f := bytes.SplitN(text, []byte("+"), 4)
	if len(f) != 4 || string(f[0]) != keyLabel {
		return nil, errKeyFile
	}
	id, err := strconv.ParseUint(string(f[1]), 10, 8)
	if err != nil {
		return nil, errKeyFile
	}
	kem, err := strconv.ParseUint(string(f[2]), 16, 16)
	if err != nil || uint16(kem) != hpke.KEMXWing && uint16(kem) != hpke.KEMX25519 {
		return nil, errKeyFile
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(string(f[3]))
	if err != nil {
		return nil, errKeyFile
	}
	priv, err := recipient.ParsePrivateKey(uint16(kem), raw)
	if err != nil {
		return nil, errKeyFile
	}
	k := &Key{uint8(id), priv}
	if again, err := k.Text(); err != nil || !bytes.Equal(again.Bytes(), text) {
		return nil, errKeyFile
	}
	return k, nil
}

// CreateKeyFile writes the key to a new file that only its owner can read. It
// refuses to overwrite.
func CreateKeyFile(path string, k *Key) error {
	text, err := k.Text()
	if err != nil {
		return err
	}
	return durable.CreateFile(path, text.Bytes(), 0o600)
}

// OpenKeyFile reads a key file, and refuses one that everybody may read.
func OpenKeyFile(path string) (*Key, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("gateway: key: %v", err)
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("gateway: key: %s is open to everybody (mode %04o); chmod 600", path, st.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("gateway: key: %v", err)
	}
	k, err := ParseKey(b)
	if err != nil {
		return nil, fmt.Errorf("gateway: key: %s is not a key file", path)
	}
	return k, nil
}

// A keySet is the keys in force at one time. It is never written after it was
// made; rotation makes another.
type keySet struct {
	byID   [256]*liveKey
	public []byte // application/ohttp-keys
	n      int
}

type liveKey struct {
	*Key
	config *ohttp.KeyConfig
	seen   *replayCache
}

// newKeySet takes over the replay caches of the keys that stay in force. A
// cache goes by the key itself: a new key under an old id starts afresh.
func newKeySet(keys []*Key, old *keySet, window int) (*keySet, error) {
	s := &keySet{n: len(keys)}
	var configs []*ohttp.KeyConfig
	for _, k := range keys {
		if s.byID[k.id] != nil {
			return nil, fmt.Errorf("gateway: keys: id %d is used twice", k.id)
		}
		l := &liveKey{Key: k, config: k.Config()}
		s.byID[k.id] = l
		configs = append(configs, l.config)
		if old != nil {
			if o := old.byID[k.id]; o != nil && bytes.Equal(o.config.Key.Bytes(), l.config.Key.Bytes()) {
				l.seen = o.seen
			}
		}
		if l.seen == nil {
			l.seen = newReplayCache(window)
		}
	}
	var err error
	s.public, err = ohttp.AppendKeyConfigs(nil, configs)
	return s, err
}

// find implements decap.Finder. A suite that Sotto does not offer is refused
// even if the sender could use it: there is no weaker one to fall back to.
func (s *keySet) find(h ohttp.Header) (*recipient.PrivateKey, error) {
	k := s.byID[h.KeyID]
	if k == nil {
		return nil, ohttp.ErrKey
	}
	if !ohttp.Offered(h.Suite) || !k.config.Permits(h.Suite) {
		return nil, ohttp.ErrSuite
	}
	return k.priv, nil
}

func (s *keySet) remembered() int {
	n := 0
	for _, k := range s.byID {
		if k != nil {
			n += k.seen.len()
		}
	}
	return n
}
