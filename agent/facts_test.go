package agent

import (
	"strings"
	"testing"
	"time"

	"heron/camera"
)

// Every fact has a text and a next step of its own, and no fact shares its code with another reason.
func TestFactsAreToldInTheirOwnWords(t *testing.T) {
	now := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	texts, steps, codes := map[string]string{}, map[string]string{}, map[string]string{"camera-stale": "no new frame", "camera-failing": "", "camera-reopened": ""}
	for _, fact := range []string{camera.Black, camera.Covered, camera.NoSignal, camera.Frozen, camera.Overexposed, camera.Underexposed, camera.Blurred, camera.Moved, camera.Stale} {
		f := healthy(now)
		f.unfit = map[string][]string{"front": {fact}}
		state, reasons := assess(f)
		if state != stateDegraded || len(reasons) != 1 {
			t.Fatalf("%s: %s, %v", fact, state, reasons)
		}
		r := reasons[0]
		if other, ok := codes[r.Code]; ok {
			t.Errorf("%s and %q share the code %s", fact, other, r.Code)
		}
		if texts[r.Text] != "" || steps[r.NextStep] != "" || r.NextStep == "" || !strings.HasPrefix(r.Text, "camera front: ") {
			t.Errorf("%s is told as %q, %q, as is %q", fact, r.Text, r.NextStep, texts[r.Text])
		}
		if strings.HasSuffix(r.Text, "the picture is "+fact) {
			t.Errorf("%s has no words of its own", fact)
		}
		texts[r.Text], steps[r.NextStep], codes[r.Code] = fact, fact, fact
	}
}
