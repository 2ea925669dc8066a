// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/transparency/release"
)

// FileName is what a release file is called in the output folder.
const FileName = "release.jsonl"

// A Job is one run.
type Job struct {
	Config Config
	Source string // a clean checkout
	Tag    string
	Out    string // an empty folder, or one that does not exist
	// Cache is the folder of the compiler's cache; empty: the user's. Who builds
	// again to compare wants an empty one: what is in a cache is not built.
	Cache string
	// Except names what [Job.Reproduce] need not compare, for the caller knows that
	// another recipe made it: images of machines, models.
	Except []string
	// Progress says in a line what is being done. It may be nil.
	Progress func(string)
}

func (j *Job) say(format string, args ...any) {
	if j.Progress != nil {
		j.Progress(fmt.Sprintf(format, args...))
	}
}

// An artifact is a file or image with its digest.
type artifact struct {
	name, path string
	digest     [32]byte
}

// built is what a source became.
type built struct {
	config    *Config
	source    *source
	goVersion string
	commands  []string
	platforms []string

	binaries  []artifact
	ociImages []artifact
	machines  []machine
	models    []model
}

type machine struct {
	Machine
	digest [32]byte
}

type model struct {
	name     string
	digest   [32]byte
	manifest release.ModelManifest
}

// all is everything that provenance speaks of, by name.
func (b *built) all() []artifact {
	out := slices.Concat(b.binaries, b.ociImages)
	for _, m := range b.machines {
		out = append(out, artifact{name: m.Name, path: m.File, digest: m.digest})
	}
	slices.SortFunc(out, func(x, y artifact) int { return cmp.Compare(x.name, y.name) })
	return out
}

func (b *built) images() []string {
	out := []string{}
	for _, a := range b.ociImages {
		out = append(out, strings.TrimPrefix(a.name, "oci/"))
	}
	return out
}

// Check says whether a job could start: configuration, key, trust and source. It
// builds nothing and asks nobody.
func (j *Job) Check(ctx context.Context) error {
	if err := j.Config.Validate(); err != nil {
		return err
	}
	if _, err := j.Config.trust(); err != nil {
		return err
	}
	if j.Config.KeyFile != "" {
		if _, err := readKey(j.Config.KeyFile); err != nil {
			return err
		}
	}
	for _, m := range j.Config.Machines {
		if err := (&machine{Machine: m}).into(new(release.ImageManifest)); err != nil {
			return fmt.Errorf("machine %s: %w", m.Name, err)
		}
	}
	_, err := openSource(ctx, j.Source, j.Tag)
	return err
}

// Make builds, signs, logs and writes a release. The file is written last and
// never over another: what a crash leaves behind is no release.
func (j *Job) Make(ctx context.Context) (*release.Release, error) {
	if err := j.Check(ctx); err != nil {
		return nil, err
	}
	if err := emptyDir(j.Out); err != nil {
		return nil, err
	}
	b, err := j.build(ctx)
	if err != nil {
		return nil, err
	}
	statements, err := b.statements()
	if err != nil {
		return nil, err
	}
	n, err := NewNotary(&j.Config)
	if err != nil {
		return nil, err
	}
	var bundles [][]byte
	start := time.Now()
	for i, s := range statements {
		j.say("sign and log statement %d of %d (%d bytes)", i+1, len(statements), len(s))
		bundle, err := n.Publish(ctx, s)
		if err != nil {
			return nil, err
		}
		bundles = append(bundles, bundle)
	}
	j.say("logged %d statements in %v", len(statements), time.Since(start).Round(time.Millisecond))
	f, err := release.NewFile(j.Config.Repository, b.source.commit, b.source.tag, bundles)
	if err != nil {
		return nil, err
	}
	return j.finish(f)
}

// finish writes a file that verifies.
func (j *Job) finish(f *release.File) (*release.Release, error) {
	file, err := f.Append(nil)
	if err != nil {
		return nil, err
	}
	t, err := j.Config.trust()
	if err != nil {
		return nil, err
	}
	r, err := release.Verify(file, t, time.Now())
	if err != nil {
		return nil, fmt.Errorf("nothing was written, for it would not verify under %s: %w", j.Config.TrustFile, err)
	}
	return r, durable.CreateFile(filepath.Join(j.Out, FileName), file, 0o644)
}

