package cli

import "github.com/spf13/cobra"

func (a *app) fleetCommand() *cobra.Command {
	c := &cobra.Command{Use: "fleet", Short: "The fleet manager's side: the signed repository, rollouts, commands, telemetry", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(a.fleetRepoCommand())
	c.AddCommand(a.fleetManagerCommands()...)
	return c
}
