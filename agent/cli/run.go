package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"heron/agent"
	"heron/agent/diag"
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
			recent := &diag.Ring{}
			err = serve(c.Context(), *conf, agent.Options{Version: Version(), Log: slog.New(recent.Keep(log.Handler())), Level: level, Recent: recent, UntilDrained: untilDrained}, 0)
			if errors.Is(err, agent.ErrListen) {
				return &codedError{exitUsage, err}
			}
			return err
		},
	}
	c.Flags().BoolVar(&untilDrained, "until-drained", false, "end with 0 when every source has ended and everything is delivered")
	return c
}

// serve runs one agent after the other, for as long as each asks for the next. probation is that of settings from afar; 0: the usual.
func serve(ctx context.Context, conf agent.Config, opt agent.Options, probation time.Duration) error {
	settings, err := agent.OpenSettings(conf, opt.Log, probation)
	if err != nil {
		return err
	}
	opt.Settings = settings
	first, err := agent.New(settings.Config(), opt)
	if err != nil {
		return err
	}
	return inTurn(ctx, first, opt, func(*agent.Agent) {})
}

// inTurn runs ag and, for as long as one asks for it, the next. It tells of each before it runs.
func inTurn(ctx context.Context, ag *agent.Agent, opt agent.Options, present func(*agent.Agent)) error {
	for {
		present(ag)
		err := ag.Run(ctx)
		if !errors.Is(err, agent.ErrRestart) {
			return err
		}
		opt.Log.Info("starting anew, as it was asked for")
		if ag, err = agent.New(opt.Settings.Config(), opt); err != nil {
			return err
		}
	}
}
