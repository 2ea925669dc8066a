// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-eventlog/testdata"
	sevtestdata "github.com/google/go-sev-guest/verify/testdata"
	"github.com/google/go-sev-guest/verify/trust"
	tdxtesting "github.com/google/go-tdx-guest/testing"
	tdxtestdata "github.com/google/go-tdx-guest/testing/testdata"
)

// recorded reads evidence that was recorded on real hardware and is not part of
// the repository.
func recorded(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("SOTTO_RECORDED_EVIDENCE")
	if dir == "" {
		dir = "../../../shared/evidence"
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Skipf("recorded evidence is not here (SOTTO_RECORDED_EVIDENCE): %v", err)
	}
	return b
}

// published reads recorded evidence that is part of the repository.
func published(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "internal", path))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// An azure is what lies in the combined files of Azure's machines.
type azure struct {
	HCL   string `json:"hcl_report"`
	VCEK  string
	TD    string `json:"td_quote"`
	Quote struct {
		Message, Signature string
		PCRs               []string
	} `json:"tpm_quote"`
}

func readAzure(t *testing.T, name string) (a azure, hcl []byte) {
	t.Helper()
	if err := json.Unmarshal(recorded(t, name), &a); err != nil {
		t.Fatal(err)
	}
	return a, must(base64.URLEncoding.DecodeString(a.HCL))
}

// attestationKey takes the JWK of the vTPM's key out of the runtime data.
func attestationKey(t *testing.T, hcl []byte) any {
	t.Helper()
	const end = 32 + 1184 + 20 // header, hardware report, header of the runtime data
	size := binary.LittleEndian.Uint32(hcl[end-4:])
	var runtime struct{ Keys []map[string]any }
	if err := json.Unmarshal(hcl[end:][:size], &runtime); err != nil {
		t.Fatal(err)
	}
	for _, k := range runtime.Keys {
		if k["kid"] == "HCLAkPub" {
			return k
		}
	}
	t.Fatal("no HCLAkPub")
	return nil
}

// TestRecordedSNP has reports of real processors under AMD's roots.
func TestRecordedSNP(t *testing.T) {
	crl := []string{"crl"}
	t.Run("go-sev-guest", func(t *testing.T) {
		base := doc{"time": "2023-06-01T00:00:00Z", "report": b64(sevtestdata.AttestationBytes), "certificate": b64(sevtestdata.VcekBytes)}
		milan := base.with("waive", []string{"crl", "debug"}).with("products", []string{"Milan"}) // its guest was launched open to the host
		judgeAll(t, "sev-snp", []variant{
			{"no list", base, "att.crl", nil},
			{"AT-16", base.with("waive", crl), "att.product", nil},
			{"AT-07", milan.with("waive", crl), "att.debug", nil},
			{"Milan", milan, "accepted", []string{"crl", "debug", "floor", "report_data", "measurement", "profile"}},
			{"Milan, with its chain", milan.with("chain", string(trust.AskArkMilanVcekBytes)), "accepted", nil},
			{"Milan, strict", milan.with("profile", "strict"), "att.product", nil},
			{"before the certificate", milan.with("time", "2020-01-01T00:00:00Z"), "att.chain", nil},
			{"floor", milan.with("floor", doc{"snp": 255}), "att.tcb", nil},
			{"under roots of somebody else", milan.with("roots", pems(minted().amd.Issuer())), "att.simulated", nil},
		})
	})
	t.Run("Azure", func(t *testing.T) {
		hcl, bundle := recorded(t, "azure-snp-milan/hcl-report.bin"), string(recorded(t, "azure-snp-milan/vcek.pem"))
		base := doc{"time": "2024-06-01T00:00:00Z", "report": b64(hcl[32:][:1184]), "certificate": bundle, "waive": crl}
		judgeAll(t, "sev-snp", []variant{
			{"AT-16", base, "att.product", nil},
			{"Milan", base.with("products", []string{"Milan"}), "accepted", nil},
			{"Milan, strict", base.with("products", []string{"Milan"}).with("profile", "strict"), "att.product", nil},
			{"Milan, business", base.with("products", []string{"Milan"}).with("profile", "business"), "att.product", nil},
		})
	})
	t.Run("VLEK", func(t *testing.T) {
		base := doc{"time": "2025-06-01T00:00:00Z", "report": b64(recorded(t, "snp-vlek/test-vlek-report.bin")),
			"certificate": b64(recorded(t, "snp-vlek/test-vlek.der")), "products": []string{"Milan"}}
		a := expect(t, "sev-snp", base.with("waive", crl), "att.signingkey")
		judgeAll(t, "sev-snp", []variant{
			{"no list", base, "att.crl", nil},
			{"the provider named", base.with("waive", crl).with("vleks", []any{a.Claims["csp"]}), "accepted", nil},
			{"strict", base.with("waive", crl).with("vleks", []any{a.Claims["csp"]}).with("profile", "strict"), "att.product", nil},
		})
	})
}

