// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/computenode/internal/engine"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A Config is the node's YAML file. The operator writes it; everything in it
// but addresses and files is measured before the node serves (see
// [Config.Measured]), so clients judge it too.
type Config struct {
	// Listen is the address of the one port, such as "0.0.0.0:8443". Required
	// by [Node.Serve]. Not measured.
	Listen string `yaml:"listen"`
	// TLS is the node's identity inside the operator's network, and the roots
	// its peers chain to. Required by [Node.Serve]. Not measured: what protects
	// a prompt is the seal, not this.
	TLS httpx.TLS `yaml:"tls"`
	// Metrics is the address of the metrics port. Empty: none. Not measured.
	Metrics string `yaml:"metrics"`
	// Routers are the names, in client certificates, of who may bring requests
	// and ask for health. Default "router.sotto". Not measured.
	Routers []string `yaml:"routers"`
	// Publishers are the names of who may ask for keys and evidence. Default
	// "publisher.sotto". Not measured.
	Publishers []string `yaml:"publishers"`

	// Model is the name that statement and clients use. Required.
	Model string `yaml:"model"`
	// Weights is the SHA-256 of the model's weights in hex. Required.
	Weights string `yaml:"weights"`
	// Payment is "none" or "coins". Required, so that nobody serves for free by
	// forgetting a line.
	Payment string `yaml:"payment"`
	// TicketKeys are the bank's ticket keys in hex, the one in force and, while
	// they change, the next. Required with "coins", and only then.
	TicketKeys []string `yaml:"ticket_keys"`
	// Tier is the entitlement that a ticket must have; 0 asks for none.
	Tier uint8 `yaml:"tier"`
	// Simulated says that no hardware stands behind this node. Evidence of such
	// a node is refused by every client but the lab's.
	Simulated bool `yaml:"simulated"`

	// Engine is the inference engine on this machine. Required.
	Engine EngineConfig `yaml:"engine"`

	// Epoch is how long an epoch lasts, Lead how long before its start its key
	// is asked for, both as at the publisher, Grace how long after its end its key
	// is kept. A key is erased Lead + Epoch + Grace after it was made at the
	// latest, and Lead + Grace after the next one was; a publisher lists no node
	// that would erase one before its epoch ends. Defaults 1h, Epoch/6, 15m
	// (Epoch/4 if that is less).
	Epoch time.Duration `yaml:"epoch"`
	Lead  time.Duration `yaml:"lead"`
	Grace time.Duration `yaml:"grace"`

	// Running is how many requests the engine is given at a time, Queued how
	// many more the node takes before it says busy. Defaults 64 and 128.
	Running int `yaml:"running"`
	Queued  int `yaml:"queued"`
	// Rate is how many requests a second the node opens, whoever they are from
	// (there is nobody to tell apart), and Burst how many at once after a
	// pause. It bounds what a flood costs the TPM. Defaults 2000 and 4000.
	Rate  float64 `yaml:"rate"`
	Burst int     `yaml:"burst"`
	// Remembered is how many requests of one epoch are remembered to refuse
	// their copies, about 100 bytes each. A node that has seen more is busy
	// until the next epoch. Default 1048576.
	Remembered int `yaml:"remembered"`
	// MaxRequest is the largest JSON body in bytes. Default 32 MiB.
	MaxRequest int64 `yaml:"max_request"`
	// UploadTime is how long the body of one request may take. Default 5m.
	UploadTime time.Duration `yaml:"upload_time"`
	// MaxTokens is the longest answer that may be asked for. Default 131072.
	MaxTokens int64 `yaml:"max_tokens"`
	// MaxChoices is the largest n. Default 16.
	MaxChoices int64 `yaml:"max_choices"`
	// SelfCheckInterval is how often the node checks that its platform still is
	// what it was at the start. Default 1m, at most 1h; 0 is refused: there is no
	// node that does not look.
	SelfCheckInterval *time.Duration `yaml:"self_check_interval"`
	// OwnPolicy, if given, is a JSON file: the policy that the node judges its own
	// evidence by, GPUs included, before it offers it, and itself at each self check,
	// with what its run-time log grew by. Evidence that its clients would refuse is
	// not offered, and a node that they would refuse drains. Not measured: it
	// decides nothing for others.
	OwnPolicy string `yaml:"own_policy"`
	// GPUCheckInterval is how often a node with GPUs and an OwnPolicy asks the GPUs
	// again between epochs, over a new nonce, and judges all its evidence anew. It
	// is also how long they may take to answer. Default 10m, at most 1h. Not
	// measured, like the policy.
	GPUCheckInterval time.Duration `yaml:"gpu_check_interval"`
	// Own is the policy in place of the file, for the lab and tests.
	Own *attestation.Policy `yaml:"-"`
	// Peers, if given, has the node verify other nodes whose evidence a router
	// pushes to it, and sign what it finds. Not measured: a verdict names the
	// policy it was reached by.
	Peers PeersConfig `yaml:"peers"`

	// Claims are published as merely stated: region, hardware, terms. Not
	// measured; nothing proves them.
	Claims map[string]string `yaml:"claims"`
	// Prices in units, by meter: 0 per request, 1 per KiB of its body, 2 per 1,000
	// tokens of the answer. Not measured: they are public in the node record, and
	// what is charged is signed.
	Prices map[uint8]uint32 `yaml:"prices"`
}

