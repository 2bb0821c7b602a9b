package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAccelListAsksAHeronVisionOfItsOwn(t *testing.T) {
	program := filepath.Join(t.TempDir(), "heron-vision")
	answers := func(script string) {
		t.Helper()
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	answers(`test "$1" = --engines && echo '[{"engine":"onnx","device":"cpu","present":true,"usable":true,"version":"1"},{"engine":"edgetpu","reason":"no stick","next_step":"plug one in"}]'`)
	out, msg, code := heron(t, "accel", "list", "--json", "--vision", program)
	var rows []accelRow
	if err := json.Unmarshal([]byte(out), &rows); code != 0 || err != nil || len(rows) != 2 || !rows[0].Usable || rows[1].Reason != "no stick" || rows[1].NextStep == "" {
		t.Errorf("exit %d, %v: %s%s", code, err, out, msg)
	}
	if out, _, _ = heron(t, "accel", "list", "--vision", program); !strings.Contains(out, "no stick; plug one in") {
		t.Errorf("for people: %s", out)
	}
	answers("echo cannot open the library >&2; kill -ABRT $$")
	if _, msg, code = heron(t, "accel", "list", "--vision", program); code != 1 || !strings.Contains(msg, "cannot open the library") {
		t.Errorf("a heron-vision that dies: exit %d, %s", code, msg)
	}
	oneLine(t, msg)
}
