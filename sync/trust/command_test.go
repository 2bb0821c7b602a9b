package trust

import (
	"testing"
	"time"
)

func TestPretendedTime(t *testing.T) {
	for text, want := range map[string]time.Duration{"+691200": 8 * 24 * time.Hour, "-60": -time.Minute, "+1.5h": 90 * time.Minute, "-2d": -48 * time.Hour, "+1y": 365 * 24 * time.Hour} {
		now, err := pretendedTime(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if off := time.Until(now()) - want; off.Abs() > time.Minute/2 {
			t.Errorf("%s: %v off", text, off)
		}
	}
	for _, text := range []string{"@2030-01-02 03:04:05", "2030-01-02 03:04:05", "2030-01-02 03:04:05+02:00"} {
		if now, err := pretendedTime(text); err != nil || now().Year() != 2030 || now().Minute() != 4 {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"tomorrow", "+", "+1w", "+1e300", "@"} {
		if _, err := pretendedTime(text); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
