// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/credits/accounts/api"
)

const (
	// SignatureHeader is where a payment provider's event carries its signature:
	//
	//	t=<Unix seconds>,v1=<HMAC-SHA-256 over t || "." || body, hexadecimal>
	SignatureHeader = "Sotto-Signature"
	// signatureWindow is how far its time may be from ours.
	signatureWindow = 5 * time.Minute
)

// SignEvent signs an event's body as a provider does.
func SignEvent(secret, body []byte, now time.Time) string {
	t := strconv.FormatInt(now.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(eventMAC(secret, t, body))
}

func eventMAC(secret []byte, t string, body []byte) []byte {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(t + "."))
	m.Write(body)
	return m.Sum(nil)
}

func signed(secret []byte, header string, body []byte, now time.Time) bool {
	t, mac, ok := strings.Cut(strings.TrimPrefix(header, "t="), ",v1=")
	if !ok || !strings.HasPrefix(header, "t=") || len(secret) == 0 {
		return false
	}
	seconds, err := strconv.ParseInt(t, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != t {
		return false
	}
	got, err := hex.DecodeString(mac)
	if err != nil || !hmac.Equal(got, eventMAC(secret, t, body)) {
		return false
	}
	return now.Sub(time.Unix(seconds, 0)).Abs() <= signatureWindow
}

// topup is POST /v1/topup: a payment provider says that somebody paid. What the
// payment was, and who paid, stays with the provider: all that comes here is the
// account and the amount.
func (b *Bank) topup(w http.ResponseWriter, r *http.Request) {
	if len(b.secret.Bytes()) == 0 {
		b.problem(w, &Refusal{http.StatusNotFound, "path"})
		return
	}
	body, err := readBody(w, r)
	if err != nil {
		b.problem(w, err)
		return
	}
	h := r.Header[SignatureHeader]
	if len(h) != 1 || !signed(b.secret.Bytes(), h[0], body, time.Now()) {
		b.problem(w, errPayment)
		return
	}
	e := new(api.TopUp)
	if api.Decode(body, e) != nil {
		b.problem(w, errRequest)
		return
	}
	each, ok := b.config.TopUp.Units[e.Currency]
	if !ok || e.Amount == 0 {
		b.problem(w, errRequest)
		return
	}
	if e.Amount > api.MaxBalance/each {
		b.problem(w, errLimit)
		return
	}
	if err := b.engine.TopUp(r.Context(), "", e.Event, e.Account, e.Amount*each); err != nil {
		b.problem(w, err)
		return
	}
	b.write(w, api.ToppedUp{Event: e.Event, Units: e.Amount * each})
}
