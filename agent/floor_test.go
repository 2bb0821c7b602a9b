package agent

import (
	"context"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A board without a clock starts in 1970, before any certificate is valid: what the repository has signed says that it is later. And whoever
// asks for the time, such as a technician's hold, does not wait for a server that does not answer.
func TestFault_U13_CertificatesAndHoldsGoByTheFloor(t *testing.T) {
	t.Parallel()
	h := newHerd(t)
	h.pack("1.0.0", "good")
	h.publish("1.1.0", "good")
	asked, answer := make(chan struct{}, 16), make(chan struct{})
	files := http.FileServer(http.Dir(h.repo.Public()))
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-answer
		files.ServeHTTP(w, r)
	}))
	defer s.Close()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := Config{Device: Device{Group: herdGroup, ID: "dev-1"}, Outbox: Outbox{Path: filepath.Join(dir, "outbox.db")},
		Repository: Repository{URL: s.URL, CA: ca, Root: filepath.Join(h.repo.Public(), "metadata", "1.root.json")}}
	conf.Defaults()
	u := &updates{}
	a := &Agent{conf: conf, log: slog.New(slog.DiscardHandler)}
	src, err := a.buildSource(u)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := src.Resolve(t.Context(), "bottles/1.1.0"); done <- err }()
	<-asked
	told := make(chan time.Time)
	go func() { told <- a.floor.now() }()
	select {
	case <-told:
	case <-time.After(30 * time.Second):
		t.Error("the time is not told while a server does not answer")
	}
	close(answer)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if at := time.Unix(0, a.floor.ns.Load()); time.Since(at) > time.Hour || time.Until(at) > time.Minute {
		t.Errorf("the floor is %v after metadata of this moment", at)
	}

	u.fetch.Close()                                             // the next request shakes hands anew
	a.floor.raise(s.Certificate().NotAfter.Add(24 * time.Hour)) // as if signed that late
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := u.fetch.Get(ctx, s.URL+"/metadata/timestamp.json", 1<<20); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("a certificate that ended before the floor is taken: %v", err)
	}
}
