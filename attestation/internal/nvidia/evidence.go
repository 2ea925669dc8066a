// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia

import (
	"golang.org/x/crypto/cryptobyte"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// magic opens GPU evidence; the last byte is the version of the format.
const magic = "sotto-gpu\x00\x01"

// Caps. They are above what eight GPUs with four switches need. Nothing is
// verified twice, and the first signature that does not hold ends it, so that
// who has no GPU that signs costs a verifier one chain and one report. Who has
// some can cost it what honest evidence of as many devices does, a few
// milliseconds each: their number is bounded by [Options.Devices].
const (
	maxCertificates = 96
	maxCertificate  = 4 << 10
	maxAnswer       = 4 << 10
	maxManifests    = 8
	maxManifest     = 128 << 10
	maxDevices      = 24
	maxReport       = 16 << 10
	maxToken        = 16 << 10
	minChain        = 3
	maxChain        = 6
)

// none stands where a device has no manifest.
const none = 0xff

// An Arch is a GPU architecture.
type Arch uint8

// The architectures that this version reads. Only Hopper was checked against
// evidence recorded on hardware.
const (
	Hopper    Arch = 1
	Blackwell Arch = 2
)

// String names the architecture as NVIDIA's tools do.
func (a Arch) String() string {
	switch a {
	case Hopper:
		return "HOPPER"
	case Blackwell:
		return "BLACKWELL"
	}
	return "unknown"
}

// A Kind says what a device is.
type Kind uint8

// The kinds of device.
const (
	GPU    Kind = 1
	Switch Kind = 2
)

// String names the kind in words.
func (k Kind) String() string {
	switch k {
	case GPU:
		return "GPU"
	case Switch:
		return "NVSwitch"
	}
	return "unknown device"
}

// A Certificate is one certificate of a device chain, with the OCSP response
// about it. The response is empty for roots and for leaves: no service knows a
// leaf, which the device issued to itself at start.
type Certificate struct {
	DER, OCSP []byte
}

// A Manifest is a reference integrity manifest: a signed SWID tag (TCG RIM
// Information Model 1.01), and the OCSP responses about the certificates inside
// its signature, signer first, the root left out.
type Manifest struct {
	SWID []byte
	OCSP [][]byte
}

// A Source is what came from one device. Chain holds indices into the
// certificates, leaf first and root last; Driver and VBIOS index the manifests,
// or are 0xff where the device has none.
type Source struct {
	Kind          Kind
	Report        []byte
	Chain         []byte
	Driver, VBIOS uint8
}

// A Token is what NVIDIA's remote service answered for the devices of one kind:
// the overall JWT, and one JWT a device in the order of the devices.
type Token struct {
	Kind    Kind
	Overall []byte
	Devices [][]byte
}

// Evidence is the piece that says what GPUs and switches a node has:
//
//	enum { hopper(1), blackwell(2) } Arch;
//	enum { gpu(1), switch(2) } Kind;
//
//	struct {
//	    opaque der<1..4096>;        // X.509
//	    opaque ocsp<0..4096>;       // RFC 6960; empty for leaves and roots
//	} Certificate;
//
//	struct {
//	    opaque swid<1..131072>;     // length: uint24
//	    uint8  answers;             // at most 5
//	    opaque ocsp[answers]<1..4096>;
//	} Manifest;
//
//	struct {
//	    Kind   kind;
//	    opaque report<1..16384>;    // SPDM 1.1 GET_MEASUREMENTS || MEASUREMENTS
//	    opaque chain<3..6>;         // length: uint8; certificate numbers
//	    uint8  driver, vbios;       // manifest numbers; 255: none
//	} Device;
//
//	struct {
//	    Kind   kind;
//	    opaque overall<1..16384>;   // JWT
//	    uint8  count;               // devices of that kind
//	    opaque device[count]<1..16384>;
//	} Token;
//
//	struct {
//	    opaque magic[11] = "sotto-gpu" || 0x00 || 0x01;
//	    Arch   arch;
//	    uint8  certificates;  Certificate certificate[certificates];
//	    uint8  manifests;     Manifest    manifest[manifests];
//	    uint8  devices;       Device      device[devices];
//	    uint8  tokens;        Token       token[tokens];
//	} Evidence;
//
// Lengths are uint16 where nothing else is said, all numbers big-endian. There
// is one spelling: certificates and manifests are distinct, stand in the order
// in which the devices first name them and are all named, a device's driver
// before its vbios; GPUs stand before switches; a kind has at most one token.
// At most 96 certificates, 8 manifests and 24 devices.
type Evidence struct {
	Arch         Arch
	Certificates []Certificate
	Manifests    []Manifest
	Devices      []Source
	Tokens       []Token
}

var errFormat = refuse.As(refuse.GPU, "malformed evidence")

// Parse reads one piece of GPU evidence and nothing after it. What it returns
// aliases b.
func Parse(b []byte) (*Evidence, error) {
	s := cryptobyte.String(b)
	var head []byte
	var arch, certificates, manifests, devices, tokens uint8
	e := new(Evidence)
	if !s.ReadBytes(&head, len(magic)) || string(head) != magic || !s.ReadUint8(&arch) || !s.ReadUint8(&certificates) {
		return nil, errFormat
	}
	e.Arch = Arch(arch)
	for range certificates {
		var c Certificate
		if !read16(&s, &c.DER) || !read16(&s, &c.OCSP) {
			return nil, errFormat
		}
		e.Certificates = append(e.Certificates, c)
	}
	if !s.ReadUint8(&manifests) {
		return nil, errFormat
	}
	for range manifests {
		m, ok := readManifest(&s)
		if !ok {
			return nil, errFormat
		}
		e.Manifests = append(e.Manifests, m)
	}
	if !s.ReadUint8(&devices) {
		return nil, errFormat
	}
	for range devices {
		var d Source
		var kind uint8
		var chain cryptobyte.String
		if !s.ReadUint8(&kind) || !read16(&s, &d.Report) || !s.ReadUint8LengthPrefixed(&chain) || !s.ReadUint8(&d.Driver) || !s.ReadUint8(&d.VBIOS) {
			return nil, errFormat
		}
		d.Kind, d.Chain = Kind(kind), chain
		e.Devices = append(e.Devices, d)
	}
	if !s.ReadUint8(&tokens) {
		return nil, errFormat
	}
	for range tokens {
		t, ok := readToken(&s)
		if !ok {
			return nil, errFormat
		}
		e.Tokens = append(e.Tokens, t)
	}
	if !s.Empty() {
		return nil, errFormat
	}
	return e, e.Check()
}

func read16(s *cryptobyte.String, out *[]byte) bool {
	var v cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&v) {
		return false
	}
	*out = v
	return true
}

