// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package build_test

import (
	"context"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/release/build"
	rt "github.com/sotto-project/sotto/transparency/release/releasetest"
)

const tag = "v0.1.0"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A shop is a small project with a SIMULATED sigstore beside it.
type shop struct {
	t      *testing.T
	dir    string
	source string
	commit string
	world  *rt.World
	server *httptest.Server
	fail   func(r *http.Request) bool // requests that get an error
	config build.Config
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, dir: t.TempDir(), world: rt.New(time.Now().Add(-time.Hour))}
	s.source = filepath.Join(s.dir, "source")
	s.write("source/go.mod", "module project.example/x\n\ngo 1.26\n")
	s.write("source/cmd/sotto/main.go", "package main\n\nfunc main() { println(\"client\") }\n")
	s.write("source/cmd/sotto-tiny/main.go", "package main\n\nfunc main() { println(\"role\") }\n")
	s.write("source/cmd/sotto-lab/main.go", "package main\n\nfunc main() { println(\"lab\") }\n")
	s.write("source/.gitignore", "/ignored\n")
	s.git("init", "-q")
	s.commitAll()
	s.git("tag", tag)
	handler := s.world.Handler(time.Now)
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.fail != nil && s.fail(r) {
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.server.Close)
	private, public, err := build.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	s.write("key.pem", string(private))
	s.config = build.Config{Repository: rt.Repository, Platforms: []string{"linux/arm64", "linux/amd64"}, Builder: "https://builder.simulated.example",
		LogURL: s.server.URL, TimestampURL: s.server.URL + "/api/v1/timestamp", KeyFile: filepath.Join(s.dir, "key.pem"), TrustFile: filepath.Join(s.dir, "trust.json")}
	s.trust(release.Signer{Name: "releases", PublicKey: public})
	return s
}

func (s *shop) trust(publisher release.Signer) {
	s.write("trust.json", string(must(json.Marshal(release.Trust{TrustedRoot: s.world.TrustedRoot(), Repository: rt.Repository, Publisher: publisher,
		Policy: release.Policy{WithoutAge: true, WithoutReviewers: true}}))))
}

