// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece

import (
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"strings"

	"github.com/sotto-project/sotto/attestation/internal/ima"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

type imaRequest struct {
	log   []byte
	start *[32]byte // a log that grew from this value; nil: from boot
	pcr10 *[32]byte
	boot  *[10][32]byte
	rules *ima.Rules
}

const aggregateName = "boot_aggregate"

func judgeIMALog(j *judgement) error {
	q, err := readIMARequest(j)
	if err != nil {
		return err
	}
	if err := knownTemplates(q.log); err != nil {
		return err
	}
	log, err := ima.Convert(q.log)
	if err != nil {
		return unread(err)
	}
	l, err := ima.Parse(log)
	if err != nil {
		return unread(err)
	}
	var start [32]byte
	if q.start != nil {
		start = *q.start
	}
	pcr := l.Replay(start)
	claims := &imaClaims{Converted: len(log) != len(q.log), Entries: make([]imaEntry, 0, len(l.Entries)), PCR10: pcr[:]}
	for i := range l.Entries {
		e := &l.Entries[i]
		claims.Entries = append(claims.Entries, imaEntry{Index: i, Template: e.Template, Name: e.Name, Digest: string(e.Digest()), Status: "not judged"})
	}
	j.out.Claims = claims
	if err := j.replayIMA(l, log, start, claims, q); err != nil {
		return err
	}
	return j.rulesIMA(l, claims, q)
}

func readIMARequest(j *judgement) (*imaRequest, error) {
	o := j.request
	q := &imaRequest{log: o.needBlob("log")}
	var v [32]byte
	if o.hex("start", v[:]) {
		start := v
		q.start = &start
	}
	expect := o.object("expect")
	if expect.hex("pcr10", v[:]) {
		pcr := v
		q.pcr10 = &pcr
	}
	if pcrs := o.registers("boot_pcrs", 10, 32); pcrs != nil {
		q.boot = new([10][32]byte)
		for i := range q.boot {
			if pcrs[i] == nil {
				return nil, o.failf("boot_pcrs: PCR %d is missing, 0 to 9 are needed", i)
			}
			q.boot[i] = [32]byte(pcrs[i])
		}
	}
	if q.boot != nil && q.start != nil {
		o.failf("boot_pcrs are for a log from boot, start is for one that grew")
	}
	if o.has("rules") {
		var err error
		if q.rules, err = readRules(o.object("rules")); err != nil {
			return nil, err
		}
	}
	if err := j.waivers(); err != nil {
		return nil, err
	}
	return q, o.finish()
}

func readRules(o *object) (*ima.Rules, error) {
	r := &ima.Rules{Files: map[string][]ima.Digest{}, Signers: map[ima.KeyID]crypto.PublicKey{}}
	digests := func(o *object, name string) (out []ima.Digest) {
		for _, d := range o.texts(name) {
			out = append(out, ima.Digest(d))
		}
		return out
	}
	files := o.object("files")
	for path := range files.members {
		r.Files[path] = digests(files, path)
	}
	r.Digests = digests(o, "digests")
	r.AllowViolations, _ = o.boolean("allow_violations")
	for _, s := range o.texts("signers") {
		block, rest := pem.Decode([]byte(s))
		if block == nil || strings.TrimSpace(string(rest)) != "" {
			return nil, o.failf("%ssigners is not a list of keys in PEM", o.path)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, o.failf("%ssigners: %v", o.path, err)
		}
		id, err := ima.KeyIDOf(key)
		if err != nil {
			return nil, o.failf("%ssigners: %v", o.path, err)
		}
		r.Signers[id] = key
	}
	// The rules are the request's: what is wrong with them is not the log's fault.
	if _, err := new(ima.Log).JudgeGrowth(r); err != nil {
		return nil, o.failf("%s", err.Error())
	}
	return r, o.fault()
}

// knownTemplates looks for a template of the kernel's that is not read here, in
// the first entry.
func knownTemplates(log []byte) error {
	for _, digest := range []int{32, 20} {
		at := 4 + digest
		if len(log) < at+4 {
			return nil
		}
		n := binary.LittleEndian.Uint32(log[at:])
		if n > 16 || int64(len(log)) < int64(at)+4+int64(n) {
			continue
		}
		switch name := string(log[at+4:][:n]); name {
		case "ima", "ima-ngv2", "ima-sigv2", "ima-modsig", "evm-sig":
			return unsupported("template %s; this version reads ima-ng, ima-sig and ima-buf", name)
		}
	}
	return nil
}

// replayIMA holds the log against the register that was quoted.
func (j *judgement) replayIMA(l *ima.Log, log []byte, start [32]byte, claims *imaClaims, q *imaRequest) error {
	if q.pcr10 == nil {
		j.gap("pcr10", "what the log leads PCR 10 to was compared with nothing: anybody can write such a log")
		return nil
	}
	err := l.CheckReplay(start, *q.pcr10)
	if err == nil {
		return nil
	}
	if size, ok := l.Prefix(start, *q.pcr10); ok {
		n := 0
		for n < len(l.Entries) && l.Entries[n].End <= size {
			n++
		}
		claims.Quoted = &n
	}
	return err
}

// rulesIMA gives every entry its verdict.
func (j *judgement) rulesIMA(l *ima.Log, claims *imaClaims, q *imaRequest) error {
	if q.rules == nil {
		j.gap("rules", "no rules: nothing says which entries were expected")
	}
	if q.boot == nil && q.start == nil {
		j.gap("boot_aggregate", "boot_pcrs are not given: that the log is of this boot was not looked at")
	}
	rules := q.rules
	if rules == nil {
		rules = new(ima.Rules)
	}
	judged, first := l, 0
	var verdicts []ima.Verdict
	var err error
	switch {
	case q.boot != nil:
		verdicts, err = l.Judge(rules, ima.BootAggregate(*q.boot))
	default:
		if q.start == nil && len(l.Entries) > 0 && l.Entries[0].Name == aggregateName && !l.Entries[0].Violation {
			judged, first = &ima.Log{Entries: l.Entries[1:]}, 1
			claims.Entries[0].Status = "not judged"
		}
		verdicts, err = judged.JudgeGrowth(rules)
	}
	for i, v := range verdicts {
		e := &claims.Entries[first+i]
		if q.rules == nil && v.Status != ima.Aggregate {
			continue
		}
		e.Status, e.Rule = string(v.Status), v.Rule
	}
	if q.rules != nil {
		return err
	}
	return aggregateOnly(verdicts, err)
}

// aggregateOnly is what is left of an error where no rules were given: nothing is
// expected of an entry but that there is one boot_aggregate, and that it is right.
func aggregateOnly(verdicts []ima.Verdict, err error) error {
	if r, ok := err.(*refuse.Error); ok && r.Code == refuse.IMAAggregate {
		return err
	}
	for i := range verdicts {
		if v := &verdicts[i]; v.Name == aggregateName && v.Status != ima.Violation && !v.OK() {
			return refuse.As(refuse.IMAAggregate, "IMA entry %d is another boot_aggregate: another kernel was started", v.Index)
		}
	}
	return nil
}

type imaClaims struct {
	Converted bool       `json:"converted"`                // the list had SHA-1 template digests, which were checked and replaced
	Quoted    *int       `json:"quoted_entries,omitempty"` // so many of the entries lead to the expected value
	PCR10     hexed      `json:"pcr10"`                    // what all entries lead to
	Entries   []imaEntry `json:"entries"`
}

// An imaEntry is one measurement and the verdict on it.
type imaEntry struct {
	Index    int    `json:"index"`
	Template string `json:"template"`
	Name     string `json:"name"`
	Digest   string `json:"digest,omitempty"` // of the file; none of a violation
	Status   string `json:"status"`           // "aggregate", "allowed", "violation", "unknown", "not judged"
	Rule     string `json:"rule,omitempty"`   // what accepted it
}
