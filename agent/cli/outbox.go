package cli

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"heron/agent"
	"heron/sync/outbox"
)

func (a *app) outboxCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "outbox", Short: "Look into the outbox: what waits to be delivered",
		Args: args(cobra.NoArgs), RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var file string
	c.PersistentFlags().StringVar(&file, "file", "", "outbox `file` (default: the configuration's outbox.path)")
	sub := func(use, short string, run func(path string) error) {
		c.AddCommand(&cobra.Command{Use: use, Short: short, Args: args(cobra.NoArgs), RunE: func(c *cobra.Command, _ []string) error {
			path, err := a.outboxPath(c, file)
			if err != nil {
				return err
			}
			return run(path)
		}})
	}
	sub("stats", "Counters of the outbox", a.outboxStats)
	sub("export", "Print every waiting record as a line of JSON", func(path string) error { return outbox.Export(path, a.out) })
	sub("verify", "Check every checksum", a.outboxVerify)
	return c
}

func (a *app) outboxPath(c *cobra.Command, file string) (string, error) {
	if file != "" {
		return file, nil
	}
	if c.Flags().Changed("config") || fileExists(a.configPath) {
		conf, err := agent.Load(a.configPath, os.Environ())
		if err != nil {
			return "", err
		}
		return conf.Outbox.Path, nil
	}
	return "", usage("outbox: there is no %s; name the outbox with --file, or a configuration with --config", a.configPath)
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// outboxStats asks the running service; the file itself is read only when no service has it open.
func (a *app) outboxStats(path string) error {
	if conf, err := agent.Load(a.configPath, os.Environ()); err == nil && conf.Outbox.Path == path {
		if snap, err := fetchStatus(conf.Status.Listen); err == nil {
			return a.printOutbox(snap.Outbox)
		}
	}
	_, err := a.readOutbox(path)
	return err
}

func (a *app) outboxVerify(path string) error {
	r, err := a.readOutbox(path)
	if err != nil {
		return err
	}
	if r.Damaged > 0 {
		return &codedError{exitFailed, fmt.Errorf("%d groups are damaged; the service will set them aside and deliver the rest", r.Damaged)}
	}
	return nil
}

// readOutbox prints what is in the file. Of another file that is nothing, which is not the same as an empty outbox.
func (a *app) readOutbox(path string) (outbox.Report, error) {
	r, err := outbox.Verify(path)
	if err == nil {
		err = a.printOutbox(r)
	}
	if err == nil && r.Epoch == "" && r.Groups == 0 {
		err = &codedError{exitFailed, fmt.Errorf("%s is no outbox, or one of which nothing can be read: %s", path, r.Problem)}
	}
	return r, err
}

// printOutbox prints v as JSON, indented for people.
func (a *app) printOutbox(v any) error {
	e := json.NewEncoder(a.out)
	if !a.json {
		e.SetIndent("", "  ")
	}
	return e.Encode(v)
}
