// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"testing"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/internal/stream"
)

// The attacks on requests and answers are tested with both halves together, in
// package encap. Here the published vectors are computed with.

type vector struct {
	priv *recipient.PrivateKey
	id   uint8
}

func (v vector) find(h ohttp.Header) (*recipient.PrivateKey, error) {
	if h.KeyID != v.id {
		return nil, ohttp.ErrKey
	}
	return v.priv, nil
}

// openWhole and openChunks open an answer from this side's secret, as the
// client does from its own: the vectors' ephemeral keys cannot be injected.
func openWhole(q *Request, b []byte) ([]byte, error) {
	n := stream.NonceSize(q.header.Suite)
	k, err := stream.NewResponseKeys(q.header.Suite, q.secret, q.enc, b[:n])
	if err != nil {
		return nil, err
	}
	return k.Open(nil, b[n:])
}

func openChunks(q *Request, b []byte) ([]byte, error) {
	r := stream.NewReader(bytes.NewReader(b))
	nonce, err := r.Preface(stream.NonceSize(q.header.Suite))
	if err != nil {
		return nil, err
	}
	k, err := stream.NewResponseKeys(q.header.Suite, q.secret, q.enc, nonce)
	if err != nil {
		return nil, err
	}
	r.Start(k.Open)
	return io.ReadAll(r)
}

func TestVectors(t *testing.T) {
	unhex := func(s any) []byte {
		b, err := hex.DecodeString(s.(string))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	load := func(name string) (v map[string]any) {
		raw, err := os.ReadFile("../../testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	vectorPair := func(sk, config any) vector {
		priv, err := recipient.ParsePrivateKey(hpke.KEMX25519, unhex(sk))
		if err != nil {
			t.Fatal(err)
		}
		conf, err := ohttp.ParseKeyConfig(unhex(config))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(conf.Key.Bytes(), priv.PublicKey().Bytes()) {
			t.Fatal("the vector's keys do not belong together")
		}
		return vector{priv, conf.ID}
	}
	t.Run("RFC 9458 Appendix A", func(t *testing.T) {
		v := load("rfc9458-appendix-a.json")
		p := vectorPair(v["receiver_private_key"], v["key_config"])
		q, err := Open(bytes.NewReader(unhex(v["encapsulated_request"])), ohttp.Whole, 1<<10, p.find)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(q)
		if err != nil || !bytes.Equal(got, unhex(v["request"])) {
			t.Fatalf("request opens as %x, %v", got, err)
		}
		ans, err := openWhole(q, unhex(v["encapsulated_response"]))
		if err != nil || !bytes.Equal(ans, unhex(v["response"])) {
			t.Errorf("response opens as %x, %v", ans, err)
		}
	})
	t.Run("draft-08 Appendix A", func(t *testing.T) {
		v := load("chunked-ohttp-draft-08.json")["vectors"].([]any)[0].(map[string]any)
		p := vectorPair(v["skR"], v["keyConfig"])
		q, err := Open(bytes.NewReader(unhex(v["encapsulatedRequest"])), ohttp.Chunked, 0, p.find)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		for i, c := range v["requestChunks"].([]any) {
			want := unhex(c.(map[string]any)["plaintext"])
			n, err := q.Read(buf)
			if !bytes.Equal(buf[:n], want) || err != nil && err != io.EOF {
				t.Errorf("chunk %d opens as %x, %v", i, buf[:n], err)
			}
		}
		if want := unhex(v["secret"]); !bytes.Equal(q.secret, want) {
			t.Errorf("secret %x, want %x", q.secret, want)
		}
		ans, err := openChunks(q, unhex(v["encapsulatedResponse"]))
		if err != nil || !bytes.Equal(ans, unhex(v["response"])) {
			t.Errorf("response opens as %x, %v", ans, err)
		}
	})
}
