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

	sameAgain = time.Minute // lines that differ in numbers only are handed on once in so long: a library says the same of each damaged picture
	mostKinds = 64          // of lines that are remembered for that

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
	said       map[string]*saying // by line, without its numbers
}

// saying is a line that was handed on.
type saying struct {
	at   time.Time
	more int // of its kind since then
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
	for _, k := range s.said {
		s.suppressed += uint64(k.more)
	}
	s.tellSuppressed(log)
	s.pipe.Close()
}

// finish bounds the reading once the child is gone: something it started may still hold the pipe.
func (s *stderr) finish() { _ = s.pipe.SetReadDeadline(time.Now().Add(200 * time.Millisecond)) }

func (s *stderr) line(log *slog.Logger, line string) {
	level, text := level(line)
	foreign := text == line // else heron-vision's own word
	text = cleanText(text)
	if text == "" {
		return
	}
	dying := s.keep(text)
	now := time.Now()
	if foreign && !dying { // a dump is for reading
		if more, again := s.again(text, now); again {
			return
		} else if more > 0 {
			text = fmt.Sprintf("%s (and %d more like it)", text, more)
		}
	}
	if now.Sub(s.window) > logWindow {
		s.tellSuppressed(log)
		s.window, s.inWindow = now, 0
	}
	if s.inWindow++; s.inWindow > logLines {
		s.suppressed++
		return
	}
	log.Log(context.Background(), level, text)
}

// again says whether a line of this kind was handed on less than a minute ago, and if not, how many were not handed on since.
func (s *stderr) again(text string, now time.Time) (more int, again bool) {
	kind := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
	k := s.said[kind]
	switch {
	case k != nil && now.Sub(k.at) < sameAgain:
		k.more++
		return 0, true
	case k != nil:
		more = k.more
	case s.said == nil:
		s.said = map[string]*saying{}
	case len(s.said) >= mostKinds:
		clear(s.said)
	}
	s.said[kind] = &saying{at: now}
	return more, false
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

// keep remembers what may explain the process's end, and says whether that has begun.
func (s *stderr) keep(text string) (dying bool) {
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
	return s.why != ""
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
