// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	fproof "github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/note"

	"github.com/sotto-project/sotto/transparency"
)

const origin = "log.example/sotto"

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// key derives a fixed key, so that every run signs the same bytes.
func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("test key " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func signer(t testing.TB, origin string) *transparency.Signer {
	s, err := transparency.NewSigner(origin, key(origin))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func witness(t testing.TB, name string) *transparency.Cosigner {
	c, err := transparency.NewCosigner(name, key(name))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// trust is 2 of 3 witnesses.
func trust(t testing.TB) *transparency.Trust {
	return &transparency.Trust{
		Origin: origin, LogKey: signer(t, origin).VKey(), Quorum: 2,
		Witnesses: []string{witness(t, "w1.example").VKey(), witness(t, "w2.example").VKey(), witness(t, "w3.example").VKey()},
	}
}

func cosign(t testing.TB, note []byte, name string, at time.Time) []byte {
	t.Helper()
	out, err := witness(t, name).Cosign(note, at)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tree has n leaves, leaf i holding its number.
func tree(t testing.TB, n int) *transparency.Tree {
	var tr transparency.Tree
	for i := range n {
		if err := tr.Append([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	return &tr
}

func signed(t testing.TB, n int) []byte {
	root, err := tree(t, n).Root(uint64(n))
	if err != nil {
		t.Fatal(err)
	}
	return signer(t, origin).Sign(uint64(n), root)
}

// good is a note of n leaves cosigned by two witnesses around noon.
func good(t testing.TB, n int) []byte {
	return cosign(t, cosign(t, signed(t, n), "w1.example", noon), "w2.example", noon.Add(5*time.Second))
}

func checkpoint(t testing.TB, n int) *transparency.Checkpoint {
	c, err := trust(t).ParseCheckpoint(good(t, n))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantCode(t *testing.T, err error, want transparency.Code) {
	t.Helper()
	var e *transparency.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestParseCheckpoint(t *testing.T) {
	c := checkpoint(t, 7)
	if c.Size != 7 || c.Origin != origin || len(c.Cosignatures) != 2 || c.Hash() != sha256.Sum256(good(t, 7)) {
		t.Errorf("got %+v", c)
	}
	if !c.Time.Equal(noon) {
		t.Errorf("time %v, want the second largest, %v", c.Time, noon)
	}
}

// The published reference roots of RFC 6962 trees (certificate-transparency's
// merkletree tests).
func TestTreeReference(t *testing.T) {
	leaves := []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}
	roots := []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	var tr transparency.Tree
	for n := 0; ; n++ {
		root, err := tr.Root(uint64(n))
		if err != nil || hex.EncodeToString(root[:]) != roots[n] {
			t.Errorf("%d leaves: %x %v, want %s", n, root, err, roots[n])
		}
		if n == len(leaves) {
			break
		}
		leaf, _ := hex.DecodeString(leaves[n])
		if err := tr.Append(leaf); err != nil {
			t.Fatal(err)
		}
	}
}

// What we sign, the libraries everybody uses must verify.
func TestNotesInteroperate(t *testing.T) {
	tr := trust(t)
	logV, err := note.NewVerifier(tr.LogKey)
	if err != nil {
		t.Fatal(err)
	}
	w1, err := fnote.NewVerifierForCosignatureV1(tr.Witnesses[0])
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(good(t, 3), note.VerifierList(logV, w1))
	if err != nil || len(n.Sigs) != 2 || len(n.UnverifiedSigs) != 1 {
		t.Fatalf("note.Open: %+v, %v", n, err)
	}
	when, err := fnote.CoSigV1Timestamp(n.Sigs[1])
	if err != nil || !when.Equal(noon) {
		t.Errorf("time %v, %v", when, err)
	}
	ours := &transparency.Proof{Index: 2, Hashes: [][32]byte{{1}, {2}}, Checkpoint: good(t, 3)}
	var theirs fproof.TLogProof
	if err := theirs.Unmarshal(ours.Append(nil)); err != nil || !bytes.Equal(theirs.Marshal(), ours.Append(nil)) {
		t.Errorf("tlog-proof: %v", err)
	}
}

func TestMLDSAWitness(t *testing.T) {
	skey, vkey, err := fnote.GenerateMLDSAKey("pq.example")
	if err != nil {
		t.Fatal(err)
	}
	s, err := fnote.NewMLDSASigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	plain := signed(t, 3)
	n, err := note.Open(plain, note.VerifierList(must(note.NewVerifier(trust(t).LogKey))))
	if err != nil {
		t.Fatal(err)
	}
	both, err := note.Sign(n, s)
	if err != nil {
		t.Fatal(err)
	}
	tr := &transparency.Trust{Origin: origin, LogKey: trust(t).LogKey, Witnesses: []string{vkey}, Quorum: 1}
	if _, err := tr.ParseCheckpoint(both); err != nil {
		t.Error(err)
	}
	wantCode(t, second(tr.ParseCheckpoint(plain)), transparency.CodeWitness)
}

func TestTrustRefuses(t *testing.T) {
	ok := trust(t)
	for name, edit := range map[string]func(*transparency.Trust){
		"zero":              func(tr *transparency.Trust) { *tr = transparency.Trust{} },
		"no origin":         func(tr *transparency.Trust) { tr.Origin = "" },
		"no log key":        func(tr *transparency.Trust) { tr.LogKey = "" },
		"other log name":    func(tr *transparency.Trust) { tr.LogKey = signer(t, "other.example").VKey() },
		"witness as log":    func(tr *transparency.Trust) { tr.LogKey = tr.Witnesses[0] },
		"log as witness":    func(tr *transparency.Trust) { tr.Witnesses[0] = tr.LogKey },
		"wrong key hash":    func(tr *transparency.Trust) { tr.LogKey = strings.Replace(tr.LogKey, "+", "+0", 1)[:len(tr.LogKey)] },
		"no quorum":         func(tr *transparency.Trust) { tr.Quorum = 0 },
		"negative quorum":   func(tr *transparency.Trust) { tr.Quorum = -1 },
		"unreachable":       func(tr *transparency.Trust) { tr.Quorum = 4 },
		"no witnesses":      func(tr *transparency.Trust) { tr.Witnesses = nil },
		"malformed witness": func(tr *transparency.Trust) { tr.Witnesses[1] = "w2.example+00000000+AAAA" },
	} {
		t.Run(name, func(t *testing.T) {
			tr := *ok
			tr.Witnesses = slices.Clone(ok.Witnesses)
			edit(&tr)
			wantCode(t, tr.Validate(), transparency.CodeTrust)
			wantCode(t, second(tr.ParseCheckpoint(good(t, 3))), transparency.CodeTrust)
		})
	}
	wantCode(t, (*transparency.Trust)(nil).Validate(), transparency.CodeTrust)
}

// AT-47: a log that shrank. AT-48: two trees of one size.
func TestCheckpointHistory(t *testing.T) {
	t.Run("AT-47", func(t *testing.T) {
		err := checkpoint(t, 4).Extends(checkpoint(t, 5))
		wantCode(t, err, transparency.CodeRollback)
		if e := err.(*transparency.Error); len(e.Evidence) != 2 {
			t.Error("no evidence kept")
		}
	})
	t.Run("AT-48", func(t *testing.T) {
		var other transparency.Tree
		for range 5 {
			other.Append([]byte("another world"))
		}
		root, _ := other.Root(5)
		n := cosign(t, cosign(t, signer(t, origin).Sign(5, root), "w1.example", noon), "w2.example", noon)
		fork, err := trust(t).ParseCheckpoint(n)
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, fork.Extends(checkpoint(t, 5)), transparency.CodeFork)
		proof, err := tree(t, 7).ProveConsistency(5, 7)
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, checkpoint(t, 7).CheckConsistency(fork, proof), transparency.CodeInclusion)
		if err := checkpoint(t, 7).CheckConsistency(checkpoint(t, 5), proof); err != nil {
			t.Error(err)
		}
	})
	if err := checkpoint(t, 5).Extends(nil); err != nil {
		t.Error(err)
	}
}

func TestAT49(t *testing.T) {
	base := signed(t, 5)
	one := cosign(t, base, "w1.example", noon)
	lines := func(n []byte) []string { return strings.SplitAfter(string(n), "\n") }
	otherRoot := cosign(t, signed(t, 6), "w2.example", noon)
	borrowed := lines(otherRoot)[len(lines(otherRoot))-2]
	for name, n := range map[string][]byte{
		"none":                    base,
		"one short":               one,
		"unknown witness":         cosign(t, one, "stranger.example", noon),
		"same witness twice":      append(slices.Clone(one), lines(one)[len(lines(one))-2]...),
		"over another checkpoint": append(slices.Clone(one), borrowed...),
		"time changed":            retime(t, good(t, 5)),
	} {
		t.Run("AT-49 "+name, func(t *testing.T) {
			wantCode(t, second(trust(t).ParseCheckpoint(n)), transparency.CodeWitness)
		})
	}
	t.Run("AT-49 same key under two names", func(t *testing.T) {
		alias, err := transparency.NewCosigner("w2.example", key("w1.example"))
		if err != nil {
			t.Fatal(err)
		}
		tr := trust(t)
		tr.Witnesses[1] = alias.VKey()
		wantCode(t, tr.Validate(), transparency.CodeTrust)
	})
	t.Run("AT-49 time zero", func(t *testing.T) {
		if _, err := witness(t, "w1.example").Cosign(base, time.Unix(0, 0)); err == nil {
			t.Error("our own cosigner signed the time 0")
		}
		// A cosigner that does sign it: the library's would not either, so by hand.
		wantCode(t, second(trust(t).ParseCheckpoint(handCosign(one, "w2.example", 0))), transparency.CodeWitness)
		wantCode(t, second(trust(t).ParseCheckpoint(handCosign(one, "w2.example", 1<<63))), transparency.CodeWitness)
		if _, err := trust(t).ParseCheckpoint(handCosign(one, "w2.example", uint64(noon.Unix()))); err != nil {
			t.Error("the hand-made cosignature is no good: ", err)
		}
	})
	t.Run("AT-49 future", func(t *testing.T) {
		c, err := trust(t).ParseCheckpoint(cosign(t, one, "w2.example", noon.Add(24*time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, c.CheckAge(noon, time.Hour), transparency.CodeWitness)
	})
	t.Run("AT-49 too old", func(t *testing.T) {
		c := checkpoint(t, 5)
		if err := c.CheckAge(noon.Add(time.Hour), time.Hour+time.Second); err != nil {
			t.Error(err)
		}
		wantCode(t, c.CheckAge(noon.Add(time.Hour), time.Hour), transparency.CodeWitness)
		wantCode(t, c.CheckAge(noon, 0), transparency.CodeWitness)
		wantCode(t, (&transparency.Checkpoint{}).CheckAge(noon, time.Hour), transparency.CodeWitness)
	})
}

// One lying witness among three moves the time neither way.
func TestTimeIsAQuorums(t *testing.T) {
	for _, lie := range []time.Time{noon.Add(-100 * time.Hour), noon.Add(100 * time.Hour)} {
		c, err := trust(t).ParseCheckpoint(cosign(t, good(t, 5), "w3.example", lie))
		if err != nil {
			t.Fatal(err)
		}
		if d := c.Time.Sub(noon).Abs(); d > 5*time.Second {
			t.Errorf("lie %v moved the time by %v", lie, d)
		}
	}
}

// TestPublicSince: fewer than quorum liars make nothing look older than the first
// honest witness saw it, whichever lines a carrier leaves out.
func TestPublicSince(t *testing.T) {
	w1, w2, w3 := "w1.example", "w2.example", "w3.example"
	h, year := time.Hour, 365*24*time.Hour
	latest := noon.Add(time.Minute)
	for name, c := range map[string]struct {
		times map[string]time.Duration // from noon
		want  time.Duration
		code  transparency.Code
	}{
		"all honest":                        {map[string]time.Duration{w1: -3 * h, w2: -2 * h, w3: -h}, -2 * h, ""},
		"two, one liar in the past":         {map[string]time.Duration{w1: 0, w2: -year}, 0, ""},
		"two, the other liar":               {map[string]time.Duration{w1: -year, w3: 0}, 0, ""},
		"three, one liar in the past":       {map[string]time.Duration{w1: -h, w2: -year, w3: 0}, -h, ""},
		"three, one liar in the future":     {map[string]time.Duration{w1: -h, w2: year, w3: -2 * h}, -h, ""},
		"two, one liar in the near future":  {map[string]time.Duration{w1: -year, w2: time.Minute}, time.Minute, ""},
		"two, one liar in the future":       {map[string]time.Duration{w1: -h, w2: time.Minute + time.Second}, 0, transparency.CodeWitness},
		"three, two liars in the future":    {map[string]time.Duration{w1: -h, w2: year, w3: year}, 0, transparency.CodeWitness},
		"three, one liar past and one late": {map[string]time.Duration{w1: -year, w2: -h, w3: year}, -h, ""},
		"one witness":                       {map[string]time.Duration{w1: -h}, 0, transparency.CodeWitness},
		"none":                              {nil, 0, transparency.CodeWitness},
	} {
		t.Run("AT-49 "+name, func(t *testing.T) {
			n := signed(t, 5)
			for who, d := range c.times {
				n = cosign(t, n, who, noon.Add(d))
			}
			at, err := transparency.PublicSince(n, trust(t).Witnesses, 2, latest)
			if c.code != "" {
				wantCode(t, err, c.code)
				if !at.IsZero() {
					t.Errorf("a refusal with a time, %v", at)
				}
				if err != nil && len(c.times) > 1 && !strings.Contains(err.Error(), w2) && !strings.Contains(err.Error(), w3) {
					t.Errorf("%v does not name who is in the future", err)
				}
				return
			}
			if err != nil || !at.Equal(noon.Add(c.want)) {
				t.Errorf("%v %v, want %v", at, err, noon.Add(c.want))
			}
		})
	}
	t.Run("AT-49 one of a witness's two keys forged", func(t *testing.T) {
		second, err := transparency.NewCosigner(w1, key("second key of w1"))
		if err != nil {
			t.Fatal(err)
		}
		n, err := second.Cosign(cosign(t, signed(t, 5), w1, noon.Add(-year)), noon)
		if err != nil {
			t.Fatal(err)
		}
		at, err := transparency.PublicSince(n, []string{witness(t, w1).VKey(), second.VKey()}, 1, latest)
		if err != nil || !at.Equal(noon) {
			t.Errorf("%v %v", at, err)
		}
	})
	for _, quorum := range []int{0, -1, 4} {
		wantCode(t, second(transparency.PublicSince(good(t, 5), trust(t).Witnesses, quorum, latest)), transparency.CodeTrust)
	}
	wantCode(t, second(transparency.PublicSince([]byte("x"), trust(t).Witnesses, 2, latest)), transparency.CodeFormat)
}

func TestCheckpointOfOthers(t *testing.T) {
	root, _ := tree(t, 5).Root(5)
	other := signer(t, "other.example").Sign(5, root)
	other = cosign(t, cosign(t, other, "w1.example", noon), "w2.example", noon)
	wantCode(t, second(trust(t).ParseCheckpoint(other)), transparency.CodeOrigin)
	impostor, err := transparency.NewSigner(origin, key("impostor"))
	if err != nil {
		t.Fatal(err)
	}
	n := cosign(t, cosign(t, impostor.Sign(5, root), "w1.example", noon), "w2.example", noon)
	wantCode(t, second(trust(t).ParseCheckpoint(n)), transparency.CodeSignature)
}

func TestSpellings(t *testing.T) {
	n := string(good(t, 5))
	for name, edit := range map[string]string{
		"empty":              "",
		"text only":          n[:strings.Index(n, "\n\n")+1],
		"no final newline":   strings.TrimSuffix(n, "\n"),
		"carriage return":    strings.Replace(n, "\n", "\r\n", 1),
		"leading zero":       strings.Replace(n, "\n5\n", "\n05\n", 1),
		"plus sign":          strings.Replace(n, "\n5\n", "\n+5\n", 1),
		"huge size":          strings.Replace(n, "\n5\n", "\n18446744073709551615\n", 1),
		"extension line":     strings.Replace(n, "\n\n", "\nextension\n\n", 1),
		"hyphen for em dash": strings.Replace(n, "—", "-", 1),
		"slack in base64":    strings.Replace(n, "=\n\n", "=\n=\n\n", 1),
		"nul":                strings.Replace(n, origin, origin+"\x00", 1),
		"invalid UTF-8":      strings.Replace(n, origin, origin+"\xff", 1),
		"too many":           n + strings.Repeat("— x AAAAAAAA\n", 20),
		"too large":          n + strings.Repeat("x", transparency.MaxNoteSize),
	} {
		t.Run(name, func(t *testing.T) {
			wantCode(t, second(trust(t).ParseCheckpoint([]byte(edit))), transparency.CodeFormat)
		})
	}
}

func TestInclusion(t *testing.T) {
	for n := 1; n <= 9; n++ {
		c := checkpoint(t, n)
		for i := range n {
			proof, err := tree(t, n).Prove(uint64(i), uint64(n))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.CheckInclusion([]byte{byte(i)}, uint64(i), proof); err != nil {
				t.Errorf("%d of %d: %v", i, n, err)
			}
			wantCode(t, c.CheckInclusion([]byte{byte(i + 1)}, uint64(i), proof), transparency.CodeInclusion)
			wantCode(t, c.CheckInclusion([]byte{byte(i)}, uint64(i+1), proof), transparency.CodeInclusion)
			wantCode(t, c.CheckInclusion([]byte{byte(i)}, uint64(i), append(proof, [32]byte{})), transparency.CodeInclusion)
			if len(proof) > 0 { // AT-46: hashes cut
				wantCode(t, c.CheckInclusion([]byte{byte(i)}, uint64(i), proof[1:]), transparency.CodeInclusion)
			}
		}
	}
	wantCode(t, checkpoint(t, 5).CheckInclusion([]byte{0}, 1<<63, nil), transparency.CodeInclusion)
}

// AT-52: a wrong clock is named, with its offset.
func TestAT52(t *testing.T) {
	c := checkpoint(t, 5)
	for _, off := range []time.Duration{-2 * time.Hour, -56 * 365 * 24 * time.Hour} {
		_, err := c.Age(noon.Add(off))
		wantCode(t, err, transparency.CodeClockSkew)
		if err == nil || !strings.Contains(err.Error(), (-off).String()) {
			t.Errorf("offset %v not named: %v", off, err)
		}
		wantCode(t, c.CheckAge(noon.Add(off), time.Hour), transparency.CodeClockSkew)
	}
	if age, err := c.Age(noon.Add(-transparency.MaxClockSkew)); err != nil || age != 0 {
		t.Errorf("at the edge: %v, %v", age, err)
	}
	if age, err := c.Age(noon.Add(time.Minute)); err != nil || age != time.Minute {
		t.Errorf("a minute later: %v, %v", age, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func second[T any](_ T, err error) error { return err }
