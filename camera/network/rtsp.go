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
	"sync"
	"time"

	"heron/camera"
)

// answerTimeout bounds how long an RTSP server may take to say what it offers.
const answerTimeout = 5 * time.Second

var (
	errRTSP     = errors.New("the server takes the connection but does not answer as an RTSP server, or not in time")
	errDescribe = errors.New("the server does not say what it would send (DESCRIBE), or not in time: the camera behind it hangs, or is still starting")
	errSHA256   = errors.New("401: the camera wants a login with SHA-256, which FFmpeg cannot give: set its RTSP authentication to Digest with MD5 alone, or to Basic")
)

// rtspOpener opens the streams of servers that answer.
//
// What they have to answer is OPTIONS. A DESCRIBE has many servers start the camera, and stop it when the connection goes: while that lasts, GStreamer's
// answer 503 to who comes next, which would be the driver. So one is made after a failure only, and not after each. A server that left it unanswered
// has to answer one before its next turn.
type rtspOpener struct {
	next camera.Opener
	told sync.Map // source → explained
}

// explained is what a server said after a failure; nil is: nothing to add.
type explained struct {
	why error
	at  time.Time
}

// explainEvery is how long an explanation does for the failures that follow; a server is through with its DESCRIBE by then.
const explainEvery = 10 * time.Second

func (r *rtspOpener) open(ctx context.Context, o camera.Options, l login, u *url.URL) (camera.Device, error) {
	last, _ := r.told.Load(o.Source)
	told, _ := last.(explained)
	method := "OPTIONS"
	if errors.Is(told.why, errDescribe) {
		method = "DESCRIBE"
	}
	err := answers(ctx, o, u, method)
	if !errors.Is(err, errDescribe) && method == "DESCRIBE" {
		r.told.Delete(o.Source)
		told = explained{}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: no video stream: %w", camera.Redact(o.Source), err)
	}
	o.Step()
	d, err := r.next(ctx, withLogin(o, l, u))
	if err == nil {
		r.told.Delete(o.Source)
	}
	if err == nil || errors.Is(err, errors.ErrUnsupported) {
		return d, err
	}
	if told.at.IsZero() || time.Since(told.at) > explainEvery {
		o.Step()
		told = explained{explain(ctx, l, u, err), time.Now()}
		r.told.Store(o.Source, told)
	}
	if told.why != nil {
		err = fmt.Errorf("%s: no video stream: %w", camera.Redact(o.Source), told.why)
	}
	return nil, err
}

// answers says why an RTSP server answers nothing at all to method. What it answers, and whether a login is wanted, is not looked at; and not one
// behind TLS, whose certificate the driver takes as it is.
func answers(ctx context.Context, o camera.Options, u *url.URL, method string) error {
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
	_, _, _, err = request(conn, bufio.NewReader(io.LimitReader(conn, 256<<10)), method, u, 1, "")
	switch {
	case err != nil && method == "DESCRIBE":
		return errDescribe
	case err != nil:
		return errRTSP
	}
	return nil
}

// explain asks an RTSP server, by one DESCRIBE, for what the driver's failure does not tell: the answer's status, or what it would send. The login goes
// with it where the server asks for it; nil is: nothing to add.
func explain(ctx context.Context, l login, u *url.URL, failure error) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := dial(ctx, u)
	if err != nil {
		return because(ctx, err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // of a fresh connection
	}
	in := bufio.NewReader(io.LimitReader(conn, 256<<10))
	status, header, body, err := request(conn, in, "DESCRIBE", u, 1, "")
	offers := header["Www-Authenticate"]
	if err == nil && status == 401 && l != (login{}) {
		var c challenge
		if c, err = choose(offers); err == nil {
			status, _, body, err = request(conn, in, "DESCRIBE", u, 2, c.answer(l, "DESCRIBE", u.String(), 1))
		}
	}
	switch {
	case errors.Is(err, errScheme):
		return fmt.Errorf("401: %w", err)
	case err != nil:
		return errDescribe
	case status == 401 && l == (login{}):
		return errors.New("401: the camera wants a user and a password: set credentials.username and credentials.password_file")
	case status == 401:
		return errors.New("401: the camera refuses the user or the password")
	case status == 404:
		return errors.New("404: there is no stream at this path of the camera")
	case status != 200:
		return fmt.Errorf("the server answers %d to DESCRIBE", status)
	case strings.Contains(failure.Error(), " 401 ") && takesSHA256(offers):
		return errSHA256
	}
	return unreadable(body)
}

// takesSHA256 says whether FFmpeg would answer these offers with SHA-256, which it does not have before version 8: it takes the last Digest.
func takesSHA256(offers []string) bool {
	last := ""
	for _, o := range offers {
		if scheme, rest, _ := strings.Cut(strings.TrimSpace(o), " "); strings.EqualFold(scheme, "digest") {
			last = strings.ToUpper(params(rest)["algorithm"])
		}
	}
	return strings.HasPrefix(last, "SHA-256")
}

// dial connects. A certificate is not looked at: the driver, which asks and logs in at the same server, does not either.
func dial(ctx context.Context, u *url.URL) (net.Conn, error) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"rtsp": "554", "rtsps": "322"}[u.Scheme]
	}
	addr := net.JoinHostPort(u.Hostname(), port)
	if u.Scheme == "rtsps" {
		return (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", addr)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

func request(w io.Writer, in *bufio.Reader, method string, u *url.URL, seq int, auth string) (status int, header textproto.MIMEHeader, body string, err error) {
	msg := fmt.Sprintf("%s %s RTSP/1.0\r\nCSeq: %d\r\nAccept: application/sdp\r\nUser-Agent: heron\r\n", method, u, seq)
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

// unreadable says why what a session description offers cannot be read here; nil is: it can, as far as it tells.
func unreadable(sdp string) error {
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
			case "H264", "H265", "JPEG", "MP4V-ES", "VP8", "VP9", "H263-1998", "H263-2000", "H263", "MP2T", "MPV", "THEORA", "RAW": // then it is something else
				return nil
			}
			return fmt.Errorf("the server answers and offers %s, which cannot be read here; set the camera to H.264", clean(name))
		}
	}
	if !strings.Contains(sdp, "m=video") {
		return errors.New("the server answers but offers no video")
	}
	return nil
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
