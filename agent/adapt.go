package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"heron/agent/board"
	"heron/vision"
)

// adapter fits the work to the board: once a second it reads the board, judges it together with the models' latency, and tells
// heron-vision how often to classify. Its fields below mu are guarded by Agent.mu.
type adapter struct {
	reader   *board.Reader
	governor *board.Governor
	pace     func(map[string]float64) // vision.Client.SetPace

	// Under Agent.mu:
	state    board.State
	orders   []board.Order
	troubles []board.Trouble
	busy     map[string]*busy // by slot
	rates    map[string]*rate // by camera
}

// busy is what classifying took since the last second.
type busy struct {
	engine string
	sum    time.Duration
	n      int
}

// rate is how many frames a second a camera delivers, smoothed.
type rate struct {
	read   uint64 // the camera's counter at the last reading
	at     time.Time
	smooth float64
}

func (a *Agent) buildBoard() error {
	a.fit = adapter{reader: board.New(board.Config{}), governor: board.NewGovernor(a.conf.Board.Hot, *a.conf.Board.Adapt), pace: a.vision.SetPace,
		busy: map[string]*busy{}, rates: map[string]*rate{}}
	return nil
}

// adapt looks after the board once a second.
func (a *Agent) adapt(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		a.fitOnce(time.Now(), a.fit.reader.Read(ctx, time.Now()), a.vision.Stats().Cameras)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// fitOnce judges the board's state and the latest second, and passes the orders on.
func (a *Agent) fitOnce(now time.Time, state board.State, cameras []vision.CameraStats) {
	f := &a.fit
	a.mu.Lock()
	l := board.Load{Board: state, Slots: f.slots(), Cameras: f.cameras(now, a.conf, cameras)}
	f.state = state
	f.orders, f.troubles = f.governor.Step(now, l)
	bounds := map[string]float64{}
	for _, o := range f.orders {
		if o.Slowed() {
			bounds[o.Camera] = o.FPS
		}
	}
	a.mu.Unlock()
	f.pace(bounds)
}

// saw notes how long a classification kept its model busy.
func (f *adapter) saw(o vision.Observation) {
	if o.Error != "" || len(o.Top) == 0 {
		return // not classified, or not in a way that says how long it takes
	}
	b := f.busy[o.Slot]
	if b == nil || b.engine != o.Engine {
		b = &busy{engine: o.Engine}
		f.busy[o.Slot] = b
	}
	b.sum += time.Duration((o.LatMS + o.PrepMS) * float64(time.Millisecond))
	b.n++
}

// slots are the means since the last second.
func (f *adapter) slots() (out []board.SlotLoad) {
	for _, slot := range slices.Sorted(maps.Keys(f.busy)) {
		b := f.busy[slot]
		s := board.SlotLoad{Slot: slot, Engine: b.engine}
		if b.n > 0 {
			s.Latency = b.sum / time.Duration(b.n)
		}
		b.sum, b.n = 0, 0
		out = append(out, s)
	}
	return out
}

// cameras are those that run and are classified.
func (f *adapter) cameras(now time.Time, conf Config, stats []vision.CameraStats) (out []board.CameraLoad) {
	for _, c := range conf.Cameras {
		m := slices.IndexFunc(conf.Models, func(m Model) bool { return slices.Contains(m.Cameras, c.Name) })
		i := slices.IndexFunc(stats, func(s vision.CameraStats) bool { return s.Name == c.Name })
		if m < 0 || i < 0 {
			continue
		}
		r := f.rates[c.Name]
		if r == nil {
			r = &rate{}
			f.rates[c.Name] = r
		}
		r.take(now, stats[i].Read)
		out = append(out, board.CameraLoad{Name: c.Name, Slot: conf.Models[m].Slot, FPS: *c.FPS, Rate: r.smooth, Live: stats[i].Live})
	}
	return out
}

// take notes the camera's counter. A new heron-vision counts from zero.
func (r *rate) take(now time.Time, read uint64) {
	d := now.Sub(r.at).Seconds()
	if !r.at.IsZero() && read > r.read && d > 0.1 && d < 5 {
		fps := float64(read-r.read) / d
		if r.smooth == 0 {
			r.smooth = fps
		}
		r.smooth += (fps - r.smooth) / 8
	}
	r.read, r.at = read, now
}

// order is the camera's; the zero Order where there is none.
func (f *adapter) order(camera string) board.Order {
	for _, o := range f.orders {
		if o.Camera == camera {
			return o
		}
	}
	return board.Order{}
}

// mend is what a technician can do against each trouble.
func mend(code string) string {
	switch code {
	case board.CodeHot:
		return "clean the fan and the vents, or give the board shade or a heat sink; board.hot says from which temperature on this is told"
	case board.CodeThrottled:
		return "cool the board, and use the power supply that is made for it"
	case board.CodeUnderVoltage:
		return "use the power supply that is made for this board, and a short thick cable; unplug what draws power from it"
	case board.CodeStarved:
		return "raise CPUQuota= of heron.service, or set a lower fps"
	case board.CodeSlow:
		return "see what else uses the processor, and whether the board or the accelerator is hot"
	}
	return ""
}

// assessBoard says what the board suffers from and which cameras are slowed because of it.
func assessBoard(f facts) (out []reason) {
	for _, t := range f.troubles {
		out = append(out, reason{Code: t.Code, Severity: "warning", Text: t.Text, NextStep: mend(t.Code)})
	}
	for _, o := range f.orders {
		if !o.Slowed() {
			continue
		}
		next := "the rate goes up again by itself"
		if len(o.Codes) > 0 && mend(o.Codes[0]) != "" {
			next = mend(o.Codes[0]) + "; " + next
		}
		out = append(out, reason{Code: "slowed-down", Camera: o.Camera, Severity: "warning", NextStep: next,
			Text: fmt.Sprintf("%s: %s of %s fps since %s, %s", o.Camera, fpsText(o.FPS), fpsText(o.Wanted), o.Since.UTC().Format("15:04:05 UTC"), o.Why)})
	}
	return out
}

// fpsText has one decimal where it says something.
func fpsText(fps float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", fps), ".0") }
