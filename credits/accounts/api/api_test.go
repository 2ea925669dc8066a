// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/credits/accounts/api"
)

// A zero reader makes keys that are the same each time.
type zero struct{}

func (zero) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// The values of docs/spec/accounts.md, section 7.
const (
	zeroKey     = "sotto_0000000000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	zeroKeyHash = "63779d44ed60a1453655d69c9c8387d0e1d3d2d258a7e7834b01f6c5fef755bf"
	redeemHash  = "735f8c52e0a3b3de11583ca34344837370c4a158aed44b93d749b0add35cf58c"
	work16      = 8411
)

func TestVectors(t *testing.T) {
	k, err := api.GenerateKey(zero{})
	if err != nil || k.Text() != zeroKey {
		t.Fatal(k.Text(), err)
	}
	if h := k.Hash(); hex.EncodeToString(h[:]) != zeroKeyHash {
		t.Errorf("hash %x", h)
	}
	if d := api.RedeemDigest(api.Account{1}, api.ID{2}); hex.EncodeToString(d[:]) != redeemHash {
		t.Errorf("redeem %x", d)
	}
	r := &api.IssueRequest{Request: api.ID{2}, Keyset: api.ID{3}, Tokens: []api.Want{{Exponent: 6, Blinded: api.Value{4}}}}
	if err := r.DoWork(context.Background(), api.Account{1}, 16); err != nil || r.Work != work16 {
		t.Errorf("work %d %v", r.Work, err)
	}
}

func TestKey(t *testing.T) {
	a, err := api.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := api.ParseKey(a.Text())
	if err != nil || b.ID != a.ID || !b.Opens(a.Hash()) {
		t.Error("a key does not come back")
	}
	other, _ := api.GenerateKey(rand.Reader)
	other.ID = a.ID
	if other.Opens(a.Hash()) {
		t.Error("another secret opens")
	}
	for _, text := range []string{fmt.Sprint(a), fmt.Sprintf("%v %+v %#v %v", a, a, a, *a)} {
		if strings.Contains(text, a.Text()[23:]) || strings.Contains(text, fmt.Sprintf("%x", a.Text()[23:])) {
			t.Errorf("it prints: %s", text)
		}
	}
	if _, err := json.Marshal(map[string]any{"key": a}); err == nil {
		if b, _ := json.Marshal(a); bytes.Contains(b, []byte(a.Text()[23:])) {
			t.Error("it encodes")
		}
	}
	for _, text := range []string{"", zeroKey[1:], zeroKey + "A", strings.ToUpper(zeroKey), strings.Replace(zeroKey, "_A", "-A", 1),
		zeroKey[:len(zeroKey)-1] + "B", zeroKey[:len(zeroKey)-1] + "=", zeroKey[:len(zeroKey)-1] + "\n", strings.Replace(zeroKey, "0_", "g_", 1)} {
		if _, err := api.ParseKey(text); err != api.ErrKey {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := api.GenerateKey(strings.NewReader("short")); err == nil {
		t.Error("randomness that ends")
	}
}

func TestWork(t *testing.T) {
	r := &api.IssueRequest{Request: api.ID{1}, Tokens: []api.Want{{Exponent: 1, Blinded: api.Value{1}}, {Exponent: 2}}}
	if err := r.DoWork(t.Context(), api.Account{1}, 10); err != nil || !r.Worked(api.Account{1}, 10) {
		t.Fatal(err)
	}
	// With 10 bits one in 1024 other digests would be good for 10 bits, too: the
	// hardest that the work is good for is for this request alone.
	hard := 10
	for r.Worked(api.Account{1}, hard+1) {
		hard++
	}
	for what, change := range map[string]func(*api.IssueRequest){
		"request": func(r *api.IssueRequest) { r.Request[31]++ }, "keyset": func(r *api.IssueRequest) { r.Keyset[0]++ },
		"exponent": func(r *api.IssueRequest) { r.Tokens[0].Exponent++ }, "blinded": func(r *api.IssueRequest) { r.Tokens[1].Blinded[31]++ },
		"fewer": func(r *api.IssueRequest) { r.Tokens = r.Tokens[:1] }, "work": func(r *api.IssueRequest) { r.Work++ },
	} {
		x := *r
		x.Tokens = append([]api.Want(nil), r.Tokens...)
		change(&x)
		if x.Worked(api.Account{1}, hard) {
			t.Errorf("%s: the work is good for another", what)
		}
	}
	if r.Worked(api.Account{2}, hard) {
		t.Error("the work is good for another account")
	}
	if !r.Worked(api.Account{9}, 0) {
		t.Error("no work is asked for, and it is not there")
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := r.DoWork(ctx, api.Account{1}, 40); err == nil {
		t.Error("it works on for nobody")
	}
}

func documents() [][]byte {
	var out [][]byte
	for _, v := range []any{
		api.IssueRequest{Tokens: []api.Want{{Exponent: 6}, {Exponent: 40, Blinded: api.Value{1}}}, Work: 7},
		api.RedeemRequest{Vouchers: []api.Voucher{{Exponent: 6}}}, api.TopUp{Event: "evt", Amount: 7, Currency: "eur"},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		out = append(out, b)
	}
	return append(out, []byte(`{"request":"`), []byte(`{"a":{"a":[{"a":[1]}]}}`), []byte(`{"request":1,"request":2}`), []byte(`null`), []byte(`{"\u0072equest":""}`), []byte(" {} "))
}

// FuzzDecode: what is accepted means one thing. It reads the same when printed,
// and no reader of JSON who takes the first of two members, or another case,
// reads something else.
func FuzzDecode(f *testing.F) {
	for _, b := range documents() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, v := range []any{new(api.IssueRequest), new(api.RedeemRequest), new(api.TopUp)} {
			if api.Decode(in, v) != nil {
				continue
			}
			out, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			again := reflect.New(reflect.TypeOf(v).Elem()).Interface()
			if err := api.Decode(out, again); err != nil && !strings.Contains(string(out), ":null") {
				t.Fatalf("accepted %q, printed %q, which is refused", in, out)
			} else if err == nil && !reflect.DeepEqual(v, again) {
				t.Errorf("accepted %q, printed %q, which is another", in, out)
			}
			var loose map[string]json.RawMessage
			if err := json.Unmarshal(in, &loose); err != nil {
				t.Errorf("accepted %q, which is no object", in)
			}
			for name := range loose {
				if !strings.Contains(string(out), `"`+name+`"`) && string(loose[name]) != "0" && name != "work" {
					t.Errorf("accepted %q, with %q that means nothing", in, name)
				}
			}
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Add(zeroKey)
	k, err := api.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(k.Text())
	f.Add(k.Text()[:65] + "\n")
	f.Fuzz(func(t *testing.T, in string) {
		k, err := api.ParseKey(in)
		if err != nil {
			if k != nil || err != api.ErrKey {
				t.Error("a value beside an error")
			}
			return
		}
		if k.Text() != in {
			t.Errorf("accepted %q, printed %q", in, k.Text())
		}
	})
}
