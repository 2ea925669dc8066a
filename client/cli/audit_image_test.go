// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/transparency/bundle"
	"github.com/sotto-project/sotto/transparency/release"
	rt "github.com/sotto-project/sotto/transparency/release/releasetest"
	"github.com/sotto-project/sotto/transparency/roster/rostertest"
)

// aRelease is a folder with one release, the trust file that believes it, and the
// SIMULATED instance whose log it is in.
func aRelease(t *testing.T) (dir, trust string, file, image [32]byte, w *rt.World) {
	t.Helper()
	now := time.Now()
	w = rt.New(now.AddDate(0, -1, 0))
	image = sha256.Sum256([]byte("image"))
	statement := func(kind string, predicate any) []byte {
		s, err := release.NewStatement(kind, []release.Subject{release.NewSubject("node", image)}, predicate)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	sbom := statement(release.TypeSBOM, map[string]any{"bomFormat": "CycloneDX", "specVersion": "1.6"})
	prov := statement(release.TypeProvenance, map[string]any{"buildDefinition": map[string]any{"buildType": "x",
		"resolvedDependencies": []any{map[string]any{"digest": map[string]any{"gitCommit": rt.Commit}}}}})
	m := release.ImageManifest{Role: "node", Repository: rt.Repository, Commit: rt.Commit, Tag: "v1.2.3",
		Recipe: release.Recipe{Type: "https://sotto-project.github.io/release/build/v1", Command: "sotto-release make", Inputs: map[string]string{"go": "go1.26.0", release.LaunchInput(attestationtest.ImageOn(attestation.SNP).Name): "vmm=qemu vcpus=4"}},
		SBOM:   sha256.Sum256(sbom), Provenance: sha256.Sum256(prov), Measurements: []attestation.Image{attestationtest.ImageOn(attestation.SNP)}}
	m.VerityRoot, _ = attestation.VerityRoot(m.Measurements[0].CommandLines[0])
	var bundles [][]byte
	for _, s := range [][]byte{sbom, prov, statement(release.TypeImage, m)} {
		bundles = append(bundles, w.Keyless(s, rt.WorkflowAt(rt.Repository, "refs/tags/v1.2.3"), now.Add(-time.Hour)))
	}
	f, err := release.NewFile(rt.Repository, rt.Commit, "v1.2.3", bundles)
	if err != nil {
		t.Fatal(err)
	}
	b, err := f.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := json.Marshal(release.Trust{TrustedRoot: w.TrustedRoot(), Repository: rt.Repository,
		Publisher: release.Signer{Name: "releases", Workflow: rt.Workflow, Issuer: rt.Issuer, Repository: rt.Repository},
		Policy:    release.Policy{WithoutAge: true, WithoutReviewers: true}})
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	trust = filepath.Join(t.TempDir(), "trust.json")
	for path, b := range map[string][]byte{filepath.Join(dir, "v1.2.3"): b, filepath.Join(dir, "README"): []byte("x"), trust: tr} {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, trust, release.Digest(b), image, w
}

func TestAuditExplainsImages(t *testing.T) {
	dir, trust, file, image, _ := aRelease(t)
	a := &audited{t: t, w: &rostertest.World{}, dir: t.TempDir()}
	explain := func(digest [32]byte, more ...string) (string, int, error) {
		args := append([]string{"explain-image", fmt.Sprintf("%x", digest), "--releases", dir, "--release-trust", trust}, more...)
		stdout, _, code, err := a.runPlain(args...)
		return stdout, code, err
	}
	for _, d := range [][32]byte{file, image} {
		stdout, code, err := explain(d)
		if code != 0 || err != nil {
			t.Fatalf("%d %v\n%s", code, err, stdout)
		}
		for _, want := range []string{rt.Repository, rt.Commit, fmt.Sprintf("%x", image), "log index", "SBOM", "launch of    SIMULATED lab image: vmm=qemu vcpus=4"} {
			if !strings.Contains(stdout, want) {
				t.Errorf("no %q in\n%s", want, stdout)
			}
		}
		if strings.Contains(stdout, "MISSING") {
			t.Errorf("%s", stdout)
		}
	}
	if stdout, code, err := explain(file, "--json"); code != 0 || !json.Valid([]byte(stdout)) || !strings.Contains(stdout, `"recipe": "vmm=qemu vcpus=4"`) {
		t.Errorf("%d %v %s", code, err, stdout)
	}
	t.Run("AT-42 in no file", func(t *testing.T) {
		if _, code, err := explain([32]byte{1}); code != 10 || !strings.Contains(err.Error(), "no release file") {
			t.Errorf("%d %v", code, err)
		}
	})
	t.Run("AT-43 by another publisher", func(t *testing.T) {
		b, err := os.ReadFile(trust)
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(trust, bytes.Replace(b, []byte("/.github/"), []byte("/.other/"), 1), 0o644)
		defer os.WriteFile(trust, b, 0o644)
		if _, code, err := explain(file); code == 0 {
			t.Errorf("%d %v", code, err)
		}
	})
	for _, args := range [][]string{{"explain-image", "xx", "--releases", dir, "--release-trust", trust}, {"explain-image", strings.Repeat("0", 64), "--releases", dir}} {
		if _, _, code, err := a.runPlain(args...); code != 2 {
			t.Errorf("%v: %d %v", args, code, err)
		}
	}
}

// TestVerifyRelease: the client's own judgement of one file, without a network.
func TestVerifyRelease(t *testing.T) {
	dir, trust, file, _, _ := aRelease(t)
	path := filepath.Join(dir, "v1.2.3")
	verify := func(args ...string) (string, int, error) {
		root := &cobra.Command{Use: "sotto", SilenceUsage: true, SilenceErrors: true}
		root.AddCommand(cli.Commands(func(string) (client.Config, error) { return client.Config{}, errors.New("no trust file was asked for") }, "trust.yaml")...)
		stdout, _, code, err := run(t, root, "", append([]string{"verify", "release"}, args...)...)
		return stdout, code, err
	}
	stdout, code, err := verify(path, "--release-trust", trust)
	if code != 0 || err != nil {
		t.Fatalf("%d %v\n%s", code, err, stdout)
	}
	for _, want := range []string{"verified", rt.Repository, rt.Commit, fmt.Sprintf("%x", file), "public      since"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if stdout, code, err := verify(path, "--release-trust", trust, "--json"); code != 0 || !json.Valid([]byte(stdout)) {
		t.Errorf("%d %v %s", code, err, stdout)
	}
	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"before it was logged": {[]string{path, "--release-trust", trust, "--at", "2020-01-01T00:00:00Z"}, 10},
		"another file":         {[]string{filepath.Join(dir, "README"), "--release-trust", trust}, 10},
		"no file":              {[]string{path + "-absent", "--release-trust", trust}, 1},
		"no trust":             {[]string{path}, 2},
		"no time":              {[]string{path, "--release-trust", trust, "--at", "noon"}, 2},
		"a trust that is none": {[]string{path, "--release-trust", path}, 2},
	} {
		if stdout, code, err := verify(c.args...); code != c.code || err == nil || stdout != "" {
			t.Errorf("%s: %d %v %q, want %d", name, code, err, stdout, c.code)
		}
	}
}

// TestAuditFollowsReleaseLog: whoever owns the publisher's identity learns that
// somebody else signs with it, by the release files they have.
func TestAuditFollowsReleaseLog(t *testing.T) {
	dir, trust, _, _, world := aRelease(t)
	log := httptest.NewServer(world.Handler(time.Now))
	defer log.Close()
	a := newAudited(t, nil)
	args := []string{"--policy", "none", "--release-log", log.URL, "--release-trust", trust}
	if stdout, _, code, err := a.run(append(args, "--releases", dir)...); code != 0 {
		t.Errorf("with our own releases: %d %v\n%s", code, err, stdout)
	}
	world.Keyless([]byte("theirs"), rt.WorkflowAt(rt.Repository, "refs/tags/v6.6.6"), time.Now())
	stdout, _, code, err := a.run(append(args, "--releases", dir)...)
	if code != 10 || !strings.Contains(stdout, "identity.foreign") || !strings.Contains(stdout, "entry 3") || !strings.Contains(stdout, "v6.6.6") {
		t.Errorf("somebody else's: %d %v\n%s", code, err, stdout)
	}
	own := filepath.Join(t.TempDir(), "own")
	pae := fmt.Sprintf("DSSEv1 %d %s 6 theirs", len(bundle.PayloadType), bundle.PayloadType)
	if err := os.WriteFile(own, fmt.Appendf(nil, "%x # said by us\n", sha256.Sum256([]byte(pae))), 0o644); err != nil {
		t.Fatal(err)
	}
	a.dir = t.TempDir()
	if stdout, _, code, err := a.run(append(args, "--releases", dir, "--own", own)...); code != 0 {
		t.Errorf("on the list: %d %v\n%s", code, err, stdout)
	}
	for _, bad := range [][]string{{"--own", own}, {"--release-log", log.URL}, {"--release-trust", trust}, {"--releases", dir}, {"--release-log", "x", "--release-trust", trust},
		{"--release-log", log.URL, "--release-trust", trust, "--own", "no such file"}, {"--release-log", log.URL, "--release-trust", "no such file"}} {
		if _, _, code, err := a.run(bad...); code != 2 {
			t.Errorf("%v: %d %v", bad, code, err)
		}
	}
}
