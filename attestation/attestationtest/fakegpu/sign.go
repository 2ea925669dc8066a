// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package fakegpu

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sotto-project/sotto/attestation/internal/nvidia"
)

// manifests gives a device its manifests; all of a kind share them.
func (b *build) manifests(d *nvidia.Source) error {
	get := func(what string, at **uint8) (uint8, error) {
		if *at == nil {
			m, err := b.oneManifest(what)
			if err != nil {
				return 0, err
			}
			n := uint8(len(b.e.Manifests))
			*at = &n
			b.e.Manifests = append(b.e.Manifests, m)
		}
		return **at, nil
	}
	var err error
	if d.Kind == nvidia.Switch {
		d.VBIOS, err = get("switch", &b.switches)
		return err
	}
	if d.Driver, err = get("driver", &b.drivers); err != nil {
		return err
	}
	d.VBIOS, err = get("vbios", &b.vbioses)
	return err
}

// oneManifest is manifest, made once if it is shared.
func (b *build) oneManifest(what string) (nvidia.Manifest, error) {
	if !b.s.Shared {
		return b.manifest(what)
	}
	b.m.sharing.Lock()
	defer b.m.sharing.Unlock()
	if m, ok := b.m.manifests[what]; ok {
		return m, nil
	}
	m, err := b.manifest(what)
	if err == nil {
		b.m.manifests[what] = m
	}
	return m, err
}

// golden says which measurements a manifest states, and which are compared.
func golden(what string, index int) (active bool, kind nvidia.Kind) {
	switch what {
	case "driver":
		return index >= 20 && index < 41, nvidia.GPU
	case "vbios":
		return index < 13, nvidia.GPU
	}
	return index < 30, nvidia.Switch
}

// content prints a manifest without its signature, in the way that NVIDIA's are
// written.
func content(what string) string {
	version := map[string]string{"driver": Driver, "vbios": VBIOS, "switch": SwitchBIOS}[what]
	_, kind := golden(what, 0)
	var s strings.Builder
	fmt.Fprintf(&s, `<SoftwareIdentity xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:ns0="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384" corpus="false" name="%s" patch="false" supplemental="false" tagId="SIMULATED-%s" version="1.0" tagVersion="0">
    <ns0:Entity name="SIMULATED NVIDIA" role="softwareCreator tagCreator"/>
    <ns0:Meta xmlns:ns1="https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/" colloquialVersion="%s" edition="SIMULATED" product="%s" revision="r1" PayloadType="direct" ns1:BindingSpec="RIMIM" ns1:BindingSpecVersion="1.01"/>
    <ns0:Payload xmlns:SHA384="http://www.w3.org/2001/04/xmlenc#sha384">
`, chip(kind), what, version, chip(kind))
	zero := strings.Repeat("0", 96)
	for i := range blocks {
		active, kind := golden(what, i)
		flag, hashes, count := "False", `ns2:Hash0="`+zero+`"`, 1
		if active {
			flag = "True"
			hashes = fmt.Sprintf(`ns2:Hash0="%x"`, Measurement(kind, i))
		}
		if active && i == 12 { // one with alternatives
			hashes, count = fmt.Sprintf(`ns2:Hash0="%s" ns2:Hash1="%x"`, zero, Measurement(kind, i)), 2
		}
		fmt.Fprintf(&s, "        <ns0:Resource type=\"Measurement\" index=\"%d\" active=\"%s\" alternatives=\"%d\" %s name=\"Measurement_%d\" size=\"48\"/>\n", i, flag, count, hashes, i)
	}
	s.WriteString("    </ns0:Payload>\n")
	return s.String()
}

// manifest makes and signs a manifest, with answers about its signers.
func (b *build) manifest(what string) (nvidia.Manifest, error) {
	signers, answers, err := b.signers()
	if err != nil {
		return nvidia.Manifest{}, err
	}
	body := content(what)
	if b.s.RIM != nil {
		body = b.s.RIM(what, body)
	}
	swid, err := SignManifest(body, signers[0].key, certsOf(signers))
	if err != nil {
		return nvidia.Manifest{}, err
	}
	if b.s.Signed != nil {
		swid = b.s.Signed(what, swid)
	}
	return nvidia.Manifest{SWID: []byte(swid), OCSP: answers}, nil
}

