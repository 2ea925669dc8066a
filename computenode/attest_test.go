// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sotto-project/sotto/attestation/evidence"
)

func (f *fixture) challenge(epoch uint64, challenge []byte) *http.Response {
	f.t.Helper()
	q, err := json.Marshal(attestQuestion{epoch, challenge})
	if err != nil {
		f.t.Fatal(err)
	}
	return f.post(defaultRouter, "/v1/attest", bytes.NewReader(q))
}

// qualifying is what a quote of freshness evidence is over.
func qualifying(t *testing.T, raw []byte) []byte {
	t.Helper()
	b, err := evidence.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	quote, _ := b.Get(evidence.KindFreshQuote)
	a, err := tpm2.Unmarshal[tpm2.TPMSAttest](quote)
	if err != nil {
		t.Fatal(err)
	}
	return a.ExtraData.Buffer
}

func TestAttestQuotesTheCallersChallenge(t *testing.T) {
	f := newFixture(t, nil)
	var challenge [32]byte
	rand.Read(challenge[:])
	resp := f.challenge(7, challenge[:])
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || len(body)%attestSize != 0 {
		t.Fatalf("%d, %d bytes, %v", resp.StatusCode, len(body), err)
	}
	var a attestAnswer
	if err := json.Unmarshal(body, &a); err != nil || a.Epoch != 7 || !bytes.Equal(a.Evidence, f.record.EvidenceDigest[:]) {
		t.Fatalf("%+v, %v", a, err)
	}
	want := evidence.ChallengeQualifier(f.record.EvidenceDigest, challenge)
	t.Run("AT-03", func(t *testing.T) {
		if got := qualifying(t, a.Freshness); !bytes.Equal(got, want[:]) {
			t.Errorf("quoted %x, want %x", got, want)
		}
		// A challenge cannot be passed off as a checkpoint, nor the reverse.
		resp := f.post(defaultPublisher, "/v1/freshness", strings.NewReader(`{"epoch":7,"checkpoint":"eA=="}`))
		var fresh struct{ Evidence []byte }
		if err := json.NewDecoder(resp.Body).Decode(&fresh); err != nil {
			t.Fatal(err)
		}
		if got := qualifying(t, fresh.Evidence); bytes.Equal(got, want[:]) {
			t.Error("freshness evidence answers a challenge")
		}
	})
}

func TestAttestRefuses(t *testing.T) {
	f := newFixture(t, nil)
	good := strings.Repeat("A", 42) + "E=" // 32 bytes
	for body, code := range map[string]string{
		``: "attest.format", `{}`: "attest.format", `{"epoch":7}`: "attest.format",
		`{"epoch":7,"challenge":"AA=="}`:                                  "attest.format",
		`{"epoch":7,"challenge":"` + strings.Repeat("A", 43) + `="}`:      "attest.format", // all zero
		`{"epoch":7,"challenge":"` + good + `","x":1}`:                    "attest.format",
		`{"epoch":7,"challenge":"` + good + `"} {}`:                       "attest.format",
		`{"epoch":7,"challenge":"` + strings.Repeat("A", 2000) + `"}`:     "attest.format",
		`{"epoch":8,"challenge":"` + good + `"}`:                          "epoch",
		`{"epoch":18446744073709551615,"challenge":"` + good + `"}`:       "epoch",
		`{"epoch":-1,"challenge":"` + good + `"}`:                         "attest.format",
		`{"epoch":7,"epoch":7,"challenge":"` + good + `","challenge":[]}`: "attest.format",
	} {
		if got := problemOf(t, f.post(defaultRouter, "/v1/attest", strings.NewReader(body))); got != code {
			t.Errorf("%.60s: %q, want %q", body, got, code)
		}
	}
	if code := problemOf(t, f.post(defaultPublisher, "/v1/attest", strings.NewReader(`{}`))); code != "peer" {
		t.Errorf("a publisher: %q", code)
	}
	if !strings.Contains(f.metrics(), `sotto_node_attests_total{code="attest.format"}`) {
		t.Error("not counted")
	}
	f.node.Drain()
	if code := problemOf(t, f.challenge(7, bytes.Repeat([]byte{1}, 32))); code != "node.draining" {
		t.Errorf("draining: %q", code)
	}
}

func TestAttestSparesTheTPM(t *testing.T) {
	f := newFixture(t, nil)
	t.Run("DS-01", func(t *testing.T) {
		ok, busy := 0, 0
		var after uint64
		for i := range 40 {
			resp := f.challenge(7, bytes.Repeat([]byte{byte(i + 1)}, 32))
			switch resp.StatusCode {
			case http.StatusOK:
				ok++
				after = f.tpm.Commands()
			case http.StatusTooManyRequests:
				if code := problemOf(t, resp); code != "busy" {
					t.Errorf("code %q", code)
				}
				busy++
			}
		}
		if ok < attestBurst || ok > attestBurst+attestRate*5 || busy == 0 {
			t.Errorf("%d answered, %d refused", ok, busy)
		}
		if f.tpm.Commands() != after {
			t.Error("a refused challenge cost TPM commands")
		}
		if o := f.chat(hello, option{}); o.status != 200 {
			t.Errorf("prompts are not answered meanwhile: %+v", o)
		}
	})
}
