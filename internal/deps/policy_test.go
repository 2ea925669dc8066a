// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package deps

// floors orders the folders. An import between folders goes to a lower floor,
// never sideways, so that the house can be read from its folders alone.
// `internal` is the ground under all.
var floors = map[string]int{
	"internal": 1, "hpke": 1, "attestation": 1,
	"ohttp": 2, "transparency": 2, "relay": 2,
	"credits": 3, "router": 3, "computenode": 3, "audit": 3,
	"client": 4,
	"lab":    5,
	"cmd":    6,
}

// may lists, for each package, every package of this module that it imports. A
// package missing from the table may not exist; an edge missing from it may
// not be written.
var may = map[string][]string{
	// The ground: no protocol but the routing block. httpx is what the relay
	// is made of, so it has nothing of ours beneath it.
	"internal/claims":              nil, // a lint over the documents
	"internal/config":              nil,
	"internal/daemon":              {"internal/config"},
	"internal/deps":                nil,
	"internal/durable":             nil,
	"internal/durable/durabletest": nil, // ends processes of tests; imported by tests only
	"internal/httpx":               nil,
	"internal/httpx/httpxtest":     {"internal/httpx"},
	"internal/jsonstream":          nil,
	"internal/metrics":             {"internal/httpx"},
	"internal/redact":              nil,
	"internal/wire":                nil,

	// Sealing and opening are two packages, so that a role can have one
	// without the other.
	"hpke":                 nil,
	"hpke/internal/fresh":  {"hpke"},
	"hpke/internal/stream": {"hpke"},
	"hpke/recipient":       {"hpke", "hpke/internal/fresh", "hpke/internal/stream"},
	"hpke/sender":          {"hpke", "hpke/internal/fresh", "hpke/internal/stream"},

	// One door. The vendors' formats are under attestation/internal: nobody
	// can verify half. collect runs in the node and judges nothing.
	"attestation":                                         {"attestation/evidence", "attestation/internal/eventlog", "attestation/internal/hcl", "attestation/internal/ima", "attestation/internal/nitro", "attestation/internal/nvidia", "attestation/internal/refuse", "attestation/internal/roots", "attestation/internal/sigcache", "attestation/internal/snp", "attestation/internal/svsm", "attestation/internal/tdx", "attestation/internal/tpm", "attestation/internal/tpmcert"},
	"attestation/attestationtest":                         {"attestation", "attestation/attestationtest/fakecloud", "attestation/attestationtest/fakegpu", "attestation/attestationtest/fakeima", "attestation/attestationtest/fakenitro", "attestation/attestationtest/faketdx", "attestation/collect/tpm", "attestation/evidence", "attestation/internal/roots", "attestation/internal/snp", "attestation/internal/tdx"},
	"attestation/attestationtest/fakecloud":               {"attestation/internal/roots"},
	"attestation/attestationtest/fakegpu":                 {"attestation/internal/nvidia"},
	"attestation/attestationtest/fakeima":                 nil,
	"attestation/attestationtest/fakenitro":               {"attestation/evidence", "attestation/internal/roots"},
	"attestation/attestationtest/faketdx":                 {"attestation/internal/tdx"},
	"attestation/attestationtest/simtpm":                  {"attestation/attestationtest/simtpm/internal/openssl"},
	"attestation/attestationtest/simtpm/internal/openssl": nil,
	"attestation/collect":                                 {"attestation/collect/tpm", "attestation/evidence", "attestation/internal/ima"},
	"attestation/collect/azure":                           {"attestation/collect/command", "attestation/collect/files", "attestation/collect/tdx", "attestation/collect/tpm", "attestation/evidence"},
	"attestation/collect/certs":                           {"attestation/collect/files", "attestation/collect/tpm", "attestation/evidence"},
	"attestation/collect/command":                         nil,
	"attestation/collect/files":                           {"attestation/evidence", "attestation/internal/eventlog"},
	"attestation/collect/gpu":                             {"attestation/collect/command", "attestation/collect/files", "attestation/internal/nvidia"},
	"attestation/collect/nitro":                           {"attestation/collect/command", "attestation/evidence"},
	"attestation/collect/platform":                        {"attestation/collect", "attestation/collect/azure", "attestation/collect/certs", "attestation/collect/files", "attestation/collect/gpu", "attestation/collect/nitro", "attestation/collect/snp", "attestation/collect/tdx", "attestation/collect/tpm"},
	"attestation/collect/snp":                             {"attestation/collect/files", "attestation/evidence"},
	"attestation/collect/tdx":                             {"attestation/collect/files", "attestation/evidence", "attestation/internal/tdx"},
	"attestation/collect/tpm":                             nil,
	"attestation/evidence":                                nil,
	// For operators and auditors: what asks vendors. Who may never reach it stands
	// below; it writes no file, and nothing of it is part of a verdict.
	"attestation/fetch": {"attestation/internal/nvidia", "attestation/internal/snp"},
	// Explaining and tampering take what the one door takes and gives.
	"attestation/explain":           {"attestation", "attestation/evidence"},
	"attestation/internal/eventlog": nil,
	"attestation/internal/hcl":      {"attestation/internal/refuse", "attestation/internal/tpm"},
	"attestation/internal/ima":      {"attestation/internal/refuse"},
	"attestation/internal/nitro":    {"attestation/internal/refuse", "attestation/internal/roots"},
	"attestation/internal/nvidia":   {"attestation/internal/refuse", "attestation/internal/roots", "attestation/internal/sigcache"},
	"attestation/internal/refuse":   nil,
	"attestation/internal/roots":    nil,
	// It remembers arithmetic, never a verdict: it knows no certificate and no time.
	"attestation/internal/sigcache": nil,
	"attestation/internal/snp":      {"attestation/internal/refuse", "attestation/internal/roots"},
	"attestation/internal/svsm":     {"attestation/internal/refuse", "attestation/internal/tpm"},
	"attestation/internal/tdx":      {"attestation/internal/refuse", "attestation/internal/roots"},
	"attestation/internal/tpm":      {"attestation/internal/refuse"},
	"attestation/internal/tpmcert":  {"attestation/internal/refuse", "attestation/internal/roots"},
	// Pieces of anybody's evidence, one at a time, for auditors: never part of a
	// decision of ours.
	"attestation/piece":  {"attestation", "attestation/internal/eventlog", "attestation/internal/ima", "attestation/internal/nitro", "attestation/internal/nvidia", "attestation/internal/refuse", "attestation/internal/roots", "attestation/internal/snp", "attestation/internal/tdx", "attestation/internal/tpm"},
	"attestation/tamper": {"attestation", "attestation/evidence", "attestation/internal/eventlog", "attestation/internal/ima"},

	// The outer layer. Key configurations know suites, not secrets; the client
	// side has the sender, the gateway the recipient.
	"ohttp":                 {"hpke"},
	"ohttp/bhttp":           nil,
	"ohttp/bhttp/httpmap":   {"ohttp/bhttp"},
	"ohttp/encap":           {"hpke", "hpke/sender", "ohttp", "ohttp/internal/stream"},
	"ohttp/gateway":         {"hpke", "hpke/recipient", "internal/durable", "internal/httpx", "internal/metrics", "internal/redact", "internal/wire", "ohttp", "ohttp/bhttp", "ohttp/gateway/decap"},
	"ohttp/gateway/decap":   {"hpke", "hpke/recipient", "ohttp", "ohttp/internal/stream"},
	"ohttp/internal/stream": {"hpke", "ohttp"},

	// Public statements. The publisher verifies nodes before it lists them.
	"transparency": nil,
	// What convinces a third party that a log showed two worlds: a file and the
	// verdict on it.
	"transparency/fork": {"transparency", "transparency/statement"},
	// How a role keeps up with statements: fetching and admission, no meaning.
	"transparency/follow": {"transparency", "transparency/statement"},
	// Builds on sigstore's own verifier, offline.
	"transparency/bundle": {"transparency"},
	// The log itself: Tessera's tiles, and what an index that means something
	// needs on top. It knows no statement.
	"transparency/log":     {"internal/durable", "internal/httpx", "transparency", "transparency/tiles"},
	"transparency/publish": {"attestation", "attestation/evidence", "internal/durable", "internal/httpx", "internal/metrics", "transparency", "transparency/keyfile", "transparency/log", "transparency/statement", "transparency/witness/feed"},
	// Key files of logs and witnesses: one reader for both.
	"transparency/keyfile": {"transparency"},
	// What was released, and by whom: one door, over bundle.
	"transparency/release": {"attestation", "transparency", "transparency/bundle"},
	// Makes releases: runs compilers, signs, speaks to logs. No client has it.
	// It computes launch measurements for the manifests.
	"transparency/release/build": {"attestation", "internal/durable", "internal/httpx", "transparency/bundle", "transparency/release", "transparency/release/measure"},
	// Expected values from image files: computes, boots nothing.
	"transparency/release/measure": {"attestation"},
	// A SIMULATED authority and log, for tests and the lab.
	"transparency/release/releasetest": {"attestation", "transparency", "transparency/bundle", "transparency/release", "transparency/tiles"},
	// One way to judge a listed node, for whoever judges.
	"transparency/roster":            {"attestation", "attestation/evidence", "transparency", "transparency/statement"},
	"transparency/roster/rostertest": {"attestation", "attestation/attestationtest", "attestation/attestationtest/fakegpu", "attestation/evidence", "transparency", "transparency/publish", "transparency/roster", "transparency/statement"},
	"transparency/statement":         {"transparency"},
	// A witness is run by third parties: it has nothing of the publisher in it,
	// and dials nobody. The log asks it, through feed.
	"transparency/witness":      {"internal/durable", "internal/httpx", "internal/metrics", "transparency", "transparency/keyfile"},
	"transparency/witness/feed": {"internal/httpx", "transparency", "transparency/witness"},
	// Reads any tile log and believes only what leads to a verified root. Clients
	// and auditors have it, so it has nothing of what writes one.
	"transparency/tiles": nil,

	// The relay knows nothing.
	"relay": {"internal/httpx"},

	// Money. What everybody agrees on, the client's side of the arithmetic and the
	// bank's are three packages, so that a wallet cannot mint and a bank cannot hold
	// a seed.
	"credits":       {"internal/wire"},
	"credits/blind": {"credits", "internal/redact", "internal/wire"},
	"credits/issue": {"credits", "internal/durable", "internal/redact"},
	// What a client keeps: it makes spends and orders, and sends nothing itself.
	"credits/wallet": {"credits", "credits/blind", "internal/config", "internal/durable", "internal/redact", "internal/wire"},
	// The identified port. What it says to its clients is a package of its own, so
	// that a wallet has it without anything that mints.
	"credits/accounts":           {"credits", "credits/accounts/api", "credits/issue", "internal/durable", "internal/httpx", "internal/metrics", "internal/redact", "internal/wire", "transparency", "transparency/follow", "transparency/statement"},
	"credits/accounts/api":       {"internal/redact"},
	"credits/accounts/apiclient": {"credits", "credits/accounts/api", "credits/wallet"},
	// Makes keys once a mint period, and serves nobody.
	"credits/ceremony": {"credits", "credits/issue", "internal/durable", "internal/wire"},

	// The bank's anonymous side: a state machine over a store, two stores, and the
	// port. It reads the public part of sealed headers (which node may run a
	// request) and statements, and opens nothing.
	"credits/redeem":                 {"credits", "credits/issue", "hpke", "internal/wire", "transparency/statement"},
	"credits/redeem/sqlite":          {"credits", "credits/redeem", "internal/durable", "internal/wire"},
	"credits/redeem/postgres":        {"credits", "credits/redeem", "internal/wire"},
	"credits/redeem/postgres/pgtest": nil,                                                                                                                                   // runs a server for tests
	"credits/redeem/storetest":       {"credits", "credits/blind", "credits/issue", "credits/redeem", "hpke", "internal/redact", "internal/wire", "transparency/statement"}, // for tests: it makes coins as clients do
	"credits/bank":                   {"credits", "credits/issue", "credits/redeem", "credits/redeem/postgres", "credits/redeem/sqlite", "internal/durable", "internal/httpx", "internal/metrics", "internal/wire", "transparency", "transparency/follow", "transparency/statement"},

	// The router reads sealed headers and public statements.
	"router": {"attestation", "hpke", "internal/httpx", "internal/metrics", "internal/wire", "transparency", "transparency/follow", "transparency/roster", "transparency/statement"},

	// An auditor reads what everybody can read and judges by the client's own door;
	// what it signs is a package of its own.
	"audit":        {"attestation", "internal/durable", "internal/httpx", "internal/metrics", "transparency", "transparency/bundle", "transparency/fork", "transparency/release", "transparency/roster", "transparency/statement", "transparency/tiles"},
	"audit/record": {"attestation"},
	// Judges the choice of nodes from requests that are over, for client, auditor
	// and simulation: it knows draws and receipts, and nothing of a request.
	"audit/steer": {"internal/wire"},

	// The node: custody of the key sits where only it can import it.
	"computenode":                 {"attestation", "attestation/collect", "attestation/collect/tpm", "attestation/evidence", "computenode/internal/engine", "computenode/internal/filter", "computenode/internal/rek", "computenode/internal/shape", "hpke", "hpke/recipient", "internal/httpx", "internal/metrics", "internal/wire", "ohttp/bhttp", "transparency", "transparency/roster", "transparency/statement"},
	"computenode/internal/engine": nil,
	"computenode/internal/filter": {"internal/jsonstream"},
	"computenode/internal/rek":    {"attestation/collect/tpm", "hpke/recipient"},
	"computenode/internal/shape":  nil,

	// The client and its faces.
	"client": {"attestation", "attestation/evidence", "attestation/tamper", "audit/steer", "client/internal/canon", "client/state", "credits", "credits/wallet", "hpke", "hpke/sender", "internal/httpx", "internal/wire", "ohttp", "ohttp/bhttp", "ohttp/encap", "transparency", "transparency/fork", "transparency/release", "transparency/roster", "transparency/statement", "transparency/tiles"},
	// What a client remembers of a log between two runs, and nothing of requests.
	"client/state": {"internal/durable", "transparency", "transparency/fork"},
	// The bank knows whose account it is: a transport of its own.
	"client/account":        {"client", "credits", "credits/accounts/api", "credits/accounts/apiclient", "credits/wallet", "internal/httpx"},
	"client/chat":           {"client"},
	"client/cli":            {"attestation", "attestation/explain", "attestation/piece", "audit", "audit/record", "audit/steer", "client", "client/account", "client/chat", "client/proxy", "client/state", "credits", "credits/wallet", "internal/config", "internal/durable", "internal/httpx", "internal/redact", "internal/wire", "transparency", "transparency/bundle", "transparency/fork", "transparency/release"},
	"client/internal/canon": {"internal/jsonstream"},
	// A whole system in one process, for the client's tests; no program has it.
	"client/internal/clienttest": {"attestation", "attestation/attestationtest", "attestation/attestationtest/fakegpu", "attestation/evidence", "client", "credits", "credits/bank", "credits/ceremony", "credits/issue", "credits/wallet", "hpke", "hpke/recipient", "internal/httpx", "internal/httpx/httpxtest", "internal/wire", "ohttp", "ohttp/bhttp", "ohttp/gateway", "relay", "router", "transparency", "transparency/publish", "transparency/release/releasetest", "transparency/roster", "transparency/roster/rostertest", "transparency/statement"},
	"client/proxy":               {"client", "internal/httpx"},

	// The lab wires every role to fake hardware.
	"lab":       {"attestation", "attestation/attestationtest", "attestation/attestationtest/fakegpu", "attestation/attestationtest/fakeima", "attestation/attestationtest/simtpm", "attestation/collect/tpm", "audit", "client", "client/account", "client/cli", "client/proxy", "computenode", "credits/accounts", "credits/bank", "credits/ceremony", "credits/issue", "credits/wallet", "hpke", "internal/config", "internal/durable", "internal/httpx", "internal/wire", "lab/engine", "lab/engine/model", "ohttp", "ohttp/gateway", "relay", "router", "transparency", "transparency/publish", "transparency/release", "transparency/release/releasetest", "transparency/statement", "transparency/tiles", "transparency/witness"},
	"lab/bench": {"attestation/attestationtest/simtpm", "attestation/collect/tpm", "client", "internal/httpx", "lab"},
	"lab/cli":   {"client", "client/cli", "lab", "lab/bench", "lab/linking", "lab/simulate"},
	// Has both sides of the bank and wallets, to look at what their logs show together.
	"lab/linking":               {"credits", "credits/blind", "credits/issue", "credits/redeem", "credits/redeem/sqlite", "credits/wallet", "hpke", "internal/redact", "internal/wire", "transparency/statement"},
	"lab/simulate":              {"audit/steer", "internal/wire"},
	"lab/internal/canary":       nil,
	"lab/engine":                {"lab/engine/internal/llama", "lab/engine/model"},
	"lab/engine/internal/llama": nil,
	"lab/engine/model":          nil,

	// Thin mains.
	"cmd/sotto":            {"client/cli"},
	"cmd/sotto-bank":       {"credits", "credits/accounts", "credits/accounts/api", "credits/bank", "credits/ceremony", "internal/config", "internal/daemon", "internal/durable", "internal/httpx"},
	"cmd/sotto-collateral": {"attestation/fetch", "internal/daemon", "internal/durable", "internal/httpx"},
	"cmd/sotto-gateway":    {"hpke", "internal/daemon", "internal/durable", "ohttp", "ohttp/gateway"},
	"cmd/sotto-lab":        {"client/cli", "lab/cli"},
	"cmd/sotto-log":        {"internal/daemon", "transparency/publish"},
	"cmd/sotto-node":       {"attestation/collect/platform", "computenode", "internal/daemon"},
	"cmd/sotto-relay":      {"internal/daemon", "internal/metrics", "relay"},
	"cmd/sotto-router":     {"internal/daemon", "internal/metrics", "router"},
	"cmd/sotto-witness":    {"internal/daemon", "transparency/witness"},
	"cmd/sotto-release":    {"attestation", "internal/config", "internal/durable", "transparency", "transparency/bundle", "transparency/release", "transparency/release/build", "transparency/release/measure"},
}

