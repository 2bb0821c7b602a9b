package vision

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"heron/inference"
)

func anObservation() Observation {
	return Observation{Camera: "front", Slot: "main", Frame: 123456, At: time.Date(2026, 11, 21, 8, 0, 0, 123456789, time.UTC), MonoMS: 98765432, AgeMS: 12.3456,
		Model: "bottles@1.2.0#abcdef", Engine: "onnx", LatMS: 6.1234, PrepMS: 0.2345,
		Top: []inference.Score{{Label: "ok", Score: 0.912345}, {Label: "scratched", Score: 0.05}, {Label: "no_label", Score: 0.03}, {Label: "empty", Score: 0.007}}}
}

// written is what a writer puts on the wire.
func written(t testing.TB, send func(*writer) error) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	got := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(b) // ends when a is closed
		got <- all
	}()
	if err := send(newWriter(a, time.Second)); err != nil {
		t.Fatal(err)
	}
	a.Close()
	return <-got
}

func TestMessagesArriveAsTheyWereSent(t *testing.T) {
	o := anObservation()
	for k, m := range map[kind]any{
		kindHello:       &hello{Protocol: 1, Version: "1", PID: 7, Engines: []EngineReport{{Engine: "onnx", Reason: "no"}}, Cameras: []string{"replay"}},
		kindLoading:     &loading{Slot: "main"},
		kindLoaded:      &loaded{Slot: "main", Model: "m@1#a", Engine: "onnx", Device: "cpu", TookMS: 12, Skipped: []skipped{{"edgetpu", "unavailable", "no stick", "plug one in"}}},
		kindEngineLost:  &engineLost{"main", "edgetpu", "unplugged", &inference.Known{Digest: "a", Values: []float32{0.25, 1e-30}}},
		kindEngines:     &engines{[]EngineReport{{Engine: "onnx", Usable: true}}},
		kindRefused:     &Refused{"main", "digest", "wrong <digest>", "fetch it again"},
		kindObservation: &o,
		kindBeat:        &beat{Cameras: []CameraStats{{Name: "front", State: "running", FrameAge: -1}}, Slots: []SlotStats{{Slot: "main"}}, RSS: 1},
		kindClassified:  &classified{ID: 9, Observation: &o},
	} {
		gk, b, err := newReader(bytes.NewReader(written(t, func(w *writer) error { return w.send(k, m) }))).next()
		if err != nil || gk != k {
			t.Fatalf("kind %d: %d, %v", k, gk, err)
		}
		if got, err := decode(gk, b); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("kind %d: %+v, %v; want %+v", k, got, err, m)
		}
	}
}

func TestPicturesArriveWhole(t *testing.T) {
	o, jpeg := anObservation(), bytes.Repeat([]byte{0xff, 0xd8, 1, 2}, 100_000)
	h := pictureHeader{ID: 3, At: o.At, Width: 640, Height: 480, Last: &o}
	wire := written(t, func(w *writer) error {
		if err := w.sendPicture(h, jpeg); err != nil {
			return err
		}
		return w.send(kindObservation, &o) // the buffer is as good as before
	})
	r := newReader(bytes.NewReader(wire))
	k, b, err := r.next()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(k, b)
	if p, ok := got.(*picture); err != nil || !ok || !bytes.Equal(p.JPEG, jpeg) || !reflect.DeepEqual(p.pictureHeader, h) {
		t.Errorf("picture: %v %v", got, err)
	}
	if k, b, err = r.next(); err != nil || k != kindObservation || len(b) == 0 {
		t.Errorf("the message after it: %d %v", k, err)
	}
	if _, _, err = r.next(); err != io.EOF {
		t.Errorf("end: %v", err)
	}
}

func message(k kind, payload string) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(payload)+1)), byte(k)), payload...)
}

