// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/digitorus/timestamp"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/transparency/bundle"
)

const (
	maxAnswer   = 1 << 20
	askFor      = time.Minute // a log answers after its next checkpoint
	maxTokenLen = 16 << 10
)

// A Notary signs statements, has the signatures timestamped and logged, and
// hands back bundles.
type Notary struct {
	c      *Config
	key    *ecdsa.PrivateKey // long-lived; nil: one for each statement, with a certificate
	client *http.Client
}

// NewNotary makes a notary. Of the configuration it needs the log, the timestamp
// authority and who signs.
func NewNotary(c *Config) (*Notary, error) {
	tc, err := c.TLS.Client("")
	if err != nil {
		return nil, err
	}
	n := &Notary{c: c, client: &http.Client{Transport: httpx.NewTransport(tc), Timeout: askFor}}
	if c.KeyFile != "" {
		n.key, err = readKey(c.KeyFile)
	}
	return n, err
}

// Publish signs and logs a statement, and returns its bundle.
func (n *Notary) Publish(ctx context.Context, statement []byte) ([]byte, error) {
	key, cert, err := n.signer(ctx)
	if err != nil {
		return nil, err
	}
	// DSSE's encoding before hashing.
	digest := sha256.Sum256(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(bundle.PayloadType), bundle.PayloadType, len(statement), statement))
	sig, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	stamp, err := n.timestamp(ctx, sig)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	verifier, material := object{"publicKey": object{"rawBytes": b64(spki)}}, object{"publicKey": object{"hint": ""}}
	if cert != nil {
		verifier, material = object{"x509Certificate": object{"rawBytes": b64(cert)}}, object{"certificate": object{"rawBytes": b64(cert)}}
	}
	verifier["keyDetails"] = "PKIX_ECDSA_P256_SHA_256"
	entry, err := n.log(ctx, object{"hashedRekordRequestV002": object{"digest": b64(digest[:]), "signature": object{"content": b64(sig), "verifier": verifier}}})
	if err != nil {
		return nil, err
	}
	material["tlogEntries"] = []any{entry}
	material["timestampVerificationData"] = object{"rfc3161Timestamps": []any{object{"signedTimestamp": b64(stamp)}}}
	return json.Marshal(object{"mediaType": bundle.MediaType, "verificationMaterial": material, "dsseEnvelope": object{
		"payload": b64(statement), "payloadType": bundle.PayloadType, "signatures": []any{object{"sig": b64(sig)}}}})
}

// signer is the long-lived key, or a new one with a certificate for it.
func (n *Notary) signer(ctx context.Context) (*ecdsa.PrivateKey, []byte, error) {
	if n.key != nil {
		return n.key, nil, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	cert, err := n.certificate(ctx, key)
	return key, cert, err
}

// post sends a request and reads a bounded answer.
func (n *Notary) post(ctx context.Context, url, contentType string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := n.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", url, err)
	case len(b) > maxAnswer:
		return nil, fmt.Errorf("%s: answer of more than %d bytes", url, maxAnswer)
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated:
		return nil, fmt.Errorf("%s: %s: %.300q", url, resp.Status, b)
	}
	return b, nil
}

func (n *Notary) postJSON(ctx context.Context, url string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answer, err := n.post(ctx, url, "application/json", b)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s: %v", url, err)
	}
	return nil
}

// A logEntry is what of a log's answer belongs into a bundle.
type logEntry struct {
	LogIndex string `json:"logIndex"`
	LogID    struct {
		KeyID string `json:"keyId"`
	} `json:"logId"`
	KindVersion struct {
		Kind    string `json:"kind"`
		Version string `json:"version"`
	} `json:"kindVersion"`
	Proof struct {
		LogIndex   string   `json:"logIndex"`
		RootHash   string   `json:"rootHash"`
		TreeSize   string   `json:"treeSize"`
		Hashes     []string `json:"hashes,omitempty"`
		Checkpoint struct {
			Envelope string `json:"envelope"`
		} `json:"checkpoint"`
	} `json:"inclusionProof"`
	Body string `json:"canonicalizedBody"`
}

