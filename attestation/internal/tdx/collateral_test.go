// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// merged is what Intel's library makes of a platform's status when its module or
// quoting enclave is out of date (convergeTcbStatusWithQeTcbStatus and
// convergeTcbStatusWithTdxModuleStatus), written out.
var merged = map[tdx.Status]tdx.Status{
	tdx.UpToDate:                          tdx.OutOfDate,
	tdx.SWHardeningNeeded:                 tdx.OutOfDate,
	tdx.ConfigurationNeeded:               tdx.OutOfDateConfigurationNeeded,
	tdx.ConfigurationAndSWHardeningNeeded: tdx.OutOfDateConfigurationNeeded,
	tdx.OutOfDate:                         tdx.OutOfDate,
	tdx.OutOfDateConfigurationNeeded:      tdx.OutOfDateConfigurationNeeded,
	tdx.Revoked:                           tdx.Revoked,
}

func TestStatus(t *testing.T) {
	good := newFixture(t)
	t.Run("AT-59", func(t *testing.T) {
		parts := []tdx.Status{tdx.UpToDate, tdx.OutOfDate, tdx.Revoked}
		for platform, outOfDate := range merged {
			for _, module := range parts {
				for _, qe := range parts {
					want := platform
					switch {
					case module == tdx.Revoked || qe == tdx.Revoked:
						want = tdx.Revoked
					case module == tdx.OutOfDate || qe == tdx.OutOfDate:
						want = outOfDate
					}
					t.Run(fmt.Sprintf("%s, module %s, QE %s", platform, module, qe), func(t *testing.T) {
						f := good.with(t, func(f *fixture) {
							f.c = f.collateral(faketdx.CollateralSpec{Status: platform, ModuleStatus: module, QEStatus: qe})
						})
						checkStatus(t, f, want)
					})
				}
			}
		}
		levels(t, good)
	})
}

// checkStatus holds that evidence of a status passes exactly if it is up to date
// or in a grace that names it.
func checkStatus(t *testing.T, f *fixture, want tdx.Status) {
	t.Helper()
	g, err := f.verify()
	if err != nil {
		t.Fatal(err)
	}
	if g.Status != want {
		t.Fatalf("%s, want %s", g.Status, want)
	}
	refused, graced := refuse.TDXStatus, refuse.Code("")
	switch want {
	case tdx.UpToDate:
		refused = ""
	case tdx.Revoked, tdx.NotSupported:
		graced = refuse.TDXStatus
	}
	for _, v := range []struct {
		name   string
		status tdx.Status
		until  time.Time
		want   refuse.Code
	}{
		{"none", "", f.now, refused},
		{"of this status, until now", want, f.now, graced},
		{"of this status, over", want, f.now.Add(-time.Nanosecond), refused},
		{"of this status, without a date", want, time.Time{}, refused},
		{"of this status, later", want, f.now.AddDate(0, 1, 0), graced},
	} {
		l := f.limits
		l.Graces = []tdx.Grace{{Status: tdx.UpToDate, Until: v.until}, {Status: v.status, Until: v.until}}
		if err := g.Check(&l); code(err) != v.want {
			t.Errorf("grace %s: %v, want %q", v.name, err, v.want)
		}
		used, ok := g.Grace(&l)
		if needed := want != tdx.UpToDate && v.want == ""; ok != needed || ok && (used.Status != want || !used.Until.Equal(v.until)) {
			t.Errorf("grace %s: reported %v %t", v.name, used, ok)
		}
	}
	for _, other := range tdx.Statuses() { // a grace for one status is none for another
		l := f.limits
		l.Graces = []tdx.Grace{{Status: other, Until: f.now.AddDate(1, 0, 0)}}
		if err := g.Check(&l); other != want && code(err) != refused {
			t.Errorf("grace for %s: %v, want %q", other, err, refused)
		}
	}
}

