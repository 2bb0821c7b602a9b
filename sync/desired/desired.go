// Package desired turns the desired documents of a device and of its group into what is to be done here and now: whose document
// counts for each slot, whether this device is drawn for a rollout, whether it is time. It decides; it fetches and changes nothing.
//
// Store keeps the newest document of each source, so that a device without a link knows what it was to do. Resolve and Decide are
// pure. Patches changes the settings and takes the change back when it has cut the link.
package desired

import (
	"maps"
	"slices"
	"strings"

	"heron/sync/message"
)

// Sources of a document. The device's own wins, slot by slot.
const (
	Device = "device"
	Group  = "group"
)

// Want is what one slot is to run, and who says so.
type Want struct {
	message.DesiredModel
	Source string // Device, Group
	Rev    int64  // of that document
	Order  int64  // rises on this device whenever the slot's wish changes, whatever its source; a later one supersedes. Set by Store
	By     string // who issued the document
}

// Setting is the configuration patch that counts.
type Setting struct {
	message.DesiredConfig
	Source string
	By     string
}

// Resolved is both documents in one.
type Resolved struct {
	Models   []Want // by slot
	Config   *Setting
	Firmware *message.DesiredFirmware
}

// Resolve puts the device's document over its group's: a slot, the configuration, the firmware that it names are its own matter, the
// rest is the group's. Either may be nil.
func Resolve(group, device *message.Desired) Resolved {
	var r Resolved
	slots := map[string]Want{}
	for _, from := range []struct {
		source string
		doc    *message.Desired
	}{{Group, group}, {Device, device}} {
		d := from.doc
		if d == nil {
			continue
		}
		for _, m := range d.Models {
			slots[m.Slot] = Want{DesiredModel: m, Source: from.source, Rev: d.Rev, By: d.IssuedBy}
		}
		if d.Config != nil {
			r.Config = &Setting{DesiredConfig: *d.Config, Source: from.source, By: d.IssuedBy}
		}
		if d.Firmware != nil {
			r.Firmware = d.Firmware
		}
	}
	r.Models = slices.SortedFunc(maps.Values(slots), func(a, b Want) int { return strings.Compare(a.Slot, b.Slot) })
	return r
}
