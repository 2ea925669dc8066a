// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package httpxtest mints a throw-away certificate authority and leaves for
// it, as files, for tests and for the lab. No shipped role may import it.
package httpxtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
)

// A CA is a self-made root. Its key is in memory only.
type CA struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey

	mu     sync.Mutex
	serial int64
}

// CreateCA makes a root, valid for a year, and writes dir/ca.pem. commonName
// is what a person who inspects the certificate reads.
func CreateCA(dir, commonName string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := template(commonName, 1)
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.MaxPathLenZero = true, true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	ca := &CA{dir: dir, cert: cert, key: key, serial: 1}
	return ca, writePEM(ca.File(), "CERTIFICATE", der, 0o644)
}

// File is the path of the root's certificate.
func (ca *CA) File() string { return filepath.Join(ca.dir, "ca.pem") }

// Issue makes a leaf for client and server use and writes dir/name.pem and
// dir/name.key. name is its first DNS name, by which peers know it; addrs are
// further names and IP addresses. The result's CA is this one.
func (ca *CA) Issue(name string, addrs ...string) (httpx.TLS, error) {
	ca.mu.Lock()
	ca.serial++
	serial := ca.serial
	ca.mu.Unlock()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return httpx.TLS{}, err
	}
	tmpl := template(name, serial)
	tmpl.DNSNames = []string{name}
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, a := range addrs {
		if ip := net.ParseIP(a); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, a)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return httpx.TLS{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return httpx.TLS{}, err
	}
	t := httpx.TLS{
		Cert: filepath.Join(ca.dir, name+".pem"),
		Key:  filepath.Join(ca.dir, name+".key"),
		CA:   ca.File(),
	}
	if err := writePEM(t.Cert, "CERTIFICATE", der, 0o644); err != nil {
		return httpx.TLS{}, err
	}
	return t, writePEM(t.Key, "PRIVATE KEY", pkcs8, 0o600)
}

func template(name string, serial int64) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
	}
}

func writePEM(path, kind string, der []byte, perm os.FileMode) error {
	b := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path, b, perm); err != nil {
		return fmt.Errorf("httpxtest: %w", err)
	}
	return nil
}
