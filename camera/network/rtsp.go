package network

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"heron/camera"
)

// answerTimeout bounds how long an RTSP server may take to say what it offers.
const answerTimeout = 5 * time.Second

var errRTSP = errors.New("the server takes the connection but does not answer as an RTSP server, or not in time")

// answers says why an RTSP server answers nothing at all. What it answers, and whether a login is wanted, is not looked at; and not one behind TLS,
// whose certificate the driver takes as it is.
func answers(ctx context.Context, o camera.Options, u *url.URL) error {
	if u.Scheme != "rtsp" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, min(answerTimeout, o.OpenTimeout))
	defer cancel()
	conn, err := dial(ctx, u)
	switch {
	case err != nil && ctx.Err() != nil:
		return because(context.Background(), os.ErrDeadlineExceeded)
	case err != nil:
		return because(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_, _, _, err = request(conn, bufio.NewReader(io.LimitReader(conn, 256<<10)), u, 1, "")
	if err != nil {
		return errRTSP
	}
	return nil
}

// explain asks an RTSP server for what the driver's failure does not tell: the answer's status, or what it would send.
func explain(ctx context.Context, o camera.Options, l login, u *url.URL, err error) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	why := describe(ctx, l, u)
	if why == "" {
		return err
	}
	return fmt.Errorf("%s: no video stream: %s", camera.Redact(o.Source), why)
}

// describe makes one DESCRIBE, with the login where the server asks for it; empty is: nothing to add.
func describe(ctx context.Context, l login, u *url.URL) string {
	conn, err := dial(ctx, u)
	if err != nil {
		return because(ctx, err).Error()
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // of a fresh connection
	}
	in := bufio.NewReader(io.LimitReader(conn, 256<<10))
	status, header, body, err := request(conn, in, u, 1, "")
	if err == nil && status == 401 && l != (login{}) {
		var c challenge
		if c, err = choose(header["Www-Authenticate"]); err == nil {
			status, _, body, err = request(conn, in, u, 2, c.answer(l, "DESCRIBE", u.String(), 1))
		}
	}
	switch {
	case errors.Is(err, errScheme):
		return "401: " + err.Error()
	case err != nil:
		return errRTSP.Error()
	case status == 401 && l == (login{}):
		return "401: the camera wants a user and a password: set credentials.username and credentials.password_file"
	case status == 401:
		return "401: the camera refuses the user or the password"
	case status == 404:
		return "404: there is no stream at this path of the camera"
	case status != 200:
		return fmt.Sprintf("the server answers %d", status)
	}
	return codec(body)
}

func dial(ctx context.Context, u *url.URL) (net.Conn, error) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"rtsp": "554", "rtsps": "322"}[u.Scheme]
	}
	addr := net.JoinHostPort(u.Hostname(), port)
	if u.Scheme == "rtsps" {
		return (&tls.Dialer{}).DialContext(ctx, "tcp", addr)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

func request(w io.Writer, in *bufio.Reader, u *url.URL, seq int, auth string) (status int, header textproto.MIMEHeader, body string, err error) {
	msg := fmt.Sprintf("DESCRIBE %s RTSP/1.0\r\nCSeq: %d\r\nAccept: application/sdp\r\nUser-Agent: heron\r\n", u, seq)
	if auth != "" {
		msg += "Authorization: " + auth + "\r\n"
	}
	if _, err = io.WriteString(w, msg+"\r\n"); err != nil {
		return
	}
	r := textproto.NewReader(in)
	line, err := r.ReadLine()
	if err != nil {
		return
	}
	fields := strings.Fields(line)
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "RTSP/") {
		return 0, nil, "", errors.New("no RTSP")
	}
	if status, err = strconv.Atoi(fields[1]); err != nil {
		return
	}
	if header, err = r.ReadMIMEHeader(); err != nil {
		return
	}
	n, _ := strconv.Atoi(header.Get("Content-Length"))
	b := make([]byte, min(max(n, 0), 64<<10))
	_, err = io.ReadFull(in, b)
	return status, header, string(b), err
}

// codec names what a session description offers, when the driver could not use it.
func codec(sdp string) string {
	video := false
	for line := range strings.Lines(sdp) {
		line = strings.TrimSpace(line)
		if kind, ok := strings.CutPrefix(line, "m="); ok {
			video = strings.HasPrefix(kind, "video")
		}
		if format, ok := strings.CutPrefix(line, "a=rtpmap:"); ok && video {
			_, name, _ := strings.Cut(format, " ")
			name, _, _ = strings.Cut(name, "/")
			switch strings.ToUpper(name) {
			case "H264", "H265", "JPEG", "MP4V-ES": // then it is something else
				return ""
			}
			return fmt.Sprintf("the server answers and offers %s, which cannot be read here; set the camera to H.264", clean(name))
		}
	}
	if !strings.Contains(sdp, "m=video") {
		return "the server answers but offers no video"
	}
	return ""
}

// clean makes a server's word fit for a message.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), 32)]
}
