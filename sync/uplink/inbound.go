package uplink

import (
	"context"
	"strings"
	"unicode/utf8"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// inbound is one message from the broker.
type inbound struct {
	topic   string // below this device's own
	payload []byte
}

// received queues a message for Config.Handle. It never blocks: the client's pings and acknowledgements hang on it.
func (s *session) received(m paho.Message) {
	s.u.received.Add(1)
	topic, ours := strings.CutPrefix(m.Topic(), s.u.topic(""))
	if !utf8.ValidString(m.Topic()) {
		s.conn.abort(protocolError{"a topic that is not UTF-8"})
		return
	}
	if !ours || s.u.conf.Handle == nil {
		s.u.receivedAndDropped.Add(1)
		return
	}
	select {
	case s.u.inbound <- inbound{topic, m.Payload()}:
	default:
		s.u.receivedAndDropped.Add(1)
	}
}

// handleInbound calls Config.Handle for each message until ctx ends.
func (u *Uplink) handleInbound(ctx context.Context) {
	for {
		select {
		case m := <-u.inbound:
			u.conf.Handle(m.topic, m.payload)
		case <-ctx.Done():
			return
		}
	}
}
