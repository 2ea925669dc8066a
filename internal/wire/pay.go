// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
)

// Bounds of payments.
const (
	// Blanks is how many blinded elements come with every spend: six coins are
	// the most that change can be, and two more keep the number a round one.
	Blanks = 8
	// Parts is what a class is divided into: usage is counted in 64ths, rounded
	// up, so that change is at most six coins.
	Parts = 64
	// MinClass is the smallest class that can be spent on a request: a 64th of
	// it is one unit. MaxClass is the largest.
	MinClass, MaxClass = 6, 40

	spendSize = 1 + 32 + 1 + 32 + 32 + Blanks*32 + 1 + 3*32
)

// Types of tokens. A type has keysets of its own; see docs/spec/coins.md.
const (
	TokenCoin        uint8 = 1 // money: change is given
	TokenVoucher     uint8 = 2 // goes back to an account; pays for no request
	TokenPass        uint8 = 3 // pays for one request of its class, without change
	TokenEntitlement uint8 = 4 // opens what its tier opens; worth nothing
)

// A Spend is what pays for one request, and the blanks that its change will be
// written on:
//
//	struct {
//	    uint8  type;              /* 1 coin, 3 pass */
//	    opaque keyset[32];
//	    uint8  class;             /* the token is worth 2^class units */
//	    opaque nonce[32];
//	    opaque mac[32];
//	    opaque blanks[8][32];     /* blinded elements */
//	    uint8  tier;              /* of the entitlement; 0: none, and zeros */
//	    opaque tier_keyset[32];
//	    opaque tier_nonce[32];
//	    opaque tier_mac[32];
//	} Spend;                      /* 451 bytes */
//
// The token's output never travels: mac is keyed with it and says what it pays
// for, so nobody on the way can spend it elsewhere or write on other blanks.
type Spend struct {
	Type   uint8
	Keyset [32]byte
	Class  uint8
	Nonce  [32]byte
	MAC    [32]byte
	Blanks [Blanks][32]byte

	Tier       uint8
	TierKeyset [32]byte
	TierNonce  [32]byte
	TierMAC    [32]byte
}

func (s *Spend) valid() bool {
	return (s.Type == TokenCoin || s.Type == TokenPass) && s.Class >= MinClass && s.Class <= MaxClass &&
		(s.Tier != 0 || s.TierKeyset == [32]byte{} && s.TierNonce == [32]byte{} && s.TierMAC == [32]byte{})
}

func (s *Spend) append(b []byte) []byte {
	b = append(append(b, s.Type), s.Keyset[:]...)
	b = append(append(b, s.Class), s.Nonce[:]...)
	b = append(b, s.MAC[:]...)
	for i := range s.Blanks {
		b = append(b, s.Blanks[i][:]...)
	}
	b = append(append(b, s.Tier), s.TierKeyset[:]...)
	return append(append(b, s.TierNonce[:]...), s.TierMAC[:]...)
}

func (s *Spend) parse(b []byte) {
	s.Type, b = b[0], b[1:]
	b = take(s.Keyset[:], b)
	s.Class, b = b[0], b[1:]
	b = take(s.Nonce[:], b)
	b = take(s.MAC[:], b)
	for i := range s.Blanks {
		b = take(s.Blanks[i][:], b)
	}
	s.Tier, b = b[0], b[1:]
	take(s.TierMAC[:], take(s.TierNonce[:], take(s.TierKeyset[:], b)))
}

func take(dst, b []byte) []byte { return b[copy(dst, b):] }

// The HTTP header fields in which a ticket goes to a node, and the trailer in
// which a node says what was used.
const (
	TicketHeader = "Sotto-Ticket"
	UsageTrailer = "Sotto-Usage"
)

// A Ticket is the bank's word that a request is paid and may run on one
// candidate. The next one is signed only against the busy receipt of the one
// before, so of all candidates one runs it.
//
//	struct {
//	    opaque header_hash[32];
//	    uint64 epoch;
//	    uint64 generation;    /* of the bank's database */
//	    uint8  class;         /* the most that may be used: 2^class units */
//	    uint8  tier;          /* of the entitlement that was shown; 0: none */
//	    uint8  index;         /* of the node among the candidates */
//	    uint8  attempt;       /* as in the routing block */
//	    uint8  turn;          /* busy receipts before this ticket */
//	    opaque signature[64]; /* Ed25519 over "sotto ticket v1" || 0 || the fields above */
//	} Ticket;                 /* 117 bytes; in the header field base64url, 156 characters */
type Ticket struct {
	HeaderHash [32]byte
	Epoch      uint64
	Generation uint64
	Class      uint8
	Tier       uint8
	Index      uint8
	Attempt    uint8
	Turn       uint8
	Signature  [64]byte
}

