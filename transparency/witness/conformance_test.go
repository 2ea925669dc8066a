// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency"
)

// post sends a body and returns status, content type and answer.
func (w *world) post(t *testing.T, body []byte) (int, string, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/add-checkpoint", bytes.NewReader(body)))
	answer, err := io.ReadAll(rec.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return rec.Code, rec.Header().Get("Content-Type"), string(answer)
}

// TestConformance goes through C2SP tlog-witness, add-checkpoint, sentence by
// sentence. Each case starts at a witness that has signed size leaves.
func TestConformance(t *testing.T) {
	const size = 5
	t9, t5, empty := tree(1, 0, 9), tree(1, 0, size), tree(1, 0, 0)
	w0 := newWorld(t, new(MemoryStore)) // for its signer
	n9, n5 := string(w0.note(t9)), string(w0.note(t5))
	stranger := must(transparency.NewSigner("stranger.example", key("stranger.example")))
	impostor := must(transparency.NewSigner(origin, key("impostor")))
	other := must(transparency.NewCosigner("other.example/w2", key("other")))
	root9, root5 := must(t9.Root(9)), must(t5.Root(size))
	good := w0.request(t9, size)
	lines := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteString("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
		}
		return b.String()
	}
	sigLine := n9[strings.Index(n9, "\n\n")+2:]
	proof := string(good.Append(nil))
	proof = proof[len("old 5\n"):strings.Index(proof, "\n\n")] + "\n"
	for _, c := range []struct {
		name, body string
		status     int
		answer     string // beginning of it
	}{
		{"a new checkpoint", string(good.Append(nil)), 200, "— " + myName + " "},
		{"the same size again", "old 5\n\n" + n5, 200, "— " + myName + " "},
		{"other signatures beside the log's", "old 5\n" + proof + "\n" + string(must(other.Cosign([]byte(n9), noon))), 200, "— " + myName + " "},
		{"an unknown key under the log's name", "old 5\n" + proof + "\n" + n9 + string(impostor.Sign(9, root9)[strings.Index(n9, "\n\n")+2:]), 200, "— " + myName + " "},

		// "If the checkpoint origin is unknown ... 404"
		{"unknown origin", "old 0\n\n" + string(stranger.Sign(9, root9)), 404, ""},
		{"unknown origin, old too large", "old 10\n\n" + string(stranger.Sign(9, root9)), 404, ""},
		// "If none of the signatures verify against a trusted public key ... 403"
		{"other log's key", "old 5\n" + proof + "\n" + string(impostor.Sign(9, root9)), 403, ""},
		{"signature over another root", "old 5\n" + proof + "\n" + strings.Replace(n5, "\n5\n", "\n9\n", 1), 403, ""},
		{"doubled signature", "old 5\n" + proof + "\n" + n9 + sigLine, 403, ""},
		{"unknown key only", "old 5\n" + proof + "\n" + strings.Replace(string(must(other.Cosign([]byte(n9), noon))), sigLine, "", 1), 403, ""},
		// "The old size MUST be equal to or lower than the checkpoint size ... 400"
		{"old above the checkpoint", "old 10\n\n" + n9, 400, ""},
		{"old above the checkpoint, far", "old 18446744073709551615\n\n" + n9, 400, ""},
		// "If it doesn't match ... 409 ... text/x.tlog.size"
		{"old 0 to learn the size", "old 0\n\n" + n9, 409, "5\n"},
		{"old below", "old 4\n\n" + n9, 409, "5\n"},
		{"old above, below the checkpoint", "old 6\n\n" + n9, 409, "5\n"},
		{"old is the checkpoint's", "old 9\n\n" + n9, 409, "5\n"},
		{"a smaller checkpoint", "old 3\n\n" + string(w0.note(tree(1, 0, 3))), 409, "5\n"},
		{"size 0", "old 0\n\n" + string(w0.note(empty)), 409, "5\n"},
		// "If the Merkle Consistency Proof doesn't verify ... 422"
		{"no proof", "old 5\n\n" + n9, 422, ""},
		{"a wrong proof", "old 5\n" + lines(3) + "\n" + n9, 422, ""},
		{"62 hashes", "old 5\n" + lines(62) + "\n" + n9, 422, ""},
		{"63 hashes", "old 5\n" + lines(63) + "\n" + n9, 422, ""},
		{"a hash too many", "old 5\n" + proof + lines(1) + "\n" + n9, 422, ""},
		{"a proof to the same size", "old 5\n" + lines(1) + "\n" + n5, 422, ""},
		{"an empty tree with a root", "old 0\n\n" + string(w0.signer.Sign(0, root5)), 422, ""},
		// "If they don't match ... 409": not with a size, or the log would try again.
		{"another root of one size", "old 5\n\n" + string(w0.signer.Sign(size, root9)), 409, `{"type":"about:blank","status":409,"code":"witness.fork"}`},
		// "The client MUST NOT send more than 63 consistency proof lines."
		{"64 hashes", "old 5\n" + lines(64) + "\n" + n9, 400, ""},
		// The shape of a request.
		{"empty", "", 400, ""},
		{"old without number", "old \n\n" + n9, 400, ""},
		{"old with zeros", "old 05\n\n" + n9, 400, ""},
		{"old with a sign", "old +5\n\n" + n9, 400, ""},
		{"old above 2^64", "old 18446744073709551616\n\n" + n9, 400, ""},
		{"two spaces", "old  5\n\n" + n9, 400, ""},
		{"no old line", "\n" + n9, 400, ""},
		{"unknown line", "old 5\nnew 9\n" + proof + "\n" + n9, 400, ""},
		{"unknown line after the proof", "old 5\n" + proof + "hello\n\n" + n9, 400, ""},
		{"carriage returns", strings.ReplaceAll(proof, "\n", "\r\n") + "\n" + n9, 400, ""},
		{"a hash of 31 bytes", "old 5\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\n\n" + n9, 400, ""},
		{"base64 with stray bits", "old 5\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n\n" + n9, 400, ""},
		{"no empty line", "old 5\n" + proof + n9, 400, ""},
		{"two empty lines", "old 5\n" + proof + "\n\n" + n9, 400, ""},
		{"no note", "old 5\n\n", 400, ""},
		{"no signature", "old 5\n\n" + n9[:strings.Index(n9, "\n\n")+2], 400, ""},
		{"extension line", "old 5\n" + proof + "\n" + strings.Replace(n9, "\n\n", "\nextension\n\n", 1), 400, ""},
		{"bytes after the note", string(good.Append(nil)) + "x", 400, ""},
		{"too large", string(good.Append(nil)) + strings.Repeat("x", MaxRequest), 413, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := new(MemoryStore)
			w := newWorld(t, store)
			if _, err := w.AddCheckpoint(w.request(t5, 0)); err != nil {
				t.Fatal(err)
			}
			before := slices.Clone(store.states[origin])
			w.at(noon.Add(time.Minute))
			status, kind, answer := w.post(t, []byte(c.body))
			if status != c.status || !strings.HasPrefix(answer, c.answer) {
				t.Fatalf("%d %q, want %d %q", status, answer, c.status, c.answer)
			}
			if sized := kind == "text/x.tlog.size"; sized != (status == 409 && c.answer == "5\n") || sized && answer != "5\n" {
				t.Errorf("content type %q, answer %q", kind, answer)
			}
			if status != 200 {
				if !bytes.Equal(before, store.states[origin]) {
					t.Error("a refused request changed what is remembered")
				}
				return
			}
			note := c.body[strings.Index(c.body, "\n\n")+2:]
			w.verify(t, []byte(note), []byte(answer), noon.Add(time.Minute))
			if strings.Count(answer, "\n") != 2 {
				t.Errorf("not only our own lines: %q", answer)
			}
		})
	}
}

