// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bhttp_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sotto-project/sotto/ohttp/bhttp"
)

func request(t testing.TB, w io.Writer, fields ...bhttp.Field) *bhttp.Writer {
	t.Helper()
	rw, err := bhttp.NewRequestWriter(w, &bhttp.RequestHead{
		Method: "POST", Scheme: "https", Authority: "router.sotto", Path: "/v1/request", Fields: fields,
	})
	if err != nil {
		t.Fatal(err)
	}
	return rw
}

// TestContentIsNotHeldBack: what one side wrote the other can read before
// anything more is written; on an unbuffered pipe, holding back would deadlock.
func TestContentIsNotHeldBack(t *testing.T) {
	pr, pw := io.Pipe()
	step := make(chan struct{})
	go func() {
		w := request(t, pw)
		_ = w.Flush()
		<-step
		for _, s := range []string{"a", "bc", strings.Repeat("d", 5000)} {
			_, _ = w.Write([]byte(s))
			<-step
		}
		_ = w.Close(nil, 7)
		_ = pw.Close()
	}()
	r := bhttp.NewReader(pr, bhttp.Limits{})
	h, err := r.ReadRequest()
	if err != nil || h.Path != "/v1/request" || r.ContentLength() != -1 {
		t.Fatal(h, err)
	}
	step <- struct{}{}
	body := r.Body()
	p := make([]byte, 64<<10)
	for _, want := range []string{"a", "bc"} {
		n, err := body.Read(p)
		if err != nil || string(p[:n]) != want {
			t.Fatalf("read %q, %v; want %q", p[:n], err, want)
		}
		step <- struct{}{}
	}
	if _, err := io.ReadFull(body, p[:5000]); err != nil {
		t.Fatal(err)
	}
	step <- struct{}{}
	if n, err := body.Read(p); n != 0 || err != io.EOF {
		t.Fatal(n, err)
	}
}

// TestEveryChunkBoundary writes content around the sizes where the chunk header
// grows, the writer's two paths meet and the reader's buffer ends.
func TestEveryChunkBoundary(t *testing.T) {
	for _, base := range []int{1, 63, 64, 2048, 4096, 16383, 16384, 32768, 1 << 20} {
		for n := base - 1; n <= base+1; n++ {
			content := bytes.Repeat([]byte("0123456789abcdef!"), n/17+1)[:n]
			var direct, copied bytes.Buffer
			w := request(t, &direct)
			if m, err := w.Write(content); m != n || err != nil {
				t.Fatal(m, err)
			}
			if err := w.Close(nil, n%3); err != nil {
				t.Fatal(err)
			}
			w = request(t, &copied)
			if m, err := w.ReadFrom(bytes.NewReader(content)); m != int64(n) || err != nil {
				t.Fatal(m, err)
			}
			if err := w.Close([]bhttp.Field{{Name: "t", Value: "u"}}, 0); err != nil {
				t.Fatal(err)
			}
			if w.Written() != int64(copied.Len()) {
				t.Errorf("%d bytes written, %d said", copied.Len(), w.Written())
			}
			for _, buf := range []int{0, 7, 4096, 1 << 16} {
				for i, msg := range [][]byte{direct.Bytes(), copied.Bytes()} {
					got := consume(bytes.NewReader(msg), true, bhttp.Limits{}, buf)
					if got.Err != "" || got.Content != string(content) || len(got.Trailers) != i {
						t.Fatalf("%d bytes, way %d, reads of %d: %d bytes, %q", n, i, buf, len(got.Content), got.Err)
					}
				}
			}
			known, err := bhttp.AppendRequest(nil, &bhttp.Request{RequestHead: bhttp.RequestHead{
				Method: "POST", Scheme: "https", Authority: "router.sotto", Path: "/v1/request"}, Content: content})
			if err != nil {
				t.Fatal(err)
			}
			if got := consume(bytes.NewReader(known), true, bhttp.Limits{}, 0); got.Err != "" || got.Content != string(content) || got.Length != int64(n) {
				t.Fatalf("%d bytes known: %q", n, got.Err)
			}
		}
	}
}

func TestReadSizesDoNotMatter(t *testing.T) {
	for name, s := range samples() {
		for cut := 0; cut <= len(s.msg); cut++ {
			checkReadSizes(t, name, []byte(s.msg[:cut]))
		}
	}
}