// levels has platforms between and below the levels, component by component.
func levels(t *testing.T, good *fixture) {
	platform := func(s faketdx.PlatformSpec, q faketdx.QuoteSpec) func(*fixture) {
		return func(f *fixture) {
			s.Name = "a"
			f.platform = f.newPlatform(s)
			f.quote = f.newQuote(q)
		}
	}
	status := func(name string, want tdx.Status, change func(*fixture)) {
		t.Run(name, func(t *testing.T) { checkStatus(t, good.with(t, change), want) })
	}
	for i, v := range faketdx.LabSVN {
		svn := faketdx.LabSVN
		if svn[i] = v + 1; v < 255 {
			status(fmt.Sprintf("SGX component %d higher", i), tdx.UpToDate, platform(faketdx.PlatformSpec{SVN: svn}, faketdx.QuoteSpec{}))
		}
		if v == 0 {
			continue
		}
		svn[i] = v - 1
		want := tdx.OutOfDate
		if lowest := [16]byte{3, 3, 2, 2, 2, 1, 0, 2}; svn[i] < lowest[i] {
			want = tdx.NotSupported
		}
		status(fmt.Sprintf("SGX component %d lower", i), want, platform(faketdx.PlatformSpec{SVN: svn}, faketdx.QuoteSpec{}))
	}
	status("PCESVN lower", tdx.OutOfDate, platform(faketdx.PlatformSpec{PCESVN: 10}, faketdx.QuoteSpec{}))
	status("PCESVN lowest", tdx.OutOfDate, platform(faketdx.PlatformSpec{PCESVN: 5}, faketdx.QuoteSpec{}))
	status("PCESVN below all", tdx.NotSupported, platform(faketdx.PlatformSpec{PCESVN: 4}, faketdx.QuoteSpec{}))
	tee := func(v ...byte) (svn [16]byte) { copy(svn[:], v); return svn }
	none := faketdx.PlatformSpec{}
	status("module older", tdx.OutOfDate, platform(none, faketdx.QuoteSpec{TEESVN: tee(3, 1, 7)}))
	status("module below all", tdx.NotSupported, platform(none, faketdx.QuoteSpec{TEESVN: tee(1, 1, 7)}))
	status("microcode older", tdx.OutOfDate, platform(none, faketdx.QuoteSpec{TEESVN: tee(4, 1, 6)}))
	status("old module of version 0", tdx.OutOfDate, platform(none, faketdx.QuoteSpec{TEESVN: tee(3, 0, 7)}))
	status("older module of version 0", tdx.NotSupported, platform(none, faketdx.QuoteSpec{TEESVN: tee(2, 0, 7)}))
	v15 := func(then, now [16]byte) func(*fixture) {
		return platform(none, faketdx.QuoteSpec{Version: 5, TDX15: true, TEESVN: then, TEESVN2: now})
	}
	status("launched under old firmware", tdx.OutOfDate, v15(tee(3, 1, 7), tee(4, 1, 7)))
	status("firmware older than at launch", tdx.OutOfDate, v15(tee(4, 1, 7), tee(4, 1, 6)))
	status("module older than at launch", tdx.OutOfDate, v15(tee(4, 1, 7), tee(2, 1, 7)))
	status("module now below all", tdx.NotSupported, v15(tee(4, 1, 7), tee(1, 1, 7)))
	qe := func(svn uint16) func(*fixture) {
		return func(f *fixture) {
			f.quote = f.newQuote(faketdx.QuoteSpec{TamperQE: func(e *tdx.EnclaveReport) { e.SVN = svn }})
		}
	}
	status("QE newer", tdx.UpToDate, qe(9))
	status("QE older", tdx.OutOfDate, qe(7))
	status("QE below all", tdx.NotSupported, qe(3))
}

func TestConverge(t *testing.T) {
	for a, want := range merged {
		if got := tdx.Converge(a, tdx.OutOfDate); got != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
		if tdx.Converge(a) != a || tdx.Converge(a, a) != a || tdx.Converge(tdx.UpToDate, a) != a {
			t.Errorf("%s changes by itself", a)
		}
	}
	if got := tdx.Converge(tdx.ConfigurationNeeded, tdx.SWHardeningNeeded); got != tdx.ConfigurationAndSWHardeningNeeded {
		t.Error(got)
	}
	if tdx.Converge() != tdx.NotSupported || tdx.Converge("Excellent") != tdx.NotSupported || tdx.Converge(tdx.NotSupported, tdx.Revoked) != tdx.Revoked {
		t.Error("nothing, or what is no status, passes")
	}
}

