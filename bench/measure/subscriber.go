package measure

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/klauspost/compress/zstd"
)

// Subscriber is the far side: it counts the records that arrive, each by the frame number of its result.
type Subscriber struct {
	client mqtt.Client
	zstd   *zstd.Decoder

	mu       sync.Mutex
	seen     map[int]bool
	total    int
	messages int
	first    time.Time
	last     time.Time
}

// Subscribe listens to the results of all devices.
func Subscribe(port int) (*Subscriber, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	s := &Subscriber{zstd: d, seen: map[int]bool{}}
	o := mqtt.NewClientOptions().AddBroker(fmt.Sprintf("tcp://127.0.0.1:%d", port)).SetClientID("bench-far-side").SetAutoReconnect(false)
	s.client = mqtt.NewClient(o)
	if t := s.client.Connect(); !t.WaitTimeout(10*time.Second) || t.Error() != nil {
		return nil, fmt.Errorf("connect: %v", t.Error())
	}
	topics := map[string]byte{"heron/v1/+/+/t/result": 1, "heron/v1/+/+/h/result": 1}
	if t := s.client.SubscribeMultiple(topics, s.receive); !t.WaitTimeout(10*time.Second) || t.Error() != nil {
		return nil, fmt.Errorf("subscribe: %v", t.Error())
	}
	return s, nil
}

func (s *Subscriber) receive(_ mqtt.Client, m mqtt.Message) {
	body := m.Payload()
	if bytes.HasPrefix(body, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		var err error
		body, err = s.zstd.DecodeAll(body, nil)
		Must(err)
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages++
	s.last = now
	if s.first.IsZero() {
		s.first = now
	}
	for _, part := range strings.Split(string(body), `"frame":`)[1:] {
		end := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' })
		n, err := strconv.Atoi(part[:max(end, 0)])
		Must(err)
		s.total++
		s.seen[n] = true
	}
}

// Arrivals is what a Subscriber counted.
type Arrivals struct {
	Total, Distinct, Messages int
	First, Last               time.Time
}

// Arrivals so far.
func (s *Subscriber) Arrivals() Arrivals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Arrivals{s.total, len(s.seen), s.messages, s.first, s.last}
}

// Has says whether the result with this frame number arrived.
func (s *Subscriber) Has(frame int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[frame]
}

// Close ends the subscription.
func (s *Subscriber) Close() { s.client.Disconnect(100) }
