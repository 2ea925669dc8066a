// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/transparency/log"
	"github.com/sotto-project/sotto/transparency/statement"
)

// CreateLog makes a new log in dir, which must not exist or be empty, with an
// empty statement as leaf 0. It appears as a whole or not at all.
func CreateLog(dir, origin string, now time.Time) error {
	return createLog(dir, origin, now, realDisk())
}

func createLog(dir, origin string, now time.Time, d disk) (err error) {
	if _, err := GenerateKeys(origin); err != nil { // the origin is usable
		return err
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("create log: %s is not empty: %w", dir, fs.ErrExist)
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := durable.MkdirAll(parent, 0o700); err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, ".log-*")
	if err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	for _, sub := range []string{"statement", "pack", "signed"} {
		if err := os.Mkdir(filepath.Join(tmp, sub), 0o700); err != nil {
			return fmt.Errorf("create log: %w", err)
		}
	}
	for file, create := range map[string]func(string) error{logKeyFile: d.createKey, clockKeyFile: d.createKey, pqKeyFile: d.createPQKey} {
		if err := create(filepath.Join(tmp, file)); err != nil {
			return err
		}
	}
	if err := begin(tmp, origin, now, d); err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	return durable.SyncDir(parent)
}

// begin puts leaf 0 into a directory that has keys.
func begin(dir, origin string, now time.Time, d disk) error {
	keys, err := OpenKeys(dir, origin)
	if err != nil {
		return err
	}
	start := now.UTC().Truncate(time.Second)
	genesis := &statement.Statement{Empty: true, NotBefore: start, NotAfter: start, NextPublic: start}
	leaf, err := genesis.Append(nil)
	if err != nil {
		return err
	}
	if err := d.create(filepath.Join(dir, "statement", digest(leaf)), leaf, 0o644); err != nil {
		return err
	}
	cfg := log.Config{Dir: filepath.Join(dir, "log"), Signer: keys.Log}
	if err := log.Create(cfg); err != nil {
		return err
	}
	ctx := context.Background() // local disk only
	tiles, err := log.Open(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(d.appendAt(tiles, ctx, 0, statement.LogLeaf(leaf)), tiles.Close())
}