func TestCollateral(t *testing.T) {
	good := newFixture(t)
	t.Run("AT-60", func(t *testing.T) {
		t.Run("dates", func(t *testing.T) { dates(t, good) })
		t.Run("pieces", func(t *testing.T) { pieces(t, good) })
		t.Run("revocation", func(t *testing.T) { revocation(t, good) })
		t.Run("documents", func(t *testing.T) { documents(t, good) })
		t.Run("enclaves", func(t *testing.T) { enclaves(t, good) })
		t.Run("signers", func(t *testing.T) { signers(t, good) })
		t.Run("versions", func(t *testing.T) { versions(t, good) })
	})
}

func mint(s faketdx.CollateralSpec) func(*fixture) {
	return func(f *fixture) { f.c = f.collateral(s) }
}

// dates has every piece early, at its edges and late.
func dates(t *testing.T, good *fixture) {
	now := good.now
	fresh := good.c
	for name, p := range map[string]struct {
		put  func(c *tdx.Collateral, from tdx.Collateral)
		want refuse.Code
	}{
		"TCB info":    {func(c *tdx.Collateral, from tdx.Collateral) { c.TCBInfo = from.TCBInfo }, refuse.TDXCollateral},
		"QE identity": {func(c *tdx.Collateral, from tdx.Collateral) { c.QEIdentity = from.QEIdentity }, refuse.TDXCollateral},
		"PCK CRL":     {func(c *tdx.Collateral, from tdx.Collateral) { c.PCKCRL = from.PCKCRL }, refuse.CRL},
		"root CRL":    {func(c *tdx.Collateral, from tdx.Collateral) { c.RootCRL = from.RootCRL }, refuse.CRL},
	} {
		at := func(issued, next time.Time, grace time.Duration) func(*fixture) {
			return func(f *fixture) {
				f.c = fresh
				p.put(&f.c, f.collateral(faketdx.CollateralSpec{Issued: issued, Next: next}))
				f.grace = grace
			}
		}
		day, s := 24*time.Hour, time.Second
		run(t, good, []variant{
			{name + " issued now", at(now, now.Add(day), 0), ""},
			{name + " from the future", at(now.Add(s), now.Add(day), day), p.want},
			{name + " in its last second", at(now.Add(-day), now, 0), ""},
			{name + " expired", at(now.Add(-day), now.Add(-s), 0), p.want},
			{name + " at the end of its grace", at(now.Add(-day), now.Add(-s), s), ""},
			{name + " after its grace", at(now.Add(-day), now.Add(-2*s), s), p.want},
		})
	}
	run(t, good, []variant{
		{"tcbEvaluationDataNumber lower", mint(faketdx.CollateralSpec{Evaluation: faketdx.Evaluation - 1}), refuse.TDXCollateral},
		{"tcbEvaluationDataNumber higher", mint(faketdx.CollateralSpec{Evaluation: faketdx.Evaluation + 1}), ""},
		{"of the QE identity lower", mint(faketdx.CollateralSpec{TamperQEIdentity: func(d map[string]any) { d["tcbEvaluationDataNumber"] = 16 }}), refuse.TDXCollateral},
	})
}

// parts returns the pieces of collateral by name.
func parts(c *tdx.Collateral) map[string]*[]byte {
	return map[string]*[]byte{"TCBInfo": &c.TCBInfo, "TCBIssuers": &c.TCBIssuers, "QEIdentity": &c.QEIdentity, "QEIssuers": &c.QEIssuers,
		"PCKCRL": &c.PCKCRL, "PCKCRLIssuers": &c.PCKCRLIssuers, "RootCRL": &c.RootCRL}
}

