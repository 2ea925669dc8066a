// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/internal/stream"
)

type bin []byte

func (b *bin) UnmarshalText(t []byte) (err error) {
	*b, err = hex.DecodeString(string(t))
	return err
}

// TestVectors is the client's half of the test of that name in package hpke:
// from the recorded secrets it seals the same body, and opens the responses.
func TestVectors(t *testing.T) {
	var cases []struct {
		Name       string
		Header     bin
		DEK        bin
		BodyLength int `json:"body_length"`
		Entries    []struct {
			Secret bin `json:"response_secret"`
		}
		LastFrame   bin `json:"last_body_frame"`
		RequestHash bin `json:"request_hash"`
		Responses   []struct {
			Index  int
			Bytes  bin `json:"response"`
			Frames []struct{ Data bin }
		}
		Refusals []struct {
			What, By, Code string
			Bytes          bin
		}
	}
	b, err := os.ReadFile("../testdata/sealed-request.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	for _, v := range cases {
		t.Run(v.Name, func(t *testing.T) {
			h, err := hpke.ReadHeader(bytes.NewReader(v.Header))
			if err != nil {
				t.Fatal(err)
			}
			r := &Request{header: h, hash: h.Hash()}
			for _, e := range v.Entries {
				r.secrets = append(r.secrets, e.Secret)
			}
			schedule, err := stream.NewSchedule(v.DEK, h.Common.BodyNonce)
			if err != nil {
				t.Fatal(err)
			}
			if r.body, err = schedule.Body(r.hash); err != nil {
				t.Fatal(err)
			}
			var sealed bytes.Buffer
			body := r.Body(&sealed)
			for i := range v.BodyLength {
				body.Write([]byte{byte(i % 251)})
			}
			if err := body.Close(); err != nil {
				t.Fatal(err)
			}
			if hash := r.requestHash.Load(); !bytes.Equal(hash[:], v.RequestHash) || !bytes.HasSuffix(sealed.Bytes(), v.LastFrame) {
				t.Error("another body")
			}
			for _, res := range v.Responses {
				var want []byte
				for _, f := range res.Frames {
					want = append(want, f.Data...)
				}
				rr, err := r.OpenResponse(bytes.NewReader(res.Bytes))
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(rr); err != nil || !bytes.Equal(got, want) || rr.Index() != res.Index {
					t.Errorf("response of %d: %q from %d, %v", res.Index, got, rr.Index(), err)
				}
			}
			for _, bad := range v.Refusals {
				if bad.By != "client" {
					continue
				}
				rr, err := r.OpenResponse(bytes.NewReader(bad.Bytes))
				if err == nil {
					_, err = io.ReadAll(rr)
				}
				if coded := (*hpke.Error)(nil); !errors.As(err, &coded) || coded.Code() != bad.Code {
					t.Errorf("%s: %v, want %s", bad.What, err, bad.Code)
				}
			}
		})
	}
}
