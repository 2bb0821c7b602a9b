package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"heron/sync/message"
)

// Run answers for what the last run left, then does what is queued, one after the other, until ctx ends. What is under way then is
// told to stop and waited for.
func (e *Executor) Run(ctx context.Context) error {
	e.comeBack()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.journal.close()
	}()
	var telling sync.WaitGroup
	defer telling.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	telling.Go(func() {
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-tick.C:
				e.retell()
			case <-ctx.Done():
				tick.Stop()
				return
			}
		}
	})
	for {
		if w, act, ok := e.next(); ok {
			e.do(ctx, w, act)
			continue
		}
		select {
		case <-e.more:
		case <-ctx.Done():
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// comeBack settles what the last run accepted and did not end.
func (e *Executor) comeBack() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, old := range e.journal.inOrder() {
		a := old.Answer
		if a.Final() {
			if since := time.Since(a.At); since.Abs() < 2*time.Minute {
				e.tell(old.Kind, a) // it may not have left the device
			}
			continue
		}
		if slices.ContainsFunc(e.queue, func(w waiting) bool { return w.cmd.ID == a.ID }) {
			continue // came in this run, before Run
		}
		act, known := e.acts[old.Kind]
		began := a.Status == message.StatusRunning
		a.Phase, a.Percent, a.At = "", 0, now()
		switch {
		case !began:
			a.Status, a.Code, a.Message = message.StatusCanceled, "restarted", "the device was restarted before it was begun"
		case known && act.Reboots && old.Boot == e.journal.boot:
			a.Status, a.Code, a.Message = message.StatusFailed, "interrupted", "heron was restarted, the device was not"
		case known && act.Returns:
			a.Status, a.Message = message.StatusSucceeded, "back"
		default:
			a.Status, a.Code, a.Message = message.StatusFailed, "interrupted", "the device was restarted on the way"
		}
		e.count(a)
		e.settle(old.Kind, old.By, a)
	}
}

// next takes the first of the queue that can be begun, and says so to the disk and to the network.
func (e *Executor) next() (waiting, Act, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.queue) > 0 {
		w := e.queue[0]
		e.queue = slices.Delete(e.queue, 0, 1)
		act := e.acts[w.kind]
		a := message.Answer{V: 1, ID: w.cmd.ID, At: now()}
		blocked := ""
		if act.Blocked != nil {
			blocked = act.Blocked()
		}
		switch {
		case time.Now().After(w.until):
			a.Status, a.Code, a.Message = message.StatusExpired, "expired", "others took too long"
		case blocked != "":
			a.Status, a.Code, a.Message = message.StatusRejected, codeConflict, blocked
		default:
			a.Status = message.StatusRunning
			if err := e.journal.begin(entry{Answer: a, Kind: w.kind, By: w.cmd.IssuedBy}, act.Every > 0, e.conf.Synced()); err != nil {
				a.Status, a.Code, a.Message = message.StatusFailed, codeDisk, "not begun: "+err.Error()
				break
			}
			e.running = &w
			e.tell(w.kind, a)
			return w, act, true
		}
		e.count(a)
		e.settle(w.kind, w.cmd.IssuedBy, a)
	}
	return waiting{}, Act{}, false
}

// outcome is what a handler gave.
type outcome struct {
	data any
	err  error
}

// do does one act. Its end is told at the latest a moment after its deadline; the next waits until the handler has returned.
func (e *Executor) do(ctx context.Context, w waiting, act Act) {
	acting, stop := context.WithTimeout(ctx, act.Deadline)
	defer stop()
	progress := e.progress(w)
	done := make(chan outcome, 1)
	go func() { // waited for below
		var o outcome
		defer func() {
			if p := recover(); p != nil {
				e.conf.Log.Error("commands: a handler panicked", "type", w.kind, "id", w.cmd.ID, "panic", p, "stack", string(debug.Stack()))
				o = outcome{nil, Error{"panic", fmt.Sprint("a fault in heron: ", p)}}
			}
			done <- o
		}()
		o.data, o.err = act.Do(acting, w.cmd.Args, progress)
	}()
	late := time.NewTimer(act.Deadline + grace)
	defer late.Stop()
	told := false
	for {
		select {
		case o := <-done:
			if act.Returns && o.err == nil && !told { // it is on its way
				<-acting.Done()
			}
			if act.Returns && o.err == nil && ctx.Err() == nil {
				o.err = fmt.Errorf("asked for, and nothing happened within %v", act.Deadline)
			}
			leaving := act.Returns && ctx.Err() != nil && (o.err == nil || errors.Is(o.err, context.Canceled))
			e.finish(w, o, acting, told || leaving) // what ends the process is answered after it
			return
		case <-late.C:
			e.conf.Log.Error("commands: a handler does not end", "type", w.kind, "id", w.cmd.ID)
			e.end(w, message.Answer{V: 1, ID: w.cmd.ID, Status: message.StatusFailed, At: now(), Code: "timeout", Message: fmt.Sprintf("not done within %v, and it does not end", act.Deadline)})
			told = true
		}
	}
}

// finish tells how an act ended, unless that is done or left to the next start.
func (e *Executor) finish(w waiting, o outcome, acting context.Context, told bool) {
	if !told {
		e.end(w, result(w, o, acting))
	}
	e.mu.Lock()
	e.running = nil
	e.mu.Unlock()
}

func result(w waiting, o outcome, acting context.Context) message.Answer {
	a := message.Answer{V: 1, ID: w.cmd.ID, Status: message.StatusSucceeded, At: now()}
	if o.data != nil {
		data, err := json.Marshal(o.data)
		switch {
		case err != nil:
			a.Message = "its data is not JSON: " + err.Error()
		case len(data) > maxData:
			a.Message = fmt.Sprintf("its data of %d bytes is left out; at most %d", len(data), maxData)
		default:
			a.Data = data
		}
	}
	if o.err == nil {
		return a
	}
	a.Status, a.Code, a.Message = message.StatusFailed, "failed", clip(o.err.Error())
	var coded Error
	switch {
	case errors.As(o.err, &coded):
		a.Code = coded.Code
	case errors.Is(acting.Err(), context.DeadlineExceeded):
		a.Code = "timeout"
	case acting.Err() != nil:
		a.Code, a.Message = "interrupted", "the device is being stopped"
	}
	return a
}

func (e *Executor) end(w waiting, a message.Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.count(a)
	e.settle(w.kind, w.cmd.IssuedBy, a)
}

func (e *Executor) count(a message.Answer) {
	switch a.Status {
	case message.StatusSucceeded:
		e.stats.Succeeded++
	case message.StatusFailed:
		e.stats.Failed++
	case message.StatusExpired:
		e.stats.Expired++
	case message.StatusRejected:
		e.stats.Rejected++
	}
}

// progress tells of a new phase at once and of a percentage once a second. It is not kept on disk.
func (e *Executor) progress(w waiting) func(string, int) {
	var mu sync.Mutex
	var phase string
	var last time.Time
	return func(p string, percent int) {
		mu.Lock()
		defer mu.Unlock()
		if p == phase && time.Since(last) < time.Second {
			return
		}
		phase, last = p, time.Now()
		e.mu.Lock()
		defer e.mu.Unlock()
		if known, ok := e.journal.known[w.cmd.ID]; ok && known.Answer.Final() {
			return // told already that it does not end
		}
		e.tell(w.kind, message.Answer{V: 1, ID: w.cmd.ID, Status: message.StatusRunning, At: now(), Phase: clip(p), Percent: min(max(percent, 0), 100)})
	}
}

func clip(s string) string {
	const most = 1000
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