// checkReadSizes reads msg in every way and demands one outcome.
func checkReadSizes(t *testing.T, name string, msg []byte) {
	t.Helper()
	isRequest := len(msg) > 0 && msg[0]&1 == 0
	l := bhttp.Limits{MaxHead: 1 << 12, MaxTrailers: 1 << 10, MaxFields: 20, MaxContent: 1 << 20}
	want := consume(bytes.NewReader(msg), isRequest, l, 0)
	for _, wrap := range []func(io.Reader) io.Reader{
		iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader,
		func(r io.Reader) io.Reader { return &stutter{r: r} },
		func(r io.Reader) io.Reader { return r },
	} {
		for _, buf := range []int{0, 1, 3, 64, 1 << 15} {
			got := consume(wrap(bytes.NewReader(msg)), isRequest, l, buf)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: reads of %d: %+v\nwant %+v", name, buf, got, want)
			}
		}
	}
}

// stutter returns reads of 1, 2, 3 ... bytes with an empty one between.
type stutter struct {
	r io.Reader
	n int
}

func (s *stutter) Read(p []byte) (int, error) {
	if s.n++; s.n%2 == 1 {
		return 0, nil
	}
	return s.r.Read(p[:min(len(p), s.n)])
}

func TestLimits(t *testing.T) {
	head := "\x03GET\x05https\x01a\x01/"
	t.Run("head", func(t *testing.T) {
		fixed := 1 + len(head)
		for _, known := range []bool{true, false} {
			for n := 90; n <= 110; n++ {
				line := "\x01x" + "\x40" + string([]byte{byte(n)}) + strings.Repeat("v", n)
				msg, size := "\x02"+head+line+"\x00\x00\x00", fixed+len(line)+1
				if known {
					msg, size = "\x00"+head+"\x40"+string([]byte{byte(len(line))})+line+"\x00\x00", fixed+len(line)+2
				}
				want := bhttp.Code("")
				if size > 120 {
					want = bhttp.CodeLimit
				}
				got := consume(strings.NewReader(msg), true, bhttp.Limits{MaxHead: 120}, 0)
				if got.Err != string(want) {
					t.Errorf("head of %d in 120 bytes: %q", size, got.Err)
				}
			}
		}
	})
	t.Run("fields", func(t *testing.T) {
		for _, n := range []int{0, 1, 2, 3, 4} {
			lines := strings.Repeat("\x01x\x01y", n)
			for _, msg := range []string{
				"\x02" + head + lines + "\x00\x00\x00", "\x02" + head + "\x00\x00" + lines + "\x00",
				"\x00" + head + lp(lines) + "\x00\x00", "\x00" + head + "\x00\x00" + lp(lines),
			} {
				got := consume(strings.NewReader(msg), true, bhttp.Limits{MaxFields: 3}, 0)
				if (got.Err == "bhttp.limit") != (n > 3) {
					t.Errorf("%d of 3 fields: %q", n, got.Err)
				}
			}
		}
	})
	t.Run("trailers", func(t *testing.T) {
		for n := 1; n < 30; n++ {
			msg := "\x02" + head + "\x00\x00\x01x" + lp(strings.Repeat("v", n)) + "\x00"
			got := consume(strings.NewReader(msg), true, bhttp.Limits{MaxTrailers: 20}, 0)
			if (got.Err == "bhttp.limit") != (n+4 > 20) {
				t.Errorf("trailers of %d in 20 bytes: %q", n+4, got.Err)
			}
		}
	})
	t.Run("content", func(t *testing.T) {
		for n := range 12 {
			c := lp(strings.Repeat("v", n))
			for _, msg := range []string{"\x00" + head + "\x00" + c, "\x02" + head + "\x00\x01v" + c} {
				got := consume(strings.NewReader(msg), true, bhttp.Limits{MaxContent: 10}, 0)
				if msg[0] == 2 && n == 0 {
					continue
				}
				limit := n > 10-int(msg[0]/2)
				if (got.Err == "bhttp.limit") != limit {
					t.Errorf("content of %d in 10 bytes: %q", n, got.Err)
				}
			}
			got := consume(strings.NewReader("\x00"+head+"\x00\x00\x00"+strings.Repeat("\x00", n)), true, bhttp.Limits{MaxContent: 10}, 0)
			if (got.Err == "bhttp.limit") != (n > 10) {
				t.Errorf("padding of %d in 10 bytes: %q", n, got.Err)
			}
		}
	})
	t.Run("zero limits are the defaults", func(t *testing.T) {
		long := "\x02" + lp("GET") + lp("https") + lp("a") + "\x80\x01\x00\x00/" + strings.Repeat("p", 1<<16)
		if got := consume(strings.NewReader(long), true, bhttp.Limits{}, 0); got.Err != "bhttp.limit" {
			t.Errorf("path of 64 KiB: %q", got.Err)
		}
		many := "\x02" + head + strings.Repeat("\x01x\x00", bhttp.DefaultMaxFields+1)
		if got := consume(strings.NewReader(many), true, bhttp.Limits{}, 0); got.Err != "bhttp.limit" {
			t.Errorf("257 fields: %q", got.Err)
		}
		big := "\x02" + head + "\x01x\x80\x00\xc0\x00" + strings.Repeat("v", 49152) + "\x00" // larger than the buffer
		if got := consume(strings.NewReader(big), true, bhttp.Limits{}, 0); got.Err != "" {
			t.Errorf("value of 48 KiB: %q", got.Err)
		}
		if got := consume(strings.NewReader(big[:len(big)-9]), true, bhttp.Limits{}, 0); got.Err != "bhttp.truncated" {
			t.Errorf("cut value of 48 KiB: %q", got.Err)
		}
	})
}

