// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package logger stands in for github.com/google/logger, which has no build for
// WebAssembly, with what go-sev-guest calls of it. It logs nothing: a verifier
// says what it has to say in its answer.
package logger

import "io"

// A Level is that of a verbose message.
type Level int

// Verbose is whether a verbose message would be written: never.
type Verbose bool

// A Logger writes nothing.
type Logger struct{}

// V returns whether messages of that level are written.
func V(Level) Verbose { return false }

// Info and the others drop their arguments.
func (Verbose) Info(...any)          {}
func (Verbose) Infof(string, ...any) {}

func Init(string, bool, bool, io.Writer) *Logger { return &Logger{} }
func Info(...any)                                {}
func Infof(string, ...any)                       {}
func Warning(...any)                             {}
func Warningf(string, ...any)                    {}
func Error(...any)                               {}
func Errorf(string, ...any)                      {}
func Fatal(...any)                               { panic("logger: fatal") }
func Fatalf(string, ...any)                      { panic("logger: fatal") }