// collateral returns what Intel's service answered in June 2023.
func collateral(t *testing.T) doc {
	t.Helper()
	issuers := func(header map[string][]string) string {
		for _, v := range header {
			return must(url.QueryUnescape(v[0]))
		}
		return ""
	}
	return doc{"tcb_info": b64(tdxtestdata.TcbInfoBody), "tcb_info_issuers": issuers(tdxtesting.TcbInfoHeader),
		"qe_identity": b64(tdxtestdata.QeIdentityBody), "qe_identity_issuers": issuers(tdxtesting.QeIdentityHeader),
		"pck_crl": b64(tdxtestdata.PckCrlBody), "pck_crl_issuers": issuers(tdxtesting.PckCrlHeader), "root_crl": b64(tdxtestdata.RootCrlBody)}
}

// TestRecordedTDX has quotes of real platforms under Intel's root.
func TestRecordedTDX(t *testing.T) {
	waive := []string{"collateral"}
	t.Run("go-tdx-guest", func(t *testing.T) {
		quote, _ := bytes.CutSuffix(tdxtestdata.RawQuote, []byte("\nextra bytes(only for testing purpose)\n"))
		base := doc{"time": "2023-07-01T00:00:00Z", "quote": b64(quote), "collateral": collateral(t)}
		judgeAll(t, "tdx", []variant{
			{"AT-59 older than every level of its collateral", base, "att.tdx.status", nil},
			{"the same, strict", base.with("profile", "strict"), "att.tdx.status", nil},
			{"no collateral", base.with("collateral", nil), "att.crl", nil},
			{"signatures alone", base.with("collateral", nil).with("waive", waive), "accepted", []string{"collateral", "report_data", "mrtd", "profile"}},
			{"text behind it", base.with("quote", b64(tdxtestdata.RawQuote)), "att.format", nil},
			{"AT-14", base.with("time", "2023-07-09T00:00:00Z"), "att.crl", nil},
			{"AT-14 in a grace, and still too old", base.with("time", "2023-07-09T00:00:00Z").with("grace", "48h"), "att.tdx.status", nil},
			{"issued later", base.with("time", "2023-06-18T00:00:00Z"), "att.tdx.collateral", nil},
		})
	})
	t.Run("Google", func(t *testing.T) {
		base := doc{"time": "2024-09-01T00:00:00Z", "quote": b64(published(t, "tdx/testdata/cos-113-tdx-quote.dat"))}
		judgeAll(t, "tdx", []variant{
			{"no collateral", base, "att.crl", nil},
			{"signatures alone", base.with("waive", waive), "accepted", nil},
			{"signatures alone, business", base.with("waive", waive).with("profile", "business"), "accepted", []string{"collateral", "report_data", "mrtd"}},
			{"signatures alone, strict", base.with("waive", waive).with("profile", "strict"), "att.inventory", nil},
			{"AT-60 another platform's collateral", base.with("time", "2023-07-01T00:00:00Z").with("collateral", collateral(t)), "att.chain", nil},
		})
	})
	t.Run("Azure", func(t *testing.T) {
		base := doc{"time": "2024-09-01T00:00:00Z", "quote": b64(recorded(t, "azure-tdx/td-quote.bin"))}
		judgeAll(t, "tdx", []variant{
			{"no collateral", base, "att.crl", nil},
			{"signatures alone", base.with("waive", waive), "accepted", nil},
			{"strict", base.with("waive", waive).with("profile", "strict"), "att.platform", nil},
			{"business", base.with("waive", waive).with("profile", "business"), "accepted", nil},
		})
	})
}

