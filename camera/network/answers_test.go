package network

import (
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"heron/camera"
	"heron/camera/replay"
)

// A camera that is busy at times costs the pictures of that time: nothing is opened anew. One that has given none yet, or that wants another
// login, is a camera that fails.
func TestSnapshotThatIsBusyAtTimes(t *testing.T) {
	t.Parallel()
	picture := grey(t, 64, 48, 90)
	var answer atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch answer.Load() {
		case "picture":
			w.Header().Set("Content-Type", "image/jpeg")
			_, _ = w.Write(picture)
		case "page":
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>camera is starting</html>")
		case "busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "gone":
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer srv.Close()
	d, err := open(t, camera.Options{Source: "snapshot+" + srv.URL, FPS: 200})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		answer, want string
		temporary    bool
	}{
		{"busy", "503 Service Unavailable", false}, {"page", "what comes (text/html) is no picture", false}, {"picture", "", false},
		{"busy", "503 Service Unavailable", true}, {"page", "what comes (text/html) is no picture", true}, {"gone", "404 Not Found", false}, {"picture", "", false},
	} {
		answer.Store(c.answer)
		err := d.Read(&camera.Frame{})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || errors.Is(err, camera.ErrTemporary) != c.temporary {
			t.Errorf("%d, %s: %v, want %q, temporary %v", i, c.answer, err, c.want, c.temporary)
		}
	}
}

// What comes instead of a JPEG is named, whatever the server calls it; and no server is left to think that it may compress.
func TestWhatIsNoJPEGIsNamed(t *testing.T) {
	t.Parallel()
	for want, body := range map[string]string{
		"what comes (image/png, 12 bytes) is no JPEG": "\x89PNG\r\n\x1a\n1234", "what comes (text/html, 13 bytes) is no JPEG": "<html></html>",
		"what comes (nothing, 0 bytes) is no JPEG": "", "what comes (text/plain, 15 bytes) is no JPEG": `{"error":"off"}`,
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "image/jpeg")
			_, _ = io.WriteString(w, body)
		}))
		d, err := open(t, camera.Options{Source: "snapshot+" + srv.URL})
		if err == nil {
			err = d.Read(&camera.Frame{})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		srv.Close()
	}
	picture := grey(t, 64, 48, 90)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "image/jpeg")
		if a, ok := r.Header["Accept-Encoding"]; !ok || strings.Contains(a[0], "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer z.Close()
			_, _ = z.Write(picture)
			return
		}
		_, _ = w.Write(picture)
	}))
	defer srv.Close()
	d, err := open(t, camera.Options{Source: "snapshot+" + srv.URL})
	if err == nil {
		err = d.Read(&camera.Frame{})
	}
	if err != nil {
		t.Error(err)
	}
}

// A status that has no picture is told by its number, before the first picture and behind the last; a 304 for what was asked is the picture from before.
func TestStatusWithoutPictureIsNamed(t *testing.T) {
	t.Parallel()
	picture := grey(t, 64, 48, 90)
	for _, c := range []struct {
		scheme, before string // what came before, if anything
		code           int
		want           string // empty: a picture
	}{
		{"snapshot+http", "", http.StatusNotModified, "the server answers 304 Not Modified"},
		{"snapshot+http", "no picture", http.StatusNotModified, "the server answers 304 Not Modified"},
		{"snapshot+http", string(picture), http.StatusNotModified, ""},
		{"snapshot+http", "", http.StatusNoContent, "the server answers 204 No Content"},
		{"snapshot+http", "", http.StatusResetContent, "the server answers 205 Reset Content"},
		{"snapshot+http", "", http.StatusMultipleChoices, "the server answers 300 Multiple Choices"},
		{"http", "", http.StatusNotModified, "the server answers 304 Not Modified"},
		{"http", "", http.StatusNoContent, "the server answers 204 No Content"},
	} {
		var asked atomic.Bool
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.before != "" && asked.CompareAndSwap(false, true) {
				w.Header().Set("Etag", `"1"`)
				_, _ = io.WriteString(w, c.before)
				return
			}
			w.WriteHeader(c.code)
		}))
		d, err := open(t, camera.Options{Source: c.scheme + strings.TrimPrefix(srv.URL, "http"), FPS: 200})
		if err == nil && c.before != "" {
			_ = d.Read(&camera.Frame{}) // whatever it was
		}
		if err == nil {
			err = d.Read(&camera.Frame{})
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s, %d after %d bytes: %v, want %q", c.scheme, c.code, len(c.before), err, c.want)
		}
		srv.Close()
	}
}

// Of a certificate it is said what is wrong with it: one for another name is not mended by trusting its authority.
func TestCertificatesThatDoNotDo(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	here, now := []net.IP{net.IPv4(127, 0, 0, 1)}, time.Now()
	for want, c := range map[string]*x509.Certificate{
		"is not trusted: add its authority": {IPAddresses: here, NotAfter: now.Add(time.Hour)},
		"is for another name than":          {DNSNames: []string{"cam.example"}, NotAfter: now.Add(time.Hour)},
		"has expired, or is not valid yet":  {IPAddresses: here, NotAfter: now.Add(-time.Hour)},
	} {
		c.SerialNumber, c.Subject, c.NotBefore = big.NewInt(1), pkix.Name{CommonName: "127.0.0.1"}, now.Add(-24*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewUnstartedServer(http.NotFoundHandler())
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.StartTLS()
		if _, err := open(t, camera.Options{Source: srv.URL, OpenTimeout: 30 * time.Second}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		srv.Close()
	}
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	if _, err := open(t, camera.Options{Source: strings.Replace(srv.URL, "http:", "https:", 1), OpenTimeout: 30 * time.Second}); err == nil || !strings.Contains(err.Error(), "write http://") {
		t.Error(err)
	}
}

// A server may take one connection and not know what it sends, as FFmpeg's does: parts are read by the look at them. What the driver has to read is
// opened without a look after the driver failed, and with one again after that.
func TestServerOfOneConnection(t *testing.T) {
	t.Parallel()
	picture := grey(t, 64, 48, 90)
	var parts atomic.Bool
	var looks atomic.Int32
	parts.Store(true)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		looks.Add(1)
		w.Header().Set("Content-Type", "application/octet-stream")
		if !parts.Load() {
			_, _ = io.WriteString(w, "G@\x00\x10")
			return
		}
		for range 2 {
			_, _ = io.WriteString(w, "--ffmpeg\r\nContent-type: image/jpeg\r\n\r\n"+string(picture)+"\r\n")
		}
	}))
	defer srv.Close()
	var driven int
	open := New(replay.Decode, func(context.Context, camera.Options) (camera.Device, error) { driven++; return nil, io.EOF })
	d, err := open(t.Context(), camera.Options{Source: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Read(&camera.Frame{}); err != nil || driven > 0 || looks.Load() != 1 {
		t.Errorf("%v, the driver was asked %d times, the server %d", err, driven, looks.Load())
	}
	d.Close()
	parts.Store(false)
	for i, want := range []int32{2, 2, 3, 3} {
		if _, err := open(t.Context(), camera.Options{Source: srv.URL}); err == nil || driven != i+1 || looks.Load() != want {
			t.Errorf("%d: %v, the driver was asked %d times, the server %d, want %d", i, err, driven, looks.Load(), want)
		}
	}
}
