package network

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"heron/camera"
)

// What is said about a failure of the driver is what the server says, and no guess: each case is the answer to DESCRIBE, and the driver's own words.
func TestRTSPFailureIsExplained(t *testing.T) {
	t.Parallel()
	sdp := func(codec string) string {
		body := "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 " + codec + "/90000\r\n"
		return fmt.Sprintf("200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	const md5, sha = "WWW-Authenticate: Digest realm=\"c\", nonce=\"1\"\r\n", "WWW-Authenticate: Digest realm=\"c\", nonce=\"2\", algorithm=SHA-256\r\n"
	const setup, login = "the server answers 453 Not Enough Bandwidth to SETUP", "the server answers 401 Unauthorized to DESCRIBE"
	for name, c := range map[string]struct{ first, second, driver, want string }{
		"a codec that can be read":   {sdp("VP8"), "", setup, setup},
		"a codec that cannot":        {sdp("AV1"), "", setup, "offers AV1, which cannot be read here"},
		"busy":                       {"503 Service Unavailable\r\n\r\n", "", "?", "the server answers 503 to DESCRIBE"},
		"SHA-256 last":               {"401 Unauthorized\r\n" + md5 + sha + "\r\n", sdp("H264"), login, "Digest with MD5 alone"},
		"MD5 last":                   {"401 Unauthorized\r\n" + sha + md5 + "\r\n", sdp("H264"), login, login},
		"SHA-256, and the driver in": {"401 Unauthorized\r\n" + sha + "\r\n", sdp("H264"), setup, setup},
		"no DESCRIBE":                {"", "", "no picture came within 5s", "(DESCRIBE), or not in time"},
	} {
		describes := 0
		url := rtspServer(t, func(method string) []byte {
			answer := "200 OK\r\n\r\n"
			if method == "DESCRIBE" {
				if answer = c.first; describes > 0 {
					answer = c.second
				}
				describes++
			}
			if answer == "" {
				return nil
			}
			return []byte("RTSP/1.0 " + answer)
		})
		open := New(nil, func(context.Context, camera.Options) (camera.Device, error) {
			return nil, errors.New("rtsp: " + c.driver)
		})
		_, err := open(t.Context(), camera.Options{Source: strings.Replace(url, "//", "//kam:geheim@", 1), OpenTimeout: 10 * time.Second})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
