package vision

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// Bounds of what a child may say on stderr: a native library in a loop must not fill heron's log.
const (
	maxLine   = 1024 // bytes; the rest of a longer line is dropped
	logWindow = 10 * time.Second
	logLines  = 100 // of a window that are handed on; the rest is counted

	lastWords = 5 * time.Second // what was said longer before a process's end has nothing to do with it
)

// stderr reads a child's stderr line by line into the log.
type stderr struct {
	log  *slog.Logger
	pipe *os.File

	mu   sync.Mutex
	last string    // line
	at   time.Time // … when it came
	why  string    // the line that says why the process died, if there was one

	window     time.Time
	inWindow   int
	suppressed uint64
}

// read ends when the pipe does.
func (s *stderr) read(pid int) {
	log := s.log.With("source", "heron-vision", "pid", pid)
	r := bufio.NewReaderSize(s.pipe, maxLine)
	for {
		line, more, err := r.ReadLine()
		if err != nil {
			break
		}
		s.line(log, string(line))
		for more && err == nil {
			_, more, err = r.ReadLine()
		}
	}
	s.tellSuppressed(log)
	s.pipe.Close()
}

// finish bounds the reading once the child is gone: something it started may still hold the pipe.
func (s *stderr) finish() { _ = s.pipe.SetReadDeadline(time.Now().Add(200 * time.Millisecond)) }

func (s *stderr) line(log *slog.Logger, line string) {
	level, text := level(line)
	text = cleanText(text)
	if text == "" {
		return
	}
	s.keep(text)
	if now := time.Now(); now.Sub(s.window) > logWindow {
		s.tellSuppressed(log)
		s.window, s.inWindow = now, 0
	}
	if s.inWindow++; s.inWindow > logLines {
		s.suppressed++
		return
	}
	log.Log(context.Background(), level, text)
}

func (s *stderr) tellSuppressed(log *slog.Logger) {
	if s.suppressed > 0 {
		log.Warn(fmt.Sprintf("%d more lines were not logged", s.suppressed))
		s.suppressed = 0
	}
}

// level reads the kernel's priority prefix, <3> for an error and so on, which heron-vision writes and journald knows too.
func level(line string) (slog.Level, string) {
	if len(line) < 3 || line[0] != '<' || line[2] != '>' {
		return slog.LevelInfo, line
	}
	switch c := line[1]; {
	case c >= '0' && c <= '3':
		return slog.LevelError, line[3:]
	case c == '4':
		return slog.LevelWarn, line[3:]
	case c == '7':
		return slog.LevelDebug, line[3:]
	}
	return slog.LevelInfo, line[3:]
}

// keep remembers what may explain the process's end.
func (s *stderr) keep(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.why != "":
	case strings.HasPrefix(text, "panic:"), strings.HasPrefix(text, "fatal error:"), strings.HasPrefix(text, "terminate called"):
		s.why = text
	case strings.HasPrefix(text, "SIG") && strings.Contains(text, ": "): // Go's word on a signal; what the library said stands before it
		s.why = strings.TrimPrefix(s.recent()+"; "+text, "; ")
	}
	s.last, s.at = text, time.Now()
}

// recent is the last line, unless that was long ago. s.mu is held.
func (s *stderr) recent() string {
	if time.Since(s.at) > lastWords {
		return ""
	}
	return s.last
}

// telling is the line that says best why the process ended, or nothing.
func (s *stderr) telling() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != "" {
		return s.why
	}
	return s.recent()
}
