package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// leastRight is the share of judged results that must be right.
const leastRight = 0.95

// Summary is how a demo went.
type Summary struct {
	Seconds    float64  `json:"seconds"`
	Frames     uint64   `json:"frames"`  // drawn by the camera
	Results    uint64   `json:"results"` // distinct, as they arrived in the cloud
	PerSecond  float64  `json:"results_per_s"`
	Judged     uint64   `json:"judged"` // results whose frame certainly showed one thing
	Right      uint64   `json:"right"`  // of those
	Covered    uint64   `json:"covered"`
	Live       uint64   `json:"sent_live"`
	Late       uint64   `json:"sent_late"`
	Lost       uint64   `json:"lost"` // results or sequence numbers that the agent had taken and the cloud never saw
	Duplicates uint64   `json:"duplicates"`
	Restarts   uint64   `json:"restarts"` // of heron-vision
	Away       uint64   `json:"broker_away"`
	Mistakes   []string `json:"mistakes,omitempty"`
	Problems   []string `json:"problems,omitempty"` // what makes the verdict bad
	OK         bool     `json:"ok"`
	Log        string   `json:"log,omitempty"` // the agent's, kept with its state where the verdict is bad
}

func (s *stage) summary(took time.Duration, v View) Summary {
	t, sc := s.ledger.Totals(), s.judge.copy()
	m := Summary{
		Seconds: round1(took.Seconds()), Frames: s.camera.Frames(), Results: t.Live + t.Late, Judged: sc.judged, Right: sc.right,
		Covered: sc.covered, Live: t.Live, Late: t.Late, Duplicates: t.Duplicates, Restarts: v.Restarts, Away: s.away,
	}
	for _, k := range sc.mistakes() {
		m.Mistakes = append(m.Mistakes, fmt.Sprintf("%d× %s", sc.wrong[k], k))
	}
	m.PerSecond = round1(float64(m.Results) / max(took.Seconds(), .001))
	m.Lost = lost(v, t.Live+t.Late, t.Holes, t.LostAtMost)
	m.Problems = problems(m, sc.mistaken, t.Changed, t.Unreadable, s.broker.Dropped())
	m.OK = len(m.Problems) == 0
	return m
}

func round1(x float64) float64 { return float64(int64(x*10+.5)) / 10 }

// lost takes the worse of two independent counts: results that the agent took and the cloud has not, and sequence numbers that are
// missing or given up. A lost result is usually in both.
func lost(v View, received, holes, lostAtMost uint64) uint64 {
	short := uint64(0)
	if v.Results > received {
		short = v.Results - received
	}
	return max(short, holes+lostAtMost, v.Dropped)
}

// problems lists what makes the verdict bad.
func problems(m Summary, mistaken, changed, unreadable uint64, dropped int64) []string {
	var p []string
	add := func(bad bool, format string, args ...any) {
		if bad {
			p = append(p, fmt.Sprintf(format, args...))
		}
	}
	add(m.Results == 0, "nothing was classified")
	add(m.Results > 0 && m.Judged == 0, "no result could be judged: run it for longer")
	add(m.Judged > 0 && float64(m.Right) < leastRight*float64(m.Judged), "%d of %d judged results were right, %s; %.0f %% are needed", m.Right, m.Judged, percent(m.Right, m.Judged), leastRight*100)
	add(mistaken > 0, "%d frames were classified although a hand covered the lens", mistaken)
	add(m.Lost > 0, "%s lost", count(m.Lost, "result was", "results were"))
	add(changed > 0, "%s came twice and differed", count(changed, "record", "records"))
	add(unreadable > 0, "%s could not be read", count(unreadable, "message", "messages"))
	add(dropped > 0, "the demo's broker dropped %s: the books mean nothing", count(uint64(dropped), "message", "messages"))
	return p
}

func percent(n, of uint64) string {
	if of == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of))
}

func count(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

// grouped writes 12345 as 12,345.
func grouped(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// print writes the summary for people, or for programs.
func (m Summary) print(w io.Writer, asJSON bool) error {
	if asJSON {
		b, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("demo: summary: %w", err)
		}
		_, err = fmt.Fprintf(w, "%s\n", b)
		return err
	}
	_, err := io.WriteString(w, m.text())
	return err
}

func (m Summary) text() string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-17s"+format+"\n", append([]any{name}, args...)...)
	}
	fmt.Fprintf(&b, "\nsummary of %.1f s\n", m.Seconds)
	row("frames", "%s drawn by the camera", grouped(m.Frames))
	row("results", "%s (%.1f a second)", grouped(m.Results), m.PerSecond)
	row("right", "%s of %s judged (%s)", grouped(m.Right), grouped(m.Judged), percent(m.Right, m.Judged))
	row("sent while live", "%s", grouped(m.Live))
	row("sent late", "%s", grouped(m.Late))
	row("lost", "%s", grouped(m.Lost))
	row("restarts", "%s of heron-vision", grouped(m.Restarts))
	for i, k := range m.Mistakes {
		if i == 3 {
			break
		}
		row("mistaken", "%s", k)
	}
	if m.OK {
		row("verdict", "good")
	}
	for _, p := range m.Problems {
		row("verdict", "bad: %s", p)
	}
	if m.Log != "" {
		row("log", "%s", m.Log)
	}
	return b.String()
}