// TicketSize is the size of a ticket, in bytes.
const TicketSize = 32 + 8 + 8 + 5 + 64

const ticketLabel = "sotto ticket v1\x00"

// Sign sets the signature, by the bank's ticket key.
func (t *Ticket) Sign(key ed25519.PrivateKey) {
	copy(t.Signature[:], ed25519.Sign(key, t.signed()))
}

// Verify reports whether the ticket is signed by key and in bounds. What it
// says is the caller's to compare: see [Ticket.Ask].
func (t *Ticket) Verify(key ed25519.PublicKey) bool {
	return len(key) == ed25519.PublicKeySize && t.valid() && ed25519.Verify(key, t.signed(), t.Signature[:])
}

// Ask is what the ticket lets one node be asked.
func (t *Ticket) Ask() Ask { return Ask{t.HeaderHash, t.Epoch, t.Index, t.Attempt} }

func (t *Ticket) valid() bool {
	return t.Class >= MinClass && t.Class <= MaxClass && t.Index < MaxCandidates && t.Attempt < MaxAttempts && t.Turn < MaxCandidates
}

func (t *Ticket) signed() []byte {
	b := make([]byte, 0, len(ticketLabel)+TicketSize)
	return t.fields(append(b, ticketLabel...))
}

func (t *Ticket) fields(b []byte) []byte {
	b = append(b, t.HeaderHash[:]...)
	b = binary.BigEndian.AppendUint64(b, t.Epoch)
	b = binary.BigEndian.AppendUint64(b, t.Generation)
	return append(b, t.Class, t.Tier, t.Index, t.Attempt, t.Turn)
}

// Append appends the ticket to b.
func (t *Ticket) Append(b []byte) []byte { return append(t.fields(b), t.Signature[:]...) }

// String returns the value of the header field [TicketHeader].
func (t *Ticket) String() string { return base64.RawURLEncoding.EncodeToString(t.Append(nil)) }

// ParseTicket parses exactly one ticket. It does not verify it.
func ParseTicket(b []byte) (Ticket, error) {
	var t Ticket
	if len(b) != TicketSize {
		return t, ErrMalformed
	}
	b = take(t.HeaderHash[:], b)
	t.Epoch, t.Generation = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	t.Class, t.Tier, t.Index, t.Attempt, t.Turn = b[16], b[17], b[18], b[19], b[20]
	take(t.Signature[:], b[21:])
	if !t.valid() {
		return Ticket{}, ErrMalformed
	}
	return t, nil
}

// ParseTicketHeader parses the value of the header field [TicketHeader].
func ParseTicketHeader(s string) (Ticket, error) {
	var b [TicketSize]byte
	if err := decodeExact(b[:], s); err != nil {
		return Ticket{}, err
	}
	return ParseTicket(b[:])
}

// decodeExact fills dst from its base64url spelling.
func decodeExact(dst []byte, s string) error {
	if len(s) != base64.RawURLEncoding.EncodedLen(len(dst)) {
		return ErrMalformed
	}
	if n, err := base64.RawURLEncoding.Strict().Decode(dst, []byte(s)); err != nil || n != len(dst) {
		return ErrMalformed
	}
	return nil
}

// A Usage is a node's signed word on what one request used, after it ended, in
// 64ths of the class that was held, rounded up.
//
//	struct {
//	    opaque header_hash[32];
//	    opaque node_id[32];
//	    uint64 epoch;
//	    uint8  class;
//	    uint8  index;
//	    uint8  attempt;
//	    uint8  used;          /* 0 to 64 */
//	    opaque signature[64]; /* Ed25519 over "sotto usage v1" || 0 || the fields above */
//	} Usage;                  /* 140 bytes; in the trailer base64url, 187 characters */
type Usage struct {
	HeaderHash [32]byte
	NodeID     [32]byte
	Epoch      uint64
	Class      uint8
	Index      uint8
	Attempt    uint8
	Used       uint8
	Signature  [64]byte
}

// UsageSize is the size of a usage, in bytes.
const UsageSize = 32 + 32 + 8 + 4 + 64

const usageLabel = "sotto usage v1\x00"

// Sign sets the signature, by the node's key of the usage's epoch.
func (u *Usage) Sign(key ed25519.PrivateKey) {
	copy(u.Signature[:], ed25519.Sign(key, u.signed()))
}

// Verify reports whether the usage is signed by key and in bounds.
func (u *Usage) Verify(key ed25519.PublicKey) bool {
	return len(key) == ed25519.PublicKeySize && u.valid() && ed25519.Verify(key, u.signed(), u.Signature[:])
}

