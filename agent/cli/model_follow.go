package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"heron/agent"
	"heron/agent/status"
	allowance "heron/sync/budget"
	"heron/sync/models"
)

const (
	followEvery = 250 * time.Millisecond
	awayFor     = time.Minute // the service may restart while somebody waits
)

// follower waits until an order has come to its end, from what the slot says.
type follower struct {
	slot, target string
	before       agent.ControlSlot // as the order came
	rollback     bool
	untilLive    bool
	lost         int // looks at which something else was on its way
}

// end says whether the order is at its end, and what it came to.
func (f *follower) end(s agent.ControlSlot) (done bool, err error) {
	last := s.Last
	fresh := last != nil && (f.before.Last == nil || !last.When.Equal(f.before.Last.When))
	if f.rollback {
		onlyOnItsWay := f.before.Active == nil || f.before.Active.Digest == "" // nothing to go back from
		return fresh && s.Target == "" && (last.Step == models.StepRolledBack || onlyOnItsWay), nil
	}
	switch {
	case fresh && last.Target == f.target && last.Step == models.StepConfirmed:
		return true, nil
	case fresh && last.Target == f.target:
		return true, fmt.Errorf("%s was %s%s: %s; slot %s runs %s", f.target, strings.ReplaceAll(string(last.Step), "-", " "), tag(last.Stop), last.Reason, s.Slot, modelText(s.Active))
	case f.untilLive && s.Step == models.StepProbation && s.Active != nil && s.Active.Target == f.target && s.Target == "":
		return true, nil
	}
	if f.lost++; s.Target == f.target || !fresh || last.Step == models.StepSuperseded {
		f.lost = 0
	}
	if f.lost > 20 {
		return true, fmt.Errorf("something else took the place of %s; heron model list shows it", f.target)
	}
	return false, nil
}

// taken says that the slot works on the order: before, it says how it was.
func (f *follower) taken(s *agent.ControlSlot) bool {
	return s.Target != "" && (f.target == "" || s.Target == f.target) || f.target != "" && s.Step == models.StepProbation && s.Active != nil && s.Active.Target == f.target
}

// modelText is name@version, or what is known instead.
func modelText(b *models.Bundle) string {
	switch {
	case b == nil:
		return "no model"
	case b.Model != "":
		return b.Model
	case b.Target != "":
		return b.Target
	case b.Digest != "":
		return b.Digest
	}
	return "the configured bundle"
}

// follow prints a line for each step until the order is at its end.
func (a *app) follow(ctx context.Context, l *serviceLink, f *follower) error {
	look := time.NewTicker(followEvery)
	defer look.Stop()
	shown, seen := "", time.Now()
	for {
		s, err := l.slotNow(ctx, f.slot)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("not waited for the end: the service goes on; heron model list shows how it comes out")
		case err != nil && time.Since(seen) > awayFor:
			return fmt.Errorf("the service does not answer any more; what it began goes on when it runs again: %w", err)
		case err == nil:
			seen = time.Now()
			done, verdict := f.end(*s)
			if line := stepLine(s, 10); line != shown && (done || f.taken(s)) && verdict == nil {
				shown = line
				if err := a.say(s, "%s\n", line); err != nil {
					return err
				}
			}
			if done {
				return verdict
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
		}
	}
}

func (l *serviceLink) slotNow(ctx context.Context, name string) (*agent.ControlSlot, error) {
	var all agent.ControlModels
	if err := l.order(ctx, "", nil, &all); err != nil {
		return nil, err
	}
	for _, s := range all.Slots {
		if s.Slot == name {
			return &s, nil
		}
	}
	return nil, fmt.Errorf("slot %s is not there any more; the service was started with another configuration", name)
}

