package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"heron/sync/message"
)

// Bounds of an orderly end; systemd's own stop timeout is longer than their sum.
const (
	stopVision = 3 * time.Second
	stopDrain  = 3 * time.Second
	stopAgain  = 500 * time.Millisecond // in place of stopDrain where the service goes on at once
	stopUplink = 3 * time.Second
	stopOutbox = 10 * time.Second
	lastWords  = 60 * time.Second // how long --until-drained waits for the link at a time before it says that it waits
)

// part is one running part: stop it, and done tells how it ended.
type part struct {
	name string
	stop context.CancelFunc
	done chan error
}

func start(ctx context.Context, name string, ended chan<- *part, run func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &part{name: name, stop: cancel, done: make(chan error, 1)}
	go func() {
		p.done <- run(ctx)
		ended <- p
	}()
	return p
}

// end stops p and waits for it within a bound.
func (p *part) end(bound time.Duration) error {
	if p == nil {
		return nil
	}
	p.stop()
	select {
	case err := <-p.done:
		p.done <- err
		if err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		return nil
	case <-time.After(bound):
		return fmt.Errorf("%s did not end within %v", p.name, bound)
	}
}

// Run runs the parts until ctx ends (nil), all is seen and delivered with UntilDrained (nil), or a part fails for good.
// However it ends, the parts are stopped in reverse: cameras first, the outbox last, so that what was seen is kept.
func (a *Agent) Run(ctx context.Context) error {
	if a.page != nil {
		if err := a.page.Listen(); err != nil {
			return fmt.Errorf("%w: %w", ErrListen, err)
		}
	}
	ended := make(chan *part, 16)
	box := start(ctx, "outbox", ended, a.outbox.Run)
	var up, page *part
	if a.uplink != nil {
		up = start(ctx, "uplink", ended, a.uplink.Run)
	}
	if a.page != nil {
		page = start(ctx, "local page", ended, a.page.Run)
	}
	eyes := start(ctx, "vision", ended, a.vision.Run)
	ticks := start(ctx, "clockwork", ended, a.tick)
	open := start(ctx, "open alarms", ended, a.keepAlarms)
	looks := start(ctx, "look at the engines", ended, a.lookAtEngines)
	fit := start(ctx, "board", ended, a.adapt)
	more := append(a.startUpdates(ctx, ended), start(ctx, "local orders", ended, a.control), start(ctx, "tidying", ended, a.tidy))
	a.log.Info("running", "device", a.conf.Device.Group+"/"+a.conf.Device.ID, "version", a.opt.Version, "cameras", len(a.conf.Cameras), "page", a.conf.Status.Listen)

	err := a.wait(ctx, ended, eyes)
	err = errors.Join(err, fit.end(time.Second), open.end(time.Second))
	for _, p := range more {
		err = errors.Join(err, p.end(stopUplink))
	}
	return errors.Join(err, a.shutdown(errors.Is(err, ErrRestart), eyes, looks, ticks, up, box, page))
}

// wait returns when it is time to stop, with the error of the part that failed.
func (a *Agent) wait(ctx context.Context, ended <-chan *part, eyes *part) error {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.again:
			return ErrRestart
		case <-look.C:
			if err := a.hopeless(); err != nil {
				return err
			}
		case p := <-ended:
			err := <-p.done
			p.done <- err
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			if p != eyes {
				return fmt.Errorf("%s ended by itself", p.name)
			}
			if a.opt.UntilDrained {
				return a.drain(ctx)
			}
			a.log.Info("every source has ended; the page and the link stay up")
		}
	}
}

// hopeless ends a run that should end by itself and cannot: a camera without a model never comes to its end.
func (a *Agent) hopeless() error {
	if !a.opt.UntilDrained {
		return nil
	}
	if s := a.visionStats(); len(s.Refusals) > 0 {
		return fmt.Errorf("model slot %s: %s; %s", s.Refusals[0].Slot, s.Refusals[0].Reason, s.Refusals[0].NextStep)
	}
	return nil
}

// drain puts the last rollup and waits, as long as it takes, until nothing is left to deliver.
func (a *Agent) drain(ctx context.Context) error {
	a.closeBooks()
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, lastWords)
		err := a.outbox.Flush(bounded)
		if err == nil && a.uplink != nil {
			err = a.outbox.Drained(bounded)
		}
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			a.log.Info("waiting to deliver what is left", "records", total(a.outbox.Stats().Records), "link", a.uplinkState())
		}
	}
	return nil
}

func total[K comparable](m map[K]int64) (n int64) {
	for _, v := range m {
		n += v
	}
	return n
}

func (a *Agent) uplinkState() string {
	if a.uplink == nil {
		return "off"
	}
	return a.uplink.Stats().State
}

// shutdown stops the parts in order. again says that the next Agent follows at once: a slow link keeps its cameras waiting for half a second only.
func (a *Agent) shutdown(again bool, eyes, looks, ticks, up, box, page *part) error {
	a.log.Info("stopping")
	looks.stop()
	err := errors.Join(eyes.end(stopVision), looks.end(stopVision))
	err = errors.Join(err, ticks.end(time.Second))
	a.closeBooks()
	patience := stopDrain
	if again {
		patience = stopAgain
	}
	bounded, cancel := context.WithTimeout(context.Background(), patience)
	if a.outbox.Flush(bounded) == nil && a.uplinkState() == "online" {
		_ = a.outbox.Drained(bounded) // what is not delivered now is on the disk
	}
	cancel()
	a.stopAdapters()
	err = errors.Join(err, up.end(stopUplink), box.end(stopOutbox), page.end(time.Second))
	a.log.Info("stopped")
	return err
}

// closeBooks puts the records that only a regular end can make: labels left, the unfinished minute.
func (a *Agent) closeBooks() {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := message.Now()
	for _, e := range a.tracker.Close(now) {
		a.putEvent(e)
	}
	for _, r := range a.rollup.Close(now) {
		a.outbox.Put(r)
	}
}

// startUpdates starts what brings models, does commands, and takes back settings.
func (a *Agent) startUpdates(ctx context.Context, ended chan<- *part) []*part {
	var parts []*part
	if a.opt.Settings != nil {
		parts = append(parts, start(ctx, "settings", ended, a.watchSettings))
	}
	if a.updates != nil {
		parts = append(parts, start(ctx, "models", ended, a.updates.models.Run))
	}
	if a.updates != nil && a.updates.budget != nil { // it ends after what spends
		parts = append(parts, start(ctx, "budget of updates", ended, a.updates.budget.Run))
	}
	if a.orders == nil {
		return parts
	}
	return append(parts, start(ctx, "wishes", ended, a.reconcile), start(ctx, "commands", ended, a.orders.commands.Run))
}
