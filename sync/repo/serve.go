package repo

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Serve answers GET and HEAD from one folder until ctx ends, with ranges, without listings: enough for a trial, and what any static
// web server does better.
func Serve(ctx context.Context, l net.Listener, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer root.Close()
	s := &http.Server{Handler: static{root}, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = s.Shutdown(end)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.Close()
	}
	<-done
	return err
}

type static struct{ root *os.Root }

func (s static) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		http.Error(w, "GET and HEAD only", http.StatusMethodNotAllowed)
		return
	}
	f, err := s.root.Open(strings.TrimPrefix(req.URL.Path, "/"))
	if err != nil {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || strings.HasPrefix(st.Name(), ".") {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	if digest, _, ok := strings.Cut(st.Name(), "."); ok && fs.ValidPath(digest) && len(digest) == 64 {
		w.Header().Set("ETag", `"`+digest+`"`) // for If-Range: the name of a target is its content
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, req, "", st.ModTime(), f)
}
