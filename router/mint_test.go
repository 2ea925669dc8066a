// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestRouterMintsNothing: no line of the router signs, seals or makes a key, and
// its configuration has no place for one besides its TLS identity. What it
// cannot reach by imports, internal/deps holds.
func TestRouterMintsNothing(t *testing.T) {
	t.Run("RT-16", func(t *testing.T) {
		words := map[string]bool{
			"Sign": true, "SignMessage": true, "GenerateKey": true, "NewKeyFromSeed": true, "PrivateKey": true,
			"ParsePKCS8PrivateKey": true, "Seal": true, "Signer": true, "MarshalKey": true,
		}
		files := token.NewFileSet()
		read := 0
		for _, dir := range []string{".", "../cmd/sotto-router"} {
			names, err := filepath.Glob(filepath.Join(dir, "*.go"))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if strings.HasSuffix(name, "_test.go") {
					continue
				}
				f, err := parser.ParseFile(files, name, nil, 0)
				if err != nil {
					t.Fatal(err)
				}
				read++
				ast.Inspect(f, func(n ast.Node) bool {
					if s, ok := n.(*ast.SelectorExpr); ok && words[s.Sel.Name] {
						t.Errorf("%s names %s", files.Position(s.Pos()), s.Sel.Name)
					}
					return true
				})
			}
		}
		if read < 8 {
			t.Fatalf("%d files read", read)
		}
		for i := range reflect.TypeFor[Config]().NumField() {
			f := reflect.TypeFor[Config]().Field(i)
			if name := strings.ToLower(f.Name); f.Name != "TLS" && (strings.Contains(name, "key") || strings.Contains(name, "seed") || strings.Contains(name, "secret")) {
				t.Errorf("the configuration has a place for a key: %s", f.Name)
			}
		}
	})
}
