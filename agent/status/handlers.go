package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// guard refuses what no page of ours asks for, and sets what every answer bears.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if !s.own(r.Host) {
			http.Error(w, "This name is not one of this device's. Use its IP address or its own name, or add the name to status.hosts.", http.StatusMisdirectedRequest)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "This page can be read, not written to: only GET and HEAD.", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// own says whether the Host header names this device. A web site that points its own name at this device's address
// (DNS rebinding) could otherwise read everything here from a technician's browser. Addresses cannot be rebound, and
// .local names are given out on the local network alone. No Host at all (HTTP/1.0) comes from no browser.
func (s *Server) own(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	if host == "" {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return s.hosts[host] || strings.HasSuffix(host, ".local") || strings.HasSuffix(host, ".localhost")
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") }

// readyz says whether the device does its job. A link that is down is no reason against it: results are kept.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	snap := s.take()
	var why strings.Builder
	for _, r := range snap.Reasons {
		if !r.Blocking && snap.State != Failed {
			continue
		}
		fmt.Fprintf(&why, "%s: %s", r.Code, r.Text)
		if r.NextStep != "" {
			fmt.Fprintf(&why, "; %s", r.NextStep)
		}
		why.WriteByte('\n')
	}
	switch {
	case why.Len() > 0:
		text(w, http.StatusServiceUnavailable, why.String())
	case snap.State == Failed:
		text(w, http.StatusServiceUnavailable, "failed\n")
	default:
		text(w, http.StatusOK, "ready\n")
	}
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	snap := s.take()
	b, err := json.MarshalIndent(snap, "", "  ")
	if err != nil {
		s.cfg.Log.Error("status page: encode the snapshot", "error", err)
		text(w, http.StatusInternalServerError, "the status could not be encoded; the log says why\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n')) // a reader who left needs nothing more
}

// snapshot serves the newest frame of one camera.
func (s *Server) snapshot(w http.ResponseWriter, r *http.Request) {
	camera, ok := s.camera(w, r, "/snapshot/NAME.jpg")
	if !ok {
		return
	}
	width, err := pictureWidth(r.URL.Query().Get("width"))
	if err != nil {
		text(w, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	draw, err := drawn(r.URL.Query().Get("draw"))
	if err != nil {
		text(w, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	select {
	case s.pictures <- struct{}{}:
		defer func() { <-s.pictures }()
	default:
		w.Header().Set("Retry-After", "1")
		text(w, http.StatusServiceUnavailable, "too many pictures are asked for at once; try again\n")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pictureTimeout)
	defer cancel()
	p, err := s.provider.Picture(ctx, camera, PictureOptions{MaxWidth: width, Draw: draw, Age: draw})
	switch {
	case err != nil && ctx.Err() != nil:
		text(w, http.StatusServiceUnavailable, fmt.Sprintf("no picture of %s within %v\n", camera, pictureTimeout))
	case err != nil:
		text(w, http.StatusServiceUnavailable, "no picture of "+camera+": "+err.Error()+"\n")
	case !bytes.HasPrefix(p.JPEG, []byte{0xff, 0xd8}):
		text(w, http.StatusServiceUnavailable, "no picture of "+camera+": what came is not a JPEG\n")
	default:
		w.Header().Set("Content-Type", "image/jpeg")
		w.Header().Set("Heron-Caption", url.PathEscape(p.Caption)) // a label may hold anything
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(p.JPEG))
	}
}

// camera takes the camera's name from a path that ends as like does, or answers that there is none.
func (s *Server) camera(w http.ResponseWriter, r *http.Request, like string) (string, bool) {
	name, ok := strings.CutSuffix(r.PathValue("file"), path.Ext(like))
	names := s.cameraNames()
	if !ok || !slices.Contains(names, name) {
		text(w, http.StatusNotFound, "no such camera; this device has: "+strings.Join(names, ", ")+" (as in "+like+")\n")
		return "", false
	}
	return name, true
}

// drawn reads ?draw=.
func drawn(v string) (bool, error) {
	switch v {
	case "", "0":
		return false, nil
	case "1":
		return true, nil
	}
	return false, errors.New("draw is 0 or 1")
}

func (s *Server) cameraNames() []string {
	var names []string
	for _, c := range s.provider.Snapshot().Cameras {
		names = append(names, c.Name)
	}
	return names
}

// The widths in pixels that a picture may be asked for in.
const (
	MinPictureWidth = 16
	MaxPictureWidth = 4096
)

// pictureWidth reads ?width=; absent means the frame's own.
func pictureWidth(v string) (int, error) {
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < MinPictureWidth || n > MaxPictureWidth {
		return 0, fmt.Errorf("width is a number of pixels from %d to %d", MinPictureWidth, MaxPictureWidth)
	}
	return n, nil
}

func text(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(body)) // a reader who left needs nothing more
}
