package vision_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"heron/inference"
	"heron/inference/scripted"
)

// The stub speaks the protocol with code of its own, so that it can break every part of it.
// Its mode is HERON_VISION_TEST; with HERON_VISION_ONCE=FILE only the first process misbehaves (it makes the file), later ones are good.

const (
	msgHello, msgLoading, msgLoaded, msgObservation, msgBeat = 1, 2, 3, 5, 6
)

type stub struct {
	conn    net.Conn
	mu      sync.Mutex
	camera  string
	slot    string
	reading float64 // the camera's, in the beat
	running float64 // the slot's
	growing bool
	held    []byte
}

func serveStub(mode string) {
	s := &stub{conn: inheritedConn()}
	if once := os.Getenv("HERON_VISION_ONCE"); once != "" {
		f, err := os.OpenFile(once, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			mode = "good"
		}
		f.Close()
	}
	s.before(mode)
	s.configured()
	s.after(mode)
	s.good()
}

// before is what can be wrong up to the hello.
func (s *stub) before(mode string) {
	hello := map[string]any{"protocol": 1, "version": "stub", "pid": os.Getpid()}
	switch mode {
	case "no-hello":
		io.Copy(io.Discard, s.conn)
		os.Exit(0)
	case "wrong-version":
		hello["protocol"], hello["version"] = 99, "9.9"
	case "exit":
		fmt.Fprintln(os.Stderr, "cannot open the thing")
		os.Exit(3)
	case "close":
		s.conn.Close()
		time.Sleep(time.Minute)
	}
	s.send(msgHello, hello)
}

// configured waits for the configuration, then watches for the end of the connection.
func (s *stub) configured() {
	var h [5]byte
	if _, err := io.ReadFull(s.conn, h[:]); err != nil {
		os.Exit(0)
	}
	b := make([]byte, binary.BigEndian.Uint32(h[:])-1)
	var c struct {
		Cameras []struct{ Name string }
		Slots   []struct{ Slot string }
		Held    []string
	}
	if _, err := io.ReadFull(s.conn, b); err != nil || json.Unmarshal(b, &c) != nil {
		os.Exit(1)
	}
	go func() {
		io.Copy(io.Discard, s.conn)
		os.Exit(0)
	}()
	s.camera, s.slot = c.Cameras[0].Name, c.Slots[0].Slot
}

// after is what can be wrong later.
func (s *stub) after(mode string) {
	switch mode {
	case "good":
	case "silent":
		time.Sleep(time.Hour)
	case "load-hang":
		s.send(msgLoading, map[string]any{"slot": s.slot})
		s.beats(1 << 30)
	case "load-abort":
		s.send(msgLoading, map[string]any{"slot": s.slot})
		abort("terminate called after throwing an instance of 'std::bad_alloc'")
	case "garbage":
		s.conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	case "huge":
		s.conn.Write([]byte{0xff, 0xff, 0xff, 0xff, msgObservation, 1, 2, 3})
	case "huge-json":
		s.conn.Write(append([]byte{0, 0x20, 0, 0, msgBeat}, make([]byte, 0x20_0000)...))
	case "deep":
		s.raw(msgBeat, []byte(`{"rss":1,"x":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`}`))
	case "foreign-camera":
		s.loaded()
		s.observe("nobody", 1)
	default:
		s.loaded()
		for i := range 5 {
			s.observe(s.camera, uint64(i+1))
		}
		s.later(mode)
	}
}

// later is what goes wrong while all is well.
func (s *stub) later(mode string) {
	switch mode {
	case "exit-later":
		os.Exit(3)
	case "abort":
		abort("F tflite/edgetpu_manager.cc:123] driver lost")
	case "panic":
		panic("boom")
	case "stop":
		syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "hang":
		s.running = 0.001
		s.beats(1 << 30)
	case "no-frames":
		s.reading = 0.001
		s.beats(1 << 30)
	case "no-beats":
		time.Sleep(time.Hour)
	case "grow":
		s.growing = true
		s.beats(1 << 30)
	case "storm":
		for i := range 100_000 {
			fmt.Fprintf(os.Stderr, "line %d of a storm\n", i)
		}
	case "slow":
		for i := range 3 {
			time.Sleep(700 * time.Millisecond)
			s.beats(1)
			s.observe(s.camera, uint64(i+6))
		}
	}
}

// good serves for ever.
func (s *stub) good() {
	s.loaded()
	for i := uint64(1); ; i++ {
		s.observe(s.camera, i)
		if i%5 == 0 {
			s.beats(1)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func abort(line string) {
	fmt.Fprintln(os.Stderr, line)
	// Go's own handler would print a trace and the line above would be far up; a native abort() does not.
	syscall.Kill(os.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Minute)
}

func (s *stub) loaded() {
	s.send(msgLoading, map[string]any{"slot": s.slot})
	s.send(msgLoaded, map[string]any{"slot": s.slot, "model": "m@1#abcdef", "engine": "stub"})
}

func (s *stub) observe(camera string, frame uint64) {
	s.send(msgObservation, map[string]any{"cam": camera, "slot": s.slot, "frame": frame, "at": time.Now(), "mono_ms": 1, "model": "m@1#abcdef", "engine": "stub",
		"top": []map[string]any{{"label": "ok", "score": 0.9}}})
}

func (s *stub) beats(n int) {
	for range n {
		s.send(msgBeat, map[string]any{"rss": 1 << 20,
			"cameras": []map[string]any{{"name": s.camera, "state": "running", "reading": s.reading}},
			"slots":   []map[string]any{{"slot": s.slot, "running": s.running}}})
		if s.reading > 0 {
			s.reading += 0.2
		}
		if s.running > 0 {
			s.running += 0.2
		}
		if s.growing {
			s.grow(20 << 20)
		}
		if n > 1 {
			time.Sleep(200 * time.Millisecond)
		}
	}
}

// grow really takes memory, and tells nobody.
func (s *stub) grow(n int) {
	more := make([]byte, n)
	for i := range more {
		more[i] = byte(i)
	}
	s.held = append(s.held, more...)
}

func (s *stub) send(kind byte, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	s.raw(kind, b)
}

func (s *stub) raw(kind byte, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := binary.BigEndian.AppendUint32(nil, uint32(len(b)+1))
	if _, err := s.conn.Write(append(append(m, kind), b...)); err != nil {
		os.Exit(0)
	}
}

// openNative is the engine "native": scripted, but like native code it heeds no context, and when it fails the process goes.
func openNative(ctx context.Context, m inference.Model) (inference.Engine, error) {
	script, err := scripted.Parse(m.Bytes)
	if err != nil {
		return nil, err
	}
	e, err := scripted.Open(ctx, m)
	return &native{Engine: e, hangs: script.HangEvery, aborts: script.FailEvery}, err
}

type native struct {
	inference.Engine
	hangs, aborts, runs int
}

func (n *native) Run(ctx context.Context) error {
	n.runs++
	if n.hangs > 0 && n.runs%n.hangs == 0 {
		select {}
	}
	if n.aborts > 0 && n.runs%n.aborts == 0 {
		abort("native: assertion failed")
	}
	return n.Engine.Run(context.WithoutCancel(ctx))
}
