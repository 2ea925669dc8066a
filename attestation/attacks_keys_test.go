// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// An attack is one way to cheat. Spec changes how the node comes up, before
// what it signs, after what travels or what the verifier holds; the evidence is
// made fresh in between, so that nothing but the attack is wrong with it.
type attack struct {
	id, name string
	want     attestation.Code
	spec     func(*attestationtest.NodeSpec)
	before   func(*fixture)
	after    func(*fixture)
}

func runAttacks(t *testing.T, attacks []attack) {
	groups := map[string][]attack{}
	var order []string
	for _, a := range attacks {
		if groups[a.id] == nil {
			order = append(order, a.id)
		}
		groups[a.id] = append(groups[a.id], a)
	}
	for _, id := range order {
		t.Run(id, func(t *testing.T) {
			for _, a := range groups[id] {
				t.Run(a.name, func(t *testing.T) {
					f := newFixture(t, a.spec)
					if a.before != nil {
						a.before(f)
					}
					f.make()
					if a.after != nil {
						a.after(f)
					}
					_, err := f.verify()
					refused(t, err, a.want)
				})
			}
		})
	}
}

func otherPoint() *ecdh.PublicKey {
	k, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return k.PublicKey()
}

func eccParms(curve tpm2.TPMECCCurve, scheme tpm2.TPMTECCScheme) tpm2.TPMUPublicParms {
	return tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: curve, Scheme: scheme})
}

func rekTamper(change func(*tpm2.TPMTPublic)) func(*fixture) {
	return func(f *fixture) { f.node.TPM.TamperREK = change }
}

func TestAttacksOnTime(t *testing.T) {
	runAttacks(t, []attack{
		{id: "AT-01", name: "old epoch evidence", want: "att.stale", after: func(f *fixture) { f.refs.EpochCheckpoint.Time = f.now.Add(-3*time.Hour - time.Second) }},
		{id: "AT-01", name: "old freshness", want: "att.stale", after: func(f *fixture) { f.refs.FreshCheckpoint.Time = f.now.Add(-10*time.Minute - time.Second) }},
		{id: "AT-01", name: "a year later", want: "att.stale", after: func(f *fixture) { f.now = f.now.AddDate(1, 0, 0) }},
		{id: "AT-52", name: "checkpoint from the future", want: "att.clock", after: func(f *fixture) { f.refs.FreshCheckpoint.Time = f.now.Add(time.Minute + time.Second) }},
		{id: "AT-02", name: "freshness after a reset", want: "att.epoch", after: func(f *fixture) { f.node.TPM.Clock.ResetCount++; f.refresh() }},
		{id: "AT-02", name: "freshness after a restart", want: "att.epoch", after: func(f *fixture) { f.node.TPM.Clock.RestartCount++; f.refresh() }},
		{id: "AT-02", name: "freshness older than the epoch quote", want: "att.epoch", after: func(f *fixture) { f.node.TPM.Clock.Clock = 1; f.refresh() }},
		{id: "AT-02", name: "REK of an earlier boot", want: "att.epoch", before: func(f *fixture) {
			f.node.TPM.TamperCreation = func(a *tpm2.TPMSAttest) { a.ClockInfo.ResetCount-- }
		}},
		{id: "AT-02", name: "evidence of another epoch", want: "att.epoch", before: func(f *fixture) {
			f.node.Tamper = func(s *evidence.KeyStatement) { s.Epoch-- }
		}},
		{id: "AT-02", name: "registers empty after a reset", want: "att.pcr.value", after: func(f *fixture) {
			f.node.TPM.Reset()
			f.node.TPM.Clock.ResetCount--
			f.refresh()
		}},
		{id: "AT-03", name: "quote over another challenge", want: "att.nonce", before: func(f *fixture) {
			f.node.TPM.TamperQuote = func(q *attestationtest.QuoteSpec) { q.ExtraData = make([]byte, 32) }
		}},
		{id: "AT-03", name: "statement over another checkpoint", want: "att.nonce", before: func(f *fixture) {
			f.node.Tamper = func(s *evidence.KeyStatement) { s.Checkpoint[0] ^= 1 }
		}},
		{id: "AT-03", name: "creation over another challenge", want: "att.nonce", before: func(f *fixture) {
			f.node.TPM.TamperCreation = func(a *tpm2.TPMSAttest) { a.ExtraData.Buffer = make([]byte, 32) }
		}},
		{id: "AT-03", name: "freshness over another checkpoint", want: "att.nonce", after: func(f *fixture) { f.refs.FreshCheckpoint.Hash[0] ^= 1 }},
		{id: "AT-03", name: "freshness of another epoch's evidence", want: "att.nonce", after: func(f *fixture) {
			old := f.ev.Freshness
			f.make()
			f.ev.Freshness = old
		}},
		{id: "AT-05", name: "challenge shipped with the evidence", want: "att.nonce", before: func(f *fixture) {
			// The node picks its own checkpoint, and everything it sends agrees on it.
			f.early.Hash = sha256.Sum256([]byte("the node's own"))
		}, after: func(f *fixture) { f.refs.EpochCheckpoint.Hash = sha256.Sum256([]byte("checkpoint 40")) }},
		{id: "AT-05", name: "challenge in a piece of its own", want: "att.format", after: func(f *fixture) {
			f.ev.Epoch.Pieces = append(f.ev.Epoch.Pieces, evidence.Piece{Kind: evidence.KindFreshQuote, Data: []byte("nonce")})
			f.refresh()
		}},
	})
}

