// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package api is what a client and the bank's identified port say to each
// other: the JSON documents, their bounds, API keys, and what the MACs of
// redeemed vouchers and a proof of work cover.
//
// It is pure and holds no private key: a wallet has it without anything that
// mints. The specification is docs/spec/accounts.md.
package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
)

// Bounds of documents.
const (
	// MaxTokens is how many tokens one issue asks for at most, MaxVouchers how
	// many vouchers one redeem brings.
	MaxTokens, MaxVouchers = 1024, 64
	// MaxBody is the longest request body, in bytes.
	MaxBody = 128 << 10
	// MaxBalance is the most that an account can hold, in units: what every
	// reader of JSON has exactly.
	MaxBalance = 1<<53 - 1
	// PageIssued and PageHistory are how many entries one page has at most.
	PageIssued, PageHistory = 16, 256
)

// Refusals that only this port gives; the others are those of package credits.
const (
	CodeAuth    = "auth"            // no API key, or none that is valid
	CodeRequest = "credit.request"  // not a document as it must be, or its id was used for another
	CodeFrozen  = "account.frozen"  // the operator has stopped it
	CodeRate    = "account.rate"    // too many requests of one account at once
	CodeLimit   = "account.limit"   // more than an account can hold
	CodeWork    = "account.work"    // the proof of work is missing or wrong
	CodeGrant   = "account.grant"   // more passes or entitlements than this account has in this period
	CodeAbsent  = "account.absent"  // admin only: no such account
	CodePayment = "account.payment" // an event of a payment provider that is not authentic or not in its time
)

// An Account is the id of an account: 16 random bytes, in JSON lower-case
// hexadecimal.
type Account [16]byte

// An ID is a keyset's id, or the id of a request, which its client draws: 32
// bytes, in JSON lower-case hexadecimal.
type ID [32]byte

// A Value is an element, a nonce or a MAC: 32 bytes, in JSON base64url without
// padding.
type Value [32]byte

// A Proof is a batch proof of RFC 9497: 64 bytes, in JSON base64url without
// padding.
type Proof [64]byte

var (
	errHex    = errors.New("not lower-case hexadecimal of the right length")
	errBase64 = errors.New("not base64url of the right length")
	b64       = base64.RawURLEncoding.Strict()
)

func unhex(dst, text []byte) error {
	if len(text) != 2*len(dst) {
		return errHex
	}
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return errHex
		}
	}
	if _, err := hex.Decode(dst, text); err != nil {
		return errHex
	}
	return nil
}

func unb64(dst, text []byte) error {
	b, err := b64.AppendDecode(nil, text)
	if err != nil || len(b) != len(dst) || len(text) != b64.EncodedLen(len(dst)) { // the decoder skips line ends
		return errBase64
	}
	copy(dst, b)
	return nil
}

func (a Account) String() string                { return hex.EncodeToString(a[:]) }
func (a Account) MarshalText() ([]byte, error)  { return hex.AppendEncode(nil, a[:]), nil }
func (a *Account) UnmarshalText(b []byte) error { return unhex(a[:], b) }

func (i ID) String() string                { return hex.EncodeToString(i[:]) }
func (i ID) MarshalText() ([]byte, error)  { return hex.AppendEncode(nil, i[:]), nil }
func (i *ID) UnmarshalText(b []byte) error { return unhex(i[:], b) }

func (v Value) MarshalText() ([]byte, error)  { return b64.AppendEncode(nil, v[:]), nil }
func (v *Value) UnmarshalText(b []byte) error { return unb64(v[:], b) }

func (p Proof) MarshalText() ([]byte, error)  { return b64.AppendEncode(nil, p[:]), nil }
func (p *Proof) UnmarshalText(b []byte) error { return unb64(p[:], b) }

// An AccountState answers GET /v1/account.
type AccountState struct {
	Account Account `json:"account"`
	Balance uint64  `json:"balance"` // units
	Frozen  bool    `json:"frozen"`
	Epoch   uint64  `json:"epoch"`
	Limits  Limits  `json:"limits"`
}

// Limits are an account's. What is zero is not to be had.
type Limits struct {
	TokensPerRequest int           `json:"tokens_per_request"`
	TokensPerEpoch   uint64        `json:"tokens_per_epoch"`
	RequestsPerHour  uint64        `json:"requests_per_hour"`
	Passes           uint64        `json:"passes"`    // of a mint period
	WorkBits         int           `json:"work_bits"` // of the proof of work for passes; 0: none
	Entitlements     []Entitlement `json:"entitlements,omitempty"`
}

