// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bhttp_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	peer "github.com/openpcc/bhttp"

	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// peerReads has another implementation read a request and returns what it saw,
// or an error where it refused.
func peerReads(msg []byte) (*peer.Request, string, error) {
	var seen *peer.Request
	d := &peer.RequestDecoder{MaxHeaderBytes: bhttp.DefaultMaxHead, MapFunc: func(ctx context.Context, r *peer.Request) (*http.Request, error) {
		seen = r
		return http.NewRequestWithContext(ctx, "POST", "https://a/", r.Body)
	}}
	r, err := d.DecodeRequest(context.Background(), bytes.NewReader(msg))
	if err != nil {
		return nil, "", err
	}
	content, err := io.ReadAll(r.Body)
	return seen, string(content), err
}

// agree demands that a request which both accept means the same to both.
func agree(t *testing.T, msg []byte) (both bool) {
	t.Helper()
	ours, err := bhttp.ParseRequest(msg)
	if err != nil {
		return false
	}
	theirs, content, err := peerReads(msg)
	if err != nil {
		return false
	}
	header := http.Header{}
	for _, f := range ours.Fields {
		header.Add(f.Name, f.Value)
	}
	c := theirs.ControlData
	if ours.Method != string(c.Method) || ours.Scheme != string(c.Scheme) || ours.Authority != string(c.Authority) ||
		ours.Path != string(c.Path) || string(ours.Content) != content || !reflect.DeepEqual(header, theirs.Header) {
		t.Fatalf("%x\nours   %+v\ntheirs %+v %q", msg, ours, theirs, content)
	}
	return true
}

// TestPeerAgreesOnIntegers: attack row CR-20 with a second parser.
func TestPeerAgreesOnIntegers(t *testing.T) {
	t.Run("CR-20", func(t *testing.T) {
		for _, msg := range []string{
			"\x00\x03GET\x05https\x01a\x01/\x04\x01b\x01c\x02hi\x00",
			"\x40\x00\x40\x03GET\x40\x05https\x40\x01a\x40\x01/\x40\x06\x40\x01b\x40\x01c\x40\x02hi\x40\x00",
			"\x80\x00\x00\x02\x80\x00\x00\x03GET\x05https\x01a\x01/\xc0\x00\x00\x00\x00\x00\x00\x01b\x80\x00\x00\x01c\x00\xc0\x00\x00\x00\x00\x00\x00\x02hi\x00\x00",
		} {
			if !agree(t, []byte(msg)) {
				t.Errorf("not accepted by both: %x", msg)
			}
		}
		for name, s := range samples() {
			if s.msg[0]&1 == 0 && !agree(t, []byte(s.msg)) {
				t.Errorf("%s: not accepted by both", name)
			}
		}
	})
}

// FuzzPeer looks for a request that two implementations read differently.
func FuzzPeer(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, in []byte) { agree(t, in) })
}

func TestPeerWritesRequests(t *testing.T) {
	content := strings.Repeat("0123456789", 5000)
	for name, enc := range map[string]*peer.RequestEncoder{
		"known": peer.NewKnownLengthRequestEncoder(), "indeterminate": peer.NewIndeterminateLengthRequestEncoder(),
		"padded": {PadToMultipleOf: 4096},
	} {
		r, err := http.NewRequest("POST", "https://router.sotto/v1/request?x", strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-A", "b")
		msg, err := enc.EncodeRequest(r)
		if err != nil {
			t.Fatal(err)
		}
		got := consume(msg, true, bhttp.Limits{}, 1000)
		if got.Err != "" || got.Content != content || got.Request.Authority != "router.sotto" || got.Request.Path != "/v1/request?x" {
			t.Errorf("%s: %+v, %q", name, got.Request, got.Err)
		}
	}
}

func TestPeerAndResponses(t *testing.T) {
	content := strings.Repeat("0123456789", 5000)
	for name, enc := range map[string]*peer.ResponseEncoder{
		"known": peer.NewKnownLengthResponseEncoder(), "indeterminate": peer.NewIndeterminateLengthResponseEncoder(),
	} {
		msg, err := enc.EncodeResponse(&http.Response{StatusCode: 418, ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1,
			Header: http.Header{"X-A": {"b"}}, Body: io.NopCloser(strings.NewReader(content))})
		if err != nil {
			t.Fatal(err)
		}
		got := consume(msg, false, bhttp.Limits{}, 0)
		if got.Err != "" || got.Content != content || got.Response.Status != 418 {
			t.Errorf("%s: %+v, %q", name, got.Response, got.Err)
		}
	}
	var out bytes.Buffer
	w, err := bhttp.NewResponseWriter(&out, &bhttp.ResponseHead{Status: 200, Fields: []bhttp.Field{{Name: "x-a", Value: "b"}}},
		bhttp.Informational{Status: 103, Fields: []bhttp.Field{{Name: "link", Value: "</a>"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{content, "tail"} {
		if _, err := io.WriteString(w, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(nil, 100); err != nil {
		t.Fatal(err)
	}
	r, err := (&peer.ResponseDecoder{}).DecodeResponse(context.Background(), &out)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r.Body); err != nil || string(got) != content+"tail" || r.StatusCode != 200 || r.Header.Get("X-A") != "b" {
		t.Errorf("the peer read %d, %d bytes, %v", r.StatusCode, len(got), err)
	}
}
