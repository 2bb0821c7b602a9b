package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"heron/agent"
	"heron/inference"
	"heron/vision"
)

// classifyLimits bound what a foreign model may take before it is given up.
const (
	classifyLoad  = 15 * time.Second
	classifyRun   = 8 * time.Second
	classifyBeat  = 10 * time.Second // a person waits, no camera: a starved machine is no reason to start over
	classifyReply = 25 * time.Second // one picture, a replacement of heron-vision included
)

// answer is one line of `heron classify --json`.
type answer struct {
	Picture string   `json:"picture"`
	Engine  string   `json:"engine,omitempty"`
	Top     [][2]any `json:"top"`
	LatMS   float64  `json:"lat_ms"`
	Facts   []string `json:"facts,omitempty"`
	Error   string   `json:"error,omitempty"`
}

func (a *app) classifyCommand() *cobra.Command {
	var model, engine, command string
	c := &cobra.Command{
		Use: "classify --model BUNDLE PICTURE…", Short: "Classify pictures with a model, by the same path as the service",
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, pictures []string) error {
			if model == "" {
				return usage("classify: --model is missing; name a bundle: a folder with a manifest.json, or a .tar.zst")
			}
			if err := checkEngineFlag("classify", engine); err != nil {
				return err
			}
			return a.classify(c.Context(), model, engine, command, pictures)
		},
	}
	c.Flags().StringVar(&model, "model", "", "bundle: a `folder` with a manifest.json, or a .tar.zst")
	c.Flags().StringVar(&engine, "engine", "", "use this `engine` only, as heron accel list names it (default: the bundle's order)")
	c.Flags().StringVar(&command, "vision", "heron-vision", "the heron-vision `program`")
	return c
}

func (a *app) classify(ctx context.Context, model, engine, command string, pictures []string) error {
	path, err := agent.FindVision(command)
	if err != nil {
		return err
	}
	bundle, err := openBundle(model)
	if err != nil {
		return err
	}
	defer bundle.close()
	slot := vision.SlotConfig{Slot: "main", Bundle: bundle.dir}
	if engine != "" && engine != "auto" {
		slot.Engines = []string{engine}
	}
	client, end, err := startVision(ctx, vision.ClientConfig{
		Command: []string{path}, Config: vision.Config{Slots: []vision.SlotConfig{slot}},
		LoadTimeout: classifyLoad, InferenceTimeout: classifyRun, BeatTimeout: classifyBeat, MaxMemory: 2 << 30,
	})
	if err != nil {
		return err
	}
	defer end()
	ready, stop := context.WithTimeout(ctx, classifyLoad+5*time.Second)
	defer stop()
	if err := client.WaitReady(ready); err != nil {
		return fmt.Errorf("model %s: %w", model, bundle.said(explain(client, err)))
	}
	return a.classifyAll(ctx, client, pictures)
}

// startVision runs a heron-vision of this command's own, until end. What matters of its log comes back in errors.
func startVision(ctx context.Context, conf vision.ClientConfig) (client *vision.Client, end func(), err error) {
	conf.Log, conf.OneShot = slog.New(slog.DiscardHandler), true
	if client, err = vision.NewClient(conf); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx) }()
	return client, func() { cancel(); <-done }, nil
}

// explain prefers heron-vision's own end over the deadline that it caused.
func explain(c *vision.Client, err error) error {
	var refused *inference.Refusal
	if s := c.Stats(); !errors.As(err, &refused) && s.LastReason != "" {
		return errors.New(s.LastReason)
	}
	return err
}

// classifyAll goes on after a picture that fails; any failure makes the exit code 1.
func (a *app) classifyAll(ctx context.Context, client *vision.Client, pictures []string) error {
	failed := 0
	for _, p := range pictures {
		ans := answer{Picture: p, Top: [][2]any{}}
		abs, err := filepath.Abs(p)
		var obs vision.Observation
		if err == nil && !utf8.ValidString(abs) { // as text it would name another file
			err = errors.New("its name is not UTF-8; rename it")
		}
		if err == nil {
			one, cancel := context.WithTimeout(ctx, classifyReply)
			obs, err = client.Classify(one, "main", abs)
			if err != nil {
				err = explainRun(client, err)
			}
			cancel()
		}
		if err == nil && obs.Error != "" {
			err = errors.New(obs.Error)
		}
		ans.Engine, ans.LatMS, ans.Facts = obs.Engine, round2(obs.LatMS), obs.Facts
		for _, s := range obs.Top {
			ans.Top = append(ans.Top, [2]any{s.Label, math.Round(s.Score*1e4) / 1e4})
		}
		if err != nil {
			failed++
			ans.Error = err.Error()
		}
		if err := a.printAnswer(ans); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if failed > 0 {
		return &codedError{exitFailed, fmt.Errorf("%d of %d pictures were not classified", failed, len(pictures))}
	}
	return nil
}

func explainRun(c *vision.Client, err error) error {
	if s := c.Stats(); s.Restarts > 0 {
		return errors.New(s.LastReason)
	}
	return err
}

func round2(v float64) float64 { return math.Round(v*100) / 100 }

func (a *app) printAnswer(ans answer) error {
	if a.json {
		return json.NewEncoder(a.out).Encode(ans)
	}
	if ans.Error != "" {
		fmt.Fprintf(a.errOut, "%s: %s\n", ans.Picture, ans.Error)
		return nil
	}
	_, err := fmt.Fprintf(a.out, "%s:", ans.Picture)
	for i, t := range ans.Top {
		sep := ","
		if i == 0 {
			sep = ""
		}
		fmt.Fprintf(a.out, "%s %s %.3f", sep, t[0], t[1])
	}
	fmt.Fprintf(a.out, "  (%s, %.1f ms)\n", ans.Engine, ans.LatMS)
	return err
}
