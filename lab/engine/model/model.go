// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package model holds the lab's language model: a genuine but tiny transformer
// made for this project. README.md beside it says what it is and how it was
// made. It is a toy.
package model

import (
	_ "embed"
)

// Name is what clients ask for.
const Name = "sotto-tiny"

// GGUF is the model file.
//
//go:embed sotto-tiny.gguf
var GGUF []byte

// Reference holds greedy answers of llama.cpp with the same weights, as JSON.
//
//go:embed reference.json
var Reference []byte
