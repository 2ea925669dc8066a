// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/sotto-project/sotto/transparency/release"
)

// A Comparison is the outcome of building a release again.
type Comparison struct {
	Same      []string // bit for bit
	Different []string
	NotBuilt  []string // made by another recipe: images of machines, weights
}

// Equal says whether all that was built again is the same, and something was.
func (c *Comparison) Equal() bool { return len(c.Different) == 0 && len(c.Same) > 0 }

// Reproduce builds what a verified release names and compares. The job's source
// must be a checkout of the release's tag; of its configuration nothing is used:
// what to build comes from the provenance.
func (j *Job) Reproduce(ctx context.Context, file []byte, r *release.Release) (*Comparison, error) {
	f, err := release.ParseFile(file)
	if err != nil {
		return nil, err
	}
	p, err := recipe(f)
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
	if want := p.BuildDefinition.InternalParameters.Go; version != want {
		return nil, fmt.Errorf("compiler: %s here, the release was built with %s: another compiler makes other bytes", version, want)
	}
	x := p.BuildDefinition.ExternalParameters
	again := &Job{Source: j.Source, Tag: r.Tag, Out: j.Out, Cache: j.Cache, Progress: j.Progress, Config: Config{
		Repository: r.Repository, Commands: x.Commands, Images: x.Images, Platforms: x.Platforms, Builder: p.RunDetails.Builder.ID}}
	for _, name := range slices.Concat(x.Commands, x.Images) {
		if !commandForm.MatchString(name) { // it becomes a path
			return nil, fmt.Errorf("provenance: %q is no command", name)
		}
	}
	if err := emptyDir(j.Out); err != nil {
		return nil, err
	}
	b, err := again.build(ctx)
	if err != nil {
		return nil, err
	}
	got := map[string][32]byte{}
	for _, a := range b.all() {
		got[a.name] = a.digest
	}
	out := &Comparison{}
	for _, a := range r.Artifacts {
		switch d, ok := got[a.Name]; {
		case !ok:
			out.NotBuilt = append(out.NotBuilt, a.Name)
		case d == a.Digest:
			out.Same = append(out.Same, a.Name)
		default:
			out.Different = append(out.Different, fmt.Sprintf("%s: released %x, built %x", a.Name, a.Digest, d))
		}
		delete(got, a.Name)
	}
	for name := range got {
		out.Different = append(out.Different, name+": built, but not in the release")
	}
	slices.Sort(out.Different)
	return out, nil
}

// recipe finds the provenance that this package can follow.
func recipe(f *release.File) (*provenance, error) {
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
			return p, nil
		}
	}
	return nil, fmt.Errorf("%w: no provenance of type %s", ErrUnsupported, BuildType)
}

// ErrUnsupported is a release that was built in a way that is not known here.
var ErrUnsupported = unsupported("another way of building")

type unsupported string

func (e unsupported) Error() string { return string(e) }
