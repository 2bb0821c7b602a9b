package fleet

import (
	"errors"
	"strings"
	"testing"
)

// Who cannot connect for want of a setting is told which.
func TestReasonNamesTheSetting(t *testing.T) {
	secure, plain := Config{Broker: "mqtts://h"}, Config{Broker: "mqtt://h"}
	cert := Config{Broker: "mqtts://h", Cert: "c", Key: "k"}
	for _, c := range []struct {
		conf      Config
		err, next string
	}{
		{secure, "tls: failed to verify certificate: x509: certificate signed by unknown authority", "--ca"},
		{secure, "remote error: tls: certificate required", "--cert and --key"},
		{cert, "remote error: tls: unknown certificate authority", "authority of your --cert"},
		{cert, "write tcp 127.0.0.1:1->127.0.0.1:2: write: connection reset by peer", "authority of your --cert"},
		{secure, "tls: first record does not look like a TLS handshake", "does this port speak TLS"},
		{secure, "EOF", "does this port speak TLS"},
		{plain, "read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer", "mqtts://"},
		{plain, "EOF", "mqtts://"},
	} {
		if got := connectReason(errors.New(c.err), 0, c.conf).Error(); !strings.HasPrefix(got, c.err+"; ") || !strings.Contains(got, c.next) {
			t.Errorf("%s: %s", c.conf.Broker, got)
		}
	}
	refused := errors.New("dial tcp 127.0.0.1:1: connect: connection refused")
	if got := connectReason(refused, 0, plain); got != refused {
		t.Errorf("what no setting mends: %v", got)
	}
}
