// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bundle_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	tilesnote "github.com/sigstore/rekor-tiles/v2/pkg/note"
	rekorutil "github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/mod/sumdb/note"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/bundle"
)

const (
	issuer   = "https://token.actions.githubusercontent.com"
	repo     = "https://github.com/sotto-project/sotto"
	ref      = "refs/tags/v1.2.3"
	identity = repo + "/.github/workflows/release.yml@" + ref
	commit   = "0123456789abcdef0123456789abcdef01234567"
	logURL   = "https://log.simulated.example"
)

var artifact = sha256.Sum256([]byte("artifact"))

type object = map[string]any

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A sigstore is a SIMULATED instance: certificate authority, timestamp authority
// and log, with keys of its own.
type sigstore struct {
	now          time.Time
	ca, tsa      *x509.Certificate // self-signed; both issue leaves themselves
	caKey        *ecdsa.PrivateKey
	tsaLeaf      *x509.Certificate
	tsaKey       *ecdsa.PrivateKey
	logKey       *ecdsa.PrivateKey
	logID        []byte
	logFrom, end time.Time
	ctLog        bool // name a certificate transparency log, too
	noTSA        bool
}

// always is before anything here. Timestamps carry the time at which the test
// runs, too, so their certificates must be valid then.
var always = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func newSigstore() *sigstore {
	s := &sigstore{now: time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC), caKey: newKey(), tsaKey: newKey(), logKey: newKey()}
	s.logFrom, s.end = s.now.Add(-time.Hour), s.now.Add(time.Hour)
	authority := func(name string, usage x509.ExtKeyUsage, key *ecdsa.PrivateKey) *x509.Certificate {
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "SIMULATED " + name, Organization: []string{"SIMULATED"}},
			NotBefore: always, NotAfter: always.AddDate(200, 0, 0), KeyUsage: x509.KeyUsageCertSign,
			ExtKeyUsage: []x509.ExtKeyUsage{usage}, BasicConstraintsValid: true, IsCA: true}
		return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, c, c, key.Public(), key))))
	}
	s.ca = authority("certificate authority", x509.ExtKeyUsageCodeSigning, s.caKey)
	tsaRoot := newKey()
	s.tsa = authority("timestamp authority", x509.ExtKeyUsageTimeStamping, tsaRoot)
	usage := must(asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})) // id-kp-timeStamping, must be critical
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "SIMULATED timestamps"}, NotBefore: always,
		NotAfter: always.AddDate(200, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}}
	s.tsaLeaf = must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, leaf, s.tsa, s.tsaKey.Public(), tsaRoot))))
	id := sha256.Sum256(must(x509.MarshalPKIXPublicKey(s.logKey.Public())))
	s.logID = id[:]
	return s
}