func TestAttacksOnKeys(t *testing.T) {
	ecdhScheme := tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDH, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDH, &tpm2.TPMSKeySchemeECDH{HashAlg: tpm2.TPMAlgSHA256})}
	ecdsaScheme := tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})}
	runAttacks(t, []attack{
		{id: "AT-24", name: "REK of another node in the record", want: "att.rek.name", after: func(f *fixture) { f.refs.REK = newFixture(f.t, nil).node.REK() }},
		{id: "AT-24", name: "bundle of another node", want: "att.rek.name", after: func(f *fixture) {
			other := newFixture(f.t, nil).make()
			f.ev = other.ev
			f.refs.EvidenceDigest = other.refs.EvidenceDigest
		}},
		{id: "AT-24", name: "TPM key of another REK", want: "att.rek.name", before: rekTamper(func(p *tpm2.TPMTPublic) {
			b := otherPoint().Bytes()
			p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: b[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: b[33:]}})
		})},
		{id: "AT-24", name: "ML-KEM half swapped in the record", want: "att.rek.name", after: func(f *fixture) { f.refs.REK[7] ^= 1 }},
		{id: "AT-24", name: "creation certifies another key", want: "att.rek.name", before: func(f *fixture) {
			f.node.TPM.TamperCreation = func(a *tpm2.TPMSAttest) {
				info, _ := a.Attested.Creation()
				info.ObjectName.Buffer[5] ^= 1
			}
		}},
		{id: "AT-25", name: "fixedTPM clear", want: "att.rek.attrs", before: rekTamper(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false })},
		{id: "AT-25", name: "fixedParent clear", want: "att.rek.attrs", before: rekTamper(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedParent = false })},
		{id: "AT-25", name: "encryptedDuplication set", want: "att.rek.attrs", before: rekTamper(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.EncryptedDuplication = true })},
		{id: "AT-25", name: "stClear clear", want: "att.rek.attrs", before: rekTamper(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.STClear = false })},
		{id: "AT-25", name: "imported", want: "att.rek.attrs", before: rekTamper(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SensitiveDataOrigin = false })},
		{id: "AT-26", name: "userWithAuth set", want: "att.rek.attrs", before: rekTamper(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.UserWithAuth = true })},
		{id: "AT-26", name: "adminWithPolicy clear", want: "att.rek.attrs", before: rekTamper(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.AdminWithPolicy = false })},
		{id: "AT-26", name: "noDA set", want: "att.rek.attrs", before: rekTamper(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.NoDA = true })},
		{id: "AT-28", name: "P-384", want: "att.rek.kind", before: rekTamper(func(p *tpm2.TPMTPublic) { p.Parameters = eccParms(tpm2.TPMECCNistP384, ecdhScheme) })},
		{id: "AT-28", name: "RSA", want: "att.rek.kind", before: rekTamper(func(p *tpm2.TPMTPublic) {
			p.Type = tpm2.TPMAlgRSA
			p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: 2048})
			p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: make([]byte, 256)})
		})},
		{id: "AT-28", name: "may sign", want: "att.rek.kind", before: rekTamper(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SignEncrypt = true })},
		{id: "AT-28", name: "restricted", want: "att.rek.kind", before: rekTamper(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = true })},
		{id: "AT-28", name: "may not decrypt", want: "att.rek.kind", before: rekTamper(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Decrypt = false })},
		{id: "AT-28", name: "ECDSA scheme", want: "att.rek.kind", before: rekTamper(func(p *tpm2.TPMTPublic) { p.Parameters = eccParms(tpm2.TPMECCNistP256, ecdsaScheme) })},
		{id: "AT-28", name: "ECDAA scheme", want: "att.rek.kind", after: func(f *fixture) {
			// TPMT_PUBLIC: type, nameAlg, attributes, policy of 32 bytes, no symmetric algorithm, then the scheme.
			(*f.piece(evidence.KindREKPublic))[2+2+4+2+32+2+1] = 0x1a
			f.refresh()
		}},
		{id: "AT-28", name: "named with SHA-1", want: "att.rek.kind", before: rekTamper(func(p *tpm2.TPMTPublic) { p.NameAlg = tpm2.TPMAlgSHA1 })},
		{id: "AT-29", name: "no policy", want: "att.rek.policy", before: rekTamper(func(p *tpm2.TPMTPublic) { p.AuthPolicy.Buffer = nil })},
		{id: "AT-29", name: "PolicyOR with a second branch", want: "att.rek.policy", before: rekTamper(func(p *tpm2.TPMTPublic) {
			or := sha256.Sum256(slices.Concat(make([]byte, 32), []byte{0, 0, 1, 0x71}, p.AuthPolicy.Buffer, make([]byte, 32)))
			p.AuthPolicy.Buffer = or[:]
		})},
		{id: "AT-29", name: "PolicySecret", want: "att.rek.policy", before: rekTamper(func(p *tpm2.TPMTPublic) {
			secret := sha256.Sum256(slices.Concat(make([]byte, 32), []byte{0, 0, 1, 0x51}, []byte{0x40, 0, 0, 7}))
			p.AuthPolicy.Buffer = secret[:]
		})},
		{id: "AT-29", name: "over fewer PCRs", want: "att.rek.policy", before: func(f *fixture) {
			rekTamper(func(p *tpm2.TPMTPublic) { p.AuthPolicy.Buffer = attestationtest.PolicyPCR([]int{0, 2}, [32]byte{1}) })(f)
		}},
		{id: "AT-29", name: "over other values", want: "att.rek.policy", before: rekTamper(func(p *tpm2.TPMTPublic) {
			p.AuthPolicy.Buffer = attestationtest.PolicyPCR(evidence.SealPCRs(), sha256.Sum256(nil))
		})},
	})
}

