package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heron/sync/fleet"
	"heron/sync/message"
)

// fleetRow is one device in heron fleet ls.
type fleetRow struct {
	Group    string           `json:"group"`
	Device   string           `json:"device"`
	State    string           `json:"state"` // online, offline, updating, unknown
	Agent    string           `json:"agent,omitempty"`
	Models   []fleetModel     `json:"models"`
	Rev      int64            `json:"rev"`
	GroupRev int64            `json:"group_rev"`
	Backlog  *message.Backlog `json:"backlog,omitempty"` // where health was heard
	LastSeen time.Time        `json:"last_seen,omitzero"`
	Problems []string         `json:"problems"`
}

type fleetModel struct {
	Slot    string `json:"slot"`
	Model   string `json:"model"` // name@version; none
	Engine  string `json:"engine,omitempty"`
	Target  string `json:"target,omitempty"` // wanted
	Step    string `json:"step,omitempty"`
	Percent int    `json:"percent,omitempty"`

	Decision string `json:"decision,omitempty"` // at waiting: for what
}

func (a *app) fleetLs() *cobra.Command {
	f := &fleetFlags{}
	var watch bool
	var wait time.Duration
	c := &cobra.Command{Use: "ls", Short: "The devices: state, models, backlog, problems", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := f.config()
			if err != nil {
				return err
			}
			return a.withInventory(c.Context(), conf, func(ctx context.Context, l *fleet.Link, inv *fleet.Inventory) error {
				if watch {
					return a.watchDevices(ctx, l, inv)
				}
				if wait > 0 {
					listen(ctx, wait)
				}
				return a.printDevices(inv.Devices())
			})
		}}
	c.Flags().BoolVar(&watch, "watch", false, "go on until a signal ends it")
	c.Flags().DurationVar(&wait, "for", 0, "listen so long before answering: health comes once a minute, and with it the backlog")
	return f.flags(c)
}

func (a *app) printDevices(devices []fleet.Device) error {
	if a.json {
		rows := []fleetRow{}
		for _, d := range devices {
			rows = append(rows, rowOf(d))
		}
		return json.NewEncoder(a.out).Encode(rows)
	}
	cv := newCanvas(a.out).still()
	return cv.redraw(deviceLines(cv, devices, time.Now()))
}

// watchDevices redraws on a terminal; elsewhere it prints a line for each device that changed. Now and then it asks the broker for all
// that it has kept, since a message can be missed; each time it waits twice as long, at most five minutes.
func (a *app) watchDevices(ctx context.Context, l *fleet.Link, inv *fleet.Inventory) error {
	cv, before := newCanvas(a.out), map[string]string{}
	asked, patience := time.Now(), 15*time.Second
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var err error
		if cv.live && !a.json {
			err = cv.redraw(deviceLines(cv, inv.Devices(), time.Now()))
		} else {
			err = a.changedDevices(inv.Devices(), before)
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if time.Since(asked) > patience {
			bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
			_ = l.Refresh(bounded) // without a link there is nothing to ask
			cancel()
			asked, patience = time.Now(), min(2*patience, 5*time.Minute)
		}
	}
}

