package fleet

import (
	"fmt"
	"strings"
	"time"
)

// Next is what a running rollout does now. It changes nothing but r, and asks nobody: time and counts come in.
// It reports whether there was a decision, which must be published before it is acted upon.
func (r *Rollout) Next(now time.Time, c Counts, failed []string) bool {
	r.Counts = c
	if r.State != Running {
		return false
	}
	if c.Failed > r.Plan.MaxFailed {
		r.stop(now, "%d of %d selected devices failed, at most %d may: %s", c.Failed, c.Selected, r.Plan.MaxFailed, some(failed))
		return true
	}
	if !r.enough(c) || now.Sub(r.At.Since) < time.Duration(r.Plan.Wait) && !(r.Last() && r.settled(c)) {
		return false
	}
	if r.Last() && c.Selected == 0 {
		r.stop(now, "none of %d devices is chosen by percent, salt and labels", c.Devices-c.Own)
		return true
	}
	if r.Last() {
		r.State, r.Reason = Done, ""
		r.note(now, "heron", "done: %s", c)
		return true
	}
	next := r.At.Wave + 1
	if next == len(r.Plan.Percent)-1 && c.Confirmed == 0 && next > 0 {
		r.stop(now, "no device has confirmed in any wave before the last: the waves before it selected none that is online")
		return true
	}
	r.note(now, "heron", "wave %d (%g%%) is good: %s", r.At.Wave+1, r.Percent(), c)
	r.At.Wave, r.At.Since = next, now
	r.At.Rev = 0 // the driver gives it one
	return true
}

// stop by itself: percent stays as it is.
func (r *Rollout) stop(now time.Time, format string, args ...any) {
	r.State, r.Reason = Paused, clip(fmt.Sprintf(format, args...), 500)
	r.note(now, "heron", "stopped in wave %d (%g%%): %s", r.At.Wave+1, r.Percent(), r.Reason)
}

// enough says whether the present wave has come as far as the plan asks. A wave that selected nobody proves nothing and stops nothing.
func (r *Rollout) enough(c Counts) bool {
	if !r.answered(c) || c.Online == 0 {
		return false
	}
	if c.SelectedOnline == 0 {
		return c.Selected == 0
	}
	return share(c.ConfirmedOnline, c.SelectedOnline) >= r.Plan.MinConfirmed
}

// answered says whether as many of the devices online as the plan asks for have answered the present rev.
func (r *Rollout) answered(c Counts) bool {
	return share(c.Online-c.Own-c.Unanswered, c.Online-c.Own) >= r.Plan.MinConfirmed
}

// settled: there is nothing to wait for, all who can answer have.
func (r *Rollout) settled(c Counts) bool { return c.Unanswered == 0 && c.Pending == 0 }

// share in percent; of none it is all.
func share(n, of int) float64 {
	if of <= 0 {
		return 100
	}
	return 100 * float64(n) / float64(of)
}

// String says the counts in words.
func (c Counts) String() string {
	parts := []string{fmt.Sprintf("%d selected", c.Selected), fmt.Sprintf("%d confirmed", c.Confirmed)}
	for _, p := range []struct {
		n    int
		word string
	}{{c.Pending, "pending"}, {c.Failed, "failed"}, {c.Unanswered, "not answered yet"}, {c.Devices - c.Online, "offline"}, {c.Own, "with a document of their own"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.word))
		}
	}
	return strings.Join(parts, ", ") + fmt.Sprintf(" (of %d devices)", c.Devices)
}

// some of a list, for one line.
func some(list []string) string {
	const most = 3
	if len(list) > most {
		return strings.Join(list[:most], "; ") + fmt.Sprintf("; and %d more", len(list)-most)
	}
	return strings.Join(list, "; ")
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