// signers returns signer, intermediate and root of a manifest, with the answers
// about them: others for each manifest, unless chains are short.
func (b *build) signers() ([]issuer, [][]byte, error) {
	if b.signedBy != nil {
		return b.signedBy, b.answered, nil
	}
	signers, err := b.newSigners()
	if err != nil {
		return nil, nil, err
	}
	var answers [][]byte
	for i := range signers[:len(signers)-1] {
		answer, err := b.answer(signers[i].cert, signers[i+1])
		if err != nil {
			return nil, nil, err
		}
		if answer != nil {
			answers = append(answers, answer)
		}
	}
	if b.s.Short {
		b.signedBy, b.answered = signers, answers
	}
	return signers, answers, nil
}

func certsOf(chain []issuer) (out []*x509.Certificate) {
	for _, i := range chain {
		out = append(out, i.cert)
	}
	return out
}

// newSigners makes a signer under the intermediate or, if chains are short, under
// the root.
func (b *build) newSigners() ([]issuer, error) {
	m := b.m
	m.mu.Lock()
	defer m.mu.Unlock()
	above := []issuer{m.manifest}
	if !b.s.Short {
		middle, err := m.ca("SIMULATED Reference Value CA", m.manifest, b.s.Cert)
		if err != nil {
			return nil, err
		}
		above = []issuer{middle, m.manifest}
	}
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template("SIMULATED RIM Signer", func(t *x509.Certificate) {
		t.IsCA, t.BasicConstraintsValid, t.KeyUsage = false, false, x509.KeyUsageDigitalSignature
		if b.s.Cert != nil {
			b.s.Cert("signer", t)
		}
	})
	c, err := sign(t, above[0].cert, &key.PublicKey, above[0].key)
	return append([]issuer{{c, key}}, above...), err
}

const signedInfo = `<ds:SignedInfo><ds:CanonicalizationMethod Algorithm="http://www.w3.org/2006/12/xml-c14n11"/><ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"/><ds:Reference URI=""><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/><ds:Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"/></ds:Transforms><ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#sha384"/><ds:DigestValue>%s</ds:DigestValue></ds:Reference></ds:SignedInfo>`

// SignManifest appends a signature and the end tag to the content of a manifest.
func SignManifest(body string, key *ecdsa.PrivateKey, chain []*x509.Certificate) (string, error) {
	canonical, ok := nvidia.Canonical([]byte(body + "</SoftwareIdentity>"))
	if !ok { // what is not XML is signed as it is, for tests of the reader
		canonical = []byte(body + "</SoftwareIdentity>")
	}
	sum := sha512.Sum384(canonical)
	info := fmt.Sprintf(signedInfo, base64.StdEncoding.EncodeToString(sum[:]))
	// In the document the namespaces of the parents are in scope of SignedInfo.
	alone, ok := nvidia.Canonical([]byte(strings.Replace(info, "<ds:SignedInfo>",
		`<ds:SignedInfo xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:ds="http://www.w3.org/2000/09/xmldsig#" xmlns:ns0="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384">`, 1)))
	if !ok {
		return "", fmt.Errorf("fakegpu: SignedInfo is no XML")
	}
	sig, err := signRaw(alone, key)
	if err != nil {
		return "", err
	}
	var certs strings.Builder
	for _, c := range chain {
		certs.WriteString("<ds:X509Certificate>" + base64.StdEncoding.EncodeToString(c.Raw) + "</ds:X509Certificate>")
	}
	return body + `<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">` + info +
		"<ds:SignatureValue>" + base64.StdEncoding.EncodeToString(sig) + "</ds:SignatureValue><ds:KeyInfo><ds:X509Data>" +
		certs.String() + "</ds:X509Data></ds:KeyInfo></ds:Signature></SoftwareIdentity>\n", nil
}