// pieces leaves each piece out, doubles, cuts and extends it, takes that of
// another root, and swaps each with each.
func pieces(t *testing.T, good *fixture) {
	other := newFixture(t)
	refused := func(name string, c tdx.Collateral, want ...refuse.Code) {
		t.Helper()
		f := good.with(t, func(f *fixture) { f.c = c })
		if err := f.judge(); !slices.Contains(want, code(err)) {
			t.Errorf("%s: %v, want one of %q", name, err, want)
		}
	}
	for name, piece := range parts(&good.c) {
		codes := []refuse.Code{refuse.TDXCollateral}
		if strings.Contains(name, "CRL") {
			codes[0] = refuse.CRL
		}
		change := func(b []byte) tdx.Collateral {
			c := good.c
			*parts(&c)[name] = b
			return c
		}
		refused(name+" missing", change(nil), codes...)
		refused(name+" cut", change((*piece)[:len(*piece)-2]), codes...)
		refused(name+" twice", change(slices.Concat(*piece, *piece)), codes...)
		refused(name+" and a byte", change(append(bytes.Clone(*piece), 'x')), codes...)
		refused(name+" and a newline more", change(append(bytes.Clone(*piece), '\n', '\n')), codes...)
		refused(name+" of another root", change(*parts(&other.c)[name]), append(codes, refuse.Revoked)...)
		for peer, b := range parts(&good.c) {
			if !bytes.Equal(*b, *piece) {
				c := change(*b)
				*parts(&c)[peer] = *piece
				refused(name+" for "+peer, c, refuse.TDXCollateral, refuse.CRL)
			}
		}
	}
	// What is accepted besides the service's exact bytes.
	run(t, good, []variant{
		{"newline after a document", func(f *fixture) { f.c.TCBInfo = append(bytes.Clone(f.c.TCBInfo), '\n') }, ""},
		{"no newline after a chain", func(f *fixture) { f.c.TCBIssuers = bytes.TrimSpace(f.c.TCBIssuers) }, ""},
	})
}

func revocation(t *testing.T, good *fixture) {
	rootKey, caKey, _ := good.root.Keys()
	list := func(change func(*x509.RevocationList)) *x509.RevocationList {
		l := &x509.RevocationList{Number: big.NewInt(2), ThisUpdate: good.now.Add(-time.Hour), NextUpdate: good.now.Add(time.Hour)}
		change(l)
		return l
	}
	pckCRL := func(change func(*x509.RevocationList)) func(*fixture) {
		return func(f *fixture) {
			f.c.PCKCRL = must(x509.CreateRevocationList(rand.Reader, list(change), f.root.CA(), caKey))
		}
	}
	run(t, good, []variant{
		{"PCK", mint(faketdx.CollateralSpec{RevokePCK: true}), refuse.Revoked},
		{"intermediate", mint(faketdx.CollateralSpec{RevokeCA: true}), refuse.Revoked},
		{"TCB signing certificate", mint(faketdx.CollateralSpec{RevokeSigner: true}), refuse.Revoked},
		{"somebody else", pckCRL(func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: big.NewInt(7), RevocationTime: good.now}}
		}), ""},
		{"PCK among others", pckCRL(func(l *x509.RevocationList) {
			for i := range int64(100) {
				l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(i + 1), RevocationTime: good.now})
			}
			l.RevokedCertificateEntries[50].SerialNumber = good.platform.Cert.SerialNumber
		}), refuse.Revoked},
		{"list of changes only", pckCRL(func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}
		}), refuse.CRL},
		{"list by the root in place of the authority", func(f *fixture) {
			f.c.PCKCRL = must(x509.CreateRevocationList(rand.Reader, list(func(*x509.RevocationList) {}), f.root.Certs()[0], rootKey))
		}, refuse.CRL},
		{"root list by the authority", func(f *fixture) {
			f.c.RootCRL = must(x509.CreateRevocationList(rand.Reader, list(func(*x509.RevocationList) {}), f.root.CA(), caKey))
		}, refuse.CRL},
		{"list in the root's name by another key", func(f *fixture) {
			fake := *f.root.Certs()[0]
			fake.PublicKey = &caKey.PublicKey
			f.c.RootCRL = must(x509.CreateRevocationList(rand.Reader, list(func(*x509.RevocationList) {}), &fake, caKey))
		}, refuse.CRL},
		{"in PEM", func(f *fixture) { f.c.RootCRL = pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: f.c.RootCRL}) }, refuse.CRL},
		{"issuers without the root", func(f *fixture) {
			f.c.PCKCRLIssuers = relist(f.c.PCKCRLIssuers, func(c [][]byte) [][]byte { return c[:1] })
		}, refuse.CRL},
		{"issuers of documents", func(f *fixture) { f.c.PCKCRLIssuers = f.c.TCBIssuers }, refuse.CRL},
	})
}

