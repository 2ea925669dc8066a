// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/sotto-project/sotto/transparency/release"
)

// BuildType names how these releases are built: docs/spec/release.md, Section 7.
const BuildType = "https://sotto-project.github.io/release/build/v1"

// bom lists what is in the programs, from what the compiler wrote into them:
// each program, each module with its checksum, and who needs whom. Without a time
// and without a random number: the same programs have the same list.
func (b *built) bom() ([]byte, error) {
	modules, programs := map[string]*debug.Module{}, []cdx.Component{}
	var depends []cdx.Dependency
	for _, a := range b.binaries {
		info, err := buildinfo.ReadFile(a.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %v", a.name, err)
		}
		ref := "file:" + a.name
		c := cdx.Component{Type: cdx.ComponentTypeApplication, BOMRef: ref, Name: a.name, Version: b.source.tag,
			Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: fmt.Sprintf("%x", a.digest)}}}
		needs := []string{purl("std", strings.TrimPrefix(info.GoVersion, "go"))}
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			modules[purl(m.Path, m.Version)] = m
			needs = append(needs, purl(m.Path, m.Version))
		}
		modules[needs[0]] = &debug.Module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")}
		slices.Sort(needs)
		programs, depends = append(programs, c), append(depends, cdx.Dependency{Ref: ref, Dependencies: &needs})
	}
	components := programs
	for _, p := range sortedKeys(modules) {
		m := modules[p]
		c := cdx.Component{Type: cdx.ComponentTypeLibrary, BOMRef: p, Name: m.Path, Version: m.Version, PackageURL: p}
		if m.Sum != "" {
			c.Properties = &[]cdx.Property{{Name: "go.sum", Value: m.Sum}}
		}
		components = append(components, c)
	}
	slices.SortFunc(depends, func(x, y cdx.Dependency) int { return cmp.Compare(x.Ref, y.Ref) })
	out := cdx.NewBOM()
	out.Metadata = &cdx.Metadata{Component: &cdx.Component{Type: cdx.ComponentTypeApplication, BOMRef: b.config.Repository,
		Name: b.config.Repository, Version: b.source.tag}}
	out.Components, out.Dependencies = &components, &depends
	var text bytes.Buffer
	if err := cdx.NewBOMEncoder(&text, cdx.BOMFileFormatJSON).EncodeVersion(out, cdx.SpecVersion1_6); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

func purl(path, version string) string { return "pkg:golang/" + path + "@" + version }

// parameters are what a rebuild needs to know, from a provenance.
type parameters struct {
	Source    string   `json:"source"`
	Ref       string   `json:"ref"`
	Commands  []string `json:"commands"`
	Images    []string `json:"images"`
	Platforms []string `json:"platforms"`
}

// environmentOf is where and how it was built, apart from what was asked for.
type environmentOf struct {
	Go    string            `json:"go"`
	Flags []string          `json:"flags"`
	Env   map[string]string `json:"env"`
}

// provenance is SLSA's predicate, version 1, without times: the log and the
// timestamps have those, and so whoever rebuilds gets the same statement.
type provenance struct {
	BuildDefinition struct {
		BuildType            string        `json:"buildType"`
		ExternalParameters   parameters    `json:"externalParameters"`
		InternalParameters   environmentOf `json:"internalParameters"`
		ResolvedDependencies []resource    `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
	} `json:"runDetails"`
}

type resource struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// statements makes the SBOM, the provenance, and the manifests, in this order:
// the later ones name the earlier by their digests.
func (b *built) statements() ([][]byte, error) {
	var subjects []release.Subject
	for _, a := range b.all() {
		subjects = append(subjects, release.NewSubject(a.name, a.digest))
	}
	bom, err := b.bom()
	if err != nil {
		return nil, err
	}
	sbom, err := release.NewStatement(release.TypeSBOM, subjects, json.RawMessage(bom))
	if err != nil {
		return nil, err
	}
	var p provenance
	d := &p.BuildDefinition
	d.BuildType = BuildType
	d.ExternalParameters = parameters{b.config.Repository, "refs/tags/" + b.source.tag, b.commands, b.images(), b.platforms}
	d.InternalParameters = environmentOf{b.goVersion, buildFlags, buildEnv}
	d.ResolvedDependencies = []resource{{"git+" + b.config.Repository + "@refs/tags/" + b.source.tag, map[string]string{"gitCommit": b.source.commit}}}
	p.RunDetails.Builder.ID = b.config.Builder
	prov, err := release.NewStatement(release.TypeProvenance, subjects, p)
	if err != nil {
		return nil, err
	}
	out := [][]byte{sbom, prov}
	add := func(s []byte, err error) error { out = append(out, s); return err }
	for _, a := range b.ociImages {
		m := b.manifest(role(strings.TrimPrefix(a.name, "oci/")), sbom, prov)
		if err := add(release.NewStatement(release.TypeImage, []release.Subject{release.NewSubject(a.name, a.digest)}, m)); err != nil {
			return nil, err
		}
	}
	for _, m := range b.machines {
		manifest := b.manifest(m.Role, sbom, prov)
		if err := m.into(&manifest); err != nil {
			return nil, fmt.Errorf("machine %s: %w", m.Name, err)
		}
		if err := add(release.NewStatement(release.TypeImage, []release.Subject{release.NewSubject(m.Name, m.digest)}, manifest)); err != nil {
			return nil, err
		}
	}
	for _, m := range b.models {
		if err := add(release.NewStatement(release.TypeModel, []release.Subject{release.NewSubject(m.name, m.digest)}, m.manifest)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (b *built) manifest(role string, sbom, prov []byte) release.ImageManifest {
	return release.ImageManifest{Role: role, Repository: b.config.Repository, Commit: b.source.commit, Tag: b.source.tag,
		Recipe: release.Recipe{Type: BuildType, Command: "sotto-release reproduce FILE --source DIR", Inputs: map[string]string{"go": b.goVersion}},
		SBOM:   release.Digest(sbom), Provenance: release.Digest(prov)}
}
