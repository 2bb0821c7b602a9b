package desired

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"heron/internal/daily"
	"heron/sync/message"
)

func ptr[T any](v T) *T { return &v }

func TestDecide(t *testing.T) {
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Skip("no time zones on this machine: ", err)
	}
	at := func(s string) time.Time {
		v, err := time.ParseInLocation("2006-01-02 15:04", s, paris)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	night := &message.Rollout{Window: "22:00-05:00"}
	for _, c := range []struct {
		name     string
		r        *message.Rollout
		now      string
		unsynced bool
		want     string
		next     string
	}{
		{"no rollout", nil, "2026-11-20 12:00", true, Apply, ""},
		{"empty rollout", &message.Rollout{}, "2026-11-20 12:00", true, Apply, ""},
		{"nobody", &message.Rollout{Percent: ptr(0.0)}, "2026-11-20 12:00", false, NotSelected, ""},
		{"everybody", &message.Rollout{Percent: ptr(100.0)}, "2026-11-20 12:00", false, Apply, ""},
		{"label matches", &message.Rollout{Labels: map[string]string{"site": "lyon-*", "line": "?"}}, "2026-11-20 12:00", false, Apply, ""},
		{"label does not", &message.Rollout{Labels: map[string]string{"site": "paris-*"}}, "2026-11-20 12:00", false, NotMatched, ""},
		{"label missing, though anything would do", &message.Rollout{Labels: map[string]string{"floor": "*"}}, "2026-11-20 12:00", false, NotMatched, ""},
		{"too early", &message.Rollout{NotBefore: at("2026-11-21 08:00")}, "2026-11-20 12:00", false, NotBefore, "2026-11-21 08:00"},
		{"to the minute", &message.Rollout{NotBefore: at("2026-11-20 12:00")}, "2026-11-20 12:00", false, Apply, ""},
		{"too early, who knows", &message.Rollout{NotBefore: at("2026-11-21 08:00")}, "2026-11-20 12:00", true, NoClock, ""},
		{"window, who knows", night, "2026-11-20 23:00", true, NoClock, ""},
		{"day", night, "2026-11-20 12:00", false, OutsideWindow, "2026-11-20 22:00"},
		{"evening", night, "2026-11-20 22:00", false, Apply, ""},
		{"after midnight", night, "2026-11-20 04:59", false, Apply, ""},
		{"morning", night, "2026-11-20 05:00", false, OutsideWindow, "2026-11-20 22:00"},
		{"by day", &message.Rollout{Window: "09:00-17:00"}, "2026-11-20 17:00", false, OutsideWindow, "2026-11-21 09:00"},
		{"clock set forward, before", night, "2026-03-29 01:59", false, Apply, ""},
		{"clock set forward, after", night, "2026-03-29 03:00", false, Apply, ""},
		{"the hour that is left out", &message.Rollout{Window: "02:15-02:45"}, "2026-03-29 01:59", false, OutsideWindow, "2026-03-29 03:15"},
		{"clock set back", &message.Rollout{Window: "02:15-02:45"}, "2026-10-25 02:30", false, Apply, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Decide(c.r, Self{"dev-1", map[string]string{"site": "lyon-2", "line": "3"}}, at(c.now), !c.unsynced)
			if d.Verdict != c.want || (c.want != Apply) != (d.Text != "") {
				t.Errorf("%+v, want %s", d, c.want)
			}
			if (c.next != "") != !d.Next.IsZero() || c.next != "" && !d.Next.Equal(at(c.next)) {
				t.Errorf("next %v, want %s", d.Next, c.next)
			}
		})
	}
	twice := at("2026-10-25 02:30")
	if !(daily.Window{From: 135, To: 165}).Open(twice.Add(time.Hour)) && !(daily.Window{From: 135, To: 165}).Open(twice.Add(-time.Hour)) {
		t.Error("the hour that comes twice is in the window once only")
	}
}

// The algorithm is a promise: other programs compute it, and devices of two versions must agree.
func TestBucketIsAsDocumented(t *testing.T) {
	for device, want := range map[string]int{"dev-0001": 2481, "dev-0002": 4050, "dev-0042": 4398} {
		if got := Bucket("2026-47", device); got != want {
			t.Errorf("%s: %d, want %d", device, got, want)
		}
	}
}

// 10,000 devices: each step has the right share, and holds the step before; another salt draws others.
func TestPercentagesAreRightAndGrow(t *testing.T) {
	const devices = 10000
	var before map[string]bool
	for _, percent := range []float64{0, 0.5, 1, 5, 25, 50, 99.5, 100} {
		in := map[string]bool{}
		for i := range devices {
			if id := fmt.Sprintf("dev-%05d", i); Selected(percent, "s", id) {
				in[id] = true
			}
		}
		p := percent / 100
		if off := math.Abs(float64(len(in)) - p*devices); off > 4*math.Sqrt(devices*p*(1-p))+0.5 {
			t.Errorf("%v %%: %d of %d", percent, len(in), devices)
		}
		for id := range before {
			if !in[id] {
				t.Fatalf("%s was in before %v %%, and is not now", id, percent)
			}
		}
		before = in
	}
	both := 0
	for i := range devices {
		id := fmt.Sprintf("dev-%05d", i)
		if Selected(5, "a", id) && Selected(5, "b", id) {
			both++
		}
	}
	if both > 60 { // a quarter of a percent would be 25
		t.Errorf("%d devices are first under both salts", both)
	}
	if d := Decide(&message.Rollout{Percent: ptr(1.0), Salt: "2026-47"}, Self{ID: "dev-0001"}, time.Now(), true); !strings.Contains(d.Text, "comes at 24.82 %") || !Selected(24.82, "2026-47", "dev-0001") || Selected(24.81, "2026-47", "dev-0001") {
		t.Errorf("%+v", d)
	}
}
