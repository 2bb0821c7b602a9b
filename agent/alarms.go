package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"time"

	"heron/internal/atomicfile"
	"heron/sync/message"
	"heron/vision"
)

// codeReplaced is the one reason that is told at each of its occurrences, and as over after the last.
const codeReplaced = "vision-replaced"

// carried is how long an alarm that a run before left open has to show again in this one before it is told as over: cameras open and links come up meanwhile.
const carried = 2 * grace

// ledger knows which alarms were told as begun and not yet as over, also by the runs before this one: a power cut ends nothing by itself.
type ledger struct {
	open   []reason    // as they were told
	before []reason    // of those, what was told by a run before and has not shown again
	saved  []byte      // what the file has, or will
	save   chan []byte // to the file; the newest only
}

func newLedger() ledger { return ledger{save: make(chan []byte, 1)} }

func samePlace(a reason) func(reason) bool {
	return func(b reason) bool { return a.Code == b.Code && a.Camera == b.Camera }
}

// begin says whether a reason is to be told, and since when it holds.
func (l *ledger) begin(r reason) (since time.Time, tell bool) {
	l.before = slices.DeleteFunc(l.before, samePlace(r))
	if i := slices.IndexFunc(l.open, samePlace(r)); i >= 0 {
		return l.open[i].Since, false
	}
	l.open = append(l.open, r)
	return r.Since, true
}

// end forgets an alarm, and returns it as it was told.
func (l *ledger) end(r reason) (told reason, ok bool) {
	l.before = slices.DeleteFunc(l.before, samePlace(r))
	i := slices.IndexFunc(l.open, samePlace(r))
	if i < 0 {
		return reason{}, false
	}
	told = l.open[i]
	l.open = slices.Delete(l.open, i, i+1)
	return told, true
}

// due lists what has ended without a word: what a run before told, when this one has run for long enough, and replacements of heron-vision.
func (l *ledger) due(run time.Duration, v vision.ClientStats, hold []reason) (out []reason) {
	if run >= carried {
		out = append(out, l.before...)
	}
	replaced := reason{Code: codeReplaced}
	settled := v.State == "running" || v.State == "ended" || v.State == "refused" // else it is about to be replaced once more, or fails to be
	if settled && !slices.ContainsFunc(hold, samePlace(replaced)) && slices.ContainsFunc(l.open, samePlace(replaced)) && !slices.ContainsFunc(out, samePlace(replaced)) {
		out = append(out, replaced)
	}
	return out
}

// keep hands what is open to the writer of the file, if that has changed.
func (l *ledger) keep() {
	b, err := json.Marshal(l.open)
	if err != nil || bytes.Equal(b, l.saved) {
		return
	}
	select {
	case <-l.save: // older, and not written
	default:
	}
	l.saved = b
	l.save <- b
}

// load takes what the runs before left open.
func (l *ledger) load(b []byte) error {
	if err := json.Unmarshal(b, &l.open); err != nil {
		l.open = nil
		return err
	}
	l.before, l.saved = slices.Clone(l.open), b
	return nil
}

func (a *Agent) buildAlarms() error {
	a.told = newLedger()
	b, err := atomicfile.Read(a.state("alarms.json"))
	if err == nil {
		err = a.told.load(b)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("alarms of the run before cannot be read; those that were open are not told as over", "error", err)
	}
	return nil
}

// keepAlarms writes the file, so that a slow disk does not hold up the clockwork. Without a disk the next run knows less; the alarms go on.
func (a *Agent) keepAlarms(ctx context.Context) error {
	write := func(b []byte) {
		if err := atomicfile.Write(a.state("alarms.json"), b, 0o640); err != nil {
			a.log.Debug("open alarms are not kept", "error", err)
		}
	}
	for {
		select {
		case b := <-a.told.save:
			write(b)
		case <-ctx.Done():
			select {
			case b := <-a.told.save:
				write(b)
			default:
			}
			return nil
		}
	}
}

// tell makes alarms of what began and what ended.
func (a *Agent) tell(now message.Stamp, f facts, began, over []reason) {
	for _, r := range began {
		a.log.Warn("not as it should be", "code", r.Code, "text", r.Text, "next", r.NextStep)
		since, fresh := a.told.begin(r)
		a.watch.resume(r, since)
		if fresh {
			a.putAlarm(now, r, false)
		}
	}
	for _, r := range over {
		a.log.Info("over", "code", r.Code, "text", r.Text)
		if r.Code != codeReplaced { // due says when the last of them is
			a.over(now, r)
		}
	}
	for _, r := range a.told.due(f.now.Sub(f.started), f.vision, a.watch.reasons) {
		a.over(now, r)
	}
	a.told.keep()
}

func (a *Agent) over(now message.Stamp, r reason) {
	if told, ok := a.told.end(r); ok {
		a.putAlarm(now, told, true)
	}
}

// replaced tells a replacement of heron-vision.
func (a *Agent) replaced(now message.Stamp, v vision.ClientStats) {
	r := reason{Code: codeReplaced, Severity: "warning", Since: v.LastAt, Text: v.LastReason}
	a.told.end(r)
	a.told.begin(r)
	a.putAlarm(now, r, false)
}

func (a *Agent) putAlarm(now message.Stamp, r reason, cleared bool) {
	rec := message.AlarmRecord{Stamp: now, Code: r.Code, Severity: r.Severity, Text: r.Text, Since: r.Since, Cleared: cleared, NextStep: r.NextStep}
	for _, c := range a.conf.Cameras {
		if c.Name == r.Camera {
			rec.Camera = r.Camera
		}
	}
	a.outbox.Put(rec)
}