// TestAttacksOnKeysUnnumbered has no rows of their own in the list of attacks.
func TestAttacksOnKeysUnnumbered(t *testing.T) {
	data := func(change func(*tpm2.TPMSCreationData)) func(*fixture) {
		return func(f *fixture) { f.node.TPM.TamperData = change }
	}
	parent := func(change func(*tpm2.TPMTPublic)) func(*fixture) {
		return func(f *fixture) { f.node.TPM.TamperParent = change }
	}
	ak := func(change func(*tpm2.TPMTPublic)) func(*attestationtest.NodeSpec) {
		return func(s *attestationtest.NodeSpec) { s.TamperAK = change }
	}
	runAttacks(t, []attack{
		{id: "AK", name: "not restricted", want: "att.ak", spec: ak(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = false })},
		{id: "AK", name: "fixedTPM clear", want: "att.ak", spec: ak(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false })},
		{id: "AK", name: "may decrypt", want: "att.ak", spec: ak(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Decrypt = true })},
		{id: "AK", name: "imported", want: "att.ak", spec: ak(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SensitiveDataOrigin = false })},
		{id: "AK", name: "no scheme", want: "att.ak", spec: ak(func(p *tpm2.TPMTPublic) {
			p.Parameters = eccParms(tpm2.TPMECCNistP256, tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgNull})
		})},
		{id: "AK", name: "not on the curve", want: "att.ak", spec: ak(func(p *tpm2.TPMTPublic) {
			p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)}, Y: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)}})
		})},
		{id: "AK", name: "of another node", want: "att.node", before: func(f *fixture) {
			f.node.Tamper = func(s *evidence.KeyStatement) { s.NodeID[0] ^= 1 }
		}},
		{id: "AK", name: "record claims another AK's id", want: "att.node", before: func(f *fixture) {
			f.node.Tamper = func(s *evidence.KeyStatement) { s.NodeID[0] ^= 1 }
		}, after: func(f *fixture) { f.refs.NodeID[0] ^= 1 }},
		{id: "node key", name: "another key in the record", want: "att.key", after: func(f *fixture) {
			f.refs.NodeKey = newFixture(f.t, nil).node.Public()
		}},
		{id: "digest", name: "other evidence than the record names", want: "att.digest", after: func(f *fixture) { f.refs.EvidenceDigest[0] ^= 1 }},
		{id: "creation", name: "at another locality", want: "att.rek.creation", before: data(func(d *tpm2.TPMSCreationData) { d.Locality = tpm2.TPMALocality{TPMLocThree: true} })},
		{id: "creation", name: "under other PCRs", want: "att.rek.creation", before: data(func(d *tpm2.TPMSCreationData) { d.PCRSelect.PCRSelections[0].PCRSelect = []byte{1, 0, 0} })},
		{id: "creation", name: "under other values", want: "att.rek.creation", before: data(func(d *tpm2.TPMSCreationData) { d.PCRDigest.Buffer = make([]byte, 32) })},
		{id: "creation", name: "outside info", want: "att.rek.creation", before: data(func(d *tpm2.TPMSCreationData) { d.OutsideInfo.Buffer = []byte{1} })},
		{id: "creation", name: "data swapped after", want: "att.rek.creation", after: func(f *fixture) { (*f.piece(evidence.KindCreationData))[60] ^= 1; f.refresh() }},
		{id: "creation", name: "unsigned", want: "att.rek.creation", after: func(f *fixture) { b := *f.piece(evidence.KindCreationSig); b[len(b)-1] ^= 1; f.refresh() }},
		{id: "creation", name: "a quote instead", want: "att.rek.creation", after: func(f *fixture) {
			*f.piece(evidence.KindCreation) = *f.piece(evidence.KindQuote)
			*f.piece(evidence.KindCreationSig) = *f.piece(evidence.KindQuoteSig)
			f.refresh()
		}},
		{id: "parent", name: "in the owner hierarchy", want: "att.rek.parent", before: data(func(d *tpm2.TPMSCreationData) {
			d.ParentQualifiedName.Buffer = attestationtest.QualifiedName(tpm2.TPMRHOwner, d.ParentName.Buffer)
		})},
		{id: "parent", name: "one level down", want: "att.rek.parent", before: data(func(d *tpm2.TPMSCreationData) {
			d.ParentQualifiedName.Buffer = attestationtest.QualifiedName(0x80000001, d.ParentName.Buffer)
		})},
		{id: "parent", name: "another one shown", want: "att.rek.parent", before: data(func(d *tpm2.TPMSCreationData) { d.ParentName.Buffer[9] ^= 1 })},
		{id: "parent", name: "may leave", want: "att.rek.parent", before: parent(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false })},
		{id: "parent", name: "not a storage key", want: "att.rek.parent", before: parent(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = false })},
		{id: "parent", name: "with a policy", want: "att.rek.parent", before: parent(func(p *tpm2.TPMTPublic) { p.AuthPolicy.Buffer = make([]byte, 32) })},
		{id: "quote", name: "unsigned", want: "att.quote", after: func(f *fixture) { b := *f.piece(evidence.KindQuoteSig); b[len(b)-1] ^= 1; f.refresh() }},
		{id: "quote", name: "not by a TPM", want: "att.quote", before: func(f *fixture) {
			f.node.TPM.TamperQuote = func(q *attestationtest.QuoteSpec) { q.Magic = 0x12345678 }
		}},
		{id: "quote", name: "signed by another key", want: "att.quote", after: func(f *fixture) {
			other := newFixture(f.t, nil)
			q := evidence.EpochQualifier(*f.piece(evidence.KindKeyStatement), [32]byte{})
			quote, err := other.node.TPM.Quote(q[:], evidence.QuotePCRs())
			if err != nil {
				f.t.Fatal(err)
			}
			*f.piece(evidence.KindQuote), *f.piece(evidence.KindQuoteSig) = quote.Attest, quote.Signature
			f.refresh()
		}},
	})
}

