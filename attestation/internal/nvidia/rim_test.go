// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/internal/nvidia"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// replace changes manifests before they are signed, or after.
func replace(what, old, by string) fakegpu.Spec {
	return fakegpu.Spec{NoTokens: true, RIM: replacer(what, old, by)}
}

func resign(what, old, by string) fakegpu.Spec {
	return fakegpu.Spec{NoTokens: true, Signed: replacer(what, old, by)}
}

func replacer(what, old, by string) func(string, string) string {
	return func(w, xml string) string {
		if w != what {
			return xml
		}
		if !strings.Contains(xml, old) {
			panic("nothing to replace: " + old)
		}
		return strings.Replace(xml, old, by, 1)
	}
}

const entry = `<ns0:Resource type="Measurement" index="0" active="True"`

// manifestCases are manifests that are not what they should be.
var manifestCases = map[string]bad{
	// Signed by the right signer, and still not what it should be.
	"another driver":           {replace("driver", fakegpu.Driver, "535.00"), refuse.GPURIM, "535.00"},
	"another VBIOS":            {replace("vbios", fakegpu.VBIOS, "96.00.5E.00.01"), refuse.GPURIM, "96.00.5E"},
	"another chip":             {replace("vbios", `product="GH100"`, `product="GB100"`), refuse.GPURIM, "GB100"},
	"no version":               {replace("driver", ` colloquialVersion="`+fakegpu.Driver+`"`, ""), refuse.GPURIM, "no version"},
	"index twice":              {replace("vbios", `index="1"`, `index="0"`), refuse.GPURIM, "index 0"},
	"index in both":            {replace("driver", `index="0" active="False"`, `index="0" active="True"`), refuse.GPURIM, "both state"},
	"index negative":           {replace("vbios", `index="0"`, `index="-1"`), refuse.GPURIM, "malformed"},
	"index spelled otherwise":  {replace("vbios", `index="1"`, `index="01"`), refuse.GPURIM, "malformed"},
	"nothing active":           {fakegpu.Spec{RIM: func(_, x string) string { return strings.ReplaceAll(x, `"True"`, `"False"`) }}, refuse.GPURIM, "compares nothing"},
	"active is something else": {replace("vbios", `active="True"`, `active="true"`), refuse.GPURIM, "malformed"},
	"no alternatives":          {replace("vbios", `alternatives="1"`, `alternatives="0"`), refuse.GPURIM, "malformed"},
	"alternatives left out":    {replace("vbios", `alternatives="2"`, `alternatives="3"`), refuse.GPURIM, "malformed"},
	"alternatives not counted": {replace("vbios", `alternatives="2"`, `alternatives="1"`), refuse.GPURIM, "malformed"},
	"hash in capitals":         {replace("vbios", `ns2:Hash0="`, `ns2:Hash0="A`), refuse.GPURIM, "malformed"},
	"hash of another kind":     {replace("vbios", `xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384"`, `xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha256"`), refuse.GPURIM, "malformed"},
	"another kind of entry":    {replace("vbios", entry, strings.Replace(entry, "Measurement", "MinSVN", 1)), refuse.GPURIM, "not known"},
	"a condition":              {replace("vbios", entry, entry+` unless="Tuesday"`), refuse.GPURIM, "not known"},
	"another element":          {replace("vbios", "    <ns0:Payload", "    <ns0:Link/>\n    <ns0:Payload"), refuse.GPURIM, "SWID"},
	"text":                     {replace("vbios", "    <ns0:Payload", "    x<ns0:Payload"), refuse.GPURIM, "SWID"},
	"another root": {fakegpu.Spec{RIM: func(_, x string) string {
		return strings.Replace(x, "sha384\" corpus", "sha384\" xmlns:x=\"urn:x\" corpus", 1)
	}}, refuse.GPURIM, "not signed"},
	// Changed after it was signed.
	"golden value changed":     {resign("vbios", `index="0" active="True"`, `index="0" active="False"`), refuse.GPURIM, "digest"},
	"white space added":        {resign("vbios", "    <ns0:Payload", "     <ns0:Payload"), refuse.GPURIM, "digest"},
	"text after the signature": {resign("vbios", "</ds:Signature>", "</ds:Signature>\n"), refuse.GPURIM, "SWID"},
	"signature first":          {resign("vbios", "</ns0:Payload>\n<ds:Signature", "</ns0:Payload><x/>\n<ds:Signature"), refuse.GPURIM, "SWID"},
	"digest algorithm":         {resign("driver", "xmldsig-more#sha384", "xmlenc#sha256"), refuse.GPURIM, "another kind"},
	"signature algorithm":      {resign("driver", "ecdsa-sha384", "hmac-sha384"), refuse.GPURIM, "another kind"},
	"canonicalisation":         {resign("driver", "2006/12/xml-c14n11", "2001/10/xml-exc-c14n#"), refuse.GPURIM, "another kind"},
	"comments counted":         {resign("driver", "xml-c14n11", "xml-c14n11#WithComments"), refuse.GPURIM, "another kind"},
	"transform left out":       {resign("driver", `<ds:Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"/>`, ""), refuse.GPURIM, "another kind"},
	"an XPath transform":       {resign("driver", `<ds:Transforms>`, `<ds:Transforms><ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"/>`), refuse.GPURIM, "another kind"},
	"reference to a part":      {resign("driver", `URI=""`, `URI="#Payload"`), refuse.GPURIM, "another kind"},
	"reference to elsewhere":   {resign("driver", `URI=""`, `URI="http://example.org/"`), refuse.GPURIM, "another kind"},
	"two references":           {resign("driver", `</ds:Reference>`, `</ds:Reference><ds:Reference URI=""/>`), refuse.GPURIM, "another kind"},
	"key instead of a chain":   {resign("driver", `<ds:X509Data>`, `<ds:KeyName>a</ds:KeyName><ds:X509Data>`), refuse.GPURIM, "certificates"},
	"two signatures":           {resign("driver", `<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">`, `<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/><ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">`), refuse.GPURIM, "SWID"},
	"an object":                {resign("driver", `</ds:Signature>`, `<ds:Object/></ds:Signature>`), refuse.GPURIM, "malformed"},
	"wrapped":                  {fakegpu.Spec{Signed: func(_, x string) string { return "<a>" + strings.TrimSuffix(x, "\n") + "</a>" }}, refuse.GPURIM, "SWID"},
	"signed content wrapped":   {fakegpu.Spec{Signed: wrap}, refuse.GPURIM, ""},
}

