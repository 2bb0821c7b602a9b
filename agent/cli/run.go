package cli

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"heron/agent"
)

func (a *app) runCommand() *cobra.Command {
	var untilDrained bool
	c := &cobra.Command{
		Use: "run", Short: "Run the service", Args: args(cobra.NoArgs),
		Long: "Run the service until SIGTERM or SIGINT.\nA SIGTERM stops the cameras, keeps what was seen, tells the broker, and ends with 0.",
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := agent.Load(a.configPath, os.Environ())
			if err != nil {
				return err
			}
			log, level := newLog(conf.Log, a.errOut)
			for {
				ag, err := agent.New(*conf, agent.Options{Version: Version(), Log: log, Level: level, UntilDrained: untilDrained})
				if err != nil {
					return err
				}
				err = ag.Run(c.Context())
				switch {
				case errors.Is(err, agent.ErrRestart):
					log.Info("starting anew, as it was asked for")
					continue
				case errors.Is(err, agent.ErrListen):
					return &codedError{exitUsage, err}
				}
				return err
			}
		},
	}
	c.Flags().BoolVar(&untilDrained, "until-drained", false, "end with 0 when every source has ended and everything is delivered")
	return c
}
