package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"heron/agent"
	"heron/camera"
)

// cameraRow is one line of `heron camera list --json`.
type cameraRow struct {
	camera.Attached
	Configured string `json:"configured,omitempty"` // the name that it has in the configuration
}

func (a *app) cameraCommand() *cobra.Command {
	c := &cobra.Command{Use: "camera", Short: "Cameras: which are attached, and whether one works", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	var command string
	c.PersistentFlags().StringVar(&command, "vision", "heron-vision", "the heron-vision `program`")
	c.AddCommand(&cobra.Command{Use: "list", Short: "Every camera that is attached, by what lasts, and the source to write for it", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return a.cameraList(c.Context(), command) }})
	c.AddCommand(a.cameraTestCommand(&command))
	return c
}

// cameraList asks a heron-vision of its own: heron opens no devices.
func (a *app) cameraList(ctx context.Context, command string) error {
	path, err := agent.FindVision(command)
	if err != nil {
		return err
	}
	found, err := agent.AttachedCameras(ctx, path)
	if err != nil {
		return err
	}
	conf, err := agent.Load(a.configPath, os.Environ())
	if err != nil {
		conf = &agent.Config{} // a device that is being set up has none
	}
	rows := make([]cameraRow, 0, len(found))
	for _, f := range found {
		rows = append(rows, cameraRow{f, configuredAs(f, conf.Cameras)})
	}
	if a.json {
		return json.NewEncoder(a.out).Encode(rows)
	}
	return a.printCameras(rows)
}

// configuredAs finds the configured camera that is f.
func configuredAs(f camera.Attached, cameras []agent.Camera) string {
	for _, c := range cameras {
		scheme, id, _ := strings.Cut(c.Source, ":")
		switch scheme {
		case "usb":
			if id != "" && (id == f.Serial || id == f.Path || id == f.Name || c.Source == f.Source) {
				return c.Name
			}
		case "v4l2":
			if real, err := filepath.EvalSymlinks(id); f.Node != "" && (id == f.Node || err == nil && real == f.Node) {
				return c.Name
			}
		case "csi":
			if c.Source == f.Source || id == f.Name && f.Driver == "libcamera" || id == "" && f.Source == "csi:0" {
				return c.Name
			}
		}
	}
	return ""
}

func (a *app) printCameras(rows []cameraRow) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(a.out, "No camera is attached to this device.\n"+
			"Plug one in, and look at dmesg when it does not appear here. A network camera is not listed: try it with heron camera test rtsp://ADDRESS/PATH.\n"+
			"To go on without a camera, write source: \"testcard:\" or a folder, source: \"pictures:/FOLDER?loop=true\".")
		return err
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SOURCE TO WRITE\tNAME\tNODE\tDRIVER\tMODES\tCONFIGURED AS")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Source, r.Name, r.Node, r.Driver, modesText(r.Attached), dash(r.Configured))
	}
	return w.Flush()
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// modesText tells the largest mode of each format; --json has all of them.
func modesText(f camera.Attached) string {
	if len(f.Modes) == 0 {
		return f.Reason
	}
	var order []string
	best := map[string]camera.Mode{}
	for _, m := range f.Modes {
		b, seen := best[m.Format]
		if !seen {
			order = append(order, m.Format)
		}
		if !seen || m.Width*m.Height > b.Width*b.Height {
			best[m.Format] = m
		}
	}
	for i, format := range order {
		m := best[format]
		order[i] = fmt.Sprintf("%s to %d×%d", format, m.Width, m.Height)
		if len(m.FPS) > 0 {
			order[i] += fmt.Sprintf(" at %v/s", m.FPS[0])
		}
	}
	return strings.Join(order, ", ")
}