// A ban says what may not be reached, however many steps away.
type ban struct {
	from []string
	to   []string
	why  string
}

var never = []ban{
	{
		[]string{"relay"},
		[]string{"attestation", "hpke", "hpke/recipient", "hpke/sender", "internal/metrics", "internal/wire", "ohttp", "ohttp/bhttp", "transparency"},
		"the relay learns who; it must not be able to read anything else",
	},
	{
		[]string{"router", "relay", "transparency/publish"},
		[]string{"hpke/recipient", "computenode", "computenode/internal/rek", "ohttp/gateway"},
		"who routes or publishes must not be able to open",
	},
	{
		[]string{"router", "ohttp/gateway", "computenode"},
		[]string{"hpke/sender", "client"},
		"the operator's roles answer requests; none of them makes one",
	},
	{
		[]string{"ohttp/gateway"},
		[]string{"attestation", "computenode", "router", "transparency"},
		"the outer key must not share an address space with anything that routes or opens the inner layer",
	},
	{
		// It imports attestation to judge its peers from evidence that is pushed to
		// it: its word on them is one among others, and lists nobody.
		[]string{"computenode"},
		[]string{"ohttp/gateway", "router", "transparency/publish", "client"},
		"the node answers; it does not decide who is listed",
	},
	{
		[]string{"transparency/tiles", "client", "client/cli", "cmd/sotto"},
		[]string{"transparency/log"},
		"who reads a log has nothing of what writes one",
	},
	{
		[]string{"router", "computenode", "relay", "ohttp/gateway", "transparency/publish"},
		[]string{"credits", "credits/blind", "credits/issue", "credits/wallet"},
		"who routes, runs or lists carries money past and can neither make nor judge it",
	},
	{
		[]string{"client", "client/account", "client/cli", "cmd/sotto", "credits/accounts/apiclient", "credits/blind", "credits/wallet"},
		[]string{"credits/issue"},
		"a client makes no money",
	},
	{
		[]string{"credits/issue", "credits/accounts", "credits/bank", "credits/redeem", "cmd/sotto-bank"},
		[]string{"credits/blind", "credits/wallet"},
		"a bank holds no wallet's seed",
	},
	{
		[]string{"credits/accounts", "credits/accounts/api"},
		[]string{"credits/bank", "credits/redeem", "credits/redeem/sqlite", "credits/redeem/postgres", "router", "ohttp"},
		"who knows accounts has nothing in which a spent coin is seen",
	},
	{
		[]string{"credits/bank", "credits/redeem", "credits/redeem/sqlite", "credits/redeem/postgres"},
		[]string{"credits/accounts", "credits/accounts/api"},
		"who sees spent coins has nothing in which there are accounts",
	},
	{
		[]string{"credits/accounts/api"},
		[]string{"credits/issue", "internal/httpx", "internal/durable"},
		"a client that asks the bank makes no money",
	},
	{
		[]string{"credits/bank", "credits/redeem"},
		[]string{"hpke/recipient", "hpke/sender", "client", "router", "computenode", "ohttp/gateway", "transparency/publish", "credits/redeem/postgres/pgtest", "credits/redeem/storetest"},
		"a bank sees which candidate may run a request, and can neither open one nor make one",
	},
	{
		[]string{"client", "client/cli", "cmd/sotto"},
		[]string{"hpke/recipient", "router", "computenode", "ohttp/gateway", "attestation/collect", "attestation/fetch", "transparency/publish"},
		"a client holds no key that opens requests and asks no vendor or device about a chip",
	},
	{
		[]string{"audit"},
		[]string{"hpke/recipient", "hpke/sender", "computenode", "transparency/publish", "transparency/log", "attestation/collect", "client"},
		"an auditor holds no key, makes no evidence and no log, and asks nobody anything that a client would not",
	},
	{
		[]string{"client", "client/cli", "cmd/sotto", "transparency/publish", "transparency/roster", "audit"},
		[]string{"transparency/release/build", "transparency/release/measure"},
		"who judges a release neither makes one nor carries the tools for it",
	},
	{
		[]string{"transparency/witness"},
		[]string{"attestation", "transparency/publish", "transparency/statement", "transparency/witness/feed"},
		"a witness is run by others than the operator, holds no log and dials nobody",
	},
	{
		[]string{"attestation"},
		[]string{"attestation/collect", "attestation/collect/tpm", "attestation/fetch", "attestation/attestationtest"},
		"the verifier must not reach what makes evidence, nor ask anybody",
	},
	{
		[]string{"computenode", "cmd/sotto-node", "router", "relay", "ohttp/gateway", "attestation/collect/platform"},
		[]string{"attestation/fetch"},
		"a node dials nobody, and no role tells a vendor when it looks at which chip",
	},
	{
		[]string{"cmd/sotto", "cmd/sotto-bank", "cmd/sotto-collateral", "cmd/sotto-gateway", "cmd/sotto-log", "cmd/sotto-node", "cmd/sotto-relay", "cmd/sotto-release", "cmd/sotto-router", "cmd/sotto-witness"},
		[]string{"attestation/attestationtest", "attestation/attestationtest/fakecloud", "attestation/attestationtest/fakegpu", "attestation/attestationtest/fakeima", "attestation/attestationtest/fakenitro", "attestation/attestationtest/faketdx", "attestation/attestationtest/simtpm", "client/internal/clienttest", "lab", "lab/engine", "transparency/release/releasetest", "transparency/roster/rostertest"},
		"no shipped program contains fake hardware roots, under any build tag",
	},
}

