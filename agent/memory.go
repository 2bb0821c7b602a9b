package agent

import (
	"context"
	"runtime/debug"
	"time"
)

// When memory that is no longer needed is handed back: what a start takes (settings, keys, metadata, the outbox's check) is not what a
// quiet day takes, and neither is what an update takes.
const (
	tidyFirst = 30 * time.Second
	tidyAgain = time.Minute // between two of them, whatever happens
	tidyLook  = 5 * time.Second
)

// tidy hands memory back once the start is over, and after each change of a model. Pages of the program's own file stay, though they are the
// larger part of what is resident: the kernel takes them when memory is short, and until then a disk that hangs must not stop what reads no file.
func (a *Agent) tidy(ctx context.Context) error {
	t := time.NewTimer(tidyFirst)
	defer t.Stop()
	seen := uint64(0)
	for last := (time.Time{}); ; t.Reset(tidyLook) {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		ended := a.changesEnded()
		if !last.IsZero() && (ended == seen || time.Since(last) < tidyAgain) {
			continue
		}
		last, seen = time.Now(), ended
		debug.FreeOSMemory()
	}
}

// changesEnded counts the wishes for a model that came to an end, however.
func (a *Agent) changesEnded() (n uint64) {
	if a.updates == nil {
		return 0
	}
	for _, s := range a.updates.models.State() {
		n += s.Counts.Installed + s.Counts.Confirmed + s.Counts.Refused + s.Counts.RolledBack + s.Counts.Superseded
	}
	return n
}
