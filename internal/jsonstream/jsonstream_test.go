// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package jsonstream

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// A tree is built from what the reader says, and compared with encoding/json.
type tree struct {
	r *Reader
	t testing.TB
}

func (b *tree) document() (map[string]any, error) {
	m := map[string]any{}
	err := b.r.Document(b.into(m))
	if err != nil {
		return nil, err
	}
	if err := b.r.WriteString("}"); err != nil {
		return nil, err
	}
	return m, b.r.Flush()
}

func (b *tree) into(m map[string]any) func([]byte, byte) error {
	return func(name []byte, first byte) error {
		key := string(name)
		v, err := b.value(first)
		m[key] = v
		return err
	}
}

func (b *tree) value(first byte) (any, error) {
	switch first {
	case '{':
		m := map[string]any{}
		return m, b.r.Members(b.into(m))
	case '[':
		list := []any{}
		err := b.r.Elements(func(first byte) error {
			v, err := b.value(first)
			list = append(list, v)
			return err
		})
		return list, err
	case '"':
		var s []byte
		err := b.r.Spans(func(piece []byte, escaped bool) error {
			if !utf8.Valid(piece) || len(piece) == 0 || escaped && utf8.RuneCount(piece) != 1 {
				b.t.Errorf("piece %q", piece)
			}
			if !escaped && bytes.ContainsFunc(piece, func(c rune) bool { return c < 0x20 || c == '"' || c == '\\' }) {
				b.t.Errorf("plain piece %q", piece)
			}
			s = append(s, piece...)
			return nil
		})
		return string(s), err
	case 't', 'f':
		return first == 't', b.r.Literal(first)
	case 'n':
		return nil, b.r.Literal(first)
	}
	lit, err := b.r.Number(nil)
	return json.Number(lit), err
}

func read(t testing.TB, src io.Reader) (map[string]any, string, error) {
	var out bytes.Buffer
	m, err := (&tree{NewReader(src, &out, 1<<20), t}).document()
	return m, out.String(), err
}

func code(err error) Code {
	var bad *Error
	if errors.As(err, &bad) {
		return bad.Code
	}
	return ""
}

func nested(n int) string { return `{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}` }

func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%d":0`, i)
	}
	return "{" + b.String()[min(1, n):] + "}"
}

func TestRefusals(t *testing.T) {
	digits := strings.Repeat("1", MaxNumber)
	for want, texts := range map[Code][]string{
		"": {`{}`, ` { "a" : [ ] } `, nested(MaxDepth), `{"` + strings.Repeat("n", MaxName) + `":1}`, members(MaxMembers), `{"a":` + digits + `}`, `{"a":-0.5E-3}`, `{"a":1e308}`,
			`{"a":[` + strings.Repeat(`{"b":1},`, 2*MaxMembers) + `1]}`},
		Syntax:    {``, `[]`, `{"a":+1}`, `{"a":01}`, `{"a":1.}`, `{"a":NaN}`, `{"a":nul}`, `{"a":-}`, `{"a":1}}`, `{"a":1,}`, `{"a":[1,]}`, `{,}`, "\ufeff{}", `{"a":"\u00g0"}`, "{\"a\":\"\t\"}", `{"a":}`},
		UTF8:      {"{\"a\":\"\x80\"}", "{\"\xff\":1}", `{"a":"\ud800"}`, `{"a":"\ud800\n"}`, `{"a":"\udc00\ud800"}`, "{\"a\":\"\xe6\x97"},
		Duplicate: {`{"a":1,"\u0061":1}`, `{"b":{"a":1,"c":{"a":1},"a":1}}`, strings.Replace(members(fewNames+2), "}", `,"0":1}`, 1), strings.Replace(members(fewNames), "}", `,"31":1}`, 1)},
		Depth:     {nested(MaxDepth + 1), strings.Repeat(`{"a":`, MaxDepth+1)},
		Size:      {`{"` + strings.Repeat("n", MaxName+1) + `":1}`, members(MaxMembers + 1), `{"a":"` + strings.Repeat("x", 1<<20) + `"}`, `{}` + strings.Repeat(" ", 1<<20)},
		Number:    {`{"a":` + digits + `1}`, `{"a":1e309}`, `{"a":-1e309}`},
	} {
		for _, in := range texts {
			_, out, err := read(t, strings.NewReader(in))
			if code(err) != want || (err == nil) != (want == "") {
				t.Errorf("%.60q: %v, want %q", in, err, want)
			}
			if err != nil && json.Valid([]byte(out)) {
				t.Errorf("%.60q was refused, yet passed on whole", in)
			}
		}
	}
}

