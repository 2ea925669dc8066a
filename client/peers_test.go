// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/internal/wire"
)

func hexID(n *clienttest.Node) string {
	id := n.ID()
	return hex.EncodeToString(id[:])
}

// servePeers has the router serve another list of verdicts, made of its own.
func servePeers(w *clienttest.World, edit func([]wire.PeerVerdict) []byte) {
	w.Router.Intercept(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/peers" {
				honest.ServeHTTP(rw, r)
				return
			}
			rec := httptest.NewRecorder()
			honest.ServeHTTP(rec, r)
			list, err := wire.ParsePeerVerdicts(rec.Body.Bytes())
			if err != nil {
				panic(err)
			}
			rw.Header().Set("Content-Type", "application/octet-stream")
			rw.Write(edit(list))
		})
	})
}

func TestPeersVouchForOneAnother(t *testing.T) {
	w := clienttest.Start(t, 3)
	c := w.Client()
	m, err := c.Peers(t.Context())
	if err != nil || len(m.Cells) != 0 || m.Complete() {
		t.Fatalf("before anybody judged: %v, %+v", err, m)
	}
	w.Cross()
	if m, err = c.Peers(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(m.Cells) != 6 || !m.Complete() || !m.Simulated {
		t.Errorf("%d verdicts, complete %v", len(m.Cells), m.Complete())
	}
	for _, v := range w.Nodes {
		for _, s := range w.Nodes {
			want := client.PeerVerified
			if v == s {
				want = client.PeerNotChecked // nobody vouches for themselves
			}
			if cell := m.Cell(hexID(v), hexID(s)); cell.State != want || v != s && !cell.Newest {
				t.Errorf("%s on %s: %+v", v.Name, s.Name, cell)
			}
		}
	}
	for _, want := range []string{"SIMULATED", hexID(w.Nodes[0])[:8], "+ verified", "this client"} {
		if !strings.Contains(m.Text(), want) {
			t.Errorf("%q is not in\n%s", want, m.Text())
		}
	}
	if b, err := json.Marshal(m); err != nil || !strings.Contains(string(b), `"verified_by":2`) {
		t.Errorf("%s, %v", b, err)
	}
	if r := c.Report(); r == nil || len(r.Nodes) != 3 {
		t.Error("no report of what was verified on the way")
	}
}

// TestPeersThatRefuse: a node that the others refuse shows, and so does one
// that this client refuses.
func TestPeersThatRefuse(t *testing.T) {
	w := clienttest.Start(t, 3)
	bad := w.Nodes[2]
	bad.Harm()
	w.Refresh(w.Log.Last().Epoch)
	w.Cross()
	m, err := w.Client().Peers(t.Context())
	if client.CodeOf(err) != "att.pcr.value" || m == nil || m.Complete() {
		t.Fatalf("%v", err)
	}
	for _, v := range w.Nodes[:2] {
		if cell := m.Cell(hexID(v), hexID(bad)); cell.State != client.PeerRefused || cell.Code != "att.pcr.value" {
			t.Errorf("%+v", cell)
		}
		// What the bad node says counts for nothing, good or bad.
		if cell := m.Cell(hexID(bad), hexID(v)); cell.State != client.PeerNotChecked || !strings.Contains(cell.Why, "itself refused") {
			t.Errorf("%+v", cell)
		}
		if cell := m.Cell(hexID(v), hexID(w.Nodes[0])); v != w.Nodes[0] && cell.State != client.PeerVerified {
			t.Errorf("%+v", cell)
		}
	}
	for _, want := range []string{"refuses " + hexID(bad)[:8] + ": att.pcr.value", "counts for nothing"} {
		if !strings.Contains(m.Text(), want) {
			t.Errorf("%q is not in\n%s", want, m.Text())
		}
	}
}

// TestAPeerThatRefusesAloneIsHeard: the client accepts the node, a peer with a
// stricter policy does not.
func TestAPeerThatRefusesAloneIsHeard(t *testing.T) {
	w := clienttest.Start(t, 2)
	w.Cross()
	servePeers(w, func(list []wire.PeerVerdict) []byte {
		list[0].Code = "att.tcb"
		for _, n := range w.Nodes {
			if n.ID() == list[0].Verifier {
				list[0].Sign(n.Key())
			}
		}
		return wire.AppendPeerVerdicts(nil, list)
	})
	m, err := w.Client(func(c *client.Config) { c.Candidates = 1 }).Peers(t.Context())
	if client.CodeOf(err) != "att.tcb" || m.Complete() {
		t.Errorf("%v", err)
	}
}

// TestVerdictsThatCountForNothing: forged, replayed, foreign and absent verdicts
// are "not checked", whatever they say.
func TestVerdictsThatCountForNothing(t *testing.T) {
	w := clienttest.Start(t, 2)
	a, b := w.Nodes[0], w.Nodes[1]
	w.Cross()
	var before []wire.PeerVerdict
	servePeers(w, func(list []wire.PeerVerdict) []byte { before = slices.Clone(list); return nil })
	c := w.Client(func(c *client.Config) { c.Candidates = 1 })
	if m, err := c.Peers(t.Context()); err != nil || len(m.Cells) != 0 || m.Cell(hexID(a), hexID(b)).State != client.PeerNotChecked {
		t.Fatalf("a router that leaves all out: %v", err)
	}
	w.Epoch(time.Now().Add(-time.Second), time.Hour)
	w.Cross()
	for name, edit := range map[string]func(v *wire.PeerVerdict){
		"unsigned":                       func(v *wire.PeerVerdict) { v.Signature = [64]byte{} },
		"signed by the judged":           func(v *wire.PeerVerdict) { v.Sign(b.Key()) },
		"altered":                        func(v *wire.PeerVerdict) { v.Policy[0] ^= 1 },
		"about other evidence":           func(v *wire.PeerVerdict) { v.Evidence[0] ^= 1; v.Sign(a.Key()) },
		"about evidence that is none":    func(v *wire.PeerVerdict) { v.Evidence = [32]byte{}; v.Sign(a.Key()) },
		"old":                            func(v *wire.PeerVerdict) { v.Time = v.Time.Add(-6 * time.Minute); v.Sign(a.Key()) },
		"of the future":                  func(v *wire.PeerVerdict) { v.Time = v.Time.Add(time.Hour); v.Sign(a.Key()) },
		"an altered refusal":             func(v *wire.PeerVerdict) { v.Code = "att.tcb" },
		"an earlier epoch's, renumbered": func(v *wire.PeerVerdict) { e := v.Epoch; *v = find(before, a, b); v.Epoch = e },
	} {
		servePeers(w, func(list []wire.PeerVerdict) []byte {
			for i := range list {
				if list[i].Verifier == a.ID() && list[i].Epoch == w.Log.Last().Epoch {
					edit(&list[i])
				}
			}
			return wire.AppendPeerVerdicts(nil, list)
		})
		m, err := c.Peers(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if cell := m.Cell(hexID(a), hexID(b)); cell.State != client.PeerNotChecked || cell.Why == "" || cell.Newest {
			t.Errorf("%s: %+v", name, cell)
		}
		if cell := m.Cell(hexID(b), hexID(a)); cell.State != client.PeerVerified {
			t.Errorf("%s: the other verdict: %+v", name, cell)
		}
		if m.Complete() {
			t.Errorf("%s: complete", name)
		}
	}
	t.Run("AT-03", func(t *testing.T) {
		// Replayed as it was, in an epoch of its own: foreign.
		servePeers(w, func([]wire.PeerVerdict) []byte { return wire.AppendPeerVerdicts(nil, slices.Clone(before)) })
		m, err := c.Peers(t.Context())
		if err != nil || m.Foreign != 2 || len(m.Cells) != 0 || !strings.Contains(m.Text(), "foreign") {
			t.Errorf("%v, %+v", err, m)
		}
	})
	servePeers(w, func([]wire.PeerVerdict) []byte {
		v := wire.PeerVerdict{Epoch: w.Log.Last().Epoch, Verifier: [32]byte{1}, Subject: b.ID(), Evidence: b.Digest(), Time: time.Now().UTC().Truncate(time.Second)}
		v.Sign(a.Key())
		return v.Append(nil)
	})
	if m, err := c.Peers(t.Context()); err != nil || m.Foreign != 1 || m.Nodes[0].Vouch+m.Nodes[1].Vouch != 0 {
		t.Errorf("a stranger's verdict: %v", err)
	}
	servePeers(w, func([]wire.PeerVerdict) []byte { return []byte("x") })
	if _, err := c.Peers(t.Context()); client.CodeOf(err) != client.CodeStreamAuth {
		t.Errorf("no list: %v", err)
	}
}

func find(list []wire.PeerVerdict, verifier, subject *clienttest.Node) wire.PeerVerdict {
	for _, v := range list {
		if v.Verifier == verifier.ID() && v.Subject == subject.ID() {
			return v
		}
	}
	panic("no such verdict")
}

// TestOlderFreshnessIsStillAVerdict: the freshness list moves on every minute,
// verdicts follow it.
func TestOlderFreshnessIsStillAVerdict(t *testing.T) {
	w := clienttest.Start(t, 2)
	w.Cross()
	w.Refresh(w.Log.Last().Epoch)
	m, err := w.Client(func(c *client.Config) { c.Candidates = 1 }).Peers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cell := m.Cell(hexID(w.Nodes[0]), hexID(w.Nodes[1]))
	if cell.State != client.PeerVerified || cell.Newest {
		t.Errorf("%+v", cell)
	}
}

func TestProgressCountsEveryNode(t *testing.T) {
	w := clienttest.Start(t, 5)
	var seen []int
	c := w.Client(func(c *client.Config) {
		c.Progress = func(done, total int) {
			if total != 5 {
				t.Errorf("of %d", total)
			}
			seen = append(seen, done)
		}
	})
	if _, err := c.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seen, []int{1, 2, 3, 4, 5}) {
		t.Errorf("%v", seen)
	}
}
