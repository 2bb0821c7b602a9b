package camera

import (
	"bytes"
	"context"
	"errors"
	"image/jpeg"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	a, err := ParseAddress("pictures:/a folder/with?mark%20s?loop=true", "loop")
	if err != nil || a.Scheme != "pictures" || a.Path != "/a folder/with?mark%20s" {
		t.Errorf("%+v %v", a, err)
	}
	if loop, err := a.Flag("loop"); !loop || err != nil {
		t.Error(loop, err)
	}
	for source, want := range map[string]string{
		"/dev/video0":           "no scheme",
		"pictures:/x?lop=1":     `unknown option "lop"`,
		"pictures:/x?loop=%zz":  "options after",
		"v4l2:/dev/video0?x=1":  "takes no options",
		"file:/x?loop=sometime": "true or false",
	} {
		keys := []string{"loop"}
		if Scheme(source) == "v4l2" {
			keys = nil
		}
		a, err := ParseAddress(source, keys...)
		if err == nil {
			_, err = a.Flag("loop")
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", source, err, want)
		}
	}
}

func TestRedact(t *testing.T) {
	for source, want := range map[string]string{
		"rtsp://user:secret@host:554/path":          "rtsp://host:554/path",
		"http://host/x.mjpg?user=u&password=secret": "http://host/x.mjpg?…",
		"rtsp://user:se/cr@et@host/path":            "rtsp://host/path",
		"rtsp://user:se?cret@host/path":             "rtsp://host/path",
		"gstreamer:rtspsrc user-pw=secret ! x":      "gstreamer:…",
		"v4l2:/dev/video0":                          "v4l2:/dev/video0",
		"nonsense":                                  "nonsense",
	} {
		if got := Redact(source); got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
}

func TestFirstOf(t *testing.T) {
	broken := errors.New("broken")
	open := FirstOf(
		func(_ context.Context, o Options) (Device, error) { return nil, ErrNotMine },
		func(_ context.Context, o Options) (Device, error) {
			if Scheme(o.Source) == "b" {
				return nil, broken
			}
			return nil, ErrNotMine
		})
	if _, err := open(t.Context(), Options{Source: "b:"}); err != broken {
		t.Error(err)
	}
	if _, err := open(t.Context(), Options{Source: "rstp://u:secret@h/"}); err == nil || !strings.Contains(err.Error(), "no driver") || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestSnapshotIsACopy(t *testing.T) {
	d := &fake{lossless: true, frames: 3}
	s, ctx, stop := start(t, 0, dev(d))
	defer stop()
	var snap Frame
	if s.Snapshot(&snap) {
		t.Error("a snapshot before the first frame")
	}
	f, err := s.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Snapshot(&snap) || snap.Pix[0] != 1 || &snap.Pix[0] == &f.Pix[0] || snap.Width != 4 {
		t.Errorf("while the consumer holds the frame: %+v", snap)
	}
	s.Release(f)
	if f, err = s.Next(ctx); err != nil {
		t.Fatal(err)
	}
	s.Release(f)
	if !s.Snapshot(&snap) || snap.Pix[0] != 2 {
		t.Errorf("after it was given back: %+v", snap)
	}
}

func TestEncodeJPEG(t *testing.T) {
	f := drawn(0, func(x, y int) int { return 200 * b2i(x < 320) })
	for _, c := range []struct{ maxWidth, w, h int }{{0, 640, 480}, {320, 320, 240}, {1000, 640, 480}, {1, 1, 1}} {
		b, err := EncodeJPEG(f, c.maxWidth, 80)
		if err != nil {
			t.Fatal(err)
		}
		m, err := jpeg.Decode(bytes.NewReader(b))
		if err != nil || m.Bounds().Dx() != c.w || m.Bounds().Dy() != c.h {
			t.Fatalf("%v: %v %v", c, m.Bounds(), err)
		}
		if r, _, _, _ := m.At(c.w/8, c.h/2).RGBA(); c.w > 1 && (r>>8 < 190 || r>>8 > 210) {
			t.Errorf("%v: left half is %d", c, r>>8)
		}
	}
	if _, err := EncodeJPEG(&Frame{}, 0, 80); err == nil {
		t.Error("an empty frame was encoded")
	}
}
