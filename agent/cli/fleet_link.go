package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"heron/sync/fleet"
)

// fleetFlags say which fleet, and who asks.
type fleetFlags struct {
	fleet.Config
	file string
	by   string
}

// fleetManagerCommands are those of heron fleet that talk to the broker.
func (a *app) fleetManagerCommands() []*cobra.Command {
	return []*cobra.Command{a.fleetLs(), a.fleetShow(), a.fleetPush(), a.fleetRelease(), a.fleetRollout(), a.fleetPause(), a.fleetResume(), a.fleetAbort(),
		a.fleetCmd(), a.fleetTail(), a.fleetExport(), a.fleetVerify(), a.fleetStats(), a.fleetACL()}
}

// flags adds what every command that connects has.
func (f *fleetFlags) flags(c *cobra.Command) *cobra.Command {
	p := c.Flags()
	p.StringVar(&f.file, "fleet-config", "", "settings `file` (default ~/.config/heron/fleet.yaml; HERON_FLEET_… and the flags below count more)")
	p.StringVar(&f.Broker, "broker", "", "`URL`, such as mqtts://broker.example.org:8883")
	p.StringVar(&f.Username, "username", "", "`name` at the broker")
	p.StringVar(&f.PasswordFile, "password-file", "", "`file` with the password")
	p.StringVar(&f.CA, "ca", "", "PEM `file` of the broker's authority (default: the system's)")
	p.StringVar(&f.Cert, "cert", "", "client certificate, PEM `file`")
	p.StringVar(&f.Key, "key", "", "its key, PEM `file`")
	p.StringVar(&f.Root, "root", "", "first levels of all topics (default heron/v1)")
	p.StringVar(&f.Group, "group", "", "group of devices")
	p.StringVar(&f.by, "by", "", "`who` does this, for the audit (default: user@host)")
	return c
}

// config is file, then environment, then flags.
func (f *fleetFlags) config() (fleet.Config, error) {
	path := f.file
	if path == "" {
		if dir, err := os.UserConfigDir(); err == nil {
			path = filepath.Join(dir, "heron", "fleet.yaml")
		}
	}
	conf, err := fleet.LoadConfig(path, f.file != "")
	if err != nil {
		return conf, &codedError{exitUsage, err}
	}
	env := func(name string) string { return os.Getenv("HERON_FLEET_" + name) }
	conf = conf.Overlay(fleet.Config{Broker: env("BROKER"), Username: env("USERNAME"), PasswordFile: env("PASSWORD_FILE"), CA: env("CA"), Cert: env("CERT"), Key: env("KEY"), Root: env("ROOT"), Group: env("GROUP")}).Overlay(f.Config)
	if err := conf.Validate(); err != nil {
		return conf, &codedError{exitUsage, err}
	}
	return conf, nil
}

// person who does this.
func (f *fleetFlags) person() string {
	name := "somebody"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, _ := os.Hostname() // an unknown host is left out
	return cmp.Or(f.by, os.Getenv("HERON_FLEET_BY"), name+"@"+host)
}

// groupConfig is config for commands that write: their group is never guessed.
func (f *fleetFlags) groupConfig() (fleet.Config, error) {
	conf, err := f.config()
	if err == nil && conf.Group == "" {
		err = usage("which group? give --group, HERON_FLEET_GROUP or group: in fleet.yaml")
	}
	return conf, err
}

// withFleet connects and calls body; lost connections are told on the error output.
func (a *app) withFleet(ctx context.Context, conf fleet.Config, subs []fleet.Sub, take func(fleet.Message), body func(context.Context, *fleet.Link) error) error {
	err := fleet.With(ctx, conf, fleet.Options{Subs: subs, Handle: take, Notice: func(s string) { fmt.Fprintln(a.errOut, "heron:", s) }}, body)
	if errors.Is(err, fleet.ErrUnreachable) {
		return &codedError{exitUnreachable, err}
	}
	return err
}

// withInventory also hears what is retained before body is called.
func (a *app) withInventory(ctx context.Context, conf fleet.Config, body func(context.Context, *fleet.Link, *fleet.Inventory) error) error {
	inv := fleet.NewInventory(conf)
	return a.withFleet(ctx, conf, inv.Subs(conf.Group), inv.Take, func(ctx context.Context, l *fleet.Link) error {
		if err := l.Settle(ctx); err != nil {
			return err
		}
		return body(ctx, l, inv)
	})
}

// listen for a while: until ctx ends (a key, a signal) or d has passed; 0 is without end.
func listen(ctx context.Context, d time.Duration) {
	if d <= 0 {
		<-ctx.Done()
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// ended is nil for an end that the user made.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
