package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAccelListAsksAHeronVisionOfItsOwn(t *testing.T) {
	out, msg, code := heron(t, "accel", "list", "--json", "--vision", os.Args[0])
	var rows []accelRow
	if err := json.Unmarshal([]byte(out), &rows); code != 0 || err != nil || len(rows) != 2 || !rows[0].Usable || rows[1].Reason != "no stick" || rows[1].NextStep == "" {
		t.Errorf("exit %d, %v: %s%s", code, err, out, msg)
	}
	if out, _, _ = heron(t, "accel", "list", "--vision", os.Args[0]); !strings.Contains(out, "no stick; plug one in") {
		t.Errorf("for people: %s", out)
	}
	program := filepath.Join(t.TempDir(), "heron-vision")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho cannot open the library >&2; kill -ABRT $$\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, msg, code = heron(t, "accel", "list", "--vision", program); code != 1 || !strings.Contains(msg, "cannot open the library") {
		t.Errorf("a heron-vision that dies: exit %d, %s", code, msg)
	}
	oneLine(t, msg)
}

func TestAccelBench(t *testing.T) {
	t.Parallel()
	bundle := filepath.Join(newField(t, "", "testcard:").dir, "bundle")
	out, msg, code := heron(t, "accel", "bench", "--json", "--vision", os.Args[0], "--model", bundle, "--for", "1s")
	var rows []benchRow
	if err := json.Unmarshal([]byte(out), &rows); code != 0 || err != nil || len(rows) != 1 || rows[0].Frames < 10 || rows[0].P99MS < rows[0].P50MS || rows[0].RSSMB <= 0 {
		t.Errorf("exit %d, %v: %s%s", code, err, out, msg)
	}
	if out, _, _ = heron(t, "accel", "bench", "--vision", os.Args[0], "--model", bundle, "--for", "1s"); !strings.Contains(out, "P95 ms") || !strings.Contains(out, "scripted") {
		t.Errorf("for people: %s", out)
	}
	for _, bad := range [][]string{{}, {"--model", bundle, "--for", "1ms"}} {
		if _, msg, code := heron(t, append([]string{"accel", "bench"}, bad...)...); code != exitUsage {
			t.Errorf("%v: exit %d, %s", bad, code, msg)
		}
	}
}
