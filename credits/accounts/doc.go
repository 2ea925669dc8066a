// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package accounts is the bank's identified port: accounts, what they bought,
// and the API keys that open them.
//
// It sees who buys and, blinded, what. It never sees a token, nor when or where
// one is spent: that is the anonymous port, another process with another
// database (credits/bank). Its time is the epoch of the newest verified
// statement. The specification is docs/spec/accounts.md; what an operator has to
// keep by law is here and only here (docs/payments-and-law.md).
package accounts
