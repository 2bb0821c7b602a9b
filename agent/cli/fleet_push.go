package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"heron/sync/fleet"
	"heron/sync/message"
)

// pushFlags are the plan as a person writes it.
type pushFlags struct {
	fleetFlags
	model, slot, device, percent, minConfirmed string
	notBefore                                  string
	wait, shadow, probation, timeout           time.Duration
	plan                                       fleet.Plan
	detach                                     bool
}

func (a *app) fleetPush() *cobra.Command {
	f := &pushFlags{}
	c := &cobra.Command{Use: "push --group GROUP --model TARGET", Short: "Roll a model out, in waves that stop by themselves", Args: args(cobra.NoArgs),
		Long: "Writes the group's retained desired document and takes it through waves: the next begins when enough of the selected devices have confirmed, " +
			"and all stops where it is when more than --max-failed did not. The state is on the broker: close the laptop and go on with the same command, or with heron fleet resume.\n" +
			"Exit code 0 when it is done, 1 when it stopped.",
		RunE: func(c *cobra.Command, _ []string) error {
			f.plan.Shadow, f.plan.Probation = given(c, "shadow", f.shadow), given(c, "probation", f.probation)
			if err := f.parse(); err != nil {
				return usage("push: %v", err)
			}
			return a.push(c.Context(), f)
		}}
	p := c.Flags()
	p.StringVar(&f.model, "model", "", "`target` in the signed repository, such as bottles/1.4.2")
	p.StringVar(&f.slot, "slot", "main", "the `slot` it is for")
	p.StringVar(&f.device, "device", "", "one `device` only, by a document of its own, which counts more than its group's until heron fleet release")
	p.StringVar(&f.percent, "percent", "100", "`waves`, such as 5,25,100")
	p.DurationVar(&f.wait, "wait", 0, "how long a wave lasts at least")
	p.IntVar(&f.plan.MaxFailed, "max-failed", 0, "devices that may refuse, fail or go back before it stops")
	p.StringVar(&f.minConfirmed, "min-confirmed", "95%", "`share` of the selected devices online that must have confirmed before the next wave")
	p.StringVar(&f.plan.Salt, "salt", "", "another `text` draws other devices first (default: the target)")
	p.StringVar(&f.plan.Window, "window", "", "time of day at the device, such as `22:00-05:00`")
	p.StringVar(&f.notBefore, "not-before", "", "`time` such as 2026-11-20T22:00:00Z")
	p.StringToStringVar(&f.plan.Labels, "label", nil, "only devices whose label matches, `key=glob`; may be repeated")
	p.DurationVar(&f.shadow, "shadow", 0, "how long it runs beside the live model first, 0 for not at all (default: the device's setting)")
	p.DurationVar(&f.probation, "probation", 0, "how long it is watched after the switch, 0 for not at all (default: the device's setting)")
	p.DurationVar(&f.timeout, "timeout", 30*time.Minute, "with --device: how long to wait for the outcome")
	p.BoolVar(&f.detach, "detach", false, "begin and do not stay: heron fleet resume drives the waves")
	f.flags(c)
	return c
}

// given is a duration that was said, were it 0; nil: it was not.
func given(c *cobra.Command, flag string, d time.Duration) *message.Duration {
	if !c.Flags().Changed(flag) {
		return nil
	}
	v := message.Duration(d)
	return &v
}

func (f *pushFlags) parse() error {
	if !message.IsTarget(f.model) {
		return fmt.Errorf("--model %q names no entry of a repository, such as bottles/1.4.2", f.model)
	}
	if !message.IsSlot(f.slot) {
		return fmt.Errorf("--slot %q: use a-z, 0-9, _ and -", f.slot)
	}
	f.plan.Wait = message.Duration(f.wait)
	f.plan.Percent = nil
	for s := range strings.SplitSeq(f.percent, ",") {
		v, err := percent(s)
		if err != nil {
			return fmt.Errorf("--percent: %w", err)
		}
		f.plan.Percent = append(f.plan.Percent, v)
	}
	var err error
	if f.plan.MinConfirmed, err = percent(f.minConfirmed); err != nil {
		return fmt.Errorf("--min-confirmed: %w", err)
	}
	if f.plan.Salt == "" {
		f.plan.Salt = f.model
	}
	if f.notBefore != "" {
		if f.plan.NotBefore, err = time.Parse(time.RFC3339, f.notBefore); err != nil {
			return fmt.Errorf("--not-before: %q is not a time such as 2026-11-20T22:00:00Z", f.notBefore)
		}
	}
	return f.plan.Validate()
}

func percent(s string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(s), "%"), 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a percentage", s)
	}
	return v, nil
}

func (a *app) push(ctx context.Context, f *pushFlags) error {
	return a.withManager(ctx, &f.fleetFlags, func(ctx context.Context, m *fleet.Manager, inv *fleet.Inventory, group string) error {
		if f.device != "" {
			return a.pushDevice(ctx, f, m, inv, group)
		}
		resumed, err := m.Begin(ctx, f.slot, f.model, f.plan)
		if err != nil {
			return a.left(ctx, err, m, group)
		}
		if resumed && !a.json {
			r := m.Rollout()
			fmt.Fprintf(a.out, "going on with the rollout that is there, by its own plan: wave %d of %d, begun %s\n", r.At.Wave+1, len(r.Plan.Percent), clockTime(r.Started))
		}
		return a.drive(ctx, m, group, f.detach)
	})
}

