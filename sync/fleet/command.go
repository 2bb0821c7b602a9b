package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"heron/sync/message"
)

// ErrNoResult: no final answer came in time. The device may be offline; the command expires.
var ErrNoResult = errors.New("no final answer in time")

// CommandSubs are the topics a command needs, of a device.
func (c Config) CommandSubs(group, device, kind string) []Sub {
	return []Sub{{c.filter(group, device, "cmd/"+kind+"/+"), 0}, {c.filter(group, device, "res/"+kind+"/+"), 1}}
}

// Command sends one command and calls observe with each answer, the last of which is final. It expires for the device when ctx ends for us.
// answers are what Handle gets of the link.
func Command(ctx context.Context, l *Link, group, device, kind, by string, arguments map[string]any, answers <-chan Message, observe func(message.Answer)) error {
	end, ok := ctx.Deadline()
	if !ok {
		return errors.New("a command needs a deadline")
	}
	t := now()
	c := message.Command{V: 1, ID: t.Format("20060102t150405") + "-" + randomHex(4), IssuedAt: t, ExpiresAt: end.UTC().Truncate(time.Millisecond), IssuedBy: clip(by, 200)}
	if len(arguments) > 0 {
		b, err := json.Marshal(arguments)
		if err != nil {
			return fmt.Errorf("args: %w", err)
		}
		c.Args = b
	}
	if !message.IsSlot(kind) {
		return fmt.Errorf("%q cannot be a type of command", clip(kind, 40))
	}
	if err := c.Validate(); err != nil {
		return err
	}
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := l.PublishSeen(ctx, l.conf.Topic(group, device, "cmd/"+kind+"/"+c.ID), false, b); err != nil {
		return err
	}
	return waitAnswer(ctx, l.conf.Topic(group, device, "res/"+kind+"/"+c.ID), c.ID, answers, observe)
}

func waitAnswer(ctx context.Context, topic, id string, answers <-chan Message, observe func(message.Answer)) error {
	for {
		select {
		case m := <-answers:
			if m.Topic != topic {
				continue
			}
			a, err := message.ParseAnswer(m.Payload)
			if err != nil {
				return fmt.Errorf("the answer cannot be read: %s", Clean(err.Error()))
			}
			if a.ID != id {
				continue
			}
			observe(a)
			if a.Final() {
				return nil
			}
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ErrNoResult
			}
			return context.Cause(ctx)
		}
	}
}
