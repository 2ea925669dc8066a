// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package build makes releases: it builds programs and images so that anybody
// can build the same bytes, says what is in them, signs that, has it logged, and
// puts it into one file. It also builds again and compares.
//
// It verifies nothing for users: that is transparency/release, which is asked
// about every file before it is written. It runs the go and git commands of the
// machine, and speaks to the log and the authorities that its configuration
// names, to nobody else (but what the go command does to get modules).
package build

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/transparency/release"
)

// A Config says what to release and who vouches for it.
type Config struct {
	// Repository is the URL of the source, as trust files have it.
	Repository string `yaml:"repository"`
	// Commands are the programs to build, by their folder under cmd. All of them
	// but the lab, if absent.
	Commands []string `yaml:"commands"`
	// Images are the commands to make an OCI image of. All roles among Commands,
	// if absent; an empty list is none.
	Images []string `yaml:"images"`
	// Platforms to build for, as in "linux/amd64". Images are made for those of Linux.
	Platforms []string `yaml:"platforms"`
	// Machines are images of whole machines that were made elsewhere.
	Machines []Machine `yaml:"machines"`
	// Models are weights that nodes may serve.
	Models []Model `yaml:"models"`
	// Builder is a URI that names where this runs, for the provenance.
	Builder string `yaml:"builder"`

	// LogURL is a log of Rekor's second version, TimestampURL an RFC 3161
	// timestamp authority.
	LogURL       string `yaml:"log_url"`
	TimestampURL string `yaml:"timestamp_url"`
	// KeyFile is a long-lived ECDSA P-256 key in PEM, which only its owner can
	// read; see `sotto-release key`.
	KeyFile string `yaml:"key_file"`
	// FulcioURL issues certificates for identity tokens, in the place of a key;
	// TokenFile has the token, and is read when it is needed.
	FulcioURL string `yaml:"fulcio_url"`
	TokenFile string `yaml:"token_file"`
	// TLS has the roots of all three, if not the system's.
	TLS httpx.TLS `yaml:"tls"`

	// TrustFile is what users are told to pin: nothing is written that does not
	// verify under it. Age and reviewers are left out of that.
	TrustFile string `yaml:"trust_file"`
}

// A Machine is an image of a whole machine, with what it measures.
type Machine struct {
	// Name of the subject, such as "node.raw".
	Name string `yaml:"name"`
	// File is the image; its SHA-256 is released.
	File string `yaml:"file"`
	// Role is "node" or what else runs in it.
	Role string `yaml:"role"`
	// Measurements is a file with a JSON list of images as a policy has them.
	Measurements string `yaml:"measurements"`
	// Launches are how a machine on SEV-SNP is started. Each gives the measurements
	// of one name their launch measurement, or is compared with the one there.
	Launches []Launch `yaml:"launches"`
	// Command builds it again, for people.
	Command string `yaml:"command"`
	// VerityRoot is the root hash that every command line carries, if there is one.
	VerityRoot string `yaml:"verity_root"`
	// IMAPolicy and IMAFiles are files of which the SHA-256 is released.
	IMAPolicy string `yaml:"ima_policy"`
	IMAFiles  string `yaml:"ima_files"`
}

// A Launch is how a hypervisor starts a machine on SEV-SNP.
type Launch struct {
	// Image is the name of the measurements, which are of platform snp.
	Image string `yaml:"image"`
	// VMM is qemu (QEMU 9.1 and KVM of Linux 6.11, or later) or ec2.
	VMM string `yaml:"vmm"`
	// VCPUs is how many virtual processors it has.
	VCPUs int `yaml:"vcpus"`
	// CPU is QEMU's -cpu, such as EPYC-Genoa, or a signature such as 0xa10f10; of ec2
	// none.
	CPU string `yaml:"cpu"`
	// Features are SEV_FEATURES: 1, or 33 with debug_swap.
	Features uint64 `yaml:"features"`
	// Firmware is the OVMF file (-bios).
	Firmware string `yaml:"firmware"`
	// Kernel and Initrd, if given, are started directly (-kernel, -initrd), with the
	// one command line of the measurements (-append).
	Kernel string `yaml:"kernel"`
	Initrd string `yaml:"initrd"`
}

