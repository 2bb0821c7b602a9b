package desired

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"time"

	"heron/internal/daily"
	"heron/sync/message"
)

// Self is what a rollout asks about this device.
type Self struct {
	ID     string
	Labels map[string]string
}

// Verdicts of Decide, as message.ReportedSlot.Decision says them.
const (
	Apply         = "apply"
	NotSelected   = "not-selected"   // the percentage leaves this device out
	NotMatched    = "labels"         // a label is missing or does not match
	NotBefore     = "not-before"     // it is too early
	OutsideWindow = "outside-window" // it is the wrong time of day
	NoClock       = "clock"          // the time counts, and the clock is not in sync
)

// Decision is what Decide says, with a line for people.
type Decision struct {
	Verdict string
	Text    string
	Next    time.Time // when to ask again; zero: only when a document, a label or the clock changes
}

// Decide says whether a rollout lets this device begin now. What has begun is not stopped by it: a window is for the start. now is in
// the device's time zone. What can never become true by waiting is told first.
func Decide(r *message.Rollout, self Self, now time.Time, synced bool) Decision {
	if r == nil {
		return Decision{Verdict: Apply}
	}
	for _, label := range slices.Sorted(maps.Keys(r.Labels)) {
		have, ok := self.Labels[label]
		if match, err := path.Match(r.Labels[label], have); !ok || !match || err != nil {
			return Decision{Verdict: NotMatched, Text: fmt.Sprintf("label %s is %q; the rollout is for %q", label, have, r.Labels[label])}
		}
	}
	if r.Percent != nil && !Selected(*r.Percent, r.Salt, self.ID) {
		return Decision{Verdict: NotSelected, Text: fmt.Sprintf("the rollout is for %v %% of the devices; this one comes at %v %%", *r.Percent, share(r.Salt, self.ID))}
	}
	if !synced && (r.Window != "" || !r.NotBefore.IsZero()) {
		return Decision{Verdict: NoClock, Text: "the rollout names a time, and this device's clock is not in sync"}
	}
	if now.Before(r.NotBefore) {
		return Decision{Verdict: NotBefore, Text: "the rollout begins " + r.NotBefore.In(now.Location()).Format("2006-01-02 15:04 MST"), Next: r.NotBefore}
	}
	if r.Window == "" {
		return Decision{Verdict: Apply}
	}
	w, err := daily.ParseWindow(r.Window)
	if err != nil || !w.Open(now) { // documents are validated when they are read
		return Decision{Verdict: OutsideWindow, Text: fmt.Sprintf("the rollout is for %s local time; it is %s", r.Window, now.Format("15:04 MST")), Next: w.Opening(now)}
	}
	return Decision{Verdict: Apply}
}

// Bucket is the place of a device in a rollout, 0…9999: the first eight bytes of SHA-256 over salt, a zero byte and the device id, as
// a big-endian number, modulo 10,000. It depends on nothing else, so it is the same at every asking and can be computed by anyone.
func Bucket(salt, device string) int {
	h := sha256.Sum256([]byte(salt + "\x00" + device))
	return int(binary.BigEndian.Uint64(h[:8]) % 10000)
}

// Selected says whether a device is within the first percent of a rollout: its bucket is less than percent × 100. Whoever is within
// 5 % is within 25 %.
func Selected(percent float64, salt, device string) bool {
	return Bucket(salt, device) < int(math.Round(percent*100))
}

// share is the least percentage that a device is within.
func share(salt, device string) float64 { return float64(Bucket(salt, device)+1) / 100 }
