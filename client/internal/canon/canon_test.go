// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package canon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func run(in string) (string, *Result, error) {
	var out bytes.Buffer
	res, err := Copy(&out, strings.NewReader(in))
	return out.String(), res, err
}

// TestOneSpelling is the rows about what a body says of who wrote it.
func TestOneSpelling(t *testing.T) {
	t.Run("CL-08", func(t *testing.T) {
		const in = `{"user":"alice","model":"m","metadata":{"a":[{"user":"x"}]},"safety_identifier":"h","n":1,"store":true,"prompt_cache_key":"k","service_tier":"flex","messages":[{"user":"kept","metadata":1}]}`
		out, res, err := run(in)
		if err != nil || out != `{"model":"m","n":1,"messages":[{"user":"kept","metadata":1}]}` {
			t.Errorf("%s, %v", out, err)
		}
		if want := []string{"user", "metadata", "safety_identifier", "store", "prompt_cache_key", "service_tier"}; res == nil || !slices.Equal(res.Removed, want) {
			t.Errorf("removed %v", res)
		}
		for _, in := range []string{`{"user":1}`, `{"u\u0073er":"x"}`, ` { "store" : [ ] , "user" : { } } `} {
			if out, _, err := run(in); err != nil || out != "{}" {
				t.Errorf("%s: %s, %v", in, out, err)
			}
		}
		for _, in := range []string{`{"user":1,"user":2}`, `{"metadata":{"a":1,"a":2}}`, "{\"user\":\"\xff\"}", `{"user":1e999}`, `{"user":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`} {
			if _, _, err := run(in); err == nil {
				t.Errorf("a member left out was not read as strictly: %q", in)
			}
		}
	})
	t.Run("CL-09", func(t *testing.T) {
		want, err := os.ReadFile("testdata/canonical.json")
		if err != nil {
			t.Fatal(err)
		}
		spellings, err := filepath.Glob("testdata/*-*.json")
		if err != nil || len(spellings) != 6 {
			t.Fatalf("%d spellings, %v", len(spellings), err)
		}
		seen := map[string]bool{}
		for _, name := range spellings {
			in, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			seen[string(in)] = true
			out, res, err := run(string(in))
			if err != nil || out != string(want) {
				t.Errorf("%s: %v\n%s\nwant\n%s", name, err, out, want)
			} else if res.Model != "org/llama-3.1-8b" {
				t.Errorf("%s: model %q", name, res.Model)
			}
		}
		if len(seen) != len(spellings) {
			t.Error("two files hold the same spelling, which shows nothing")
		}
	})
}

func TestStrings(t *testing.T) {
	for in, want := range map[string]string{
		`\/`: `/`, `\u002f`: `/`, `\u0041`: `A`, `A`: `A`, `\u00e9`: `é`, `é`: `é`, `\ud83d\ude00`: `😀`, `\uD83D\uDE00`: `😀`,
		`\u0022`: `\"`, `\"`: `\"`, `\u005C`: `\\`, `\\`: `\\`, `\u000a`: `\n`, `\u000A`: `\n`, `\n`: `\n`, `\u0008\u0009\u000c\u000d`: `\b\t\f\r`,
		`\u0000`: `\u0000`, `\u001F`: `\u001f`, `\u001b`: `\u001b`, `\u007f`: "\x7f", `\u2028`: "\u2028", `\u003c\u003e\u0026`: `<>&`, `\ufeff`: "\ufeff", `\uffff`: "\uffff",
		``: ``, `a\u0062\\c`: `ab\\c`,
	} {
		for _, form := range []string{`{"x":"%s"}`, `{"%s":1}`, `{"model":"%s"}`} {
			out, _, err := run(fmt.Sprintf(form, in))
			if err != nil || out != fmt.Sprintf(form, want) {
				t.Errorf("%s: %s, %v", fmt.Sprintf(form, in), out, err)
			}
		}
	}
}

