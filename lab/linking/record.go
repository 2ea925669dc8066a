// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package linking

// What the parts see. Relays see an address, an epoch and a padded size; the
// rest is under the part that sees it. The address and the account of a client
// are one person's by definition: they are both the number of the client, who is
// otherwise in nobody's record.

// A request is one that was paid. Gateway and router see all but prompt; so does
// the anonymous port, which sees no size. The node sees class, used, prompt and
// the header hash.
type request struct {
	client, epoch int // client is the truth, and what the relay sees
	at, end       int // when it was held and settled
	class, used   uint8
	keyset        [32]byte
	node          int8
	candidates    uint8 // a bit for each
	prompt        int   // bytes
	padded        int   // rung of the ladder
	nonce         [32]byte
	blank         [32]byte // the first
	ids           [][32]byte
	minted        []uint8
	hash          [32]byte

	parent int // index in log.requests or, with swapped, in log.swaps, of what the coin came from; -1 bought
	swap   bool
}

// A purchase is what the identified port sees.
type purchase struct {
	client, epoch, at int
	keyset            [32]byte
	exponents         []uint8
	ids               [][32]byte
}

// A swap is what gateway and anonymous port see.
type swap struct {
	client, epoch, at int // client is the truth
	paid, minted      []uint8
	ids               [][32]byte
}

// A log is all of it.
type log struct {
	clients   int
	refused   int // requests, for want of a coin
	requests  []request
	purchases []purchase
	swaps     []swap
}

// halves splits a proof into values of the size of all others.
func halves(p [64]byte) [][32]byte { return [][32]byte{[32]byte(p[:32]), [32]byte(p[32:])} }