// A PeersConfig says how a node judges others.
type PeersConfig struct {
	// Policy is a JSON file: which machines this node vouches for. Empty: it
	// judges nobody.
	Policy string `yaml:"policy"`
	// Trust is the log whose statements say which nodes there are. Required with
	// a policy.
	Trust transparency.Trust `yaml:"trust"`
	// Machines is the policy in place of the file, for the lab and tests: no
	// file can name roots.
	Machines *attestation.Policy `yaml:"-"`
}

// An EngineConfig says which engine.
type EngineConfig struct {
	// Address is "http://127.0.0.1:8000", "http://[::1]:8000" or
	// "unix:///run/engine.sock"; anything else is refused. Not measured.
	Address string `yaml:"address"`
	// Kind is one of "vllm", "sglang", "llama.cpp", "ollama", "other". It
	// decides how prefix caches are kept apart; docs/spec/node.md says how well
	// each kind can. Required.
	Kind string `yaml:"kind"`
	// Model is what the engine calls the model. Default: Model.
	Model string `yaml:"model"`
	// HeaderTimeout is how long the engine may compute before it answers at
	// all. Default 10m.
	HeaderTimeout time.Duration `yaml:"header_timeout"`
	// IdleTimeout is the longest silence within an answer, the wait for the
	// first token included. Default 10m.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// MaxAnswer is the largest answer in bytes. Default 256 MiB.
	MaxAnswer int64 `yaml:"max_answer"`
}

const (
	defaultRouter    = "router.sotto"
	defaultPublisher = "publisher.sotto"
)

func engineKinds() []string { return []string{"vllm", "sglang", "llama.cpp", "ollama", "other"} }