// TestRecordedQuote has quotes of Azure's vTPMs, over the text "challenge", by
// keys that the runtime data name.
func TestRecordedQuote(t *testing.T) {
	for _, name := range []string{"azure-snp-milan/evidence-v1.json", "azure-tdx/evidence-v1.json"} {
		t.Run(name, func(t *testing.T) {
			a, hcl := readAzure(t, name)
			pcrs := doc{}
			for i, v := range a.Quote.PCRs {
				pcrs[strconv.Itoa(i)] = v
			}
			base := doc{"time": "2024-09-01T00:00:00Z", "attest": b64(must(hex.DecodeString(a.Quote.Message))), "signature": b64(must(hex.DecodeString(a.Quote.Signature))),
				"signature_format": "raw", "public_key": attestationKey(t, hcl), "nonce": hx([]byte("challenge")), "pcrs": pcrs}
			judgeAll(t, "tpm-quote", []variant{
				{"as recorded", base, "accepted", []string{"attributes", "key", "expect"}},
				{"AT-03", base.with("nonce", hx([]byte("another"))), "att.nonce", nil},
				{"another value", base.with("pcrs.4", strings.Repeat("00", 32)), "att.pcr.value", nil},
				{"AT-06 of the machine beside it", base.with("attest", b64(recorded(t, "azure-snp-milan/tpm-quote.msg"))).
					with("signature", b64(recorded(t, "azure-snp-milan/tpm-quote.sig"))), "att.quote", nil},
			})
		})
	}
}