// A Model is one set of weights.
type Model struct {
	// Name under which it is served.
	Name string `yaml:"name"`
	// File has the weights.
	File string `yaml:"file"`
	// Source, Revision and Format say where anybody can get it.
	Source   string `yaml:"source"`
	Revision string `yaml:"revision"`
	Format   string `yaml:"format"`
	// Context is how many tokens it takes.
	Context uint32 `yaml:"context_tokens"`
}

// notReleased are programs that are for tests: nobody should mistake one for the
// real thing.
var notReleased = []string{"sotto-lab"}

// notRoles are programs that people run, not operators in a container.
var notRoles = []string{"sotto", "sotto-release"}

var (
	commandForm  = regexp.MustCompile(`^sotto(-[a-z]+)*$`)
	platformForm = regexp.MustCompile(`^[a-z]+/[a-z0-9]+$`)
)

// Validate checks what can be checked without reading a file.
func (c *Config) Validate() error {
	switch {
	case c.Repository == "":
		return errors.New("repository: missing")
	case len(c.Platforms) == 0:
		return errors.New(`platforms: missing, such as ["linux/amd64"]`)
	case c.Builder == "":
		return errors.New("builder: missing; a URI that names where releases are built")
	case c.TrustFile == "":
		return errors.New("trust_file: missing; it is what users pin")
	}
	for _, p := range c.Platforms {
		if !platformForm.MatchString(p) {
			return fmt.Errorf("platforms: %q is none", p)
		}
	}
	for _, name := range slices.Concat(c.Commands, c.Images) {
		if !commandForm.MatchString(name) || slices.Contains(notReleased, name) {
			return fmt.Errorf("commands: %q is not released", name)
		}
	}
	for _, m := range c.Machines {
		if !plainName.MatchString(m.Name) {
			return fmt.Errorf("machines: name %q: want letters, digits, dots, hyphens; a name with a slash is that of a program or OCI image", m.Name)
		}
	}
	return c.ValidateSigner()
}

// ValidateSigner checks the part that says who signs, and where it is logged.
func (c *Config) ValidateSigner() error {
	switch {
	case (c.KeyFile == "") == (c.FulcioURL == ""):
		return errors.New("key_file or fulcio_url: want one of the two")
	case (c.FulcioURL == "") != (c.TokenFile == ""):
		return errors.New("fulcio_url and token_file go together")
	}
	for name, u := range map[string]string{"log_url": c.LogURL, "timestamp_url": c.TimestampURL, "fulcio_url": c.FulcioURL} {
		if u == "" && name == "fulcio_url" {
			continue
		}
		if err := checkURL(u); err != nil {
			return fmt.Errorf("%s: %v", name, err)
		}
	}
	return nil
}

// checkURL: what is signed is public, but whose answer it is matters, so only a
// machine's own services may go without TLS.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return errors.New("missing, or not a plain URL")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return errors.New("want https, or http on this machine")
}

// commands are those to build: as configured, or all there are.
func (c *Config) commands(source string) ([]string, error) {
	if c.Commands != nil {
		return slices.Sorted(slices.Values(c.Commands)), nil
	}
	dirs, err := os.ReadDir(filepath.Join(source, "cmd"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range dirs {
		if d.IsDir() && commandForm.MatchString(d.Name()) && !slices.Contains(notReleased, d.Name()) {
			out = append(out, d.Name())
		}
	}
	return out, nil
}

func (c *Config) images(commands []string) []string {
	if c.Images != nil {
		return slices.Sorted(slices.Values(c.Images))
	}
	return slices.DeleteFunc(slices.Clone(commands), func(s string) bool { return slices.Contains(notRoles, s) })
}

// role is what an image of a command is called in its manifest.
func role(command string) string { return strings.TrimPrefix(command, "sotto-") }

// trust reads the trust file and leaves out what a new release cannot have.
func (c *Config) trust() (*release.Trust, error) {
	b, err := os.ReadFile(c.TrustFile)
	if err != nil {
		return nil, err
	}
	t, err := release.ParseTrust(b)
	if err != nil {
		return nil, err
	}
	t.Policy = release.Policy{WithoutAge: true, WithoutReviewers: true}
	t.Witnesses, t.Quorum = nil, 0
	return t, nil
}
