package agent

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"heron/internal/fetch"
	"heron/sync/models"
)

// All of another file than the signed one came: that is told apart from a link that is down, since each try costs as much.
func TestAFileThatIsNotTheSignedOneIsATransferInVain(t *testing.T) {
	t.Parallel()
	h := newHerd(t)
	h.pack("1.0.0", "good")
	h.publish("1.1.0", "good")
	files := http.FileServer(http.Dir(h.repo.Public()))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		files.ServeHTTP(answer, r)
		b := answer.Body.Bytes()
		if strings.Contains(r.URL.Path, "/targets/") {
			b[len(b)/2] ^= 1
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(b)
	}))
	defer s.Close()
	dir := t.TempDir()
	conf := Config{Device: Device{Group: herdGroup, ID: "dev-1"}, Outbox: Outbox{Path: filepath.Join(dir, "outbox.db")},
		Repository: Repository{URL: s.URL, Root: filepath.Join(h.repo.Public(), "metadata", "1.root.json")}}
	conf.Defaults()
	src, err := (&Agent{conf: conf, log: slog.New(slog.DiscardHandler)}).buildSource(&updates{})
	if err != nil {
		t.Fatal(err)
	}
	offer, err := src.Resolve(t.Context(), "bottles/1.1.0")
	if err != nil {
		t.Fatal(err)
	}
	err = src.Fetch(t.Context(), models.Fetching{Offer: offer, Path: filepath.Join(dir, "incoming", "a"), Progress: func(int64, int64) {}})
	if vain := (*models.InVain)(nil); !errors.As(err, &vain) || !errors.Is(err, fetch.ErrDigest) {
		t.Errorf("%T: %v", err, err)
	}
}