// withDefaults fills in what may be left out.
func (c Config) withDefaults() Config {
	def(&c.Epoch, time.Hour)
	def(&c.Lead, c.Epoch/6)
	def(&c.Grace, min(15*time.Minute, c.Epoch/4))
	def(&c.Running, 64)
	def(&c.Queued, 128)
	def(&c.Rate, 2000)
	def(&c.Burst, 4000)
	def(&c.Remembered, 1<<20)
	def(&c.MaxRequest, 32<<20)
	def(&c.UploadTime, 5*time.Minute)
	def(&c.MaxTokens, 131072)
	def(&c.MaxChoices, 16)
	if c.SelfCheckInterval == nil {
		c.SelfCheckInterval = new(time.Minute)
	}
	def(&c.GPUCheckInterval, 10*time.Minute)
	def(&c.Engine.Model, c.Model)
	def(&c.Engine.HeaderTimeout, 10*time.Minute)
	def(&c.Engine.IdleTimeout, 10*time.Minute)
	def(&c.Engine.MaxAnswer, 256<<20)
	if len(c.Routers) == 0 {
		c.Routers = []string{defaultRouter}
	}
	if len(c.Publishers) == 0 {
		c.Publishers = []string{defaultPublisher}
	}
	return c
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Validate checks what can be checked without touching a file or the engine.
func (c Config) Validate() error {
	c = c.withDefaults()
	weights, err := hex.DecodeString(c.Weights)
	switch {
	case c.Model == "":
		return errors.New("node: model is required")
	case err != nil || len(weights) != 32:
		return errors.New("node: weights: 32 bytes in hex are required")
	case c.Payment != "none" && c.Payment != "coins":
		return errors.New(`node: payment: "none" or "coins", and it must be said`)
	case (c.Payment == "coins") != (len(c.TicketKeys) > 0) || len(c.TicketKeys) > 2 || c.Payment == "none" && c.Tier != 0:
		return errors.New(`node: one or two ticket_keys are required with payment "coins"; "none" has neither them nor a tier`)
	case slices.ContainsFunc(slices.Collect(maps.Keys(c.Prices)), func(m uint8) bool { return m > meterTokens }):
		return errors.New("node: prices: meters are 0 (request), 1 (KiB of body) and 2 (1,000 tokens)")
	case !slices.Contains(engineKinds(), c.Engine.Kind):
		return fmt.Errorf("node: engine: kind is one of %v", engineKinds())
	case c.Running < 1 || c.Queued < 1 || c.Rate <= 0 || c.Burst < 1 || c.Remembered < 1:
		return errors.New("node: running, queued, rate, burst and remembered must be positive")
	case c.MaxRequest < 1 || c.MaxTokens < 1 || c.MaxChoices < 1:
		return errors.New("node: max_request, max_tokens and max_choices must be positive")
	case c.Epoch <= 0 || c.Lead < 0 || c.Lead >= c.Epoch || c.Grace < 0 || c.UploadTime <= 0:
		return errors.New("node: epoch, lead, grace and upload_time: out of range")
	case *c.SelfCheckInterval <= 0 || *c.SelfCheckInterval > time.Hour:
		return errors.New("node: self_check_interval: more than 0, at most 1h")
	case c.GPUCheckInterval <= 0 || c.GPUCheckInterval > time.Hour:
		return errors.New("node: gpu_check_interval: more than 0, at most 1h")
	}
	if _, err := c.ticketKeys(); err != nil {
		return err
	}
	if err := c.Peers.validate(); err != nil {
		return err
	}
	if _, err := engine.New(c.Engine.Address, c.engineOptions()); err != nil {
		return fmt.Errorf("node: %v", err)
	}
	if _, err := c.Measured(); err != nil {
		return fmt.Errorf("node: %v", err)
	}
	return nil
}

// none reports whether the node judges nobody.
func (p *PeersConfig) none() bool { return p.Policy == "" && p.Machines == nil }

func (p *PeersConfig) validate() error {
	if p.none() && (p.Trust.LogKey != "" || len(p.Trust.Witnesses) > 0) {
		return errors.New("node: peers: a policy is required: which machines does this node vouch for?")
	}
	if p.none() {
		return nil
	}
	if err := p.Trust.Validate(); err != nil {
		return fmt.Errorf("node: peers: trust: %w", err)
	}
	return nil
}

func (c Config) engineOptions() engine.Options {
	return engine.Options{HeaderTimeout: c.Engine.HeaderTimeout, IdleTimeout: c.Engine.IdleTimeout, MaxAnswer: c.Engine.MaxAnswer}
}

// Measured is the configuration as it is measured and shown in evidence: the
// same bytes for the same settings, defaults filled in. There is no setting
// that makes a node log more (ND-13).
func (c Config) Measured() ([]byte, error) {
	c = c.withDefaults()
	e := evidence.Config{
		Version: 1, Payment: c.Payment, Model: c.Model, Weights: c.Weights, Simulated: c.Simulated,
		Settings: map[string]string{
			"engine.kind":           c.Engine.Kind,
			"engine.model":          c.Engine.Model,
			"engine.header_timeout": c.Engine.HeaderTimeout.String(),
			"engine.idle_timeout":   c.Engine.IdleTimeout.String(),
			"engine.max_answer":     strconv.FormatInt(c.Engine.MaxAnswer, 10),
			"epoch":                 c.Epoch.String(),
			"lead":                  c.Lead.String(),
			"grace":                 c.Grace.String(),
			"running":               strconv.Itoa(c.Running),
			"queued":                strconv.Itoa(c.Queued),
			"rate":                  strconv.FormatFloat(c.Rate, 'g', -1, 64),
			"burst":                 strconv.Itoa(c.Burst),
			"remembered":            strconv.Itoa(c.Remembered),
			"max_request":           strconv.FormatInt(c.MaxRequest, 10),
			"upload_time":           c.UploadTime.String(),
			"max_tokens":            strconv.FormatInt(c.MaxTokens, 10),
			"max_choices":           strconv.FormatInt(c.MaxChoices, 10),
			"self_check_interval":   c.SelfCheckInterval.String(),
		},
	}
	if c.Payment == "coins" {
		e.Settings[evidence.SettingTicketKeys], e.Settings["tier"] = strings.Join(c.TicketKeys, " "), strconv.Itoa(int(c.Tier))
	}
	return e.Append(nil)
}

// prices and claims in the order a record wants them.
func (c Config) prices() (out []statement.Price) {
	for _, class := range slices.Sorted(maps.Keys(c.Prices)) {
		out = append(out, statement.Price{Class: class, Units: c.Prices[class]})
	}
	return out
}

func (c Config) claims() (out []statement.Claim) {
	for _, name := range slices.Sorted(maps.Keys(c.Claims)) {
		out = append(out, statement.Claim{Name: name, Value: c.Claims[name]})
	}
	return out
}