// Of reports whether the usage is the given node's about what t let it run.
func (u *Usage) Of(t *Ticket, node [32]byte) bool {
	return u.HeaderHash == t.HeaderHash && u.NodeID == node && u.Epoch == t.Epoch && u.Class == t.Class &&
		u.Index == t.Index && u.Attempt == t.Attempt
}

func (u *Usage) valid() bool {
	return u.Class >= MinClass && u.Class <= MaxClass && u.Index < MaxCandidates && u.Attempt < MaxAttempts && u.Used <= Parts
}

func (u *Usage) signed() []byte {
	b := make([]byte, 0, len(usageLabel)+UsageSize)
	return u.fields(append(b, usageLabel...))
}

func (u *Usage) fields(b []byte) []byte {
	b = append(b, u.HeaderHash[:]...)
	b = append(b, u.NodeID[:]...)
	b = binary.BigEndian.AppendUint64(b, u.Epoch)
	return append(b, u.Class, u.Index, u.Attempt, u.Used)
}

// Append appends the usage to b.
func (u *Usage) Append(b []byte) []byte { return append(u.fields(b), u.Signature[:]...) }

// String returns the value of the trailer [UsageTrailer].
func (u *Usage) String() string { return base64.RawURLEncoding.EncodeToString(u.Append(nil)) }

// ParseUsage parses exactly one usage. It does not verify it; it refuses one
// that claims more than was held (CT-10).
func ParseUsage(b []byte) (Usage, error) {
	var u Usage
	if len(b) != UsageSize {
		return u, ErrMalformed
	}
	b = take(u.NodeID[:], take(u.HeaderHash[:], b))
	u.Epoch = binary.BigEndian.Uint64(b)
	u.Class, u.Index, u.Attempt, u.Used = b[8], b[9], b[10], b[11]
	take(u.Signature[:], b[12:])
	if !u.valid() {
		return Usage{}, ErrMalformed
	}
	return u, nil
}

// ParseUsageTrailer parses the value of the trailer [UsageTrailer].
func ParseUsageTrailer(s string) (Usage, error) {
	var b [UsageSize]byte
	if err := decodeExact(b[:], s); err != nil {
		return Usage{}, err
	}
	return ParseUsage(b[:])
}

// States of a payment, as a [Change] tells them.
const (
	ChangePending  uint8 = 0 // not settled: ask for it later
	ChangeUsed     uint8 = 1 // settled by the usage in it
	ChangeReturned uint8 = 2 // nothing ran: all of it comes back
	ChangeRefused  uint8 = 3 // the node's usage was refused; comes back when the hold ends
)

// A Change is what comes back of a payment: the bank's evaluations of the first
// blanks, which the client makes coins of.
//
// How a payment ended is the bank's word, and signed: a block comes behind the
// sealed answer, where router and gateway could write another. That it has not
// ended (pending, refused) is nobody's word, and changes nothing.
//
//	struct {
//	    uint8  version = 1;
//	    uint8  state;
//	    uint64 generation;    /* of the bank's database */
//	    opaque keyset[32];    /* of the coins; zero if there are none */
//	    Usage  usage;         /* in state 1; else zero */
//	    uint8  count;
//	    Minted coins[8];      /* of blank 0, 1, ...; unused ones zero */
//	    opaque signature[64]; /* Ed25519 over "sotto change v1" || 0 || header hash || the fields above; zero in states 0 and 3 */
//	    opaque zero[1];
//	} Change;                 /* 1024 bytes, whatever is in it */
type Change struct {
	State      uint8
	Generation uint64
	Keyset     [32]byte
	Usage      Usage
	Coins      []Minted
	Signature  [64]byte
}

// A Minted is a blank that the bank has evaluated with the key of one
// denomination, and the proof that it was that key.
//
//	struct {
//	    uint8  exponent;
//	    opaque element[32];
//	    opaque proof[64];
//	} Minted;             /* 97 bytes */
type Minted struct {
	Exponent uint8
	Element  [32]byte
	Proof    [64]byte
}

const (
	// ChangeSize is the size of every change block, in bytes.
	ChangeSize = 1024
	// MintedSize is the size of a minted blank, in bytes.
	MintedSize = 1 + 32 + 64

	changeLabel  = "sotto change v1\x00"
	changeSigned = 1 + 1 + 8 + 32 + UsageSize + 1 + Blanks*MintedSize // bytes before the signature
)

// Ended reports whether the block says how the payment ended: then the bank's
// signature is on it.
func (c *Change) Ended() bool { return c.State == ChangeUsed || c.State == ChangeReturned }