func (s *shop) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) git(args ...string) string {
	s.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", s.source, "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_DATE=2026-10-01T12:00:00Z", "GIT_COMMITTER_DATE=2026-10-01T12:00:00Z")
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (s *shop) commitAll() {
	s.git("add", "-A")
	s.git("commit", "-q", "-m", "x")
	s.commit = s.git("rev-parse", "HEAD")
}

func (s *shop) job(out string) *build.Job {
	return &build.Job{Config: s.config, Source: s.source, Tag: tag, Out: filepath.Join(s.dir, out), Progress: func(line string) { s.t.Log(line) }}
}

// read returns the release file that a job wrote, verified.
func (s *shop) read(out string) ([]byte, *release.Release) {
	s.t.Helper()
	file := must(os.ReadFile(filepath.Join(s.dir, out, build.FileName)))
	t := must(release.ParseTrust(must(os.ReadFile(s.config.TrustFile))))
	r, err := release.Verify(file, t, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return file, r
}

func TestMakeVerifyReproduce(t *testing.T) {
	s := newShop(t)
	measured := []attestation.Image{attestationtest.Image()}
	s.write("node.json", string(must(json.Marshal(measured))))
	s.write("node.raw", "a disk")
	s.write("weights.gguf", "weights")
	s.config.Machines = []build.Machine{{Name: "node.raw", File: s.dir + "/node.raw", Role: "node", Measurements: s.dir + "/node.json", Command: "make image", IMAPolicy: s.dir + "/node.json"}}
	s.config.Models = []build.Model{{Name: "toy", File: s.dir + "/weights.gguf", Source: "https://models.simulated.example/toy", Revision: "1", Format: "gguf", Context: 512}}
	if _, err := s.job("out").Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	file, r := s.read("out")
	if r.Commit != s.commit || len(r.Images) != 2 || len(r.Models) != 1 || len(r.Artifacts) != 4+1+1 {
		t.Errorf("%+v", r)
	}
	for _, a := range r.Artifacts { // what is on disk is what was released
		path := map[bool]string{true: filepath.Join(s.dir, "out", a.Name, "index.json"), false: filepath.Join(s.dir, "out", "bin", a.Name)}[strings.HasPrefix(a.Name, "oci/")]
		if a.Name == "node.raw" {
			path = s.dir + "/node.raw"
		}
		if d := release.Digest(must(os.ReadFile(path))); d != a.Digest {
			t.Errorf("%s is %x on disk, %x in the release", a.Name, d, a.Digest)
		}
	}
	if refs := release.Released(r); len(refs.Images) != 1 || refs.Images[0].Name != measured[0].Name {
		t.Errorf("%+v", refs)
	}
	c, err := s.job("again").Reproduce(t.Context(), file, r)
	if err != nil || c.Equal() || len(c.Same) != 5 || len(c.Different) != 0 || !slices.Equal(c.NotBuilt, []build.Skipped{{Name: "node.raw", Why: "made by another recipe"}, {Name: "toy", Why: "weights are not built"}}) {
		t.Fatalf("%v %+v", err, c)
	}
	job := s.job("but those")
	job.Except = []string{"node.raw", "toy", "linux_amd64/sotto"}
	if c, err := job.Reproduce(t.Context(), file, r); err != nil || !c.Equal() || len(c.Same) != 5 || len(c.Excepted) != 2 {
		t.Fatalf("%v %+v", err, c)
	}
	// Another place, another clone: the same index, hence the same ID.
	if _, err := s.job("third").Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, third := s.read("third"); third.ID != r.ID || third.Digest == r.Digest {
		t.Errorf("released twice: %x and %x", r.ID, third.ID)
	}
}

// TestReproduceSees: what is not the source of a release does not pass for it.
func TestReproduceSees(t *testing.T) {
	s := newShop(t)
	s.config.Platforms, s.config.Images = []string{"linux/amd64"}, []string{}
	if _, err := s.job("out").Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	file, r := s.read("out")
	t.Run("another program under the released name", func(t *testing.T) {
		forged := *r
		forged.Artifacts = slices.Clone(r.Artifacts)
		forged.Artifacts[0].Digest[0]++
		c, err := s.job("forged").Reproduce(t.Context(), file, &forged)
		if err != nil || c.Equal() || len(c.Different) != 1 || !strings.Contains(c.Different[0], hex.EncodeToString(forged.Artifacts[0].Digest[:])) {
			t.Errorf("%v %+v", err, c)
		}
	})
	// republish signs the file's statements again, with another provenance or two.
	republish := func(provenances ...[]byte) ([]byte, *release.Release) {
		n := must(build.NewNotary(&s.config))
		f := must(release.ParseFile(file))
		var bundles [][]byte
		for i, it := range f.Index.Items {
			if it.Kind == release.KindSBOM {
				bundles = append(bundles, f.Bundles[i])
			}
		}
		for _, p := range provenances {
			bundles = append(bundles, must(n.Publish(t.Context(), p)))
		}
		b := must(must(release.NewFile(rt.Repository, s.commit, tag, bundles)).Append(nil))
		return b, must(release.Verify(b, must(release.ParseTrust(must(os.ReadFile(s.config.TrustFile)))), time.Now()))
	}
	// provenance is the file's with other text and further subjects.
	provenance := func(edit *strings.Replacer, more ...release.Subject) []byte {
		f := must(release.ParseFile(file))
		for i, it := range f.Index.Items {
			if it.Kind != release.KindProvenance {
				continue
			}
			var subjects []release.Subject
			for _, a := range r.Artifacts {
				subjects = append(subjects, release.NewSubject(a.Name, a.Digest))
			}
			p := json.RawMessage(edit.Replace(string(must(release.Predicate(f.Bundles[i])))))
			return must(release.NewStatement(release.TypeProvenance, append(subjects, more...), p))
		}
		panic("no provenance")
	}
	same := strings.NewReplacer()
	for name, c := range map[string]struct {
		provenances [][]byte
		different   string
		notBuilt    string
	}{
		"a program that no provenance makes":   {[][]byte{provenance(same, release.NewSubject("linux_amd64/sotto-node", [32]byte{1}))}, "linux_amd64/sotto-node", ""},
		"an image that no provenance makes":    {[][]byte{provenance(same, release.NewSubject("oci/sotto-gateway", [32]byte{1}))}, "oci/sotto-gateway", ""},
		"a program on a platform in no recipe": {[][]byte{provenance(same, release.NewSubject("linux_arm64/sotto", [32]byte{1}))}, "linux_arm64/sotto", ""},
		"a name that looks like no recipe's":   {[][]byte{provenance(same, release.NewSubject("linux_amd64\\sotto-node", [32]byte{1}))}, "sotto-node", ""},
		"one name, twice":                      {[][]byte{provenance(same, release.NewSubject("linux_amd64/sotto", [32]byte{1}))}, "linux_amd64/sotto: released 01", ""},
		"a program beside, by another type": {[][]byte{provenance(same), provenance(strings.NewReplacer(build.BuildType, "https://other.example"), release.NewSubject("linux_amd64/sotto-node", [32]byte{1}))},
			"linux_amd64/sotto-node", ""},
		"a machine":           {[][]byte{provenance(same, release.NewSubject("node.raw", [32]byte{1}))}, "", "node.raw"},
		"a second provenance": {[][]byte{provenance(same), provenance(strings.NewReplacer("linux/amd64", "linux/arm64"), release.NewSubject("linux_arm64/sotto", [32]byte{1}))}, "linux_arm64/sotto: released 01", ""},
	} {
		t.Run(name, func(t *testing.T) {
			file, r := republish(c.provenances...)
			got, err := s.job(name).Reproduce(t.Context(), file, r)
			if err != nil || got.Equal() {
				t.Fatalf("%v %+v", err, got)
			}
			if c.different != "" && !strings.Contains(strings.Join(got.Different, "\n"), c.different) || c.different == "" && len(got.Different) > 0 {
				t.Errorf("different: %q", got.Different)
			}
			if c.notBuilt == "" && len(got.NotBuilt) > 0 || c.notBuilt != "" && (len(got.NotBuilt) != 1 || got.NotBuilt[0].Name != c.notBuilt) {
				t.Errorf("not built: %q", got.NotBuilt)
			}
			job := s.job(name + " again")
			job.Except = []string{"node.raw", "linux_amd64/sotto-node", "oci/sotto-gateway", "linux_arm64/sotto", "linux_amd64/sotto"}
			if got, err := job.Reproduce(t.Context(), file, r); err != nil || got.Equal() != (c.different == "") {
				t.Errorf("excepted: %v %+v", err, got)
			}
		})
	}
	for name, edit := range map[string]*strings.Replacer{
		"of another repository": strings.NewReplacer(`"source":"`+rt.Repository, `"source":"https://git.simulated.example/mallory/sotto`),
		"of another tag":        strings.NewReplacer(`"ref":"refs/tags/`+tag, `"ref":"refs/tags/v9.0.0`),
		"by another compiler":   strings.NewReplacer(`"go":"go`, `"go":"gopher`),
		"of a path":             strings.NewReplacer(`"commands":["sotto"`, `"commands":["../sotto"`),
		"for a path":            strings.NewReplacer(`"platforms":["linux/amd64"`, `"platforms":["../../amd64"`),
	} {
		t.Run("provenance "+name, func(t *testing.T) {
			file, r := republish(provenance(same), provenance(edit))
			if got, err := s.job(name).Reproduce(t.Context(), file, r); err == nil {
				t.Errorf("followed: %+v", got)
			}
		})
	}
	t.Run("an image by another name in provenance", func(t *testing.T) {
		forged := *r
		forged.Images = []release.Image{{Name: "oci/sotto-relay", Digest: r.Artifacts[0].Digest}}
		if c, err := s.job("alias").Reproduce(t.Context(), file, &forged); err != nil || c.Equal() || len(c.Different) != 1 {
			t.Errorf("%v %+v", err, c)
		}
	})
	t.Run("moved tag", func(t *testing.T) {
		s.write("source/cmd/sotto/main.go", "package main\n\nfunc main() { println(\"hello\") }\n")
		s.commitAll()
		s.git("tag", "-f", tag)
		if _, err := s.job("moved").Reproduce(t.Context(), file, r); err == nil || !strings.Contains(err.Error(), "is commit") {
			t.Errorf("%v", err)
		}
	})
}

// TestMakeRefusesUncleanSources: the commit's name must not stand on something
// else.
func TestMakeRefusesUncleanSources(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*shop)
		want  string
	}{
		"changed file": {func(s *shop) { s.write("source/cmd/sotto/main.go", "package main\n\nfunc main() {}\n") }, "not clean"},
		"new file":     {func(s *shop) { s.write("source/cmd/sotto/other.go", "package main\n") }, "not clean"},
		"no tag":       {func(s *shop) { s.git("tag", "-d", tag) }, "no tag"},
		"tag moved on": {func(s *shop) { s.write("source/x", "x"); s.commitAll() }, "no tag"},
		"output there": {func(s *shop) { s.write("out/x", "x") }, "not empty"},
		"key readable": {func(s *shop) { os.Chmod(s.config.KeyFile, 0o644) }, "others can read it"},
		"Ed25519 key": {func(s *shop) {
			s.write("key.pem", "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----\n")
		}, "ECDSA P-256"},
		"no trust":                 {func(s *shop) { os.Remove(s.config.TrustFile) }, "no such file"},
		"AT-44":                    {func(s *shop) { s.write("trust.json", `{"trusted_root":"https://operator.example"}`) }, "cfg.policy.remote"},
		"the lab":                  {func(s *shop) { s.config.Commands = []string{"sotto-lab"} }, "not released"},
		"a machine like a program": {func(s *shop) { s.config.Machines = []build.Machine{{Name: "linux_amd64/sotto-node", File: "x"}} }, "with a slash"},
		"a path":                   {func(s *shop) { s.config.Commands = []string{"../x"} }, "not released"},
		"plain HTTP":               {func(s *shop) { s.config.LogURL = "http://log.example" }, "want https"},
		"no platform":              {func(s *shop) { s.config.Platforms = nil }, "platforms"},
		"key and CA":               {func(s *shop) { s.config.FulcioURL = "https://fulcio.example" }, "want one"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			s.config.Platforms = []string{"linux/amd64"}
			c.spoil(s)
			_, err := s.job("out").Make(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if _, err := os.Stat(filepath.Join(s.dir, "out", build.FileName)); !errors.Is(err, fs.ErrNotExist) {
				t.Error("a release was written")
			}
		})
	}
}