// allTokens makes a token for each kind of device that there is.
func (b *build) allTokens(nonce [32]byte) error {
	at := 0
	for _, k := range []nvidia.Kind{nvidia.GPU, nvidia.Switch} {
		n := 0
		for _, d := range b.e.Devices {
			if d.Kind == k {
				n++
			}
		}
		if n == 0 {
			continue
		}
		t, err := b.token(k, b.ueids[at:at+n], nonce)
		if err != nil {
			return err
		}
		at += n
		b.e.Tokens = append(b.e.Tokens, t)
	}
	return nil
}

func (b *build) token(k nvidia.Kind, ueids []string, nonce [32]byte) (nvidia.Token, error) {
	t, submods, prefix := nvidia.Token{Kind: k}, map[string]any{}, "GPU-"
	if k == nvidia.Switch {
		prefix = "SWITCH-"
	}
	for i, ueid := range ueids {
		claims := deviceClaims(k)
		claims["ueid"] = ueid
		jwt, err := b.jwt(k, i, nonce, claims)
		if err != nil {
			return t, err
		}
		sum := sha256.Sum256(jwt)
		submods[fmt.Sprintf("%s%d", prefix, i)] = []any{"DIGEST", []string{"SHA-256", hex.EncodeToString(sum[:])}}
		t.Devices = append(t.Devices, jwt)
	}
	var err error
	t.Overall, err = b.jwt(k, -1, nonce, map[string]any{"sub": "NVIDIA-PLATFORM-ATTESTATION", "x-nvidia-ver": "3.0",
		"x-nvidia-overall-att-result": true, "submods": submods})
	return t, err
}

// jwt signs claims, with what all tokens have in common filled in.
func (b *build) jwt(k nvidia.Kind, device int, nonce [32]byte, claims map[string]any) ([]byte, error) {
	now := b.s.now().Unix()
	claims["iss"], claims["eat_nonce"] = Issuer, hex.EncodeToString(nonce[:])
	claims["iat"], claims["nbf"], claims["exp"] = now-60, now-180, now+3600
	header := map[string]any{"alg": "ES384", "kid": KeyID, "typ": "JWT"}
	if b.s.Claims != nil {
		b.s.Claims(k, device, claims)
	}
	if b.s.Header != nil {
		b.s.Header(device, header)
	}
	return SignJWT(header, claims, b.m.tokens)
}

// SignJWT signs a compact JWT, whatever its header says.
func SignJWT(header, claims map[string]any, key *ecdsa.PrivateKey) ([]byte, error) {
	h, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	b64 := base64.RawURLEncoding
	input := []byte(b64.EncodeToString(h) + "." + b64.EncodeToString(c))
	sig, err := signRaw(input, key)
	return append(append(input, '.'), b64.EncodeToString(sig)...), err
}

// deviceClaims is what the service says about a good device, version 3.
func deviceClaims(k nvidia.Kind) map[string]any {
	chain := func() map[string]any {
		return map[string]any{"x-nvidia-cert-status": "valid", "x-nvidia-cert-ocsp-status": "good",
			"x-nvidia-cert-expiration-date": "9999-12-31T23:59:59Z", "x-nvidia-cert-revocation-reason": nil}
	}
	c := map[string]any{"measres": "success", "secboot": true, "dbgstat": "disabled", "hwmodel": chip(k) + " A01 GSP BROM SIMULATED",
		"x-nvidia-mismatch-measurement-records": nil}
	p, parts := "x-nvidia-gpu-", []string{"driver-rim-", "vbios-rim-"}
	if k == nvidia.Switch {
		p, parts = "x-nvidia-switch-", []string{"bios-rim-"}
		c[p+"bios-version"] = SwitchBIOS
	} else {
		c[p+"driver-version"], c[p+"vbios-version"], c[p+"vbios-index-no-conflict"] = Driver, VBIOS, true
	}
	for _, name := range []string{"arch-check", "attestation-report-parsed", "attestation-report-nonce-match",
		"attestation-report-signature-verified", "attestation-report-cert-chain-fwid-match"} {
		c[p+name] = true
	}
	c[p+"attestation-report-cert-chain"] = chain()
	for _, part := range parts {
		for _, name := range []string{"fetched", "schema-validated", "signature-verified", "version-match", "measurements-available"} {
			c[p+part+name] = true
		}
		c[p+part+"cert-chain"] = chain()
	}
	return c
}
