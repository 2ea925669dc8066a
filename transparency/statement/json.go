// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package statement

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"time"
)

// MarshalJSON renders s for people and their tools: hashes in hex, keys in
// base64, times in RFC 3339. It is one way: the binary form is what is logged
// and verified, and nothing here reads JSON back.
func (s *Statement) MarshalJSON() ([]byte, error) {
	type model struct {
		Name    string `json:"name"`
		Weights string `json:"weights_sha256"`
		Context uint32 `json:"context_tokens"`
		APIs    uint16 `json:"apis"`
	}
	type node struct {
		ID     string `json:"id"`
		Model  string `json:"model"`
		Record string `json:"record_sha256"`
	}
	type named struct {
		Name  string `json:"name,omitempty"`
		ID    string `json:"id,omitempty"`
		Value string `json:"value,omitempty"`
	}
	v := struct {
		Epoch          uint64   `json:"epoch"`
		NotBefore      string   `json:"not_before"`
		NotAfter       string   `json:"not_after"`
		NextPublic     string   `json:"next_public"`
		Beacon         string   `json:"beacon"`
		Empty          bool     `json:"empty"`
		Payment        string   `json:"payment,omitempty"`
		MintGeneration uint64   `json:"mint_generation"`
		GatewayKeys    []string `json:"gateway_keys,omitempty"`
		TicketKey      string   `json:"ticket_key,omitempty"`
		CoinKeysets    []named  `json:"coin_keysets,omitempty"`
		Models         []model  `json:"models,omitempty"`
		Nodes          []node   `json:"nodes,omitempty"`
		Releases       []named  `json:"releases,omitempty"`
		TCBFloors      []named  `json:"tcb_floors,omitempty"`
		Chips          []string `json:"chips_sha256,omitempty"`
	}{
		Epoch: s.Epoch, NotBefore: rfc3339(s.NotBefore), NotAfter: rfc3339(s.NotAfter), NextPublic: rfc3339(s.NextPublic),
		Beacon: hex.EncodeToString(s.Beacon[:]), Empty: s.Empty, MintGeneration: s.MintGeneration,
		TicketKey: b64(s.TicketKey),
	}
	if !s.Empty {
		v.Payment = map[uint8]string{PaymentNone: "none", PaymentCoins: "coins"}[s.Payment]
	}
	for _, k := range s.GatewayKeys {
		v.GatewayKeys = append(v.GatewayKeys, b64(k))
	}
	for _, k := range s.CoinKeysets {
		v.CoinKeysets = append(v.CoinKeysets, named{ID: hex.EncodeToString(k.ID[:]), Value: b64(k.Data)})
	}
	for _, m := range s.Models {
		v.Models = append(v.Models, model{m.Name, hex.EncodeToString(m.Weights[:]), m.Context, m.APIs})
	}
	for _, n := range s.Nodes {
		x := node{ID: hex.EncodeToString(n.ID[:]), Record: hex.EncodeToString(n.Record[:])}
		if int(n.Model) < len(s.Models) {
			x.Model = s.Models[n.Model].Name
		}
		v.Nodes = append(v.Nodes, x)
	}
	for _, r := range s.Releases {
		v.Releases = append(v.Releases, named{Name: r.Name, ID: hex.EncodeToString(r.Digest[:])})
	}
	for _, f := range s.TCBFloors {
		v.TCBFloors = append(v.TCBFloors, named{Name: f.Platform, Value: b64(f.Floor)})
	}
	for _, c := range s.Chips {
		v.Chips = append(v.Chips, hex.EncodeToString(c[:]))
	}
	return json.Marshal(v)
}

// MarshalJSON renders r for people; see [Statement.MarshalJSON].
func (r *Record) MarshalJSON() ([]byte, error) {
	type price struct {
		Class uint8  `json:"class"`
		Units uint32 `json:"units"`
	}
	v := struct {
		NodeID   string            `json:"node_id"`
		Epoch    uint64            `json:"epoch"`
		REK      string            `json:"rek"`
		NodeKey  string            `json:"node_key"`
		Evidence string            `json:"evidence_sha256"`
		Prices   []price           `json:"prices,omitempty"`
		Claims   map[string]string `json:"claims_merely_stated,omitempty"`
	}{hex.EncodeToString(r.NodeID[:]), r.Epoch, b64(r.REK), hex.EncodeToString(r.NodeKey), hex.EncodeToString(r.EvidenceDigest[:]), nil, nil}
	for _, p := range r.Prices {
		v.Prices = append(v.Prices, price(p))
	}
	for _, c := range r.Claims {
		if v.Claims == nil {
			v.Claims = map[string]string{}
		}
		v.Claims[c.Name] = c.Value
	}
	return json.Marshal(v)
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