// set returns a change of one member of the TCB info.
func set(member string, v any) func(*fixture) {
	return mint(faketdx.CollateralSpec{TamperTCBInfo: func(d map[string]any) { d[member] = v }})
}

func setQE(member string, v any) func(*fixture) {
	return mint(faketdx.CollateralSpec{TamperQEIdentity: func(d map[string]any) { d[member] = v }})
}

func level(change func(l map[string]any)) func(*fixture) {
	return mint(faketdx.CollateralSpec{TamperTCBInfo: func(d map[string]any) { change(d["tcbLevels"].([]any)[0].(map[string]any)) }})
}

// documents has what Intel would have signed by mistake, or for something else.
func documents(t *testing.T, good *fixture) {
	module := func(member string, v any) func(*fixture) {
		return mint(faketdx.CollateralSpec{TamperTCBInfo: func(d map[string]any) {
			d["tdxModuleIdentities"].([]any)[0].(map[string]any)[member] = v
		}})
	}
	edit := func(old, new string) func(*fixture) {
		return mint(faketdx.CollateralSpec{EditTCBInfo: func(b []byte) []byte {
			if !bytes.Contains(b, []byte(old)) {
				t.Fatalf("no %s in the document", old)
			}
			return bytes.Replace(b, []byte(old), []byte(new), 1)
		}})
	}
	c := refuse.TDXCollateral
	run(t, good, []variant{
		{"for SGX", set("id", "SGX"), c},
		{"of version 2", set("version", 2), c},
		{"of another type", set("tcbType", 1), c},
		{"without type", set("tcbType", nil), c},
		{"FMSPC of another platform", set("fmspc", "00806F050000"), c},
		{"FMSPC cut", set("fmspc", "5110"), c},
		{"PCE of another platform", set("pceId", "0001"), c},
		{"no module", set("tdxModule", nil), c},
		{"no levels", set("tcbLevels", []any{}), c},
		{"no evaluation number", set("tcbEvaluationDataNumber", 0), c},
		{"not a date", set("nextUpdate", "tomorrow"), c},
		{"an unknown status", level(func(l map[string]any) { l["tcbStatus"] = "Excellent" }), c},
		{"our own status", level(func(l map[string]any) { l["tcbStatus"] = "NotSupported" }), c},
		{"no status", level(func(l map[string]any) { delete(l, "tcbStatus") }), c},
		{"15 components", level(func(l map[string]any) {
			tcb := l["tcb"].(map[string]any)
			tcb["sgxtcbcomponents"] = tcb["sgxtcbcomponents"].([]any)[:15]
		}), c},
		{"component without SVN", level(func(l map[string]any) {
			l["tcb"].(map[string]any)["tdxtcbcomponents"].([]any)[2] = map[string]any{}
		}), c},
		{"no PCESVN", level(func(l map[string]any) { delete(l["tcb"].(map[string]any), "pcesvn") }), c},
		{"no identity of this module", module("id", "TDX_03"), refuse.TDXModule},
		{"identity in lower case", module("id", "tdx_01"), ""},
		{"module of another signer", module("mrsigner", strings.Repeat("01", 48)), refuse.TDXModule},
		{"module with attributes", module("attributes", "0100000000000000"), refuse.TDXModule},
		{"signer cut", module("mrsigner", "00"), c},
		{"module without levels", module("tcbLevels", []any{}), c},
		{"an unknown member", set("new", map[string]any{"a": []any{1}}), ""},
		{"a member twice", edit(`"id":"TDX"`, `"id":"TDX","id":"TDX"`), c},
		{"a member twice, in another case", edit(`"id":"TDX"`, `"ID":"TDX","id":"TDX"`), c},
		{"a member twice, in another alphabet", edit(`"version":3`, `"verſion":3,"version":3`), c},
		{"a member twice, inside", edit(`"pcesvn":11`, `"pcesvn":11,"PceSvn":0`), c},
		{"bytes after the object", edit(`"version":3}`, `"version":3}{}`), c},
		{"nested too deep", edit(`"version":3`, `"version":3,"x":`+strings.Repeat("[", 13)+strings.Repeat("]", 13)), c},
		{"cut", edit(`"version":3}`, `"version":3`), c},
	})
}