// TestEndlessHeadIsBounded feeds zeros and ones forever: the reader must say no
// by itself.
func TestEndlessHeadIsBounded(t *testing.T) {
	for _, b := range []byte{0, 1, 2, 3, 0x41, 0x81, 0xff} {
		got := consume(io.MultiReader(strings.NewReader("\x02\x03GET\x05https\x01a\x01/"), endless(b)), true,
			bhttp.Limits{MaxContent: 1 << 20}, 0)
		if got.Err == "" {
			t.Errorf("endless %#x accepted", b)
		}
	}
}

type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}

// TestMemoryIsConstant reads 256 MiB of content in one chunk and in small ones.
func TestMemoryIsConstant(t *testing.T) {
	const total = 256 << 20
	pr, pw := io.Pipe()
	go func() {
		w := request(t, pw)
		_, err := w.ReadFrom(io.LimitReader(endless('x'), total))
		if err == nil {
			err = w.Close(nil, 0)
		}
		_ = pw.CloseWithError(err)
	}()
	r := bhttp.NewReader(pr, bhttp.Limits{})
	if _, err := r.ReadRequest(); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := io.Copy(io.Discard, r.Body())
	runtime.ReadMemStats(&after)
	if n != total || err != nil {
		t.Fatal(n, err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("%d bytes allocated for %d of content", grown, total)
	}
}

func TestMisuse(t *testing.T) {
	msg := "\x02\x03GET\x05https\x01a\x01/\x00\x01x\x00\x00"
	r := bhttp.NewReader(strings.NewReader(msg), bhttp.Limits{})
	if r.ContentLength() != -1 || r.Trailers() != nil {
		t.Error("a reader that read nothing knows something")
	}
	if _, err := r.Body().Read(make([]byte, 1)); err == nil {
		t.Error("body before head")
	}
	if _, err := r.ReadRequest(); err == nil {
		t.Error("a failed reader went on")
	}
	r = bhttp.NewReader(strings.NewReader(msg), bhttp.Limits{})
	_, _ = r.ReadRequest()
	if n, err := r.Body().Read(nil); n != 0 || err != nil {
		t.Error("empty read", n, err)
	}
	r.Close()
	r.Close()
	if n, err := r.Body().Read(make([]byte, 8)); n != 0 || err == nil || err == io.EOF {
		t.Error("a closed reader read", n, err)
	}
	r = bhttp.NewReader(strings.NewReader(msg), bhttp.Limits{})
	_, _ = r.ReadRequest()
	if _, err := r.ReadRequest(); err == nil {
		t.Error("head read twice")
	}
	// A stream that neither gives nor ends must not spin.
	r = bhttp.NewReader(io.MultiReader(strings.NewReader(msg[:len(msg)-3]), idle{}), bhttp.Limits{})
	_, _ = r.ReadRequest()
	for range 3 {
		if n, err := r.Body().Read(make([]byte, 8)); n != 0 || err == io.EOF {
			t.Error(n, err)
		}
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestWriterStaysFailed(t *testing.T) {
	boom := errors.New("boom")
	for after := range 6 {
		fw := &failing{after: after, err: boom}
		w := request(t, fw)
		var err error
		for _, step := range []func() error{
			w.Flush,
			func() error { _, err := w.Write([]byte("a")); return err },
			func() error { _, err := w.Write(make([]byte, 5000)); return err },
			func() error { _, err := w.ReadFrom(strings.NewReader("b")); return err },
			func() error { return w.Close(nil, 10000) },
		} {
			if err2 := step(); err != nil && err2 != err {
				t.Errorf("after %d writes: %v, then %v", after, err, err2)
			} else if err == nil {
				err = err2
			}
		}
		if err != boom {
			t.Errorf("after %d writes: %v", after, err)
		}
	}
	var out bytes.Buffer
	w := request(t, &out)
	if err := w.Close(nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("late")); err == nil {
		t.Error("write after close")
	}
	if err := w.Close(nil, 0); err == nil {
		t.Error("closed twice")
	}
	if err := request(t, &out).Close(nil, -1); err == nil {
		t.Error("negative padding")
	}
}

type failing struct {
	after int
	err   error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, f.err
	}
	return len(p), nil
}

func TestWriterHoldsDeclaredLength(t *testing.T) {
	length := bhttp.Field{Name: "content-length", Value: "3"}
	w := request(t, io.Discard, length)
	_, _ = w.Write([]byte("ab"))
	wantCode(t, w.Close(nil, 0), bhttp.CodeFormat)
	w = request(t, io.Discard, length)
	_, err := w.Write([]byte("abcd"))
	wantCode(t, err, bhttp.CodeFormat)
	w = request(t, io.Discard, length)
	_, err = w.ReadFrom(strings.NewReader("abcd"))
	wantCode(t, err, bhttp.CodeFormat)
	w = request(t, io.Discard, length)
	_, _ = w.Write([]byte("abc"))
	wantCode(t, w.Close(nil, 0), "")
	rw, err := bhttp.NewResponseWriter(io.Discard, &bhttp.ResponseHead{Status: 200, Fields: []bhttp.Field{length}})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, rw.Close(nil, 0), "") // to HEAD
	wantCode(t, request(t, io.Discard).Close([]bhttp.Field{{Name: "TE", Value: ""}}, 0), bhttp.CodeField)
	_, err = bhttp.AppendRequest(nil, &bhttp.Request{RequestHead: bhttp.RequestHead{
		Method: "GET", Scheme: "https", Path: "/", Fields: []bhttp.Field{length}}})
	wantCode(t, err, bhttp.CodeFormat)
}

// TestPaddedToSize pads to a size chosen in advance, as Writer.Written's comment
// says one can.
func TestPaddedToSize(t *testing.T) {
	for _, size := range []int{100, 8192, 20000} {
		var out bytes.Buffer
		w := request(t, &out)
		_, _ = w.Write([]byte("hello"))
		if err := w.Close(nil, size-int(w.Written())-2); err != nil || out.Len() != size {
			t.Errorf("%d bytes for %d, %v", out.Len(), size, err)
		}
		if r, err := bhttp.ParseRequest(out.Bytes()); err != nil || string(r.Content) != "hello" {
			t.Error(err)
		}
	}
}

// TestPartOfAChunkIsDelivered: half a chunk is content that is there.
func TestPartOfAChunkIsDelivered(t *testing.T) {
	pr, pw := io.Pipe()
	go func() {
		_, _ = io.WriteString(pw, "\x02\x03GET\x05https\x01a\x01/\x00\x01x\x40")
		_, _ = io.WriteString(pw, "\x40half")
	}()
	r := bhttp.NewReader(pr, bhttp.Limits{})
	if _, err := r.ReadRequest(); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 100)
	for _, want := range []string{"x", "half"} {
		if n, err := r.Body().Read(p); err != nil || string(p[:n]) != want {
			t.Fatalf("read %q, %v; want %q", p[:n], err, want)
		}
	}
	_ = pw.Close()
	_, err := r.Body().Read(p)
	wantCode(t, err, bhttp.CodeTruncated)
}