// The first checkpoint of a log needs no proof, and has none.
func TestFirstCheckpoint(t *testing.T) {
	for n := range 3 {
		w := newWorld(t, new(MemoryStore))
		r := w.request(tree(1, 0, n), 0)
		if lines, err := w.AddCheckpoint(r); err != nil {
			t.Errorf("%d leaves: %v", n, err)
		} else {
			w.verify(t, r.Note, lines, noon)
		}
		w = newWorld(t, new(MemoryStore))
		r.Proof = [][32]byte{{}}
		_, err := w.AddCheckpoint(r)
		wantCode(t, err, CodeProof)
		if n > 0 {
			r.Proof, r.Old = nil, 1
			_, err = w.AddCheckpoint(r)
			wantCode(t, err, CodeStale)
		}
	}
}

// From every size to every size; and a proof is for its own two sizes only.
func TestEveryStep(t *testing.T) {
	const n = 9
	for a := 1; a <= n; a++ {
		for b := a; b <= n; b++ {
			w := newWorld(t, new(MemoryStore))
			if _, err := w.AddCheckpoint(w.request(tree(1, 0, a), 0)); err != nil {
				t.Fatal(err)
			}
			r := w.request(tree(1, 0, b), uint64(a))
			if a < b { // AT-48: the tree beyond parts before a
				evil := w.request(tree(2, a-1, b), uint64(a))
				_, err := w.AddCheckpoint(evil)
				wantCode(t, err, CodeProof)
			}
			if lines, err := w.AddCheckpoint(r); err != nil {
				t.Errorf("%d to %d: %v", a, b, err)
			} else {
				w.verify(t, r.Note, lines, noon)
			}
		}
	}
}

