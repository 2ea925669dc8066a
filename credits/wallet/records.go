// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"errors"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

// The records of the journal (docs/spec/wallet.md, section 4). A record is its
// kind and its fields; a number is big-endian, a list has a 16-bit length in
// front. A snapshot consists of the same records.
const (
	kindGeneration = 1
	kindKeyset     = 2
	kindCoin       = 3
	kindPay        = 4
	kindSettled    = 5
	kindNoted      = 6
	kindBack       = 7
	kindOrder      = 8
	kindDone       = 9
	kindRefused    = 10
	kindClosed     = 11
	kindNext       = 12
	kindSpent      = 13
	kindEvent      = 14
	kindLost       = 15
	kindExpire     = 16
	kindMoved      = 17
	kindPrepared   = 18
	kindFreed      = 19
	kindDoubted    = 20
	kindFound      = 21
)

var errRecord = errors.New("wallet: malformed record in the journal")

type record interface {
	kind() uint8
	write(w *cryptobyte.Builder)
	read(r *reader)
}

// A ref names a token by what it was derived from.
type ref struct {
	keyset     [32]byte
	generation uint32
	index      uint64
}

// A want is a blank that is to become a token.
type want struct {
	keyset   [32]byte
	exponent uint8
	index    uint64
}

type (
	// generationRecord begins a generation: indexes start at 0 again.
	generationRecord struct{ generation uint32 }
	// keysetRecord keeps a keyset that tokens or blanks are of.
	keysetRecord struct{ data []byte }
	// coinRecord puts a token into the stock.
	coinRecord struct{ token }
	// payRecord takes a token out of it for a request, and burns blanks.
	payRecord struct {
		hash       [32]byte
		epoch      uint64
		class      uint8
		pass       uint8 // 1: paid with a pass, which has no change
		coin       ref
		tier       uint8
		shown      ref // the entitlement; zero if tier is 0
		keyset     [32]byte
		generation uint32
		first      uint64 // of 8 indexes
	}
	// settledRecord ends a payment: coin i is of blank first+i.
	settledRecord struct {
		hash  [32]byte
		state uint8
		used  uint8
		coins []made
	}
	// notedRecord keeps what was answered instead of change.
	notedRecord struct {
		hash [32]byte
		code string
	}
	// backRecord ends a payment that the bank never held.
	backRecord struct {
		hash [32]byte
		fate uint8
	}
	// orderRecord begins a swap, a purchase or a redemption.
	orderRecord struct {
		id         [32]byte
		what       uint8
		epoch      uint64
		generation uint32
		digest     [32]byte // of a redemption: what the vouchers' MACs cover
		paid       []ref
		wanted     []want
	}
	// doneRecord ends an order: token i is of wanted i.
	doneRecord struct {
		id    [32]byte
		epoch uint64
		made  []ripe
	}
	// refusedRecord ends an order that had no effect.
	refusedRecord struct {
		id   [32]byte
		code string
	}
	// closedRecord is what is kept of a payment that ended (snapshots).
	closedRecord struct {
		hash [32]byte
		closed
	}
	// nextRecord sets the next free index of a keyset, and one more than the
	// highest that came to a token (snapshots).
	nextRecord struct {
		keyset      [32]byte
		index, made uint64
	}
	// spentRecord sets what was spent in an epoch (snapshots).
	spentRecord struct{ epoch, units uint64 }
	// eventRecord is a line of the history (snapshots).
	eventRecord struct{ Event }
	// lostRecord sets what was lost (snapshots).
	lostRecord struct{ units uint64 }
	// expireRecord forgets what ended before an epoch.
	expireRecord struct{ epoch uint64 }
	// movedRecord retires this copy: another continues.
	movedRecord struct{}
	// preparedRecord sets a coin and blanks apart for a payment of which only the
	// header hash is missing.
	preparedRecord struct {
		state      uint8 // how it stands
		epoch      uint64
		class      uint8
		coin       ref
		keyset     [32]byte
		generation uint32
		first      uint64 // of 8 indexes
	}
	// freedRecord ends what was prepared and left for nobody.
	freedRecord struct{ coin ref }
	// doubtedRecord: the process that prepared is gone, and what it prepared may
	// have been sent.
	doubtedRecord struct{}
	// foundRecord ends a payment without a header hash by what the table has: coin
	// i is of blank first+i.
	foundRecord struct {
		coin  ref
		coins []made
	}
)

// made is a token that came of a blank.
type made struct {
	exponent uint8
	output   redact.Secret
}

