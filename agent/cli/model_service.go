package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"heron/agent"
)

// modelServiceCommands ask the running service, through its socket beside the outbox.
func (a *app) modelServiceCommands() []*cobra.Command {
	return []*cobra.Command{a.modelList(), a.modelActivate(), a.modelRollback(), a.modelHold(), a.modelRelease(), a.modelForget()}
}

// service is the socket of the running service.
type serviceLink struct {
	conf   *agent.Config
	path   string
	client http.Client
}

func (a *app) service() (*serviceLink, error) {
	conf, err := agent.Load(a.configPath, os.Environ())
	if err != nil {
		return nil, err
	}
	l := &serviceLink{conf: conf, path: agent.ControlSocket(conf)}
	l.client.Transport = &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: 30 * time.Second,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return agent.DialControl(ctx, l.path) }}
	return l, nil
}

// slot is the one that an order is for: the only one where it is not named.
func (l *serviceLink) slot(name string) (string, error) {
	var names []string
	for _, m := range l.conf.Models {
		if m.Slot == name || name == "" && len(l.conf.Models) == 1 {
			return m.Slot, nil
		}
		names = append(names, m.Slot)
	}
	if name == "" {
		return "", usage("which slot? add --slot %s", strings.Join(names, " or --slot "))
	}
	return "", usage("there is no model slot %q; the configuration names %s", name, strings.Join(names, ", "))
}

// order sends in as JSON (nil: a question) and reads the answer into out.
func (l *serviceLink) order(ctx context.Context, what string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if in == nil {
		return l.send(ctx, http.MethodGet, "/v1/models"+what, nil, 0, out)
	}
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return l.send(ctx, http.MethodPost, "/v1/models/"+what, bytes.NewReader(b), int64(len(b)), out)
}

func (l *serviceLink) send(ctx context.Context, method, path string, body io.Reader, size int64, out any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://heron"+path, body)
	if err != nil {
		return err
	}
	r.ContentLength = size
	resp, err := l.client.Do(r)
	if err != nil {
		return l.unreachable(ctx, err)
	}
	defer resp.Body.Close()
	d := json.NewDecoder(io.LimitReader(resp.Body, 4<<20))
	if resp.StatusCode != http.StatusOK {
		e := &agent.ControlError{}
		if err := d.Decode(e); err != nil || e.Text == "" {
			return fmt.Errorf("the service answered HTTP %s and no reason", resp.Status)
		}
		return e
	}
	if err := d.Decode(out); err != nil {
		return fmt.Errorf("the service's answer cannot be read: %w", err)
	}
	return nil
}

// unreachable says why nobody answers, and what to do.
func (l *serviceLink) unreachable(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	step := "is the service running (systemctl status heron), and does --config name its configuration?"
	switch {
	case errors.Is(err, fs.ErrPermission):
		step = "only root and the service's own user may give it orders; use sudo"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		step = "it cut the connection: it ends just now, or eight others ask it; try again"
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return &codedError{exitUnreachable, fmt.Errorf("no answer at %s: %w; %s", l.path, err, step)}
}

func (a *app) modelRollback() *cobra.Command {
	slot := ""
	c := &cobra.Command{Use: "rollback", Short: "Go back to the model before", Args: args(cobra.NoArgs),
		Long: "Goes back to the model that ran before, and drops what is on its way. No digest is refused: the fleet may push it again.",
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := a.service()
			if err != nil {
				return err
			}
			if slot, err = l.slot(slot); err != nil {
				return err
			}
			var taken agent.ControlTaken
			if err := l.order(c.Context(), "rollback", agent.ControlOrder{Slot: slot}, &taken); err != nil {
				return err
			}
			return a.follow(c.Context(), l, &follower{slot: slot, before: *taken.Before, rollback: true})
		}}
	c.Flags().StringVar(&slot, "slot", "", "model `slot` (default: the only one)")
	return c
}

func (a *app) modelHold() *cobra.Command {
	hold := time.Duration(0)
	c := &cobra.Command{Use: "hold --for DURATION", Short: "Keep all models as they are for so long", Args: args(cobra.NoArgs),
		Long: "Nothing is fetched, tried or switched until the hold ends, whoever asks. Going back from a model that does badly stays possible. At most 168h; another hold replaces it.",
		RunE: func(c *cobra.Command, _ []string) error {
			if hold <= 0 || hold > 7*24*time.Hour {
				return usage("model hold: --for says how long, such as 2h, at most 168h")
			}
			var taken agent.ControlTaken
			if err := a.tell(c.Context(), "hold", agent.ControlOrder{For: hold.String()}, &taken); err != nil {
				return err
			}
			return a.say(taken, "held until %s; heron model release ends it\n", taken.HoldUntil.Local().Format(time.DateTime))
		}}
	c.Flags().DurationVar(&hold, "for", 0, "how `long`, such as 2h")
	return c
}

