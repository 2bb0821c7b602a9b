package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heron/sync/fleet"
	"heron/sync/message"
)

func (a *app) fleetCmd() *cobra.Command {
	f := &fleetFlags{}
	var list []string
	var timeout time.Duration
	c := &cobra.Command{Use: "cmd DEVICE TYPE", Short: "Send one command and wait for its outcome", Args: args(cobra.ExactArgs(2)),
		Long: "Types are what the device lists in heron fleet show, such as ping, snapshot, diag, restart, reboot, rollback, log-level, camera-test.\n" +
			"Exit code 0 when it succeeded, 1 when not, 3 when no outcome came in time.",
		RunE: func(c *cobra.Command, names []string) error {
			if timeout <= 0 {
				return usage("cmd: --timeout is %v; expected more than 0, such as 1m", timeout)
			}
			conf, err := f.groupConfig()
			if err != nil {
				return err
			}
			with, err := arguments(list)
			if err != nil {
				return err
			}
			for _, n := range names {
				if !message.IsSlot(n) {
					return usage("cmd: %q cannot be a level of a topic: use a-z, 0-9, _ and -", n)
				}
			}
			return a.command(c.Context(), conf, f.person(), names[0], names[1], with, timeout)
		}}
	c.Flags().StringArrayVar(&list, "arg", nil, "an argument, `key=value`; true, false and numbers are taken as such; may be repeated")
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait; the command expires for the device then, too")
	return f.flags(c)
}

// arguments are key=value pairs; a value that is a JSON number, true, false or null is one, all else is a string.
func arguments(list []string) (map[string]any, error) {
	out := map[string]any{}
	for _, s := range list {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return nil, usage("cmd: --arg %q is not key=value", s)
		}
		var v any
		if err := json.Unmarshal([]byte(value), &v); err == nil {
			switch v.(type) {
			case float64:
				v = json.Number(value)
			case bool, nil:
			default:
				v = value
			}
		} else {
			v = value
		}
		out[key] = v
	}
	return out, nil
}

func (a *app) command(ctx context.Context, conf fleet.Config, by, device, kind string, with map[string]any, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answers := make(chan fleet.Message, 64)
	take := func(m fleet.Message) {
		select {
		case answers <- m:
		default: // more than 64 answers that nobody read: the last one decides, and comes again when the command is repeated
		}
	}
	var last message.Answer
	err := a.withFleet(ctx, conf, conf.CommandSubs(conf.Group, device, kind), take, func(ctx context.Context, l *fleet.Link) error {
		return fleet.Command(ctx, l, conf.Group, device, kind, by, with, answers, func(an message.Answer) {
			last = an
			_ = a.say(an, "%s", answerText(an))
		})
	})
	switch {
	case errors.Is(err, fleet.ErrNoResult):
		return &codedError{exitUnreachable, fmt.Errorf("%s did not answer to the end within %v; heron fleet show %s says whether it is online", device, timeout, device)}
	case err == nil && last.Status != message.StatusSucceeded:
		return &codedError{exitFailed, errors.New("")}
	}
	return err
}

func answerText(an message.Answer) string {
	parts := []string{clockTime(an.At), an.Status, an.Phase}
	if an.Percent > 0 {
		parts = append(parts, fmt.Sprintf("%d%%", an.Percent))
	}
	parts = append(parts, an.Code, an.Message, string(an.Data))
	return harmless(strings.Join(strings.Fields(strings.Join(parts, " ")), " ")) + "\n"
}