// ripe is a token that came of an order, with the first epoch to spend it in.
type ripe struct {
	from   uint64
	output redact.Secret
}

func (generationRecord) kind() uint8 { return kindGeneration }
func (keysetRecord) kind() uint8     { return kindKeyset }
func (coinRecord) kind() uint8       { return kindCoin }
func (payRecord) kind() uint8        { return kindPay }
func (settledRecord) kind() uint8    { return kindSettled }
func (notedRecord) kind() uint8      { return kindNoted }
func (backRecord) kind() uint8       { return kindBack }
func (orderRecord) kind() uint8      { return kindOrder }
func (doneRecord) kind() uint8       { return kindDone }
func (refusedRecord) kind() uint8    { return kindRefused }
func (closedRecord) kind() uint8     { return kindClosed }
func (nextRecord) kind() uint8       { return kindNext }
func (spentRecord) kind() uint8      { return kindSpent }
func (eventRecord) kind() uint8      { return kindEvent }
func (lostRecord) kind() uint8       { return kindLost }
func (expireRecord) kind() uint8     { return kindExpire }
func (movedRecord) kind() uint8      { return kindMoved }
func (preparedRecord) kind() uint8   { return kindPrepared }
func (freedRecord) kind() uint8      { return kindFreed }
func (doubtedRecord) kind() uint8    { return kindDoubted }
func (foundRecord) kind() uint8      { return kindFound }

func print(r record) []byte {
	w := cryptobyte.NewBuilder(nil)
	w.AddUint8(r.kind())
	r.write(w)
	return w.BytesOrPanic()
}

// parse parses exactly one record, in its one spelling.
func parse(b []byte) (record, error) {
	if len(b) == 0 {
		return nil, errRecord
	}
	r := newRecord(b[0])
	if r == nil {
		return nil, errRecord
	}
	rd := &reader{s: cryptobyte.String(b[1:]), ok: true}
	r.read(rd)
	if !rd.ok || !rd.s.Empty() {
		return nil, errRecord
	}
	return r, nil
}

func newRecord(kind uint8) record {
	switch kind {
	case kindGeneration:
		return &generationRecord{}
	case kindKeyset:
		return &keysetRecord{}
	case kindCoin:
		return &coinRecord{}
	case kindPay:
		return &payRecord{}
	case kindSettled:
		return &settledRecord{}
	case kindNoted:
		return &notedRecord{}
	case kindBack:
		return &backRecord{}
	case kindOrder:
		return &orderRecord{}
	case kindDone:
		return &doneRecord{}
	case kindRefused:
		return &refusedRecord{}
	case kindClosed:
		return &closedRecord{}
	case kindNext:
		return &nextRecord{}
	case kindSpent:
		return &spentRecord{}
	case kindEvent:
		return &eventRecord{}
	case kindLost:
		return &lostRecord{}
	case kindExpire:
		return &expireRecord{}
	case kindMoved:
		return &movedRecord{}
	case kindPrepared:
		return &preparedRecord{}
	case kindFreed:
		return &freedRecord{}
	case kindDoubted:
		return &doubtedRecord{}
	case kindFound:
		return &foundRecord{}
	}
	return nil
}

// A reader reads fields until one is not there.
type reader struct {
	s  cryptobyte.String
	ok bool
}

func (r *reader) u8() (v uint8)   { r.ok = r.ok && r.s.ReadUint8(&v); return v }
func (r *reader) u16() (v uint16) { r.ok = r.ok && r.s.ReadUint16(&v); return v }
func (r *reader) u32() (v uint32) { r.ok = r.ok && r.s.ReadUint32(&v); return v }
func (r *reader) u64() (v uint64) { r.ok = r.ok && r.s.ReadUint64(&v); return v }
func (r *reader) id() (v [32]byte) {
	r.ok = r.ok && r.s.CopyBytes(v[:])
	return v
}
func (r *reader) must(ok bool) { r.ok = r.ok && ok }
func (r *reader) bytes() []byte {
	var v cryptobyte.String
	if r.ok = r.ok && r.s.ReadUint16LengthPrefixed(&v); !r.ok {
		return nil
	}
	return append([]byte{}, v...)
}
func (r *reader) output() redact.Secret {
	b := make([]byte, outputSize)
	r.ok = r.ok && r.s.CopyBytes(b)
	return redact.New(b)
}
func (r *reader) ref() ref { return ref{r.id(), r.u32(), r.u64()} }

// exponent reads an exponent of a denomination.
func (r *reader) exponent() uint8 {
	e := r.u8()
	r.must(e <= credits.MaxExponent)
	return e
}

