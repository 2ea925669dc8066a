// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudflare/circl/hpke"
	openpcc "github.com/openpcc/ohttp"
	theirs "github.com/openpcc/ohttp/encoding/bhttp"

	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/bhttp"
	"github.com/sotto-project/sotto/ohttp/encap"
	"github.com/sotto-project/sotto/ohttp/gateway"
)

// Both sides know X25519 and X-Wing, AES-256-GCM and ChaCha20-Poly1305. Theirs
// also knows AES-128-GCM, which Sotto does not offer.
var (
	kems  = []hpke.KEM{hpke.KEM_X25519_HKDF_SHA256, hpke.KEM_XWING}
	aeads = []hpke.AEAD{hpke.AEAD_AES256GCM, hpke.AEAD_ChaCha20Poly1305}
)

// echo is an origin: it sends back what it gets, as it gets it, and names the
// type it was sent.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	rc := http.NewResponseController(w)
	rc.EnableFullDuplex()
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		w.Write(buf[:n])
		rc.Flush()
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// newGateway runs Sotto's gateway, with the keys and certificates of the lab,
// in front of an origin that stands where the router does.
func newGateway(t *testing.T, origin http.HandlerFunc) string {
	t.Helper()
	in := func(parts ...string) string {
		return filepath.Join(append([]string{theLab(t).ready.Dir}, parts...)...)
	}
	cert, err := tls.LoadX509KeyPair(in("tls", "operator", "router.pem"), in("tls", "operator", "router.key"))
	if err != nil {
		t.Fatal(err)
	}
	o := httptest.NewUnstartedServer(origin)
	o.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	o.StartTLS()
	t.Cleanup(o.Close)

	cfg := gateway.Config{
		Listen: "127.0.0.1:0",
		Keys:   []string{in("gateway-1.key"), in("gateway-2.key")},
		Router: gateway.Origin{URL: o.URL},
	}
	cfg.Identity.Cert, cfg.Identity.Key = in("tls", "operator", "gateway.pem"), in("tls", "operator", "gateway.key")
	cfg.Identity.CA = in("tls", "operator", "ca.pem")
	g, err := gateway.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(g.Handler())
	t.Cleanup(s.Close)
	return s.URL
}

// theirConfigs fetches the key configurations where RFC 9540 says, and parses
// them with openpcc's parser.
func theirConfigs(t *testing.T, c *http.Client, gatewayURL string) openpcc.KeyConfigs {
	t.Helper()
	resp, err := c.Get(gatewayURL + ohttp.GatewayPath)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	var list openpcc.KeyConfigs
	if err := list.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	return list
}

// with narrows a list to the one key and suite that the client shall use:
// openpcc's client takes the first suite of the configuration it is given.
func with(t *testing.T, list openpcc.KeyConfigs, kem hpke.KEM, aead hpke.AEAD) openpcc.KeyConfig {
	t.Helper()
	i := slices.IndexFunc(list, func(k openpcc.KeyConfig) bool { return k.KemID == kem })
	if i < 0 {
		t.Fatalf("the gateway has no key for KEM %#04x", uint16(kem))
	}
	k := list[i]
	k.SymmetricAlgorithms = []openpcc.SymmetricAlgorithm{{KDFID: hpke.KDF_HKDF_SHA256, AEADID: aead}}
	return k
}

func suiteName(kem hpke.KEM, aead hpke.AEAD) string {
	name := map[hpke.KEM]string{hpke.KEM_X25519_HKDF_SHA256: "X25519", hpke.KEM_XWING: "X-Wing"}[kem]
	return name + "/" + map[hpke.AEAD]string{hpke.AEAD_AES256GCM: "AES-256-GCM", hpke.AEAD_ChaCha20Poly1305: "ChaCha20-Poly1305"}[aead]
}

// unsized hides a body's size, which makes openpcc's client use the chunked form.
type unsized struct{ io.Reader }

// TestOpenPCCClient: openpcc's client, our gateway.
func TestOpenPCCClient(t *testing.T) {
	url := newGateway(t, echo)
	list := theirConfigs(t, http.DefaultClient, url)
	content := bytes.Repeat([]byte("Sotto voce. "), 20_000) // 240 kB, 15 chunks of the largest size
	for _, kem := range kems {
		for _, aead := range aeads {
			for form, body := range map[string]io.Reader{"whole": bytes.NewReader(content), "chunked": unsized{bytes.NewReader(content)}} {
				t.Run(suiteName(kem, aead)+"/"+form, func(t *testing.T) {
					tr, err := openpcc.NewTransport(with(t, list, kem, aead), url+"/ohttp")
					if err != nil {
						t.Fatal(err)
					}
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://router.sotto/v1/request", body)
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Content-Type", "text/x-echo")
					resp, err := tr.RoundTrip(req)
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					got, err := io.ReadAll(resp.Body)
					if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/x-echo" || !bytes.Equal(got, content) {
						t.Errorf("%s, type %q, %d bytes of %d, %v", resp.Status, resp.Header.Get("Content-Type"), len(got), len(content), err)
					}
				})
			}
		}
	}
}

