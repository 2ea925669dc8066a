// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package releasetest is a SIMULATED sigstore instance for tests and the lab: a
// certificate authority, a timestamp authority and a log after the manner of
// Rekor's second version, in memory, with keys of its own. Nothing behind it
// keeps anything: its log forgets and its authority vouches for whoever it was
// told to. No shipped program can import it.
package releasetest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"sync"
	"time"

	"github.com/digitorus/timestamp"
	tilesnote "github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/mod/sumdb/note"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/bundle"
)

// Host of the log; its origin.
const Host = "log.simulated.example"

// The workflow that signs releases, and its surroundings.
const (
	Issuer     = "https://token.actions.simulated.example"
	Repository = "https://git.simulated.example/sotto-project/sotto"
	Workflow   = Repository + "/.github/workflows/release.yml"
	Commit     = "0123456789abcdef0123456789abcdef01234567"
)

type object = map[string]any

// A World is one instance. Its methods panic where randomness or encoding fails:
// it is for tests.
type World struct {
	CTLog bool // name a certificate transparency log, which nothing is in

	ca, tsa, tsaLeaf      *x509.Certificate
	caKey, tsaKey, logKey *ecdsa.PrivateKey
	from                  time.Time
	logID                 []byte
	witnesses             []cosigner

	mu     sync.Mutex
	tree   transparency.Tree
	size   uint64
	bodies [][]byte
	note   []byte // the newest checkpoint
	tokens map[string]Identity
}

// An Identity is whom a certificate is for: a subject alternative name (a URI)
// and Fulcio's extensions by their last number.
type Identity struct {
	Name string
	More []string // further names
	Ext  map[int]string
}

// WorkflowAt is the release workflow of a repository at a ref.
func WorkflowAt(repository, ref string) Identity {
	san := repository + "/.github/workflows/release.yml@" + ref
	return Identity{Name: san, Ext: map[int]string{8: Issuer, 9: san, 10: Commit, 11: "github-hosted", 12: repository, 13: Commit, 14: ref,
		18: san, 19: Commit, 20: "push"}}
}

// Person is somebody whose certificate names no source.
func Person(uri string) Identity { return Identity{Name: uri, Ext: map[int]string{8: Issuer}} }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// NewKey is a long-lived key.
func NewKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

// PublicKey prints a key as trust files have it.
func PublicKey(k *ecdsa.PrivateKey) string { return b64(must(x509.MarshalPKIXPublicKey(k.Public()))) }

// always is before anything here: timestamps carry the time at which a test
// runs, too, so their certificates must be valid then.
var always = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// New makes an instance whose keys count from the time given.
func New(from time.Time) *World {
	w := &World{caKey: NewKey(), tsaKey: NewKey(), logKey: NewKey(), from: from, tokens: map[string]Identity{}}
	authority := func(name string, usage x509.ExtKeyUsage, key *ecdsa.PrivateKey) *x509.Certificate {
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "SIMULATED " + name, Organization: []string{"SIMULATED"}},
			NotBefore: always, NotAfter: always.AddDate(200, 0, 0), KeyUsage: x509.KeyUsageCertSign,
			ExtKeyUsage: []x509.ExtKeyUsage{usage}, BasicConstraintsValid: true, IsCA: true}
		return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, c, c, key.Public(), key))))
	}
	w.ca = authority("certificate authority", x509.ExtKeyUsageCodeSigning, w.caKey)
	tsaRoot := NewKey()
	w.tsa = authority("timestamp authority", x509.ExtKeyUsageTimeStamping, tsaRoot)
	usage := must(asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})) // id-kp-timeStamping, must be critical
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "SIMULATED timestamps"}, NotBefore: always,
		NotAfter: always.AddDate(200, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}}
	w.tsaLeaf = must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, leaf, w.tsa, w.tsaKey.Public(), tsaRoot))))
	id := sha256.Sum256(must(x509.MarshalPKIXPublicKey(w.logKey.Public())))
	w.logID = id[:]
	return w
}