func (a *app) modelRelease() *cobra.Command {
	return &cobra.Command{Use: "release", Short: "End a hold", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			var taken agent.ControlTaken
			if err := a.tell(c.Context(), "release", agent.ControlOrder{}, &taken); err != nil {
				return err
			}
			return a.say(taken, "released; what was asked for meanwhile goes on\n")
		}}
}

func (a *app) modelForget() *cobra.Command {
	return &cobra.Command{Use: "forget DIGEST|TARGET", Short: "Allow a refused model to be tried again", Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, list []string) error {
			var taken agent.ControlTaken
			if err := a.tell(c.Context(), "forget", agent.ControlOrder{What: list[0]}, &taken); err != nil {
				return err
			}
			return a.say(taken, "%s may be tried again\n", plural(taken.Forgotten, "digest"))
		}}
}

// tell sends one order.
func (a *app) tell(ctx context.Context, what string, in, out any) error {
	l, err := a.service()
	if err != nil {
		return err
	}
	return l.order(ctx, what, in, out)
}

func (a *app) modelActivate() *cobra.Command {
	var o activation
	c := &cobra.Command{Use: "activate FILE", Short: "Bring a model from a file on this device, that nobody signed", Args: args(cobra.ExactArgs(1)),
		Long: "Gives the running service an archive (heron model pack makes one). It is verified, tried in a process of its own, if asked for shadowed, switched to between two frames,\n" +
			"and watched; what does worse goes back, and its digest is refused from then on. Needs repository.unsigned: true.\n" +
			"Exit codes: 0 confirmed, 1 refused, rolled back or interrupted (the service goes on), 2 usage or configuration, 3 the service is not reachable.",
		RunE: func(c *cobra.Command, list []string) error {
			l, err := a.service()
			if err != nil {
				return err
			}
			if !c.Flags().Changed("probation") {
				o.probation = *l.conf.Repository.Probation
			}
			return a.activate(c.Context(), l, list[0], o)
		}}
	c.Flags().StringVar(&o.slot, "slot", "", "model `slot` (default: the only one)")
	c.Flags().DurationVar(&o.shadow, "shadow", 0, "how `long` it answers beside the live model first; 0s: not at all")
	c.Flags().DurationVar(&o.probation, "probation", 15*time.Minute, "how `long` it is watched once it is live (default: the configuration's)")
	c.Flags().BoolVar(&o.noWait, "no-wait", false, "return as soon as the service has the file")
	c.Flags().BoolVar(&o.untilLive, "until-live", false, "return as soon as the model is live, before its probation ends")
	return c
}

// activation is how a file is brought.
type activation struct {
	slot              string
	shadow, probation time.Duration
	noWait, untilLive bool
}

func (a *app) activate(ctx context.Context, l *serviceLink, file string, o activation) error {
	slot, err := l.slot(o.slot)
	if err != nil {
		return err
	}
	if o.shadow < 0 || o.probation < 0 {
		return usage("model activate: --shadow and --probation cannot be below 0")
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("model activate: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("model activate: %w", err)
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("model activate: %s is no archive; make one with: heron model pack %s", file, file)
	}
	q := url.Values{"slot": {slot}, "name": {filepath.Base(file)}, "shadow": {o.shadow.String()}, "probation": {o.probation.String()}}
	var taken agent.ControlTaken
	if err := l.send(ctx, http.MethodPost, "/v1/models/activate?"+q.Encode(), f, st.Size(), &taken); err != nil {
		return err
	}
	if !a.json && !o.noWait {
		fmt.Fprintf(a.out, "%s: the service has %s\n", slot, filepath.Base(file)) // what is lost here the next line loses, too
	}
	if o.noWait {
		return a.say(taken, "the service has %s for slot %s; heron model list shows how it comes out\n", filepath.Base(file), slot)
	}
	return a.follow(ctx, l, &follower{slot: slot, target: taken.Target, before: *taken.Before, untilLive: o.untilLive})
}
