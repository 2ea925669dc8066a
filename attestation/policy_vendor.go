// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"encoding/json"
	"errors"
	"time"
)

// SNPPolicy is the part about AMD SEV-SNP.
type SNPPolicy struct {
	// Products are the product lines that may be used: "Genoa". EPYC Milan has to
	// be named to be accepted: it offers neither ciphertext hiding nor a closed
	// alias check on much of the installed base. Others are refused by Verify.
	Products []string `json:"products,omitempty"`
	// Floors hold the lowest firmware each product may run, for the reported,
	// current, committed and launch TCB alike. A product without one is refused.
	Floors map[string]TCB `json:"floors,omitempty"`
	// FloorGrace holds lower floors that count until a date. A machine that needs
	// one is accepted with a named gap.
	FloorGrace map[string]TCBGrace `json:"floor_grace,omitempty"`
	// Chips is the inventory of enrolled chips. A chip outside it is refused
	// unless AllowAnyChip is set.
	Chips        []ChipID `json:"chips,omitempty"`
	AllowAnyChip bool     `json:"allow_any_chip,omitempty"`
	// VMPL is the privilege level the report must come from, exactly.
	VMPL uint32 `json:"vmpl"`
	// VLEKs names the cloud providers (CSP_ID) whose VLEK may sign reports. With
	// a VLEK the chip is not identified. None may if empty.
	VLEKs []string `json:"vleks,omitempty"`
	// CRLGrace is how long past its nextUpdate a revocation list still counts.
	CRLGrace Duration `json:"crl_grace"`
	// IDKeys and AuthorKeys are digests of keys, one of which must have signed the
	// guest's identity block, and that key. Absent: any, or no block.
	IDKeys     []Measurement `json:"id_keys,omitempty"`
	AuthorKeys []Measurement `json:"author_keys,omitempty"`
	// Bits of the mitigation vectors that must be set (reports of version 5).
	LaunchMitigations  uint64 `json:"launch_mitigations,omitempty"`
	CurrentMitigations uint64 `json:"current_mitigations,omitempty"`

	AllowSMT                bool `json:"allow_smt,omitempty"`                  // guest policy bit 16, PLATFORM_INFO bit 0
	AllowCXL                bool `json:"allow_cxl,omitempty"`                  // guest policy bit 21
	AllowMultiSocket        bool `json:"allow_multi_socket,omitempty"`         // guest policy bit 20 clear
	AllowAES128             bool `json:"allow_aes128,omitempty"`               // guest policy bit 22 clear
	AllowRAPL               bool `json:"allow_rapl,omitempty"`                 // guest policy bit 23 clear, PLATFORM_INFO bit 3 clear
	AllowNoCiphertextHiding bool `json:"allow_no_ciphertext_hiding,omitempty"` // guest policy bit 24 clear, PLATFORM_INFO bit 4 clear
	AllowPageSwap           bool `json:"allow_page_swap,omitempty"`            // guest policy bit 25 clear
	AllowNoECC              bool `json:"allow_no_ecc,omitempty"`               // PLATFORM_INFO bit 2 clear
	AllowNoAliasCheck       bool `json:"allow_no_alias_check,omitempty"`       // PLATFORM_INFO bit 5 clear
	// AllowRollback accepts a chip whose current firmware is newer than what it
	// committed to, or than what it reports: its owner can go back, though not
	// below the floor, which all four have to meet.
	AllowRollback bool `json:"allow_rollback,omitempty"`
}

// A TCB is a set of security patch levels (AMD 56860, TCB_VERSION).
type TCB struct {
	Bootloader uint8 `json:"bootloader"`
	TEE        uint8 `json:"tee"`
	SNP        uint8 `json:"snp"`
	Microcode  uint8 `json:"microcode"`
	FMC        uint8 `json:"fmc,omitempty"` // Turin's; other product lines have none
}

// A TCBGrace is a floor that counts until a date.
type TCBGrace struct {
	Floor TCB  `json:"floor"`
	Until Date `json:"until"`
}

// TDXPolicy is the part about Intel TDX.
type TDXPolicy struct {
	// MinEvaluationNumber is the lowest tcbEvaluationDataNumber of collateral: a
	// verifier that takes older numbers does not know newer recoveries.
	MinEvaluationNumber int `json:"min_evaluation_number,omitempty"`
	// StatusGrace lists TCB statuses beside UpToDate that count until a date. A
	// machine that needs one is accepted with a named gap.
	StatusGrace []StatusGrace `json:"status_grace,omitempty"`
	// Modules are the MRSEAM values of TDX modules that may run. Absent: those
	// that Intel's collateral knows.
	Modules []Measurement `json:"modules,omitempty"`
	// Chips is the inventory of enrolled platforms: SHA-512 of what identifies
	// one. A platform outside it is refused unless AllowAnyChip is set.
	Chips        []ChipID `json:"chips,omitempty"`
	AllowAnyChip bool     `json:"allow_any_chip,omitempty"`
	// CollateralGrace is how long past its nextUpdate collateral still counts.
	CollateralGrace Duration `json:"collateral_grace"`
	// AllowVE accepts a TD whose attribute SEPT_VE_DISABLE is clear.
	AllowVE bool `json:"allow_ve,omitempty"`
}

