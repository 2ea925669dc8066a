// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/sotto-project/sotto/transparency/release"
)

// A Comparison is the outcome of building a release again. Everything that the
// release names is in exactly one of the lists.
type Comparison struct {
	Same      []string  // bit for bit
	Different []string  // other bytes, or a name of this recipe that did not come out of it
	NotBuilt  []Skipped // made by another recipe, and nobody said that this is known
	Excepted  []Skipped // the same, named in [Job.Except]
}

// A Skipped is something in a release that was not built again.
type Skipped struct{ Name, Why string }

// Equal says whether all that the release names was built again and is the same,
// but for what the caller excepted by name.
func (c *Comparison) Equal() bool {
	return len(c.Different) == 0 && len(c.NotBuilt) == 0 && len(c.Same) > 0
}

// Reproduce builds what a verified release names and compares. The job's source
// must be a checkout of the release's tag; of its configuration nothing is used:
// what to build comes from every provenance that this package can follow.
func (j *Job) Reproduce(ctx context.Context, file []byte, r *release.Release) (*Comparison, error) {
	f, err := release.ParseFile(file)
	if err != nil {
		return nil, err
	}
	recipes, err := recipesOf(f)
	if err != nil {
		return nil, err
	}
	s, err := openSource(ctx, j.Source, r.Tag)
	if err != nil {
		return nil, err
	}
	if s.commit != r.Commit {
		return nil, fmt.Errorf("source: tag %s is commit %s here and %s in the release", r.Tag, s.commit, r.Commit)
	}
	version, err := goVersion(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range recipes {
		if err := p.check(r, version); err != nil {
			return nil, err
		}
	}
	if err := emptyDir(j.Out); err != nil {
		return nil, err
	}
	out, got := &Comparison{}, map[string][32]byte{}
	for i, p := range recipes {
		x := p.BuildDefinition.ExternalParameters
		again := &Job{Source: j.Source, Tag: r.Tag, Out: j.Out, Cache: j.Cache, Progress: j.Progress, Config: Config{
			Repository: r.Repository, Commands: x.Commands, Images: x.Images, Platforms: x.Platforms, Builder: p.RunDetails.Builder.ID}}
		if len(recipes) > 1 {
			again.Out = filepath.Join(j.Out, strconv.Itoa(i+1))
		}
		b, err := again.build(ctx)
		if err != nil {
			return nil, err
		}
		for _, a := range b.all() {
			if d, before := got[a.name]; before && d != a.digest {
				out.Different = append(out.Different, fmt.Sprintf("%s: built %x by one provenance, %x by another", a.name, d, a.digest))
			}
			got[a.name] = a.digest
		}
	}
	out.compare(r, got, j.Except)
	return out, nil
}

// plainName is how things are called that this recipe does not make. Programs and
// OCI images have a slash in their names: one that was not built is not of this source.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// compare holds everything that a release names, as a subject of provenance or
// of an image manifest, against what was built.
func (c *Comparison) compare(r *release.Release, got map[string][32]byte, except []string) {
	claims := slices.Clone(r.Artifacts)
	for _, i := range r.Images {
		if a := (release.Artifact{Name: i.Name, Digest: i.Digest}); !slices.Contains(claims, a) {
			claims = append(claims, a)
		}
	}
	skip := func(name, why string) {
		if slices.Contains(except, name) {
			c.Excepted = append(c.Excepted, Skipped{name, why})
		} else {
			c.NotBuilt = append(c.NotBuilt, Skipped{name, why})
		}
	}
	named := map[string]bool{}
	for _, a := range claims {
		named[a.Name] = true
		switch d, ok := got[a.Name]; {
		case ok && d == a.Digest:
			c.Same = append(c.Same, a.Name)
		case ok:
			c.Different = append(c.Different, fmt.Sprintf("%s: released %x, built %x", a.Name, a.Digest, d))
		case plainName.MatchString(a.Name):
			skip(a.Name, "made by another recipe")
		default:
			c.Different = append(c.Different, fmt.Sprintf("%s: released %x, and no provenance makes it", a.Name, a.Digest))
		}
	}
	for name := range got {
		if !named[name] {
			c.Different = append(c.Different, name+": built, but not in the release")
		}
	}
	for _, m := range r.Models {
		skip(m.Name, "weights are not built")
	}
	slices.Sort(c.Different)
}

// check refuses parameters that cannot be followed: some become paths.
func (p *provenance) check(r *release.Release, version string) error {
	if want := p.BuildDefinition.InternalParameters.Go; version != want {
		return fmt.Errorf("compiler: %s here, the release was built with %s: another compiler makes other bytes", version, want)
	}
	x := p.BuildDefinition.ExternalParameters
	if x.Source != r.Repository || x.Ref != "refs/tags/"+r.Tag {
		return fmt.Errorf("provenance: of %q at %q, the release is of %s at %s", x.Source, x.Ref, r.Repository, r.Tag)
	}
	for _, name := range slices.Concat(x.Commands, x.Images) {
		if !commandForm.MatchString(name) {
			return fmt.Errorf("provenance: %q is no command", name)
		}
	}
	for _, name := range x.Platforms {
		if !platformForm.MatchString(name) {
			return fmt.Errorf("provenance: %q is no platform", name)
		}
	}
	return nil
}

// recipesOf finds every provenance that this package can follow.
func recipesOf(f *release.File) (out []*provenance, err error) {
	for i, it := range f.Index.Items {
		if it.Kind != release.KindProvenance {
			continue
		}
		predicate, err := release.Predicate(f.Bundles[i])
		if err != nil {
			return nil, err
		}
		p := new(provenance)
		if json.Unmarshal(predicate, p) == nil && p.BuildDefinition.BuildType == BuildType {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: no provenance of type %s", ErrUnsupported, BuildType)
	}
	return out, nil
}

// ErrUnsupported is a release that was built in a way that is not known here.
var ErrUnsupported = unsupported("another way of building")

type unsupported string

func (e unsupported) Error() string { return string(e) }