func readManifest(s *cryptobyte.String) (m Manifest, ok bool) {
	var swid cryptobyte.String
	var answers uint8
	if !s.ReadUint24LengthPrefixed(&swid) || !s.ReadUint8(&answers) {
		return m, false
	}
	m.SWID = swid
	for range answers {
		var a []byte
		if !read16(s, &a) {
			return m, false
		}
		m.OCSP = append(m.OCSP, a)
	}
	return m, true
}

func readToken(s *cryptobyte.String) (t Token, ok bool) {
	var kind, count uint8
	if !s.ReadUint8(&kind) || !read16(s, &t.Overall) || !s.ReadUint8(&count) {
		return t, false
	}
	t.Kind = Kind(kind)
	for range count {
		var d []byte
		if !read16(s, &d) {
			return t, false
		}
		t.Devices = append(t.Devices, d)
	}
	return t, true
}

// Check reports whether the evidence could have come out of [Parse].
func (e *Evidence) Check() error {
	if e.Arch != Hopper && e.Arch != Blackwell || len(e.Devices) == 0 ||
		len(e.Certificates) > maxCertificates || len(e.Manifests) > maxManifests || len(e.Devices) > maxDevices {
		return errFormat
	}
	for _, check := range []func() bool{e.checkTables, e.checkDevices, e.checkTokens} {
		if !check() {
			return errFormat
		}
	}
	return nil
}

func sized(b []byte, low, high int) bool { return len(b) >= low && len(b) <= high }

