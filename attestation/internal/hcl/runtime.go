// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package hcl

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"unicode/utf8"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Names of the vTPM's keys in the runtime data.
const (
	akName = "HCLAkPub"
	ekName = "HCLEkPub"
)

// Caps on the runtime data, far above what is written.
const (
	maxDepth  = 6
	maxValues = 256
)

// A Runtime is what the runtime data say.
type Runtime struct {
	AK       *rsa.PublicKey
	EK       *rsa.PublicKey // nil where it is left out
	UserData [64]byte       // of whoever asked for the report; zeros at boot

	SecureBoot, TPM, Console bool
	VMID                     string // unique to the machine; empty where it is left out

	// Configuration holds every member of vm-configuration, as text.
	Configuration map[string]string
}

// parseRuntime reads the runtime data:
//
//	{"keys": [{"kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": ...}, ...],
//	 "vm-configuration": {"secure-boot": bool, "tpm-enabled": bool, "console-enabled": bool, "vmUniqueId": ..., ...},
//	 "user-data": 128 hex digits}
//
// Members that are not listed are bounded and left alone: whatever they say, they
// do not touch what is. A member that stands twice is refused wherever it stands,
// since another reader might take the other one.
func parseRuntime(b []byte) (*Runtime, error) {
	if !utf8.Valid(b) {
		return nil, refuse.As(refuse.Format, "runtime data are not UTF-8")
	}
	d := &decoder{Decoder: json.NewDecoder(bytes.NewReader(b))}
	d.UseNumber()
	v, err := d.value(0)
	if err != nil {
		return nil, refuse.As(refuse.Format, "runtime data: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, refuse.As(refuse.Format, "runtime data have bytes after them")
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, refuse.As(refuse.Format, "runtime data are no object")
	}
	r := new(Runtime)
	for _, read := range []func(map[string]any) error{r.readKeys, r.readConfiguration, r.readUserData} {
		if err := read(object); err != nil {
			return nil, refuse.As(refuse.Format, "runtime data: %v", err)
		}
	}
	return r, nil
}

// readKeys looks the two keys up, each of which may stand once.
func (r *Runtime) readKeys(object map[string]any) error {
	keys, ok := object["keys"].([]any)
	if !ok {
		return fmt.Errorf("no keys")
	}
	for _, k := range keys {
		key, ok := k.(map[string]any)
		if !ok {
			return fmt.Errorf("a key is no object")
		}
		var err error
		switch kid, _ := key["kid"].(string); {
		case kid == akName && r.AK == nil:
			r.AK, err = parseKey(key, "sign")
		case kid == ekName && r.EK == nil:
			r.EK, err = parseKey(key, "encrypt")
		case kid == akName, kid == ekName:
			err = fmt.Errorf("%s stands twice", kid)
		}
		if err != nil {
			return err
		}
	}
	if r.AK == nil {
		return fmt.Errorf("no %s", akName)
	}
	return nil
}

// parseKey reads a JWK (RFC 7517, RFC 7518 Section 6.3) of an RSA key for one
// operation.
func parseKey(key map[string]any, operation string) (*rsa.PublicKey, error) {
	ops, _ := key["key_ops"].([]any)
	if key["kty"] != "RSA" || key["e"] != "AQAB" || len(ops) != 1 || ops[0] != operation {
		return nil, fmt.Errorf("key %v is no RSA key to %s with", key["kid"], operation)
	}
	text, _ := key["n"].(string)
	n, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(n) < 256 || len(n) > 512 || len(n)%64 != 0 || n[0]&0x80 == 0 || n[len(n)-1]&1 == 0 {
		return nil, fmt.Errorf("modulus of key %v", key["kid"])
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}, nil
}

// readConfiguration reads the claims about the machine. Secure Boot and the TPM
// must be told; a console that is not mentioned counts as enabled.
func (r *Runtime) readConfiguration(object map[string]any) error {
	configuration, ok := object["vm-configuration"].(map[string]any)
	if !ok {
		return fmt.Errorf("no vm-configuration")
	}
	r.Configuration = map[string]string{}
	for name, v := range configuration {
		r.Configuration[name] = fmt.Sprint(v)
	}
	flag := func(name string, to *bool) error {
		v, ok := configuration[name]
		if !ok {
			return nil
		}
		if *to, ok = v.(bool); !ok {
			return fmt.Errorf("%s is neither true nor false", name)
		}
		return nil
	}
	for _, name := range []string{"secure-boot", "tpm-enabled"} {
		if _, ok := configuration[name]; !ok {
			return fmt.Errorf("no %s", name)
		}
	}
	r.Console = true
	for name, to := range map[string]*bool{"secure-boot": &r.SecureBoot, "tpm-enabled": &r.TPM, "console-enabled": &r.Console} {
		if err := flag(name, to); err != nil {
			return err
		}
	}
	if id, ok := configuration["vmUniqueId"]; ok {
		if r.VMID, ok = id.(string); !ok {
			return fmt.Errorf("vmUniqueId is no text")
		}
	}
	return nil
}

func (r *Runtime) readUserData(object map[string]any) error {
	v, ok := object["user-data"]
	if !ok {
		return nil
	}
	text, _ := v.(string)
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(r.UserData) {
		return fmt.Errorf("user-data are not 64 bytes in hex")
	}
	copy(r.UserData[:], b)
	return nil
}

// A decoder reads JSON of any shape, within caps and without repeated members.
// The standard library's maps keep the last of two members.
type decoder struct {
	*json.Decoder
	values int
}

func (d *decoder) value(depth int) (any, error) {
	if d.values++; depth > maxDepth || d.values > maxValues {
		return nil, fmt.Errorf("deeper than %d or more than %d values", maxDepth, maxValues)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		return d.object(depth)
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := d.value(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	return t, nil
}

func (d *decoder) object(depth int) (any, error) {
	object := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		if _, ok := object[name]; ok {
			return nil, fmt.Errorf("member %q stands twice", name)
		}
		if object[name], err = d.value(depth + 1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return object, err
}
