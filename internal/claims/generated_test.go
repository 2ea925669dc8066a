// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package claims

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated parts of docs/operate.md")

const operate = "docs/operate.md"

// TestOperateIsCurrent: the lists of settings and metrics in docs/operate.md
// are those of the code. `go test ./internal/claims -run Operate -update`
// writes them.
func TestOperateIsCurrent(t *testing.T) {
	page := read(t, operate)
	next := page
	for name, text := range map[string]string{
		"relay": settings(t, "relay", "Config") + settings(t, "cmd/sotto-relay", "config"), "gateway": settings(t, "ohttp/gateway", "Config"),
		"router":    settings(t, "router", "Config") + settings(t, "cmd/sotto-router", "config"),
		"node":      settings(t, "computenode", "Config") + settings(t, "cmd/sotto-node", "config"),
		"publisher": settings(t, "transparency/publish", "Config"), "tls": settings(t, "internal/httpx", "TLS"),
		"bank-identified": settings(t, "credits/accounts", "Config"), "bank-admin": settings(t, "cmd/sotto-bank", "adminConfig"),
		"bank-anonymous": settings(t, "credits/bank", "Config"),
		"witness":        settings(t, "transparency/witness", "Config"), "release": settings(t, "transparency/release/build", "Config"),
		"trust": settings(t, "transparency", "Trust"), "metrics": metricsList(t),
	} {
		part := regexp.MustCompile(`(?s)(<!-- generated: ` + name + ` -->\n).*?(<!-- end -->)`)
		if !part.MatchString(next) {
			t.Errorf("%s has no generated part %q", operate, name)
		}
		next = part.ReplaceAllStringFunc(next, func(old string) string {
			m := part.FindStringSubmatch(old)
			return m[1] + "\n" + text + "\n" + m[2]
		})
	}
	switch {
	case next == page:
	case *update:
		if err := os.WriteFile(filepath.Join(root, operate), []byte(next), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what the code says; run: go test ./internal/claims -run Operate -update", operate)
	}
}

// structs returns the struct types of a package, by name.
func structs(t *testing.T, dir string) map[string]*ast.StructType {
	t.Helper()
	out := map[string]*ast.StructType{}
	for _, name := range files(t, ".go") {
		if path.Dir(name) != dir || strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, read(t, name), parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if st, ok := spec.Type.(*ast.StructType); ok {
					out[spec.Name.Name] = st
				}
			}
			return true
		})
	}
	return out
}

// settings lists the YAML keys of a struct with what their comments say.
func settings(t *testing.T, dir, name string) string {
	t.Helper()
	all := structs(t, dir)
	if all[name] == nil {
		t.Fatalf("no struct %s in %s", name, dir)
	}
	foreign := map[string]map[string]*ast.StructType{} // packages whose Config roles name, by the package's name
	for _, name := range []string{"platform", "snp", "tdx", "azure", "certs", "nitro", "gpu"} {
		foreign[name] = structs(t, "attestation/collect/"+name)
	}
	var b strings.Builder
	fields(&b, all, foreign, all[name], "")
	return b.String()
}

func fields(b *strings.Builder, all map[string]*ast.StructType, foreign map[string]map[string]*ast.StructType, st *ast.StructType, indent string) {
	for _, f := range st.Fields.List {
		if f.Tag == nil {
			continue
		}
		tag, err := strconv.Unquote(f.Tag.Value)
		if err != nil {
			continue
		}
		key, rest, _ := strings.Cut(reflect.StructTag(tag).Get("yaml"), ",")
		config := foreign[packageOf(f.Type)]
		if rest == "inline" && config != nil {
			fields(b, config, foreign, config["Config"], indent)
		}
		if key == "" || key == "-" {
			continue
		}
		if len(f.Names) > 1 { // one tag for several fields: each has its own name as key
			for _, n := range f.Names {
				fmt.Fprintf(b, "%s- `%s` (%s)\n", indent, strings.ToLower(n.Name), kind(f.Type))
			}
			continue
		}
		says := f.Doc.Text()
		if says == "" {
			says = f.Comment.Text()
		}
		says = strings.Join(strings.Fields(says), " ")
		fmt.Fprintf(b, "%s- `%s` (%s)", indent, key, kind(f.Type))
		if says != "" {
			fmt.Fprintf(b, ": %s", says)
		}
		b.WriteByte('\n')
		if inner := all[element(f.Type)]; inner != nil {
			fields(b, all, foreign, inner, indent+"  ")
		}
		if config != nil {
			fields(b, config, foreign, config["Config"], indent+"  ")
		}
	}
}

// packageOf is x of the type x.Config, "" of any other.
func packageOf(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok && s.Sel.Name == "Config" {
		if x, ok := s.X.(*ast.Ident); ok {
			return x.Name
		}
	}
	return ""
}

// kind names a field's type as YAML has it.
func kind(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		if e.IsExported() {
			return "map"
		}
		return strings.TrimRight(e.Name, "0123456789")
	case *ast.StarExpr: // tells an absent value from zero
		return kind(e.X)
	case *ast.ArrayType:
		return "list"
	case *ast.MapType:
		return "map"
	case *ast.SelectorExpr:
		switch e.Sel.Name {
		case "Duration":
			return "duration"
		case "TLS":
			return "TLS files"
		case "Trust":
			return "log trust"
		case "Config":
			return "map"
		}
	}
	return "value"
}

// element is the name of the package's own struct that a field holds.
func element(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.ArrayType:
		return element(e.Elt)
	}
	return ""
}

// metricsList lists every instrument that the code makes: all have their name
// and their help as literals, in the call or in a table beside it.
func metricsList(t *testing.T) string {
	t.Helper()
	var rows []string
	for _, name := range files(t, ".go") {
		text := read(t, name)
		if strings.HasSuffix(name, "_test.go") || !strings.Contains(text, "metrics.NewSet(") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		role := ""
		ast.Inspect(f, func(n ast.Node) bool {
			// A table of names and helps, for instruments made in a loop.
			if lit, ok := n.(*ast.CompositeLit); ok && role != "" && len(lit.Elts) > 2 {
				if name, help := stringOf(lit.Elts[0]), stringOf(lit.Elts[1]); strings.HasSuffix(name, "_total") && help != "" {
					rows = append(rows, fmt.Sprintf("| `sotto_%s_%s` | counter | %s |", role, name, help))
				}
			}
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			first, second := stringOf(call.Args[0]), stringOf(call.Args[1])
			kinds := map[string]string{"Counter": "counter", "CounterFunc": "counter", "GaugeFunc": "gauge",
				"Histogram": "histogram", "Codes": "counter by code"}
			switch {
			case sel.Sel.Name == "NewSet":
				role = second
			case kinds[sel.Sel.Name] != "" && first != "" && second != "":
				rows = append(rows, fmt.Sprintf("| `sotto_%s_%s` | %s | %s |", role, first, kinds[sel.Sel.Name], second))
			}
			return true
		})
		if role == "" {
			t.Errorf("%s: the role of a metrics set is not a literal", name)
		}
	}
	slices.Sort(rows)
	return "| metric | kind | meaning |\n|---|---|---|\n" + strings.Join(rows, "\n") + "\n"
}

func stringOf(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, _ := strconv.Unquote(lit.Value)
	return s
}
