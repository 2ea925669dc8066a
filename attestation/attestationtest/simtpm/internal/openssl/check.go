// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package openssl

/*
#ifdef __has_include
#if !__has_include(<openssl/evp.h>)
#error "OpenSSL headers are missing, run: apt-get install -y libssl-dev"
#endif
#endif
*/
import "C"