func TestNumbers(t *testing.T) {
	n62, n64 := strings.Repeat("7", 62), strings.Repeat("7", 64)
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "0.0": "0", "-0.0": "0", "0e5": "0", "0E-5": "0", "0e99999999999999999999": "0", "-0.000e+7": "0",
		"1": "1", "1.0": "1", "-1.0": "-1", "1e0": "1", "1E+0": "1", "10": "10", "1e1": "10", "100e-2": "1", "100e-1": "10", "1.50e0": "1.5", "15e-1": "1.5", "0.15e1": "1.5",
		"0.1": "0.1", "1e-1": "0.1", "0.000001": "0.000001", "1e-6": "0.000001", "1E-06": "0.000001", "1e-7": "1e-7", "0.0000001": "1e-7", "1.5e-7": "15e-8", "-15.0E-08": "-15e-8",
		"9007199254740993": "9007199254740993", "18446744073709551615": "18446744073709551615", "123456789012345678901234567890": "123456789012345678901234567890",
		"1e21": "1000000000000000000000", "1.152921504606847e+18": "1152921504606847000",
		n64: n64, "-" + n62 + "0": "-" + n62 + "0", n62 + "e2": n62 + "00", n62[:60] + "e5": n62[:60] + "e5", "-" + n62[:60] + "e3": "-" + n62[:60] + "000", "-" + n62[:60] + "e4": "-" + n62[:60] + "e4",
		"1e63": "1" + strings.Repeat("0", 63), "1e64": "1e64", "-1e62": "-1" + strings.Repeat("0", 62), "-1e63": "-1e63", "1.7976931348623157e+308": "17976931348623157e292",
		"5e-324": "5e-324", "0." + n62: "0." + n62, n62[:60] + "e-65": n62[:60] + "e-65", "1." + n62[:59] + "e9": "1777777777." + n62[:50],
	} {
		out, _, err := run(`{"x":[` + in + `]}`)
		if err != nil || out != `{"x":[`+want+`]}` {
			t.Errorf("%s: %s, %v; want %s", in, out, err, want)
		}
	}
	for _, in := range []string{"1e309", "-1e309", "1e-400", "1e-99999999999999999999", n64 + "7", "NaN", "Infinity", "+1", "01", "1.", ".5", "1e", "-", "0x1", "1e99999999999999999999"} {
		if out, _, err := run(`{"x":[` + in + `]}`); err == nil {
			t.Errorf("%s became %s", in, out)
		}
	}
}

