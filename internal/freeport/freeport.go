// Package freeport finds addresses for the servers that tests start.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
)

// Address is one on this machine, 127.0.0.1:PORT, that was free a moment ago.
func Address(t testing.TB) string {
	t.Helper()
	// A child that is started meanwhile would hold a copy of the socket until its exec, and the address with it.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for range 100 {
		// Below the ports that outgoing connections get: one of theirs could take the address before it is used.
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 15_000+rand.IntN(15_000)))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatal("no free port below 30000")
	return ""
}