// Fork makes an instance with the same keys whose log has this one's first n
// entries: what either logs from then on the other one does not have.
func (w *World) Fork(n int) *World {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := &World{CTLog: w.CTLog, ca: w.ca, tsa: w.tsa, tsaLeaf: w.tsaLeaf, caKey: w.caKey, tsaKey: w.tsaKey, logKey: w.logKey, from: w.from, logID: w.logID,
		witnesses: w.witnesses, tokens: map[string]Identity{}}
	for _, b := range w.bodies[:n] {
		f.log(b, w.from)
	}
	return f
}

// A cosigner is a witness and how far its times are from the true ones.
type cosigner struct {
	*transparency.Cosigner
	lie time.Duration
}

// AddWitness has one more witness cosign each checkpoint, and returns its key.
func (w *World) AddWitness(name string) string { return w.AddLiar(name, 0) }

// AddLiar is [World.AddWitness] for one whose times are off.
func (w *World) AddLiar(name string, lie time.Duration) string {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	c := must(transparency.NewCosigner(name, key))
	w.witnesses = append(w.witnesses, cosigner{c, lie})
	return c.VKey()
}

// TrustedRoot names the instance.
func (w *World) TrustedRoot() []byte {
	span := object{"start": w.from.UTC().Format(time.RFC3339)}
	chain := func(certs ...*x509.Certificate) object {
		var list []object
		for _, c := range certs {
			list = append(list, object{"rawBytes": b64(c.Raw)})
		}
		return object{"certificates": list}
	}
	log := func(url string) object {
		return object{"baseUrl": url, "hashAlgorithm": "SHA2_256", "logId": object{"keyId": b64(w.logID)}, "publicKey": object{
			"rawBytes": b64(must(x509.MarshalPKIXPublicKey(w.logKey.Public()))), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": span}}
	}
	r := object{
		"mediaType":              "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"tlogs":                  []object{log("https://" + Host)},
		"certificateAuthorities": []object{{"uri": "https://ca.simulated.example", "certChain": chain(w.ca), "validFor": span}},
		"timestampAuthorities":   []object{{"uri": "https://tsa.simulated.example", "certChain": chain(w.tsaLeaf, w.tsa), "validFor": span}},
	}
	if w.CTLog {
		r["ctlogs"] = []object{log("https://ct.simulated.example")}
	}
	return must(json.Marshal(r))
}

// Keyless signs a statement as an identity, at a time, and logs it.
func (w *World) Keyless(statement []byte, who Identity, at time.Time) []byte {
	key := NewKey()
	return w.bundle(statement, key, w.Certificate(who, key.Public(), at), at)
}

// Keyed signs a statement with a key.
func (w *World) Keyed(statement []byte, key *ecdsa.PrivateKey, at time.Time) []byte {
	return w.bundle(statement, key, nil, at)
}

func (w *World) bundle(statement []byte, key *ecdsa.PrivateKey, cert *x509.Certificate, at time.Time) []byte {
	pae := sha256.Sum256(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(bundle.PayloadType), bundle.PayloadType, len(statement), statement))
	sig := must(key.Sign(rand.Reader, pae[:], crypto.SHA256))
	material := object{"publicKey": object{"hint": "release key"}}
	verifier := fmt.Sprintf(`{"keyDetails":"PKIX_ECDSA_P256_SHA_256","publicKey":{"rawBytes":%q}}`, PublicKey(key))
	if cert != nil {
		material = object{"certificate": object{"rawBytes": b64(cert.Raw)}}
		verifier = fmt.Sprintf(`{"keyDetails":"PKIX_ECDSA_P256_SHA_256","x509Certificate":{"rawBytes":%q}}`, b64(cert.Raw))
	}
	material["tlogEntries"] = []any{w.log(body(b64(pae[:]), b64(sig), verifier), at)}
	material["timestampVerificationData"] = object{"rfc3161Timestamps": []any{object{"signedTimestamp": b64(w.timestamp(sha256.Sum256(sig), at))}}}
	return must(json.Marshal(object{"mediaType": bundle.MediaType, "verificationMaterial": material, "dsseEnvelope": object{
		"payload": b64(statement), "payloadType": bundle.PayloadType, "signatures": []any{object{"sig": b64(sig)}}}}))
}

// Certificate vouches for an identity's key for ten minutes.
func (w *World) Certificate(who Identity, key crypto.PublicKey, at time.Time) *x509.Certificate {
	c := &x509.Certificate{SerialNumber: big.NewInt(3), NotBefore: at.Add(-time.Minute), NotAfter: at.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
	for _, n := range append([]string{who.Name}, who.More...) {
		c.URIs = append(c.URIs, must(url.Parse(n)))
	}
	for n := range 30 {
		value, ok := who.Ext[n]
		if !ok {
			continue
		}
		der := []byte(value) // of the first version: bare
		if n >= 8 {
			der = must(asn1.MarshalWithParams(value, "utf8"))
		}
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n}, Value: der})
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, c, w.ca, key, w.caKey))))
}