func TestRefuses(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"%d":0`, i)
		}
		return "{" + b.String()[1:] + "}"
	}
	for detail, texts := range map[string][]string{
		"one JSON object": {``, ` `, `{`, `[]`, `"x"`, `1`, `null`, `{"a":1}{}`, `{"a":1}x`, "\ufeff{}", `{"a":1,}`, `{,}`, `{"a":[1,]}`, `{"a":[,1]}`, `{"a" 1}`, `{"a"}`, `{a:1}`, `{'a':1}`, "{\"a\":\"\n\"}",
			`{"a":"\x"}`, `{"a":"\u12"}`, `{"a":tru}`, `{"a":True}`, `{"a":1 /**/}`, `{"a":[1}`, `{"a":{]}`, `{"a":"`, `{"a":1`, `{"a"`, `{"a":`},
		"UTF-8":               {"{\"a\":\"\xff\"}", "{\"\xc3\":1}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\xc0\x80\"}", "{\"a\":\"\xf4\x90\x80\x80\"}", `{"a":"\ud800"}`, `{"a":"\udc00"}`, `{"a":"\ud800\ud800"}`, `{"a":"\ud800\n"}`, `{"\ud800":1}`, "{\"a\":\"\xf0\x9f"},
		"twice":               {`{"a":1,"a":1}`, `{"a":1,"\u0061":2}`, `{"x":[{"b":1,"b":1}]}`, `{"model":"m","model":"m"}`, `{"":1,"":2}`},
		"64 levels":           {`{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`},
		"too large":           {`{"` + strings.Repeat("a", 1025) + `":1}`, many(16385)},
		"binary64":            {`{"a":1e999}`, `{"a":1e-400}`},
		"name of the model":   {`{"model":"` + strings.Repeat("m", MaxModel+1) + `"}`},
		"longer than 64 byte": {`{"a":1` + strings.Repeat("0", 64) + `}`},
	} {
		for _, in := range texts {
			out, res, err := run(in)
			var bad *Error
			if !errors.As(err, &bad) || !strings.Contains(bad.Detail, detail) || res != nil {
				t.Errorf("%.80q: %v; want %q", in, err, detail)
			}
			if json.Valid([]byte(out)) {
				t.Errorf("%.80q was refused, yet left whole: %q", in, out)
			}
			if FindModel([]byte(in)) != "" && detail != "twice" {
				t.Errorf("%.80q has a model", in)
			}
		}
	}
	for _, in := range []string{`{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, `{"` + strings.Repeat("a", 1024) + `":1}`, many(16384), `{"model":"` + strings.Repeat("m", MaxModel) + `"}`} {
		if _, _, err := run(in); err != nil {
			t.Errorf("%.60q: %v", in, err)
		}
	}
}

func TestErrorsHoldNothingOfTheBody(t *testing.T) {
	const canary = "canary5717"
	for _, in := range []string{`{"` + canary + `":1,"` + canary + `":2}`, `{"` + canary, `{"x":` + canary + `}`, canary, `{"` + canary + "\xff", `{"model":"` + strings.Repeat(canary, 1000) + `"}`} {
		_, _, err := run(in)
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), canary) {
			t.Errorf("%v", err)
		}
	}
}

func TestModel(t *testing.T) {
	for in, want := range map[string]string{
		`{"model":"m"}`: "m", `{"x":{"model":"no"},"y":["model"],"model":"m"}`: "m", `{"\u006dodel":"\u006d"}`: "m", `{"model":1}`: "", `{"model":{"model":"m"}}`: "", `{"model":null}`: "", `{}`: "",
		`{"model":""}`: "", `{"Model":"m"}`: "", `{"user":{"model":"no"}}`: "",
	} {
		_, res, err := run(in)
		if err != nil || res.Model != want {
			t.Errorf("%s: %v, %v", in, res, err)
		}
		for n := range len(in) + 1 {
			// A cut body has the model that it has, or none, but no other.
			if got := FindModel([]byte(in[:n])); got != "" && got != want || n == len(in) && got != want {
				t.Errorf("%q: model %q", in[:n], got)
			}
		}
	}
	if got := FindModel([]byte(`{"model":"m","messages":[{"content":"cut off he`)); got != "m" {
		t.Errorf("model %q", got)
	}
}

// TestHowBytesArrive reads a body in pieces of every size: none may matter.
func TestHowBytesArrive(t *testing.T) {
	in, err := os.ReadFile("testdata/python-json-dumps.json")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := os.ReadFile("testdata/python-httpx.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range [][]byte{in, plain} {
		want, _, err := run(string(in))
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= len(in)+1; n++ {
			for _, r := range []io.Reader{&pieces{in, n}, iotest.DataErrReader(&pieces{in, n})} {
				var out bytes.Buffer
				if _, err := Copy(&out, r); err != nil || out.String() != want {
					t.Fatalf("pieces of %d: %s, %v", n, out.String(), err)
				}
			}
		}
	}
}

// pieces reads n bytes at a time.
type pieces struct {
	b []byte
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.b[:min(p.n, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}

func TestOtherPeoplesErrors(t *testing.T) {
	const in = `{"a":"é\u00e9","b":[1.5,true],"user":"x"} `
	cut := errors.New("cut")
	for i := range len(in) + 1 {
		var out bytes.Buffer
		_, err := Copy(&out, io.MultiReader(strings.NewReader(in[:i]), iotest.ErrReader(cut)))
		if err != cut || json.Valid(out.Bytes()) {
			t.Errorf("cut at %d: %v, %q", i, err, out.String())
		}
	}
	for _, n := range []int{1, 100_000} {
		if _, err := Copy(full{cut}, strings.NewReader(`{"a":"`+strings.Repeat("x", n)+`"}`)); err != cut {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

type full struct{ err error }

func (f full) Write([]byte) (int, error) { return 0, f.err }

// TestWritesAreBlocks: the sizes of writes become the sizes of the inner
// message's chunks, which the node sees.
func TestWritesAreBlocks(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", 100_000), strings.Repeat(`\u00e9`, 20_000), strings.Repeat(" é \\n", 20_000)} {
		var w sizes
		if _, err := Copy(&w, strings.NewReader(`{"a" : "`+text+`"}`)); err != nil {
			t.Fatal(err)
		}
		for i, n := range w {
			if n != BlockSize && i < len(w)-1 || n > BlockSize || n == 0 {
				t.Errorf("writes of %v", w)
				break
			}
		}
	}
}

type sizes []int

func (s *sizes) Write(b []byte) (int, error) {
	*s = append(*s, len(b))
	return len(b), nil
}

// letters is an endless text.
type letters struct{}

func (letters) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'a'
	}
	return len(b), nil
}

// around is a body of n bytes, nearly all of them one string.
func around(before string, n int) io.Reader {
	const after = `"}`
	return io.MultiReader(strings.NewReader(before), io.LimitReader(letters{}, int64(n-len(before)-len(after))), strings.NewReader(after))
}

func TestMemoryIsConstant(t *testing.T) {
	allocated := func(n int, member string) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Copy(io.Discard, around(`{"model":"m","`+member+`":"`, n)); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	for _, member := range []string{"messages", "user"} {
		small, large := allocated(1<<20, member), allocated(10<<20, member)
		if large > small+64<<10 {
			t.Errorf("%s: a body of 1 MiB allocated %d bytes, one of 10 MiB %d", member, small, large)
		}
	}
}

func TestMaxSize(t *testing.T) {
	for n, ok := range map[int]bool{MaxSize: true, MaxSize + 1: false} {
		if _, err := Copy(io.Discard, around(`{"a":"`, n)); (err == nil) != ok {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// decode reads JSON with numbers as exact rationals.
func decode(t *testing.T, b []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	var exact func(v any) any
	exact = func(v any) any {
		switch v := v.(type) {
		case json.Number:
			r, ok := new(big.Rat).SetString(v.String())
			if !ok {
				t.Fatalf("number %s", v)
			}
			return r.RatString()
		case []any:
			for i := range v {
				v[i] = exact(v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = exact(v[k])
			}
		}
		return v
	}
	exact(m)
	return m
}

// FuzzCopy holds the canonical spelling against encoding/json: it reads as the
// same value but for the members left out, and is its own canonical spelling.
func FuzzCopy(f *testing.F) {
	seeds := []string{
		`{}`, `{"a":1}`, `{"model":"m","messages":[{"role":"user","content":"x\u00e9\ud83d\ude00\/"}],"n":1.0,"user":"u"}`, `{"a":1,"a":2}`, "{\"a\":\"\xff\"}", `{"a":1e999}`, `{"a":[[[[]]]]}`,
		` {"stream" : true , "x":[1e3,-0.5,-0,null,"\\\"\u0000"]} `, `{"a":1} x`, `[1]`, ``, `{"x":[1.5e-7,12e-65,1e63,1e64,5e-324,0.000001,1e-400]}`, `{"metadata":{"a":[1,2,{"b":null}]},"model":false}`,
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var out, slow, again bytes.Buffer
		res, err := Copy(&out, bytes.NewReader(in))
		_, slowErr := Copy(&slow, iotest.OneByteReader(bytes.NewReader(in)))
		if fmt.Sprint(err) != fmt.Sprint(slowErr) || err == nil && !bytes.Equal(out.Bytes(), slow.Bytes()) {
			t.Fatalf("whole: %v, byte by byte: %v", err, slowErr)
		}
		if err != nil {
			if strings.Contains(err.Error(), "one JSON object") && json.Valid(in) && bytes.HasPrefix(bytes.TrimLeft(in, " \t\r\n"), []byte("{")) {
				t.Fatalf("valid object refused: %q", in)
			}
			if res != nil || json.Valid(out.Bytes()) {
				t.Fatalf("refused, yet left whole: %q", out.Bytes())
			}
			return
		}
		before, after := decode(t, in), decode(t, out.Bytes())
		if model, _ := before["model"].(string); model != res.Model || FindModel(in) != model || FindModel(out.Bytes()) != model {
			t.Fatalf("model %q, found %q in %q", res.Model, FindModel(in), in)
		}
		for _, name := range res.Removed {
			if _, ok := before[name]; !ok {
				t.Fatalf("%s removed from %q", name, in)
			}
		}
		for _, name := range identity {
			delete(before, name)
		}
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("%q became %q", in, out.Bytes())
		}
		if res, err = Copy(&again, bytes.NewReader(out.Bytes())); err != nil || !bytes.Equal(again.Bytes(), out.Bytes()) || len(res.Removed) > 0 {
			t.Fatalf("%q became %q: %v", out.Bytes(), again.Bytes(), err)
		}
	})
}

// FuzzNumber goes deeper into numbers than FuzzCopy gets: the exact value stays,
// equal values have equal spellings, and no spelling outgrows its bound.
func FuzzNumber(f *testing.F) {
	f.Add("123456", 3, -7, false)
	f.Add(strings.Repeat("9", 60), 1, 9, true)
	f.Add(strings.Repeat("1", 59), 0, -66, false)
	f.Fuzz(func(t *testing.T, digits string, point, exp int, neg bool) {
		digits = strings.TrimLeft(strings.Map(func(r rune) rune {
			if r < '0' || r > '9' {
				return -1
			}
			return r
		}, digits), "0")
		if digits == "" || point < 0 || point >= len(digits) || exp < -400 || exp > 400 {
			return
		}
		sign := ""
		if neg {
			sign = "-"
		}
		var spellings []string
		for p := range len(digits) { // the same value with the point at each place
			s := sign + digits[:p+1]
			if p+1 < len(digits) {
				s += "." + digits[p+1:]
			}
			if e := exp + point - p; e != 0 {
				s += fmt.Sprintf("e%d", e)
			}
			spellings = append(spellings, s)
		}
		var first string
		for _, s := range spellings {
			if len(s) > 64 {
				continue
			}
			out, _, err := run(`{"x":` + s + `}`)
			if err != nil {
				return // beyond binary64, which all are then
			}
			out = strings.TrimSuffix(strings.TrimPrefix(out, `{"x":`), "}")
			a, _ := new(big.Rat).SetString(s)
			b, ok := new(big.Rat).SetString(out)
			if !ok || a.Cmp(b) != 0 || len(out) > 64 || first != "" && out != first {
				t.Fatalf("%s became %s, and %s before", s, out, first)
			}
			first = out
		}
	})
}

func BenchmarkCopy(b *testing.B) {
	long := func(s string, n int) string {
		return `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat(s, n) + `"}]}`
	}
	for name, in := range map[string]string{
		"ascii":   long("Why is the sky blue? ", 500_000),
		"utf8":    long("空はなぜ青いのですか。", 300_000),
		"escapes": long(`\u7a7a\u306f `, 700_000),
		"tokens":  `{"model":"m","prompt":[` + strings.Repeat("50256, ", 1_000_000) + `1]}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				if _, err := Copy(io.Discard, strings.NewReader(in)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
