// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/tpm"
)

const (
	quotePCRs = 24
	maxNonce  = 64 // TPM2B_DATA: as long as the longest hash
)

type quoteRequest struct {
	attest, signature []byte
	raw               bool             // the signature is bare
	public            []byte           // TPMT_PUBLIC; nil if key is given instead
	key               crypto.PublicKey // of public_key
	nonce             []byte
	hasNonce          bool
	pcrs, expected    map[int][]byte // nil: not given
	digest            []byte         // expected digest of the values
	reset, restart    *uint64
}

func judgeQuote(j *judgement) error {
	q, err := readQuoteRequest(j)
	if err != nil {
		return err
	}
	a, err := tpm.ParseQuote(q.attest)
	if err != nil {
		return unread(err)
	}
	claims := quoteClaimsOf(a)
	j.out.Claims = claims
	key := q.key
	if q.public != nil {
		ak, err := tpm.CheckAK(q.public)
		if err != nil {
			if _, broken := tpm.ParsePublic(q.public); broken != nil {
				return unread(err)
			}
			return err
		}
		key = ak.Key()
		primary := ak.SignedAsPrimary(a)
		claims.Kind, claims.Primary, claims.Name = string(ak.Kind()), &primary, ak.Public.Name()
	} else {
		claims.Kind = "given by the caller"
		j.gap("attributes", "the key is given without its public area: whether it is restricted to what the TPM itself made is not known")
	}
	if q.raw {
		if q.signature, err = wrapped(q.signature, key); err != nil {
			return err
		}
	}
	if _, err := tpm.VerifyQuote(key, q.attest, q.signature); err != nil {
		return err
	}
	j.gap("key", "that a TPM holds the key is for its certificate, or a report over it, to say")
	return j.acceptQuote(a, claims, q)
}

func readQuoteRequest(j *judgement) (*quoteRequest, error) {
	o := j.request
	q := &quoteRequest{attest: o.needBlob("attest"), signature: o.needBlob("signature")}
	if bank := o.text("bank"); bank != "" && bank != "sha256" {
		return nil, unsupported("no bank %.20q; there is sha256", bank)
	}
	format := o.text("signature_format")
	if format != "" && format != "tpmt" && format != "raw" {
		return nil, unsupported("no signature_format %.20q; there are tpmt and raw", format)
	}
	switch hasPublic, hasKey := o.has("public"), o.has("public_key"); {
	case hasPublic == hasKey:
		o.failf("one of public and public_key has to be there")
	case hasPublic:
		q.public = bare(o.needBlob("public"))
	default:
		var err error
		if q.key, err = j.publicKey("public_key"); err != nil {
			return nil, err
		}
	}
	q.nonce, q.hasNonce = o.anyHex("nonce", maxNonce)
	q.pcrs = o.registers("pcrs", quotePCRs, 32)
	expect := o.object("expect")
	q.expected = expect.registers("pcrs", quotePCRs, 32)
	if b := make([]byte, 32); expect.hex("pcr_digest", b) {
		q.digest = b
	}
	if n, ok := expect.number("reset_count", math.MaxUint32); ok {
		q.reset = &n
	}
	if n, ok := expect.number("restart_count", math.MaxUint32); ok {
		q.restart = &n
	}
	if err := j.waivers(); err != nil {
		return nil, err
	}
	if err := o.finish(); err != nil {
		return nil, err
	}
	q.raw = format == "raw"
	return q, nil
}

// bare returns the TPMT_PUBLIC in a TPM2B_PUBLIC, which tools write: the same
// after its length. No TPMT_PUBLIC begins with its own length.
func bare(b []byte) []byte {
	if len(b) > 2 && int(binary.BigEndian.Uint16(b)) == len(b)-2 {
		return b[2:]
	}
	return b
}

