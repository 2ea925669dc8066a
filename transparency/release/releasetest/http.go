// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package releasetest

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/digitorus/timestamp"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sotto-project/sotto/transparency/tiles"
)

// maxBody is more than any request here has.
const maxBody = 1 << 20

// Token makes an identity token with which [World.Handler] issues certificates
// for an identity. It is no real one: nothing in it is signed.
func (w *World) Token(who Identity) string {
	claims := must(json.Marshal(object{"iss": Issuer, "sub": who.Name}))
	token := "SIMULATED." + base64.RawURLEncoding.EncodeToString(claims) + ".none"
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens[token] = who
	return token
}

// Handler serves the instance: POST /api/v2/log/entries, GET /api/v2/checkpoint
// and GET /api/v2/tile/... (Rekor 2), POST /api/v2/signingCert (Fulcio) and POST /api/v1/timestamp (RFC 3161), at the time
// that now gives.
func (w *World) Handler(now func() time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/log/entries", func(rw http.ResponseWriter, r *http.Request) { w.serveEntry(rw, r, now()) })
	mux.HandleFunc("POST /api/v2/signingCert", func(rw http.ResponseWriter, r *http.Request) { w.serveCertificate(rw, r, now()) })
	mux.HandleFunc("POST /api/v1/timestamp", func(rw http.ResponseWriter, r *http.Request) { w.serveTimestamp(rw, r, now()) })
	mux.HandleFunc("GET /api/v2/checkpoint", func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.note == nil {
			http.NotFound(rw, r)
			return
		}
		rw.Write(w.note)
	})
	mux.HandleFunc("GET /api/v2/tile/{path...}", w.serveTile)
	return mux
}

func (w *World) serveTile(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, err := tiles.ParsePath("tile/" + r.PathValue("path"))
	if err != nil || !p.In(w.size) {
		http.NotFound(rw, r)
		return
	}
	if !p.Entries {
		rw.Write(must(tlog.ReadTileData(tlog.Tile{H: 8, L: p.Level, N: int64(p.N), W: p.Width}, &w.tree)))
		return
	}
	for _, body := range w.bodies[p.N*tiles.Width:][:p.Width] {
		rw.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(body))), body...))
	}
}

func read(rw http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxBody)).Decode(into); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func answer(rw http.ResponseWriter, status int, v any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	rw.Write(must(json.Marshal(v)))
}

func (w *World) serveEntry(rw http.ResponseWriter, r *http.Request, now time.Time) {
	var req struct {
		Entry struct {
			Digest    []byte `json:"digest"`
			Signature struct {
				Content  []byte `json:"content"`
				Verifier struct {
					Details string `json:"keyDetails"`
					Key     *struct {
						Raw []byte `json:"rawBytes"`
					} `json:"publicKey"`
					Cert *struct {
						Raw []byte `json:"rawBytes"`
					} `json:"x509Certificate"`
				} `json:"verifier"`
			} `json:"signature"`
		} `json:"hashedRekordRequestV002"`
	}
	if !read(rw, r, &req) {
		return
	}
	v := req.Entry.Signature.Verifier
	var key any
	verifier := ""
	switch {
	case v.Cert != nil:
		if c, err := x509.ParseCertificate(v.Cert.Raw); err == nil {
			key = c.PublicKey
		}
		verifier = fmt.Sprintf(`{"keyDetails":%q,"x509Certificate":{"rawBytes":%q}}`, v.Details, b64(v.Cert.Raw))
	case v.Key != nil:
		key, _ = x509.ParsePKIXPublicKey(v.Key.Raw)
		verifier = fmt.Sprintf(`{"keyDetails":%q,"publicKey":{"rawBytes":%q}}`, v.Details, b64(v.Key.Raw))
	}
	k, ok := key.(*ecdsa.PublicKey)
	if !ok || len(req.Entry.Digest) != 32 || !ecdsa.VerifyASN1(k, req.Entry.Digest, req.Entry.Signature.Content) {
		http.Error(rw, "signature does not verify", http.StatusBadRequest)
		return
	}
	answer(rw, http.StatusCreated, w.log(body(b64(req.Entry.Digest), b64(req.Entry.Signature.Content), verifier), now))
}

func (w *World) serveCertificate(rw http.ResponseWriter, r *http.Request, now time.Time) {
	var req struct {
		Credentials struct {
			Token string `json:"oidcIdentityToken"`
		} `json:"credentials"`
		Key struct {
			Public struct {
				Content string `json:"content"`
			} `json:"publicKey"`
			Proof []byte `json:"proofOfPossession"`
		} `json:"publicKeyRequest"`
	}
	if !read(rw, r, &req) {
		return
	}
	w.mu.Lock()
	who, known := w.tokens[req.Credentials.Token]
	w.mu.Unlock()
	block, _ := pem.Decode([]byte(req.Key.Public.Content))
	if !known || block == nil {
		http.Error(rw, "unknown token or key", http.StatusUnauthorized)
		return
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	k, ok := key.(*ecdsa.PublicKey)
	d := sha256.Sum256([]byte(who.Name))
	if err != nil || !ok || !ecdsa.VerifyASN1(k, d[:], req.Key.Proof) {
		http.Error(rw, "no proof of possession", http.StatusBadRequest)
		return
	}
	cert := w.Certificate(who, k, now)
	p := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	answer(rw, http.StatusOK, object{"signedCertificateEmbeddedSct": object{"chain": object{"certificates": []string{p}}}})
}

func (w *World) serveTimestamp(rw http.ResponseWriter, r *http.Request, now time.Time) {
	b, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
	if err != nil {
		return
	}
	req, err := timestamp.ParseRequest(b)
	if err != nil || len(req.HashedMessage) != 32 {
		http.Error(rw, "want SHA-256", http.StatusBadRequest)
		return
	}
	rw.Header().Set("Content-Type", "application/timestamp-reply")
	rw.WriteHeader(http.StatusCreated)
	rw.Write(w.timestamp([32]byte(req.HashedMessage), now))
}