// withManager is withInventory for commands that write to one group.
func (a *app) withManager(ctx context.Context, f *fleetFlags, body func(context.Context, *fleet.Manager, *fleet.Inventory, string) error) error {
	conf, err := f.groupConfig()
	if err != nil {
		return err
	}
	return a.withInventory(ctx, conf, func(ctx context.Context, l *fleet.Link, inv *fleet.Inventory) error {
		return body(ctx, fleet.NewManager(l, inv, conf.Group, f.person()), inv, conf.Group)
	})
}

// drive shows a rollout on its way. A rollout that stopped is exit code 1; one that is left running is none.
func (a *app) drive(ctx context.Context, m *fleet.Manager, group string, detach bool) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGPIPE) // who reads what is printed has gone, as head does: else the next manager would wait for the lease
	defer stop()
	if detach {
		stop, cancel := context.WithCancel(ctx)
		err := m.Drive(stop, func(r fleet.Rollout, _ []fleet.Device) { cancel() }) // the first look has written what must be
		cancel()
		if ended(err) != nil {
			return err
		}
		return a.say(m.Rollout(), "begun; heron fleet resume --group %s drives the waves\n", group)
	}
	view := newRolloutView(a, group)
	err := m.Drive(ctx, view.show)
	view.flush()
	if err = a.left(ctx, err, m, group); ctx.Err() != nil {
		return err
	}
	if err == nil && m.Rollout().State == fleet.Paused {
		return fmt.Errorf("stopped: %s; %s", m.Rollout().Reason, afterStop(m.Rollout(), group))
	}
	return err
}

// left says where a rollout was left by whoever ended the command; other errors stay.
func (a *app) left(ctx context.Context, err error, m *fleet.Manager, group string) error {
	r := m.Rollout()
	if ctx.Err() == nil || ended(err) != nil || len(r.Plan.Percent) == 0 {
		return err
	}
	fmt.Fprintf(a.errOut, "heron: left where it is, in wave %d of %d; heron fleet resume --group %s goes on\n", r.At.Wave+1, len(r.Plan.Percent), group)
	return nil
}

// afterStop is what a person can do about a rollout that stopped.
func afterStop(r fleet.Rollout, group string) string {
	switch {
	case r.Counts.Failed > r.Plan.MaxFailed && r.Previous == "": // nothing to go back to by itself
		return fmt.Sprintf("heron fleet abort --group %s asks nobody any more, with --rollback --to TARGET goes back, heron fleet resume --max-failed N goes on", group)
	case r.Counts.Failed > r.Plan.MaxFailed:
		return fmt.Sprintf("heron fleet abort --rollback --group %s goes back, heron fleet resume --max-failed N goes on", group)
	case r.Counts.Selected == 0:
		return fmt.Sprintf("heron fleet abort --group %s, then push with other labels, another --salt or more percent in the first wave", group)
	}
	return fmt.Sprintf("heron fleet abort --group %s ends it", group)
}

