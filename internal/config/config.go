// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package config reads the one YAML file of a role.
//
// It refuses unknown keys, duplicates and second documents, and names file,
// line and field. It holds no defaults and reads no environment: a role's
// Config type says what a missing field means.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// MaxSize is the longest file accepted, in bytes.
const MaxSize = 1 << 20

// Load reads the YAML file at path into a new T. An error names file, line
// and field, as in
//
//	relay.yaml: line 3: field gatway is unknown
//
// No value is returned with an error.
func Load[T any](path string) (T, error) {
	var zero T
	b, err := os.ReadFile(path)
	if err != nil {
		return zero, fmt.Errorf("config: %w", err)
	}
	if len(b) > MaxSize {
		return zero, fmt.Errorf("%s: larger than %d bytes", path, MaxSize)
	}
	v, err := Parse[T](b)
	if err != nil {
		return zero, fmt.Errorf("%s: %v", path, err)
	}
	return v, nil
}

// Parse reads b as [Load] does.
func Parse[T any](b []byte) (T, error) {
	var v, zero T
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	switch err := d.Decode(&v); {
	case err == io.EOF:
		return zero, errors.New("line 1: file is empty")
	case err != nil:
		return zero, rephrase(err)
	}
	if err := d.Decode(new(yaml.Node)); err != io.EOF {
		return zero, errors.New("more than one document")
	}
	return v, nil
}

var (
	unknown = regexp.MustCompile(`field (\S+) not found in type \S+`)
	// yaml quotes the offending scalar; it may be a secret put in the wrong place.
	scalar = regexp.MustCompile("cannot unmarshal (!!\\w+)(?: `[^`]*`)? into ")
)

// rephrase says only what the operator needs, and never a value of the file.
func rephrase(err error) error {
	var te *yaml.TypeError
	if !errors.As(err, &te) || len(te.Errors) == 0 {
		return errors.New(string(bytes.TrimPrefix([]byte(err.Error()), []byte("yaml: "))))
	}
	s := unknown.ReplaceAllString(te.Errors[0], "field $1 is unknown")
	return errors.New(scalar.ReplaceAllString(s, "cannot read $1 as "))
}