// A StatusGrace accepts a TCB status, as Intel's collateral names it, until a
// date.
type StatusGrace struct {
	Status string `json:"status"`
	Until  Date   `json:"until"`
	Reason string `json:"reason"` // for the report
}

// TPMPolicy is the part about certificates of TPM keys: those that clouds issue
// for their vTPMs, and those of a self-hoster's own enrolment.
type TPMPolicy struct {
	// EnrolmentCAs are the X.509 roots, in PEM, of whoever certifies attestation
	// keys after TPM2_ActivateCredential. Nobody else vouches that an attestation
	// key and an endorsement key are in one TPM.
	EnrolmentCAs string `json:"enrolment_cas,omitempty"`
	// EndorsementCAs are further X.509 roots, in PEM, of makers of TPMs.
	EndorsementCAs string `json:"endorsement_cas,omitempty"`
	// AllowNoCRL accepts certificates of keys whose issuers' revocation lists did
	// not come along: none of the clouds' evidence carries them.
	AllowNoCRL bool `json:"allow_no_crl,omitempty"`
}

// AzurePolicy is the part about Azure's confidential VMs.
type AzurePolicy struct {
	// AllowConsole accepts a machine whose serial console the cloud serves: a way
	// in for whoever owns the account, if the guest listens on it.
	AllowConsole bool `json:"allow_console,omitempty"`
}

// NitroPolicy is the part about AWS NitroTPM.
type NitroPolicy struct {
	// MaxAge is how old a document may be: its certificates live for hours, and
	// there is no revocation list. Zero refuses.
	MaxAge Duration `json:"max_age,omitempty"`
}

// GPUPolicy is the part about NVIDIA GPUs in confidential mode. A version is
// allowed if it is listed or not below the least; without either none is.
type GPUPolicy struct {
	// Count is how many GPUs must be attested, Switches how many NVSwitches;
	// exactly.
	Count    int `json:"count,omitempty"`
	Switches int `json:"switches,omitempty"`
	// Chips that may be used: "GH100", "GB100", "LS10".
	Chips         []string `json:"chips,omitempty"`
	Drivers       []string `json:"drivers,omitempty"`
	MinDriver     string   `json:"min_driver,omitempty"`
	VBIOS         []string `json:"vbios,omitempty"`
	MinVBIOS      string   `json:"min_vbios,omitempty"`
	SwitchBIOS    []string `json:"switch_bios,omitempty"`
	MinSwitchBIOS string   `json:"min_switch_bios,omitempty"`
	// ProtectedPCIE asks for the mode in which GPUs and switches of one machine
	// are protected together; without it no GPU may be in that mode.
	ProtectedPCIE bool `json:"protected_pcie,omitempty"`
	// RequireToken asks for a token of NVIDIA's service beside the comparison with
	// manifests, AllowTokenOnly takes it in their place. TokenKeys is the service's
	// JWKS, from which alone keys are taken, TokenIssuer its name if not NVIDIA's.
	RequireToken   bool            `json:"require_token,omitempty"`
	AllowTokenOnly bool            `json:"allow_token_only,omitempty"`
	TokenKeys      json.RawMessage `json:"token_keys,omitempty"`
	TokenIssuer    string          `json:"token_issuer,omitempty"`
	TokenMaxAge    Duration        `json:"token_max_age,omitempty"`
	// OCSPGrace is how long past its nextUpdate a revocation status still counts.
	OCSPGrace Duration `json:"ocsp_grace"`
}

// A Date is a day in UTC, "2027-01-31" in JSON. What counts until a date counts
// to the end of that day.
type Date time.Time

// MarshalText prints the day.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a day.
func (d *Date) UnmarshalText(b []byte) error {
	t, err := time.Parse(time.DateOnly, string(b))
	if err != nil {
		return errors.New("policy: malformed date")
	}
	*d = Date(t)
	return nil
}

// End returns the first moment after the day.
func (d Date) End() time.Time { return time.Time(d).AddDate(0, 0, 1) }

// String prints the day.
func (d Date) String() string { return time.Time(d).Format(time.DateOnly) }
