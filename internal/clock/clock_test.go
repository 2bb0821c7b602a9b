package clock

import (
	"regexp"
	"testing"
	"time"
)

func TestSinceBootGoesOnlyForward(t *testing.T) {
	a := SinceBoot()
	time.Sleep(2 * time.Millisecond)
	if b := SinceBoot(); a <= 0 || b-a < 2*time.Millisecond {
		t.Errorf("%v, then %v", a, b)
	}
}

func TestBootIDIsSixHexDigitsAndStays(t *testing.T) {
	if id := BootID(); !regexp.MustCompile(`^[0-9a-f]{6}$`).MatchString(id) || id != BootID() {
		t.Errorf("boot id %q", id)
	}
}

func TestQualityHasNoErrorWithoutSync(t *testing.T) {
	if q := Now(); q.ErrMS < 0 || !q.Sync && q.ErrMS != 0 {
		t.Errorf("%+v", q)
	}
}