func TestMethods(t *testing.T) {
	w := newWorld(t, new(MemoryStore))
	for _, c := range []struct {
		method, path string
		want         int
	}{{"GET", "/add-checkpoint", 405}, {"PUT", "/add-checkpoint", 405}, {"POST", "/", 404}, {"POST", "/add-checkpoint/", 404}} {
		rec := httptest.NewRecorder()
		w.Handler().ServeHTTP(rec, httptest.NewRequest(c.method, c.path, nil))
		if rec.Code != c.want {
			t.Errorf("%s %s: %d", c.method, c.path, rec.Code)
		}
	}
}

// With an ML-DSA-44 key of the log, both of its signatures are needed.
func TestHybridLog(t *testing.T) {
	signer := must(transparency.NewSigner(origin, key(origin)))
	both := must(transparency.NewHybridSigner(origin, key(origin), seed(origin)))
	w := must(New(Setup{
		Cosigners: []*transparency.Cosigner{must(transparency.NewCosigner(myName, key(myName)))},
		Logs:      []Log{{origin, both.VKey(), both.VKeyPQ()}}, Store: new(MemoryStore),
	}))
	note := signer.Sign(0, sha256.Sum256(nil))
	_, err := w.AddCheckpoint(&Request{Note: note})
	wantCode(t, err, CodeSignature)
	if _, err := w.AddCheckpoint(&Request{Note: both.Sign(0, sha256.Sum256(nil))}); err != nil {
		t.Error(err)
	}
}

// FuzzRequest: one spelling.
func FuzzRequest(f *testing.F) {
	w := newWorld(f, new(MemoryStore))
	f.Add(w.request(tree(1, 0, 9), 5).Append(nil))
	f.Add(w.request(tree(1, 0, 1), 0).Append(nil))
	f.Add(fmt.Appendf(nil, "old 0\n\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := ParseRequest(in)
		if err != nil {
			if r != nil {
				t.Error("a value beside an error")
			}
			return
		}
		if out := r.Append(nil); !bytes.Equal(in, out) {
			t.Errorf("accepted %q, printed %q", in, out)
		}
	})
}

// FuzzState: one spelling; what is damaged is refused, not read as less.
func FuzzState(f *testing.F) {
	store := new(MemoryStore)
	w := newWorld(f, store)
	must(w.AddCheckpoint(w.request(tree(1, 0, 5), 0)))
	f.Add(store.states[origin])
	f.Add([]byte(stateHeader + "1\n\n"))
	f.Add(emptyState(origin).append(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := parseState(in, origin)
		if err == nil && (!bytes.Equal(in, s.append(nil)) || (s.time <= 0) != (s.cp.Size == 0 && s.cp.Note == nil) || s.cp.Origin != origin) {
			t.Errorf("accepted %q", in)
		}
	})
}
