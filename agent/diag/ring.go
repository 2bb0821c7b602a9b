package diag

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"
)

// Bounds of a Ring.
const (
	maxLines    = 2000
	maxLogBytes = 256 << 10
	maxLogLine  = 4 << 10 // the rest of a longer one is dropped
)

// Ring keeps the newest lines of a log in memory. The zero value is empty and ready; all methods may be called from anywhere.
type Ring struct {
	mu    sync.Mutex
	lines []string // a queue: those before first are gone
	first int
	bytes int
	gone  uint64
}

// Write takes one line.
func (r *Ring) Write(p []byte) (int, error) {
	line := string(bytes.TrimRight(p[:min(len(p), maxLogLine)], "\n"))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	r.bytes += len(line) + 1
	for r.bytes > maxLogBytes || len(r.lines)-r.first > maxLines {
		r.bytes -= len(r.lines[r.first]) + 1
		r.lines[r.first] = ""
		r.first++
		r.gone++
	}
	if r.first > maxLines {
		r.lines, r.first = append([]string(nil), r.lines[r.first:]...), 0
	}
	return len(p), nil
}

// Text is what is kept, oldest first; before it, how many lines are gone.
func (r *Ring) Text() []byte {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var b bytes.Buffer
	if r.gone > 0 {
		slog.New(slog.NewTextHandler(&b, nil)).Info("older lines are not kept", "lines", r.gone)
	}
	for _, l := range r.lines[r.first:] {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// Keep makes a handler that hands everything on to next and keeps it, with the time, whatever form next gives it.
func (r *Ring) Keep(next slog.Handler) slog.Handler {
	opts := &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			a.Value = slog.StringValue(a.Value.Time().UTC().Format(time.RFC3339Nano))
		}
		return a
	}}
	return tee{next, slog.NewTextHandler(r, opts)}
}

type tee struct{ next, kept slog.Handler }

// Enabled goes by next: what is not logged is not kept either.
func (t tee) Enabled(ctx context.Context, l slog.Level) bool { return t.next.Enabled(ctx, l) }

func (t tee) Handle(ctx context.Context, rec slog.Record) error {
	_ = t.kept.Handle(ctx, rec.Clone()) // memory takes everything
	return t.next.Handle(ctx, rec)
}

func (t tee) WithAttrs(a []slog.Attr) slog.Handler {
	return tee{t.next.WithAttrs(a), t.kept.WithAttrs(a)}
}

func (t tee) WithGroup(name string) slog.Handler {
	return tee{t.next.WithGroup(name), t.kept.WithGroup(name)}
}