// checkTables looks at sizes, and that nothing is said twice.
func (e *Evidence) checkTables() bool {
	seen := map[string]bool{}
	for _, c := range e.Certificates {
		if !sized(c.DER, 1, maxCertificate) || len(c.OCSP) > maxAnswer || seen[string(c.DER)] {
			return false
		}
		seen[string(c.DER)] = true
	}
	for _, m := range e.Manifests {
		if !sized(m.SWID, 1, maxManifest) || len(m.OCSP) > maxChain-1 || seen[string(m.SWID)] {
			return false
		}
		seen[string(m.SWID)] = true
		for _, a := range m.OCSP {
			if !sized(a, 1, maxAnswer) {
				return false
			}
		}
	}
	return true
}

// checkDevices looks at the references: every entry used, in the order of first
// use.
func (e *Evidence) checkDevices() bool {
	certificates, manifests := 0, 0
	use := func(i uint8, next *int) bool {
		if int(i) == *next {
			*next++
		}
		return int(i) < *next
	}
	last := GPU
	for _, d := range e.Devices {
		if d.Kind != GPU && d.Kind != Switch || d.Kind < last || !sized(d.Report, 1, maxReport) || !sized(d.Chain, minChain, maxChain) {
			return false
		}
		last = d.Kind
		for _, i := range d.Chain {
			if !use(i, &certificates) {
				return false
			}
		}
		for _, i := range []uint8{d.Driver, d.VBIOS} {
			if i != none && !use(i, &manifests) {
				return false
			}
		}
	}
	return certificates == len(e.Certificates) && manifests == len(e.Manifests)
}

func (e *Evidence) checkTokens() bool {
	last := Kind(0)
	for _, t := range e.Tokens {
		if t.Kind != GPU && t.Kind != Switch || t.Kind <= last || len(t.Devices) == 0 || len(t.Devices) != e.count(t.Kind) || !sized(t.Overall, 1, maxToken) {
			return false
		}
		last = t.Kind
		for _, d := range t.Devices {
			if !sized(d, 1, maxToken) {
				return false
			}
		}
	}
	return true
}

func (e *Evidence) count(k Kind) (n int) {
	for _, d := range e.Devices {
		if d.Kind == k {
			n++
		}
	}
	return n
}

// Static is where, in the printed evidence, the certificates and the manifests
// stand, answers about both included: offsets of the first byte and of the one
// after the last. What devices report anew each time comes after them.
func (e *Evidence) Static() (certificates, manifests [2]int) {
	at := len(magic) + 2
	certificates[0] = at
	for _, c := range e.Certificates {
		at += 4 + len(c.DER) + len(c.OCSP)
	}
	certificates[1] = at
	at++
	manifests[0] = at
	for _, m := range e.Manifests {
		at += 4 + len(m.SWID)
		for _, a := range m.OCSP {
			at += 2 + len(a)
		}
	}
	manifests[1] = at
	return certificates, manifests
}

// Append prints the evidence after dst. It fails where [Evidence.Check] does.
func (e *Evidence) Append(dst []byte) ([]byte, error) {
	if err := e.Check(); err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(dst)
	add16 := func(v []byte) { b.AddUint16LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(v) }) }
	b.AddBytes([]byte(magic))
	b.AddUint8(uint8(e.Arch))
	b.AddUint8(uint8(len(e.Certificates)))
	for _, c := range e.Certificates {
		add16(c.DER)
		add16(c.OCSP)
	}
	b.AddUint8(uint8(len(e.Manifests)))
	for _, m := range e.Manifests {
		b.AddUint24LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(m.SWID) })
		b.AddUint8(uint8(len(m.OCSP)))
		for _, a := range m.OCSP {
			add16(a)
		}
	}
	b.AddUint8(uint8(len(e.Devices)))
	for _, d := range e.Devices {
		b.AddUint8(uint8(d.Kind))
		add16(d.Report)
		b.AddUint8LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(d.Chain) })
		b.AddUint8(d.Driver)
		b.AddUint8(d.VBIOS)
	}
	b.AddUint8(uint8(len(e.Tokens)))
	for _, t := range e.Tokens {
		b.AddUint8(uint8(t.Kind))
		add16(t.Overall)
		b.AddUint8(uint8(len(t.Devices)))
		for _, d := range t.Devices {
			add16(d)
		}
	}
	return b.Bytes()
}
