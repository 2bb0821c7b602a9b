package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"heron/inference"
	"heron/sync/fleet"
	"heron/sync/message"
)

func (a *app) fleetShow() *cobra.Command {
	f := &fleetFlags{}
	var wait time.Duration
	c := &cobra.Command{Use: "show DEVICE", Short: "Everything known of one device, and why its last model was refused", Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			conf, err := f.config()
			if err != nil {
				return err
			}
			return a.withInventory(c.Context(), conf, func(ctx context.Context, _ *fleet.Link, inv *fleet.Inventory) error {
				if wait > 0 {
					listen(ctx, wait)
				}
				d, err := inv.Find(conf.Group, list[0])
				if err != nil {
					return err
				}
				if a.json {
					return json.NewEncoder(a.out).Encode(d)
				}
				_, err = fmt.Fprint(a.out, deviceText(d, time.Now()))
				return err
			})
		}}
	c.Flags().DurationVar(&wait, "for", 0, "listen so long before answering, for health and alarms")
	return f.flags(c)
}

// deviceText is heron fleet show.
func deviceText(d fleet.Device, now time.Time) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, harmless(fmt.Sprintf(format, args...)))
	}
	row("device", "%s/%s", d.Group, d.ID)
	if s := d.State; s != nil {
		row("state", "%s since %s (%s), heron %s, connection %d", s.Status, clockTime(s.Since), s.Reason, s.Agent, s.Session)
	} else {
		row("state", "unknown: it has never said so")
	}
	if d.State == nil && d.Info == nil && d.Reported == nil && d.LastSeen.IsZero() {
		row("last seen", "never")
	} else {
		row("last seen", "%s", timeAgo(d.LastSeen, now))
	}
	showInfo(row, d.Info)
	if d.Desired != nil {
		nothing := ""
		if len(d.Desired.Models) == 0 && d.Desired.Config == nil && d.Desired.Firmware == nil {
			nothing = ": asks for nothing"
		}
		row("own desired", "rev %d by %s, %s%s", d.Desired.Rev, cmp.Or(d.Desired.IssuedBy, "somebody"), clockTime(d.Desired.IssuedAt), nothing)
	}
	showReported(row, d.Reported)
	showHealth(row, d.Health, now)
	for _, key := range slices.Sorted(maps.Keys(d.Alarms)) {
		row("alarm", "%s: %s%s", d.Alarms[key].Severity, d.Alarms[key].Text, next(d.Alarms[key].NextStep))
	}
	for _, p := range d.Problems {
		row("unreadable", "%s", p)
	}
	w.Flush()
	return b.String()
}

type rowFunc func(name, format string, args ...any)

func showInfo(row rowFunc, i *message.Info) {
	if i == nil {
		return
	}
	row("machine", "%s, %s, %s", cmp.Or(i.Hardware, "unknown"), cmp.Or(i.OS, "unknown"), i.Arch)
	for _, c := range i.Cameras {
		row("camera "+harmless(c.Name), "%s", c.Source)
	}
	for _, e := range i.Engines {
		name := "engine " + harmless(inference.Choice(e.Engine, e.Device))
		switch {
		case e.Usable && e.InUse:
			row(name, "in use %s", e.Version)
		case e.Usable:
			row(name, "usable %s", e.Version)
		default:
			row(name, "not usable: %s", e.Reason)
		}
	}
	if len(i.Commands) > 0 {
		row("commands", "%s", strings.Join(i.Commands, ", "))
	}
}

func showReported(row rowFunc, r *message.Reported) {
	if r == nil {
		row("reported", "nothing yet")
		return
	}
	row("reported", "%s: answers rev %d of its group's desired document, rev %d of its own", clockTime(r.At), r.GroupRev, r.Rev)
	if r.Error != "" {
		row("", "cannot read: %s", r.Error)
	}
	for _, s := range r.Slots {
		showSlot(row, s)
	}
	if c := r.Config; c != nil {
		row("config", "rev %d %s %s", c.Rev, c.State, c.Error)
	}
	if fw := r.Firmware; fw != nil {
		row("firmware", "%s %s %s", fw.Target, fw.State, fw.Error)
	}
	if h := r.Hold; h != nil {
		row("hold", "until %s by %s: %s", clockTime(h.Until), cmp.Or(h.By, "a technician"), cmp.Or(h.Reason, "no reason given"))
	}
}

func showSlot(row rowFunc, s message.ReportedSlot) {
	runs := modelName(s.Active)
	if s.Active != nil {
		runs += " on " + cmp.Or(s.Active.Engine, "no engine")
		if s.Active.Digest == "" {
			runs += ", as its configuration says"
		} else {
			runs += fmt.Sprintf(" since %s, digest %.12s", clockTime(s.Active.Since), s.Active.Digest)
		}
	}
	row("slot "+harmless(s.Slot), "runs %s", runs)
	if s.Target != "" {
		row("", "wants %s (%s rev %d): %s", s.Target, cmp.Or(s.Source, "somebody"), s.Rev, stepWord(fleetModel{Step: s.Step, Percent: s.Percent, Decision: s.Decision}))
	}
	if s.Error != "" {
		row("", "because %s", s.Error)
	}
	if s.Staged != nil {
		row("", "staged %s", modelName(s.Staged))
	}
	if s.Previous != nil {
		row("", "previous %s", modelName(s.Previous))
	}
	for i, r := range s.Refused {
		if i == 0 {
			row("", "last refusal %s %s: %s", r.Target, clockTime(r.At), fleet.RefusalLine(r))
		} else {
			row("", "refused %s %s: %s", r.Target, clockTime(r.At), fleet.RefusalLine(r))
		}
	}
}

func showHealth(row rowFunc, h *message.HealthRecord, now time.Time) {
	if h == nil {
		return
	}
	row("health", "%s, %s, up %s %s", h.State, timeAgo(h.T, now), seconds(float64(h.UptimeS)), strings.Join(h.Reasons, ", "))
	row("backlog", "%d records, %d bytes, oldest %d s", h.Backlog.Records, h.Backlog.Bytes, h.Backlog.OldestS)
}

// timeAgo is ago as part of a sentence.
func timeAgo(t, now time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	return ago(t, now) + " ago"
}

func clockTime(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}
