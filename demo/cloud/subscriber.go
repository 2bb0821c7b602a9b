package cloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

const (
	everything = "heron/#"
	barrier    = "demo/barrier"
	patience   = 5 * time.Second
)

// subscriber is an ordinary MQTT client that reads what the device sends.
type subscriber struct {
	client mqtt.Client
	passed chan struct{} // its own message came back
}

// subscribe connects over dial's connection and returns once the subscription stands.
func subscribe(ctx context.Context, dial func() net.Conn, onMessage func(string, []byte)) (*subscriber, error) {
	s := &subscriber{passed: make(chan struct{}, 1)}
	o := mqtt.NewClientOptions().AddBroker("tcp://in.process:1883").SetClientID("demo-cloud").SetProtocolVersion(4).
		SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false).SetOrderMatters(true).
		SetConnectTimeout(patience).SetWriteTimeout(patience).SetKeepAlive(0)
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return dial(), nil })
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		if m.Topic() == barrier {
			s.passed <- struct{}{}
		} else if strings.HasPrefix(m.Topic(), "heron/") {
			onMessage(m.Topic(), m.Payload())
		}
	})
	s.client = mqtt.NewClient(o)
	if err := wait(ctx, s.client.Connect()); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	t := s.client.SubscribeMultiple(map[string]byte{everything: 0, barrier: 0}, nil)
	if err := wait(ctx, t); err != nil {
		s.client.Disconnect(0)
		return nil, err
	}
	return s, nil
}

// close reads what the broker still holds for it, then leaves. The broker delivers in order, so the subscriber's own message comes last.
func (s *subscriber) close() error {
	defer s.client.Disconnect(0)
	if err := wait(context.Background(), s.client.Publish(barrier, 0, false, "")); err != nil {
		return err
	}
	select {
	case <-s.passed:
		return nil
	case <-time.After(patience):
		return errors.New("the subscriber did not see all that the broker held")
	}
}

func wait(ctx context.Context, t mqtt.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(patience):
		return fmt.Errorf("no answer within %v", patience)
	}
}