func (w *World) timestamp(digest [32]byte, at time.Time) []byte {
	t := timestamp.Timestamp{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Time: at, Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}}
	return must(t.CreateResponseWithOpts(w.tsaLeaf, w.tsaKey, crypto.SHA256))
}

// body is the canonical form of an entry: members sorted, no white space.
func body(digest, sig, verifier string) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256","digest":%q},"signature":{"content":%q,"verifier":%s}}}}`, digest, sig, verifier)
}

// DSSE logs a statement as an entry of kind dsse, which bundles here do not have
// and other clients make.
func (w *World) DSSE(statement []byte, key *ecdsa.PrivateKey, at time.Time) {
	pae := sha256.Sum256(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(bundle.PayloadType), bundle.PayloadType, len(statement), statement))
	payload := sha256.Sum256(statement)
	w.log(fmt.Appendf(nil, `{"apiVersion":"0.0.2","kind":"dsse","spec":{"dsseV002":{"payloadHash":{"algorithm":"SHA2_256","digest":%q},"signatures":[{"content":%q,"verifier":{"keyDetails":"PKIX_ECDSA_P256_SHA_256","publicKey":{"rawBytes":%q}}}]}}}`,
		b64(payload[:]), b64(must(key.Sign(rand.Reader, pae[:], crypto.SHA256))), PublicKey(key)), at)
}

// Log appends an entry of any content, as no log of this kind would take it.
func (w *World) Log(body []byte, at time.Time) { w.log(body, at) }

// log appends an entry and returns it with its proof, cosigned at the time.
func (w *World) log(body []byte, at time.Time) object {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.tree.Append(body); err != nil {
		panic(err)
	}
	index := w.size
	w.size++
	w.bodies = append(w.bodies, body)
	root := must(w.tree.Root(w.size))
	var hashes []any
	for _, h := range must(w.tree.Prove(index, w.size)) {
		hashes = append(hashes, b64(h[:]))
	}
	signer := must(tilesnote.NewNoteSigner(context.Background(), Host, must(signature.LoadECDSASignerVerifier(w.logKey, crypto.SHA256))))
	checkpoint := must(note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", Host, w.size, b64(root[:]))}, signer))
	for _, c := range w.witnesses {
		checkpoint = must(c.Cosign(checkpoint, at.Add(c.lie)))
	}
	w.note = checkpoint
	return object{"logIndex": fmt.Sprint(index), "logId": object{"keyId": b64(w.logID)}, "kindVersion": object{"kind": "hashedrekord", "version": "0.0.2"},
		"canonicalizedBody": b64(body), "inclusionProof": object{"logIndex": fmt.Sprint(index), "treeSize": fmt.Sprint(w.size),
			"rootHash": b64(root[:]), "hashes": hashes, "checkpoint": object{"envelope": string(checkpoint)}}}
}