func TestManifest(t *testing.T) {
	t.Run("AT-56", func(t *testing.T) { runBad(t, manifestCases) })
	t.Run("AT-56 left out", func(t *testing.T) {
		refused(t, judge(mint(t, fakegpu.Spec{NoManifests: true}), limits()), refuse.GPURIM, "no manifest")
		b := mint(t, fakegpu.Spec{Final: func(e *nvidia.Evidence) { e.Devices[0].VBIOS, e.Manifests = 0xff, e.Manifests[:1] }})
		refused(t, judge(b, limits()), refuse.GPURIM, "no manifest")
		b = mint(t, fakegpu.Spec{Final: func(e *nvidia.Evidence) {
			e.Devices[0].Driver, e.Devices[0].VBIOS, e.Manifests = 0xff, 0, e.Manifests[1:]
		}})
		refused(t, judge(b, limits()), refuse.GPURIM, "no manifest")
	})
	t.Run("AT-56 swapped", func(t *testing.T) {
		b := mint(t, fakegpu.Spec{Final: func(e *nvidia.Evidence) { e.Manifests[0], e.Manifests[1] = e.Manifests[1], e.Manifests[0] }})
		refused(t, judge(b, limits()), refuse.GPURIM, "manifest of")
	})
	t.Run("AT-56 of the wrong kind", func(t *testing.T) {
		l := limits()
		l.Switches = 1
		b := mint(t, fakegpu.Spec{Switches: 1, Final: func(e *nvidia.Evidence) { e.Devices[1].VBIOS, e.Manifests = 1, e.Manifests[:2] }})
		refused(t, judge(b, l), refuse.GPURIM, "manifest of GH100")
	})
}