// pushDevice follows one device to the end of its way.
func (a *app) pushDevice(ctx context.Context, f *pushFlags, m *fleet.Manager, inv *fleet.Inventory, group string) error {
	if len(f.plan.Labels) > 0 || !slices.Equal(f.plan.Percent, []float64{100}) {
		return usage("push: --percent and --label choose among a group's devices; with --device there is nothing to choose")
	}
	rev, err := m.PushDevice(ctx, f.device, f.slot, f.model, f.plan)
	if err != nil || f.detach {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	last, patience := "", 15*time.Second
	again := time.NewTimer(patience)
	defer again.Stop()
	for {
		d, err := inv.Find(group, f.device)
		if err != nil {
			return err
		}
		fate := fleet.DeviceFate(d, f.slot, rev)
		line := strings.TrimSpace(fmt.Sprintf("%s %s %s", fate.Outcome, stepWord(fleetModel{Step: fate.Step, Percent: fate.Percent}), fate.Detail))
		if line != last {
			last = line
			if err := a.say(fate, "%s rev %d: %s\n", f.device, rev, line); err != nil {
				return err
			}
		}
		switch fate.Outcome {
		case fleet.Confirmed:
			return nil
		case fleet.Failed, fleet.RefusedIt, fleet.WentBack:
			return fmt.Errorf("%s: %s", fate.Outcome, fate.Detail)
		}
		select {
		case <-inv.Changes():
		case <-again.C:
			if rev, err = m.PushAgain(ctx, f.device, f.slot, f.model, f.plan, rev); err != nil {
				return err
			}
			patience = min(2*patience, 5*time.Minute)
			again.Reset(patience)
		case <-ctx.Done():
			return fmt.Errorf("no outcome within %v; the document stays: heron fleet show %s", f.timeout, f.device)
		}
	}
}

// released is heron fleet release --json.
type released struct {
	Device string `json:"device"`
	Slot   string `json:"slot"`
	Rev    int64  `json:"rev"` // of its own document; 0: nothing was written, since it follows its group already
}

func (a *app) fleetRelease() *cobra.Command {
	f, slot := &fleetFlags{}, ""
	c := &cobra.Command{Use: "release DEVICE", Short: "Take back what push --device asked: the device follows its group again", Args: args(cobra.ExactArgs(1)),
		Long: "Takes a slot out of the device's own desired document; what else is in it stays. A device that is offline hears of it when it is back. Where the group asks for nothing, it keeps what it runs.",
		RunE: func(c *cobra.Command, names []string) error {
			if !message.IsSlot(slot) {
				return usage("release: --slot %q: use a-z, 0-9, _ and -", slot)
			}
			return a.withManager(c.Context(), f, func(ctx context.Context, m *fleet.Manager, _ *fleet.Inventory, _ string) error {
				rev, err := m.ReleaseDevice(ctx, names[0], slot)
				if err != nil {
					return err
				}
				how := "already"
				if rev > 0 {
					how = fmt.Sprintf("again, as rev %d of its own document says", rev)
				}
				return a.say(released{names[0], slot, rev}, "%s follows its group in slot %s %s\n", names[0], slot, how)
			})
		}}
	c.Flags().StringVar(&slot, "slot", "main", "the `slot` that is to follow")
	return f.flags(c)
}

func (a *app) fleetResume() *cobra.Command {
	f := &fleetFlags{}
	o, most := fleet.ResumeOptions{}, 0
	c := &cobra.Command{Use: "resume", Short: "Go on with the rollout of a group, where it is", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("max-failed") {
				o.MaxFailed = &most
			}
			return a.withManager(c.Context(), f, func(ctx context.Context, m *fleet.Manager, _ *fleet.Inventory, group string) error {
				if err := m.Resume(ctx, o); err != nil {
					return a.left(ctx, err, m, group)
				}
				return a.drive(ctx, m, group, false)
			})
		}}
	c.Flags().BoolVar(&o.TakeOver, "take-over", false, "also if another manager seems to be at it; that one stops")
	c.Flags().IntVar(&most, "max-failed", 0, "a new limit, after it stopped by itself")
	return f.flags(c)
}

func (a *app) fleetPause() *cobra.Command {
	f := &fleetFlags{}
	var reason string
	c := &cobra.Command{Use: "pause", Short: "Stop the waves of a group's rollout where they are", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withManager(c.Context(), f, func(ctx context.Context, m *fleet.Manager, _ *fleet.Inventory, _ string) error {
				if err := m.Pause(ctx, reason); err != nil {
					return err
				}
				r := m.Rollout()
				return a.say(r, "%s is paused at %g%%; devices already selected go on\n", r.Target, r.Percent())
			})
		}}
	c.Flags().StringVar(&reason, "reason", "", "why, for the others")
	return f.flags(c)
}

func (a *app) fleetAbort() *cobra.Command {
	f := &fleetFlags{}
	var back bool
	var to string
	c := &cobra.Command{Use: "abort", Short: "Give a group's rollout up; with --rollback everybody goes back", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if to != "" && !back {
				return usage("abort: --to belongs to --rollback")
			}
			return a.withManager(c.Context(), f, func(ctx context.Context, m *fleet.Manager, _ *fleet.Inventory, _ string) error {
				if err := m.Abort(ctx, back, to); err != nil {
					return err
				}
				r := m.Rollout()
				if back {
					return a.say(r, "the group is told to run %s (rev %d); heron fleet ls shows how it comes about\n", r.Previous, r.At.Rev)
				}
				others := ""
				if r.Previous == "" {
					others = fmt.Sprintf(", and no other is asked: slot %s was asked for nothing before", r.Slot)
				}
				return a.say(r, "given up at %g%%; devices that have %s keep it%s\n", r.Percent(), r.Target, others)
			})
		}}
	c.Flags().BoolVar(&back, "rollback", false, "tell the group to run the target before; devices have kept it")
	c.Flags().StringVar(&to, "to", "", "that `target`, where none was asked for before")
	return f.flags(c)
}

func (a *app) fleetRollout() *cobra.Command {
	f := &fleetFlags{}
	c := &cobra.Command{Use: "rollout", Short: "How a group's rollout stands, and who decided what", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withManager(c.Context(), f, func(_ context.Context, _ *fleet.Manager, inv *fleet.Inventory, group string) error {
				_, r, err := inv.Group(group)
				if err != nil {
					return err
				}
				if r == nil {
					return fmt.Errorf("there is no rollout in group %s", group)
				}
				r.Counts, _ = r.Count(group, inv.Devices())
				if a.json {
					return json.NewEncoder(a.out).Encode(r)
				}
				cv := newCanvas(a.out).still()
				lines := rolloutLines(cv, group, *r, inv.Devices(), time.Now())
				for _, e := range r.History {
					lines = append(lines, harmless(fmt.Sprintf("%s  %s: %s", clockTime(e.At), e.Who, e.What)))
				}
				return cv.redraw(lines)
			})
		}}
	return f.flags(c)
}