// TestOnlyTheCommitIsBuilt: what git does not show, and what only this machine
// has, makes no other bytes under the commit's name.
func TestOnlyTheCommitIsBuilt(t *testing.T) {
	evil := "package main\n\nfunc init() { println(\"not in the commit\") }\n"
	for name, spoil := range map[string]func(*shop){
		"nothing": func(*shop) {},
		"ignored file": func(s *shop) {
			s.write("source/.git/info/exclude", "local.go\n")
			s.write("source/cmd/sotto/local.go", evil)
		},
		"ignored command": func(s *shop) {
			s.write("source/.git/info/exclude", "sotto-more\n")
			s.write("source/cmd/sotto-more/main.go", "package main\n\nfunc main() {}\n")
		},
		"file that git is told not to look at": func(s *shop) {
			s.git("update-index", "--assume-unchanged", "cmd/sotto/main.go")
			s.write("source/cmd/sotto/main.go", "package main\n\nfunc main() { println(\"not in the commit\") }\n")
		},
		"replaced commit": func(s *shop) { // git shows another tree under the commit's name
			s.write("source/cmd/sotto/local.go", evil)
			s.git("add", "-A")
			s.git("commit", "-q", "-m", "evil")
			other := s.git("rev-parse", "HEAD")
			s.git("reset", "-q", "--hard", s.commit)
			s.git("replace", s.commit, other)
			s.git("reset", "-q", "--hard", s.commit)
		},
		"shallow clone": func(s *shop) {
			s.git("clone", "-q", "--depth=1", "--branch="+tag, "file://"+s.source, s.dir+"/shallow clone")
			s.source = s.dir + "/shallow clone"
		},
		"worktree": func(s *shop) {
			s.git("worktree", "add", "-q", "--detach", s.dir+"/worktree", tag)
			s.source = s.dir + "/worktree"
		},
		"another tag": func(s *shop) { s.git("tag", "v9.0.0") },
		"settings of the go command": func(s *shop) {
			s.write("home/.config/go/env", "GOFLAGS=-tags=evil\nGOFIPS140=latest\n")
		},
		"overlay": func(s *shop) {
			s.write("evil.go", evil)
			s.write("overlay.json", string(must(json.Marshal(map[string]map[string]string{"Replace": {s.source + "/cmd/sotto/main.go": s.dir + "/evil.go"}}))))
			s.write("home/.config/go/env", "GOFLAGS=-overlay="+s.dir+"/overlay.json\n")
		},
		"attributes of the user": func(s *shop) { // git asks for them wherever its settings are said to be
			s.write("home/.config/git/attributes", "*.go ident\n")
		},
		"excludes of the user": func(s *shop) {
			s.write("home/.config/git/ignore", "*.go\n")
		},
		"filters": func(s *shop) {
			s.write("home/.gitconfig", "[filter \"evil\"]\n\tsmudge = sed s/client/evil/\n\tclean = sed s/evil/client/\n")
			s.git("config", "filter.evil.smudge", "sed s/client/evil/")
			s.git("config", "filter.evil.clean", "sed s/evil/client/")
			s.write("source/.git/info/attributes", "cmd/sotto/main.go filter=evil\n")
			os.Remove(s.source + "/cmd/sotto/main.go")
			s.git("checkout", "-q", "--", "cmd/sotto/main.go")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} { // where they are without the test's home
				t.Setenv(name, strings.TrimSpace(string(must(exec.Command("go", "env", name).Output()))))
			}
			t.Setenv("HOME", s.dir+"/home")
			t.Setenv("XDG_CONFIG_HOME", s.dir+"/home/.config")
			s.config.Platforms, s.config.Images = []string{"linux/amd64"}, []string{}
			s.write("source/cmd/sotto/tagged.go", "//go:build evil\n\n"+evil)
			s.write("source/cmd/sotto/id.go", "package main\n\nvar ID = \"$Id$\"\n\nfunc init() { println(ID) }\n")
			s.commitAll()
			s.git("tag", "-f", tag)
			if _, err := s.job("out").Make(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, want := s.read("out")
			spoil(s)
			if _, err := s.job("again").Make(t.Context()); err != nil {
				if name == "replaced commit" && strings.Contains(err.Error(), "not clean") {
					return // the checkout is of the replacement, and that is seen
				}
				t.Fatal(err)
			}
			if _, got := s.read("again"); got.ID != want.ID {
				t.Errorf("other bytes under the same commit:\n%x\n%x", got.Artifacts, want.Artifacts)
			}
			info := must(buildinfo.ReadFile(filepath.Join(s.dir, "again/bin/linux_amd64/sotto")))
			if !slices.Contains(info.Settings, debug.BuildSetting{Key: "vcs.revision", Value: s.commit}) || !slices.Contains(info.Settings, debug.BuildSetting{Key: "vcs.modified", Value: "false"}) || info.Main.Version != tag {
				t.Errorf("stamped %v, %q", info.Settings, info.Main.Version)
			}
		})
	}
}

