// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/sigcache"
)

// claimSet is a JSON object, values unread. A name stands in it once.
type claimSet map[string]json.RawMessage

func errToken(format string, args ...any) error {
	return refuse.As(refuse.GPUToken, format, args...)
}

// parseClaims reads one JSON object and nothing after it, no name twice.
func parseClaims(b []byte) (claimSet, bool) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	out := claimSet{}
	for d.More() {
		name, err := d.Token()
		key, ok := name.(string)
		var value json.RawMessage
		if err != nil || !ok || out[key] != nil || d.Decode(&value) != nil {
			return nil, false
		}
		out[key] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, false
	}
	_, err := d.Token()
	return out, err == io.EOF
}

// text returns a claim that is a string; empty if it is anything else.
func (c claimSet) text(name string) string {
	var s string
	if json.Unmarshal(c[name], &s) != nil {
		return ""
	}
	return s
}

// number returns a claim that is a whole number.
func (c claimSet) number(name string) (int64, bool) {
	n, err := strconv.ParseInt(string(c[name]), 10, 64)
	return n, err == nil
}

// isTrue reports whether a claim is true: not "true", not 1.
func (c claimSet) isTrue(name string) bool { return string(c[name]) == "true" }

// without reports whether a claim is missing, null or an empty list.
func (c claimSet) without(name string) bool {
	v := string(c[name])
	return v == "" || v == "null" || v == "[]"
}

// openJWS reads a compact JWS (RFC 7515), notes its signature and returns its
// payload. There is one algorithm, ES384, and the header says so or is refused: it
// chooses nothing.
// The key is the caller's own of that kid; a header that brings a key, a URL or
// anything else but alg, kid and typ is refused.
func (s *session) openJWS(token []byte) (claimSet, error) {
	head, rest, _ := bytes.Cut(token, []byte("."))
	body, sig, ok := bytes.Cut(rest, []byte("."))
	if !ok || bytes.ContainsAny(token, "\r\n") {
		return nil, errToken("no compact JWS")
	}
	decode := func(b []byte) []byte {
		out, err := base64.RawURLEncoding.Strict().DecodeString(string(b))
		if err != nil {
			return nil
		}
		return out
	}
	header, ok := parseClaims(decode(head))
	if !ok || len(head) > 1<<10 {
		return nil, errToken("header malformed")
	}
	for name := range header {
		if name != "alg" && name != "kid" && name != "typ" {
			return nil, errToken("header says %q", name)
		}
	}
	if alg := header.text("alg"); alg != "ES384" {
		return nil, errToken("algorithm %q, want ES384", alg)
	}
	if header["typ"] != nil && header.text("typ") != "JWT" {
		return nil, errToken("type %s", header["typ"])
	}
	key := s.opts.Keys[header.text("kid")]
	if key == nil || key.Curve != elliptic.P384() {
		return nil, errToken("no key %q is known", header.text("kid"))
	}
	claims, ok := parseClaims(decode(body))
	if !ok {
		return nil, errToken("claims malformed")
	}
	s.later(key, sigcache.Raw, token[:len(head)+1+len(body)], decode(sig), func() error {
		return errToken("not signed by key %q", header.text("kid"))
	})
	return claims, nil
}

// checkToken looks at what NVIDIA's service said about the devices of a kind:
// every token signed by a pinned key, by the expected issuer, now, over this
// nonce; the device tokens those that the overall token lists by digest, and
// about these devices. What they claim is left to [Genuine.Check].
func (s *session) checkToken(t Token, g *Genuine, nonce [nonceSize]byte) error {
	overall, err := s.openJWS(t.Overall)
	if err != nil {
		return err
	}
	if err := s.checkEnvelope(overall, nonce); err != nil {
		return err
	}
	submods, ok := parseClaims(overall["submods"])
	if !ok || len(submods) != len(t.Devices) {
		return errToken("submods do not list the %d devices", len(t.Devices))
	}
	prefix := map[Kind]string{GPU: "GPU-", Switch: "SWITCH-"}[t.Kind]
	devices := g.devices(t.Kind)
	for i, token := range t.Devices {
		name := prefix + strconv.Itoa(i)
		sum := sha256.Sum256(token)
		if digest, ok := submodDigest(submods[name]); !ok || digest != hex.EncodeToString(sum[:]) {
			return errToken("token of %s is not the one listed", name)
		}
		claims, err := s.openJWS(token)
		if err != nil {
			return err
		}
		if err := s.checkEnvelope(claims, nonce); err != nil {
			return err
		}
		if ueid := claims.text("ueid"); ueid != devices[i].UEID {
			return errToken("token of %s is about device %.60q, want %s", name, ueid, devices[i].UEID)
		}
		devices[i].claims = claims
	}
	g.overall[t.Kind] = overall
	return nil
}