// TestRecordedLogs has the logs of go-eventlog with the register values known
// for them.
func TestRecordedLogs(t *testing.T) {
	var values map[string]map[string]string
	if err := json.Unmarshal(published(t, "eventlog/testdata/pcrs.json"), &values); err != nil {
		t.Fatal(err)
	}
	const unknown = "unknown"
	for name, c := range map[string]struct {
		log  []byte
		boot string
	}{
		"ArchLinuxWorkstationEventLog":   {testdata.ArchLinuxWorkstationEventLog, unknown},
		"Cos101AmdSevEventLog":           {testdata.Cos101AmdSevEventLog, "on"},
		"Cos85AmdSevEventLog":            {testdata.Cos85AmdSevEventLog, "on"},
		"Cos93AmdSevEventLog":            {testdata.Cos93AmdSevEventLog, "on"},
		"Debian10EventLog":               {testdata.Debian10EventLog, ""},
		"GlinuxAlexEventLog":             {testdata.GlinuxAlexEventLog, "off"},
		"Rhel8EventLog":                  {testdata.Rhel8EventLog, "on"},
		"Ubuntu1804AmdSevEventLog":       {testdata.Ubuntu1804AmdSevEventLog, "off"},
		"Ubuntu2104NoDbxEventLog":        {testdata.Ubuntu2104NoDbxEventLog, "off"},
		"Ubuntu2104NoSecureBootEventLog": {testdata.Ubuntu2104NoSecureBootEventLog, "off"},
		"Ubuntu2404AmdSevSnpEventLog":    {testdata.Ubuntu2404AmdSevSnpEventLog, "off"},
	} {
		t.Run(name, func(t *testing.T) {
			d := doc{"time": "2024-01-01T00:00:00Z", "log": b64(c.log), "flavour": "tpm"}
			if c.boot == "" {
				expect(t, "event-log", d, "piece.unsupported") // the format of TPM 1.2
				return
			}
			registers := doc{}
			for i, v := range values[name] {
				if n, _ := strconv.Atoi(i); n < 16 {
					registers[i] = v
				}
			}
			d = d.with("expect", doc{"registers": registers})
			if a := expect(t, "event-log", d, "accepted"); a.Claims["secure_boot"] != c.boot || len(registers) < 8 {
				t.Errorf("Secure Boot %v, %d registers", a.Claims["secure_boot"], len(registers))
			}
			want := map[string]string{"on": "accepted", "off": "att.secureboot", unknown: "att.log.derived"}[c.boot]
			expect(t, "event-log", d.with("expect.secure_boot", true), want)
			expect(t, "event-log", d.with("expect.registers", registers.with("0", strings.Repeat("01", 32))), "att.log.replay")
		})
	}
	for _, name := range []string{"ccel-intel-direct.bin", "ccel-intel-qemu.bin", "ccel-cos-113.bin", "ccel-cos-113-two-separators.bin"} {
		t.Run(name, func(t *testing.T) {
			log := published(t, "eventlog/testdata/"+name)
			a := expect(t, "event-log", doc{"time": "2024-01-01T00:00:00Z", "log": b64(append(log, bytes.Repeat([]byte{0xff}, 4096)...)), "flavour": "cc"}, "accepted")
			if a.Claims["padding"] != 4096.0 || a.Claims["secure_boot"] != "off" {
				t.Errorf("padding %v, Secure Boot %v", a.Claims["padding"], a.Claims["secure_boot"])
			}
		})
	}
	t.Run("RTMRs of COS 113", func(t *testing.T) {
		quote := published(t, "tdx/testdata/cos-113-tdx-quote.dat")
		const rtmr0 = 48 + 328
		registers := doc{}
		for i := range 3 {
			registers[strconv.Itoa(i)] = hx(quote[rtmr0+48*i:][:48])
		}
		log := published(t, "eventlog/testdata/ccel-cos-113.bin")
		expect(t, "event-log", doc{"time": "2024-01-01T00:00:00Z", "log": b64(log), "flavour": "cc", "expect": doc{"registers": registers}}, "accepted")
	})
}

// TestRecordedGPU has the report of a real H100 and its chain.
func TestRecordedGPU(t *testing.T) {
	report := must(hex.DecodeString(strings.TrimSpace(string(recorded(t, "nvidia-hopper/hopper_coco_report1.txt")))))
	base := doc{"time": "2026-01-01T00:00:00Z", "report": b64(report), "certificates": string(recorded(t, "nvidia-hopper/hopper_coco_certs1.txt"))}
	rim := doc{"vbios": doc{"swid": b64(published(t, "nvidia/testdata/1010_0200_882_960074001A.swidtag"))}}
	waived := base.with("waive", []string{"ocsp", "rim"})
	judgeAll(t, "nvidia-gpu", []variant{
		{"AT-14", base, "att.gpu.ocsp", nil},
		{"no manifests", base.with("waive", []string{"ocsp"}), "att.gpu.rim", nil},
		{"waived", waived, "accepted", []string{"nonce", "ocsp", "versions", "rim"}},
		{"waived, versions", waived.with("expect", doc{"count": 1, "chip": "GH100", "driver": "580.95.05", "vbios": "96.00.74.00.1A", "protected_pcie": false}), "accepted", []string{"nonce", "ocsp", "rim"}},
		{"waived, another driver", waived.with("expect", doc{"driver": "580.95.06"}), "att.gpu.claims", nil},
		{"AT-57", waived.with("nonce", strings.Repeat("00", 32)), "att.gpu.binding", nil},
		{"AT-15 before the chain", waived.with("time", "2020-01-01T00:00:00Z"), "att.gpu.chain", nil},
		{"a manifest whose signer ran out", waived.with("rims", rim), "att.gpu.rim", nil},
	})
	if a := expect(t, "nvidia-gpu", waived, "accepted"); a.Claims["trimmed"] != 1.0 || a.Roots != "built in" || a.Simulated {
		t.Errorf("%+v", a)
	}
}
