// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/internal/nvidia"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// A bad is evidence that has to be refused.
type bad struct {
	spec  fakegpu.Spec
	want  refuse.Code
	names string // what the text has to name
}

func runBad(t *testing.T, cases map[string]bad) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l := limits()
			l.GPUs, l.Switches = max(c.spec.GPUs, 1), c.spec.Switches
			l.Manifests, l.Token = !c.spec.NoManifests, !c.spec.NoTokens
			refused(t, judge(mint(t, c.spec), l), c.want, c.names)
		})
	}
}

// claim changes one claim of a token; -1 is the overall one.
func claim(device int, name string, value any) fakegpu.Spec {
	return fakegpu.Spec{NoManifests: true, Claims: func(_ nvidia.Kind, d int, c map[string]any) {
		if d == device {
			if value == nil {
				delete(c, name)
			} else {
				c[name] = value
			}
		}
	}}
}

func header(change func(h map[string]any)) fakegpu.Spec {
	return fakegpu.Spec{NoManifests: true, Header: func(_ int, h map[string]any) { change(h) }}
}

// tokenCases are tokens that their signer, or their header, makes worthless.
func tokenCases() map[string]bad {
	unix := func(d time.Duration) int64 { return now.Add(d).Unix() }
	cases := map[string]bad{
		"header names a key by URL":   {spec: header(func(h map[string]any) { h["jku"] = "https://example.org/keys" }), names: "jku"},
		"header brings a key":         {spec: header(func(h map[string]any) { h["jwk"] = map[string]any{"kty": "EC"} }), names: "jwk"},
		"header brings a certificate": {spec: header(func(h map[string]any) { h["x5c"] = []string{"AA=="} }), names: "x5c"},
		"header is critical":          {spec: header(func(h map[string]any) { h["crit"] = []string{"exp"} }), names: "crit"},
		"another kid":                 {spec: header(func(h map[string]any) { h["kid"] = "../../dev/null" }), names: "no key"},
		"no kid":                      {spec: header(func(h map[string]any) { delete(h, "kid") }), names: "no key"},
		"kid is a list":               {spec: header(func(h map[string]any) { h["kid"] = []string{fakegpu.KeyID} }), names: "no key"},
		"another type":                {spec: header(func(h map[string]any) { h["typ"] = "at+jwt" }), names: "type"},
	}
	for _, alg := range []string{"none", "None", "", "HS256", "HS384", "ES256", "ES512", "es384", "RS384"} {
		cases["alg "+alg] = bad{spec: header(func(h map[string]any) { h["alg"] = alg }), names: "algorithm"}
	}
	for _, device := range []int{-1, 0} {
		what := map[int]string{-1: "overall ", 0: "device "}[device]
		cases[what+"expired"] = bad{spec: claim(device, "exp", unix(0)), names: "expired"}
		cases[what+"no exp"] = bad{spec: claim(device, "exp", nil), names: "exp"}
		cases[what+"exp is text"] = bad{spec: claim(device, "exp", "9999999999"), names: "exp"}
		cases[what+"no iat"] = bad{spec: claim(device, "iat", nil), names: "iat"}
		cases[what+"too old"] = bad{spec: claim(device, "iat", unix(-time.Hour-time.Second)), names: "older"}
		cases[what+"from the future"] = bad{spec: claim(device, "iat", unix(time.Second)), names: "future"}
		cases[what+"not yet"] = bad{spec: claim(device, "nbf", unix(time.Second)), names: "not valid yet"}
		cases[what+"nbf is text"] = bad{spec: claim(device, "nbf", "0"), names: "not valid yet"}
		cases[what+"other issuer"] = bad{spec: claim(device, "iss", "https://nras.SIMULATED.invalid/"), names: "issuer"}
		cases[what+"no issuer"] = bad{spec: claim(device, "iss", nil), names: "issuer"}
		cases[what+"other nonce"] = bad{spec: claim(device, "eat_nonce", strings.Repeat("00", 32)), names: "nonce"}
		cases[what+"no nonce"] = bad{spec: claim(device, "eat_nonce", nil), names: "nonce"}
		cases[what+"two nonces"] = bad{spec: claim(device, "eat_nonce", []string{"a", "b"}), names: "nonce"}
	}
	cases["another device"] = bad{spec: claim(0, "ueid", "1"), names: "device"}
	cases["no submods"] = bad{spec: claim(-1, "submods", nil), names: "submods"}
	cases["submods of another digest"] = bad{spec: claim(-1, "submods", map[string]any{"GPU-0": []any{"DIGEST", []string{"SHA-256", strings.Repeat("00", 32)}}}), names: "not the one listed"}
	cases["submods of another kind"] = bad{spec: claim(-1, "submods", map[string]any{"GPU-0": []any{"TOKEN", []string{"SHA-256", ""}}}), names: "not the one listed"}
	cases["device tokens swapped"] = bad{spec: fakegpu.Spec{GPUs: 2, Final: func(e *nvidia.Evidence) {
		d := e.Tokens[0].Devices
		d[0], d[1] = d[1], d[0]
	}}, names: "not the one listed"}
	for name, c := range cases {
		c.want = refuse.GPUToken
		cases[name] = c
	}
	return cases
}