// list calls one as often as the length says.
func (r *reader) list(most int, one func()) {
	n := int(r.u16())
	r.must(n <= most)
	for range n {
		if !r.ok {
			return
		}
		one()
	}
}

const outputSize = 64

func addRef(w *cryptobyte.Builder, x ref) {
	w.AddBytes(x.keyset[:])
	w.AddUint32(x.generation)
	w.AddUint64(x.index)
}

func (x generationRecord) write(w *cryptobyte.Builder) { w.AddUint32(x.generation) }
func (x *generationRecord) read(r *reader)             { x.generation = r.u32() }

func (x keysetRecord) write(w *cryptobyte.Builder) {
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(x.data) })
}
func (x *keysetRecord) read(r *reader) { x.data = r.bytes() }

func (x coinRecord) write(w *cryptobyte.Builder) {
	addRef(w, x.ref)
	w.AddUint8(x.exponent)
	w.AddUint8(x.state)
	w.AddUint64(x.ripe)
	w.AddBytes(x.output.Bytes())
}

func (x *coinRecord) read(r *reader) {
	x.ref, x.exponent, x.state, x.ripe = r.ref(), r.exponent(), r.u8(), r.u64()
	r.must(x.state <= stateDoubtful)
	x.output = r.output()
}

func (x payRecord) write(w *cryptobyte.Builder) {
	w.AddBytes(x.hash[:])
	w.AddUint64(x.epoch)
	w.AddUint8(x.class)
	w.AddUint8(x.pass)
	addRef(w, x.coin)
	w.AddUint8(x.tier)
	addRef(w, x.shown)
	w.AddBytes(x.keyset[:])
	w.AddUint32(x.generation)
	w.AddUint64(x.first)
}

func (x *payRecord) read(r *reader) {
	x.hash, x.epoch, x.class, x.pass, x.coin = r.id(), r.u64(), r.u8(), r.u8(), r.ref()
	x.tier, x.shown, x.keyset, x.generation, x.first = r.u8(), r.ref(), r.id(), r.u32(), r.u64()
	r.must(x.class >= wire.MinClass && x.class <= wire.MaxClass && x.pass <= 1 && (x.tier != 0 || x.shown == ref{}))
}

func (x settledRecord) write(w *cryptobyte.Builder) {
	w.AddBytes(x.hash[:])
	w.AddUint8(x.state)
	w.AddUint8(x.used)
	addMade(w, x.coins)
}

func addMade(w *cryptobyte.Builder, list []made) {
	w.AddUint16(uint16(len(list)))
	for _, c := range list {
		w.AddUint8(c.exponent)
		w.AddBytes(c.output.Bytes())
	}
}

func (x *settledRecord) read(r *reader) {
	x.hash, x.state, x.used = r.id(), r.u8(), r.u8()
	r.must((x.state == wire.ChangeUsed || x.state == wire.ChangeReturned) && x.used <= wire.Parts)
	r.list(wire.Blanks, func() { x.coins = append(x.coins, made{r.exponent(), r.output()}) })
}

func (x notedRecord) write(w *cryptobyte.Builder) {
	w.AddBytes(x.hash[:])
	addCode(w, x.code)
}
func (x *notedRecord) read(r *reader) { x.hash, x.code = r.id(), r.code() }

// maxCode is the longest code that is kept; codes are short ASCII words.
const maxCode = 64

func addCode(w *cryptobyte.Builder, code string) {
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes([]byte(code)) })
}

func (r *reader) code() string {
	c := string(r.bytes())
	r.must(codeOK(c))
	return c
}

func codeOK(c string) bool {
	for i := range len(c) {
		if v := c[i]; (v < 'a' || v > 'z') && (v < '0' || v > '9') && v != '.' && v != '-' {
			return false
		}
	}
	return len(c) <= maxCode
}

func (x backRecord) write(w *cryptobyte.Builder) {
	w.AddBytes(x.hash[:])
	w.AddUint8(x.fate)
}
func (x *backRecord) read(r *reader) {
	x.hash, x.fate = r.id(), r.u8()
	r.must(x.fate <= fateDoubtful)
}

func (x orderRecord) write(w *cryptobyte.Builder) {
	w.AddBytes(x.id[:])
	w.AddUint8(x.what)
	w.AddUint64(x.epoch)
	w.AddUint32(x.generation)
	w.AddBytes(x.digest[:])
	w.AddUint16(uint16(len(x.paid)))
	for _, p := range x.paid {
		addRef(w, p)
	}
	w.AddUint16(uint16(len(x.wanted)))
	for _, v := range x.wanted {
		w.AddBytes(v.keyset[:])
		w.AddUint8(v.exponent)
		w.AddUint64(v.index)
	}
}

