// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"io"
	"os"
	"runtime/pprof"
)

// Profiled runs f with profiles of this process in files whose names begin
// with path: .cpu.pprof, and .allocs.pprof at the end. An empty path means
// none. Only the lab can profile its roles: a profile of a node says what it
// was doing, so the shipped programs have no such switch.
func Profiled(path string, f func() error) error {
	if path == "" {
		return f()
	}
	out, err := create(path + ".cpu.pprof")
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return errors.Join(err, out.Close())
	}
	err = f()
	pprof.StopCPUProfile()
	return errors.Join(err, out.Close(), allocations(path+".allocs.pprof"))
}

func allocations(path string) error {
	out, err := create(path)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(out, 0), out.Close())
}

func create(path string) (io.WriteCloser, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
}
