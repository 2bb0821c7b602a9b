package network

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"heron/camera"
	"heron/camera/replay"
)

// grey is a JPEG of one grey level, by which a test knows the frame again.
func grey(t testing.TB, w, h int, level byte) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(m, m.Bounds(), &image.Uniform{color.Gray{level}}, image.Point{}, draw.Src)
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func passwordFile(t *testing.T, password string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// notNext fails the test when a source is left to another driver.
func notNext(context.Context, camera.Options) (camera.Device, error) {
	return nil, errors.New("left to another driver")
}

func open(t *testing.T, o camera.Options) (camera.Device, error) {
	t.Helper()
	d, err := New(replay.Decode, notNext)(t.Context(), o)
	if err == nil {
		t.Cleanup(func() { d.Close() })
	}
	return d, err
}

// The example of RFC 7616, section 3.9.1, and that of RFC 2069 with its erratum.
func TestDigestOfTheRFCs(t *testing.T) {
	header := `Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=%s, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`
	l := login{"Mufasa", "Circle of Life"}
	for algorithm, want := range map[string]string{"MD5": "8ca523f5e9506fed4657c9700eebdbec", "SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"} {
		c, err := choose([]string{`Basic realm="x"`, fmt.Sprintf(header, algorithm)})
		if err != nil || c.scheme != "digest" {
			t.Fatal(c, err)
		}
		got := c.digest(l, "GET", "/dir/index.html", 1, "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
		if !strings.Contains(got, `response="`+want+`"`) || !strings.Contains(got, "nc=00000001") || !strings.Contains(got, `opaque="FQhe`) {
			t.Errorf("%s: %s", algorithm, got)
		}
	}
	c, err := choose([]string{`Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"`})
	if got := c.digest(login{"Mufasa", "CircleOfLife"}, "GET", "/dir/index.html", 1, ""); err != nil || !strings.Contains(got, `response="1949323746fe6a43ef61f9606e7febea"`) {
		t.Errorf("without qop: %s, %v", got, err)
	}
	for _, bad := range []string{"Bearer", `Digest realm="x", nonce="y", algorithm=SHA-512-256`, `Digest realm="x", nonce="y", qop="auth-int"`, `Digest realm="x`} {
		if c, err := choose([]string{bad}); err == nil {
			t.Errorf("%s: %+v", bad, c)
		}
	}
}

// guard asks for a login before it serves; it counts the answers that were right.
type guard struct {
	digest   bool
	user     string
	password atomic.Value
	good     atomic.Int32
	once     bool // a digest nonce is good for one request
}

func (g *guard) wrap(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		nonce := "n1"
		if g.once {
			nonce = fmt.Sprint("n", g.good.Load())
		}
		if g.right(r, nonce) {
			g.good.Add(1)
			h(w, r)
			return
		}
		challenge := `Basic realm="cam"`
		if g.digest {
			challenge = `Digest realm="cam", qop="auth", nonce="` + nonce + `", stale=true`
		}
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func (g *guard) right(r *http.Request, nonce string) bool {
	password := g.password.Load().(string)
	if !g.digest {
		user, pass, ok := r.BasicAuth()
		return ok && user == g.user && pass == password
	}
	_, rest, ok := strings.Cut(r.Header.Get("Authorization"), "Digest ")
	p := params(rest)
	h := func(s string) string { sum := md5.Sum([]byte(s)); return hex.EncodeToString(sum[:]) }
	want := h(h(g.user+":cam:"+password) + ":" + nonce + ":" + p["nc"] + ":" + p["cnonce"] + ":auth:" + h(r.Method+":"+p["uri"]))
	return ok && p["response"] == want && p["uri"] == r.URL.RequestURI() && p["nonce"] == nonce
}

func TestSnapshotLogsInAndPollsAtItsPace(t *testing.T) {
	for _, digest := range []bool{false, true} {
		g := &guard{digest: digest, user: "admin", once: digest}
		g.password.Store(`p:ss"wort`)
		picture, requests, unchanged := grey(t, 64, 48, 90), atomic.Int32{}, atomic.Int32{}
		srv := httptest.NewServer(g.wrap(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			w.Header().Set("Content-Type", "image/jpeg")
			w.Header().Set("ETag", `"1"`)
			if r.Header.Get("If-None-Match") == `"1"` {
				unchanged.Add(1)
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = w.Write(picture)
		}))
		defer srv.Close()
		file := passwordFile(t, `p:ss"wort`)
		d, err := open(t, camera.Options{Source: "snapshot+" + srv.URL + "/cgi?channel=1", FPS: 50, Username: "admin", PasswordFile: file})
		if err != nil {
			t.Fatal(err)
		}
		var f camera.Frame
		began := time.Now()
		for range 6 {
			if err := d.Read(&f); err != nil || f.Width != 64 || f.Height != 48 || f.Pix[0] < 86 || f.Pix[0] > 94 {
				t.Fatalf("digest %v: %v, %d×%d", digest, err, f.Width, f.Height)
			}
		}
		if took := time.Since(began); took < 95*time.Millisecond || requests.Load() != 6 || unchanged.Load() != 5 {
			t.Errorf("digest %v: 6 pictures in %v with %d requests, %d unchanged; want 5 periods of 20 ms", digest, took, requests.Load(), unchanged.Load())
		}
		// The password changes: named, and good again with the new file at the next opening.
		g.password.Store("new")
		err = d.Read(&f)
		if err == nil || !strings.Contains(err.Error(), "401: the camera refuses the user or the password") || strings.Contains(err.Error(), "wort") || errors.Is(err, camera.ErrTemporary) {
			t.Errorf("digest %v: %v", digest, err)
		}
		if err := os.WriteFile(file, []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err = open(t, camera.Options{Source: "snapshot+" + srv.URL, FPS: 50, Username: "admin", PasswordFile: file}); err != nil {
			t.Fatal(err)
		}
		if err := d.Read(&f); err != nil {
			t.Errorf("digest %v: %v", digest, err)
		}
	}
}

// V6: what a camera can do wrong has words, none of which is the password, and each ends within its time.
func TestFault_V6_HTTPTroubleIsNamed(t *testing.T) {
	endless := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/jpeg")
		for b := make([]byte, 1<<20); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}
	for name, c := range map[string]struct {
		serve    http.HandlerFunc
		snapshot bool
		user     bool
		want     string
		temp     bool
	}{
		"no login": {serve: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, want: "set credentials.username"},
		"wrong password": {serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
		}, user: true, want: "401: the camera refuses the user or the password"},
		"strange login": {serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Negotiate`)
			w.WriteHeader(401)
		}, user: true, want: "other than Basic and Digest"},
		"not found": {serve: http.NotFound, want: "404 Not Found"},
		"elsewhere": {serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://u:p@127.0.0.1:1/x?token=1")
			w.WriteHeader(302)
		}, user: true, want: "302 and sends on to http://127.0.0.1:1/x?…, which is not followed"},
		"a page":      {serve: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, want: "is no video stream"},
		"one picture": {serve: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "image/jpeg") }, want: "write snapshot+http://"},
		"a film":      {serve: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "video/mp4") }, want: "left to another driver"},
		"half open":   {serve: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, want: "the camera is silent"},
		"half a picture": {serve: func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "\xff\xd8\xffhalf")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, snapshot: true, want: "the camera is silent"},
		"a stream": {serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "multipart/x-mixed-replace")
		}, snapshot: true, want: "leave snapshot+ away"},
		"no end": {serve: endless, snapshot: true, want: "over 16 MiB"},
		"damaged": {serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "image/jpeg")
			_, _ = w.Write(grey(t, 64, 48, 1)[:300])
		}, snapshot: true, want: "damaged JPEG of 300 bytes", temp: true},
		"too large": {serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "image/jpeg")
			_, _ = w.Write(huge(t))
		}, snapshot: true, want: "65535×65535", temp: true},
		"cut": {serve: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, want: "closed the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(c.serve)
			defer srv.Close()
			defer srv.CloseClientConnections()
			o := camera.Options{Source: srv.URL + "/path?key=geheim", OpenTimeout: 30 * time.Second, ReadTimeout: 30 * time.Second}
			if c.want == "the camera is silent" {
				o.OpenTimeout, o.ReadTimeout = 300*time.Millisecond, 300*time.Millisecond
			}
			if c.user {
				o.Username, o.PasswordFile = "admin", passwordFile(t, "geheim")
			}
			if c.snapshot {
				o.Source = "snapshot+" + o.Source
			}
			d, err := open(t, o)
			if err == nil {
				err = d.Read(&camera.Frame{})
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "geheim") || errors.Is(err, camera.ErrTemporary) != c.temp {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, err := open(t, camera.Options{Source: "snapshot+http://127.0.0.1:1/"}); err != nil {
		t.Error(err) // fetched at the first reading
	}
	if _, err := open(t, camera.Options{Source: "http://127.0.0.1:1/"}); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
}

// huge is a JPEG whose header asks for 12 GB.
func huge(t *testing.T) []byte {
	b := grey(t, 64, 48, 1)
	i := bytes.Index(b, []byte{0xff, 0xc0})
	copy(b[i+5:], []byte{0xff, 0xff, 0xff, 0xff})
	return b
}

func TestPasswordFiles(t *testing.T) {
	for text, want := range map[string]string{"": "is empty", "\n": "is empty", "a\nb": "one line", strings.Repeat("x", 5000): "one line"} {
		if _, err := open(t, camera.Options{Source: "http://h/", Username: "u", PasswordFile: passwordFile(t, text)}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "xxx") {
			t.Errorf("%.10q: %v", text, err)
		}
	}
	if _, err := open(t, camera.Options{Source: "http://h/", Username: "u", PasswordFile: "/nowhere/p"}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	// RTSP: next gets it in the URL, in which nothing of it is special; what the URL said before is gone.
	var got string
	addr := strings.TrimPrefix(rtspDouble(t, []byte("RTSP/1.0 401 Unauthorized\r\n\r\n")), "rtsp://")
	_, err := New(replay.Decode, func(_ context.Context, o camera.Options) (camera.Device, error) { got = o.Source; return nil, nil })(t.Context(),
		camera.Options{Source: "rtsp://old:pass@" + addr + "?x=1", Username: "a@b", PasswordFile: passwordFile(t, "p/w:@ %")})
	if want := "rtsp://a%40b:p%2Fw%3A%40%20%25@" + addr + "?x=1"; err != nil || got != want {
		t.Errorf("%s, want %s; %v", got, want, err)
	}
	if camera.Redact(got) != "rtsp://"+addr+"?…" {
		t.Error(camera.Redact(got))
	}
}
