// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package rekor

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	tilesnote "github.com/sigstore/rekor-tiles/v2/pkg/note"

	"github.com/sotto-project/sotto/audit"
	"github.com/sotto-project/sotto/transparency/release"
	rt "github.com/sotto-project/sotto/transparency/release/releasetest"
)

// server is the program under test on the other side.
const server = "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix@v2.3.0"

const (
	origin     = "rekor.lab.example"
	repository = "https://git.simulated.example/sotto-project/sotto"
	tag        = "v0.0.1"
)

type object = map[string]any

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// command runs a program and fails with what it said.
func command(t *testing.T, dir string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// startLog builds and starts the log; it returns its URL and its entry in a
// trusted root.
func startLog(t *testing.T, dir string) (string, object) {
	t.Helper()
	program := filepath.Join(dir, "posix")
	if have := os.Getenv("SOTTO_REKOR_SERVER"); have != "" {
		program = have
	} else {
		install := exec.Command("go", "install", server)
		install.Dir, install.Env = dir, append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("go install %s: %v\n%s", server, err, out)
		}
	}
	key := rt.NewKey()
	keyFile := filepath.Join(dir, "log.pem")
	der := must(x509.MarshalPKCS8PrivateKey(key))
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	port := func() string {
		l := must(net.Listen("tcp", "127.0.0.1:0"))
		defer l.Close()
		_, p, _ := net.SplitHostPort(l.Addr().String())
		return p
	}
	http0 := port()
	cmd := exec.Command(program, "serve", "--hostname", origin, "--signer-filepath", keyFile, "--storage-dir", filepath.Join(dir, "log"),
		"--http-port", http0, "--grpc-port", port(), "--http-metrics-port", port(), "--checkpoint-interval", "200ms", "--log-level", "error")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	url := "http://127.0.0.1:" + http0
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if r, err := http.Get(url + "/healthz"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log does not start:\n%s", stderr.String())
		}
	}
	_, id, err := tilesnote.KeyHash(origin, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return url, object{"baseUrl": "https://" + origin, "hashAlgorithm": "SHA2_256", "logId": object{"keyId": b64(id)}, "publicKey": object{
		"rawBytes": b64(must(x509.MarshalPKIXPublicKey(key.Public()))), "keyDetails": "PKIX_ECDSA_P256_SHA_256",
		"validFor": object{"start": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)}}}
}

