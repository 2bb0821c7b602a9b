package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"heron/agent"
	"heron/inference"
	"heron/vision"
)

// accelWithin bounds a look at every engine; heron-vision's own bound is shorter.
const accelWithin = 40 * time.Second

// accelRow is one line of `heron accel list --json`.
type accelRow struct {
	Engine   string `json:"engine"`
	Device   string `json:"device"`
	Present  bool   `json:"present"`
	Usable   bool   `json:"usable"`
	InUse    bool   `json:"in_use"`
	Version  string `json:"version"`
	Reason   string `json:"reason"`
	NextStep string `json:"next_step"`
}

func (a *app) accelCommand() *cobra.Command {
	c := &cobra.Command{Use: "accel", Short: "Engines and accelerators: what can run here, how fast, and why not", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	var command string
	c.PersistentFlags().StringVar(&command, "vision", "heron-vision", "the heron-vision `program`")
	c.AddCommand(&cobra.Command{Use: "list", Short: "Every engine: present, usable, in use, and where not, the reason and the next step", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return a.accelList(c.Context(), command) }})
	c.AddCommand(a.accelBenchCommand(&command))
	return c
}

// accelList asks a heron-vision of its own, so that a library that crashes costs this command and not the service.
func (a *app) accelList(ctx context.Context, command string) error {
	path, err := agent.FindVision(command)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, accelWithin)
	defer cancel()
	engines, err := vision.Look(ctx, vision.ClientConfig{Command: []string{path}, BeatTimeout: accelWithin, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("look at the engines: %w", err)
	}
	slots := a.slotsInUse()
	rows := make([]accelRow, 0, len(engines))
	for _, e := range engines {
		rows = append(rows, accelRow{e.Engine, e.Device, e.Present, e.Usable, e.InUse(slots), e.Version, e.Reason, e.NextStep})
	}
	if a.json {
		return json.NewEncoder(a.out).Encode(rows)
	}
	return a.printAccel(rows)
}

// slotsInUse asks the service, if one runs here, what its models run on.
func (a *app) slotsInUse() (use []vision.SlotStats) {
	conf, err := agent.Load(a.configPath, os.Environ())
	if err != nil || conf.Status.Listen == "off" {
		return use
	}
	if s, err := fetchStatus(conf.Status.Listen); err == nil {
		for _, m := range s.Models {
			if m.State == "live" {
				use = append(use, vision.SlotStats{Slot: m.Slot, Engine: m.Engine, Device: m.Device})
			}
		}
	}
	return use
}

// checkEngineFlag refuses what cannot name an engine, before anything is started for it.
func checkEngineFlag(command, engine string) error {
	if engine == "" {
		return nil
	}
	if _, _, err := inference.ParseChoice(engine); err != nil {
		return usage("%s: --engine: %w", command, err)
	}
	return nil
}

// printAccel names engines as heron.yaml does, with the device where there is one to choose.
func (a *app) printAccel(rows []accelRow) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ENGINE\tDEVICE\tSTATE\tVERSION\tWHY NOT, AND WHAT TO DO")
	for _, r := range rows {
		state := "absent"
		switch {
		case r.InUse:
			state = "in use"
		case r.Usable:
			state = "usable"
		case r.Present:
			state = "present, not usable"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", inference.Choice(r.Engine, r.Device), r.Device, state, r.Version, strings.TrimPrefix(r.Reason+next(r.NextStep), "; "))
	}
	return w.Flush()
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
