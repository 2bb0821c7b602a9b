package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"heron/agent"
	"heron/camera"
)

// blocks are the YAML examples of a page that are a configuration.
var blocks = regexp.MustCompile("(?ms)^```yaml\n((?:device|cameras):.*?)^```")

func TestEveryExampleOfTheDocsIsAGoodConfiguration(t *testing.T) {
	pages, err := filepath.Glob("../../docs/boards/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for _, page := range append(pages, "../../docs/config.md", "../../docs/device.md", "../../docs/technician.md", "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		found := blocks.FindAllStringSubmatch(string(text), -1)
		if len(found) == 0 && strings.HasSuffix(page, "config.md") {
			t.Errorf("%s has no example", page)
		}
		for _, b := range found {
			path := filepath.Join(t.TempDir(), "heron.yaml")
			if err := os.WriteFile(path, []byte(b[1]), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := agent.Load(path, nil); err != nil {
				t.Errorf("%s: %v in\n%s", page, err, b[1])
			}
		}
	}
}

// reasonCode finds the codes of reasons in the sources: Code: "disk-failing", add("camera-stale", CodeHot = "hot".
var reasonCode = regexp.MustCompile(`(?:\bCode: +|\badd\(|\bCode[A-Z]\w+ += )"([a-z-]+)"`)

func TestTheTechniciansPageHasEveryReason(t *testing.T) {
	page, err := os.ReadFile("../../docs/technician.md")
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, file := range []string{"../health.go", "../adapt.go", "../engines.go", "../board/governor.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := reasonCode.FindAllStringSubmatch(string(text), -1)
		if len(found) == 0 {
			t.Errorf("%s names no reason: has the way they are written changed?", file)
		}
		for _, m := range found {
			codes = append(codes, m[1])
		}
	}
	facts, err := os.ReadFile("../facts.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`case "([a-z-]+)":`).FindAllStringSubmatch(string(facts), -1) {
		if m[1] == "stale" {
			m[1] = "late"
		}
		codes = append(codes, "camera-"+m[1])
	}
	if !slices.Contains(codes, "camera-"+camera.Frozen) || len(codes) < 25 {
		t.Errorf("only %d reasons found: %v", len(codes), codes)
	}
	for _, c := range codes {
		if !strings.Contains(string(page), "`"+c+"`") {
			t.Errorf("docs/technician.md does not say what to do about %s", c)
		}
	}
}
