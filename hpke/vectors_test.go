// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package hpke_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	stdhpke "crypto/hpke"
	"crypto/mlkem"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"reflect"
	"testing"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/hpke/sender"
)

var update = flag.Bool("update", false, "seal new vectors into testdata/sealed-request.json")

const vectorFile = "testdata/sealed-request.json"

// The vectors, as docs/spec/sealed-request.md, section 11 describes them.
type (
	vectorCase struct {
		Name           string        `json:"name"`
		Epoch          uint64        `json:"epoch"`
		MediaType      uint8         `json:"media_type"`
		Policy         uint8         `json:"policy"`
		Nodes          []vectorNode  `json:"nodes"`
		Header         bin           `json:"header"`
		Common         bin           `json:"common"`
		CommonHash     bin           `json:"common_hash"`
		CandidatesHash bin           `json:"candidates_hash"`
		BodyNonce      bin           `json:"body_nonce"`
		DEK            bin           `json:"dek"`
		Commitment     bin           `json:"commitment"`
		Entries        []vectorEntry `json:"entries"`
		HeaderHash     bin           `json:"header_hash"`

		BodyLength  int `json:"body_length"` // the body is that many bytes, byte i being i mod 251
		BodyKey     bin `json:"body_key"`
		BodyBase    bin `json:"body_base_nonce"`
		LastFrame   bin `json:"last_body_frame"`
		SealedBody  bin `json:"sealed_body,omitempty"` // left out where it is long
		RequestHash bin `json:"request_hash"`

		Responses []vectorResponse `json:"responses"`
		Refusals  []vectorRefusal  `json:"refusals,omitempty"`
	}
	vectorNode struct {
		ID        bin `json:"node_id"`
		Seed      bin `json:"mlkem_seed"`
		Scalar    bin `json:"p256_scalar"`
		PublicKey bin `json:"public_key"`
	}
	vectorEntry struct {
		Info      bin `json:"info"`
		Enc       bin `json:"enc"`
		SealedDEK bin `json:"sealed_dek"`
		Hash      bin `json:"hash"`
		Secret    bin `json:"response_secret"`
		Forwarded bin `json:"forwarded"`
	}
	vectorResponse struct {
		Index  uint8         `json:"index"`
		Nonce  bin           `json:"nonce"`
		Key    bin           `json:"key"`
		Base   bin           `json:"base_nonce"`
		Bytes  bin           `json:"response"`
		Frames []vectorFrame `json:"frames"`
	}
	vectorFrame struct {
		Data  bin  `json:"data"`
		Size  int  `json:"plaintext_size"`
		Final bool `json:"final"`
	}
	vectorRefusal struct {
		What  string `json:"what"`
		By    string `json:"by"` // node 0 reads a body, or the client a response
		Bytes bin    `json:"bytes"`
		Code  string `json:"code"`
	}
)

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	var cases []vectorCase
	readJSON(t, vectorFile, &cases)
	if len(cases) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range cases {
		t.Run(v.Name, func(t *testing.T) {
			if got := secondImplementation(t, v, sealedBody(t, v)); !reflect.DeepEqual(got, v) {
				a, _ := json.MarshalIndent(v, "", " ")
				b, _ := json.MarshalIndent(got, "", " ")
				t.Errorf("recorded:\n%.4000s\ncomputed:\n%.4000s", a, b)
			}
			checkNode(t, v)
		})
	}
}

// checkNode opens the vector with this package's own code.
func checkNode(t *testing.T, v vectorCase) {
	h, err := hpke.ReadHeader(bytes.NewReader(v.Header))
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range v.Nodes {
		f := h.Forward(i)
		if !bytes.Equal(f.Append(nil), v.Entries[i].Forwarded) {
			t.Errorf("node %d: forwarded otherwise", i)
		}
		r, err := recipient.Open(f, n.key(t))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body(bytes.NewReader(sealedBody(t, v))))
		if err != nil || !bytes.Equal(body, pattern(v.BodyLength)) {
			t.Errorf("node %d: body of %d bytes, %v", i, len(body), err)
		}
	}
	for _, bad := range v.Refusals {
		if bad.By != "node 0" {
			continue // hpke/sender checks the client's
		}
		r, err := recipient.Open(h.Forward(0), v.Nodes[0].key(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r.Body(bytes.NewReader(bad.Bytes))); code(err) != bad.Code {
			t.Errorf("%s: %v, want %s", bad.What, err, bad.Code)
		}
	}
}

