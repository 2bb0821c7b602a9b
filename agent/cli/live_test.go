package cli

import (
	"bytes"
	"fmt"
	"image/jpeg"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"heron/agent/status"
)

func TestLiveViewGoesOnOverAReplacedVision(t *testing.T) {
	t.Parallel()
	f := newField(t, nobody, "testcard:?fps=20")
	f.start(t)
	before := f.until(t, "classifies", classifying)
	r, err := http.Get("http://" + f.page + "/stream/front.mjpg?draw=1&fps=10&width=320")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	stuck := time.AfterFunc(90*time.Second, func() { r.Body.Close() })
	defer stuck.Stop()
	parts := multipart.NewReader(r.Body, "heron-frame")
	// until reads pictures, each of which must be whole and bear its own result, until one has this caption.
	until := func(what string, fits func(caption string, frame string) bool) {
		t.Helper()
		for {
			p, err := parts.NextRawPart()
			if err != nil {
				t.Fatalf("%s: the stream ended: %v", what, err)
			}
			b, err := io.ReadAll(p)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if _, err := jpeg.Decode(bytes.NewReader(b)); err != nil {
				t.Fatalf("%s: %d bytes: %v", what, len(b), err)
			}
			caption, err := url.PathUnescape(p.Header.Get("Heron-Caption"))
			frame := p.Header.Get("Heron-Frame")
			if err != nil || frame != "0" && caption != "" && !strings.HasPrefix(caption, "frame "+frame+": ") {
				t.Fatalf("frame %s has the caption %q", frame, caption)
			}
			if fits(caption, frame) {
				return
			}
		}
	}
	classified := func(caption, frame string) bool { return frame != "0" && strings.Contains(caption, " %") }
	until("live", classified)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		now := f.until(t, "runs", func(s *status.Snapshot) bool { return s.Vision.State == "running" && s.Vision.PID > 0 })
		if err := syscall.Kill(now.Vision.PID, sig); err != nil {
			t.Fatal(err)
		}
		if sig == syscall.SIGSTOP {
			until("a card in place of a picture that stands", func(caption, frame string) bool { return frame == "0" && strings.HasPrefix(caption, "no picture: ") })
		}
		f.until(t, "replaced", func(s *status.Snapshot) bool { return s.Vision.PID != now.Vision.PID && classifying(s) })
		until(fmt.Sprintf("live again after %v", sig), classified)
	}
	until("and goes on", classified)
	s := f.until(t, "counted", func(s *status.Snapshot) bool { return s.Live.Viewers == 1 && s.Live.Frames > 10 })
	if s.Vision.Restarts < before.Vision.Restarts+2 || s.Live.Encodes > s.Live.Frames+2 {
		t.Errorf("%+v, %d restarts", s.Live, s.Vision.Restarts)
	}
	if code, body := get(t, f.page, "/snapshot/front.jpg?draw=1"); code != 200 || !strings.HasPrefix(body, "\xff\xd8") {
		t.Errorf("a drawn snapshot: %d %.80q", code, body)
	}
}