// Sign sets the signature, by the bank's ticket key, of the change of the request
// with a header hash. What has not ended is not signed.
func (c *Change) Sign(key ed25519.PrivateKey, headerHash [32]byte) {
	if c.Signature = [64]byte{}; c.Ended() {
		copy(c.Signature[:], ed25519.Sign(key, c.signed(headerHash)))
	}
}

// Verify reports whether the block is the bank's word on how the request with a
// header hash ended. What it says is the caller's to check.
func (c *Change) Verify(key ed25519.PublicKey, headerHash [32]byte) bool {
	return len(key) == ed25519.PublicKeySize && c.Ended() && c.valid() && ed25519.Verify(key, c.signed(headerHash), c.Signature[:])
}

func (c *Change) signed(headerHash [32]byte) []byte {
	b := make([]byte, 0, len(changeLabel)+32+ChangeSize)
	b = c.Append(append(append(b, changeLabel...), headerHash[:]...))
	return b[:len(changeLabel)+32+changeSigned]
}

// Append appends m to b.
func (m *Minted) Append(b []byte) []byte {
	return append(append(append(b, m.Exponent), m.Element[:]...), m.Proof[:]...)
}

// ParseMinted parses exactly one minted blank. It verifies no proof.
func ParseMinted(b []byte) (Minted, error) {
	if len(b) != MintedSize || b[0] > MaxClass {
		return Minted{}, ErrMalformed
	}
	m := Minted{Exponent: b[0]}
	take(m.Proof[:], take(m.Element[:], b[1:]))
	return m, nil
}

func (c *Change) valid() bool {
	switch {
	case c.State > ChangeRefused, len(c.Coins) > Blanks:
		return false
	case (c.State == ChangeUsed) != (c.Usage != Usage{}), c.State == ChangeUsed && !c.Usage.valid():
		return false
	case (len(c.Coins) > 0 || c.Signature != [64]byte{}) && !c.Ended():
		return false
	}
	for _, m := range c.Coins {
		if m.Exponent > MaxClass {
			return false
		}
	}
	return (len(c.Coins) == 0) == (c.Keyset == [32]byte{})
}

// Append appends the block to b. It panics on a block that [ParseChange] would
// refuse: such a block is a mistake of the caller.
func (c *Change) Append(b []byte) []byte {
	if !c.valid() {
		panic("wire: internal error: invalid change block")
	}
	n := len(b)
	b = append(b, version, c.State)
	b = binary.BigEndian.AppendUint64(b, c.Generation)
	b = append(b, c.Keyset[:]...)
	b = append(c.Usage.Append(b), uint8(len(c.Coins)))
	for i := range c.Coins {
		b = c.Coins[i].Append(b)
	}
	b = append(b, zeros[:changeSigned-(len(b)-n)]...)
	return append(append(b, c.Signature[:]...), 0)
}

// ParseChange parses exactly one block. It verifies neither signature, usage nor
// proofs.
func ParseChange(b []byte) (*Change, error) {
	if len(b) != ChangeSize || b[0] != version || b[42+UsageSize] > Blanks {
		return nil, ErrMalformed
	}
	c := &Change{State: b[1], Generation: binary.BigEndian.Uint64(b[2:])}
	b = take(c.Keyset[:], b[10:])
	if !isZero(b[:UsageSize]) {
		u, err := ParseUsage(b[:UsageSize])
		if err != nil {
			return nil, err
		}
		c.Usage = u
	}
	n := int(b[UsageSize])
	b = b[UsageSize+1:]
	for range n {
		m, err := ParseMinted(b[:MintedSize])
		if err != nil {
			return nil, err
		}
		c.Coins, b = append(c.Coins, m), b[MintedSize:]
	}
	unused := (Blanks - n) * MintedSize
	if !isZero(b[:unused]) {
		return nil, ErrMalformed
	}
	if b = take(c.Signature[:], b[unused:]); !isZero(b) || !c.valid() {
		return nil, ErrMalformed
	}
	return c, nil
}

// Due is what comes back of a payment of which used 64ths were used, as the
// exponents of coins: canonical binary, largest first. Any other split would
// be a mark. It panics on a class or usage out of bounds.
func Due(class, used uint8) []uint8 {
	if class < MinClass || class > MaxClass || used > Parts {
		panic("wire: internal error: no such class or usage")
	}
	var coins []uint8
	left := Parts - used
	for bit := 6; bit >= 0; bit-- {
		if left>>bit&1 == 1 {
			coins = append(coins, class-6+uint8(bit))
		}
	}
	return coins
}
