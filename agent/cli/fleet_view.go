package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"heron/sync/fleet"
)

// rolloutView shows a rollout on its way: a table in one place on a terminal, a line for each change elsewhere.
type rolloutView struct {
	a     *app
	cv    *canvas
	group string
	last  string
	told  int             // decisions of the history that were printed
	held  map[string]bool // what devices wait for, as printed
	drawn time.Time
	late  func() // what was not drawn, since it came too soon after the last
}

func newRolloutView(a *app, group string) *rolloutView {
	return &rolloutView{a: a, cv: newCanvas(a.out), group: group}
}

func (v *rolloutView) show(r fleet.Rollout, devices []fleet.Device) {
	if v.cv.live && !v.a.json {
		draw := func() { _ = v.cv.redraw(rolloutLines(v.cv, v.group, r, devices, time.Now())) }
		if v.late = draw; time.Since(v.drawn) > 200*time.Millisecond || r.State != fleet.Running {
			draw()
			v.drawn, v.late = time.Now(), nil
		}
		return
	}
	v.decisions(r)
	v.waits(r, devices)
	line := fmt.Sprintf("wave %d/%d %g%% %s: %s", r.At.Wave+1, len(r.Plan.Percent), r.Percent(), r.State, r.Counts)
	if line == v.last {
		return
	}
	v.last = line
	if v.a.json {
		_ = json.NewEncoder(v.a.out).Encode(r)
		return
	}
	fmt.Fprintln(v.a.out, time.Now().UTC().Format("15:04:05Z"), line)
}

// decisions prints those made since the last look; of a rollout that is gone on with, only the newest.
func (v *rolloutView) decisions(r fleet.Rollout) {
	if v.told == 0 {
		v.told = max(0, len(r.History)-1)
	}
	for _, e := range r.History[min(v.told, len(r.History)):] {
		if !v.a.json {
			fmt.Fprintln(v.a.out, e.At.UTC().Format("15:04:05Z"), harmless(e.Who+": "+e.What))
		}
	}
	v.told = len(r.History)
}

// waits prints what selected devices wait for, each reason once: nothing else would say that a target is not in the repository.
func (v *rolloutView) waits(r fleet.Rollout, devices []fleet.Device) {
	const most = 20
	if r.Counts.Devices == 0 && v.last == "" && !v.a.json {
		fmt.Fprintln(v.a.errOut, "heron: no device of group", v.group, "has ever said anything here; heron fleet ls lists those that have")
	}
	for _, d := range devices {
		f := r.Fate(d)
		if d.Group != v.group || f.Outcome != fleet.Pending || f.Detail == "" || v.held[f.Detail] || len(v.held) >= most || v.a.json {
			continue
		}
		if v.held == nil {
			v.held = map[string]bool{}
		}
		v.held[f.Detail] = true
		fmt.Fprintln(v.a.out, time.Now().UTC().Format("15:04:05Z"), harmless(d.ID+" "+f.Step+": "+f.Detail))
	}
}

func (v *rolloutView) flush() {
	if v.late != nil {
		v.late()
	}
}

// rolloutLines are the table of a rollout: waves, then the devices that are not simply done, worst first.
func rolloutLines(cv *canvas, group string, r fleet.Rollout, devices []fleet.Device, now time.Time) []string {
	head := fmt.Sprintf("%s in slot %s of group %s: %s", r.Target, r.Slot, group, r.State)
	if r.Reason != "" {
		head += ": " + r.Reason
	}
	lines := []string{cv.fit(harmless(head))}
	rows := [][]cell{}
	for i, p := range r.Plan.Percent {
		row := []cell{{fmt.Sprintf("  wave %d", i+1), faint}, {fmt.Sprintf("%g%%", p), plain}, {"waits", faint}}
		switch {
		case i < r.At.Wave:
			row[2] = cell{"done", green}
		case i == r.At.Wave && r.State == fleet.Done:
			row[2] = cell{"done " + r.Counts.String(), green}
		case i == r.At.Wave:
			row[2] = cell{bar(r) + "  " + r.Counts.String() + waitLeft(r, now), plain}
		}
		rows = append(rows, row)
	}
	lines = append(lines, cv.table(rows)...)
	return append(lines, cv.table(fateRows(group, r, devices))...)
}

// bar of the selected devices that have confirmed.
func bar(r fleet.Rollout) string {
	const wide = 20
	n := 0
	if r.Counts.Selected > 0 {
		n = wide * r.Counts.Confirmed / r.Counts.Selected
	}
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", wide-n) + "]"
}

func waitLeft(r fleet.Rollout, now time.Time) string {
	left := time.Duration(r.Plan.Wait) - now.Sub(r.At.Since)
	if r.State != fleet.Running || left <= 0 {
		return ""
	}
	return ", wait " + left.Round(time.Second).String()
}

// fateRows are the devices of interest, at most 15.
func fateRows(group string, r fleet.Rollout, devices []fleet.Device) [][]cell {
	type entry struct {
		worth int
		row   []cell
	}
	var list []entry
	for _, d := range devices {
		if d.Group != group {
			continue
		}
		f := r.Fate(d)
		color, worth := plain, 0
		switch f.Outcome {
		case fleet.Failed, fleet.RefusedIt, fleet.WentBack:
			color, worth = red, 2
		case fleet.Pending:
			color, worth = yellow, 1
		default:
			continue
		}
		detail := f.Detail
		if !d.Online() {
			detail = strings.TrimSpace("offline " + detail)
		}
		list = append(list, entry{worth, []cell{{"  " + d.ID, plain}, {string(f.Outcome), color}, {stepWord(fleetModel{Step: harmless(f.Step), Percent: f.Percent}), plain}, {harmless(detail), plain}}})
	}
	slices.SortStableFunc(list, func(a, b entry) int { return b.worth - a.worth })
	const most = 15
	var rows [][]cell
	for _, e := range list[:min(len(list), most)] {
		rows = append(rows, e.row)
	}
	if over := len(list) - most; over > 0 {
		rows = append(rows, []cell{{fmt.Sprintf("  and %d more", over), faint}})
	}
	return rows
}
