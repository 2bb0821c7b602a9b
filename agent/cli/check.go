package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"heron/agent"
)

func (a *app) checkCommand() *cobra.Command {
	var effective bool
	c := &cobra.Command{
		Use: "check [FILE]", Short: "Read a configuration strictly and say what is wrong with it, and where",
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			path := a.configPath
			if len(list) == 1 {
				path = list[0]
			}
			return a.check(path, effective)
		},
	}
	c.Flags().BoolVar(&effective, "print-effective", false, "print the configuration with every default, passwords taken out")
	return c
}

func (a *app) check(path string, effective bool) error {
	conf, err := agent.Load(path, os.Environ())
	if a.json {
		return a.checkJSON(path, err)
	}
	if err != nil {
		return err
	}
	if effective {
		text, err := conf.Effective()
		if err != nil {
			return fmt.Errorf("print the configuration: %w", err)
		}
		_, err = a.out.Write(text)
		return err
	}
	fmt.Fprintf(a.out, "%s: good (%d cameras, %d model slots)\n", path, len(conf.Cameras), len(conf.Models))
	return nil
}

func (a *app) checkJSON(path string, err error) error {
	answer := map[string]any{"file": path, "ok": err == nil}
	var bad *agent.ConfigError
	if errors.As(err, &bad) {
		answer["line"], answer["column"], answer["error"] = bad.Line, bad.Column, bad.What
	}
	if e := json.NewEncoder(a.out).Encode(answer); e != nil {
		return e
	}
	if err != nil {
		return &codedError{exitUsage, errors.New("")}
	}
	return nil
}