func (x *orderRecord) read(r *reader) {
	x.id, x.what, x.epoch, x.generation, x.digest = r.id(), r.u8(), r.u64(), r.u32(), r.id()
	r.list(credits.MaxSwap, func() { x.paid = append(x.paid, r.ref()) })
	r.list(maxBuy, func() { x.wanted = append(x.wanted, want{r.id(), r.exponent(), r.u64()}) })
	r.must(x.what >= orderSwap && x.what <= orderRedeem)
}

func (x doneRecord) write(w *cryptobyte.Builder) {
	w.AddBytes(x.id[:])
	w.AddUint64(x.epoch)
	w.AddUint16(uint16(len(x.made)))
	for _, m := range x.made {
		w.AddUint64(m.from)
		w.AddBytes(m.output.Bytes())
	}
}

func (x *doneRecord) read(r *reader) {
	x.id, x.epoch = r.id(), r.u64()
	r.list(maxBuy, func() { x.made = append(x.made, ripe{r.u64(), r.output()}) })
}

func (x refusedRecord) write(w *cryptobyte.Builder) {
	w.AddBytes(x.id[:])
	addCode(w, x.code)
}
func (x *refusedRecord) read(r *reader) { x.id, x.code = r.id(), r.code() }

func (x closedRecord) write(w *cryptobyte.Builder) {
	w.AddBytes(x.hash[:])
	w.AddUint64(x.epoch)
	w.AddUint8(x.state)
	w.AddUint8(x.used)
	w.AddUint64(x.charged)
	w.AddUint64(x.back)
}
func (x *closedRecord) read(r *reader) {
	x.hash, x.epoch, x.state, x.used, x.charged, x.back = r.id(), r.u64(), r.u8(), r.u8(), r.u64(), r.u64()
}

func (x nextRecord) write(w *cryptobyte.Builder) {
	w.AddBytes(x.keyset[:])
	w.AddUint64(x.index)
	w.AddUint64(x.made)
}
func (x *nextRecord) read(r *reader) { x.keyset, x.index, x.made = r.id(), r.u64(), r.u64() }

func (x spentRecord) write(w *cryptobyte.Builder) {
	w.AddUint64(x.epoch)
	w.AddUint64(x.units)
}
func (x *spentRecord) read(r *reader) { x.epoch, x.units = r.u64(), r.u64() }

func (x eventRecord) write(w *cryptobyte.Builder) {
	w.AddUint64(x.Epoch)
	addCode(w, x.Kind)
	w.AddUint64(x.Units)
}
func (x *eventRecord) read(r *reader) { x.Epoch, x.Kind, x.Units = r.u64(), r.code(), r.u64() }

func (x lostRecord) write(w *cryptobyte.Builder) { w.AddUint64(x.units) }
func (x *lostRecord) read(r *reader)             { x.units = r.u64() }

func (x expireRecord) write(w *cryptobyte.Builder) { w.AddUint64(x.epoch) }
func (x *expireRecord) read(r *reader)             { x.epoch = r.u64() }

func (movedRecord) write(*cryptobyte.Builder) {}
func (*movedRecord) read(*reader)             {}

func (x preparedRecord) write(w *cryptobyte.Builder) {
	w.AddUint8(x.state)
	w.AddUint64(x.epoch)
	w.AddUint8(x.class)
	addRef(w, x.coin)
	w.AddBytes(x.keyset[:])
	w.AddUint32(x.generation)
	w.AddUint64(x.first)
}

func (x *preparedRecord) read(r *reader) {
	x.state, x.epoch, x.class, x.coin = r.u8(), r.u64(), r.u8(), r.ref()
	x.keyset, x.generation, x.first = r.id(), r.u32(), r.u64()
	r.must(x.state <= preparedGone && x.class >= wire.MinClass && x.class <= wire.MaxClass)
}

func (x freedRecord) write(w *cryptobyte.Builder) { addRef(w, x.coin) }
func (x *freedRecord) read(r *reader)             { x.coin = r.ref() }

func (doubtedRecord) write(*cryptobyte.Builder) {}
func (*doubtedRecord) read(*reader)             {}

func (x foundRecord) write(w *cryptobyte.Builder) {
	addRef(w, x.coin)
	addMade(w, x.coins)
}
func (x *foundRecord) read(r *reader) {
	x.coin = r.ref()
	r.list(wire.Blanks, func() { x.coins = append(x.coins, made{r.exponent(), r.output()}) })
}
