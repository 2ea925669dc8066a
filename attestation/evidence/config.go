// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// PaymentNone and PaymentCoins are the payment modes, as numbered in statements
// and routing blocks.
const (
	PaymentNone  uint8 = 0
	PaymentCoins uint8 = 1
)

// A Config is what a node is told to do, as far as it is anyone else's business.
// Its bytes are extended into PCR 13 before the node does anything with it, and
// travel in the evidence. It is public: nothing secret belongs in it.
//
// The text is the JSON that [Config.Append] prints, byte for byte; another
// spelling of the same values is refused, so that a digest has one reading.
type Config struct {
	Version int    `json:"version"` // 1
	Payment string `json:"payment"` // "none" or "coins"
	Model   string `json:"model"`   // name in the statement's vocabulary
	Weights string `json:"weights"` // SHA-256 of the weights, lower-case hex
	// Simulated says that no hardware stands behind this node. Verifiers refuse
	// such evidence unless they were given simulated roots, and the reverse.
	Simulated bool `json:"simulated"`
	// Settings are the remaining measured settings of the node, name to value.
	// They are shown in reports; [SettingTicketKeys] is judged.
	Settings map[string]string `json:"settings,omitempty"`
}

var errConfig = errors.New("evidence: malformed configuration")

// Append prints the configuration after dst. It fails on values that
// [ParseConfig] would refuse.
func (c *Config) Append(dst []byte) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	b, err := json.Marshal(c)
	if err != nil {
		return nil, errConfig
	}
	return append(dst, b...), nil
}

// ParseConfig reads a configuration in its one spelling.
func ParseConfig(b []byte) (*Config, error) {
	if len(b) > limits[KindConfig] {
		return nil, ErrSize
	}
	c, d := new(Config), json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return nil, errConfig
	}
	again, err := c.Append(nil)
	if err != nil || !bytes.Equal(again, b) {
		return nil, errConfig
	}
	return c, nil
}

func (c *Config) check() error {
	_, knownMode := c.PaymentMode()
	if c.Version != 1 || !knownMode || c.Model == "" || c.WeightsDigest() == [32]byte{} {
		return errConfig
	}
	return nil
}

// PaymentMode returns the number of the payment mode, false if it is unknown.
func (c *Config) PaymentMode() (uint8, bool) {
	switch c.Payment {
	case "none":
		return PaymentNone, true
	case "coins":
		return PaymentCoins, true
	}
	return 0, false
}

// SettingTicketKeys names the setting that lists, in mode coins, the Ed25519 keys
// whose tickets the node takes: lower-case hex, separated by single spaces.
const SettingTicketKeys = "ticket_keys"

// TakesTickets reports whether the node takes tickets signed with key, and has
// no more keys than a change of keys needs: two.
func (c *Config) TakesTickets(key []byte) bool {
	list := strings.Split(c.Settings[SettingTicketKeys], " ")
	return len(key) == 32 && len(list) <= 2 && slices.Contains(list, hex.EncodeToString(key))
}

// WeightsDigest returns the digest of the weights, zero if it is malformed.
func (c *Config) WeightsDigest() [32]byte {
	b, err := hex.DecodeString(c.Weights)
	if err != nil || len(b) != 32 || hex.EncodeToString(b) != c.Weights {
		return [32]byte{}
	}
	return [32]byte(b)
}
