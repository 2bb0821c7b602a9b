package status

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed page.html page.css page.js
var files embed.FS

// currentFor is how long a result is shown as what is before the camera now.
const currentFor = 5 * time.Second

// parsePage is done once a Server; the file is part of the binary, so a mistake in it is a mistake of ours.
func parsePage() *template.Template {
	return template.Must(template.New("page.html").Funcs(template.FuncMap{
		"ago": ago, "bar": bar, "board": boardText, "bytes": bytesText, "clock": clockText, "dur": duration, "engines": enginesText, "first": first, "fixed": fixed, "fps": fpsText, "hot": inTrouble, "join": join,
		"lost": lost, "ms": milliseconds, "num": number, "old": old, "percent": percent, "short": short, "shotHeight": shotHeight,
		"summary": summary, "title": title,
	}).ParseFS(files, "page.html"))
}

func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	if err := s.html.Execute(&b, s.take()); err != nil {
		s.cfg.Log.Error("status page: render", "error", err)
		text(w, http.StatusInternalServerError, "the page could not be rendered; the log says why, and /api/v1/status has the same as JSON\n")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // a reader who left needs nothing more
}

// asset serves one file of the page.
func asset(name, kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := files.ReadFile(name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(b) // a reader who left needs nothing more
	}
}

// title is a state in words for people.
func title(state string) string {
	switch state {
	case OK:
		return "Working"
	case Degraded:
		return "Working, with trouble"
	case Failed:
		return "Not working"
	case "":
		return "Unknown"
	}
	return strings.ToUpper(state[:1]) + state[1:]
}

// summary is one sentence for a device without trouble.
func summary(s Snapshot) string {
	var rate float64
	for _, c := range s.Cameras {
		rate += c.FPS
	}
	cameras := strconv.Itoa(len(s.Cameras)) + " cameras"
	if len(s.Cameras) == 1 {
		cameras = "1 camera"
	}
	waiting := "nothing waits to be sent"
	if s.Outbox.Records > 0 {
		waiting = number(s.Outbox.Records) + " records wait to be sent"
	}
	return fmt.Sprintf("%s, %s results a second, link %s, %s.", cameras, fixed(1, rate), s.Uplink.State, waiting)
}

// enginesText sums a list of engines up in one line; the list itself is behind it.
func enginesText(list []Engine) string {
	var said []string
	ready, rest := 0, 0
	for _, e := range list {
		switch {
		case e.InUse && slices.Contains(said, e.Engine+" in use"): // on another device
		case e.InUse:
			said = append(said, e.Engine+" in use")
		case e.Usable:
			ready++
		default:
			rest++
		}
	}
	if ready > 0 {
		said = append(said, strconv.Itoa(ready)+" ready")
	}
	if rest > 0 {
		said = append(said, strconv.Itoa(rest)+" not usable")
	}
	return "Engines: " + strings.Join(said, ", ")
}

func old(now, at time.Time) bool { return now.Sub(at) > currentFor }

// ago is the time from t to now; empty when t is unknown.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return duration(max(0, now.Sub(t).Seconds()))
}

// duration has two units at most: a technician wants to know whether it is seconds or days.
func duration(seconds float64) string {
	switch s := int64(seconds); {
	case math.IsNaN(seconds) || seconds < 0:
		return "–"
	case seconds < 10:
		return fixed(1, seconds) + " s"
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%d h %02d min", s/3600, s/60%60)
	default:
		return fmt.Sprintf("%d d %d h", s/86400, s/3600%24)
	}
}

func clockText(t time.Time) string { return t.Local().Format("15:04:05, 2 January 2006 MST") }

func milliseconds(seconds float64) string { return fixed(1, seconds*1000) + " ms" }

// bytesText takes any integer, as templates bring several kinds; units of 1024.
func bytesText(v any) string {
	n, _ := strconv.ParseFloat(fmt.Sprint(v), 64)
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n >= 1024 && i < len(units)-1 {
		n /= 1024
		i++
	}
	if i == 0 || n >= 100 {
		return fixed(0, n) + " " + units[i]
	}
	return fixed(1, n) + " " + units[i]
}

// number groups thousands with thin spaces.
func number(v any) string {
	digits := fmt.Sprint(v)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u2009" + digits[i:]
	}
	return sign + digits
}

func fixed(decimals int, v float64) string { return strconv.FormatFloat(v, 'f', decimals, 64) }

func percent(score float64) string { return fixed(1, score*100) + " %" }

// bar is a score's share of a bar 100 wide.
func bar(score float64) string { return fixed(1, 100*min(max(score, 0), 1)) }

func first(n int, s []Score) []Score { return s[:min(n, len(s))] }

func join(words []string) string { return strings.Join(words, " and ") }

func short(digest string) string { return digest[:min(12, len(digest))] }

func lost(dropped map[string]uint64) (n uint64) {
	for _, d := range dropped {
		n += d
	}
	return n
}

// shotHeight keeps the picture's place before it is there, for a width of 640.
func shotHeight(c Camera) int {
	if c.Width <= 0 || c.Height <= 0 {
		return 480
	}
	return 640 * c.Height / c.Width
}
