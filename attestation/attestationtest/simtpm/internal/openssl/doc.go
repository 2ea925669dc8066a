// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package openssl holds no code: compiling it checks that the OpenSSL headers,
// which the TPM simulator's C code needs, are installed, and says in one line
// what to install if not. It stands alone because a package that imports the
// simulator is not compiled, and so cannot complain, when the simulator fails.
package openssl
