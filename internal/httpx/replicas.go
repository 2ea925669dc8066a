// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// replicaWait is how long one address of several may take to accept a
// connection. A machine without power does not even refuse.
const replicaWait = time.Second

// CheckReplicas says what is wrong with addresses for [Replicas].
func CheckReplicas(addrs []string) error {
	for _, a := range addrs {
		host, port, err := net.SplitHostPort(a)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
			return fmt.Errorf("want host:port, have %q", a)
		}
	}
	return nil
}

// Replicas has t reach one service that stands at several addresses, each
// host:port, beside the one that URLs name. Each new connection begins with the
// next of them in turn and goes on to the one after where none is made, so that
// the loss of a replica is felt by the connections it had and by nobody else.
// TLS checks one name, whichever of them answers.
//
// A request on a connection that breaks is not sent again here: whether it may
// be, its sender knows.
func Replicas(t *http.Transport, addrs []string) (*http.Transport, error) {
	if err := CheckReplicas(addrs); err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return t, nil
	}
	dial := t.DialContext
	var turn atomic.Uint32
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		all := append([]string{addr}, addrs...)
		first := int(turn.Add(1)-1) % len(all)
		var failed error
		for i := range all {
			one, cancel := context.WithTimeout(ctx, replicaWait)
			c, err := dial(one, network, all[(first+i)%len(all)])
			cancel()
			if err == nil {
				return c, nil
			}
			if failed = errors.Join(failed, err); ctx.Err() != nil {
				break
			}
		}
		return nil, failed
	}
	return t, nil
}