// TestWhoFailed keeps the errors of source, sink and text apart.
func TestWhoFailed(t *testing.T) {
	cut := errors.New("cut")
	r := NewReader(io.MultiReader(strings.NewReader(`{"a":"x`), iotest.ErrReader(cut)), nil, 100)
	if _, err := (&tree{r, t}).document(); err != cut || r.SourceError() != cut {
		t.Errorf("%v, %v", err, r.SourceError())
	}
	r = NewReader(stuck{}, nil, 100)
	if _, err := (&tree{r, t}).document(); err != io.ErrNoProgress {
		t.Error(err)
	}
	var sunk *SinkError
	r = NewReader(strings.NewReader(`{}`), iotest.TruncateWriter(stuck{}, 1), 100)
	if _, err := (&tree{r, t}).document(); !errors.As(err, &sunk) || !errors.Is(err, errFull) || r.SourceError() != nil {
		t.Errorf("%v, %v", err, r.SourceError())
	}
}

var errFull = errors.New("full")

type stuck struct{}

func (stuck) Read([]byte) (int, error)  { return 0, nil }
func (stuck) Write([]byte) (int, error) { return 0, errFull }

func TestMuteAndText(t *testing.T) {
	var out bytes.Buffer
	r := NewReader(strings.NewReader(`{"a" : "\u0041bcd", "b" : [1] ,"c":2 } `), &out, 100)
	err := r.Document(func(name []byte, first byte) error {
		switch string(name) {
		case "a":
			r.Mute(true)
			defer r.Mute(false)
			head, n, err := r.Text([]byte("x"), 3)
			if string(head) != "xAb" || n != 4 {
				t.Errorf("text %q, %d bytes", head, n)
			}
			return errors.Join(err, r.WriteString("MINE"))
		case "b":
			return r.Elements(func(byte) error { _, err := r.Number(nil); return err })
		}
		_, err := r.Number(nil)
		return err
	})
	if err != nil || r.Flush() != nil || out.String() != `{"a" : MINE, "b" : [1] ,"c":2 ` {
		t.Errorf("%s, %v", out.String(), err)
	}
}

func TestOrdinary(t *testing.T) {
	for at := range 8 {
		for c := range 256 {
			for _, other := range []byte{' ', '!', '#', '[', ']', 'a', 0x7f} {
				b := bytes.Repeat([]byte{other}, 8)
				b[at] = byte(c)
				want := c >= 0x20 && c < 0x80 && c != '"' && c != '\\'
				if ordinary(binary.LittleEndian.Uint64(b)) != want {
					t.Fatalf("%q: %v", b, !want)
				}
			}
		}
	}
}

// FuzzDocument holds the reader against encoding/json: what it accepts reads
// the same there, and is passed on byte for byte.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[1,-2.5e3,true,false,null,{"b":"\ud83d\ude00\/\n"}],"":"日本"} `, `{"a":1,"a":2}`, `[1]`, `{"a":"\ud800"}`, `{"a" : [ ] , "b":{}}`, "{\"\xff\":0}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, out, err := read(t, bytes.NewReader(in))
		_, _, slow := read(t, iotest.OneByteReader(bytes.NewReader(in)))
		if fmt.Sprint(err) != fmt.Sprint(slow) {
			t.Fatalf("whole: %v, byte by byte: %v", err, slow)
		}
		if err != nil {
			if got != nil || code(err) == Syntax && json.Valid(in) && bytes.HasPrefix(bytes.TrimLeft(in, " \t\r\n"), []byte("{")) {
				t.Fatalf("%q: %v", in, err)
			}
			return
		}
		var want map[string]any
		d := json.NewDecoder(bytes.NewReader(in))
		d.UseNumber()
		if err := d.Decode(&want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q read as %v", in, got)
		}
		if out != strings.TrimRight(string(in), " \t\r\n") {
			t.Fatalf("%q passed on as %q", in, out)
		}
	})
}
