// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"
	"testing/cryptotest"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/internal/fresh"
	"github.com/sotto-project/sotto/hpke/internal/stream"
	"github.com/sotto-project/sotto/hpke/recipient"
)

func candidates(t testing.TB, k int) (to []Candidate, keys []*recipient.PrivateKey) {
	t.Helper()
	for i := range k {
		key, err := recipient.GenerateKey(hpke.KEMMLKEM768P256)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
		to = append(to, Candidate{NodeID: [32]byte{byte(i)}, Key: key.PublicKey()})
	}
	return to, keys
}

func TestRandomness(t *testing.T) {
	to, _ := candidates(t, 1)
	p := Params{MediaType: 1, Candidates: to}
	t.Run("CR-34", func(t *testing.T) {
		numbers := make([]byte, 32)
		rand.Read(numbers)
		for name, r := range map[string]io.Reader{
			"none at all":      bytes.NewReader(nil),
			"ends after DEK":   bytes.NewReader(numbers),
			"DEK again":        bytes.NewReader(append(bytes.Clone(numbers), numbers...)),
			"zeros":            bytes.NewReader(make([]byte, 64)),
			"short of a nonce": bytes.NewReader(append(bytes.Clone(numbers), 1, 2, 3)),
		} {
			source := fresh.New(r)
			for range 2 {
				if r, err := seal(p, source); err != ErrRandomness || r != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	})
	t.Run("CR-34 generator repeats", func(t *testing.T) {
		// Every random byte of the process, the encapsulation's too, comes twice:
		// the ephemeral keys do repeat, and nothing that is keyed does.
		cryptotest.SetGlobalRandom(t, 34)
		a, err := Seal(p)
		if err != nil {
			t.Fatal(err)
		}
		cryptotest.SetGlobalRandom(t, 34)
		b, err := Seal(p)
		if err != nil {
			t.Fatal(err)
		}
		ea, eb := a.header.Entries[0], b.header.Entries[0]
		if !bytes.Equal(ea.Enc, eb.Enc) {
			t.Skip("the encapsulation did not repeat: this build cannot show it")
		}
		if a.header.Common.BodyNonce == b.header.Common.BodyNonce || bytes.Equal(a.secrets[0], b.secrets[0]) {
			t.Error("body nonce or response secret repeats")
		}
		// One HPKE key for two DEKs would show their difference.
		if bytes.Equal(ea.SealedDEK, eb.SealedDEK) {
			t.Error("sealed key repeats")
		}
		if frame(t, a) == frame(t, b) {
			t.Error("key stream repeats")
		}
	})
	t.Run("CR-34 machine cloned", func(t *testing.T) {
		numbers := make([]byte, 64)
		rand.Read(numbers)
		nonce := func(hedge string) [32]byte {
			q := p
			q.Hedge = []byte(hedge)
			r, err := seal(q, fresh.New(bytes.NewReader(numbers)))
			if err != nil {
				t.Fatal(err)
			}
			return r.header.Common.BodyNonce
		}
		if a, b := nonce(""), nonce(""); a != b {
			t.Error("the clones differ: the case below shows nothing")
		}
		if nonce("a prompt") == nonce("another prompt") {
			t.Error("hedge is not mixed in")
		}
	})
}

// frame is the first frame of a body of zeros.
func frame(t *testing.T, r *Request) string {
	t.Helper()
	var out bytes.Buffer
	b := r.Body(&out)
	b.Write(make([]byte, 100))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestFrameLimit(t *testing.T) {
	to, keys := candidates(t, 1)
	t.Run("CR-35", func(t *testing.T) {
		const limit = 3
		for chunks := 1; chunks <= limit+2; chunks++ {
			r, err := Seal(Params{MediaType: 1, Candidates: to})
			if err != nil {
				t.Fatal(err)
			}
			r.limit = limit
			var sealed bytes.Buffer
			b := r.Body(&sealed)
			_, err = b.Write(make([]byte, chunks*hpke.ChunkSize))
			if err == nil {
				err = b.Close()
			}
			if want := min(chunks, limit) * (hpke.ChunkSize + 20); sealed.Len() != want {
				t.Errorf("%d chunks: %d bytes written, want %d", chunks, sealed.Len(), want)
			}
			opened, oerr := recipient.Open(r.Header().Forward(0), keys[0])
			if oerr != nil {
				t.Fatal(oerr)
			}
			_, oerr = io.ReadAll(opened.Body(&sealed))
			if chunks <= limit {
				if err != nil || oerr != nil {
					t.Errorf("%d chunks: sealed %v, opened %v", chunks, err, oerr)
				}
				continue
			}
			if err != ErrLimit || b.Close() != ErrLimit {
				t.Errorf("%d chunks: sealed %v", chunks, err)
			}
			if _, err := b.Write(nil); err != ErrLimit {
				t.Errorf("%d chunks: and again: %v", chunks, err)
			}
			if oerr != hpke.ErrTruncated {
				t.Errorf("%d chunks: what was left behind opens: %v", chunks, oerr)
			}
			if _, err := r.OpenResponse(bytes.NewReader(make([]byte, 40))); err != ErrRefused {
				t.Errorf("%d chunks: an answer: %v", chunks, err)
			}
		}
	})
	t.Run("CR-35 opening", func(t *testing.T) {
		r, rw, answer := answered(t, to, keys)
		r.limit = 2
		for i := range 3 {
			if err := rw.WriteFrame([]byte("x"), 0, i == 2); err != nil {
				t.Fatal(err)
			}
		}
		rr, err := r.OpenResponse(answer)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(rr); err != ErrLimit || string(got) != "xx" {
			t.Errorf("%q, %v", got, err)
		}
	})
	if hpke.MaxFrames >= 1<<32 {
		t.Error("the limit is beyond the AEAD's")
	}
}

// answered is a request whose node is ready to answer.
func answered(t testing.TB, to []Candidate, keys []*recipient.PrivateKey) (*Request, *recipient.ResponseWriter, *bytes.Buffer) {
	t.Helper()
	r, err := Seal(Params{MediaType: 1, Candidates: to})
	if err != nil {
		t.Fatal(err)
	}
	var sealed, answer bytes.Buffer
	if err := r.Body(&sealed).Close(); err != nil {
		t.Fatal(err)
	}
	opened, err := recipient.Open(r.Header().Forward(0), keys[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(opened.Body(&sealed)); err != nil {
		t.Fatal(err)
	}
	rw, err := opened.Respond(&answer)
	if err != nil {
		t.Fatal(err)
	}
	return r, rw, &answer
}

// TestFramePlaintexts: a node that holds the key and does not keep to the
// layout is refused.
func TestFramePlaintexts(t *testing.T) {
	for name, c := range map[string]struct {
		plaintext string
		want      string // delivered; ! if refused
	}{
		"dummy":            {"\x00\x00\x00\x00", ""},
		"padded dummy":     {"\x00\x00\x00\x00\x00\x00", ""},
		"data":             {"\x00\x00\x00\x02hi", "hi"},
		"padded":           {"\x00\x00\x00\x02hi\x00\x00\x00", "hi"},
		"padding not zero": {"\x00\x00\x00\x02hi\x00\x01\x00", "!"},
		"data too long":    {"\x00\x00\x00\x03hi", "!"},
		"length wraps":     {"\xff\xff\xff\xffhi", "!"},
		"length -4":        {"\xff\xff\xff\xfchi", "!"},
		"no length":        {"\x00\x00\x00", "!"},
		"empty":            {"", "!"},
	} {
		r, key := ownKey(t)
		var out bytes.Buffer
		s := stream.NewSealer(&out, key, nil, 0)
		f, err := s.Seal(stream.GetBuffer(), []byte(c.plaintext), true)
		if err != nil {
			t.Fatal(err)
		}
		s.Write(f)
		rr, err := r.OpenResponse(io.MultiReader(bytes.NewReader(append([]byte{1, 0}, make([]byte, 32)...)), &out))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rr)
		if c.want == "!" {
			if err != ErrRefused || len(got) > 0 {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		} else if err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// ownKey is a request with known secrets, and the key of its response with the
// all-zero nonce.
func ownKey(t testing.TB) (*Request, *stream.Key) {
	t.Helper()
	r := &Request{
		header:  &hpke.Header{Common: hpke.Common{K: 1}, Entries: []hpke.Entry{{Enc: []byte("enc")}}},
		secrets: [][]byte{make([]byte, 32)},
	}
	r.requestHash.Store(new([32]byte))
	key, err := (&stream.Answer{Secret: r.secrets[0], Enc: []byte("enc")}).Key()
	if err != nil {
		t.Fatal(err)
	}
	return r, key
}

// FuzzResponseReader: whatever comes, what is delivered is what was sealed, and
// the end is a typed refusal or the end.
func FuzzResponseReader(f *testing.F) {
	r, key := ownKey(f)
	var out bytes.Buffer
	out.Write(append([]byte{1, 0}, make([]byte, 32)...))
	s := stream.NewSealer(&out, key, nil, 0)
	buf := stream.GetBuffer()
	for i, p := range []string{"\x00\x00\x00\x05hello\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x01!"} {
		frame, err := s.Seal(buf, []byte(p), i == 2)
		if err != nil {
			f.Fatal(err)
		}
		s.Write(frame)
	}
	good := out.Bytes()
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(good[:34])
	f.Add(append(bytes.Clone(good[:34]), 0xff, 0xff, 0xff, 0xff))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		rd := bytes.NewReader(in)
		rr, err := r.OpenResponse(rd)
		var got []byte
		if err == nil {
			got, err = io.ReadAll(rr)
		}
		if err == nil {
			if used := in[:len(in)-rd.Len()]; !bytes.Equal(used, good) || string(got) != "hello!" {
				t.Errorf("accepted %x as %q", used, got)
			}
			return
		}
		if coded := (*hpke.Error)(nil); !errors.As(err, &coded) || !bytes.HasPrefix([]byte("hello!"), got) {
			t.Errorf("delivered %q, then %v", got, err)
		}
	})
}