// only names, for packages from outside this module and for a few of the
// standard library, who may import them; "tree/..." stands for a whole tree.
// What is not listed nobody may import. (crypto/tls imports crypto/hpke itself,
// so a ban on reaching that would be empty words; the ban is on naming it.)
var only = map[string][]string{
	"crypto/hpke": {"hpke/..."},
	"unsafe":      nil,

	// Databases.
	"modernc.org/sqlite":              {"credits/..."},
	"github.com/jackc/pgx/v5":         {"credits/redeem/postgres/..."},
	"github.com/jackc/pgx/v5/pgconn":  {"credits/redeem/postgres"},
	"github.com/jackc/pgx/v5/pgxpool": {"credits/redeem/postgres"},
	"C":                               {"attestation/attestationtest/simtpm/..."},

	// What cosigners sign with; verifying goes through formats/note.
	"filippo.io/mldsa": {"transparency"},

	// The arithmetic of coins.
	"github.com/cloudflare/circl/group":   {"credits/..."},
	"github.com/cloudflare/circl/oprf":    {"credits/..."},
	"github.com/cloudflare/circl/zk/dleq": {"credits/..."},
	// What circl computes with. Named where factors are known to be public, which
	// circl has no way to say; nobody else computes beside circl.
	"github.com/bwesterb/go-ristretto":    {"credits/issue"},
	"github.com/fxamacker/cbor/v2":        {"attestation/internal/nitro", "attestation/attestationtest/fakenitro"},
	"golang.org/x/crypto/ocsp":            {"attestation/fetch", "attestation/internal/nvidia", "attestation/attestationtest/fakegpu"},
	"golang.org/x/crypto/cryptobyte/asn1": {"attestation/internal/..."},
	// Provenance of releases is judged by sigstore's own verifier, in one package.
	"github.com/sigstore/sigstore-go/pkg/bundle":             {"transparency/bundle"},
	"github.com/sigstore/sigstore-go/pkg/root":               {"transparency/bundle"},
	"github.com/sigstore/sigstore-go/pkg/tlog":               {"transparency/bundle"},
	"github.com/sigstore/sigstore-go/pkg/verify":             {"transparency/bundle"},
	"github.com/sigstore/sigstore/pkg/signature":             {"transparency/bundle", "transparency/release/releasetest"},
	"github.com/sigstore/rekor-tiles/v2/pkg/note":            {"transparency/bundle", "transparency/release/releasetest"},
	"github.com/sigstore/rekor-tiles/v2/pkg/verify":          {"transparency/bundle"},
	"github.com/digitorus/timestamp":                         {"transparency/release/build", "transparency/release/releasetest"},
	"github.com/CycloneDX/cyclonedx-go":                      {"transparency/release/build"},
	"github.com/google/go-containerregistry/pkg/v1":          {"transparency/release/build"},
	"github.com/google/go-containerregistry/pkg/v1/empty":    {"transparency/release/build"},
	"github.com/google/go-containerregistry/pkg/v1/layout":   {"transparency/release/build"},
	"github.com/google/go-containerregistry/pkg/v1/mutate":   {"transparency/release/build"},
	"github.com/google/go-containerregistry/pkg/v1/static":   {"transparency/release/build"},
	"github.com/google/go-containerregistry/pkg/v1/types":    {"transparency/release/build"},
	"github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1": {"transparency/bundle"},
	"github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1":  {"transparency/bundle"},
	"github.com/google/go-sev-guest/verify/trust":            {"attestation/internal/snp"},
	"github.com/google/go-configfs-tsm/configfs/configfsi":   {"attestation/collect/..."},
	"github.com/google/go-configfs-tsm/configfs/linuxtsm":    {"attestation/collect/..."},
	"github.com/google/go-configfs-tsm/report":               {"attestation/collect/..."},
	"github.com/google/go-sev-guest/abi":                     {"attestation/attestationtest", "attestation/collect/snp", "attestation/fetch", "attestation/internal/snp"},
	"github.com/google/go-sev-guest/kds":                     {"attestation", "attestation/attestationtest", "attestation/internal/snp", "attestation/piece"},
	"github.com/google/go-sev-guest/proto/sevsnp":            {"attestation/internal/snp"},
	"github.com/google/go-sev-guest/verify":                  {"attestation/internal/snp"},
	"github.com/google/go-tpm/tpm2":                          {"attestation/...", "attestation/collect/tpm"},
	"github.com/google/go-tpm/tpm2/transport":                {"attestation/collect/tpm", "attestation/attestationtest/simtpm"},
	"github.com/google/go-tpm/tpm2/transport/linuxtpm":       {"attestation/collect/tpm"},
	"github.com/google/go-tpm/tpmutil":                       {"attestation/attestationtest/simtpm"},
	"github.com/google/go-tpm-tools/simulator":               {"attestation/attestationtest/simtpm"},

	"github.com/prometheus/client_golang/prometheus":          {"internal/metrics", "credits/accounts", "credits/bank", "ohttp/gateway", "router", "computenode", "transparency/publish", "transparency/witness", "audit", "cmd/..."},
	"github.com/prometheus/client_golang/prometheus/promhttp": {"internal/metrics"},
	"github.com/spf13/cobra":                                  {"client/cli", "lab/cli", "cmd/sotto", "cmd/sotto-release"},
	"github.com/transparency-dev/formats/note":                {"transparency"},
	// Who writes a log has its storage; who reads one does not.
	"github.com/transparency-dev/tessera": {"transparency/log"},
	// To keep it from logging.
	"github.com/go-logr/logr": {"transparency/log"},
	"k8s.io/klog/v2":          {"transparency/log"},
	"github.com/transparency-dev/tessera/storage/posix": {"transparency/log"},
	"go.yaml.in/yaml/v3":                   {"internal/config", "lab"},
	"golang.org/x/crypto/chacha20poly1305": {"hpke/internal/stream", "ohttp/internal/stream"},
	"golang.org/x/crypto/cryptobyte":       {"attestation/evidence", "attestation/internal/...", "credits/...", "ohttp/...", "transparency/..."},
	"golang.org/x/mod/sumdb/note":          {"transparency", "transparency/log", "transparency/release/releasetest"},
	"golang.org/x/mod/sumdb/tlog":          {"lab", "transparency", "transparency/bundle", "transparency/fork", "transparency/log", "transparency/release/releasetest", "transparency/tiles"},
	"golang.org/x/sync/errgroup":           {"lab", "cmd/..."},
}