// enclaves has identities, enclaves and modules that do not belong together.
func enclaves(t *testing.T, good *fixture) {
	c := refuse.TDXCollateral
	run(t, good, []variant{
		{"identity of another enclave", setQE("id", "QE"), c},
		{"identity of version 3", setQE("version", 3), c},
		{"QE MRSIGNER", setQE("mrsigner", strings.Repeat("00", 32)), refuse.TDXQE},
		{"QE MRSIGNER missing", setQE("mrsigner", ""), c},
		{"QE product", setQE("isvprodid", 1), refuse.TDXQE},
		{"QE product missing", setQE("isvprodid", nil), c},
		{"QE attributes", setQE("attributes", "15"+strings.Repeat("00", 15)), refuse.TDXQE},
		{"QE attributes cut", setQE("attributes", "11"), c},
		{"QE MISCSELECT", setQE("miscselect", "01000000"), refuse.TDXQE},
		{"QE status unknown", mint(faketdx.CollateralSpec{QEStatus: "ConfigurationNeeded"}), c},
		{"QE levels missing", setQE("tcbLevels", []any{}), c},
	})
	enclave := func(change func(e *tdx.EnclaveReport)) func(*fixture) {
		return func(f *fixture) { f.quote = f.newQuote(faketdx.QuoteSpec{TamperQE: change}) }
	}
	run(t, good, []variant{
		{"enclave of another signer", enclave(func(e *tdx.EnclaveReport) { e.MRSigner[31] ^= 1 }), refuse.TDXQE},
		{"enclave of another product", enclave(func(e *tdx.EnclaveReport) { e.ProdID++ }), refuse.TDXQE},
		{"enclave with an attribute", enclave(func(e *tdx.EnclaveReport) { e.Attributes[7] = 0x80 }), refuse.TDXQE},
		{"enclave with an attribute under no mask", enclave(func(e *tdx.EnclaveReport) { e.Attributes[0] ^= 4; e.Attributes[15] = 1 }), ""},
		{"enclave with MISCSELECT", enclave(func(e *tdx.EnclaveReport) { e.MiscSelect = 1 }), refuse.TDXQE},
		{"module of a version without identity", tampered(faketdx.QuoteSpec{TEESVN: [16]byte{4, 2, 7}}, func(*tdx.Quote) {}), refuse.TDXModule},
		{"module that was updated to one", tampered(faketdx.QuoteSpec{Version: 5, TDX15: true, TEESVN2: [16]byte{4, 2, 7}}, func(*tdx.Quote) {}), refuse.TDXModule},
		{"module of another signer", tampered(faketdx.QuoteSpec{}, func(q *tdx.Quote) { q.MRSignerSEAM[0] = 1 }), refuse.TDXModule},
		{"module 0 of another signer", tampered(faketdx.QuoteSpec{TEESVN: [16]byte{4, 0, 7}}, func(q *tdx.Quote) { q.MRSignerSEAM[0] = 1 }), refuse.TDXModule},
	})
}
