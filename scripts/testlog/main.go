// Command testlog makes the output of go test -json readable, and says at the end what was skipped.
//
//	go test -json ./... | testlog live TIER.json     shows packages and failures as they come, keeps the events
//	testlog sum A.json B.json …                      what no tier ran and why, and one closing line with the counts
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

// event is a line of go test -json (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64
	Output  string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "testlog:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "live":
		f, err := os.Create(args[1])
		if err != nil {
			return err
		}
		if err := live(io.TeeReader(os.Stdin, f), os.Stdout); err != nil {
			return err
		}
		return f.Close()
	case len(args) > 1 && args[0] == "sum":
		s := newSummary()
		for _, name := range args[1:] {
			if err := s.readFile(name); err != nil {
				return err
			}
		}
		return s.print(os.Stdout)
	}
	return fmt.Errorf("usage: testlog live FILE | testlog sum FILE…")
}

// live prints go test's own lines about packages, and the whole output of what fails.
func live(r io.Reader, w io.Writer) error {
	held := map[string][]string{} // output by package and test, until its verdict
	return each(r, func(e event) {
		key := e.Package + " " + e.Test
		switch {
		case e.Action == "build-output":
			fmt.Fprint(w, e.Output)
		case e.Action == "output":
			if e.Test == "" && isVerdict(e.Output) {
				fmt.Fprint(w, e.Output)
				return
			}
			held[key] = append(held[key], e.Output)
		case e.Action == "fail":
			fmt.Fprint(w, strings.Join(held[key], ""))
			delete(held, key)
		case e.Action == "pass" || e.Action == "skip":
			delete(held, key)
		}
	})
}

// isVerdict tells go test's line about a package from what the package printed.
func isVerdict(line string) bool {
	for _, p := range []string{"ok  \t", "FAIL\t", "?   \t", "panic:"} {
		if strings.HasPrefix(line, p) {
			return !strings.Contains(line, "[no test files]")
		}
	}
	return false
}

// each calls f for every event; lines that are not JSON (go's own complaints) become output.
func each(r io.Reader, f func(event)) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var e event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			e = event{Action: "build-output", Output: s.Text() + "\n"}
		}
		f(e)
	}
	return s.Err()
}

// summary knows the best that any tier made of each test.
type summary struct {
	passed, failed map[string]bool
	skipped        map[string]string // test -> reason
	failedPackages map[string]bool
}

func newSummary() *summary {
	return &summary{passed: map[string]bool{}, failed: map[string]bool{}, skipped: map[string]string{}, failedPackages: map[string]bool{}}
}

func (s *summary) readFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	last := map[string]string{} // the last line a test printed: its reason, should it be skipped
	return each(f, func(e event) {
		if e.Test == "" {
			if e.Action == "fail" {
				s.failedPackages[short(e.Package)] = true
			}
			return
		}
		key := short(e.Package) + " " + e.Test
		switch e.Action {
		case "output":
			if t := strings.TrimSpace(e.Output); t != "" && !strings.HasPrefix(t, "---") && !strings.HasPrefix(t, "===") {
				last[key] = t
			}
		case "pass":
			s.passed[key] = true
		case "fail":
			s.failed[key] = true
		case "skip":
			s.skipped[key] = last[key]
		}
	})
}

// print names what was skipped in every tier, grouped by reason, and closes with the counts.
func (s *summary) print(w io.Writer) error {
	byReason := map[string][]string{}
	skipped := 0
	for test, reason := range s.skipped {
		if s.passed[test] || s.failed[test] {
			continue // another tier ran it
		}
		skipped++
		byReason[withoutPlace(reason)] = append(byReason[withoutPlace(reason)], test)
	}
	reasons := make([]string, 0, len(byReason))
	for r := range byReason {
		reasons = append(reasons, r)
	}
	sort.Strings(reasons)
	for _, r := range reasons {
		sort.Strings(byReason[r])
		fmt.Fprintf(w, "skipped: %s\n", r)
		for _, t := range byReason[r] {
			fmt.Fprintf(w, "    %s\n", t)
		}
	}
	passed := 0
	for t := range s.passed {
		if !s.failed[t] {
			passed++
		}
	}
	_, err := fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", passed, s.failures(), skipped)
	return err
}

// failures counts failed tests, and packages that failed without naming one: they did not compile, or died.
func (s *summary) failures() int {
	n := len(s.failed)
	for pkg := range s.failedPackages {
		named := false
		for test := range s.failed {
			named = named || strings.HasPrefix(test, pkg+" ")
		}
		if !named {
			n++
		}
	}
	return n
}

func short(pkg string) string { return strings.TrimPrefix(pkg, "heron/") }

// withoutPlace cuts "file_test.go:12: " off, so that one reason is one line.
func withoutPlace(reason string) string {
	place, rest, ok := strings.Cut(reason, ": ")
	if ok && strings.Contains(place, ".go:") {
		return rest
	}
	if reason == "" {
		return "(no reason given)"
	}
	return reason
}
