// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package lab_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/sotto-project/sotto/credits/redeem/postgres/pgtest"
)

var refusedSpent = regexp.MustCompile(`(?m)^sotto_bank_requests_total\{code="credit.spent"\} (\d+)$`)

// TestOneOfThreeBanksIsLost: three processes share one PostgreSQL, one of them is
// killed while prompts are paid and never comes back. Nobody who asks notices;
// nothing is lost, and what was spent at any of them is spent at the others.
func TestOneOfThreeBanksIsLost(t *testing.T) {
	t.Parallel()
	conn := filepath.Join(t.TempDir(), "postgres")
	if err := os.WriteFile(conn, []byte(pgtest.Start(t).Database(t)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := startLab(t, "--postgres", conn, "--banks", "3", "--metrics")

	// A wallet whose copies go on as if nothing had been spent.
	dir := l.ready.Dir
	mine := walletOf(t, l, "mine")
	for _, args := range [][]string{{"wallet", "create", "--words-file", filepath.Join(dir, "words")}, {"wallet", "buy", fmt.Sprint(wholeCoins)}} {
		if _, stderr, code := mine("", args...); code != 0 {
			t.Fatalf("%v: exit %d\n%s", args, code, stderr)
		}
	}
	copies := []string{"copy-1", "copy-2", "copy-3"}
	for _, c := range copies {
		if out, err := exec.Command("cp", "-a", filepath.Join(dir, "mine"), filepath.Join(dir, c)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if _, stderr, code := mine(sky, "chat"); code != 0 {
		t.Fatalf("the coin's first spend: exit %d\n%s", code, stderr)
	}

	t.Run("under load", func(t *testing.T) {
		var wg sync.WaitGroup
		answers, turn := make([]answer, 24), make(chan struct{}, 6)
		for i := range answers {
			turn <- struct{}{}
			wg.Go(func() {
				answers[i] = chat(l, sky, true)
				<-turn
			})
			if i == 9 {
				kill9(t, l, "bank-2")
			}
		}
		wg.Wait()
		for i, a := range answers {
			if !a.done || a.code != "" {
				t.Errorf("prompt %d: %+v", i, a)
			}
		}
		if m := settled(t, l); m.bought()%wholeCoins != 0 || m.Lost != 0 || m.Caught != nil {
			t.Errorf("value is not conserved: %+v", m)
		}
	})
	t.Run("CT-01", func(t *testing.T) {
		for _, c := range copies { // whichever replica is asked
			if stdout, stderr, code := walletOf(t, l, c)(sky, "chat"); code != 10 || stdout != "" {
				t.Errorf("a spent coin: exit %d, %q\n%s", code, stdout, stderr)
			}
		}
		spent := 0
		for _, u := range l.ready.Metrics {
			if resp, err := http.Get(u); err == nil { // the lost bank's does not answer
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				for _, m := range refusedSpent.FindAllSubmatch(b, -1) {
					n, _ := strconv.Atoi(string(m[1]))
					spent += n
				}
			}
		}
		if spent != len(copies) {
			t.Errorf("the banks refused %d spent coins of %d", spent, len(copies))
		}
	})
	if rolesIn(dir)["bank-2"] != 0 {
		t.Error("the lost bank came back")
	}
}
