package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"heron/agent"
	"heron/agent/status"
)

func (a *app) statusCommand() *cobra.Command {
	var address string
	c := &cobra.Command{
		Use: "status", Short: "Say what the page says", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if address == "" {
				address = "127.0.0.1:8642"
				if c.Flags().Changed("config") || fileExists(a.configPath) {
					conf, err := agent.Load(a.configPath, os.Environ())
					if err != nil {
						return err
					}
					address = conf.Status.Listen
				}
			}
			if address == "off" {
				return usage("status: the local page is switched off (status.listen)")
			}
			if (status.Config{Listen: address}).Validate() != nil {
				return usage("status: --address %q: expected HOST:PORT such as 127.0.0.1:8642", address)
			}
			return a.status(address)
		},
	}
	c.Flags().StringVar(&address, "address", "", "`host:port` of the page (default: the configuration's status.listen)")
	return c
}

// status exits with 0 when the state is ok or degraded, 1 when it is failed, 3 when nobody answers.
func (a *app) status(address string) error {
	s, err := fetchStatus(address)
	if err != nil {
		return &codedError{exitUnreachable, fmt.Errorf("no answer from %s: %w; is the service running (systemctl status heron)?", address, err)}
	}
	if a.json {
		err = json.NewEncoder(a.out).Encode(s)
	} else {
		_, err = a.out.Write([]byte(statusText(s)))
	}
	if err == nil && s.State == status.Failed {
		return &codedError{exitFailed, errors.New("")}
	}
	return err
}

func fetchStatus(address string) (*status.Snapshot, error) {
	if host, port, err := net.SplitHostPort(address); err == nil && (host == "" || host == "0.0.0.0" || host == "::") {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	client := http.Client{Timeout: 5 * time.Second}
	r, err := client.Get("http://" + address + "/api/v1/status")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP %s", r.Status)
	}
	var s status.Snapshot
	return &s, json.NewDecoder(http.MaxBytesReader(nil, r.Body, 4<<20)).Decode(&s)
}

func statusText(s *status.Snapshot) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("device", "%s/%s, heron %s, up %s", s.Device.Group, s.Device.ID, s.Device.Agent, seconds(s.Device.UptimeS))
	row("state", "%s", s.State)
	for _, r := range s.Reasons {
		row("", "%s, since %s%s", r.Text, r.Since.Local().Format("15:04:05"), next(r.NextStep))
	}
	for _, c := range s.Cameras {
		row("camera "+c.Name, "%s, %.1f a second, newest frame %.1f s old, %d read, %d replaced by newer ones%s", c.State, c.FPS, c.FrameAgeS, c.Frames, c.Dropped, list(", ", c.Facts))
		if c.Last != nil && len(c.Last.Top) > 0 {
			row("", "%s %.2f (%s, %.1f ms)", c.Last.Top[0].Label, c.Last.Top[0].Score, c.Last.Engine, c.Last.LatMS)
		}
	}
	for _, m := range s.Models {
		row("model "+m.Slot, "%s %s %s", m.State, m.Name, m.Version)
		if m.Refusal != nil {
			row("", "%s%s", m.Refusal.Reason, next(m.Refusal.NextStep))
		}
	}
	row("vision", "%s, replaced %d times%s", s.Vision.State, s.Vision.Restarts, causes(s.Vision.ByCause))
	row("outbox", "%s, %d records wait (%d bytes), %d delivered%s", s.Outbox.State, s.Outbox.Records, s.Outbox.Bytes, s.Outbox.Acked, causes(s.Outbox.Dropped))
	row("link", "%s %s %s", s.Uplink.State, s.Uplink.Broker, s.Uplink.Reason)
	w.Flush()
	return b.String()
}

func next(step string) string {
	if step == "" {
		return ""
	}
	return "; " + step
}

func list(before string, items []string) string {
	if len(items) == 0 {
		return ""
	}
	return before + strings.Join(items, ", ")
}

func causes[N uint64 | int64](m map[string]N) string {
	var parts []string
	for k, n := range m {
		parts = append(parts, fmt.Sprintf("%s %d", k, n))
	}
	sort.Strings(parts)
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}
