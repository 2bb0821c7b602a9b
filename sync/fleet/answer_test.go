package fleet

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// thin is a broker that answers the second SUBSCRIBE only after so many retained documents, one every 50 ms, or never, and sends as many more after that.
func thin(t *testing.T, documents int) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-done })
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		subscribed := 0
		for r := bufio.NewReader(c); ; {
			var head [2]byte // every packet here is shorter than 128 bytes
			if _, err := io.ReadFull(r, head[:]); err != nil {
				return
			}
			body := make([]byte, head[1])
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			switch head[0] {
			case 0x10:
				_, _ = c.Write([]byte{0x20, 2, 0, 0})
			case 0x82:
				some := func() {
					for range documents {
						_, _ = c.Write([]byte("\x31\x04\x00\x01ax"))
						time.Sleep(50 * time.Millisecond)
					}
				}
				if subscribed++; subscribed == 2 {
					if some(); documents == 0 {
						continue
					}
				}
				_, _ = c.Write([]byte{0x90, 3, body[0], body[1], 0})
				if subscribed == 2 {
					some()
				}
			}
		}
	}()
	return ln.Addr().String()
}

// The answer to a SUBSCRIBE stands behind a large fleet's documents: while they come it is waited for, and not when nothing does.
func TestSubscribingWaitsWhileDocumentsCome(t *testing.T) {
	t.Parallel()
	hurried := quick()
	hurried.ack, hurried.connect, hurried.quiet, hurried.settle, hurried.tell = time.Second, 2*time.Second, 2*time.Second, 30*time.Second, time.Second
	subs := []Sub{{Filter: "a"}, {Filter: "b"}}
	var heard, told atomic.Int64
	o := Options{Subs: subs, Handle: func(Message) { heard.Add(1) }, timing: hurried, Notice: func(s string) {
		if strings.HasSuffix(s, "documents have come, and more do") {
			told.Add(1)
		}
	}}
	err := With(ctxFor(t), Config{Broker: "tcp://" + thin(t, 70)}, o, func(ctx context.Context, l *Link) error { return l.Settle(ctx) })
	if err != nil || heard.Load() != 140 || told.Load() == 0 {
		t.Errorf("%v after %d documents, told %d times", err, heard.Load(), told.Load())
	}
	err = With(ctxFor(t), Config{Broker: "tcp://" + thin(t, 0)}, o, func(context.Context, *Link) error { return nil })
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "subscribe b: no answer in time") {
		t.Errorf("a silent broker: %v", err)
	}
}