func (n *vectorNode) halves(t *testing.T) (*mlkem.DecapsulationKey768, *ecdh.PrivateKey) {
	t.Helper()
	pq, err := mlkem.NewDecapsulationKey768(n.Seed)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdh.P256().NewPrivateKey(n.Scalar)
	if err != nil {
		t.Fatal(err)
	}
	return pq, p256
}

func (n *vectorNode) key(t *testing.T) *recipient.PrivateKey {
	t.Helper()
	k, err := recipient.NewHybridKey(n.halves(t))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func sum(parts ...[]byte) bin {
	h := sha256.Sum256(bytes.Join(parts, nil))
	return h[:]
}

func expand(t *testing.T, prk []byte, info []byte, n int) bin {
	t.Helper()
	b, err := hkdf.Expand(sha256.New, prk, string(info), n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func extract(t *testing.T, salt, secret []byte) []byte {
	t.Helper()
	prk, err := hkdf.Extract(sha256.New, secret, salt)
	if err != nil {
		t.Fatal(err)
	}
	return prk
}

// gcm is the AEAD of a stream and the nonce of its frame n.
func gcm(t *testing.T, key, base []byte, n int) (cipher.AEAD, []byte) {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := bytes.Clone(base)
	tail := binary.BigEndian.Uint32(nonce[8:]) ^ uint32(n)
	binary.BigEndian.PutUint32(nonce[8:], tail)
	return aead, nonce
}

// sealedBody is the recorded body, or what the recorded key makes of it: sealing
// a body is deterministic once there is a header.
func sealedBody(t *testing.T, v vectorCase) []byte {
	if v.SealedBody != nil {
		return v.SealedBody
	}
	var out []byte
	body := pattern(v.BodyLength)
	for n := 0; ; n++ {
		chunk := body[:min(len(body), 16384)]
		body = body[len(chunk):]
		head := uint32(len(chunk) + 16)
		if len(body) == 0 {
			head |= 1 << 31
		}
		aad := binary.BigEndian.AppendUint32(nil, head)
		aead, nonce := gcm(t, v.BodyKey, v.BodyBase, n)
		out = aead.Seal(append(out, aad...), nonce, chunk, aad)
		if len(body) == 0 {
			return out
		}
	}
}

// secondImplementation computes everything in v again from the private keys, the
// header and the responses, by the text of the spec and with nothing of ours.
func secondImplementation(t *testing.T, v vectorCase, sealed []byte) vectorCase {
	out := vectorCase{Name: v.Name, Header: v.Header, BodyLength: v.BodyLength, Refusals: v.Refusals}
	const commonSize, entrySize = 114, 32 + 1153 + 48
	c := v.Header[:commonSize]
	if !bytes.Equal(c[:7], []byte{1, 0, 0x50, 0, 1, 0, 2}) {
		t.Fatal("not version 1")
	}
	k := int(c[15])
	out.Common, out.CommonHash = c, sum(c)
	out.Epoch, out.MediaType, out.Policy = binary.BigEndian.Uint64(c[7:]), c[16], c[17]
	out.BodyNonce = c[18:50]
	ids := []byte{byte(k)}
	hashes := append([]byte("sotto sealed request v1 header\x00"), c...)
	for i := range k {
		e := v.Header[commonSize+i*entrySize:][:entrySize]
		ids = append(ids, e[:32]...)
		hashes = append(hashes, sum(e)...)
	}
	out.CandidatesHash = sum([]byte("sotto sealed request v1 candidates\x00"), ids)
	out.HeaderHash = sum(hashes)
	for i := range k {
		e := v.Header[commonSize+i*entrySize:][:entrySize]
		node := v.Nodes[i]
		pq, p256 := node.halves(t)
		out.Nodes = append(out.Nodes, vectorNode{
			ID: e[:32], Seed: node.Seed, Scalar: node.Scalar,
			PublicKey: append(pq.EncapsulationKey().Bytes(), p256.PublicKey().Bytes()...),
		})
		ve := vectorEntry{Enc: e[32:1185], SealedDEK: e[1185:], Hash: sum(e)}
		ve.Info = append([]byte("sotto sealed request v1 entry\x00"), byte(i))
		ve.Info = append(append(ve.Info, e[:32]...), out.CommonHash...)
		ve.Forwarded = bytes.Join([][]byte{c, {byte(i)}, hashes[len(hashes)-32*k:], e}, nil)
		key, err := stdhpke.NewHybridPrivateKey(pq, p256)
		if err != nil {
			t.Fatal(err)
		}
		ctx, err := stdhpke.NewRecipient(ve.Enc, key, stdhpke.HKDFSHA256(), stdhpke.AES256GCM(), ve.Info)
		if err != nil {
			t.Fatal(err)
		}
		dek, err := ctx.Open(out.CommonHash, ve.SealedDEK)
		if err != nil || out.DEK != nil && !bytes.Equal(dek, out.DEK) {
			t.Fatalf("entry %d: another key, %v", i, err)
		}
		out.DEK = dek
		secret, err := ctx.Export("sotto sr v1 response", 32)
		if err != nil {
			t.Fatal(err)
		}
		ve.Secret = secret
		out.Entries = append(out.Entries, ve)
	}
	prk := extract(t, out.BodyNonce, out.DEK)
	out.Commitment = expand(t, prk, []byte("sotto sr v1 commit"), 32)
	if want := join(out.CandidatesHash, out.Commitment); !bytes.Equal(c[50:], want) {
		t.Error("common part ends in other hashes")
	}
	out.BodyKey = expand(t, prk, join([]byte("sotto sr v1 body key"), out.HeaderHash), 32)
	out.BodyBase = expand(t, prk, join([]byte("sotto sr v1 body nonce"), out.HeaderHash), 12)
	out.RequestHash = sum(sealed)
	fs := frames(sealed)
	out.LastFrame = fs[len(fs)-1]
	if len(sealed) < 4096 {
		out.SealedBody = sealed
	}
	var body []byte
	for n, f := range fs {
		aead, nonce := gcm(t, out.BodyKey, out.BodyBase, n)
		pt, err := aead.Open(nil, nonce, f[4:], f[:4])
		if err != nil || (f[0]&0x80 != 0) != (n == len(fs)-1) {
			t.Fatalf("frame %d: %v", n, err)
		}
		body = append(body, pt...)
	}
	if !bytes.Equal(body, pattern(v.BodyLength)) {
		t.Error("body is another")
	}
	for _, r := range v.Responses {
		out.Responses = append(out.Responses, secondResponse(t, out, r.Bytes))
	}
	return out
}

func secondResponse(t *testing.T, v vectorCase, b []byte) vectorResponse {
	r := vectorResponse{Index: b[1], Nonce: b[2:34], Bytes: b}
	entry := v.Entries[r.Index]
	prk := extract(t, join(entry.Enc, r.Nonce), entry.Secret)
	context := join(v.HeaderHash, v.RequestHash, v.Nodes[r.Index].ID, []byte{r.Index})
	r.Key = expand(t, prk, join([]byte("sotto sr v1 response key"), context), 32)
	r.Base = expand(t, prk, join([]byte("sotto sr v1 response nonce"), context), 12)
	for n, f := range frames(b[34:]) {
		aead, nonce := gcm(t, r.Key, r.Base, n)
		pt, err := aead.Open(nil, nonce, f[4:], f[:4])
		if err != nil {
			t.Fatalf("response %d, frame %d: %v", r.Index, n, err)
		}
		data := pt[4 : 4+binary.BigEndian.Uint32(pt)]
		r.Frames = append(r.Frames, vectorFrame{Data: data, Size: len(pt), Final: f[0]&0x80 != 0})
	}
	return r
}

func writeVectors(t *testing.T) {
	var cases []vectorCase
	for _, c := range []struct {
		name    string
		k, body int
		frame   int
		data    []string
	}{
		{"three candidates, frames of 64", 3, 40, 64, []string{"In voce", "", " sotto."}},
		{"one candidate, empty body, frames as they come", 1, 0, 0, []string{""}},
		{"eight candidates, three chunks", 8, 2*hpke.ChunkSize + 1, 128, []string{"x"}},
	} {
		v := vectorCase{Name: c.name, BodyLength: c.body}
		w := new(world)
		for i := range c.k {
			seed := sha512.Sum512(fmt.Appendf(nil, "sotto vector ml-kem %d", i))
			scalar := sha256.Sum256(fmt.Appendf(nil, "sotto vector p-256 %d", i))
			id := sha256.Sum256(fmt.Appendf(nil, "sotto vector node %d", i))
			n := vectorNode{ID: id[:], Seed: seed[:], Scalar: scalar[:]}
			key := n.key(t)
			v.Nodes = append(v.Nodes, n)
			w.keys = append(w.keys, key)
			w.to = append(w.to, sender.Candidate{NodeID: id, Key: key.PublicKey()})
		}
		r, sealed := w.sealIn(t, 494000, pattern(c.body))
		v.Header = r.Header().Append(nil)
		for i := range c.k {
			opened, _, err := w.open(r.Header().Forward(i), i, sealed)
			if err != nil {
				t.Fatal(err)
			}
			v.Responses = append(v.Responses, vectorResponse{Bytes: w.answer(t, opened, c.frame, c.data...)})
		}
		if len(cases) == 0 {
			v.Refusals = refusals(sealed, v.Responses[0].Bytes, v.Responses[1].Bytes)
		}
		cases = append(cases, secondImplementation(t, v, sealed))
	}
	b, err := json.MarshalIndent(cases, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorFile, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// refusals are made of a body of one frame and two answers of three.
func refusals(body, answer, other []byte) []vectorRefusal {
	flip := func(b []byte, at int, bit byte) bin {
		b = bytes.Clone(b)
		b[at] ^= bit
		return b
	}
	fs := frames(answer[34:])
	asFinal := flip(fs[1], 0, 0x80)
	return []vectorRefusal{
		{"nothing", "node 0", bin{}, "stream.truncated"},
		{"cut inside the length", "node 0", body[:3], "stream.truncated"},
		{"cut inside the tag", "node 0", body[:len(body)-1], "stream.truncated"},
		{"final flag cleared", "node 0", flip(body, 0, 0x80), "stream.auth"},
		{"ciphertext changed", "node 0", flip(body, 10, 1), "stream.auth"},
		{"a byte behind the final frame", "node 0", append(bytes.Clone(body), 0), "stream.auth"},
		{"an answer as a body", "node 0", answer[34:], "stream.auth"},

		{"nothing", "client", bin{}, "stream.short"},
		{"cut inside the preface", "client", answer[:33], "stream.short"},
		{"preface only", "client", answer[:34], "stream.truncated"},
		{"final frame missing", "client", answer[:len(answer)-len(fs[2])], "stream.truncated"},
		{"inner frame presented as final", "client", join(answer[:34], fs[0], asFinal), "stream.truncated"},
		{"frames swapped", "client", join(answer[:34], fs[1], fs[0], fs[2]), "stream.auth"},
		{"frame repeated", "client", join(answer[:34], fs[0], fs[0]), "stream.auth"},
		{"said to be from another candidate", "client", flip(answer, 1, 1), "stream.auth"},
		{"another candidate's frames", "client", join(answer[:34], other[34:]), "stream.auth"},
		{"nonce changed", "client", flip(answer, 20, 1), "stream.auth"},
		{"no such candidate", "client", flip(answer, 1, 3), "stream.auth"},
		{"version 2", "client", flip(answer, 0, 3), "stream.auth"},
		{"the body as an answer", "client", body, "stream.auth"},
	}
}