func TestToken(t *testing.T) {
	t.Run("AT-55", func(t *testing.T) { runBad(t, tokenCases()) })
	t.Run("AT-55 forged", testForgedTokens)
	t.Run("AT-55 nobody to judge it", func(t *testing.T) {
		o := options(maker())
		for _, keys := range []map[string]*ecdsa.PublicKey{nil, {fakegpu.KeyID: nil}} {
			o.Keys = keys
			_, err := nvidia.Verify(mint(t, fakegpu.Spec{}), simulated(maker()), nonce, now, o)
			refused(t, err, refuse.GPUToken, "no key")
		}
		o = options(maker())
		o.Issuer = ""
		_, err := nvidia.Verify(mint(t, fakegpu.Spec{}), simulated(maker()), nonce, now, o)
		refused(t, err, refuse.GPUToken, "issuer")
	})
	t.Run("AT-55 left out", func(t *testing.T) {
		refused(t, judge(mint(t, fakegpu.Spec{NoTokens: true}), limits()), refuse.GPUToken, "no token")
		l := limits()
		l.Switches = 1
		refused(t, judge(mint(t, fakegpu.Spec{Switches: 1, Final: func(e *nvidia.Evidence) { e.Tokens = e.Tokens[:1] }}), l), refuse.GPUToken, "no token")
	})
	t.Run("AT-56", testClaims)
}

// testForgedTokens signs with other keys and other algorithms.
func testForgedTokens(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{"iss": fakegpu.Issuer}
	good := map[string]any{"alg": "ES384", "kid": fakegpu.KeyID}
	own, err := fakegpu.SignJWT(good, claims, other)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding
	input, _, _ := bytes.Cut(own, []byte("."))
	_, rest, _ := bytes.Cut(own, []byte("."))
	body, sig, _ := bytes.Cut(rest, []byte("."))
	hs := b64.EncodeToString([]byte(`{"alg":"HS256","kid":"`+fakegpu.KeyID+`"}`)) + "." + string(body)
	public, err := x509.MarshalPKIXPublicKey(maker().Keys()[fakegpu.KeyID])
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, public)
	mac.Write([]byte(hs))
	n := elliptic.P384().Params().N
	raw := func(r, s *big.Int) string {
		return b64.EncodeToString(append(r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48))...))
	}
	for name, token := range map[string]string{
		"another key":                  string(own),
		"HS256 with the public key":    hs + "." + b64.EncodeToString(mac.Sum(nil)),
		"none":                         b64.EncodeToString([]byte(`{"alg":"none"}`)) + "." + string(body) + ".",
		"no signature":                 string(input) + "." + string(body),
		"empty signature":              string(input) + "." + string(body) + ".",
		"signature of zeros":           string(input) + "." + string(body) + "." + raw(new(big.Int), new(big.Int)),
		"signature of n":               string(input) + "." + string(body) + "." + raw(n, n),
		"signature too long":           string(own) + "AA",
		"four parts":                   string(own) + ".AA",
		"padding":                      string(own) + "=",
		"line feed":                    string(own[:9]) + "\n" + string(own[9:]),
		"JSON serialisation":           `{"payload":"` + string(body) + `","signature":"` + string(sig) + `"}`,
		"header twice the algorithm":   b64.EncodeToString([]byte(`{"alg":"HS256","alg":"ES384","kid":"`+fakegpu.KeyID+`"}`)) + "." + string(body) + "." + string(sig),
		"header is a list":             b64.EncodeToString([]byte(`["ES384"]`)) + "." + string(body) + "." + string(sig),
		"header is two objects":        b64.EncodeToString([]byte(`{}{}`)) + "." + string(body) + "." + string(sig),
		"header is deep":               b64.EncodeToString([]byte(strings.Repeat(`{"a":`, 1500))) + "." + string(body) + "." + string(sig),
		"header is in standard base64": "+/+/." + string(body) + "." + string(sig),
	} {
		t.Run(name, func(t *testing.T) {
			b := mint(t, fakegpu.Spec{NoManifests: true, Final: func(e *nvidia.Evidence) { e.Tokens[0].Overall = []byte(token) }})
			refused(t, judge(b, limits()), refuse.GPUToken, "")
		})
	}
}