// emptyDir makes a folder, or finds it empty.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.MkdirAll(dir, 0o755)
	case err == nil && len(entries) > 0:
		return fmt.Errorf("output: %s is not empty", dir)
	}
	return err
}

// build makes programs and images, of the commit and nothing beside it.
func (j *Job) build(ctx context.Context) (*built, error) {
	checkout, err := openSource(ctx, j.Source, j.Tag)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sotto-release-source-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s, err := checkout.export(ctx, dir)
	if err != nil {
		return nil, err
	}
	b := &built{config: &j.Config, source: s, platforms: slices.Sorted(slices.Values(j.Config.Platforms))}
	if b.goVersion, err = goVersion(ctx); err != nil {
		return nil, err
	}
	if b.commands, err = j.Config.commands(s.dir); err != nil {
		return nil, err
	}
	if err := j.compile(ctx, b); err != nil {
		return nil, err
	}
	for _, command := range j.Config.images(b.commands) {
		binaries := map[string]string{}
		for _, p := range b.platforms {
			binaries[p] = filepath.Join(j.Out, "bin", strings.ReplaceAll(p, "/", "_"), binary(command, p))
		}
		j.say("image of %s", command)
		digest, err := writeImage(filepath.Join(j.Out, "oci", command), command, binaries, s, j.Config.Repository)
		if err != nil {
			return nil, err
		}
		b.ociImages = append(b.ociImages, artifact{name: "oci/" + command, digest: digest})
	}
	for _, m := range j.Config.Machines {
		digest, err := fileDigest(m.File)
		if err != nil {
			return nil, err
		}
		b.machines = append(b.machines, machine{m, digest})
	}
	for _, m := range j.Config.Models {
		digest, err := fileDigest(m.File)
		if err != nil {
			return nil, err
		}
		b.models = append(b.models, model{m.Name, digest,
			release.ModelManifest{Name: m.Name, Source: m.Source, Revision: m.Revision, Format: m.Format, Context: m.Context}})
	}
	return b, s.untouched(ctx)
}

func (j *Job) compile(ctx context.Context, b *built) error {
	for _, platform := range b.platforms {
		dir := filepath.Join(j.Out, "bin", strings.ReplaceAll(platform, "/", "_"))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, command := range b.commands {
			path, err := filepath.Abs(filepath.Join(dir, binary(command, platform)))
			if err != nil {
				return err
			}
			start := time.Now()
			if err := b.source.compile(ctx, command, platform, path, j.Cache); err != nil {
				return fmt.Errorf("%s for %s: %w", command, platform, err)
			}
			digest, err := fileDigest(path)
			if err != nil {
				return err
			}
			j.say("built %s for %s in %v: %x", command, platform, time.Since(start).Round(time.Millisecond), digest)
			b.binaries = append(b.binaries, artifact{strings.ReplaceAll(platform, "/", "_") + "/" + binary(command, platform), path, digest})
		}
	}
	return nil
}

// into puts what a machine measures into its manifest.
func (m *machine) into(out *release.ImageManifest) error {
	b, err := os.ReadFile(m.Measurements)
	if err != nil {
		return err
	}
	launches := map[string]Launch{}
	for _, l := range m.Launches {
		if _, twice := launches[l.Image]; twice {
			return fmt.Errorf("launches: two for %q", l.Image)
		}
		launches[l.Image] = l
	}
	out.Measurements, err = release.ParseMeasurements(b, func(i *attestation.Image) error {
		l, ok := launches[i.Name]
		if !ok {
			return nil
		}
		delete(launches, i.Name)
		return l.into(i, &out.Recipe)
	})
	if err != nil {
		return err
	}
	for name := range launches {
		return fmt.Errorf("launches: no measurements are called %q", name)
	}
	out.VerityRoot = m.VerityRoot
	if m.Command != "" {
		out.Recipe.Command = m.Command
	}
	for path, into := range map[string]*(*release.Hash){m.IMAPolicy: &out.IMAPolicy, m.IMAFiles: &out.IMAFiles} {
		if path == "" {
			continue
		}
		d, err := fileDigest(path)
		if err != nil {
			return err
		}
		h := release.Hash(d)
		*into = &h
	}
	return nil
}

func fileDigest(path string) (d [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return d, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return d, err
	}
	return [32]byte(h.Sum(nil)), nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
