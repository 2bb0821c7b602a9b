package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPut(t *testing.T) {
	data := random(300_000)
	var mu sync.Mutex
	var got []byte
	fail := 2
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if fail--; fail >= 0 { // without reading it
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if r.Method != http.MethodPut || r.ContentLength != int64(len(data)) || r.Header.Get("Content-Type") != "image/jpeg" {
			t.Errorf("%s, %d bytes, %v", r.Method, r.ContentLength, r.Header)
		}
		got, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
	}))
	c := client(t, nil, url)
	digest, err := c.Put(limit(t), url+"/snapshot.jpg?sig=SECRET", bytes.NewReader(data), int64(len(data)), "image/jpeg")
	if err != nil || digest != sum(data) || !bytes.Equal(got, data) {
		t.Errorf("%s, %v, %d bytes", digest, err, len(got))
	}
	if s := c.Stats(); s.Retries != 2 || s.Sent < int64(len(data)) {
		t.Errorf("%+v", s)
	}
	if _, err := c.Put(limit(t), url, bytes.NewReader(data), int64(len(data))+1, "image/jpeg"); err == nil || !strings.Contains(err.Error(), "300001 bytes") {
		t.Errorf("fewer bytes than said: %v", err)
	}
	if _, err := c.Put(limit(t), url, bytes.NewReader(data), int64(len(data))-1, "image/jpeg"); err == nil {
		t.Error("more bytes than said: no error")
	}
	mu.Lock()
	fail = 1000
	mu.Unlock()
	if _, err := c.Put(limit(t), url+"?sig=SECRET", bytes.NewReader(data), int64(len(data)), "image/jpeg"); err == nil || !strings.Contains(err.Error(), "4 tries in a row") || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("got %v", err)
	}
}

// broken is a file on a disk that fails after its digest was computed.
type broken struct {
	*bytes.Reader
	seeks int
}

var errDisk = errors.New("the disk is gone")

func (b *broken) Seek(o int64, w int) (int64, error) { b.seeks++; return b.Reader.Seek(o, w) }

func (b *broken) Read(p []byte) (int, error) {
	if b.seeks > 2 {
		return 0, errDisk
	}
	return b.Reader.Read(p)
}

func TestPutOfAFileThatCannotBeReadIsNotTriedAgain(t *testing.T) {
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	c := client(t, nil, url)
	_, err := c.Put(limit(t), url, &broken{Reader: bytes.NewReader(random(100_000))}, 100_000, "x/y")
	if !errors.Is(err, errDisk) || c.Stats().Retries != 0 {
		t.Errorf("%v, %d retries", err, c.Stats().Retries)
	}
}

// Time that runs out between two tries says what the tries came to.
func TestATimeoutSaysWhatTheLastTryCameTo(t *testing.T) {
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "100000")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	c := client(t, nil, url)
	ctx, end := context.WithCancelCause(limit(t))
	go func() {
		for c.Stats().Retries == 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		end(context.DeadlineExceeded)
	}()
	_, err := c.Put(ctx, url+"/diag?sig=SECRET", bytes.NewReader([]byte("x")), 1, "text/plain")
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(fmt.Sprint(err), "/diag: the server answers 429") || strings.Contains(fmt.Sprint(err), "SECRET") {
		t.Errorf("got %v", err)
	}
}