func TestHostileMessagesAreRefused(t *testing.T) {
	long := strings.Repeat("x", maxName+1)
	for want, wire := range map[string][]byte{
		"unknown kind 0":         message(0, "{}"),
		"unknown kind 200":       message(200, "{}"),
		"goes the other way":     message(kindClassify, "{}"),
		"announces -1 bytes":     {0, 0, 0, 0, byte(kindBeat)},
		"limit is 1048576":       {0x7f, 0xff, 0xff, 0xff, byte(kindBeat)},
		"limit is 16777216":      {1, 0, 0, 9, byte(kindPicture)},
		"unexpected EOF":         message(kindBeat, `{"rss":1}`)[:9],
		"nested deeper":          message(kindBeat, `{"x":`+strings.Repeat(`[`, 9000)+strings.Repeat(`]`, 9000)+`}`),
		"not what it should be":  message(kindBeat, `{"rss":1} {"rss":2}`),
		"cannot unmarshal":       message(kindObservation, `{"cam":7}`),
		"1e999":                  message(kindObservation, `{"lat_ms":1e999}`),
		"number out of range":    message(kindObservation, `{"lat_ms":-1,"at":"2026-01-01T00:00:00Z"}`),
		"from the year 0":        message(kindObservation, `{"at":"0000-01-01T00:00:00Z"}`),
		"too long or not plain":  message(kindObservation, `{"cam":"`+long+`","at":"2026-01-01T00:00:00Z"}`),
		"score 7":                message(kindObservation, `{"at":"2026-01-01T00:00:00Z","top":[{"label":"a","score":7}]}`),
		"101 scores":             message(kindObservation, `{"at":"2026-01-01T00:00:00Z","top":[{}`+strings.Repeat(`,{}`, 100)+`]}`),
		"fact that is not plain": message(kindObservation, `{"at":"2026-01-01T00:00:00Z","facts":["a\u0007"]}`),
		"camera out of bounds":   message(kindBeat, `{"cameras":[{"name":"a","reading":-5}]}`),
		"slot out of bounds":     message(kindBeat, `{"slots":[{"slot":"a\nb"}]}`),
		"hello is out of bounds": message(kindHello, `{"pid":-1}`),
		"without observation":    message(kindClassified, `{"id":1}`),
		"without a header":       message(kindPicture, `abc`),
		"header announces":       message(kindPicture, "\x00\x00\xff\xffabc"),
	} {
		k, b, err := newReader(bytes.NewReader(wire)).next()
		if err == nil {
			_, err = decode(k, b)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", wire, err, want)
		}
		var bad *protocolError
		if !errors.As(err, &bad) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%.60q: %T is no protocol error", wire, err)
		}
	}
}

func TestTextsForPeopleAreCleanedNotRefused(t *testing.T) {
	k, b, err := newReader(bytes.NewReader(message(kindRefused, `{"slot":"main","code":"format","reason":"a\u001b[31m\nb`+strings.Repeat("é", 2000)+`"}`))).next()
	if err != nil {
		t.Fatal(err)
	}
	m, err := decode(k, b)
	if err != nil {
		t.Fatal(err)
	}
	r := m.(*Refused).Reason
	if !strings.HasPrefix(r, "a [31m bé") || len(r) > maxText+len("…") || !strings.HasSuffix(r, "é…") {
		t.Errorf("%d bytes: %.20q … %q", len(r), r, r[len(r)-8:])
	}
}

// Announcing much costs the peer as much as it costs us.
func TestMemoryGrowsWithWhatHasCome(t *testing.T) {
	wire := append([]byte{0x00, 0xff, 0xff, 0xff, byte(kindPicture)}, make([]byte, 100_000)...)
	r := newReader(bytes.NewReader(wire))
	if _, _, err := r.next(); err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	if cap(r.buf) > 300_000 {
		t.Errorf("%d bytes were allocated for 100,000", cap(r.buf))
	}
}

func FuzzDecode(f *testing.F) {
	o := anObservation()
	b, _ := json.Marshal(o)
	f.Add(message(kindObservation, string(b)))
	f.Add(message(kindBeat, `{"cameras":[{"name":"a","state":"running","frame_age":-1}],"slots":[{"slot":"s"}],"rss":1}`))
	f.Add(message(kindHello, `{"protocol":1,"version":"1","pid":7,"engines":[{"engine":"onnx"}]}`))
	f.Add(message(kindPicture, "\x00\x00\x00\x08{\"id\":1}jpeg"))
	f.Add(message(kindClassified, `{"id":1,"error":"no"}`))
	f.Add(append(message(kindLoading, `{"slot":"a"}`), message(kindLoaded, `{"slot":"a","model":"m","engine":"e"}`)...))
	f.Add(message(kindRefused, `{"slot":"a","code":"c","reason":"r"}`))
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := newReader(bytes.NewReader(wire))
		for {
			k, b, err := r.next()
			if err != nil {
				return
			}
			if len(b) > k.limit() || len(b) > len(wire) {
				t.Fatalf("%d bytes of payload out of %d", len(b), len(wire))
			}
			m, err := decode(k, b)
			if err != nil || m == nil {
				continue
			}
			bounded(t, m)
		}
	})
}

// bounded holds what the rest of heron relies on.
func bounded(t *testing.T, m any) {
	t.Helper()
	if o, ok := m.(*Observation); ok {
		for _, s := range append([]string{o.Camera, o.Slot, o.Model, o.Engine, o.Name}, o.Facts...) {
			if len(s) > maxName || strings.ContainsAny(s, "\n\x1b\x00") {
				t.Fatalf("name %q", s)
			}
		}
		if len(o.Top) > maxTop || math.IsNaN(o.LatMS) || o.LatMS < 0 || len(o.Error) > maxText+8 {
			t.Fatalf("%+v", o)
		}
	}
	if _, err := json.Marshal(m); err != nil {
		t.Fatalf("cannot be written again: %v", err)
	}
}