func (a *app) changedDevices(devices []fleet.Device, before map[string]string) error {
	for _, d := range devices {
		row := rowOf(d)
		seen := row.LastSeen
		row.LastSeen = time.Time{} // that it was heard is no change
		b, err := json.Marshal(row)
		if err != nil {
			return err
		}
		key := d.Group + "/" + d.ID
		if before[key] == string(b) {
			continue
		}
		before[key] = string(b)
		if row.LastSeen = seen; a.json {
			err = json.NewEncoder(a.out).Encode(row)
		} else {
			_, err = fmt.Fprintln(a.out, time.Now().UTC().Format(message.TimeFormat), strings.Join(texts(deviceCells(row, time.Now())), " "))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func texts(row []cell) (out []string) {
	for _, c := range row {
		out = append(out, cmp.Or(c.text, "-"))
	}
	return out
}

func deviceLines(cv *canvas, devices []fleet.Device, now time.Time) []string {
	rows := [][]cell{heads("DEVICE", "STATE", "MODEL", "ENGINE", "STEP", "REV", "BACKLOG", "SEEN", "PROBLEMS")}
	online := 0
	for _, d := range devices {
		if d.Online() {
			online++
		}
		rows = append(rows, deviceCells(rowOf(d), now))
	}
	return append(cv.table(rows), fmt.Sprintf("%d devices, %d online", len(devices), online))
}

func heads(names ...string) (row []cell) {
	for _, n := range names {
		row = append(row, cell{n, faint})
	}
	return row
}

func deviceCells(r fleetRow, now time.Time) []cell {
	state := map[string]string{"online": green, "offline": red, "updating": yellow}[r.State]
	var models, engines, steps []string
	for _, m := range r.Models {
		name := m.Model
		if len(r.Models) > 1 {
			name = m.Slot + "=" + name
		}
		models, engines, steps = append(models, name), append(engines, cmp.Or(m.Engine, "-")), append(steps, stepWord(m))
	}
	backlog := "-"
	if r.Backlog != nil {
		backlog = fmt.Sprint(r.Backlog.Records)
	}
	rev := fmt.Sprint(r.GroupRev)
	if r.Rev > 0 {
		rev += fmt.Sprintf("+%d", r.Rev)
	}
	return []cell{{r.Group + "/" + r.Device, plain}, {r.State, state}, {strings.Join(models, " "), plain}, {strings.Join(slices.Compact(engines), " "), plain},
		{strings.Join(slices.Compact(steps), " "), plain}, {rev, plain}, {backlog, plain}, {ago(r.LastSeen, now), plain}, {strings.Join(r.Problems, "; "), yellow}}
}

func stepWord(m fleetModel) string {
	if m.Percent > 0 {
		return fmt.Sprintf("%s %d%%", m.Step, m.Percent)
	}
	if m.Decision != "" {
		return m.Step + " (" + m.Decision + ")"
	}
	return cmp.Or(m.Step, "-")
}

func rowOf(d fleet.Device) fleetRow {
	r := fleetRow{Group: d.Group, Device: d.ID, State: "unknown", Models: []fleetModel{}, LastSeen: d.LastSeen, Problems: problems(d)}
	if d.State != nil {
		r.State, r.Agent = harmless(d.State.Status), harmless(d.State.Agent)
	}
	if d.Health != nil {
		r.Backlog = &d.Health.Backlog
	}
	if d.Reported == nil {
		return r
	}
	r.Rev, r.GroupRev = d.Reported.Rev, d.Reported.GroupRev
	for _, s := range d.Reported.Slots {
		m := fleetModel{Slot: harmless(s.Slot), Model: modelName(s.Active), Target: harmless(s.Target), Step: harmless(s.Step), Percent: s.Percent, Decision: harmless(s.Decision)}
		if s.Active != nil {
			m.Engine = harmless(s.Active.Engine)
		}
		r.Models = append(r.Models, m)
	}
	return r
}

func modelName(m *message.ReportedModel) string {
	if m == nil {
		return "none"
	}
	if m.Name == "" { // on its way, and not read yet
		return harmless(m.Target)
	}
	return harmless(m.Name + "@" + m.Version)
}

// problems of a device, each in a few words.
func problems(d fleet.Device) []string {
	out := []string{}
	if d.Reported != nil {
		if d.Reported.Error != "" {
			out = append(out, harmless(d.Reported.Error))
		}
		if f := d.Reported.Firmware; f != nil && f.Error != "" {
			out = append(out, harmless(fmt.Sprintf("firmware %s %s: %s", f.Target, f.State, f.Error)))
		}
		for _, s := range d.Reported.Slots {
			if slices.Contains([]string{message.StepRefused, message.StepRolledBack, message.StepFailed}, s.Step) {
				out = append(out, harmless(fmt.Sprintf("%s %s: %s", s.Target, s.Step, fleet.Reason(s))))
			} else if s.Error != "" && s.Step != message.StepWaiting { // a step that does not succeed
				out = append(out, harmless(s.Error))
			}
		}
		if h := d.Reported.Hold; h != nil && h.Until.After(time.Now()) {
			out = append(out, harmless(fmt.Sprintf("held by %s until %s", cmp.Or(h.By, "a technician"), h.Until.Format("2006-01-02 15:04 MST"))))
		}
	}
	if d.Health != nil && d.Health.State != "ok" {
		out = append(out, harmless(d.Health.State+": "+strings.Join(d.Health.Reasons, ", ")))
	}
	for _, key := range slices.Sorted(maps.Keys(d.Alarms)) {
		out = append(out, harmless("alarm: "+d.Alarms[key].Text))
	}
	return append(out, d.Problems...)
}

// harmless keeps what a device wrote from doing anything to a terminal.
func harmless(s string) string { return fleet.Clean(s) }