// TestMakeWritesAllOrNothing is the failure table: whichever request fails,
// there is no release file.
func TestMakeWritesAllOrNothing(t *testing.T) {
	s := newShop(t)
	s.config.Platforms, s.config.Commands = []string{"linux/amd64"}, []string{"sotto-tiny"}
	for n := 1; ; n++ {
		seen := 0
		s.fail = func(*http.Request) bool { seen++; return seen == n }
		out := "out" + strings.Repeat("x", n)
		_, err := s.job(out).Make(t.Context())
		if err == nil {
			if seen != 6 { // three statements, a timestamp and an entry each
				t.Errorf("%d requests", seen)
			}
			s.read(out)
			return
		}
		if _, err := os.Stat(filepath.Join(s.dir, out, build.FileName)); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("request %d failed, and a release was written", n)
		}
	}
}

func TestMakeKeyless(t *testing.T) {
	s := newShop(t)
	s.config.Platforms, s.config.Commands = []string{"linux/amd64"}, []string{"sotto-tiny"}
	who := rt.WorkflowAt(rt.Repository, "refs/tags/"+tag)
	for _, n := range []int{10, 13, 19} {
		who.Ext[n] = s.commit
	}
	s.write("token", s.world.Token(who))
	s.config.KeyFile, s.config.FulcioURL, s.config.TokenFile = "", s.server.URL, filepath.Join(s.dir, "token")
	s.trust(release.Signer{Name: "releases", Workflow: rt.Workflow, Issuer: rt.Issuer, Repository: rt.Repository})
	if _, err := s.job("out").Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, r := s.read("out"); r.Publisher != who.Name {
		t.Errorf("published by %q", r.Publisher)
	}
	t.Run("AT-43", func(t *testing.T) { // the self-check: nothing is written that nobody would believe
		s.write("token", s.world.Token(rt.WorkflowAt(rt.Repository, "refs/heads/main")))
		if _, err := s.job("branch").Make(t.Context()); release.CodeOf(err) != release.CodeIdentity {
			t.Errorf("%v", err)
		}
		if _, err := os.Stat(filepath.Join(s.dir, "branch", build.FileName)); !errors.Is(err, fs.ErrNotExist) {
			t.Error("written")
		}
	})
	t.Run("no token", func(t *testing.T) {
		for _, token := range []string{"", "a.b.c", "a.e30.c", "x"} {
			s.write("token", token)
			if _, err := s.job("x" + token).Make(t.Context()); err == nil {
				t.Errorf("signed with %q", token)
			}
		}
	})
}

func TestMakeStops(t *testing.T) {
	s := newShop(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.config.Platforms = []string{"linux/amd64"}
	s.fail = func(*http.Request) bool { cancel(); return true }
	if _, err := s.job("out").Make(ctx); err == nil {
		t.Error("went on")
	}
}

func TestDeployedConfiguration(t *testing.T) {
	c, err := config.Load[build.Config]("../../../deploy/release.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}
