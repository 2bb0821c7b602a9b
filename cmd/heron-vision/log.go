package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// newLog writes lines that begin with the kernel's priority, <3> for an error and so on: heron and journald both read it, and add the time.
func newLog(w io.Writer) *slog.Logger {
	h := &handler{out: &output{w: w}}
	h.text = slog.NewTextHandler(&h.out.line, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}})
	return slog.New(h)
}

// output makes a line one write.
type output struct {
	mu   sync.Mutex
	w    io.Writer
	line bytes.Buffer
}

type handler struct {
	out  *output
	text slog.Handler // writes into out.line
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.line.Reset()
	fmt.Fprintf(&h.out.line, "<%d>", priority(r.Level))
	if err := h.text.Handle(ctx, r); err != nil {
		return err
	}
	_, err := h.out.w.Write(h.out.line.Bytes())
	return err
}

func (h *handler) WithAttrs(a []slog.Attr) slog.Handler {
	return &handler{h.out, h.text.WithAttrs(a)}
}
func (h *handler) WithGroup(name string) slog.Handler { return &handler{h.out, h.text.WithGroup(name)} }

func priority(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	}
	return 6
}
