// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/internal/config"
)

type sample struct {
	Listen string   `yaml:"listen"`
	Port   int      `yaml:"port"`
	Peers  []string `yaml:"peers"`
	TLS    struct {
		Cert string `yaml:"cert"`
	} `yaml:"tls"`
}

func TestLoad(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"good", "listen: 127.0.0.1:0\nport: 3\npeers: [a, b]\ntls: {cert: c.pem}\n", ""},
		{"unknown key", "listen: x\nport: 1\nlissen: y\n", "line 3: field lissen is unknown"},
		{"unknown nested key", "listen: x\ntls:\n  crt: y\n", "line 3: field crt is unknown"},
		{"wrong type", "listen: x\nport: hunter2\n", "line 2: cannot read !!str as int"},
		{"duplicate key", "listen: x\nlisten: y\n", "line 2"},
		{"two documents", "listen: x\n---\nlisten: y\n", "more than one document"},
		{"empty", "", "empty"},
		{"not yaml", "listen: [", "line 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "role.yaml")
			if err := os.WriteFile(path, []byte(tc.in), 0o600); err != nil {
				t.Fatal(err)
			}
			v, err := config.Load[sample](path)
			switch {
			case tc.want == "" && (err != nil || v.Listen != "127.0.0.1:0" || v.Port != 3 || len(v.Peers) != 2 || v.TLS.Cert != "c.pem"):
				t.Errorf("got %+v, %v", v, err)
			case tc.want != "" && err == nil:
				t.Errorf("accepted as %+v", v)
			case tc.want != "" && (!strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), path+": ")):
				t.Errorf("error %q does not name %q", err, tc.want)
			case err != nil && (v.Listen != "" || v.Port != 0):
				t.Errorf("a value came with the error: %+v", v)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Errorf("a value of the file is in the error: %v", err)
			}
		})
	}
}

func TestLoadMissingFileIsNamed(t *testing.T) {
	_, err := config.Load[sample](filepath.Join(t.TempDir(), "absent.yaml"))
	if !os.IsNotExist(err) && (err == nil || !strings.Contains(err.Error(), "absent.yaml")) {
		t.Errorf("got %v", err)
	}
}

func TestLoadHugeFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "huge.yaml")
	if err := os.WriteFile(path, []byte("listen: "+strings.Repeat("x", config.MaxSize)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load[sample](path); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("got %v", err)
	}
}
