// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bundle_test

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency/bundle"
)

// meaningless lists what of a bundle can be another without consequence, by what
// comes before and after it. Whatever is flipped there, the result is the same.
var meaningless = []struct{ why, before, after string }{
	{"framing of an RFC 3161 response (status, versions, algorithm parameters) that the CMS parser does not read; the time, the hash and the signature are not in it",
		`"signedTimestamp":"`, `"`},
	{"name before the log's signature on its checkpoint, of the first version: the key is what counts", `\n\n— `, ` `},
}

// TestBitFlips: every flip is refused, or changes nothing and is on the list. One
// bit of every byte; SOTTO_EVERY_BIT=1 flips all of them, which takes a minute.
func TestBitFlips(t *testing.T) {
	s := newSigstore()
	at := s.now.Add(time.Hour)
	for name, change := range map[string]func(*spec){"tiles": func(*spec) {}, "first version": v1} {
		t.Run(name, func(t *testing.T) {
			sp := s.goodSpec()
			change(&sp)
			b, o := printed(t, s.bundle(sp)), s.options()
			want, err := bundle.Verify(b, o, at)
			if err != nil {
				t.Fatal(err)
			}
			var wait sync.WaitGroup
			for part := range 2 {
				wait.Go(func() {
					for i := part; i < len(b); i += 2 {
						flip(t, b, i, func(m []byte) (*bundle.Result, error) { return bundle.Verify(m, o, at) }, want)
					}
				})
			}
			wait.Wait()
		})
	}
}

func flip(t *testing.T, b []byte, i int, verify func([]byte) (*bundle.Result, error), want *bundle.Result) {
	if testing.Short() && i%7 != 0 {
		return
	}
	for bit := range 8 {
		if bit != i%8 && os.Getenv("SOTTO_EVERY_BIT") == "" {
			continue
		}
		m := bytes.Clone(b)
		m[i] ^= 1 << bit
		res, err := verify(m)
		switch {
		case err != nil:
		case !same(res, want):
			t.Errorf("byte %d, bit %d: accepted, and says something else", i, bit)
		case !listed(string(b), i):
			t.Errorf("byte %d, bit %d: accepted: %s>%c<%s", i, bit, b[max(0, i-40):i], b[i], b[i+1:min(i+20, len(b))])
		}
	}
}

// same leaves the checkpoint's note out: it is handed on as it came, and who else
// signed it is for its reader to verify.
func same(a, b *bundle.Result) bool {
	x, y := *a, *b
	x.Checkpoint, y.Checkpoint = nil, nil
	return reflect.DeepEqual(x, y)
}

func listed(b string, i int) bool {
	for _, m := range meaningless {
		start := strings.LastIndex(b[:i], m.before)
		if start >= 0 && !strings.Contains(b[start+len(m.before):i+1], m.after) {
			return true
		}
	}
	return false
}

// TestMembers: every member and element left out or given twice is refused, or
// changes nothing.
func TestMembers(t *testing.T) {
	s := newSigstore()
	at := s.now.Add(time.Hour)
	optional := map[string]bool{ // their absence changes nothing that is asked for
		"/verificationMaterial/timestampVerificationData":                   true, // where the log promised a time
		"/verificationMaterial/timestampVerificationData/rfc3161Timestamps": true,
		"/verificationMaterial/tlogEntries/0/integratedTime":                true, // where there is no promise
	}
	for name, change := range map[string]func(*spec){"tiles": func(*spec) {}, "first version": v1} {
		t.Run(name, func(t *testing.T) {
			sp := s.goodSpec()
			change(&sp)
			b := s.bundle(sp)
			walk(b, "", func(path string, drop func() func()) {
				undo := drop()
				_, err := bundle.Verify(printed(t, b), s.options(), at)
				undo()
				if err == nil && !optional[path] {
					t.Errorf("accepted without %s", path)
				}
			})
			if _, err := bundle.Verify(printed(t, b), s.options(), at); err != nil {
				t.Fatalf("this test broke the bundle: %v", err)
			}
			whole := string(printed(t, b))
			for _, name := range []string{"mediaType", "payload", "sig", "canonicalizedBody", "logIndex", "rootHash", "rawBytes"} {
				twice := strings.Replace(whole, `"`+name+`":`, `"`+name+`":"","`+name+`":`, 1)
				if _, err := bundle.Verify([]byte(twice), s.options(), at); err == nil {
					t.Errorf("accepted %s twice", name)
				}
			}
		})
	}
}

// walk visits every member and element; drop takes it out and returns what puts
// it back.
func walk(v any, path string, visit func(path string, drop func() func())) {
	switch v := v.(type) {
	case object:
		for name, child := range v {
			visit(path+"/"+name, func() func() {
				delete(v, name)
				return func() { v[name] = child }
			})
			walk(child, path+"/"+name, visit)
		}
	case []any:
		for i, child := range v {
			visit(path+"/0", func() func() {
				v[i] = nil
				return func() { v[i] = child }
			})
			walk(child, path+"/0", visit)
		}
	}
}

// TestBounds: hostile bundles cost little.
func TestBounds(t *testing.T) {
	s := newSigstore()
	o := s.options()
	good := string(printed(t, s.bundle(s.goodSpec())))
	fill := func(unit string) string { return strings.Repeat(unit, (bundle.MaxBundle-len(good))/len(unit)-100) }
	for name, b := range map[string]string{
		"zeros":      string(make([]byte, bundle.MaxBundle)),
		"too long":   string(make([]byte, 256<<20)),
		"nested":     fill(`{"a":`),
		"lists":      `{"mediaType":"` + bundle.MediaType + `","x":` + fill("[") + `}`,
		"hashes":     strings.Replace(good, `"hashes":[`, `"hashes":[`+fill(`"AAAA",`), 1),
		"entries":    strings.Replace(good, `"tlogEntries":[`, `"tlogEntries":[`+fill(`{},`), 1),
		"timestamps": strings.Replace(good, `"rfc3161Timestamps":[`, `"rfc3161Timestamps":[`+fill(`{},`), 1),
		"payload":    strings.Replace(good, `"payload":"`, `"payload":"`+fill("AAAA"), 1),
		"body":       strings.Replace(good, `"canonicalizedBody":"`, `"canonicalizedBody":"`+fill("AAAA"), 1),
		"names":      strings.Replace(good, `{`, `{`+fill(`"a":1,`), 1),
	} {
		t.Run("AT-62/"+name, func(t *testing.T) {
			best, b := time.Hour, []byte(b)
			for range 3 {
				start := time.Now()
				if _, err := bundle.Verify(b, o, s.now.Add(time.Hour)); err == nil {
					t.Error("accepted")
				}
				best = min(best, time.Since(start))
			}
			t.Log(best)
			if best > 100*time.Millisecond && !testing.Short() {
				t.Errorf("%v", best)
			}
		})
	}
}
