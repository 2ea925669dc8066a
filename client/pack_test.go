// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/transparency/statement"
)

// TestPackOfTheNextEpoch: a client that goes on fetches what is new, and the
// whole where that is not to be had or is wrong.
func TestPackOfTheNextEpoch(t *testing.T) {
	lie := func() []byte {
		b, err := (&statement.Pack{Epoch: 2, Checkpoint: []byte("no note")}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}()
	for name, c := range map[string]struct {
		delta http.HandlerFunc // nil: honest
		asked []string
	}{
		"fetched":        {nil, []string{"/v1/pack/1", "/v1/pack/2/delta"}},
		"not there":      {says(404, ""), []string{"/v1/pack/1", "/v1/pack/2/delta", "/v1/pack/2"}},
		"noise":          {says(200, "noise"), []string{"/v1/pack/1", "/v1/pack/2/delta", "/v1/pack/2"}},
		"of other bytes": {says(200, string(lie)), []string{"/v1/pack/1", "/v1/pack/2/delta", "/v1/pack/2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := clienttest.Start(t, 3)
			var mu sync.Mutex
			var asked []string
			w.Router.Intercept(func(honest http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if strings.HasPrefix(r.URL.Path, "/v1/pack/") {
						mu.Lock()
						asked = append(asked, r.URL.Path)
						mu.Unlock()
						if c.delta != nil && strings.HasSuffix(r.URL.Path, "/delta") {
							io.Copy(io.Discard, r.Body)
							c.delta(rw, r)
							return
						}
					}
					honest.ServeHTTP(rw, r)
				})
			})
			cl := w.Client()
			mustAsk(t, cl)
			w.Epoch(time.Now().Add(-time.Second), time.Hour)
			if _, err := cl.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustAsk(t, cl)
			if !slices.Equal(asked, c.asked) {
				t.Errorf("asked for %v, want %v", asked, c.asked)
			}
		})
	}
}

// TestLargePack: a pack may be as large as who makes it may print it; otherwise a
// fleet that grows is one day refused by all of its clients at once.
func TestLargePack(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: a pack of its largest size is read as any other, and slowly")
	}
	w := clienttest.Start(t, 3)
	w.Epoch(time.Now().Add(-time.Second), time.Hour, edit{Statement: func(_ *statement.Statement, p *statement.Pack) {
		for i := range byte(2) {
			p.Add(append(make([]byte, statement.MaxObjectSize-1), i))
		}
	}})
	mustAsk(t, w.Client())
}

// TestEpochTurnsMeanwhile: an epoch that ends between a client's first question
// about it and its last is nobody's fault, and the client asks again.
func TestEpochTurnsMeanwhile(t *testing.T) {
	w := clienttest.Start(t, 3)
	begin := time.Now().Truncate(time.Second)
	w.Epoch(begin, 30*time.Second)
	w.Epoch(begin.Add(30*time.Second), time.Hour)
	w.Refresh(2)
	var late atomic.Bool
	w.Router.Intercept(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/freshness" {
				late.Store(true)
			}
			honest.ServeHTTP(rw, r)
		})
	})
	cl := w.Client(func(cfg *client.Config) {
		cfg.Now = func() time.Time {
			if late.Load() {
				return time.Now().Add(31 * time.Second)
			}
			return time.Now()
		}
	})
	v, err := cl.View(t.Context())
	if err != nil || v.Epoch != 3 {
		t.Errorf("%+v, %v; want epoch 3", v, err)
	}
}
