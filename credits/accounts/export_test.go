// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts

import "net/http"

// Tables returns the routes of both ports, and the muxes that answer.
func (b *Bank) Tables() (public, admin []string, publicMux, adminMux *http.ServeMux) {
	for _, r := range b.publicTable() {
		public = append(public, r.pattern)
	}
	for _, r := range b.adminTable() {
		admin = append(admin, r.pattern)
	}
	return public, admin, b.public.(*http.ServeMux), b.admin.(*http.ServeMux)
}

// Store is the bank's database.
func (b *Bank) Store() *Store { return b.store }

// Exec changes the database behind the bank's back, as somebody with the file can.
func (s *Store) Exec(query string, args ...any) error {
	_, err := s.write.Exec(query, args...)
	return err
}

// Engine is what the ports ask.
func (b *Bank) Engine() *Engine { return b.engine }