// submodDigest reads ["DIGEST", ["SHA-256", hex]] (RFC 9711, Section 4.2.18.2).
func submodDigest(raw json.RawMessage) (string, bool) {
	var entry []json.RawMessage
	var kind string
	var digest []string
	ok := json.Unmarshal(raw, &entry) == nil && len(entry) == 2 && json.Unmarshal(entry[0], &kind) == nil && kind == "DIGEST" &&
		json.Unmarshal(entry[1], &digest) == nil && len(digest) == 2 && digest[0] == "SHA-256"
	if !ok {
		return "", false
	}
	return strings.ToLower(digest[1]), true
}

// checkEnvelope looks at issuer, times and nonce.
func (s *session) checkEnvelope(c claimSet, nonce [nonceSize]byte) error {
	iss := c.text("iss")
	switch {
	case s.opts.Issuer == "" || iss != s.opts.Issuer:
		return errToken("issuer %.80q, want %q", iss, s.opts.Issuer)
	case strings.Contains(iss, Simulated) != s.trusted.Simulated():
		return refuse.As(refuse.Simulated, "token by %q, simulated roots: %t", iss, s.trusted.Simulated())
	case !strings.EqualFold(c.text("eat_nonce"), hex.EncodeToString(nonce[:])):
		return errToken("token over another nonce")
	}
	exp, okExp := c.number("exp")
	iat, okIat := c.number("iat")
	if !okExp || !okIat {
		return errToken("token without exp or iat")
	}
	if nbf, ok := c.number("nbf"); c["nbf"] != nil && (!ok || s.now.Before(time.Unix(nbf, 0))) {
		return errToken("token is not valid yet")
	}
	at := time.Unix(iat, 0)
	switch {
	case s.now.Before(at):
		return errToken("token from the future: %v", at.UTC())
	case !s.now.Before(time.Unix(exp, 0)):
		return errToken("token expired %v", time.Unix(exp, 0).UTC())
	case s.now.Sub(at) > s.opts.MaxAge:
		return errToken("token of %v is older than %v", at.UTC(), s.opts.MaxAge)
	}
	return nil
}

// ParseKeys reads the ES384 keys of a JWKS (RFC 7517) for [Options.Keys]: what a
// caller pins in its policy, never what came with evidence. Keys of another kind
// are refused rather than left out.
func ParseKeys(jwks []byte) (map[string]*ecdsa.PublicKey, error) {
	var set struct {
		Keys []struct{ Kty, Crv, Alg, Kid, X, Y string }
	}
	if err := json.Unmarshal(jwks, &set); err != nil || len(set.Keys) == 0 {
		return nil, refuse.As(refuse.Policy, "no JWKS")
	}
	out := map[string]*ecdsa.PublicKey{}
	for _, k := range set.Keys {
		x, errX := base64.RawURLEncoding.DecodeString(k.X)
		y, errY := base64.RawURLEncoding.DecodeString(k.Y)
		if k.Kty != "EC" || k.Crv != "P-384" || k.Alg != "" && k.Alg != "ES384" || k.Kid == "" || out[k.Kid] != nil ||
			errX != nil || errY != nil || len(x) != 48 || len(y) != 48 {
			return nil, refuse.As(refuse.Policy, "key %q is not for ES384", k.Kid)
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P384(), append(append([]byte{4}, x...), y...))
		if err != nil {
			return nil, refuse.As(refuse.Policy, "key %q: %v", k.Kid, err)
		}
		out[k.Kid] = key
	}
	return out, nil
}
