package fetch

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
)

// A reason that differs at each try would be reported at each try.
func TestTheSameFailureReadsTheSame(t *testing.T) {
	broken := func(port int) error {
		return fmt.Errorf("copy: %w", &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{Port: port}, Addr: &net.TCPAddr{Port: 443}, Err: os.NewSyscallError("read", syscall.ECONNRESET)})
	}
	mute := func(port int) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: fmt.Sprintf("read udp 10.0.0.2:%d->10.0.0.1:53: i/o timeout", port), Name: "models.example.com", Server: "10.0.0.1:53", IsTimeout: true}}
	}
	for want, of := range map[string]func(int) error{
		"read: connection reset by peer":                                              broken,
		"no answer in time from the name server 10.0.0.1:53 about models.example.com": mute,
	} {
		a, b := judge(t.Context(), of(40001)), judge(t.Context(), of(40002))
		if a.Error() != want || b.Error() != want || a.kind != again {
			t.Errorf("%v, %v; want %s", a, b, want)
		}
	}
	if !errors.Is(judge(t.Context(), broken(1)), syscall.ECONNRESET) {
		t.Error("what it was is lost")
	}
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	if got := judge(t.Context(), refused).Error(); got != "dial tcp 10.0.0.1:443: connect: connection refused" {
		t.Errorf("who refused is lost: %s", got)
	}
}