// trustedRoot names the instance.
func (s *sigstore) trustedRoot() []byte {
	span := func(from, to time.Time) object {
		return object{"start": from.Format(time.RFC3339), "end": to.Format(time.RFC3339)}
	}
	chain := func(certs ...*x509.Certificate) object {
		var list []object
		for _, c := range certs {
			list = append(list, object{"rawBytes": b64(c.Raw)})
		}
		return object{"certificates": list}
	}
	log := func(url string, key *ecdsa.PrivateKey, id []byte) object {
		return object{"baseUrl": url, "hashAlgorithm": "SHA2_256", "logId": object{"keyId": b64(id)}, "publicKey": object{
			"rawBytes": b64(must(x509.MarshalPKIXPublicKey(key.Public()))), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": span(s.logFrom, s.end)}}
	}
	r := object{
		"mediaType":              "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"tlogs":                  []object{log(logURL, s.logKey, s.logID)},
		"certificateAuthorities": []object{{"uri": "https://ca.simulated.example", "certChain": chain(s.ca), "validFor": span(s.now.Add(-time.Hour), s.end)}},
	}
	if !s.noTSA {
		r["timestampAuthorities"] = []object{{"uri": "https://tsa.simulated.example", "certChain": chain(s.tsaLeaf, s.tsa), "validFor": span(s.now.Add(-time.Hour), s.end)}}
	}
	if s.ctLog {
		r["ctlogs"] = []object{log("https://ct.simulated.example", s.logKey, s.logID)}
	}
	return must(json.Marshal(r))
}

// A spec says what to make; tests change it.
type spec struct {
	name       string         // SAN; a URI
	moreNames  []string       // further SANs
	ext        map[int]string // Fulcio's extensions from 8 on
	extV1      map[int]string // and below
	statement  string
	payload    string // its type
	logged     time.Time
	stamped    []time.Time
	v1         bool // a log of the first version, with a promise
	withoutSET bool
	key        *ecdsa.PrivateKey // sign with a bare key
	certFrom   time.Time
	ca         *x509.Certificate // another authority
	caKey      *ecdsa.PrivateKey
	index      int64 // in a tree of eight
}

// goodSpec is the release workflow of a tag.
func (s *sigstore) goodSpec() spec {
	return spec{
		name: identity,
		ext: map[int]string{8: issuer, 9: identity, 10: commit, 11: "github-hosted", 12: repo, 13: commit, 14: ref, 15: "1", 16: "https://github.com/sotto-project",
			17: "2", 18: identity, 19: commit, 20: "push", 21: repo + "/actions/runs/1/attempts/1", 22: "public"},
		extV1:     map[int]string{1: issuer, 2: "push", 3: commit, 4: "release", 5: "sotto-project/sotto", 6: ref},
		statement: statement(bundle.StatementType, bundle.DefaultPredicateType, hex.EncodeToString(artifact[:])),
		payload:   bundle.PayloadType,
		logged:    s.now.Add(time.Minute), stamped: []time.Time{s.now.Add(time.Minute)}, certFrom: s.now, ca: s.ca, caKey: s.caKey, index: 3,
	}
}

func statement(kind, predicate, digest string) string {
	return fmt.Sprintf(`{"_type":%q,"subject":[{"name":"other","digest":{"sha256":"%064x"}},{"name":"sotto","digest":{"sha256":%q}}],"predicateType":%q,"predicate":{"a":1}}`,
		kind, 1, digest, predicate)
}

func (s *sigstore) certificate(sp *spec, key *ecdsa.PrivateKey) *x509.Certificate {
	c := &x509.Certificate{SerialNumber: big.NewInt(3), NotBefore: sp.certFrom, NotAfter: sp.certFrom.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
	for _, n := range append([]string{sp.name}, sp.moreNames...) {
		c.URIs = append(c.URIs, must(url.Parse(n)))
	}
	arc := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n} }
	for n := range 30 {
		if v, ok := sp.extV1[n]; ok {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: arc(n), Value: []byte(v)})
		}
		if v, ok := sp.ext[n]; ok {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: arc(n), Value: must(asn1.MarshalWithParams(v, "utf8"))})
		}
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, c, sp.ca, key.Public(), sp.caKey))))
}

func sign(key *ecdsa.PrivateKey, b []byte) []byte {
	d := sha256.Sum256(b)
	return must(key.Sign(rand.Reader, d[:], crypto.SHA256))
}

// bundle makes a bundle as a tree of JSON, for tests to change.
func (s *sigstore) bundle(sp spec) object {
	key := sp.key
	var cert *x509.Certificate
	material, verifier := object{}, []byte(nil)
	if key == nil {
		key = newKey()
		cert = s.certificate(&sp, key)
		material["certificate"] = object{"rawBytes": b64(cert.Raw)}
		verifier = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	} else {
		material["publicKey"] = object{"hint": "release key"}
		verifier = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key.Public()))})
	}
	pae := fmt.Sprintf("DSSEv1 %d %s %d %s", len(sp.payload), sp.payload, len(sp.statement), sp.statement)
	sig := sign(key, []byte(pae))
	envelope := object{"payload": b64([]byte(sp.statement)), "payloadType": sp.payload, "signatures": []any{object{"sig": b64(sig)}}}
	if sp.v1 {
		material["tlogEntries"] = []any{s.entryV1(&sp, envelope, sig, verifier)}
	} else {
		material["tlogEntries"] = []any{s.entryV2(&sp, []byte(pae), sig, cert, key)}
	}
	var stamps []any
	for _, t := range sp.stamped {
		stamps = append(stamps, object{"signedTimestamp": b64(s.timestamp(sig, t))})
	}
	material["timestampVerificationData"] = object{"rfc3161Timestamps": stamps}
	return object{"mediaType": bundle.MediaType, "verificationMaterial": material, "dsseEnvelope": envelope}
}

func (s *sigstore) timestamp(sig []byte, at time.Time) []byte {
	d := sha256.Sum256(sig)
	t := timestamp.Timestamp{HashAlgorithm: crypto.SHA256, HashedMessage: d[:], Time: at, Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}}
	return must(t.CreateResponseWithOpts(s.tsaLeaf, s.tsaKey, crypto.SHA256))
}

