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

// settled waits until the proxy's wallet is owed nothing. What did not come behind
// its answer is asked for at drawn times, further and further apart.
func settled(t *testing.T, l *labProcess) (m money) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if m = proxyMoney(t, l); m.Owed == 0 && m.Pending == 0 && m.Ordered == 0 {
			return m
		} else if time.Now().After(end) {
			t.Fatalf("change is still owed: %+v", m)
		}
	}
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

// TestKilledUnderLoad: one hop of a payment after the other dies while prompts are
// paid. What was answered was durable, what was not is asked again, and a coin that
// was held for nobody comes back when its hold ends.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	l := startLab(t, "--epoch", "6s")
	wallets := map[string]func(string, ...string) (string, string, int){"one": nil, "two": nil, "three": nil}
	for name := range wallets {
		run := walletOf(t, l, name)
		wallets[name] = run
		for _, args := range [][]string{{"wallet", "create", "--words-file", filepath.Join(l.ready.Dir, name+".words")}, {"wallet", "buy", fmt.Sprint(16 * wholeCoins)}} {
			if _, stderr, code := run("", args...); code != 0 {
				t.Fatalf("%v: exit %d\n%s", args, code, stderr)
			}
		}
	}
	for _, seat := range []string{"bank", "router", "gateway"} {
		t.Run("CT-03/"+seat, func(t *testing.T) {
			var wg sync.WaitGroup
			ended := make(chan struct{}, 3*len(wallets))
			for _, run := range wallets {
				wg.Go(func() {
					for range 3 {
						// One that met the hop when it died is told so, whatever it had got by then.
						if stdout, stderr, code := run(sky, "chat"); code == 0 && stdout == "" || code != 0 && !strings.Contains(stderr, "sotto: ") {
							t.Errorf("exit %d, %q\n%s", code, stdout, stderr)
						}
						ended <- struct{}{}
					}
				})
			}
			for _, n := range []int{1, 3} { // the others are in the middle of theirs
				for range n {
					<-ended
				}
				kill9(t, l, seat)
				again(t, l, seat, seat)
			}
			wg.Wait()
		})
	}
	for name, run := range wallets {
		t.Run("CT-03/"+name, func(t *testing.T) {
			if m := settledInTime(t, run); m.bought() != 16*wholeCoins || m.Lost != 0 || m.Caught != nil {
				t.Errorf("value is not conserved: %+v", m)
			}
			if stdout, stderr, code := run(sky, "chat"); code != 0 || stdout == "" {
				t.Errorf("exit %d\n%s", code, stderr)
			}
		})
	}
}

// settledInTime has a wallet ask for what it is owed until that is nothing; holds
// that were lost end with their epochs.
func settledInTime(t *testing.T, run func(stdin string, args ...string) (string, string, int)) (m money) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		_, said, _ := run("", "wallet", "top") // which says that holds have not ended, until they have
		stdout, stderr, _ := run("", "wallet", "status", "--json")
		if err := json.Unmarshal([]byte(stdout), &m); err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		if m.Owed == 0 && m.Pending == 0 && m.Ordered == 0 {
			return m
		} else if time.Now().After(end) {
			t.Fatalf("not all came back: %+v\n%s", m, said)
		}
	}
}

// TestClientKilledWhilePaying: a program that is killed at any moment of a
// payment, and then again at the next one, finds everything that is its own.
func TestClientKilledWhilePaying(t *testing.T) {
	t.Parallel()
	l := startLab(t, "--epoch", "6s")
	run := walletOf(t, l, "mine")
	must := func(stdin string, args ...string) {
		t.Helper()
		if _, stderr, code := run(stdin, args...); code != 0 {
			t.Fatalf("%v: exit %d\n%s", args, code, stderr)
		}
	}
	must("", "wallet", "create", "--words-file", filepath.Join(l.ready.Dir, "words"))
	must("", "wallet", "buy", fmt.Sprint(16*wholeCoins))
	begun := time.Now()
	must(sky, "chat")
	whole := time.Since(begun)
	t.Run("CT-02", func(t *testing.T) {
		killed := 0
		for i := range 12 {
			cmd := exec.Command(binary, "chat", "--trust", filepath.Join(l.ready.Dir, "mine.yaml"))
			cmd.Stdin = strings.NewReader(sky)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(whole*time.Duration(i+1)/12, func() { cmd.Process.Kill() })
			if cmd.Wait() != nil {
				killed++
			}
		}
		if killed == 0 {
			t.Error("nobody was killed in time")
		}
		if m := settledInTime(t, run); m.bought() != 16*wholeCoins || m.Lost != 0 || m.Caught != nil {
			t.Errorf("value is not conserved: %+v", m)
		}
		must(sky, "chat")
	})
}

// walletOf returns how commands are run with a wallet of the lab's directory, which
// need not be there yet.
func walletOf(t *testing.T, l *labProcess, name string) func(stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	trust := filepath.Join(l.ready.Dir, name+".yaml")
	b, err := os.ReadFile(filepath.Join(l.ready.Dir, "trust.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(trust, []byte(strings.Replace(string(b), "wallet: wallet\n", "wallet: "+name+"\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(stdin string, args ...string) (string, string, int) {
		t.Helper()
		cmd := exec.Command(binary, append(args, "--trust", trust)...)
		cmd.Stdin = strings.NewReader(stdin)
		return finish(t, cmd)
	}
}

// TestWalletFromBuyingToRedeeming is the life of a wallet, with the commands.
func TestWalletFromBuyingToRedeeming(t *testing.T) {
	t.Parallel()
	l := startLab(t)
	dir := l.ready.Dir
	words := filepath.Join(dir, "words")
	mine := walletOf(t, l, "mine")
	run := func(stdin string, args ...string) string {
		t.Helper()
		stdout, stderr, code := mine(stdin, args...)
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
