package fleet

import (
	"fmt"
	"strings"
)

// What a device may write below its own topic, and read of it.
func deviceTopics() (write, read []string) {
	return []string{"state", "info", "reported", "t/+", "h/+", "res/+/+", "ha/+"}, []string{"desired", "ack", "cmd/+/+"}
}

// For devices with adapters.home_assistant: where they say what they are, and where Home Assistant says that it has started. Its prefix
// is the one that everybody has.
const birth = "homeassistant/status"

func discovery(group, device string) string {
	return "homeassistant/device/heron-" + group + "/" + device + "/config"
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
	fmt.Fprintf(&b, "topic read %s\n", c.Topic(group, everyone, "desired"))
	fmt.Fprintf(&b, "topic write %s\ntopic read %s\n\n", discovery(group, device), birth)
	return b.String()
}

// NATSUser is a device among the users of nats.conf; its password is to be filled in, as a bcrypt hash.
func (c Config) NATSUser(group, device string) string {
	subject := func(topic string) string {
		return `"` + strings.NewReplacer("/", ".", "+", "*").Replace(topic) + `"`
	}
	write, read := deviceTopics()
	for i, t := range write {
		write[i] = subject(c.Topic(group, device, t))
	}
	for i, t := range read {
		read[i] = subject(c.Topic(group, device, t))
	}
	write = append(write, subject(discovery(group, device)))
	read = append(read, subject(c.Topic(group, everyone, "desired")), subject(birth), `"$MQTT.sub.>"`) // the last is the gateway's own, for QoS 1
	return fmt.Sprintf("{user: %q, password: \"$2a$…\", permissions: {\n  publish: [%s]\n  subscribe: [%s]}}\n", device, strings.Join(write, ", "), strings.Join(read, ", "))
}