// TestReleaseOfThisRepository makes a release of what HEAD is: one program for
// one platform, or, with SOTTO_FULL_RELEASE=1, all of them for three. The small
// one is built again with an empty cache of the compiler; of the full one that
// takes as long as all compilations, so it needs SOTTO_COLD=1 beside.
func TestReleaseOfThisRepository(t *testing.T) {
	full := os.Getenv("SOTTO_FULL_RELEASE") != ""
	dir := t.TempDir()
	root := must(filepath.Abs(filepath.Join("..", "..", "..")))
	source := filepath.Join(dir, "source")
	command(t, dir, "git", "clone", "-q", "--no-tags", root, source)
	command(t, source, "git", "-c", "tag.gpgsign=false", "tag", tag)
	tool := filepath.Join(dir, "sotto-release")
	command(t, root, "go", "build", "-o", tool, "./cmd/sotto-release")

	url, log := startLog(t, dir)
	world := rt.New(time.Now().Add(-time.Hour)) // timestamps and certificates are SIMULATED; the log is not
	authorities := httptest.NewServer(world.Handler(time.Now))
	defer authorities.Close()
	var trusted object
	if err := json.Unmarshal(world.TrustedRoot(), &trusted); err != nil {
		t.Fatal(err)
	}
	trusted["tlogs"] = []object{log}
	publisher := strings.TrimSpace(command(t, dir, tool, "key", filepath.Join(dir, "publisher.pem")))
	reviewer := strings.TrimSpace(command(t, dir, tool, "key", filepath.Join(dir, "reviewer.pem")))
	trust := release.Trust{TrustedRoot: must(json.Marshal(trusted)), Repository: repository, Publisher: release.Signer{Name: "releases", PublicKey: publisher},
		Policy: release.Policy{WithoutAge: true, WithoutReviewers: true}}
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	lenient := write("trust.json", must(json.Marshal(trust)))
	trust.Policy = release.Policy{WithoutAge: true, K: 1, MaxAgeEndorsement: 3600e9, Reviewers: []release.Signer{{Name: "reviewer", PublicKey: reviewer}}}
	strict := write("strict.json", must(json.Marshal(trust)))
	config := func(who string) string {
		what := "platforms: [linux/amd64]\ncommands: [sotto-relay]\n"
		if full {
			what = "platforms: [linux/amd64, linux/arm64, darwin/arm64]\n"
		}
		return write(who+".yaml", fmt.Appendf(nil, "repository: %s\n%sbuilder: https://builder.simulated.example\nlog_url: %s\ntimestamp_url: %s/api/v1/timestamp\nkey_file: %s\ntrust_file: %s\n",
			repository, what, url, authorities.URL, filepath.Join(dir, who+".pem"), lenient))
	}
	start := time.Now()
	t.Logf("make:\n%s", command(t, dir, tool, "make", "--config", config("publisher"), "--tag", tag, "--source", source, "--out", filepath.Join(dir, "out")))
	t.Logf("made in %v", time.Since(start).Round(time.Second))
	file := filepath.Join(dir, "out", "release.jsonl")
	command(t, dir, tool, "verify", file, "--trust", lenient)
	if out, err := exec.Command(tool, "verify", file, "--trust", strict).CombinedOutput(); err == nil || !strings.Contains(string(out), "release.reviewers") {
		t.Errorf("without reviewers: %v\n%s", err, out)
	}
	start = time.Now()
	again := []string{"reproduce", file, "--trust", lenient, "--source", source}
	if full && os.Getenv("SOTTO_COLD") == "" {
		again = append(again, "--shared-cache")
	}
	out := command(t, dir, tool, again...)
	if !strings.Contains(out, "bit for bit") || strings.Contains(out, "DIFFERENT") {
		t.Errorf("reproduce:\n%s", out)
	}
	t.Logf("reproduced in %v:\n%s", time.Since(start).Round(time.Second), out)
	endorsed := filepath.Join(dir, "endorsed.jsonl")
	command(t, dir, tool, "endorse", file, "--trust", lenient, "--config", config("reviewer"), "--out", endorsed)
	t.Logf("verify:\n%s", command(t, dir, tool, "verify", endorsed, "--trust", strict))

	asSeenBySotto(t, root, endorsed, strict, full)
	b := must(os.ReadFile(endorsed))
	followed(t, filepath.Join(dir, "log"), &trust, b)
	begin := time.Now()
	const rounds = 20
	for range rounds {
		if _, err := release.Verify(b, &trust, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("file of %d bytes, judged in %v", len(b), (time.Since(begin) / rounds).Round(100*time.Microsecond))
	if full {
		ingest(t, url)
	}
}

// asSeenBySotto has the client's program judge the release, and an auditor's
// follow its file from a digest to source, SBOM, provenance and log.
func asSeenBySotto(t *testing.T, root, file, trust string, full bool) {
	t.Helper()
	sotto := filepath.Join(t.TempDir(), "sotto")
	command(t, root, "go", "build", "-o", sotto, "./cmd/sotto")
	t.Logf("sotto verify release:\n%s", command(t, root, sotto, "verify", "release", file, "--release-trust", trust))
	digest := fmt.Sprintf("%x", release.Digest(must(os.ReadFile(file))))
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, tag), must(os.ReadFile(file)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(sotto, "audit", "explain-image", digest, "--releases", folder, "--release-trust", trust).CombinedOutput()
	if full && err != nil || !strings.Contains(string(out), repository) || !strings.Contains(string(out), "log index") {
		t.Errorf("audit explain-image: %v\n%s", err, out)
	}
	t.Logf("sotto audit explain-image:\n%s", out)
}

// followed reads the log's files as an auditor does, who watches the publisher's
// key: what is signed with it is in the release, and nothing else.
func followed(t *testing.T, dir string, trust *release.Trust, file []byte) {
	t.Helper()
	files := httptest.NewServer(http.StripPrefix("/api/v2", http.FileServer(http.Dir(dir))))
	defer files.Close()
	log, err := audit.NewRekorLog(files.URL, nil, trust, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	page, err := log.Entries(t.Context(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := must(release.ParseFile(file))
	for _, e := range page.Entries {
		if !slices.Contains(f.Logged(), e.Digests[0]) {
			t.Errorf("entry %d, of the publisher, is not in the release", e.Index)
		}
	}
	if len(page.Entries) != len(f.Bundles) || page.Next <= uint64(len(f.Bundles)) {
		t.Errorf("%d entries of the publisher among %d, the release has %d", len(page.Entries), page.Next, len(f.Bundles))
	}
	if page, err = log.Entries(t.Context(), page.Next, page.Note); err != nil || len(page.Entries) != 0 {
		t.Errorf("again from there: %d, %v", len(page.Entries), err)
	}
	t.Logf("an auditor found %d entries of the publisher's among %d", len(f.Bundles), page.Next)
}

// ingest measures how fast the log takes entries that are signed beforehand.
func ingest(t *testing.T, url string) {
	const entries, writers = 4000, 256
	key := rt.NewKey()
	spki := b64(must(x509.MarshalPKIXPublicKey(key.Public())))
	bodies := make([][]byte, entries)
	for i := range bodies {
		d := sha256.Sum256(fmt.Appendf(nil, "entry %d", i))
		bodies[i] = must(json.Marshal(object{"hashedRekordRequestV002": object{"digest": b64(d[:]), "signature": object{
			"content": b64(sign(key, d[:])), "verifier": object{"publicKey": object{"rawBytes": spki}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}}}}))
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: writers}}
	work, ctx := make(chan []byte), context.Background()
	var wg sync.WaitGroup
	start := time.Now()
	for range writers {
		wg.Go(func() {
			for b := range work {
				req := must(http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v2/log/entries", bytes.NewReader(b)))
				req.Header.Set("Content-Type", "application/json")
				r, err := client.Do(req)
				if err != nil {
					t.Error(err)
					continue
				}
				io.Copy(io.Discard, r.Body)
				r.Body.Close()
				if r.StatusCode != http.StatusCreated {
					t.Errorf("status %s", r.Status)
				}
			}
		})
	}
	for _, b := range bodies {
		work <- b
	}
	close(work)
	wg.Wait()
	d := time.Since(start)
	t.Logf("ingest: %d entries by %d writers in %v, %.0f a second, each with its proof", entries, writers, d.Round(time.Millisecond), entries/d.Seconds())
}

func sign(key *ecdsa.PrivateKey, digest []byte) []byte {
	return must(key.Sign(rand.Reader, digest, crypto.SHA256))
}
