// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/collect/files"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/fetch"
	"github.com/sotto-project/sotto/attestation/internal/nvidia"
)

// A vendor is a local server that stands in for all of them: what it is asked for
// under a host's name it answers by a handler of that name and path.
type vendor struct {
	*httptest.Server

	mu      sync.Mutex
	answers map[string]http.HandlerFunc
	asked   []string
}

func newVendor(t *testing.T) *vendor {
	v := &vendor{answers: map[string]http.HandlerFunc{}}
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Vendor") + r.URL.RequestURI()
		v.mu.Lock()
		h := v.answers[key]
		v.asked = append(v.asked, r.Method+" "+key)
		v.mu.Unlock()
		if h == nil {
			http.NotFound(w, r)
			return
		}
		h(w, r)
	}))
	t.Cleanup(v.Close)
	return v
}

// RoundTrip sends what is meant for a vendor to the server.
func (v *vendor) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, errors.New("asked in the clear")
	}
	own := r.Clone(r.Context())
	own.Header.Set("Vendor", r.URL.Host)
	to, err := url.Parse(v.URL)
	if err != nil {
		return nil, err
	}
	own.URL.Scheme, own.URL.Host = to.Scheme, to.Host
	return v.Client().Transport.RoundTrip(own)
}

func (v *vendor) fetcher() *fetch.Fetcher { return fetch.New(&http.Client{Transport: v}) }

// bytesOf answers with b and pairs of header fields.
func bytesOf(b []byte, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Write(b)
	}
}

func pemOf(certs ...*x509.Certificate) (out []byte) {
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// spoiled is what a vendor's front end may answer instead.
func spoiled(good http.HandlerFunc) map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"an error page": bytesOf([]byte("<html>try again later</html>")),
		"nothing":       bytesOf(nil),
		"too much":      bytesOf(make([]byte, 2<<20)),
		"404":           func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"429":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
		},
		"cut": func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			good(rec, r)
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		},
	}
}

// typed fails the test unless err is one of the package's.
func typed(t *testing.T, name string, err error) {
	t.Helper()
	var status *fetch.StatusError
	var shape *fetch.ShapeError
	if !errors.As(err, &status) && !errors.As(err, &shape) {
		t.Errorf("%s: %v", name, err)
	}
}

// everyAnswer replaces each answer in turn by each kind of bad one.
func everyAnswer(t *testing.T, v *vendor, ask func() ([]fetch.File, error)) {
	t.Helper()
	for key, good := range v.answers {
		for name, bad := range spoiled(good) {
			v.answers[key] = bad
			out, err := ask()
			typed(t, key+": "+name, err)
			if out != nil {
				t.Errorf("%s: %s: files all the same", key, name)
			}
		}
		v.answers[key] = good
	}
	if _, err := ask(); err != nil {
		t.Errorf("good again: %v", err)
	}
}

func report(t *testing.T, c *attestationtest.Chip) []byte {
	t.Helper()
	pieces, err := c.Report(t.Context(), [64]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		if p.Kind == evidence.KindSNPReport {
			return p.Data
		}
	}
	t.Fatal("no report")
	return nil
}