func testClaims(t *testing.T) {
	chain := func(status, ocsp string) map[string]any {
		return map[string]any{"x-nvidia-cert-status": status, "x-nvidia-cert-ocsp-status": ocsp}
	}
	cases := map[string]bad{}
	add := func(device int, name string, values ...any) {
		for _, v := range values {
			text, _ := json.Marshal(v)
			cases[name+" "+string(text)] = bad{claim(device, name, v), refuse.GPUClaims, name}
		}
	}
	add(-1, "x-nvidia-overall-att-result", false, "true", 1, nil)
	add(0, "secboot", false, nil, "true")
	add(0, "dbgstat", "enabled", "disabled-since-boot", nil, false)
	add(0, "measres", "fail", nil, true)
	add(0, "x-nvidia-mismatch-measurement-records", []int{9})
	add(0, "x-nvidia-attestation-warning", "something")
	add(0, "x-nvidia-gpu-driver-version", "535.00", nil)
	add(0, "x-nvidia-gpu-vbios-version", "96.00.5E.00.01", nil)
	for _, name := range []string{"arch-check", "attestation-report-parsed", "attestation-report-nonce-match",
		"attestation-report-signature-verified", "attestation-report-cert-chain-fwid-match", "vbios-index-no-conflict",
		"driver-rim-fetched", "driver-rim-schema-validated", "driver-rim-signature-verified", "driver-rim-version-match", "driver-rim-measurements-available",
		"vbios-rim-fetched", "vbios-rim-schema-validated", "vbios-rim-signature-verified", "vbios-rim-version-match", "vbios-rim-measurements-available"} {
		add(0, "x-nvidia-gpu-"+name, false, nil)
	}
	for _, name := range []string{"attestation-report", "driver-rim", "vbios-rim"} {
		add(0, "x-nvidia-gpu-"+name+"-cert-chain", chain("revoked", "revoked"), chain("expired", "good"), chain("valid", "revoked"), chain("valid", "unknown"), true, nil)
	}
	runBad(t, cases)
	t.Run("a switch", func(t *testing.T) {
		l := limits()
		l.Switches, l.Manifests = 1, false
		for _, name := range []string{"secboot", "x-nvidia-switch-arch-check", "x-nvidia-switch-bios-rim-signature-verified"} {
			b := mint(t, fakegpu.Spec{Switches: 1, NoManifests: true, Claims: func(k nvidia.Kind, d int, c map[string]any) {
				if k == nvidia.Switch && d == 0 {
					c[name] = false
				}
			}})
			refused(t, judge(b, l), refuse.GPUClaims, name)
		}
	})
}