// An Entitlement says how many tokens of a tier an account has in a mint period.
type Entitlement struct {
	Tier   uint8  `json:"tier"`
	Tokens uint64 `json:"tokens"`
}

// An IssueRequest is the body of POST /v1/issue.
type IssueRequest struct {
	Request ID     `json:"request"` // drawn by the client; the same again is the same issue
	Keyset  ID     `json:"keyset"`
	Tokens  []Want `json:"tokens"` // 1 to MaxTokens
	Work    uint64 `json:"work,omitempty"`
}

// A Want is one token wanted.
type Want struct {
	Exponent uint8 `json:"exponent"`
	Blinded  Value `json:"blinded"`
}

// An Issued answers POST /v1/issue, and is an entry of GET /v1/issued.
type Issued struct {
	Request ID      `json:"request"`
	Keyset  ID      `json:"keyset"`
	Epoch   uint64  `json:"epoch"`
	Units   uint64  `json:"units"`  // that were charged
	Tokens  []Token `json:"tokens"` // in the order of the request
	Proofs  []Batch `json:"proofs"` // ascending by exponent
}

// A Token is a blinded element and what the bank made of it.
type Token struct {
	Exponent uint8 `json:"exponent"`
	Blinded  Value `json:"blinded"`
	Element  Value `json:"element"`
}

// A Batch proves all tokens of one exponent, in their order, under that key.
type Batch struct {
	Exponent uint8 `json:"exponent"`
	Proof    Proof `json:"proof"`
}

// An IssuedPage answers GET /v1/issued/{keyset}.
type IssuedPage struct {
	Issued []Issued `json:"issued"`
	Next   uint64   `json:"next"` // for ?after=; 0: there is no more
}

// A Crowd answers GET /v1/crowd/{keyset}: among how many tokens one's own are.
// It is the bank's word and no more.
type Crowd struct {
	Keyset ID     `json:"keyset"`
	Epoch  uint64 `json:"epoch"` // sold before it
	Sold   []Sold `json:"sold"`  // ascending by exponent
}

// Sold is how many tokens of a denomination everybody together was sold, rounded
// down to a power of two.
type Sold struct {
	Exponent uint8  `json:"exponent"`
	Tokens   uint64 `json:"tokens"`
}

// A RedeemRequest is the body of POST /v1/redeem.
type RedeemRequest struct {
	Request  ID        `json:"request"`
	Vouchers []Voucher `json:"vouchers"` // 1 to MaxVouchers
}

// A Voucher is spent by a MAC (credits.SwapMAC) over [RedeemDigest].
type Voucher struct {
	Keyset   ID    `json:"keyset"`
	Exponent uint8 `json:"exponent"`
	Nonce    Value `json:"nonce"`
	MAC      Value `json:"mac"`
}

// A Redeemed answers POST /v1/redeem.
type Redeemed struct {
	Request ID     `json:"request"`
	Epoch   uint64 `json:"epoch"`
	Units   uint64 `json:"units"`
}

// Kinds of history entries.
const (
	KindTopUp  = "topup"
	KindIssue  = "issue"
	KindRedeem = "redeem"
)

// A HistoryPage answers GET /v1/history.
type HistoryPage struct {
	Entries []Entry `json:"entries"`
	Next    uint64  `json:"next"` // for ?after=; 0: there is no more
}

// An Entry is one movement of an account. Its time is an epoch and no finer.
type Entry struct {
	Number  uint64 `json:"number"` // 1 and on, of this account
	Epoch   uint64 `json:"epoch"`
	Kind    string `json:"kind"`
	Units   uint64 `json:"units"`
	Request *ID    `json:"request,omitempty"`
	Event   string `json:"event,omitempty"` // of a top-up
}

// A TopUp is a payment provider's event: the body of POST /v1/topup.
type TopUp struct {
	Event    string  `json:"event"` // counts once
	Account  Account `json:"account"`
	Amount   uint64  `json:"amount"`   // in the smallest part of the currency
	Currency string  `json:"currency"` // opaque: the bank's configuration says what one is worth
}

// A ToppedUp answers a top-up.
type ToppedUp struct {
	Event string `json:"event"`
	Units uint64 `json:"units"`
}

const (
	redeemLabel = "sotto redeem v1\x00"
	workLabel   = "sotto work v1\x00"
)

// RedeemDigest is what the MAC of a voucher covers:
//
//	SHA-256("sotto redeem v1" || 0 || account id || request id)
//
// so a voucher that is seen on its way puts nothing on another account.
func RedeemDigest(account Account, request ID) [32]byte {
	b := append([]byte(redeemLabel), account[:]...)
	return sha256.Sum256(append(b, request[:]...))
}
