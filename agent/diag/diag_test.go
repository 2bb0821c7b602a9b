package diag

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

func TestPackIsOrderedBoundedAndTheSame(t *testing.T) {
	const most, all = 64 << 10, 512 << 10
	noise := make([]byte, most+9000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	files := []File{{"status.json", []byte("{}\n")}, {"log.txt", []byte("a\n")}}
	for i := range 9 {
		files = append(files, File{fmt.Sprintf("noise-%02d", i), noise})
	}
	var one, two bytes.Buffer
	if err := pack(&one, files, nil, most, all); err != nil {
		t.Fatal(err)
	}
	files[0], files[1] = files[1], files[0]
	if err := pack(&two, files, nil, most, all); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("the same files gave other bytes")
	}
	if one.Len() > all+16<<10 {
		t.Errorf("%d bytes", one.Len())
	}
	list, err := List(&one)
	if err != nil || len(list) != 11 || list[0].Name != "log.txt" || list[10] != (Entry{"status.json", 0}) {
		t.Errorf("%v %+v", err, list)
	}
	if list[1].Size != most || noise[0] != files[3].Body[0] {
		t.Errorf("cut at %d", list[1].Size)
	}
	if !bytes.Contains(read(t, two.Bytes())["noise-00"], []byte("the rest is cut")) {
		t.Error("nothing says that it was cut")
	}
	for _, b := range [][]byte{nil, []byte("text"), two.Bytes()[:100], append(bytes.Clone(two.Bytes()[:40]), 7)} {
		if _, err := List(bytes.NewReader(b)); err == nil {
			t.Errorf("%d bytes were taken for an archive", len(b))
		}
	}
}

func read(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if out[h.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSecretsAreHidden(t *testing.T) {
	s := NewSecrets(append([]string{"hunter2!", "pä&ß", "ab", "  padded \n"}, OfURL("rtsp://cam:se%20cret@10.0.0.2/live?token=tok/en1&fps=5")...))
	for in, want := range map[string]string{
		"connect as anna with hunter2!":                              "connect as anna with …",
		`{"error":"p\u00e4\u0026ß, pä\u0026ß, p%C3%A4%26%C3%9F"}`:    `{"error":"p\u00e4\u0026ß, …, …"}`,
		"rtsp://user:pw@host/x and mqtts://host:8883":                "rtsp://…@host/x and mqtts://host:8883",
		"http://host/s?token=abc&fps=5":                              "http://host/s?token=…&fps=5",
		`"source":"http://h/s?fps=5\u0026access_token=abc\u0026b=1"`: `"source":"http://h/s?fps=5\u0026access_token=…\u0026b=1"`,
		"https://b.s3/x?X-Amz-Signature=ff00&X-Amz-Date=2":           "https://b.s3/x?X-Amz-Signature=…&X-Amz-Date=2",
		"password_file: /etc/heron/pw":                               "password_file: /etc/heron/pw",
		"password: swordfish # mine":                                 "password: … # mine",
		`{"api_key":"0af","n":3}`:                                    `{"api_key":"…","n":3}`,
		`level=ERROR msg="said token=xyz"`:                           `level=ERROR msg="said token=…"`,
		"Authorization: Bearer eyJh.b":                               "Authorization: Bearer …",
		"the frame is ab, se cret tok/en1 tok%2Fen1":                 "the frame is ab, … … …",
		"padded": "…",
		"-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\nx": "…\nx",
		"key: /etc/heron/key.pem": "key: /etc/heron/key.pem",
	} {
		if got := string(s.Hide([]byte(in))); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
	if got := string((*Secrets)(nil).Hide([]byte("mqtt://a:b@c hunter2!"))); got != "mqtt://…@c hunter2!" {
		t.Error(got)
	}
}

func TestTheRingKeepsTheNewest(t *testing.T) {
	var r Ring
	level := &slog.LevelVar{}
	var out bytes.Buffer
	var mu sync.Mutex
	log := slog.New(r.Keep(slog.NewJSONHandler(lockedWriter{&mu, &out}, &slog.HandlerOptions{Level: level}))).With("part", "test")
	log.Debug("not logged, not kept")
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := range 2500 {
				log.Info("line", "w", w, "i", i)
			}
		})
	}
	all.Wait()
	log.WithGroup("g").Warn("the last", "x", 1)
	text := string(r.Text())
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) != maxLines+1 || !strings.Contains(lines[0], "lines=8001") || !strings.HasSuffix(lines[maxLines], `level=WARN msg="the last" part=test g.x=1`) || !strings.HasPrefix(lines[5], "time=20") {
		t.Errorf("%d lines, from %s to %s", len(lines), lines[0], lines[len(lines)-1])
	}
	if strings.Count(out.String(), "\n") != 10001 || strings.Contains(text, "not kept either") || strings.Contains(text, "not logged") {
		t.Errorf("%d lines were handed on", strings.Count(out.String(), "\n"))
	}
	for range 1000 {
		log.Info(strings.Repeat("x", 3000))
	}
	if n := len(r.Text()); n > maxLogBytes+200 || n < maxLogBytes-4000 {
		t.Errorf("%d bytes", n)
	}
	if cap(r.lines) > 3*maxLines {
		t.Errorf("room for %d lines", cap(r.lines))
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// Passwords that were not %-encoded make an address that is no URL, and are hidden like others.
func TestRedactAddress(t *testing.T) {
	for address, want := range map[string]string{
		"rtsp://cam:5544/live?fps=5":                              "rtsp://cam:5544/live?fps=5",
		"http://op:p%2Fw@cam/x?token=12345&fps=5":                 "http://…@cam/x?token=…&fps=5",
		"http://op:r%w/p@ss@cam:80/digest":                        "http://…@cam:80/digest",
		"rtsp://op:Zw ei#te?@cam/x":                               "rtsp://…@cam/x",
		"rtsp://op:8/w@cam/x":                                     "rtsp://…@cam/x",
		"snapshot+http://op:a@b/c@cam/x?user=me@home":             "snapshot+http://…@cam/x?user=me@home",
		"gstreamer:rtspsrc location=rtsp://op:p/w@cam/x ! fake":   "gstreamer:rtspsrc location=rtsp://…@cam/x ! fake",
		"gstreamer:rtspsrc location=rtsp://cam/x user-pw=s ! a@b": "gstreamer:rtspsrc location=rtsp://cam/x user-pw=… ! a@b",
		"usb:1-1.4": "usb:1-1.4",
	} {
		if got := RedactAddress(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	if got := OfURL("rtsp://op:Zw ei#te%@cam/x"); len(got) != 1 || got[0] != "Zw ei#te%" {
		t.Errorf("%q", got)
	}
}

func TestMask(t *testing.T) {
	text := ">  2 |   - {source: \"rtsp://op:Gehe!m/ü 1@h/x?pwd=abc&fps=2\", fps: x}\n                 ^\n   3 | a: b@c"
	want := ">  2 |   - {source: \"rtsp://*************@h/x?pwd=***&fps=2\", fps: x}\n                 ^\n   3 | a: b@c"
	if got := Mask(text); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
