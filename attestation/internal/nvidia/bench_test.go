// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/internal/nvidia"
	"github.com/sotto-project/sotto/attestation/internal/sigcache"
)

func BenchmarkVerify(b *testing.B) {
	for name, s := range map[string]fakegpu.Spec{
		"1 GPU, manifests":               {NoTokens: true},
		"8 GPUs, manifests":              {GPUs: 8, NoTokens: true},
		"8 GPUs, 4 switches, everything": {GPUs: 8, Switches: 4},
	} {
		b.Run(name, func(b *testing.B) {
			in := mint(b, s)
			l := limits()
			l.GPUs, l.Switches, l.Token = max(s.GPUs, 1), s.Switches, !s.NoTokens
			b.ReportAllocs()
			for b.Loop() {
				if err := judge(in, l); err != nil {
					b.Fatal(err)
				}
			}
			c := sigcache.New(1 << 10)
			if _, err := nvidia.Verify(in, simulated(maker()), nonce, now, knowing(c)); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(c.Len()), "signatures")
		})
	}
}

// BenchmarkSignature is what one costs that the others are made of.
func BenchmarkSignature(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha512.Sum384(nil)
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if !new(sigcache.Cache).Begin().Verify(&key.PublicKey, sigcache.ASN1, nil, sig) {
			b.Fatal("does not hold")
		}
	}
}

// BenchmarkBombs is what hostile manifests cost at most (AT-62: 20 ms, 32 MiB).
func BenchmarkBombs(b *testing.B) {
	for name, doc := range bombs() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			in := []byte(doc)
			for b.Loop() {
				_, _ = nvidia.Canonical(in)
			}
		})
	}
}

// bombs are documents that are costly for an ordinary XML reader.
func bombs() map[string]string {
	const size = 128 << 10
	fill := func(s string, n int) string { return strings.Repeat(s, n/len(s)) }
	return map[string]string{
		"entity expansion": `<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;">]><a>&lol2;</a>`,
		"external entity":  `<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>`,
		"character entity": "<a>&#x41;</a>",
		"depth":            fill("<a>", size),
		"elements":         "<a>" + fill("<b/>", size-20) + "</a>",
		"attributes":       "<a" + fill(` b="c"`, size-20) + "/>",
		"one attribute":    `<a b="` + fill("c", size-20) + `"/>`,
		"one text":         "<a>" + fill("c", size-20) + "</a>",
		"one name":         "<" + fill("c", size-20) + "/>",
		"line feeds":       "<a>" + fill("\n", size-20) + "</a>",
		"over the cap":     "<a>" + fill("c", size) + "</a>",
		"declaration":      `<?xml version="1.0"?><a/>`,
		"comment":          "<a><!-- --></a>",
		"cdata":            "<a><![CDATA[b]]></a>",
		"namespaces":       "<a" + fill(` xmlns:a0="urn:b"`, size-20) + "/>",
	}
}
