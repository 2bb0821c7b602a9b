package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"heron/sync/fleet"
	"heron/sync/message"
)

func (a *app) fleetACL() *cobra.Command {
	var nats bool
	var group, root string
	c := &cobra.Command{Use: "acl --group GROUP DEVICE...", Short: "Print the broker's access list for devices, pinned to their group", Args: args(cobra.MinimumNArgs(1)),
		Long: "The user name of a device is its id. deploy/mosquitto.acl has patterns that serve any device of one group; with several groups on one broker, or NATS, each device needs lines of its own: these.",
		RunE: func(c *cobra.Command, devices []string) error {
			if group == "" {
				return usage("acl: which group? give --group")
			}
			conf := fleet.Config{Broker: "mqtt://unused", Root: root, Group: group}
			if err := conf.Validate(); err != nil {
				return usage("acl: %v", err)
			}
			for _, d := range devices {
				if !message.IsSlot(d) {
					return usage("acl: %q cannot be a level of a topic: use a-z, 0-9, _ and -", d)
				}
				write := conf.MosquittoACL
				if nats {
					write = conf.NATSUser
				}
				if _, err := fmt.Fprint(a.out, write(group, d)); err != nil {
					return err
				}
			}
			return nil
		}}
	c.Flags().BoolVar(&nats, "nats", false, "for nats.conf instead of mosquitto.acl")
	c.Flags().StringVar(&group, "group", "", "group of the devices")
	c.Flags().StringVar(&root, "root", "", "first levels of all topics (default heron/v1)")
	return c
}