// entryV2 is an entry of rekor-tiles: no promise, no time.
func (s *sigstore) entryV2(sp *spec, pae, sig []byte, cert *x509.Certificate, key *ecdsa.PrivateKey) object {
	d := sha256.Sum256(pae)
	verifier := fmt.Sprintf(`{"keyDetails":"PKIX_ECDSA_P256_SHA_256","publicKey":{"rawBytes":%q}}`, b64(must(x509.MarshalPKIXPublicKey(key.Public()))))
	if cert != nil {
		verifier = fmt.Sprintf(`{"keyDetails":"PKIX_ECDSA_P256_SHA_256","x509Certificate":{"rawBytes":%q}}`, b64(cert.Raw))
	}
	body := fmt.Sprintf(`{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256","digest":%q},"signature":{"content":%q,"verifier":%s}}}}`,
		b64(d[:]), b64(sig), verifier)
	return object{"logIndex": fmt.Sprint(sp.index), "logId": object{"keyId": b64(s.logID)}, "kindVersion": object{"kind": "hashedrekord", "version": "0.0.2"},
		"canonicalizedBody": b64([]byte(body)), "inclusionProof": s.proof([]byte(body), sp.index, false)}
}

// entryV1 is an entry of Rekor's first version: a promise with a time, and a proof.
func (s *sigstore) entryV1(sp *spec, envelope object, sig, verifier []byte) object {
	e, p := sha256.Sum256(must(json.Marshal(envelope))), sha256.Sum256([]byte(sp.statement))
	body := fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"dsse","spec":{"envelopeHash":{"algorithm":"sha256","value":"%x"},"payloadHash":{"algorithm":"sha256","value":"%x"},"signatures":[{"signature":%q,"verifier":%q}]}}`,
		e, p, b64(sig), b64(verifier))
	index := sp.index + 1000 // across shards, as the public log counts
	out := object{"logIndex": fmt.Sprint(index), "logId": object{"keyId": b64(s.logID)}, "kindVersion": object{"kind": "dsse", "version": "0.0.1"},
		"integratedTime": fmt.Sprint(sp.logged.Unix()), "canonicalizedBody": b64([]byte(body)), "inclusionProof": s.proof([]byte(body), sp.index, true)}
	if !sp.withoutSET {
		set := fmt.Sprintf(`{"body":%q,"integratedTime":%d,"logID":"%x","logIndex":%d}`, b64([]byte(body)), sp.logged.Unix(), s.logID, index)
		out["inclusionPromise"] = object{"signedEntryTimestamp": b64(sign(s.logKey, []byte(set)))}
	}
	return out
}

// proof puts a leaf into a tree of eight and proves it.
func (s *sigstore) proof(leaf []byte, index int64, v1 bool) object {
	const size = 8
	var tree transparency.Tree
	for i := range int64(size) {
		data := []byte{byte(i)}
		if i == index {
			data = leaf
		}
		if err := tree.Append(data); err != nil {
			panic(err)
		}
	}
	top := must(tree.Root(size))
	var hashes []any
	for _, h := range must(tree.Prove(uint64(index), size)) {
		hashes = append(hashes, b64(h[:]))
	}
	return object{"logIndex": fmt.Sprint(index), "treeSize": fmt.Sprint(size), "rootHash": b64(top[:]), "hashes": hashes,
		"checkpoint": object{"envelope": s.checkpoint(size, top, v1)}}
}

func (s *sigstore) checkpoint(size uint64, top [32]byte, v1 bool) string {
	signer := must(signature.LoadECDSASignerVerifier(s.logKey, crypto.SHA256))
	host := must(url.Parse(logURL)).Hostname()
	if v1 {
		return string(must(rekorutil.CreateAndSignCheckpoint(context.Background(), host, 1, size, top[:], signer)))
	}
	n := must(tilesnote.NewNoteSigner(context.Background(), host, signer))
	return string(must(note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", host, size, b64(top[:]))}, n)))
}

// options are those of a user who pins the release workflow.
func (s *sigstore) options() bundle.Options {
	return bundle.Options{TrustedRoot: s.trustedRoot(), Identity: identity, Issuer: issuer, ArtifactSHA256: artifact,
		PredicateTypes: []string{bundle.DefaultPredicateType}}
}

// at walks into a tree of JSON: names of members, indexes of lists.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			v = v.(object)[p]
		case int:
			v = v.([]any)[p]
		}
	}
	return v
}

func entry(b object) object { return at(b, "verificationMaterial", "tlogEntries", 0).(object) }

func printed(t testing.TB, b object) []byte {
	t.Helper()
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(b); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(out.Bytes())
}