// wrapped puts a bare signature into a TPMT_SIGNATURE with SHA-256: of RSA as it
// is, of ECDSA r and s side by side. Azure's tools and others hand these out.
func wrapped(sig []byte, key crypto.PublicKey) ([]byte, error) {
	sized := func(out, b []byte) []byte { return append(binary.BigEndian.AppendUint16(out, uint16(len(b))), b...) }
	if _, isRSA := key.(*rsa.PublicKey); isRSA && len(sig) <= 512 {
		return sized([]byte{0x00, 0x14, 0x00, 0x0b}, sig), nil
	}
	if len(sig) != 64 {
		return nil, &malformedError{refuse.Quote, "raw signature of P-256 is not 64 bytes"}
	}
	return sized(sized([]byte{0x00, 0x18, 0x00, 0x0b}, sig[:32]), sig[32:]), nil
}

// publicKey reads a key: SubjectPublicKeyInfo in base64 or PEM, or a JWK.
func (j *judgement) publicKey(name string) (crypto.PublicKey, error) {
	o := j.request
	if _, ok := o.members[name].(*object); ok {
		return jwk(o.object(name))
	}
	s := o.text(name)
	var der []byte
	if block, rest := pem.Decode([]byte(s)); block != nil && block.Type == "PUBLIC KEY" && strings.TrimSpace(string(rest)) == "" {
		der = block.Bytes
	} else {
		der = o.decode(name, s)
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, o.failf("%s is no SubjectPublicKeyInfo", name)
	}
	return knownKey(key)
}

// knownKey tells keys that TPM quotes are verified with here.
func knownKey(key crypto.PublicKey) (crypto.PublicKey, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return k, nil
		}
	case *rsa.PublicKey:
		if n := k.N.BitLen(); (n == 2048 || n == 3072 || n == 4096) && k.E == 65537 {
			return k, nil
		}
	}
	return nil, unsupported("a key that is neither P-256 nor RSA of 2048, 3072 or 4096 bits with exponent 65537")
}

