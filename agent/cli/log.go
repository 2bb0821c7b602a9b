package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/term"

	"heron/agent"
)

// newLog builds the log that c asks for. With format auto, lines go to the journal with their priority and without a time
// (the journal has both), and as text with a time to anything else.
func newLog(c agent.Log, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	lvl := &slog.LevelVar{}
	_ = lvl.UnmarshalText([]byte(c.Level)) // validated; the zero value is info
	opts := &slog.HandlerOptions{Level: lvl}
	format := c.Format
	if format == "auto" {
		format = "text"
		if onJournal(w) {
			format = "journal"
		}
	}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), lvl
	case "journal":
		return slog.New(newJournal(w, opts)), lvl
	}
	return slog.New(slog.NewTextHandler(w, opts)), lvl
}

// onJournal says whether w is the very stream that systemd connected to the journal (systemd.exec(5), JOURNAL_STREAM).
func onJournal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	var st syscall.Stat_t
	return syscall.Fstat(int(f.Fd()), &st) == nil && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// journal is a text handler whose lines begin with their priority, <3> to <7> (sd-daemon(3)).
type journal struct {
	slog.Handler
	mu  *sync.Mutex
	buf *bytes.Buffer
	out io.Writer
}

func newJournal(w io.Writer, opts *slog.HandlerOptions) *journal {
	j := &journal{mu: &sync.Mutex{}, buf: &bytes.Buffer{}, out: w}
	o := *opts
	o.ReplaceAttr = func(groups []string, at slog.Attr) slog.Attr {
		if len(groups) == 0 && (at.Key == slog.TimeKey || at.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return at
	}
	j.Handler = slog.NewTextHandler(j.buf, &o)
	return j
}

func (j *journal) Handle(ctx context.Context, r slog.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.buf.Reset()
	if err := j.Handler.Handle(ctx, r); err != nil {
		return err
	}
	_, err := fmt.Fprintf(j.out, "<%d>%s\n", priority(r.Level), strings.TrimPrefix(strings.TrimSpace(j.buf.String()), "msg="))
	return err
}

func (j *journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journal{j.Handler.WithAttrs(attrs), j.mu, j.buf, j.out}
}

func (j *journal) WithGroup(name string) slog.Handler {
	return &journal{j.Handler.WithGroup(name), j.mu, j.buf, j.out}
}

func priority(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}
