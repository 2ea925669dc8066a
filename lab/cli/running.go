// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sotto-project/sotto/lab"
)

// remember notes where the running lab is and which process it is, so that
// `sotto-lab chat` in another terminal finds it, and returns what takes the note
// away. Where no note can be left, --trust still names the file.
func remember(dir string) (forget func(), err error) {
	note := fmt.Sprintf("%s\n%d\n", dir, os.Getpid())
	path, err := notePath()
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(path, []byte(note), 0o600)
	}
	return func() {
		if b, err := os.ReadFile(path); err == nil && string(b) == note {
			os.Remove(path)
		}
	}, err
}

func notePath() (string, error) {
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "sotto-lab", "running"), err
}

// currentTrust is the trust file of the lab that runs on this machine, or "". A
// lab that was killed could not take its note away: its process is gone.
func currentTrust() string {
	path, err := notePath()
	if err != nil {
		return ""
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	dir, rest, _ := strings.Cut(string(b), "\n")
	var pid int
	if _, err := fmt.Sscan(rest, &pid); err != nil || pid <= 0 || syscall.Kill(pid, 0) == syscall.ESRCH {
		return ""
	}
	return lab.TrustFile(dir)
}