// TestNothingBeyondDeclaredLength: content past its content-length is refused
// before it is delivered, not once all of it was.
func TestNothingBeyondDeclaredLength(t *testing.T) {
	msg := "\x02\x03GET\x05https\x01a\x01/" + lp("content-length") + lp("5") + "\x00" + lp("hello") + lp("!") + "\x00\x00"
	for _, buf := range []int{0, 1, 100} {
		got := consume(strings.NewReader(msg), true, bhttp.Limits{}, buf)
		if got.Content != "hello" || got.Err != "bhttp.format" {
			t.Errorf("reads of %d: %q, %q", buf, got.Content, got.Err)
		}
	}
}

func TestFieldLimitIsPerSection(t *testing.T) {
	lines := strings.Repeat("\x01x\x01y", 3)
	msg := "\x02\x03GET\x05https\x01a\x01/" + lines + "\x00\x00" + lines + "\x00"
	if got := consume(strings.NewReader(msg), true, bhttp.Limits{MaxFields: 3}, 0); got.Err != "" {
		t.Error(got.Err)
	}
}

// TestEmptyWriteEndsNothing: an empty chunk would be the content's terminator.
func TestEmptyWriteEndsNothing(t *testing.T) {
	var out bytes.Buffer
	w := request(t, &out)
	for _, p := range []string{"", "x", "", "y"} {
		if n, err := io.WriteString(w, p); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := w.Close([]bhttp.Field{{Name: "t", Value: "u"}}, 0); err != nil {
		t.Fatal(err)
	}
	r, err := bhttp.ParseRequest(out.Bytes())
	if err != nil || string(r.Content) != "xy" || len(r.Trailers) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}
