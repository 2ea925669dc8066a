// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/client"
)

// ask puts a question to a face of the proxy.
func ask(t *testing.T, method, url, body string, into any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode == http.StatusOK {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatalf("%s: %v: %s", url, err, b)
	}
	return resp.StatusCode
}

// TestNodesProveThemselvesOnDemand: a challenge goes through every role to a
// TPM simulator and back, and the nodes vouch for one another.
func TestNodesProveThemselvesOnDemand(t *testing.T) {
	l := startLab(t)
	var all client.Report
	ask(t, "POST", l.ready.Control+"/verify", "", &all)
	if len(all.Nodes) != 3 {
		t.Fatalf("%d nodes", len(all.Nodes))
	}
	var a client.Attestation
	if status := ask(t, "POST", l.ready.OpenAI+"/attest", `{"node":"`+all.Nodes[1].ID[:12]+`"}`, &a); status != 200 {
		t.Fatalf("status %d", status)
	}
	if a.Node.ID != all.Nodes[1].ID || a.Where == "" || !a.Simulated || !strings.HasPrefix(a.Verdict, "verified") {
		t.Errorf("%+v", a)
	}
	eventually(t, "every node vouches for every other one", func() bool {
		var m client.PeerMatrix
		ask(t, "GET", l.ready.Control+"/peers", "", &m)
		for _, n := range m.Nodes {
			if n.Vouch != 2 || n.Refuse != 0 {
				return false
			}
		}
		return len(m.Nodes) == 3
	})
	// More than a node quotes in a moment, from whoever it may be.
	busy := 0
	for range 12 {
		if ask(t, "POST", l.ready.Control+"/v1/attest", `{"node":"`+all.Nodes[0].ID+`"}`, &a) == http.StatusServiceUnavailable {
			busy++
		}
	}
	if busy == 0 || busy == 12 {
		t.Errorf("%d of 12 were refused as too many", busy)
	}
}