// stepLine is where a slot is. Percent go by steps of so many: one line for each look would be too much.
func stepLine(s *agent.ControlSlot, step int) string {
	b := strings.Builder{}
	b.WriteString(s.Slot + ": ")
	switch {
	case s.Target != "":
		fmt.Fprintf(&b, "%s %s", s.Target, s.Step)
		if s.Doing != "" {
			b.WriteString(", " + s.Doing)
		}
		if s.Percent > 0 {
			fmt.Fprintf(&b, " %d %%", s.Percent/step*step)
		}
	case s.Step == models.StepProbation:
		fmt.Fprintf(&b, "%s is live, on probation", modelText(s.Active))
	default:
		fmt.Fprintf(&b, "%s is live", modelText(s.Active))
		if s.Step != "" {
			fmt.Fprintf(&b, "; the last was %s", strings.ReplaceAll(string(s.Step), "-", " "))
		}
	}
	if s.Deferred != "" {
		b.WriteString("; waits: " + s.Deferred)
		if strings.HasPrefix(s.Deferred, "on hold") {
			b.WriteString(" (heron model release ends it)")
		}
	}
	if s.Error != "" {
		b.WriteString("; to be tried again: " + s.Error)
	}
	return b.String()
}

func (a *app) modelList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "The models of this device: what runs, what is on its way, what is refused", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := a.service()
			if err != nil {
				return err
			}
			var all agent.ControlModels
			if err := l.order(c.Context(), "", nil, &all); err != nil {
				return err
			}
			return a.say(all, "%s", modelsText(&all))
		}}
}

func modelsText(all *agent.ControlModels) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	for _, s := range all.Slots {
		row("slot "+s.Slot, "%s", bundleText(s.Active))
		row("  before", "%s", bundleText(s.Previous))
		switch {
		case s.Target != "":
			row("  on its way", "%s", strings.TrimPrefix(stepLine(&s, 1), s.Slot+": "))
		case s.Step == models.StepProbation:
			row("  probation", "another %s", seconds(s.ProbationS))
		}
		if s.Rev > 0 {
			row("  rev", "%d", s.Rev)
		}
		if s.Last != nil && s.Last.Step != "" {
			row("  last", "%s %s %s%s%s", s.Last.When.Local().Format(time.DateTime), s.Last.Target, s.Last.Step, tag(s.Last.Stop), colon(s.Last.Reason))
		}
		if s.Trouble != "" {
			row("  trouble", "%s", s.Trouble)
		}
		for _, r := range all.Refused {
			if r.Slot == s.Slot {
				row("  refused", "%.12s %s%s: %s", r.Digest, r.Target, tag(r.Stop), r.Reason)
			}
		}
	}
	if all.Budget != nil {
		row("updates", "%s", spentText(all.Budget))
	}
	if !all.HoldUntil.IsZero() {
		row("hold", "until %s; heron model release ends it", all.HoldUntil.Local().Format(time.DateTime))
	}
	if err := w.Flush(); err != nil { // a strings.Builder takes everything
		return err.Error()
	}
	return b.String()
}

// spentText is what updates cost, and over which link they come.
func spentText(b *status.Budget) string {
	var said []string
	for _, p := range []struct {
		spent, most int64
		when        string
	}{{b.Day, b.PerDay, "today"}, {b.Month, b.PerMonth, "this month"}} {
		if p.most > 0 {
			said = append(said, fmt.Sprintf("%s of %s %s", allowance.Amount(p.spent), allowance.Amount(p.most), p.when))
		}
	}
	if b.Link != "" {
		said = append(said, "over "+b.Link)
	}
	if b.Metered {
		said = append(said, "which is metered")
	}
	if b.Trouble != "" {
		said = append(said, b.Trouble)
	}
	if len(said) == 0 {
		return "no bound but the rate"
	}
	return strings.Join(said, ", ")
}

func bundleText(m *models.Bundle) string {
	s := modelText(m)
	if m != nil && m.Engine != "" {
		s += " on " + m.Engine
	}
	if m != nil && m.Digest != "" {
		s += fmt.Sprintf(" (%.12s, %s)", m.Digest, m.Target)
	}
	return s
}

// tag is the step that stopped a model, and by what.
func tag(s models.Stop) string {
	if s.Stopped == "" {
		return ""
	}
	return " [" + s.Where() + "]"
}

func colon(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}
