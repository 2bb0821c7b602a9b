package cli

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"heron/agent"
	"heron/agent/status"
	"heron/sync/message"
	"heron/vision"
)

// looks remembers when frames were captured.
type looks struct {
	mu sync.Mutex
	at []time.Time
}

func (l *looks) saw(o vision.Observation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = append(l.at, o.At)
}

// gap is the longest time between two frames since a moment.
func (l *looks) gap(since time.Time) (most time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := time.Time{}
	for _, at := range l.at {
		if !last.IsZero() && at.After(since) {
			most = max(most, at.Sub(last))
		}
		last = at
	}
	return most
}

// A change of settings is put in force by an orderly stop and a new start in the same process. What it costs in frames is printed;
// docs/operations/fleet.md says it.
func TestTheGapThatAPatchCosts(t *testing.T) {
	slow(t)
	b, ledger := newCloud(t)
	f := newField(t, b.URL(), "testcard:?width=64&height=48&fps=50")
	conf, err := agent.Load(f.conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	if path := os.Getenv("HERON_GAP_VISION"); path != "" { // with a real model, which takes longer to load: HERON_GAP_BUNDLE
		conf.Vision.Command, conf.Models[0].Bundle = path, os.Getenv("HERON_GAP_BUNDLE")
	}
	l, log := &looks{}, &lockedBuffer{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, *conf, agent.Options{Version: "test", Log: slog.New(slog.NewTextHandler(log, nil)), Observe: l.saw}, 10*time.Second)
	}()
	f.until(t, "results arrive", func(*status.Snapshot) bool { return ledger.Totals().Live > 20 })
	o := newOffice(t, b.URL())
	for i, patch := range []string{`{"events":{"default":{"dwell":3}}}`, `{"events":{"default":{"dwell":3}},"log":{"level":"debug"}}`, `{"cameras":{"front":{"fps":25}}}`} {
		began := time.Now()
		o.want(i+1, patch, message.ConfigApplied)
		f.until(t, "classifies again", func(s *status.Snapshot) bool {
			return s.Device.Started.After(began) && classifying(s) && s.Uplink.State == "online"
		})
		gap := l.gap(began)
		t.Logf("%s: %v without a frame, online and reported after %v", patch, gap.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		if gap > 20*time.Second { // a busy machine is slow; what is meant is far less
			t.Errorf("%s cost %v", patch, gap)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if testing.Verbose() {
		t.Logf("heron said:\n%s", log)
	}
}
