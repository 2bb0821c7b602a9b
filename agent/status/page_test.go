package status

import (
	"html/template"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestPageTellsTheTruth(t *testing.T) {
	now := time.Now()
	d := &device{}
	s := serve(t, d)
	for name, c := range map[string]struct {
		snap  Snapshot
		has   []string
		never []string
	}{
		"working": {working(now),
			[]string{"Working", "scratched", "91.2 %", "10.0/s", "1 camera, 10.0 results a second, link online, 12 records wait to be sent.", "938\u2009639", "Engines: onnx in use, 1 ready"},
			[]string{"Not current", "with trouble", "<details open"}},
		"troubled": {troubled(now),
			[]string{"Working, with trouble", "Clean the lens", "17 min 00 s", "The picture is covered.", "connection refused", "Next try in", "10\u2009213", "Plug the stick in", "no Edge TPU on USB"},
			[]string{"91.2 %"}},
		"broken": {broken(now),
			[]string{"Not working", "Not current:", "1 min 35 s ago", "labels.txt has 5 labels", "no engine", "crash-loop", "Next start in", "1\u2009533", "the disk is read-only"},
			nil},
		"empty": {Snapshot{}, []string{"Unknown", "No camera is configured"}, []string{"0001", "-9223"}},
	} {
		d.set(c.snap)
		code, body, _ := ask(t, s, "GET", "/")
		if code != 200 {
			t.Fatalf("%s: %d %s", name, code, body)
		}
		for _, want := range c.has {
			if !strings.Contains(body, template.HTMLEscapeString(want)) {
				t.Errorf("%s: the page does not say %q", name, want)
			}
		}
		for _, no := range c.never {
			if strings.Contains(body, no) {
				t.Errorf("%s: the page says %q", name, no)
			}
		}
	}
}

func TestPageNeedsNothingFromElsewhere(t *testing.T) {
	for _, name := range []string{"page.html", "page.css", "page.js"} {
		b, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if m := regexp.MustCompile(`(?i)https?://|//[a-z]+\.[a-z]|@import|\bstyle=|\bon[a-z]+="|<script>`).Find(b); m != nil {
			t.Errorf("%s has %q: from elsewhere, or what the content security policy forbids", name, m)
		}
	}
}

func TestPageEscapesWhatComesFromOutside(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	s := working(noon)
	s.Reasons = []Reason{{Code: evil, Text: evil, NextStep: evil}}
	s.Device = Device{Group: evil, ID: evil, Agent: evil, Boot: evil, Hardware: evil}
	s.Uplink.Reason, s.Uplink.Broker, s.Uplink.State = evil, evil, evil
	s.Outbox.Reason, s.Outbox.State, s.Outbox.Dropped = evil, evil, map[string]uint64{evil: 1}
	s.Cameras[0].Name, s.Cameras[0].Source, s.Cameras[0].LastError, s.Cameras[0].Facts = evil, evil, evil, []string{evil}
	s.Cameras[0].Last.Top, s.Cameras[0].Last.Name, s.Cameras[0].Last.Model = []Score{{evil, 0.5}}, evil, evil
	s.Models[0].Name, s.Models[0].Refusal = evil, &Refusal{Code: evil, Reason: evil, NextStep: evil}
	s.Engines, s.Vision.LastReason = []Engine{{Engine: evil, Reason: evil, NextStep: evil}}, evil
	d := &device{}
	d.set(s)
	_, body, _ := ask(t, serve(t, d), "GET", "/")
	if strings.Contains(body, "<script>") || strings.Contains(body, "<img src=x") || strings.Contains(body, `data-camera="">`) {
		t.Error("something was not escaped")
	}
	if strings.Count(body, "alert(1)") < 20 {
		t.Error("the test shows nothing: little of it is on the page")
	}
}

func TestWordsForPeople(t *testing.T) {
	for got, want := range map[string]string{
		duration(0.04): "0.0 s", duration(9.96): "10.0 s", duration(59.9): "59 s", duration(61): "1 min 01 s", duration(3725): "1 h 02 min", duration(200_000): "2 d 7 h", duration(-1): "–",
		bytesText(0): "0 B", bytesText(uint64(1023)): "1023 B", bytesText(int64(1536)): "1.5 KiB", bytesText(512 << 20): "512 MiB", bytesText(uint64(1) << 62): "4194304 TiB",
		number(999): "999", number(int64(-1234567)): "-1\u2009234\u2009567", percent(0.9123): "91.2 %",
		title("degraded"): "Working, with trouble", title("online"): "Online", title(""): "Unknown",
		enginesText(working(noon).Engines): "Engines: onnx in use, 1 ready", enginesText(troubled(noon).Engines): "Engines: onnx in use, 1 ready, 1 not usable",
		enginesText([]Engine{{Engine: "edgetpu", Device: "usb:2-1", InUse: true}, {Engine: "edgetpu", Device: "usb:2-2", InUse: true}}): "Engines: edgetpu in use",
		ago(noon, time.Time{}): "", ago(noon, noon.Add(time.Hour)): "0.0 s", short("abc"): "abc",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// FuzzPage renders whatever heron-vision, a model or a broker may have put into names and numbers.
func FuzzPage(f *testing.F) {
	f.Add("ok", "running", 0.5, int64(3))
	f.Add("\xff<é", "", -1e300, int64(-1)<<63)
	page := parsePage()
	f.Fuzz(func(t *testing.T, name, state string, x float64, n int64) {
		s := working(noon)
		s.State, s.Device.ID, s.Device.UptimeS, s.Uplink.State, s.Uplink.RetryInS = state, name, x, state, x
		c := &s.Cameras[0]
		c.Name, c.State, c.FPS, c.FrameAgeS, c.Width, c.Height, c.Frames = name, state, x, x, int(n), int(n), uint64(n)
		c.Last.Top = []Score{{name, x}}
		s.Models[0].Digest, s.Outbox.Bytes, s.Vision.RSS, s.Outbox.ByStream = name, n, n, map[string]int64{name: n}
		if err := page.Execute(io.Discard, s); err != nil {
			t.Fatal(err)
		}
	})
}