// pure lists the packages that compute and do nothing else, and world what
// they may not touch. A verdict that reads a file or a clock cannot be
// replayed.
var (
	pure = []string{
		"attestation", "attestation/evidence", "attestation/explain", "attestation/internal/eventlog", "attestation/internal/hcl",
		"attestation/internal/ima", "attestation/internal/nitro", "attestation/internal/nvidia", "attestation/internal/refuse",
		"attestation/internal/roots", "attestation/internal/sigcache", "attestation/internal/snp", "attestation/internal/svsm", "attestation/internal/tdx",
		"attestation/internal/tpm", "attestation/internal/tpmcert", "attestation/piece", "attestation/tamper", "audit/record", "audit/steer",
		"client/internal/canon", "computenode/internal/filter",
		"hpke", "hpke/internal/fresh", "hpke/internal/stream", "hpke/recipient", "hpke/sender",
		"internal/jsonstream", "internal/wire",
		"ohttp", "ohttp/bhttp", "ohttp/encap", "ohttp/gateway/decap", "ohttp/internal/stream",
		"transparency", "transparency/fork", "transparency/release", "transparency/release/measure", "transparency/roster", "transparency/statement", "transparency/tiles",
	}
	world = []string{"log", "log/slog", "math/rand", "math/rand/v2", "net", "net/http", "os", "os/exec", "syscall"}
)