func TestAttacksOnRegisters(t *testing.T) {
	quote := func(change func(*attestationtest.QuoteSpec)) func(*fixture) {
		return func(f *fixture) { f.node.TPM.TamperQuote = change }
	}
	index := func(pcr int) int { return slices.Index(evidence.QuotePCRs(), pcr) }
	runAttacks(t, []attack{
		{id: "AT-30", name: "only PCR 12", want: "att.pcr.set", before: quote(func(q *attestationtest.QuoteSpec) {
			q.Selected, q.Values, q.Labels = []int{12}, q.Values[index(12):index(12)+1], map[int][32]byte{12: q.Labels[12]}
		})},
		{id: "AT-30", name: "without PCR 11", want: "att.pcr.set", before: quote(func(q *attestationtest.QuoteSpec) {
			q.Selected = slices.DeleteFunc(q.Selected, func(i int) bool { return i == 11 })
			q.Values = slices.Delete(q.Values, index(11), index(11)+1)
			delete(q.Labels, 11)
		})},
		{id: "AT-30", name: "one more", want: "att.pcr.set", before: quote(func(q *attestationtest.QuoteSpec) { q.Selected = append(q.Selected, 14) })},
		{id: "AT-30", name: "values of more than quoted", want: "att.pcr.set", before: quote(func(q *attestationtest.QuoteSpec) { q.Labels[14] = [32]byte{} })},
		{id: "AT-31", name: "PCR 23 in place of 11", want: "att.pcr.set", before: quote(func(q *attestationtest.QuoteSpec) { q.Selected[index(11)] = 23 })},
		{id: "AT-31", name: "value of 11 labelled 8", want: "att.pcr.select", before: quote(func(q *attestationtest.QuoteSpec) {
			q.Labels[8] = q.Labels[11]
			delete(q.Labels, 11)
		})},
		{id: "AT-31", name: "SHA-1 bank", want: "att.pcr.select", before: quote(func(q *attestationtest.QuoteSpec) { q.Hash = tpm2.TPMAlgSHA1 })},
		{id: "AT-31", name: "SHA-384 bank", want: "att.pcr.select", before: quote(func(q *attestationtest.QuoteSpec) { q.Hash = tpm2.TPMAlgSHA384 })},
		{id: "AT-31", name: "other values than quoted", want: "att.pcr.value", before: quote(func(q *attestationtest.QuoteSpec) { q.Labels[11] = [32]byte{1} })},
	})
}