// log adds an entry (Rekor API, version 2) and waits for its proof. What it
// answers is judged with the whole release.
func (n *Notary) log(ctx context.Context, entry any) (*logEntry, error) {
	out := &logEntry{LogIndex: "0"}
	out.Proof.LogIndex = "0" // protobuf's JSON leaves zeros out
	err := n.postJSON(ctx, strings.TrimSuffix(n.c.LogURL, "/")+"/api/v2/log/entries", entry, out)
	if err == nil && (out.Body == "" || out.Proof.Checkpoint.Envelope == "") {
		err = errors.New(n.c.LogURL + ": an answer without entry or proof")
	}
	return out, err
}

// timestamp has a signature's time confirmed (RFC 3161). No two signatures are
// alike, so an old answer cannot be taken for this one.
func (n *Notary) timestamp(ctx context.Context, sig []byte) ([]byte, error) {
	req, err := timestamp.CreateRequest(bytes.NewReader(sig), &timestamp.RequestOptions{Hash: crypto.SHA256, Certificates: true})
	if err != nil {
		return nil, err
	}
	answer, err := n.post(ctx, n.c.TimestampURL, "application/timestamp-query", req)
	if err != nil {
		return nil, err
	}
	if _, err := timestamp.ParseResponse(answer); err != nil {
		return nil, fmt.Errorf("%s: %v", n.c.TimestampURL, err)
	}
	return answer, nil
}

// certificate has Fulcio (API, version 2) vouch for a key, with the identity
// token in the file.
func (n *Notary) certificate(ctx context.Context, key *ecdsa.PrivateKey) ([]byte, error) {
	token, err := os.ReadFile(n.c.TokenFile)
	if err != nil {
		return nil, err
	}
	text := strings.TrimSpace(string(token))
	subject, err := tokenSubject(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.c.TokenFile, err)
	}
	d := sha256.Sum256([]byte(subject))
	proof, err := key.Sign(rand.Reader, d[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	var out struct {
		Embedded struct {
			Chain struct {
				Certificates []string `json:"certificates"`
			} `json:"chain"`
		} `json:"signedCertificateEmbeddedSct"`
	}
	in := object{"credentials": object{"oidcIdentityToken": text}, "publicKeyRequest": object{
		"publicKey":         object{"algorithm": "ECDSA", "content": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))},
		"proofOfPossession": b64(proof)}}
	if err := n.postJSON(ctx, strings.TrimSuffix(n.c.FulcioURL, "/")+"/api/v2/signingCert", in, &out); err != nil {
		return nil, err
	}
	if len(out.Embedded.Chain.Certificates) == 0 {
		return nil, errors.New(n.c.FulcioURL + ": no certificate with an embedded timestamp")
	}
	block, _ := pem.Decode([]byte(out.Embedded.Chain.Certificates[0]))
	if block == nil {
		return nil, errors.New(n.c.FulcioURL + ": no certificate")
	}
	return block.Bytes, nil
}

// tokenSubject reads from an identity token what Fulcio wants signed: the
// address where there is one, else the subject. Fulcio verifies the token.
func tokenSubject(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(token) > maxTokenLen {
		return "", errors.New("not an identity token")
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", errors.New("not an identity token")
	}
	var claims struct{ Sub, Email string }
	if err := json.Unmarshal(b, &claims); err != nil || claims.Sub+claims.Email == "" {
		return "", errors.New("an identity token without a subject")
	}
	if claims.Email != "" {
		return claims.Email, nil
	}
	return claims.Sub, nil
}

// readKey reads a long-lived key, which others than its owner must not be able
// to read.
func readKey(path string) (*ecdsa.PrivateKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others can read it; chmod 600", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(b)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%s: want one key in PEM", path)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if e, ok := k.(*ecdsa.PrivateKey); err == nil && ok && e.Curve == elliptic.P256() {
		return e, nil
	}
	return nil, fmt.Errorf("%s: want an ECDSA P-256 key (PKCS #8): the log takes signatures over a hash, which Ed25519's are not", path)
}

// NewKey makes a long-lived key in PEM, and its public half as trust files have it.
func NewKey() (private []byte, public string, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, "", err
	}
	spki, err := x509.MarshalPKIXPublicKey(k.Public())
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), b64(spki), err
}

type object = map[string]any

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
