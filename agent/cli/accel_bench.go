package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"heron/agent"
	"heron/inference"
	"heron/vision"
)

// benchRow is one line of `heron accel bench --json`. Times are of the inference alone, in milliseconds.
type benchRow struct {
	Engine   string  `json:"engine"`
	Device   string  `json:"device"`
	Frames   int     `json:"frames"`
	P50MS    float64 `json:"p50_ms"`
	P95MS    float64 `json:"p95_ms"`
	P99MS    float64 `json:"p99_ms"`
	PrepMS   float64 `json:"prep_ms"` // median of the preprocessing
	LoadMS   float64 `json:"load_ms"` // golden pictures included
	RSSMB    float64 `json:"rss_mb"`  // of a heron-vision with this model and one camera
	Reason   string  `json:"reason,omitempty"`
	NextStep string  `json:"next_step,omitempty"`
}

type benchOptions struct {
	model, engine string
	each          time.Duration
	threads       int
}

// benchCard is what the engines look at: drawn afresh for every frame, faster than any of them.
const benchCard = "testcard:?fps=1000"

func (a *app) accelBenchCommand(command *string) *cobra.Command {
	var o benchOptions
	c := &cobra.Command{Use: "bench --model BUNDLE", Short: "Latency and memory of a bundle on each engine that it has a file for", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case o.model == "":
				return usage("accel bench: --model is missing; name a bundle: a folder with a manifest.json, or a .tar.zst")
			case o.each < time.Second || o.each > 10*time.Minute:
				return usage("accel bench: --for is %v, expected 1s to 10m", o.each)
			}
			if err := checkEngineFlag("accel bench", o.engine); err != nil {
				return err
			}
			return a.accelBench(c.Context(), *command, o)
		}}
	c.Flags().StringVar(&o.model, "model", "", "bundle: a `folder` with a manifest.json, or a .tar.zst")
	c.Flags().StringVar(&o.engine, "engine", "", "this `engine` only, as heron accel list names it (default: each that the bundle has)")
	c.Flags().DurationVar(&o.each, "for", 5*time.Second, "how long each engine is measured")
	c.Flags().IntVar(&o.threads, "threads", 0, "threads for the engine (0: its choice)")
	return c
}

func (a *app) accelBench(ctx context.Context, command string, o benchOptions) error {
	path, err := agent.FindVision(command)
	if err != nil {
		return err
	}
	bundle, err := openBundle(o.model)
	if err != nil {
		return err
	}
	defer bundle.close()
	engines, err := enginesOf(bundle.dir, o.engine)
	if err != nil {
		return bundle.said(err)
	}
	var rows []benchRow
	for i, e := range engines {
		fmt.Fprintf(a.errOut, "%d of %d: %s, %v …\n", i+1, len(engines), e, o.each)
		row := benchOne(ctx, path, vision.SlotConfig{Slot: "main", Bundle: bundle.dir, Engines: []string{e}, Threads: o.threads}, o.each)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rows = append(rows, row)
	}
	if err := a.printBench(rows); err != nil {
		return err
	}
	if !slices.ContainsFunc(rows, func(r benchRow) bool { return r.Frames > 0 }) {
		return &codedError{exitFailed, fmt.Errorf("no engine could be measured with %s", o.model)}
	}
	return nil
}

// enginesOf lists what the bundle has files for, in its order.
func enginesOf(dir, only string) ([]string, error) {
	var want []string
	if only != "" && only != "auto" {
		want = []string{only}
	}
	b, err := inference.ReadBundle(dir, want)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range b.Candidates {
		if choice := c.Spec.Choice(); !slices.Contains(out, choice) {
			out = append(out, choice)
		}
	}
	return out, nil
}

// gauge gathers the observations of one engine.
type gauge struct {
	mu        sync.Mutex
	lat, prep []float64
	failed    string
}

func (g *gauge) add(o vision.Observation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o.Error != "" {
		g.failed = o.Error
		return
	}
	g.lat, g.prep = append(g.lat, o.LatMS), append(g.prep, o.PrepMS)
}

// benchOne runs one engine in a heron-vision of its own, on a camera that is always ready.
func benchOne(ctx context.Context, path string, slot vision.SlotConfig, each time.Duration) benchRow {
	row := benchRow{Engine: slot.Engines[0]}
	g := &gauge{}
	client, end, err := startVision(ctx, vision.ClientConfig{Command: []string{path}, OnObservation: g.add, MaxMemory: 4 << 30, BeatTimeout: classifyBeat, LoadTimeout: time.Minute,
		Config: vision.Config{Cameras: []vision.CameraConfig{{Name: "card", Source: benchCard, Width: 640, Height: 480, Slot: slot.Slot}}, Slots: []vision.SlotConfig{slot}}})
	if err != nil {
		return row.because(err)
	}
	defer end()
	ready, stop := context.WithTimeout(ctx, time.Minute+10*time.Second)
	defer stop()
	if err := client.WaitReady(ready); err != nil {
		return row.because(explain(client, err))
	}
	select {
	case <-time.After(each):
	case <-ctx.Done():
		return row
	}
	s := client.Stats()
	if len(s.Slots) > 0 {
		row.Engine, row.Device, row.LoadMS = s.Slots[0].Engine, s.Slots[0].Device, s.Slots[0].LoadMS
	}
	row.RSSMB = float64(s.RSS) / (1 << 20)
	return g.into(row, s)
}

func (r benchRow) because(err error) benchRow {
	r.Reason = firstLine(err.Error())
	if refused := (*inference.Refusal)(nil); errors.As(err, &refused) {
		r.Reason, r.NextStep = refused.What, refused.NextStep
	}
	return r
}

// into sorts the times; the first tenth, in which caches and clocks come up, is left out.
func (g *gauge) into(r benchRow, s vision.ClientStats) benchRow {
	g.mu.Lock()
	defer g.mu.Unlock()
	warm := len(g.lat) / 10
	lat, prep := slices.Sorted(slices.Values(g.lat[warm:])), slices.Sorted(slices.Values(g.prep[warm:]))
	switch {
	case len(lat) == 0 && g.failed != "":
		return r.because(errors.New(g.failed))
	case len(lat) == 0 && s.LastReason != "":
		return r.because(errors.New(s.LastReason))
	case len(lat) == 0:
		return r.because(errors.New("no frame was classified in this time; use a longer --for"))
	}
	r.Frames = len(lat)
	r.P50MS, r.P95MS, r.P99MS, r.PrepMS = quantile(lat, 50), quantile(lat, 95), quantile(lat, 99), quantile(prep, 50)
	if s.Restarts > 0 {
		r.Reason = fmt.Sprintf("heron-vision was replaced %d times meanwhile, last: %s", s.Restarts, s.LastReason)
	}
	return r
}

// quantile is the smallest value that p percent of the sorted ones do not exceed (nearest rank).
func quantile(sorted []float64, p int) float64 {
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

func (a *app) printBench(rows []benchRow) error {
	if a.json {
		return json.NewEncoder(a.out).Encode(rows)
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ENGINE\tDEVICE\tP50 ms\tP95 ms\tP99 ms\tPREP ms\tLOAD ms\tMEMORY MB\tFRAMES\t")
	for _, r := range rows {
		if r.Frames == 0 {
			fmt.Fprintf(w, "%s\t%s\t%s\n", r.Engine, r.Device, r.Reason+next(r.NextStep))
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%d\t%s\n", r.Engine, r.Device, r.P50MS, r.P95MS, r.P99MS, r.PrepMS, r.LoadMS, r.RSSMB, r.Frames, r.Reason)
	}
	return w.Flush()
}