// jwk reads a JSON Web Key (RFC 7517), its key members and nothing of the rest.
func jwk(o *object) (crypto.PublicKey, error) {
	part := func(name string) []byte {
		b, err := base64.RawURLEncoding.Strict().DecodeString(o.text(name))
		if err != nil || len(b) == 0 || len(b) > 512 {
			o.failf("%s is not base64url", o.path+name)
		}
		return b
	}
	for _, name := range []string{"kid", "alg", "use", "key_ops", "x5c", "x5t", "x5t#S256"} {
		o.read[name] = true // says nothing that is needed
	}
	switch kty := o.text("kty"); kty {
	case "EC":
		if crv := o.text("crv"); crv != "P-256" {
			return nil, unsupported("no curve %.20q", crv)
		}
		x, y := part("x"), part("y")
		if o.fault() != nil || len(x) != 32 || len(y) != 32 {
			return nil, o.failf("%sx and y are not 32 bytes each", o.path)
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		if err != nil {
			return nil, o.failf("%sx and y are no point", o.path)
		}
		return key, nil
	case "RSA":
		n, e := new(big.Int).SetBytes(part("n")), new(big.Int).SetBytes(part("e"))
		if o.fault() != nil {
			return nil, o.fault()
		}
		if !e.IsInt64() || e.Int64() > math.MaxInt32 {
			return nil, unsupported("exponent of %d bits", e.BitLen())
		}
		return knownKey(&rsa.PublicKey{N: n, E: int(e.Int64())})
	default:
		return nil, unsupported("no key type %.20q", kty)
	}
}

// acceptQuote compares what a signed quote says with what the request expects.
func (j *judgement) acceptQuote(a *tpm.Attest, claims *quoteClaims, q *quoteRequest) error {
	if !q.hasNonce {
		j.gap("nonce", "qualifying data were compared with nothing: the quote may be of any time")
	} else if !slices.Equal(a.ExtraData, q.nonce) {
		return refuse.Differ(refuse.Nonce, "qualifying data", hex.EncodeToString(q.nonce), hex.EncodeToString(a.ExtraData))
	}
	if err := j.registersOf(a, claims, q); err != nil {
		return err
	}
	switch {
	case q.digest != nil && !slices.Equal(q.digest, a.Digest):
		return refuse.Differ(refuse.PCRValue, "digest of the PCRs", hex.EncodeToString(q.digest), hex.EncodeToString(a.Digest))
	case q.reset != nil && *q.reset != uint64(a.Clock.Reset):
		return refuse.As(refuse.Epoch, "reset count %d, want %d", a.Clock.Reset, *q.reset)
	case q.restart != nil && *q.restart != uint64(a.Clock.Restart):
		return refuse.As(refuse.Epoch, "restart count %d, want %d", a.Clock.Restart, *q.restart)
	}
	for _, i := range slices.Sorted(maps.Keys(q.expected)) {
		got, quoted := q.pcrs[i]
		switch {
		case !quoted:
			return refuse.As(refuse.PCRSet, "no value of PCR %d is quoted", i)
		case !slices.Equal(got, q.expected[i]):
			return refuse.Differ(refuse.PCRValue, "PCR "+strconv.Itoa(i), hex.EncodeToString(q.expected[i]), hex.EncodeToString(got))
		}
	}
	if q.expected == nil && q.digest == nil {
		j.gap("expect", "register values were compared with nothing: the software may be any")
	}
	return nil
}

// registersOf decides whether the values that came along are those quoted.
func (j *judgement) registersOf(a *tpm.Attest, claims *quoteClaims, q *quoteRequest) error {
	set, ok := a.SelectedSHA256()
	if !ok {
		return refuse.As(refuse.PCRSelect, "selection is not one SHA-256 bank of %d PCRs", quotePCRs)
	}
	if q.pcrs == nil {
		j.gap("pcrs", "no register values came along: only their digest is quoted")
		return nil
	}
	if given := slices.Sorted(maps.Keys(q.pcrs)); !slices.Equal(given, set) {
		return refuse.Differ(refuse.PCRSet, "set of quoted PCRs", fmt.Sprint(given), fmt.Sprint(set))
	}
	values := map[int][32]byte{}
	for i, v := range q.pcrs {
		values[i] = [32]byte(v)
	}
	sum, err := tpm.DigestPCRs(set, values)
	if err != nil {
		return err
	}
	if !slices.Equal(sum[:], a.Digest) {
		return refuse.Differ(refuse.PCRValue, "digest of the PCR values", hex.EncodeToString(a.Digest), hex.EncodeToString(sum[:]))
	}
	claims.PCRs = map[string]hexed{}
	for i, v := range q.pcrs {
		claims.PCRs[strconv.Itoa(i)] = v
	}
	return nil
}

type quoteClaims struct {
	Kind    string           `json:"key,omitempty"`        // kind of the key
	Name    hexed            `json:"key_name,omitempty"`   // TPM name, where the public area is known
	Primary *bool            `json:"as_primary,omitempty"` // the signer's qualified name is that of this key as a primary key
	Signer  hexed            `json:"qualified_signer"`
	Nonce   hexed            `json:"nonce"`
	Set     []int            `json:"selected"` // of the SHA-256 bank; empty if it is another
	Digest  hexed            `json:"pcr_digest"`
	PCRs    map[string]hexed `json:"pcrs,omitempty"` // values that hash to the digest

	Clock    uint64 `json:"clock_ms"`
	Reset    uint32 `json:"reset_count"`
	Restart  uint32 `json:"restart_count"`
	Safe     bool   `json:"clock_safe"`
	Firmware string `json:"firmware_version"`
}

func quoteClaimsOf(a *tpm.Attest) *quoteClaims {
	set, _ := a.SelectedSHA256()
	if set == nil {
		set = []int{}
	}
	return &quoteClaims{
		Signer: a.Signer, Nonce: a.ExtraData, Set: set, Digest: a.Digest, Clock: a.Clock.Clock, Reset: a.Clock.Reset,
		Restart: a.Clock.Restart, Safe: a.Clock.Safe == 1, Firmware: bits(a.Clock.FirmwareVersion),
	}
}