// wrap leaves what is signed where a careless reader verifies it, and puts other
// measurements where it reads them (signature wrapping).
func wrap(_, x string) string {
	body, sig, _ := strings.Cut(strings.TrimSuffix(x, "</SoftwareIdentity>\n"), "<ds:Signature")
	evil := strings.Replace(body, `alternatives="1" ns2:Hash0="`, `alternatives="1" ns2:Hash0="00`, 1)
	return evil + "<ds:Signature" + strings.Replace(sig, "</ds:KeyInfo>", "</ds:KeyInfo><ds:Object>"+body+"</SoftwareIdentity></ds:Object>", 1) + "</SoftwareIdentity>\n"
}

func TestBombs(t *testing.T) {
	t.Run("AT-62", func(t *testing.T) {
		for name, doc := range bombs() {
			t.Run(name, func(t *testing.T) {
				// A text, an attribute or line feeds up to the cap are XML, and no manifest.
				if _, ok := nvidia.Canonical([]byte(doc)); ok && name != "one text" && name != "one attribute" && name != "line feeds" {
					t.Error("is XML")
				}
				if _, _, _, err := nvidia.SignedManifest([]byte(doc)); code(err) != refuse.GPURIM {
					t.Errorf("%v", err)
				}
			})
		}
		good := mint(t, fakegpu.Spec{})
		for name, b := range map[string][]byte{
			"4 GiB length":     append(bytes.Clone(good[:13]), 0xff, 0xff),
			"255 certificates": append(bytes.Clone(good[:12]), bytes.Repeat([]byte{0xff, 0, 1, 0, 0, 0}, 300)...),
			"empty":            nil,
			"8 MiB":            make([]byte, 8<<20),
		} {
			if _, err := nvidia.Parse(b); code(err) != refuse.GPU {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestCaps(t *testing.T) {
	t.Run("AT-62", func(t *testing.T) {
		good := mint(t, fakegpu.Spec{})
		over := func(change func(e *nvidia.Evidence)) {
			t.Helper()
			e, err := nvidia.Parse(good)
			if err != nil {
				t.Fatal(err)
			}
			change(e)
			if _, err := e.Append(nil); code(err) != refuse.GPU {
				t.Errorf("%v", err)
			}
		}
		over(func(e *nvidia.Evidence) { e.Certificates[0].DER = make([]byte, 4<<10+1) })
		over(func(e *nvidia.Evidence) { e.Certificates[1].OCSP = make([]byte, 4<<10+1) })
		over(func(e *nvidia.Evidence) { e.Certificates[1].DER = e.Certificates[0].DER })
		over(func(e *nvidia.Evidence) { e.Certificates = append(e.Certificates, nvidia.Certificate{DER: []byte{1}}) })
		over(func(e *nvidia.Evidence) { e.Manifests[0].SWID = make([]byte, 128<<10+1) })
		over(func(e *nvidia.Evidence) { e.Manifests[0].OCSP = make([][]byte, 6) })
		over(func(e *nvidia.Evidence) { e.Manifests = append(e.Manifests, e.Manifests[0]) })
		over(func(e *nvidia.Evidence) { e.Devices = nil })
		over(func(e *nvidia.Evidence) {
			for range 24 {
				e.Devices = append(e.Devices, e.Devices[0])
			}
		})
		over(func(e *nvidia.Evidence) { e.Devices[0].Report = make([]byte, 16<<10+1) })
		over(func(e *nvidia.Evidence) { e.Devices[0].Chain = []byte{1, 0, 2, 3, 4} })
		over(func(e *nvidia.Evidence) { e.Devices[0].Chain = []byte{0, 1, 2, 3, 4, 4, 4} })
		over(func(e *nvidia.Evidence) { e.Devices[0].Driver, e.Devices[0].VBIOS = 1, 0 })
		over(func(e *nvidia.Evidence) { e.Devices[0].Kind = 3 })
		over(func(e *nvidia.Evidence) { e.Arch = 3 })
		over(func(e *nvidia.Evidence) { e.Tokens = append(e.Tokens, e.Tokens[0]) })
		over(func(e *nvidia.Evidence) { e.Tokens[0].Kind = nvidia.Switch })
		over(func(e *nvidia.Evidence) { e.Tokens[0].Devices = append(e.Tokens[0].Devices, []byte{1}) })
		over(func(e *nvidia.Evidence) { e.Tokens[0].Overall = make([]byte, 16<<10+1) })
		over(func(e *nvidia.Evidence) { e.Tokens[0].Devices[0] = nil })
	})
}

// TestCanonical: the examples are of canonical XML 1.1, Section 3.3 and 3.4, as
// far as they are of the small part of XML that is read.
func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		`<e1 />`:                        "",
		`<e1/>`:                         `<e1></e1>`,
		`<e3 name="elem3" id="elem3"/>`: `<e3 id="elem3" name="elem3"></e3>`,
		`<e5 xmlns="http://example.org" xmlns:b="http://www.ietf.org" xmlns:a="http://www.w3.org" a:attr="out" b:attr="sorted" attr2="all" attr="I'm"/>`: `<e5 xmlns="http://example.org" xmlns:a="http://www.w3.org" xmlns:b="http://www.ietf.org" attr="I'm" attr2="all" b:attr="sorted" a:attr="out"></e5>`,
		"<a>\n x <b/>y</a>\n":                          "<a>\n x <b></b>y</a>",
		`<a xmlns="urn:a"><b xmlns="urn:a"/></a>`:      "", // declared again
		`<a xmlns:x="urn:a"><b xmlns:x="urn:b"/></a>`:  "",
		`<a xmlns:x="urn:a"><x:b/></a>`:                `<a xmlns:x="urn:a"><x:b></x:b></a>`,
		`<x:a/>`:                                       "", // not declared
		`<a x:b="c"/>`:                                 "",
		`<a xmlns:x=""/>`:                              "",
		`<a xmlns=""/>`:                                "",
		`<a xml:lang="en"/>`:                           "",
		`<a xmlns:xml="urn:a"/>`:                       "",
		`<a xmlns:xmlns="urn:a"/>`:                     "",
		`<a b="c" b="d"/>`:                             "",
		`<a xmlns:x="u" xmlns:y="u" x:b="c" y:b="d"/>`: "",
		`<a b='c'/>`:                                   "",
		`<a b = "c"/>`:                                 "",
		`<a  b="c"/>`:                                  "",
		`<a b="c" />`:                                  "",
		`<a b="c"d="e"/>`:                              "",
		"<a\tb=\"c\"/>":                                "",
		"<a>\r\n</a>":                                  "",
		"<a>\t</a>":                                    "",
		"<a>\u00e4</a>":                                "",
		`<a>></a>`:                                     "",
		`<a></a >`:                                     "",
		`<a></b>`:                                      "",
		`<a><b></a></b>`:                               "",
		`<a>`:                                          "",
		`<a/><b/>`:                                     "",
		"<a/>\n\n":                                     "",
		" <a/>":                                        "",
		"\ufeff<a/>":                                   "",
		`<1a/>`:                                        "",
		`<a:b:c/>`:                                     "",
		`<a:/>`:                                        "",
		``:                                             "",
	} {
		got, ok := nvidia.Canonical([]byte(in))
		if string(got) != want || ok != (want != "") {
			t.Errorf("%q: %q, %t, want %q", in, got, ok, want)
		}
	}
}

// FuzzManifest: what is read as XML is read the same from its canonical form,
// and nothing that is no manifest panics.
func FuzzManifest(f *testing.F) {
	real, err := os.ReadFile("testdata/1010_0200_882_960074001A.swidtag")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(real)
	for name, doc := range bombs() {
		if len(doc) < 4096 {
			f.Add([]byte(doc))
		} else {
			f.Logf("%s is too long for a seed", name)
		}
	}
	f.Add([]byte(`<a xmlns:x="urn:x" x:b="c" a="d">text<x:b/></a>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, chain, err := nvidia.SignedManifest(b)
		if (chain == nil) == (err == nil) {
			t.Fatal("a manifest and an error, or neither")
		}
		if err != nil && code(err) != refuse.GPURIM {
			t.Fatal(err)
		}
		c, ok := nvidia.Canonical(b)
		if !ok {
			return
		}
		if again, ok := nvidia.Canonical(c); len(c) <= 128<<10 && (!ok || !bytes.Equal(again, c)) {
			t.Fatalf("canonical form of %q is not: %q", c, again)
		}
	})
}