func TestDevices(t *testing.T) {
	t.Run("AT-57", func(t *testing.T) {
		b, err := maker().Evidence(sha256.Sum256([]byte("another machine")), fakegpu.Spec{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		refused(t, judge(b, limits()), refuse.GPUBinding, "nonce")
		one := mint(t, fakegpu.Spec{GPUs: 2, Report: func(i int, r *nvidia.Report) {
			if i == 1 {
				r.Nonce[31] ^= 1
			}
		}})
		l := limits()
		l.GPUs = 2
		refused(t, judge(one, l), refuse.GPUBinding, "nonce")
	})
	t.Run("AT-58", testCounts)
	t.Run("AT-22 firmware", func(t *testing.T) {
		field := func(change func(f *nvidia.Field)) fakegpu.Spec {
			return fakegpu.Spec{Report: func(_ int, r *nvidia.Report) {
				for i := range r.Fields {
					if r.Fields[i].Type == nvidia.FieldFWID {
						change(&r.Fields[i])
					}
				}
			}}
		}
		runBad(t, map[string]bad{
			"another": {field(func(f *nvidia.Field) { f.Data = make([]byte, 48) }), refuse.GPUReport, "firmware"},
			"cut":     {field(func(f *nvidia.Field) { f.Data = f.Data[:4] }), refuse.GPUReport, "firmware"},
			"no field in the certificate": {fakegpu.Spec{Cert: func(role string, c *x509.Certificate) {
				if role == "leaf" {
					c.ExtraExtensions = nil
				}
			}}, refuse.GPUChain, "firmware"},
			"extension malformed": {fakegpu.Spec{Cert: func(role string, c *x509.Certificate) {
				if role == "leaf" {
					c.ExtraExtensions[0].Value = append(c.ExtraExtensions[0].Value, 0)
				}
			}}, refuse.GPUChain, "firmware"},
		})
	})
}

func testCounts(t *testing.T) {
	eight := func() *nvidia.Limits {
		l := limits()
		l.GPUs, l.Switches, l.ProtectedPCIE, l.Token = 8, 4, true, false
		return l
	}
	off := func(device int) func(int, *nvidia.Report) {
		return func(i int, r *nvidia.Report) {
			for j := range r.Fields {
				if i == device && r.Fields[j].Type == nvidia.FieldProtectedPCIE {
					r.Fields[j].Data = []byte{0x55}
				}
			}
		}
	}
	for name, s := range map[string]fakegpu.Spec{
		"seven GPUs":                         {GPUs: 7, Switches: 4, ProtectedPCIE: true},
		"nine GPUs":                          {GPUs: 9, Switches: 4, ProtectedPCIE: true},
		"no GPU":                             {GPUs: -1, Switches: 4, ProtectedPCIE: true},
		"three switches":                     {GPUs: 8, Switches: 3, ProtectedPCIE: true},
		"five switches":                      {GPUs: 8, Switches: 5, ProtectedPCIE: true},
		"one GPU not in protected PCIe mode": {GPUs: 8, Switches: 4, ProtectedPCIE: true, Report: off(5)},
		"no GPU in protected PCIe mode":      {GPUs: 8, Switches: 4},
	} {
		t.Run(name, func(t *testing.T) {
			s.NoTokens, s.NoManifests = true, !s.ProtectedPCIE || s.Report == nil // nor looked at
			refused(t, judge(mint(t, s), eight()), refuse.GPUCount, "")
		})
	}
	t.Run("protected PCIe mode where none is expected", func(t *testing.T) {
		refused(t, judge(mint(t, fakegpu.Spec{ProtectedPCIE: true}), limits()), refuse.GPUCount, "PCIe")
	})
	t.Run("one GPU twice", func(t *testing.T) {
		l := limits()
		l.GPUs, l.Token = 2, false
		b := mint(t, fakegpu.Spec{GPUs: 1, NoTokens: true, Final: func(e *nvidia.Evidence) { e.Devices = append(e.Devices, e.Devices[0]) }})
		refused(t, judge(b, l), refuse.GPUCount, "are one")
	})
	t.Run("a switch as a GPU", func(t *testing.T) {
		b := mint(t, fakegpu.Spec{Switches: 1, NoTokens: true, NoManifests: true, Final: func(e *nvidia.Evidence) { e.Devices[1].Kind = nvidia.GPU }})
		refused(t, judge(b, limits()), refuse.GPU, "LS10")
	})
	t.Run("another architecture", func(t *testing.T) {
		b := mint(t, fakegpu.Spec{Final: func(e *nvidia.Evidence) { e.Arch = nvidia.Blackwell }})
		refused(t, judge(b, limits()), refuse.GPU, "GH100")
	})
}

func TestLimits(t *testing.T) {
	b := mint(t, fakegpu.Spec{Switches: 1})
	good := limits()
	good.Switches = 1
	g, err := nvidia.Verify(b, simulated(maker()), nonce, now, options(maker()))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Check(good); err != nil {
		t.Fatal(err)
	}
	refused(t, g.Check(&nvidia.Limits{}), refuse.Policy, "number")
	for name, c := range map[string]struct {
		change func(l *nvidia.Limits)
		want   refuse.Code
		names  string
	}{
		"neither manifests nor token": {func(l *nvidia.Limits) { l.Manifests, l.Token = false, false }, refuse.Policy, "neither"},
		"less than no switch":         {func(l *nvidia.Limits) { l.Switches = -1 }, refuse.Policy, "number"},
		"no chip":                     {func(l *nvidia.Limits) { l.Chips = nil }, refuse.GPUClaims, "chip"},
		"no switch chip":              {func(l *nvidia.Limits) { l.Chips = []string{"GH100"} }, refuse.GPUClaims, "LS10"},
		"no driver":                   {func(l *nvidia.Limits) { l.Drivers = nil }, refuse.GPUClaims, "driver"},
		"another driver":              {func(l *nvidia.Limits) { l.Drivers = []string{"580.95.06"} }, refuse.GPUClaims, "driver"},
		"driver below":                {func(l *nvidia.Limits) { l.Drivers, l.MinDriver = nil, "580.105" }, refuse.GPUClaims, "driver"},
		"driver least unreadable":     {func(l *nvidia.Limits) { l.Drivers, l.MinDriver = nil, "580.x" }, refuse.GPUClaims, "driver"},
		"no VBIOS":                    {func(l *nvidia.Limits) { l.VBIOS = nil }, refuse.GPUClaims, "VBIOS"},
		"VBIOS below":                 {func(l *nvidia.Limits) { l.VBIOS, l.MinVBIOS = nil, "96.00.74.00.1B" }, refuse.GPUClaims, "VBIOS"},
		"no switch BIOS":              {func(l *nvidia.Limits) { l.SwitchBIOS = nil }, refuse.GPUClaims, "VBIOS"},
	} {
		t.Run(name, func(t *testing.T) {
			l := *good
			c.change(&l)
			refused(t, g.Check(&l), c.want, c.names)
		})
	}
	for name, change := range map[string]func(l *nvidia.Limits){
		"driver at the least":    func(l *nvidia.Limits) { l.Drivers, l.MinDriver = nil, fakegpu.Driver },
		"driver above the least": func(l *nvidia.Limits) { l.Drivers, l.MinDriver = nil, "580.9" },
		"VBIOS at the least":     func(l *nvidia.Limits) { l.VBIOS, l.MinVBIOS = nil, strings.ToLower(fakegpu.VBIOS) },
		"VBIOS above the least":  func(l *nvidia.Limits) { l.VBIOS, l.MinVBIOS = nil, "96.00.74.00.0f" },
		"switch BIOS least":      func(l *nvidia.Limits) { l.SwitchBIOS, l.MinSwitchBIOS = nil, "96.10.68.00.01" },
	} {
		t.Run(name, func(t *testing.T) {
			l := *good
			change(&l)
			if err := g.Check(&l); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMangledReports(t *testing.T) {
	t.Run("AT-21", func(t *testing.T) {
		var good []byte
		mint(t, fakegpu.Spec{Sealed: func(_ int, r []byte) []byte { good = bytes.Clone(r); return r }})
		try := func(what string, b []byte) {
			t.Helper()
			if _, err := nvidia.ParseReport(b); code(err) != refuse.GPUReport {
				t.Errorf("%s: %v", what, err)
			}
		}
		for n := range len(good) {
			try("cut", good[:n])
		}
		try("extended", append(bytes.Clone(good), 0))
		try("over the cap", make([]byte, 16<<10+1))
		for _, at := range []int{0, 1, 2, 3, 37, 38, 39} {
			for v := range 256 {
				if b := bytes.Clone(good); b[at] != byte(v) {
					b[at] = byte(v)
					try("header", b)
				}
			}
		}
		for v := range 256 {
			b := bytes.Clone(good)
			if b[41] == byte(v) {
				continue
			}
			b[41] = byte(v) // number of blocks
			try("blocks", b)
		}
	})
	t.Run("AT-21 signed", testSignedMangled)
}

// testSignedMangled mangles before the signature, or the signature itself.
func testSignedMangled(t *testing.T) {
	for _, sig := range [][2]*big.Int{{new(big.Int), big.NewInt(1)}, {big.NewInt(1), new(big.Int)}, {elliptic.P384().Params().N, big.NewInt(1)}, {big.NewInt(1), elliptic.P384().Params().N}} {
		b := mint(t, fakegpu.Spec{Sealed: func(_ int, r []byte) []byte {
			sig[0].FillBytes(r[len(r)-96 : len(r)-48])
			sig[1].FillBytes(r[len(r)-48:])
			return r
		}})
		refused(t, judge(b, limits()), refuse.GPUReport, "not signed")
	}
	for name, change := range map[string]func(r *nvidia.Report){
		"block twice":    func(r *nvidia.Report) { r.Blocks[5].Index = r.Blocks[4].Index },
		"blocks swapped": func(r *nvidia.Report) { r.Blocks[5], r.Blocks[4] = r.Blocks[4], r.Blocks[5] },
		"block zero":     func(r *nvidia.Report) { r.Blocks[0].Index = 0 },
		"no blocks":      func(r *nvidia.Report) { r.Blocks = nil },
		"field twice":    func(r *nvidia.Report) { r.Fields[1] = r.Fields[0] },
		"versioned opaque": func(r *nvidia.Report) {
			r.Fields = []nvidia.Field{{Type: 0x564e, Data: append([]byte("AOD"), make([]byte, 0x4144)...)}}
		},
		"slot 16": func(r *nvidia.Report) { r.Slot = 16 },
	} {
		b := mint(t, fakegpu.Spec{Report: func(_ int, r *nvidia.Report) { change(r) }, Sealed: func(_ int, raw []byte) []byte { return raw[:min(len(raw), 16<<10)] }})
		t.Run(name, func(t *testing.T) { refused(t, judge(b, limits()), refuse.GPUReport, "") })
	}
}

// TestMeasurements compares with manifests.
func TestMeasurements(t *testing.T) {
	t.Run("AT-56", func(t *testing.T) {
		for _, index := range []int{0, 12, 20, 35, 40} {
			b := mint(t, fakegpu.Spec{Report: func(_ int, r *nvidia.Report) { fakegpu.SetMeasurement(r, index, make([]byte, 48)) }})
			if index == 12 { // zero is an alternative there
				if err := judge(b, limits()); err != nil {
					t.Error(err)
				}
				continue
			}
			refused(t, judge(b, limits()), refuse.GPUClaims, "measurement")
		}
		cut := mint(t, fakegpu.Spec{Report: func(_ int, r *nvidia.Report) { r.Blocks = r.Blocks[:30] }})
		refused(t, judge(cut, limits()), refuse.GPUClaims, "measurement 30")
		video := mint(t, fakegpu.Spec{Report: func(_ int, r *nvidia.Report) {
			fakegpu.SetMeasurement(r, 35, make([]byte, 48))
			for i := range r.Fields {
				if r.Fields[i].Type == nvidia.FieldNVDEC0 {
					r.Fields[i].Data = []byte{0x55}
				}
			}
		}})
		if err := judge(video, limits()); err != nil {
			t.Errorf("video decoder off: %v", err)
		}
	})
}
