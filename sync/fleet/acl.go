package fleet

import (
	"fmt"
	"strings"
)

// What a device may write below its own topic, and read; and what it may read of its group's.
func deviceTopics() (write, read []string) {
	return []string{"state", "info", "reported", "t/+", "h/+", "res/+/+", "ha/+"}, []string{"desired", "ack", "cmd/+/+"}
}

// MosquittoACL is the part of a device in the broker's acl_file; its user name is its id.
func (c Config) MosquittoACL(group, device string) string {
	var b strings.Builder
	write, read := deviceTopics()
	fmt.Fprintf(&b, "user %s\n", device)
	for _, t := range write {
		fmt.Fprintf(&b, "topic write %s\n", c.Topic(group, device, t))
	}
	for _, t := range read {
		fmt.Fprintf(&b, "topic read %s\n", c.Topic(group, device, t))
	}
	fmt.Fprintf(&b, "topic read %s\n\n", c.Topic(group, everyone, "desired"))
	return b.String()
}

// NATSUser is a device among the users of nats.conf; its password is to be filled in, as a bcrypt hash.
func (c Config) NATSUser(group, device string) string {
	subject := func(device, below string) string {
		return `"` + strings.NewReplacer("/", ".", "+", "*").Replace(c.Topic(group, device, below)) + `"`
	}
	write, read := deviceTopics()
	for i, t := range write {
		write[i] = subject(device, t)
	}
	for i, t := range read {
		read[i] = subject(device, t)
	}
	read = append(read, subject(everyone, "desired"), `"$MQTT.sub.>"`) // the gateway's own, for QoS 1
	return fmt.Sprintf("{user: %q, password: \"$2a$…\", permissions: {\n  publish: [%s]\n  subscribe: [%s]}}\n", device, strings.Join(write, ", "), strings.Join(read, ", "))
}