// TestOpenPCCClientStreams: what the origin has said is with openpcc's client
// before the origin says more.
func TestOpenPCCClientStreams(t *testing.T) {
	more := make(chan struct{})
	url := newGateway(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "one")
		http.NewResponseController(w).Flush()
		select {
		case <-more:
			io.WriteString(w, "two")
		case <-r.Context().Done():
		}
	})
	tr, err := openpcc.NewTransport(with(t, theirConfigs(t, http.DefaultClient, url), kems[0], aeads[0]), url+"/ohttp")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://router.sotto/v1/request", unsized{strings.NewReader("go")})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 3)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "one" {
		t.Fatalf("%q, %v", first, err)
	}
	close(more)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "two" {
		t.Errorf("%q, %v", rest, err)
	}
}

// TestOpenPCCClientRefused: what the gateway refuses reaches openpcc's client
// as what it is.
func TestOpenPCCClientRefused(t *testing.T) {
	url := newGateway(t, echo)
	list := theirConfigs(t, http.DefaultClient, url)
	post := func(t *testing.T, aead hpke.AEAD, target string) (*openpcc.Transport, *http.Request) {
		tr, err := openpcc.NewTransport(with(t, list, kems[0], aead), url+"/ohttp")
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		return tr, req
	}
	t.Run("AES-128-GCM is not offered", func(t *testing.T) {
		for _, k := range list {
			for _, a := range k.SymmetricAlgorithms {
				if a.AEADID == hpke.AEAD_AES128GCM {
					t.Fatal("it is in the key configuration")
				}
			}
		}
		tr, req := post(t, hpke.AEAD_AES128GCM, "https://router.sotto/v1/request")
		_, err := tr.RoundTrip(req)
		var status openpcc.ResponseStatusError
		if !errors.As(err, &status) || status.StatusCode != http.StatusBadRequest {
			t.Errorf("%v", err)
		}
	})
	t.Run("another target", func(t *testing.T) {
		tr, req := post(t, aeads[0], "https://example.com/")
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusForbidden || !strings.Contains(string(b), `"code":"target"`) {
			t.Errorf("%s %s", resp.Status, b)
		}
	})
	t.Run("CR-15", func(t *testing.T) {
		tr, req := post(t, aeads[0], "https://router.sotto/v1/request")
		sealed, opener, err := tr.Encapsulate(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(sealed.Body)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []int{http.StatusOK, http.StatusConflict} {
			outer, err := http.Post(url+"/ohttp", ohttp.TypeRequest, bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := opener.Decapsulate(t.Context(), outer)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != want || want != http.StatusOK && !strings.Contains(string(got), `"code":"replay"`) {
				t.Errorf("attempt %d: %s %s", i, resp.Status, got)
			}
		}
	})
}

// TestOpenPCCClientThroughLab: openpcc's client, our relay, gateway and router.
func TestOpenPCCClientThroughLab(t *testing.T) {
	l := theLab(t)
	pem, err := os.ReadFile(filepath.Join(l.ready.Dir, "tls", "public", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer c.CloseIdleConnections()
	list := theirConfigs(t, c, l.ready.Gateway)
	for _, kem := range kems {
		tr, err := openpcc.NewTransport(with(t, list, kem, aeads[0]), l.ready.Relays[0]+"/ohttp", openpcc.WithHTTPClient(c))
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://router.sotto/v1/freshness", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || len(b) < 1000 {
			t.Errorf("KEM %#04x: %s, %d bytes, %v", uint16(kem), resp.Status, len(b), err)
		}
	}
}

// theirGateway runs openpcc's gateway in front of origin, and returns its URL
// and its key configuration as our parser reads it.
func theirGateway(t *testing.T, kem hpke.KEM, aead hpke.AEAD, origin http.HandlerFunc, opts ...openpcc.GatewayOption) (string, *ohttp.KeyConfig) {
	t.Helper()
	pub, priv, err := kem.Scheme().GenerateKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	pair := openpcc.KeyPair{SecretKey: priv, KeyConfig: openpcc.KeyConfig{
		KeyID: 7, KemID: kem, PublicKey: pub,
		SymmetricAlgorithms: []openpcc.SymmetricAlgorithm{
			{KDFID: hpke.KDF_HKDF_SHA256, AEADID: hpke.AEAD_AES128GCM},
			{KDFID: hpke.KDF_HKDF_SHA256, AEADID: aead},
		},
	}}
	g, err := openpcc.NewGateway(pair, opts...)
	if err != nil {
		t.Fatal(err)
	}
	h := openpcc.Middleware(g, origin)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Their response writer hides this from the origin's handler.
		http.NewResponseController(w).EnableFullDuplex()
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	b, err := openpcc.KeyConfigs{pair.KeyConfig}.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	list, err := ohttp.ParseKeyConfigs(b)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	return s.URL, list[0]
}

var requestHead = bhttp.RequestHead{
	Method: "POST", Scheme: "https", Authority: openpcc.DefaultAllowedHostname, Path: "/echo",
	Fields: []bhttp.Field{{Name: "content-type", Value: "text/x-echo"}},
}

// fullChunks makes openpcc's gateway take chunks of 16384 bytes, which every
// receiver must (draft-ietf-ohai-chunked-ohttp-08, Section 3). Out of the box
// it takes 4096.
func fullChunks(t *testing.T) openpcc.GatewayOption {
	t.Helper()
	d, err := theirs.NewRequestDecoder(theirs.MaxRequestChunkLen(ohttp.MaxChunk))
	if err != nil {
		t.Fatal(err)
	}
	return openpcc.WithRequestDecoder(d)
}

// sealChunked seals a request with content for k, in our chunked form.
func sealChunked(t *testing.T, k *ohttp.KeyConfig, content []byte) (*bytes.Buffer, *encap.Request) {
	t.Helper()
	suite, err := k.Suite()
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	q, err := encap.NewRequest(&sealed, k, suite)
	if err != nil {
		t.Fatal(err)
	}
	w, err := bhttp.NewRequestWriter(q, &requestHead)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	return &sealed, q
}

// TestOpenPCCGateway: our client's half, openpcc's gateway.
func TestOpenPCCGateway(t *testing.T) {
	content := bytes.Repeat([]byte("Sotto voce. "), 20_000)
	for _, kem := range kems {
		for _, aead := range aeads {
			t.Run(suiteName(kem, aead)+"/chunked", func(t *testing.T) {
				url, k := theirGateway(t, kem, aead, echo, fullChunks(t))
				sealed, q := sealChunked(t, k, content)
				resp, err := http.Post(url, ohttp.TypeChunkedRequest, sealed)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != ohttp.TypeChunkedResponse {
					t.Fatal(resp.Status, resp.Header)
				}
				rd := bhttp.NewReader(q.Response(resp.Body), bhttp.Limits{})
				head, _, err := rd.ReadResponse()
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(rd.Body())
				if err != nil || head.Status != http.StatusOK || !bytes.Equal(got, content) {
					t.Errorf("%+v, %d bytes of %d, %v", head, len(got), len(content), err)
				}
			})
			t.Run(suiteName(kem, aead)+"/whole", func(t *testing.T) {
				url, k := theirGateway(t, kem, aead, func(w http.ResponseWriter, r *http.Request) {
					b, _ := io.ReadAll(r.Body)
					w.Write(b[:2000])
				})
				suite, err := k.Suite()
				if err != nil {
					t.Fatal(err)
				}
				msg, err := bhttp.AppendRequest(nil, &bhttp.Request{RequestHead: requestHead, Content: content})
				if err != nil {
					t.Fatal(err)
				}
				sealed, q, err := encap.Seal(k, suite, msg)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := http.Post(url, ohttp.TypeRequest, bytes.NewReader(sealed))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				answer, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != ohttp.TypeResponse {
					t.Fatal(resp.Status, resp.Header, err)
				}
				plain, err := q.Open(answer)
				if err != nil {
					t.Fatal(err)
				}
				got, err := bhttp.ParseResponse(plain)
				if err != nil || got.Status != http.StatusOK || !bytes.Equal(got.Content, content[:2000]) {
					t.Errorf("%+v, %v", got, err)
				}
			})
		}
	}
}

// TestOpenPCCGatewayDiffers pins where openpcc's gateway, out of the box, and
// our client do not fit, so that docs/interop.md stays true: it fails when a
// version of theirs no longer differs.
func TestOpenPCCGatewayDiffers(t *testing.T) {
	t.Run("chunks over 4096 bytes", func(t *testing.T) {
		url, k := theirGateway(t, kems[0], aeads[0], echo)
		for size, ok := range map[int]bool{3000: true, 16000: false} {
			sealed, q := sealChunked(t, k, make([]byte, size))
			resp, err := http.Post(url, ohttp.TypeChunkedRequest, sealed)
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.Copy(io.Discard, q.Response(resp.Body))
			resp.Body.Close()
			if got := resp.StatusCode == http.StatusOK && err == nil; got != ok {
				t.Errorf("a request in one chunk of %d bytes: %s, %v; worked %v, expected %v", size, resp.Status, err, got, ok)
			}
		}
	})
	t.Run("whole answer to a chunked request", func(t *testing.T) {
		url, k := theirGateway(t, kems[0], aeads[0], func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "short") })
		sealed, q := sealChunked(t, k, []byte("hello"))
		resp, err := http.Post(url, ohttp.TypeChunkedRequest, sealed)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if ct := resp.Header.Get("Content-Type"); ct != ohttp.TypeResponse {
			t.Errorf("answered with %s", ct)
		}
		if got, err := io.ReadAll(q.Response(resp.Body)); err == nil {
			t.Errorf("an answer of the other form opens: %q", got)
		}
	})
}