func TestAMD(t *testing.T) {
	root, err := attestationtest.GenerateRoot()
	if err != nil {
		t.Fatal(err)
	}
	chip, err := root.NewChip("a")
	if err != nil {
		t.Fatal(err)
	}
	v, tcb := newVendor(t), attestationtest.LabTCB
	base := "kdsintf.amd.com/vcek/v1/Genoa"
	levels := "?blSPL=" + num(tcb.Bootloader) + "&teeSPL=" + num(tcb.TEE) + "&snpSPL=" + num(tcb.SNP) + "&ucodeSPL=" + num(tcb.Microcode)
	v.answers[base+"/"+hex.EncodeToString(chip.ID[:])+levels] = bytesOf(chip.Cert)
	v.answers[base+"/crl"] = bytesOf(chip.CRL)
	v.answers[base+"/cert_chain"] = bytesOf(pemOf(root.Issuer(), root.Issuer()))
	ask := func() ([]fetch.File, error) { return v.fetcher().AMD(t.Context(), report(t, chip)) }
	out, err := ask()
	if err != nil {
		t.Fatalf("%v, asked %q", err, v.asked)
	}
	dir := save(t, out)
	if der, err := files.DER(filepath.Join(dir, "vcek.der"), "CERTIFICATE"); err != nil || !bytes.Equal(der, chip.Cert) {
		t.Errorf("vcek.der: %v", err)
	}
	if der, err := files.DER(filepath.Join(dir, "amd.crl"), "X509 CRL"); err != nil || !bytes.Equal(der, chip.CRL) {
		t.Errorf("amd.crl: %v", err)
	}
	everyAnswer(t, v, ask)

	asked := len(v.asked)
	for name, bad := range map[string]func([]byte){
		"unknown processor": func(b []byte) { b[attestationtest.OffModel] = 0xee },
		"hidden chip":       func(b []byte) { clear(b[attestationtest.OffChipID:][:64]) },
		"a VLEK's":          func(b []byte) { b[attestationtest.OffSigner] |= 1 << 2 },
	} {
		b := bytes.Clone(report(t, chip))
		bad(b)
		if _, err := v.fetcher().AMD(t.Context(), b); !errors.Is(err, fetch.ErrArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := v.fetcher().AMD(t.Context(), nil); !errors.Is(err, fetch.ErrArgument) || len(v.asked) != asked {
		t.Errorf("no report: %v, asked %q", err, v.asked[asked:])
	}
}

func num(v uint8) string { b, _ := json.Marshal(v); return string(b) }

// save writes files as sotto-collateral does.
func save(t *testing.T, out []fetch.File) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range out {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if !filepath.IsLocal(f.Name) {
			t.Fatalf("name %q", f.Name)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, f.Data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestIntel(t *testing.T) {
	root, err := faketdx.Generate()
	if err != nil {
		t.Fatal(err)
	}
	platform, err := root.NewPlatform(faketdx.PlatformSpec{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := platform.Collateral(faketdx.CollateralSpec{})
	if err != nil {
		t.Fatal(err)
	}
	v := newVendor(t)
	api, escape := "api.trustedservices.intel.com", func(b []byte) string { return url.PathEscape(string(b)) }
	v.answers[api+"/tdx/certification/v4/tcb?fmspc=00906ed50000"] = bytesOf(c.TCBInfo, "TCB-Info-Issuer-Chain", escape(c.TCBIssuers))
	v.answers[api+"/tdx/certification/v4/qe/identity"] = bytesOf(c.QEIdentity, "SGX-Enclave-Identity-Issuer-Chain", escape(c.QEIssuers))
	v.answers[api+"/sgx/certification/v4/pckcrl?ca=platform&encoding=der"] = bytesOf(c.PCKCRL, "SGX-PCK-CRL-Issuer-Chain", escape(c.PCKCRLIssuers))
	v.answers["certificates.trustedservices.intel.com/IntelSGXRootCA.der"] = bytesOf(c.RootCRL)
	fmspc := [6]byte{0x00, 0x90, 0x6e, 0xd5}
	ask := func() ([]fetch.File, error) { return v.fetcher().Intel(t.Context(), fmspc, fetch.PlatformCA) }
	out, err := ask()
	if err != nil {
		t.Fatalf("%v, asked %q", err, v.asked)
	}
	got, err := files.TDX(save(t, out))
	want := evidence.List{c.TCBInfo, c.TCBIssuers, c.QEIdentity, c.QEIssuers, c.PCKCRL, c.PCKCRLIssuers, c.RootCRL}
	if err != nil || !bytes.Equal(got, want.Append(nil)) {
		t.Errorf("a node reads something else: %v", err)
	}
	everyAnswer(t, v, ask)
	key := api + "/tdx/certification/v4/qe/identity"
	for name, chain := range map[string]string{"none": "", "one certificate": escape(pemOf(root.Signer())), "three": escape(pemOf(root.Signer(), root.CA(), root.CA())),
		"no percent encoding": "%zz", "words after": escape(append(bytes.Clone(c.QEIssuers), "x"...))} {
		v.answers[key] = bytesOf(c.QEIdentity, "SGX-Enclave-Identity-Issuer-Chain", chain)
		_, err := ask()
		typed(t, "issuers: "+name, err)
	}
	if _, err := v.fetcher().Intel(t.Context(), fmspc, "platform&x=y"); !errors.Is(err, fetch.ErrArgument) {
		t.Errorf("%v", err)
	}
}

func TestNVIDIA(t *testing.T) {
	maker, err := fakegpu.Generate()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := maker.Evidence([32]byte{1}, fakegpu.Spec{NoTokens: true})
	if err != nil {
		t.Fatal(err)
	}
	e, err := nvidia.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string][]byte{} // by serial number
	var chain []*x509.Certificate
	for _, k := range e.Devices[0].Chain {
		c, err := x509.ParseCertificate(e.Certificates[k].DER)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
		answers[c.SerialNumber.String()] = e.Certificates[k].OCSP
	}
	m := e.Manifests[0]
	signers, err := nvidia.Signers(m.SWID)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range m.OCSP {
		answers[signers[i].SerialNumber.String()] = b
	}
	v := newVendor(t)
	const id = "NV_GPU_DRIVER_GH100_580.95.05"
	body, err := json.Marshal(map[string]string{"id": id, "rim": base64.StdEncoding.EncodeToString(m.SWID)})
	if err != nil {
		t.Fatal(err)
	}
	v.answers["rim.attestation.nvidia.com/v1/rim/"+id] = bytesOf(body)
	v.answers["ocsp.ndis.nvidia.com/"] = func(w http.ResponseWriter, r *http.Request) {
		b := new(bytes.Buffer)
		if _, err := b.ReadFrom(r.Body); err != nil {
			return
		}
		q, err := ocsp.ParseRequest(b.Bytes())
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/ocsp-request" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Write(answers[q.SerialNumber.String()])
	}
	manifest := func() ([]fetch.File, error) { return v.fetcher().Manifest(t.Context(), id) }
	device := func() ([]fetch.File, error) { return v.fetcher().Device(t.Context(), chain) }
	out, err := manifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != 1+len(m.OCSP) || out[0].Name != "rim/"+id+".xml" || !bytes.Equal(out[0].Data, m.SWID) ||
		out[1].Name != "rim/"+id+".ocsp-1" || !bytes.Equal(out[1].Data, m.OCSP[0]) {
		t.Errorf("%d files, first %q", len(out), out[0].Name)
	}
	everyAnswer(t, v, manifest)
	if out, err = device(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(chain[1].Raw)
	if len(out) != len(chain)-2 || out[0].Name != "ocsp/"+hex.EncodeToString(sum[:])+".der" || !bytes.Equal(out[0].Data, e.Certificates[e.Devices[0].Chain[1]].OCSP) {
		t.Errorf("%d files, first %q", len(out), out[0].Name)
	}
	t.Run("an answer about another certificate", func(t *testing.T) {
		answers[chain[1].SerialNumber.String()] = answers[chain[2].SerialNumber.String()]
		_, err := device()
		typed(t, "another", err)
	})
	for _, bad := range []string{"", "..", "../x", "a/b", ".hidden", "x?y", "x#y", "%2e%2e", strings.Repeat("a", 129)} {
		if _, err := v.fetcher().Manifest(t.Context(), bad); !errors.Is(err, fetch.ErrArgument) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := v.fetcher().Device(t.Context(), chain[:2]); !errors.Is(err, fetch.ErrArgument) {
		t.Errorf("%v", err)
	}
}

// TestSilenceEnds: a vendor that does not answer is given up with the context.
func TestSilenceEnds(t *testing.T) {
	v := newVendor(t)
	gone := make(chan struct{})
	v.answers["rim.attestation.nvidia.com/v1/rim/a"] = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done(); close(gone) }
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := v.fetcher().Manifest(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	<-gone
}
