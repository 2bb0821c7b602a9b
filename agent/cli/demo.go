package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"heron/agent"
	"heron/agent/diag"
	"heron/agent/status"
	"heron/demo"
	"heron/vision"
)

func (a *app) demoCommand() *cobra.Command {
	var o demo.Options
	c := &cobra.Command{
		Use: "demo", Short: "See it work: a drawn bottling line, a real model, a broker to take away and bring back", Args: args(cobra.NoArgs),
		Long: "The demo draws a bottling line, serves it as a live MJPEG camera, classifies it with a real model through the same path as the service,\n" +
			"and delivers the results to a broker of its own. Nothing leaves this machine. With --for, or without a terminal, it takes the broker away\n" +
			"for the middle third by itself and ends with a summary: 0 when all was right and nothing was lost, else 1.",
		RunE: func(c *cobra.Command, _ []string) error { return a.demo(c.Context(), o) },
	}
	c.Flags().DurationVar(&o.For, "for", 0, "end by itself after this long")
	c.Flags().Uint64Var(&o.Seed, "seed", 1, "of what the line shows")
	c.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:8642", "`address` of the page")
	return c
}

func (a *app) demo(ctx context.Context, o demo.Options) error {
	if err := (status.Config{Listen: o.Listen}).Validate(); err != nil && o.Listen != "" && o.Listen != "off" {
		return usage("demo: --listen %q: expected HOST:PORT such as 127.0.0.1:8642", o.Listen)
	}
	o.Out, o.JSON, o.NoColor = a.out, a.json, os.Getenv("NO_COLOR") != ""
	if in, ok := a.in.(*os.File); ok {
		o.In = in
		o.Interactive = isTerminal(a.in) && isTerminal(a.out) && !a.json
	}
	o.NewAgent = func(w demo.Wiring) (demo.Agent, error) { return newDemoAgent(w) }
	sum, err := demo.Run(ctx, o)
	if errors.Is(err, agent.ErrListen) {
		return usage("demo: the page cannot listen on %s: it is in use, by another demo or the service perhaps, or no address of this machine; name another with --listen, such as 127.0.0.1:8643", o.Listen)
	}
	if err != nil {
		return err
	}
	if !sum.OK {
		return &codedError{exitFailed, fmt.Errorf("the demo did not go as it should: %s", list("", sum.Problems))}
	}
	return nil
}

// demoAgent is the real service, configured for the demo: a restart or a change of settings from afar makes a new Agent of it, as in the service.
type demoAgent struct {
	opt     agent.Options
	now     atomic.Pointer[agent.Agent]
	results atomic.Uint64
	page    string

	dropped, restarts atomic.Uint64 // of those before
}

func newDemoAgent(w demo.Wiring) (*demoAgent, error) {
	fps := 15.0
	conf := agent.Config{
		Device:  agent.Device{Group: "demo", ID: "line-1"},
		Cameras: []agent.Camera{{Name: "line", Source: w.Camera, FPS: &fps, Size: agent.Size{Width: 640, Height: 480}, Stall: 3 * time.Second}},
		Models:  []agent.Model{{Bundle: w.Bundle}},
		Outbox:  agent.Outbox{Path: w.State + "/outbox.db", MaxSize: 64 << 20},
		Uplink:  agent.Uplink{Broker: w.Broker},
		Status:  agent.Status{Listen: w.Listen},
		Events:  agent.DefaultEvents(),
	}
	conf.Defaults()
	if err := conf.Validate(); err != nil {
		return nil, err
	}
	d := &demoAgent{page: "http://" + w.Listen + "/"}
	log, level := newLog(agent.Log{Format: "text"}, w.Log)
	recent := &diag.Ring{}
	settings, err := agent.OpenSettings(conf, log, 0)
	if err != nil {
		return nil, err
	}
	d.opt = agent.Options{Version: Version(), Log: slog.New(recent.Keep(log.Handler())), Level: level, Recent: recent, Settings: settings,
		Observe: func(vision.Observation) { d.results.Add(1) }}
	first, err := agent.New(settings.Config(), d.opt)
	d.now.Store(first)
	return d, err
}

// Run runs one Agent after the other.
func (d *demoAgent) Run(ctx context.Context) error {
	return inTurn(ctx, d.now.Load(), d.opt, func(next *agent.Agent) {
		if last := d.now.Swap(next); last != next {
			s := last.Snapshot()
			d.dropped.Add(lostRecords(&s))
			d.restarts.Add(s.Vision.Restarts)
		}
	})
}

func lostRecords(s *status.Snapshot) (n uint64) {
	for _, k := range s.Outbox.Dropped {
		n += k
	}
	return n
}

// View is the service's snapshot in the demo's words.
func (d *demoAgent) View() demo.View {
	s := d.now.Load().Snapshot()
	v := demo.View{
		State: s.State, Engine: s.Engine, Results: d.results.Load(), Backlog: s.Outbox.Records, Bytes: s.Outbox.Bytes, Link: s.Uplink.State,
		Vision: s.Vision.State, Restarts: d.restarts.Load() + s.Vision.Restarts, Cause: s.Vision.LastReason, Page: d.page,
	}
	for _, r := range s.Reasons {
		v.Reasons = append(v.Reasons, r.Text)
	}
	v.Dropped = d.dropped.Load() + lostRecords(&s)
	if len(s.Models) > 0 {
		v.Model = s.Models[0].Name + " " + s.Models[0].Version
	}
	for _, c := range s.Cameras {
		v.FPS = c.FPS
		if l := c.Last; l != nil {
			v.LatMS, v.AgeMS = l.LatMS, l.AgeMS
			v.Last = demo.Seen{At: l.At, Facts: l.Facts}
			if len(l.Top) > 0 {
				v.Last.Label, v.Last.Score = l.Top[0].Label, l.Top[0].Score
			}
		}
	}
	return v
}

// KillVision kills the present heron-vision, as a fault would.
func (d *demoAgent) KillVision() error {
	pid := d.now.Load().Snapshot().Vision.PID
	if pid <= 0 {
		return fmt.Errorf("there is no heron-vision at this moment")
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}
