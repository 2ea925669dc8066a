// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// money is what `sotto wallet status --json` and the proxy's control port say,
// as far as these tests look at it.
type money struct {
	Balance, Ready, Pending, Ordered, Vouchers, Lost uint64
	Owed                                             int
	Limits                                           struct {
		Spent uint64 `json:"spent_window"`
	}
	Caught *struct{ Code string }
}

// bought is how much play money was ever taken from the account: what is there,
// what is on its way and what was spent. Nothing else may become of it.
func (m *money) bought() uint64 {
	return m.Balance + m.Pending + m.Ordered + m.Vouchers + m.Lost + m.Limits.Spent
}

func proxyMoney(t *testing.T, l *labProcess) (m money) {
	t.Helper()
	if err := json.Unmarshal([]byte(get(t, l.ready.Control+"/wallet")), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// settled waits until the proxy's wallet is owed nothing.
func settled(t *testing.T, l *labProcess) (m money) {
	t.Helper()
	eventually(t, "the change of all payments", func() bool { m = proxyMoney(t, l); return m.Owed == 0 && m.Pending == 0 && m.Ordered == 0 })
	return m
}

const wholeCoins = 1 << 16 // play money is bought in coins of this

func TestEachPromptIsPaidAndChangeComesBack(t *testing.T) {
	t.Parallel()
	l := startLab(t)
	if a := chat(l, sky, true); !a.done {
		t.Fatalf("%+v", a)
	}
	first := settled(t, l)
	if first.Limits.Spent == 0 || first.Limits.Spent >= wholeCoins || first.bought()%wholeCoins != 0 {
		t.Fatalf("after one prompt: %+v", first)
	}
	for range 3 {
		if a := chat(l, sky, false); !a.done {
			t.Fatalf("%+v", a)
		}
	}
	m := settled(t, l)
	if m.bought()%wholeCoins != 0 || m.Limits.Spent != 4*first.Limits.Spent || m.Caught != nil || m.Lost != 0 {
		t.Errorf("after four prompts: %+v", m)
	}

	t.Run("CT-05 hanging up", func(t *testing.T) {
		before := m
		body := `{"model":"sotto-tiny","stream":true,"messages":[{"role":"user","content":"` + sky + `"}]}`
		resp, err := http.Post(l.ready.OpenAI+"/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		m = settled(t, l)
		if m.bought()%wholeCoins != 0 || m.Limits.Spent < before.Limits.Spent || m.Lost != 0 {
			t.Errorf("before %+v, after %+v", before, m)
		}
	})

}

// TestBankKilledUnderLoad: what was answered was durable, what was not is asked
// again, and a coin that was held for nobody comes back when its hold ends.
func TestBankKilledUnderLoad(t *testing.T) {
	t.Parallel()
	l := startLab(t, "--epoch", "6s")
	t.Run("CT-03", func(t *testing.T) {
		var wg sync.WaitGroup
		answers := make([]answer, 12)
		for i := range answers {
			wg.Go(func() { answers[i] = chat(l, sky, true) })
			if i == 5 {
				kill9(t, l, "bank")
				again(t, l, "bank", "bank")
			}
		}
		wg.Wait()
		for _, a := range answers {
			// One that met the bank while it was down is told so, with a code.
			if !a.done && a.code == "" {
				t.Errorf("%+v", a)
			}
		}
		eventually(t, "a paid answer", func() bool { return chat(l, sky, false).done })
		var m money
		for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
			if m = proxyMoney(t, l); m.Owed == 0 && m.Pending == 0 && m.Ordered == 0 {
				break
			} else if time.Now().After(end) {
				t.Fatalf("not all came back: %+v", m)
			}
		}
		if m.bought()%wholeCoins != 0 || m.Lost != 0 || m.Caught != nil {
			t.Errorf("value is not conserved: %+v", m)
		}
	})
}

// TestWalletFromBuyingToRedeeming is the life of a wallet, with the commands.
func TestWalletFromBuyingToRedeeming(t *testing.T) {
	t.Parallel()
	l := startLab(t)
	dir := l.ready.Dir
	trust := filepath.Join(dir, "mine.yaml")
	b, err := os.ReadFile(filepath.Join(dir, "trust.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(trust, []byte(strings.Replace(string(b), "wallet: wallet\n", "wallet: mine\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	words := filepath.Join(dir, "words")
	run := func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.Command(binary, append(args, "--trust", trust)...)
		cmd.Stdin = strings.NewReader(stdin)
		stdout, stderr, code := finish(t, cmd)
		if code != 0 {
			t.Fatalf("%v: exit %d\n%s%s", args, code, stdout, stderr)
		}
		return stdout
	}
	status := func() (m money) {
		t.Helper()
		if err := json.Unmarshal([]byte(run("", "wallet", "status", "--json")), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	run("", "wallet", "create", "--words-file", words)
	run("", "wallet", "buy", fmt.Sprint(4*wholeCoins))
	if m := status(); m.Balance != 4*wholeCoins {
		t.Fatalf("bought: %+v", m)
	}
	run(sky, "chat")
	spent := status()
	if spent.Limits.Spent == 0 || spent.bought() != 4*wholeCoins || spent.Owed != 0 {
		t.Fatalf("spent: %+v", spent)
	}

	// The machine is lost; the words are on paper.
	if err := os.RemoveAll(filepath.Join(dir, "mine")); err != nil {
		t.Fatal(err)
	}
	run("", "wallet", "restore", "--words-file", words)
	back := status()
	if back.Balance != spent.Balance {
		t.Fatalf("had %+v, found %+v", spent, back)
	}
	run(sky, "chat")
	// What the words found and was spent already is in none of these sums.
	paid := status()
	if paid.bought()-paid.Lost != spent.Balance || paid.Limits.Spent == 0 {
		t.Errorf("after the restored wallet paid: %+v", paid)
	}
	run("", "wallet", "redeem", fmt.Sprint(2*wholeCoins))
	if m := status(); m.bought()-m.Lost != spent.Balance-2*wholeCoins || m.Vouchers != 0 {
		t.Errorf("redeemed: %+v", m)
	}
}
