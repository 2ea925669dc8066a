// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package ima

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakeima"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// code returns the code of a refusal, "" for no error.
func code(err error) string {
	var r *refuse.Error
	if errors.As(err, &r) {
		return string(r.Code)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// rulesFor allows what entries measure under their names.
func rulesFor(entries []fakeima.Entry) *Rules {
	r := &Rules{Files: map[string][]Digest{}}
	for name, digests := range fakeima.Files(entries) {
		for _, d := range digests {
			r.Files[name] = append(r.Files[name], Digest(d))
		}
	}
	return r
}

// verify is what a verifier does with a log from boot, given the quoted PCR 10.
func verify(b []byte, quoted [32]byte, pcrs [10][32]byte, r *Rules) ([]Verdict, error) {
	l, err := Parse(b)
	if err != nil {
		return nil, err
	}
	if err := l.CheckReplay([32]byte{}, quoted); err != nil {
		return nil, err
	}
	return l.Judge(r, BootAggregate(pcrs))
}

// growth judges entries that a log grew by.
func growth(t *testing.T, r *Rules, entries ...fakeima.Entry) string {
	t.Helper()
	l, err := Parse(fakeima.Log(entries))
	if err != nil {
		return code(err)
	}
	_, err = l.JudgeGrowth(r)
	return code(err)
}

func TestNode(t *testing.T) {
	pcrs := vectorPCRs()
	entries := fakeima.Node(pcrs)
	verdicts, err := verify(fakeima.Log(entries), fakeima.Register([32]byte{}, entries), pcrs, rulesFor(entries))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("G-23", func(t *testing.T) {
		if len(verdicts) != len(entries) {
			t.Fatalf("%d verdicts on %d entries", len(verdicts), len(entries))
		}
		for i, v := range verdicts {
			want := Allowed
			if i == 0 {
				want = Aggregate
			}
			if v.Index != i || v.Name != entries[i].Name || v.Status != want || !v.OK() || !strings.HasPrefix(string(v.Digest), "sha256:") {
				t.Errorf("verdict %d: %+v", i, v)
			}
		}
	})
	t.Run("G-22", func(t *testing.T) {
		weak := fakeima.Entry{PCR: PCR, Template: "ima-ng", Algorithm: "sha1", Digest: make([]byte, 20), Name: "/usr/bin/dd"}
		weak.Digest[0] = 1
		if got := growth(t, new(Rules), weak); got != "att.ima.entry" {
			t.Errorf("a SHA-1 file digest: %s", got)
		}
		pin := &Rules{Digests: []Digest{"sha1:0100000000000000000000000000000000000000"}}
		if got := growth(t, pin, weak); got != "att.policy" {
			t.Errorf("a rule that allows a SHA-1 digest: %s", got)
		}
		if _, err := Parse(fakeima.LegacyLog(entries)); code(err) != "att.ima.format" {
			t.Errorf("a list with SHA-1 template digests: %v", err)
		}
	})
	t.Run("G-24", func(t *testing.T) {
		with := append(slices.Clone(entries), fakeima.Module(), fakeima.File("/usr/bin/later", []byte("SIMULATED")))
		verdicts, err := verify(fakeima.Log(with), fakeima.Register([32]byte{}, with), pcrs, rulesFor(entries))
		if code(err) != "att.ima.entry" || !strings.Contains(err.Error(), "nf_nat.ko") || !strings.Contains(err.Error(), "sha256:") {
			t.Errorf("an unknown module: %v", err)
		}
		if n := len(entries); len(verdicts) != n+2 || verdicts[n].Status != Unknown || verdicts[n].OK() || verdicts[n+1].OK() || !verdicts[n-1].OK() {
			t.Errorf("verdicts %+v", verdicts[len(entries)-1:])
		}
	})
	t.Run("G-25", func(t *testing.T) {
		quoted := [32]byte{1}
		_, err := verify(fakeima.Log(entries), quoted, pcrs, rulesFor(entries))
		var r *refuse.Error
		if !errors.As(err, &r) || r.Want != fmt.Sprintf("%x", quoted) || r.Got != fmt.Sprintf("%x", fakeima.Register([32]byte{}, entries)) {
			t.Errorf("%+v", r)
		}
	})
}

// TestTamperings is AT-32 and its like for run time: the list lies, PCR 10 does not.
func TestTamperings(t *testing.T) {
	pcrs := vectorPCRs()
	entries := fakeima.Node(pcrs)
	rules := rulesFor(append(entries, fakeima.Module()))
	rules.AllowViolations = true
	for _, c := range fakeima.Tamperings() {
		t.Run("AT-32/"+c.Name, func(t *testing.T) {
			if _, err := verify(c.Forge(entries), fakeima.Register([32]byte{}, entries), pcrs, rules); code(err) != c.Code {
				t.Errorf("%v, want %s", err, c.Code)
			}
		})
	}
}

// TestJudge is about lists that are true, and say what a policy does not want.
func TestJudge(t *testing.T) {
	pcrs := vectorPCRs()
	node := fakeima.Node(pcrs)
	boot, module := node[0], fakeima.Module()
	other := pcrs
	other[8][0] ^= 1
	retyped := boot
	retyped.Template, retyped.Extra = "ima-sig", nil
	long := boot
	long.Algorithm, long.Digest = "sha384", make([]byte, 48)
	changed := fakeima.Changed("boot_aggregate")
	tampered := func(name string) fakeima.Entry { return fakeima.File(name, []byte("SIMULATED other content")) }
	any := &Rules{Digests: []Digest{Digest(fakeima.Files([]fakeima.Entry{module})[module.Name][0])}, Files: rulesFor(node).Files}
	tolerant := rulesFor(node)
	tolerant.AllowViolations = true
	for _, c := range []struct {
		row, name string
		rules     *Rules
		entries   []fakeima.Entry
		want      string
	}{
		{"AT-64", "everything as expected", rulesFor(node), node, ""},
		{"AT-64", "aggregate in ima-sig", new(Rules), []fakeima.Entry{retyped}, ""},
		{"AT-64", "module loaded", rulesFor(node), append(slices.Clone(node), module), "att.ima.entry"},
		{"AT-64", "module of a known digest", any, append(slices.Clone(node), module), ""},
		{"AT-64", "known module under another name", any, append(slices.Clone(node), fakeima.File("/tmp/x.ko", []byte("SIMULATED unknown module"))), ""},
		{"AT-64", "program replaced", rulesFor(node), append(slices.Clone(node), tampered("/usr/bin/sotto-node")), "att.ima.entry"},
		{"AT-64", "pinned name, digest known elsewhere", any, append(slices.Clone(node), fakeima.File("/usr/bin/sotto-node", []byte("SIMULATED unknown module"))), "att.ima.entry"},
		{"AT-64", "kexec: a second boot_aggregate", rulesFor(node), append(slices.Clone(node), boot), "att.ima.aggregate"},
		{"AT-64", "kexec: the next kernel's line", rulesFor(node), append(slices.Clone(node), fakeima.Buffer("kexec-cmdline", []byte("SIMULATED"))), "att.ima.entry"},
		{"AT-64", "violation", rulesFor(node), append(slices.Clone(node), fakeima.Changed("/usr/bin/sotto-node")), "att.ima.entry"},
		{"AT-64", "violation, allowed", tolerant, append(slices.Clone(node), fakeima.Changed("/usr/bin/sotto-node")), ""},
		{"G-21", "no entries", rulesFor(node), nil, "att.ima.aggregate"},
		{"G-21", "no boot_aggregate", rulesFor(node), node[1:], "att.ima.aggregate"},
		{"G-21", "not the first", rulesFor(node), []fakeima.Entry{node[1], boot}, "att.ima.aggregate"},
		{"G-21", "of another boot", rulesFor(node), append([]fakeima.Entry{fakeima.Boot(other)}, node[1:]...), "att.ima.aggregate"},
		{"G-21", "of another bank", rulesFor(node), append([]fakeima.Entry{long}, node[1:]...), "att.ima.aggregate"},
		{"G-21", "a violation", tolerant, append([]fakeima.Entry{changed}, node[1:]...), "att.ima.aggregate"},
		{"G-21", "a buffer", rulesFor(node), append([]fakeima.Entry{fakeima.Buffer("boot_aggregate", nil)}, node[1:]...), "att.ima.aggregate"},
		{"zero rules", "boot_aggregate alone", new(Rules), node[:1], ""},
		{"zero rules", "anything", new(Rules), node[:2], "att.ima.entry"},
		{"no rules", "boot_aggregate alone", nil, node[:1], "att.policy"},
		{"bad rules", "upper case", &Rules{Digests: []Digest{Digest("sha256:" + strings.Repeat("A", 64))}}, node[:1], "att.policy"},
		{"bad rules", "short", &Rules{Digests: []Digest{"sha256:00"}}, node[:1], "att.policy"},
		{"bad rules", "no algorithm", &Rules{Files: map[string][]Digest{"/x": {Digest(strings.Repeat("0", 64))}}}, node[:1], "att.policy"},
		{"bad rules", "empty", &Rules{Files: map[string][]Digest{"/x": {""}}}, node[:1], "att.policy"},
	} {
		t.Run(c.row+"/"+c.name, func(t *testing.T) {
			verdicts, err := verify(fakeima.Log(c.entries), fakeima.Register([32]byte{}, c.entries), pcrs, c.rules)
			if code(err) != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
			refused := slices.IndexFunc(verdicts, func(v Verdict) bool { return !v.OK() })
			if c.want != "att.policy" && len(verdicts) != len(c.entries) || (err == nil) != (refused < 0) && len(verdicts) > 0 {
				t.Errorf("verdicts do not go with %v: %+v", err, verdicts)
			}
		})
	}
}

func TestGrowth(t *testing.T) {
	pcrs := vectorPCRs()
	node := fakeima.Node(pcrs)
	quoted := fakeima.Register([32]byte{}, node[:4])
	later := fakeima.Register(quoted, node[4:])
	l, err := Parse(fakeima.Log(node[4:]))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.CheckReplay(quoted, later); err != nil {
		t.Error(err)
	}
	if err := l.CheckReplay([32]byte{}, later); code(err) != "att.ima.replay" {
		t.Errorf("from another start: %v", err)
	}
	if _, err := l.JudgeGrowth(rulesFor(node)); err != nil {
		t.Error(err)
	}
	if got := growth(t, rulesFor(node), node[0]); got != "att.ima.aggregate" {
		t.Errorf("boot_aggregate in what a log grew by: %s", got)
	}
	none, err := Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.JudgeGrowth(new(Rules)); err != nil || none.CheckReplay(quoted, quoted) != nil {
		t.Errorf("no growth: %v", err)
	}
}

func TestPrefix(t *testing.T) {
	node := fakeima.Node(vectorPCRs())
	l, err := Parse(fakeima.Log(node))
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(node) + 1 {
		size, ok := l.Prefix([32]byte{}, fakeima.Register([32]byte{}, node[:n]))
		if !ok || size != len(fakeima.Log(node[:n])) {
			t.Errorf("%d entries: %d bytes, %t", n, size, ok)
		}
	}
	if _, ok := l.Prefix([32]byte{}, [32]byte{1}); ok {
		t.Error("a value that the log does not lead to")
	}
}

func TestSigners(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signedBy := func(e fakeima.Entry, err error) fakeima.Entry {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	byRSA, byEC := signedBy(fakeima.Signed(fakeima.Module(), rsaKey)), signedBy(fakeima.Signed(fakeima.Module(), ecKey))
	moved := byEC
	moved.Digest = bytes.Repeat([]byte{7}, 32)
	buffer := fakeima.Buffer("x", byEC.Extra)
	pinned := &Rules{Signers: signers(t, ecKey.Public()), Files: map[string][]Digest{byEC.Name: {Digest("sha256:" + strings.Repeat("0", 64))}}}
	swapped := signers(t, rsaKey.Public(), ecKey.Public())
	for id := range swapped {
		swapped[id] = ecKey.Public()
	}
	for name, c := range map[string]struct {
		rules *Rules
		entry fakeima.Entry
		want  string
	}{
		"RSA":             {&Rules{Signers: signers(t, rsaKey.Public())}, byRSA, ""},
		"ECDSA":           {&Rules{Signers: signers(t, ecKey.Public())}, byEC, ""},
		"unknown signer":  {&Rules{Signers: signers(t, ecKey.Public())}, byRSA, "att.ima.entry"},
		"no signers":      {new(Rules), byEC, "att.ima.entry"},
		"another file":    {&Rules{Signers: signers(t, ecKey.Public())}, moved, "att.ima.entry"},
		"pinned name":     {pinned, byEC, "att.ima.entry"},
		"another key":     {&Rules{Signers: swapped}, byRSA, "att.ima.entry"},
		"buffer":          {&Rules{Signers: signers(t, ecKey.Public())}, buffer, "att.ima.entry"},
		"no signature":    {&Rules{Signers: signers(t, ecKey.Public())}, fakeima.Module(), "att.ima.entry"},
		"kind of key":     {&Rules{Signers: map[KeyID]crypto.PublicKey{KeyID(byEC.Extra[3:7]): "a string"}}, byEC, "att.ima.entry"},
		"empty signature": {&Rules{Signers: signers(t, ecKey.Public())}, fakeima.Entry{PCR: PCR, Template: "ima-sig", Algorithm: "sha256", Digest: byEC.Digest, Name: "/x"}, "att.ima.entry"},
	} {
		if got := growth(t, c.rules, c.entry); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := fakeima.File("/usr/bin/x", []byte("SIMULATED"))
	change := func(f func(e *fakeima.Entry)) []byte {
		e := good
		f(&e)
		return fakeima.Log([]fakeima.Entry{e})
	}
	one := fakeima.Log([]fakeima.Entry{good})
	for name, b := range map[string][]byte{
		"PCR 11":               change(func(e *fakeima.Entry) { e.PCR = 11 }),
		"PCR 2^32-1":           change(func(e *fakeima.Entry) { e.PCR = 1<<32 - 1 }),
		"template ima":         change(func(e *fakeima.Entry) { e.Template = "ima" }),
		"template ima-modsig":  change(func(e *fakeima.Entry) { e.Template = "ima-modsig" }),
		"template ima-ngv2":    change(func(e *fakeima.Entry) { e.Template = "ima-ngv2" }),
		"no template":          change(func(e *fakeima.Entry) { e.Template = "" }),
		"fields of another":    change(func(e *fakeima.Entry) { e.Template = "d-ng|n-ng" }),
		"no name":              change(func(e *fakeima.Entry) { e.Name = "" }),
		"NUL in the name":      change(func(e *fakeima.Entry) { e.Name = "/usr/bin/x\x00/tmp/y" }),
		"name too long":        change(func(e *fakeima.Entry) { e.Name = strings.Repeat("a", maxName) }),
		"unknown algorithm":    change(func(e *fakeima.Entry) { e.Algorithm = "md5" }),
		"no algorithm":         change(func(e *fakeima.Entry) { e.Algorithm = "" }),
		"digest too short":     change(func(e *fakeima.Entry) { e.Digest = e.Digest[:31] }),
		"digest too long":      change(func(e *fakeima.Entry) { e.Digest = append(bytes.Clone(e.Digest), 0) }),
		"no digest":            change(func(e *fakeima.Entry) { e.Digest = nil }),
		"buffer of another":    change(func(e *fakeima.Entry) { e.Template, e.Extra = "ima-buf", []byte("friendly") }),
		"violation, digest":    change(func(e *fakeima.Entry) { e.Violation = true }),
		"violation, signature": change(func(e *fakeima.Entry) { *e = fakeima.Changed("/x"); e.Template, e.Extra = "ima-sig", []byte{3} }),
		"more bytes":           append(bytes.Clone(one), 0),
		"length of 4 GiB":      append(bytes.Clone(one[:36]), 0xff, 0xff, 0xff, 0xff),
		"data length of 4 GiB": append(bytes.Clone(one[:46]), 0xff, 0xff, 0xff, 0xff),
	} {
		if l, err := Parse(b); code(err) != "att.ima.format" || l != nil {
			t.Errorf("%s: %v", name, err)
		} else if strings.HasPrefix(name, "template") && !strings.Contains(err.Error(), "unknown template") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := 1; n < len(one); n++ {
		if _, err := Parse(one[:n]); code(err) != "att.ima.format" {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	if _, err := Parse(make([]byte, MaxSize+1)); code(err) != "att.size" {
		t.Errorf("a log over the cap: %v", err)
	}
	tiny := fakeima.Log([]fakeima.Entry{fakeima.Changed("x")})
	if _, err := Parse(bytes.Repeat(tiny, MaxEntries)); err != nil {
		t.Errorf("as many entries as there may be: %v", err)
	}
	if _, err := Parse(bytes.Repeat(tiny, MaxEntries+1)); code(err) != "att.size" {
		t.Errorf("an entry too many: %v", err)
	}
}

func TestConvert(t *testing.T) {
	entries := append(fakeima.Node(vectorPCRs()), fakeima.Changed("/x"))
	for name, b := range map[string][]byte{"SHA-256": fakeima.Log(entries), "SHA-1": fakeima.LegacyLog(entries)} {
		if got, err := Convert(b); err != nil || !bytes.Equal(got, fakeima.Log(entries)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	friendly := bytes.Replace(fakeima.LegacyLog(entries), []byte("sotto-node"), []byte("sotto-nodE"), 1)
	if _, err := Convert(friendly); code(err) != "att.ima.format" {
		t.Errorf("a friendly name: %v", err)
	}
	big := fakeima.LegacyLog([]fakeima.Entry{fakeima.Buffer("x", make([]byte, MaxSize-100))})
	if _, err := Convert(big); code(err) != "att.size" {
		t.Errorf("a list that is over the cap when converted (%d): %v", len(big), err)
	}
	var none [4]byte
	binary.LittleEndian.PutUint32(none[:], PCR)
	if _, err := Convert(none[:]); code(err) != "att.ima.format" {
		t.Errorf("not a list: %v", err)
	}
}
